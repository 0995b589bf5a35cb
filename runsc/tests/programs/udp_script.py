import ctypes, errno, select, socket, struct, time

IP, IPV6, SOL, UDP_LEVEL = socket.IPPROTO_IP, socket.IPPROTO_IPV6, socket.SOL_SOCKET, socket.IPPROTO_UDP
V4, V6, UDP, RAW = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM, socket.SOCK_RAW
IP_PKTINFO, IP_MTU_DISCOVER, IP_MTU, IP_FREEBIND, IP_TRANSPARENT, IP_RECVORIGDST, NO_PORT = 8, 10, 14, 15, 19, 20, 24
UDP_CORK, UDP_SEGMENT, UDP_GRO = 1, 103, 104
SO_RXQ_OVFL, SO_TIMESTAMP, SO_TIMESTAMPNS = 40, 29, 35

def section(name):
    print("--", name, flush=True)

def attempt(what, call, *args):
    try:
        r = call(*args)
        print(what, "ok", r if isinstance(r, (int, bytes, str, tuple, list)) else "")
    except OSError as e:
        print(what, errno.errorcode.get(e.errno, e.errno))

def pair(addr="127.0.0.1"):
    family = V6 if ":" in addr else V4
    r, s = socket.socket(family, UDP), socket.socket(family, UDP)
    r.bind((addr, 0))
    return r, s, r.getsockname()

