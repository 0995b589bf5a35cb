import errno, select, socket, struct

IP, IPV6, SOL, SOL_RAW = socket.IPPROTO_IP, socket.IPPROTO_IPV6, socket.SOL_SOCKET, 255
V4, V6, UDP, RAW, TCP = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_STREAM
IP_HDRINCL, IPV6_HDRINCL, IPV6_CHECKSUM, ICMP_FILTER = 3, 36, 7, 1
LO = "127.0.0.1"

def section(name):
    print("--", name, flush=True)

def attempt(what, call, *args):
    try:
        r = call(*args)
        print(what, "ok", r if isinstance(r, (int, bytes, str, tuple, list)) else "")
    except OSError as e:
        print(what, errno.errorcode.get(e.errno, e.errno))

def drain(s):
    out = []
    while True:
        try:
            out.append(s.recv(70000, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return out

def checksum(data):
    if len(data) % 2: data += b"\0"
    total = sum(struct.unpack("!%dH" % (len(data) // 2), data))
    while total >> 16: total = (total & 0xffff) + (total >> 16)
    return ~total & 0xffff

def header(proto, src, dst, payload, length=0, ident=0, ttl=64):
    return struct.pack("!BBHHHBBH", 0x45, 0, length, ident, 0, ttl, proto, 0) + socket.inet_aton(src) + socket.inet_aton(dst) + payload

section("sockets")
for family in (V4, V6):
    for proto in (0, 1, 2, 58, 200, 255, -1):
        attempt((family, proto), lambda: socket.socket(family, RAW, proto).close())

section("payloads")
r = socket.socket(V4, RAW, 200); s = socket.socket(V4, RAW, 200); other = socket.socket(V4, RAW, 201)
attempt("send", s.sendto, b"hello", (LO, 0))
got, = drain(r); print(got[0], got[8], got[9], got[12:20], got[20:], checksum(got[:20]), len(drain(s)), drain(other))
attempt("no peer", s.send, b"x")
attempt("connect", s.connect, (LO, 0)); attempt("peer", s.getpeername); print(s.getsockname()); s.connect((LO, 5)); print(s.getpeername()); attempt("send", s.send, b"to the peer"); print(drain(r)[0][20:])
bound = socket.socket(V4, RAW, 200); attempt("bind", bound.bind, ("127.0.0.2", 77)); print(bound.getsockname())
bound.sendto(b"from 2", (LO, 0)); print([x[12:20] for x in drain(r)], len(drain(bound)), len(drain(s)))
attempt("foreign", socket.socket(V4, RAW, 200).bind, ("10.9.9.9", 0))
s.setsockopt(IP, socket.IP_TTL, 9); s.setsockopt(IP, socket.IP_TOS, 0x28); s.send(b"x"); got, = drain(r); print(got[8], got[1])
attempt("too long", s.send, bytes(65536)); attempt("large", s.send, bytes(60000)); print([len(x) for x in drain(r)])
r.sendto(b"", (LO, 0)); print([x[20:] for x in drain(r)], len(drain(s)))

section("headers included")
r = socket.socket(V4, RAW, 200); h = socket.socket(V4, RAW, 255)
print(h.getsockopt(IP, IP_HDRINCL), r.getsockopt(IP, IP_HDRINCL))
attempt("send", h.sendto, header(200, "0.0.0.0", LO, b"data", length=999), (LO, 0))
got, = drain(r); print(got[:4], got[8:10], got[12:], checksum(got[:20]))
attempt("as another", h.sendto, header(200, "127.0.0.9", LO, b"data", ident=7), (LO, 0))
got, = drain(r); print(got[4:6], got[12:])
attempt("short", h.sendto, b"x" * 10, (LO, 0))
attempt("header longer than all", h.sendto, b"\x4f" + header(200, LO, LO, b"")[1:], (LO, 0))
r.setsockopt(IP, IP_HDRINCL, 1); attempt("on any", r.sendto, header(200, LO, LO, b"self"), (LO, 0)); print([x[20:] for x in drain(r)])
u = socket.socket(V4, UDP); attempt("UDP", u.setsockopt, IP, IP_HDRINCL, 1)
u.bind((LO, 0)); port = u.getsockname()[1]
datagram = struct.pack("!HHHH", 1234, port, 12, 0) + b"fake"
h.sendto(header(17, "127.0.0.5", LO, datagram), (LO, 0)); print(u.recvfrom(100))

section("ICMP")
p = socket.socket(V4, RAW, 1); q = socket.socket(V4, RAW, 1)
request = struct.pack("!BBHHH", 8, 0, 0, 99, 1) + b"payload"
request = request[:2] + struct.pack("!H", checksum(request)) + request[4:]
p.sendto(request, (LO, 0)); print(sorted((x[20], x[24:]) for x in drain(p)), len(drain(q)))
attempt("filter", q.setsockopt, SOL_RAW, ICMP_FILTER, struct.pack("I", 1 << 8)); print(q.getsockopt(SOL_RAW, ICMP_FILTER, 4))
p.sendto(request, (LO, 0)); print([x[20] for x in drain(q)]); drain(p)
attempt("filter of another", r.setsockopt, SOL_RAW, ICMP_FILTER, struct.pack("I", 1))
attempt("unknown", q.setsockopt, SOL_RAW, 99, 1)
u = socket.socket(V4, UDP); u.sendto(b"x", (LO, 9)); got = drain(p); print([(x[20:22], len(x)) for x in got])

section("ICMPv6 and checksums")
p = socket.socket(V6, RAW, 58)
print(p.getsockopt(IPV6, IPV6_CHECKSUM), p.getsockopt(SOL_RAW, IPV6_CHECKSUM))
attempt("fixed", p.setsockopt, IPV6, IPV6_CHECKSUM, 4)
p.sendto(struct.pack("!BBHHH", 128, 0, 0, 99, 1) + b"six", ("::1", 0)); print(sorted((x[0], x[4:]) for x in drain(p)))
r = socket.socket(V6, RAW, 200); s = socket.socket(V6, RAW, 200)
print(r.getsockopt(IPV6, IPV6_CHECKSUM))
for at in (3, 2, 100, -1):
    attempt(("at", at), s.setsockopt, IPV6, IPV6_CHECKSUM, at); print(s.getsockopt(IPV6, IPV6_CHECKSUM))
s.sendto(b"abcdefgh", ("::1", 0)); print(drain(r), len(drain(s)))
s.setsockopt(IPV6, IPV6_CHECKSUM, 4); s.sendto(b"abcdefgh", ("::1", 0)); print(drain(r), drain(s))
attempt("too short", s.sendto, b"abc", ("::1", 0))
r.sendto(b"abcdefgh", ("::1", 0)); print(drain(r), drain(s))
h = socket.socket(V6, RAW, 255); print(h.getsockopt(IPV6, IPV6_HDRINCL))
packet = struct.pack("!IHBB", 6 << 28, 4, 200, 9) + socket.inet_pton(V6, "::1") * 2 + b"head"
attempt("whole", h.sendto, packet, ("::1", 0)); print(drain(r))

section("ping sockets")
open("/proc/sys/net/ipv4/ping_group_range", "w").write("0 2147483647")
print(open("/proc/sys/net/ipv4/ping_group_range").read().split())
p = socket.socket(V4, UDP, 1); attempt("bind", p.bind, (LO, 4321)); print(p.getsockname())
q = socket.socket(V4, UDP, 1); attempt("any", q.bind, (LO, 0)); print(q.getsockname()[1] != 0)
attempt("send", p.sendto, struct.pack("!BBHHH", 8, 0, 1, 1, 5) + b"data", (LO, 0)); data, peer = p.recvfrom(100); print(data[:2], data[4:], peer, drain(q))
for what, message in (("reply", b"\0\0" + bytes(6)), ("code", b"\x08\x01" + bytes(6)), ("short", b"\x08\0")):
    attempt(what, p.sendto, message, (LO, 0))
p.setsockopt(IP, 12, 1); p.connect((LO, 7)); print(p.getpeername()); p.send(struct.pack("!BBHHH", 8, 0, 0, 0, 6)); print(p.recvmsg(100, 100)[1])
attempt("unreachable", p.connect, ("192.0.2.1", 0))
p = socket.socket(V6, UDP, 58); p.connect(("::1", 0)); p.send(struct.pack("!BBHHH", 128, 0, 0, 0, 5) + b"six"); data = p.recv(100); print(data[:2], data[6:], p.getsockname()[0])
for kind, proto in ((RAW, 200), (UDP, 1)): print(socket.socket(V4, kind, proto).getsockopt(SOL, socket.SO_REUSEADDR))
p, q = socket.socket(V4, UDP, 1), socket.socket(V4, UDP, 1)
p.bind((LO, 77)); attempt("shared", q.bind, (LO, 77)); p.close(); q.close()
p, q = socket.socket(V4, UDP, 1), socket.socket(V4, UDP, 1); p.setsockopt(SOL, socket.SO_REUSEADDR, 0)
p.bind((LO, 77)); attempt("not shared", q.bind, (LO, 77))