def drain(r):
    out = []
    while True:
        try:
            data, control, flags, peer = r.recvmsg(70000, 1000, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return out
        out.append((len(data), control, flags))

section("control messages both ways")
r, s, to = pair()
for name in (IP_PKTINFO, socket.IP_RECVTOS, 12, IP_RECVORIGDST):
    r.setsockopt(IP, name, 1); print(r.getsockopt(IP, name))
s.sendto(b"plain", to)
def show(r):
    data, control, flags, peer = r.recvmsg(100, 1000)
    control = [(l, t, d if t != IP_RECVORIGDST else (d[:2], d[2:4] == struct.pack("!H", to[1]), d[4:])) for l, t, d in control]
    print(data, control, flags, peer[0])
show(r)
def info(source="0.0.0.0", index=0):
    return (IP, IP_PKTINFO, struct.pack("i", index) + socket.inet_aton(source) + bytes(4))
for what, control in (
    ("source", [info("127.0.0.7")]), ("index", [info(index=1)]), ("ttl", [(IP, socket.IP_TTL, struct.pack("i", 9))]),
    ("tos", [(IP, socket.IP_TOS, struct.pack("i", 0x28))]), ("tos of a byte", [(IP, socket.IP_TOS, b"\x10")]),
    ("all", [info("127.0.0.8", 1), (IP, socket.IP_TTL, struct.pack("i", 3)), (IP, socket.IP_TOS, b"\x04")]),
):
    attempt(what, s.sendmsg, [b"x"], control, 0, to); show(r)
for what, control in (
    ("foreign source", [info("10.9.9.9")]), ("no such index", [info(index=99)]), ("ttl 0", [(IP, socket.IP_TTL, struct.pack("i", 0))]),
    ("ttl 256", [(IP, socket.IP_TTL, struct.pack("i", 256))]), ("short", [(IP, IP_PKTINFO, b"abc")]), ("unknown", [(IP, 99, b"abcd")]),
    ("tos 256", [(IP, socket.IP_TOS, struct.pack("i", 256))]), ("short ttl", [(IP, socket.IP_TTL, b"\x05")]),
):
    attempt(what, s.sendmsg, [b"x"], control, 0, to)
attempt("another level", s.sendmsg, [b"x"], [(IPV6, 50, bytes(20))], 0, to); show(r)

section("the same in IPv6")
r6, s6, to6 = pair("::1")
for name in (socket.IPV6_RECVPKTINFO, socket.IPV6_RECVHOPLIMIT, socket.IPV6_RECVTCLASS):
    r6.setsockopt(IPV6, name, 1)
def info6(source="::", index=0):
    return (IPV6, socket.IPV6_PKTINFO, socket.inet_pton(V6, source) + struct.pack("i", index))
for what, control in (
    ("source", [info6("::1")]), ("index", [info6(index=1)]), ("hops", [(IPV6, socket.IPV6_HOPLIMIT, struct.pack("i", 9))]),
    ("default hops", [(IPV6, socket.IPV6_HOPLIMIT, struct.pack("i", -1))]), ("class", [(IPV6, socket.IPV6_TCLASS, struct.pack("i", 0x28))]),
):
    attempt(what, s6.sendmsg, [b"x"], control, 0, to6)
    data, control, flags, peer = r6.recvmsg(100, 1000); print(data, control, flags, peer[0])
for what, control in (
    ("foreign source", [info6("2001:db8::1")]), ("hops 256", [(IPV6, socket.IPV6_HOPLIMIT, struct.pack("i", 256))]),
    ("short", [(IPV6, socket.IPV6_PKTINFO, b"abc")]), ("class 256", [(IPV6, socket.IPV6_TCLASS, struct.pack("i", 256))]),
):
    attempt(what, s6.sendmsg, [b"x"], control, 0, to6)
print(drain(r6))

section("segments")
r, s, to = pair()
for value in (0, 1000, -1, 65535, 65536):
    attempt(("UDP_SEGMENT", value), s.setsockopt, UDP_LEVEL, UDP_SEGMENT, value)
s.setsockopt(UDP_LEVEL, UDP_SEGMENT, 1000); print(s.getsockopt(UDP_LEVEL, UDP_SEGMENT))
for size in (2500, 1000, 10):
    attempt(size, s.sendto, bytes(size), to); print(drain(r))
r.setsockopt(UDP_LEVEL, UDP_GRO, 1); print(r.getsockopt(UDP_LEVEL, UDP_GRO))
for size in (2500, 1000, 10):
    attempt(size, s.sendto, bytes(size), to); print(drain(r))
for size, total in ((10, 640), (10, 1281), (1, 200)):
    s.setsockopt(UDP_LEVEL, UDP_SEGMENT, size)
    attempt((size, total), s.sendto, bytes(total), to); print(drain(r))
s.setsockopt(UDP_LEVEL, UDP_SEGMENT, 0)
attempt("by message", s.sendmsg, [bytes(300)], [(UDP_LEVEL, UDP_SEGMENT, struct.pack("H", 100))], 0, to); print(drain(r))
attempt("of four bytes", s.sendmsg, [bytes(300)], [(UDP_LEVEL, UDP_SEGMENT, struct.pack("i", 100))], 0, to); print(drain(r))

section("corked")
s.setsockopt(UDP_LEVEL, UDP_CORK, 1)
s.sendto(b"abc", to); s.sendto(b"def", ("127.0.0.1", 9)); print(drain(r), s.getsockopt(UDP_LEVEL, UDP_CORK))
s.setsockopt(UDP_LEVEL, UDP_CORK, 0); print(drain(r))
s.sendto(b"abc", socket.MSG_MORE, to); s.sendto(b"def", to); print(drain(r))
s.sendto(b"abc", socket.MSG_MORE, to); attempt("too much", s.sendto, bytes(65507), to); print(drain(r))
s.sendto(b"after", to); print(drain(r))

section("peek and truncate")
r, s, to = pair()
s.sendto(b"0123456789", to)
print(r.recv(4, socket.MSG_PEEK), r.recvmsg(4, 0, socket.MSG_PEEK)[::2], r.recvmsg(4, 0, socket.MSG_PEEK | socket.MSG_TRUNC)[2] & socket.MSG_TRUNC)
buf = bytearray(4)
print(r.recv_into(buf, 4, socket.MSG_TRUNC), bytes(buf))
s.sendto(b"", to); print(r.recvfrom(10)[0], drain(r))

section("what there is no room for")
r, s, to = pair()
r.setsockopt(SOL, SO_RXQ_OVFL, 1); print(r.getsockopt(SOL, SO_RXQ_OVFL))
for value in (0, 4096):
    r.setsockopt(SOL, socket.SO_RCVBUF, value); print(r.getsockopt(SOL, socket.SO_RCVBUF))
r.setsockopt(SOL, socket.SO_RCVBUF, 4096)
for _ in range(50): s.sendto(bytes(100), to)
got = drain(r); print(0 < len(got) < 50, all(not control for _, control, _ in got))
s.sendto(b"x", to)
(_, control, _), = drain(r); print([(l, t, struct.unpack("I", d)[0] == 50 - len(got)) for l, t, d in control])

section("timestamps")
for name in (SO_TIMESTAMP, SO_TIMESTAMPNS, 63, 64):
    r, s, to = pair()
    r.setsockopt(SOL, name, 1)
    print([r.getsockopt(SOL, other) for other in (SO_TIMESTAMP, SO_TIMESTAMPNS, 63, 64)])
    before = time.time(); s.sendto(b"x", to); data, control, _, _ = r.recvmsg(10, 100); after = time.time()
    (level, kind, stamp), = control
    seconds, part = struct.unpack("qq", stamp)
    at = seconds + part / (1e6 if name in (SO_TIMESTAMP, 63) else 1e9)
    print(level, kind, before - 0.01 <= at <= after + 0.01)
    r.setsockopt(SOL, name, 0); s.sendto(b"x", to); print(drain(r))

section("binding")
s = socket.socket(V4, UDP)
s.setsockopt(IP, NO_PORT, 1); s.bind(("127.0.0.1", 0)); print(s.getsockname(), s.getsockopt(IP, NO_PORT))
attempt("again", s.bind, ("127.0.0.1", 0)); r, _, to = pair(); s.connect(to); print(s.getsockname()[1] != 0)
s = socket.socket(V4, UDP)
attempt("foreign", s.bind, ("10.9.9.9", 0)); s.setsockopt(IP, IP_FREEBIND, 1)
attempt("free", s.bind, ("10.9.9.9", 0)); print(s.getsockname()[0], s.getsockopt(IP, IP_FREEBIND))
attempt("send", s.sendto, b"x", to)
t = socket.socket(V4, UDP); t.setsockopt(IP, IP_TRANSPARENT, 1); t.bind(("10.9.9.9", 0))
print(t.getsockopt(IP, IP_TRANSPARENT))
s = socket.socket(V4, UDP); attempt("device", s.setsockopt, SOL, socket.SO_BINDTODEVICE, b"lo\0"); print(s.getsockopt(SOL, socket.SO_BINDTODEVICE, 16))
attempt("no device", s.setsockopt, SOL, socket.SO_BINDTODEVICE, b"nope\0"); s.sendto(b"by lo", to); print(r.recv(10))

section("who shares a port")
def holder(reuse, port, addr="127.0.0.1", to=0):
    s = socket.socket(V4, UDP)
    for name in reuse: s.setsockopt(SOL, name, 1)
    s.bind((addr, to)); return s
A, P = socket.SO_REUSEADDR, socket.SO_REUSEPORT
for one in ((), (A,), (P,), (A, P)):
    row = []
    for two in ((), (A,), (P,), (A, P)):
        a = holder(one, 0)
        try: b = holder(two, 0, to=a.getsockname()[1]); row.append("+"); b.close()
        except OSError as e: row.append(errno.errorcode[e.errno])
        a.close()
    print(one, row)
a = holder((A,), 0); b = holder((A,), 0, to=a.getsockname()[1])
s = socket.socket(V4, UDP); s.sendto(b"x", a.getsockname()); print(len(drain(a)), len(drain(b)))
group = [holder((P,), 0)]; group += [holder((P,), 0, to=group[0].getsockname()[1]) for _ in range(3)]
for _ in range(64):
    s = socket.socket(V4, UDP)
    for _ in range(2): s.sendto(b"x", group[0].getsockname())
counts = [len(drain(x)) for x in group]; print(sum(counts), all(n > 0 and n % 2 == 0 for n in counts))
one, two = group[:2]; peer = socket.socket(V4, UDP); peer.bind(("127.0.0.1", 0)); two.connect(peer.getsockname())
for _ in range(3): peer.sendto(b"x", one.getsockname())
print(len(drain(two)))

section("MTU")
s = socket.socket(V4, UDP)
attempt("not connected", s.getsockopt, IP, IP_MTU); s.connect(to); print(s.getsockopt(IP, IP_MTU) >= 65535)
for value in range(-1, 7):
    attempt(("discover", value), s.setsockopt, IP, IP_MTU_DISCOVER, value); print(s.getsockopt(IP, IP_MTU_DISCOVER))

section("connected")
r, s, to = pair()
s.connect(to); s.send(b"one"); data, peer = r.recvfrom(10); print(data, peer == s.getsockname(), s.getpeername() == to)
x = socket.socket(V4, UDP); x.sendto(b"stranger", s.getsockname()); r.sendto(b"peer", peer); print(s.recv(20))
attempt("elsewhere", s.sendto, b"x", ("127.0.0.1", 9))
s.shutdown(socket.SHUT_WR); attempt("after shutdown", s.send, b"x")
s.shutdown(socket.SHUT_RD); print(s.recv(10))
y = socket.socket(V4, UDP); attempt("shutdown", y.shutdown, socket.SHUT_RDWR); attempt("no peer", y.send, b"x")
for n in (65507, 65508): attempt(n, y.sendto, bytes(n), to)
print([n for n, _, _ in drain(r)])
