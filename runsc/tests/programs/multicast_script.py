import errno, select, socket, struct

IP, IPV6 = socket.IPPROTO_IP, socket.IPPROTO_IPV6
V4, V6 = socket.AF_INET, socket.AF_INET6
TCP, UDP, RAW = socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW
IP_UNBLOCK_SOURCE, IP_BLOCK_SOURCE, IP_ADD_SOURCE, IP_DROP_SOURCE, IP_MSFILTER = 37, 38, 39, 40, 41
MCAST_JOIN, MCAST_BLOCK, MCAST_UNBLOCK, MCAST_LEAVE, MCAST_JOIN_SOURCE, MCAST_LEAVE_SOURCE, MCAST_MSFILTER = range(42, 49)
IP_MULTICAST_ALL, IPV6_MULTICAST_ALL = 49, 29
GROUP, OTHER, LO = "239.1.2.3", "239.1.2.4", "127.0.0.1"
GROUP6, OTHER6 = "ff15::1234", "ff15::1235"

def section(name):
    print("--", name, flush=True)

def attempt(what, call, *args):
    try:
        r = call(*args)
        print(what, "ok", r if isinstance(r, (int, bytes, str, tuple, list)) else "")
    except OSError as e:
        print(what, errno.errorcode.get(e.errno, e.errno))

def ip(text):
    return socket.inet_aton(text)

def ip6(text):
    return socket.inet_pton(V6, text)

def mreq(group, iface=LO):
    return ip(group) + ip(iface)

def mreqn(group, addr, index):
    return ip(group) + ip(addr) + struct.pack("i", index)

def mreq_source(group, source, iface=LO):
    return ip(group) + ip(iface) + ip(source)

def storage(addr):
    if ":" in addr:
        return struct.pack("HHI", V6, 0, 0) + ip6(addr) + bytes(128 - 24)
    return struct.pack("HH", V4, 0) + ip(addr) + bytes(128 - 8)

def group_req(group, index=1):
    return struct.pack("I4x", index) + storage(group)

def group_source_req(group, source, index=1):
    return struct.pack("I4x", index) + storage(group) + storage(source)

def receiver(group="", port=0, family=V4, reuse=True):
    s = socket.socket(family, UDP)
    if reuse: s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((group, port))
    return s

def sender(source=LO):
    s = socket.socket(V4, UDP)
    s.bind((source, 0))
    s.setsockopt(IP, socket.IP_MULTICAST_IF, ip(LO))
    return s

def heard(*sockets):
    "What each has, after one datagram of its own to each has come through behind it."
    out = []
    for s in sockets:
        got = []
        while True:
            try:
                got.append(s.recv(100, socket.MSG_DONTWAIT))
            except BlockingIOError:
                break
        out.append(got)
    return out

section("joining and leaving")
s = receiver()
attempt("not a group", s.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreq("10.0.0.1"))
attempt("short", s.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, ip(GROUP))
attempt("no such address", s.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP, "10.9.9.9"))
attempt("no route", s.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP, "0.0.0.0"))
attempt("no such index", s.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreqn(GROUP, "0.0.0.0", 99))
attempt("leave first", s.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, mreq(GROUP))
attempt("join", s.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP))
attempt("again", s.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP))
attempt("again by index", s.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreqn(GROUP, "0.0.0.0", 1))
attempt("again by MCAST_JOIN", s.setsockopt, IP, MCAST_JOIN, group_req(GROUP))
attempt("leave another", s.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, mreq(OTHER))
attempt("leave", s.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, mreqn(GROUP, "0.0.0.0", 1))
attempt("leave again", s.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, mreq(GROUP))
attempt("leave nowhere", s.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, mreq(GROUP, "0.0.0.0"))
for n in range(25):
    try:
        s.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, mreq("239.0.0.%d" % n))
    except OSError as e:
        print("at", n, errno.errorcode[e.errno])
        break
attempt("MCAST_JOIN short", s.setsockopt, IP, MCAST_JOIN, group_req(GROUP)[:100])
attempt("MCAST_JOIN of IPv6", s.setsockopt, IP, MCAST_JOIN, group_req(GROUP6))
attempt("MCAST_LEAVE of none", s.setsockopt, IP, MCAST_LEAVE, group_req(GROUP))
s.close()
t = socket.socket(V4, TCP)
for name in ("IP_ADD_MEMBERSHIP", "IP_DROP_MEMBERSHIP"):
    attempt(("TCP", name), t.setsockopt, IP, getattr(socket, name), mreq(GROUP))
attempt("TCP IF", t.setsockopt, IP, socket.IP_MULTICAST_IF, ip(LO))
attempt("TCP TTL", t.setsockopt, IP, socket.IP_MULTICAST_TTL, 5)
t.close()

section("options")
s = socket.socket(V4, UDP)
for name, number in (("TTL", socket.IP_MULTICAST_TTL), ("LOOP", socket.IP_MULTICAST_LOOP), ("ALL", IP_MULTICAST_ALL)):
    print(name, s.getsockopt(IP, number))
    for value in (0, 1, 2, 255, 256, -1, -2, b"\x07", b"\x00"):
        attempt((name, value), s.setsockopt, IP, number, value)
        print(s.getsockopt(IP, number))
print(s.getsockopt(IP, socket.IP_MULTICAST_IF, 4))
attempt("IF", s.setsockopt, IP, socket.IP_MULTICAST_IF, ip(LO))
print(s.getsockopt(IP, socket.IP_MULTICAST_IF, 4))
attempt("IF by index", s.setsockopt, IP, socket.IP_MULTICAST_IF, mreqn("0.0.0.0", "0.0.0.0", 1))
print(s.getsockopt(IP, socket.IP_MULTICAST_IF, 4))
attempt("IF by bad index", s.setsockopt, IP, socket.IP_MULTICAST_IF, mreqn("0.0.0.0", "0.0.0.0", 99))
attempt("IF by bad address", s.setsockopt, IP, socket.IP_MULTICAST_IF, ip("10.9.9.9"))
attempt("IF short", s.setsockopt, IP, socket.IP_MULTICAST_IF, b"ab")
attempt("IF none", s.setsockopt, IP, socket.IP_MULTICAST_IF, ip("0.0.0.0"))
print(s.getsockopt(IP, socket.IP_MULTICAST_IF, 4))
s.close()
s = socket.socket(V6, UDP)
for name, number in (("HOPS", socket.IPV6_MULTICAST_HOPS), ("LOOP", socket.IPV6_MULTICAST_LOOP), ("ALL", IPV6_MULTICAST_ALL), ("IF", socket.IPV6_MULTICAST_IF)):
    print(name, s.getsockopt(IPV6, number))
    for value in (0, 1, 2, 255, 256, -1, -2, b"\x01"):
        attempt((name, value), s.setsockopt, IPV6, number, value)
        print(s.getsockopt(IPV6, number))
s.close()

section("who hears")
a = receiver()
port = a.getsockname()[1]
a.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP))
b, c, d, e = receiver("", port), receiver(GROUP, port), receiver(OTHER, port), receiver(LO, port)
f = receiver("", port); f.setsockopt(IP, IP_MULTICAST_ALL, 0)
g = receiver("", port); g.connect((LO, 9))
h = receiver("::", port, V6)
s = sender()
print(s.sendto(b"one", (GROUP, port)))
print(heard(a, b, c, d, e, f, g, h))
f.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP))
s.setsockopt(IP, socket.IP_MULTICAST_LOOP, 0)
s.sendto(b"two", (GROUP, port)); print(heard(a, b, c, d, e, f, g, h))
s.setsockopt(IP, socket.IP_MULTICAST_TTL, 0)
s.sendto(b"three", (GROUP, port)); print(heard(a, b, f))
s.sendto(b"nobody", (OTHER, port)); print(heard(a, b, d))
a.setsockopt(IP, socket.IP_DROP_MEMBERSHIP, mreq(GROUP))
s.sendto(b"four", (GROUP, port)); print(heard(a, b, c, f))
f.close()
s.sendto(b"five", (GROUP, port)); print(heard(a, b, c))
for x in (a, b, c, d, e, g, h): x.close()

section("sources")
a = receiver(); port = a.getsockname()[1]
two = sender("127.0.0.2")
def both(what, *sockets):
    for who, text in ((s, b"1"), (two, b"2")):
        who.sendto(text, (GROUP, port))
    print(what, heard(*sockets))
attempt("block before joining", a.setsockopt, IP, IP_BLOCK_SOURCE, mreq_source(GROUP, LO))
attempt("drop before joining", a.setsockopt, IP, IP_DROP_SOURCE, mreq_source(GROUP, LO))
attempt("join", a.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP))
both("all", a)
attempt("block", a.setsockopt, IP, IP_BLOCK_SOURCE, mreq_source(GROUP, LO))
both("blocked", a)
attempt("block again", a.setsockopt, IP, IP_BLOCK_SOURCE, mreq_source(GROUP, LO))
attempt("add another kind", a.setsockopt, IP, IP_ADD_SOURCE, mreq_source(GROUP, LO))
attempt("unblock another", a.setsockopt, IP, IP_UNBLOCK_SOURCE, mreq_source(GROUP, "127.0.0.9"))
attempt("unblock", a.setsockopt, IP, MCAST_UNBLOCK, group_source_req(GROUP, LO))
both("unblocked", a)
attempt("unblock again", a.setsockopt, IP, IP_UNBLOCK_SOURCE, mreq_source(GROUP, LO))
attempt("kind may change while empty", a.setsockopt, IP, IP_ADD_SOURCE, mreq_source(GROUP, LO))
both("only 1", a)
attempt("drop wrong", a.setsockopt, IP, IP_DROP_SOURCE, mreq_source(GROUP, "127.0.0.9"))
attempt("add", a.setsockopt, IP, MCAST_JOIN_SOURCE, group_source_req(GROUP, "127.0.0.2"))
both("1 and 2", a)
attempt("drop", a.setsockopt, IP, MCAST_LEAVE_SOURCE, group_source_req(GROUP, LO))
both("only 2", a)
attempt("drop the last leaves", a.setsockopt, IP, IP_DROP_SOURCE, mreq_source(GROUP, "127.0.0.2"))
both("left", a)
attempt("leave", a.setsockopt, IP, socket.IP_DROP_MEMBERSHIP, mreq(GROUP))
attempt("join a source", a.setsockopt, IP, IP_ADD_SOURCE, mreq_source(GROUP, "127.0.0.2"))
b = receiver("", port); b.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP))
c = receiver("", port); c.setsockopt(IP, IP_MULTICAST_ALL, 0)
both("filters of several", a, b, c)
attempt("short", a.setsockopt, IP, IP_BLOCK_SOURCE, mreq(GROUP))
for n in range(25):
    try:
        a.setsockopt(IP, IP_ADD_SOURCE, mreq_source(GROUP, "10.0.0.%d" % n))
    except OSError as e:
        print("at", n, errno.errorcode[e.errno])
        break
attempt("join what has sources", a.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP))
for x in (a, b, c): x.close()

section("whole filters")
a = receiver("", port)
def filter4(mode, *sources):
    return ip(GROUP) + ip(LO) + struct.pack("II", mode, len(sources)) + b"".join(map(ip, sources))
def show(sock):
    try:
        print(get_filter(sock))
    except OSError as e:
        print(errno.errorcode[e.errno])
def get_filter(sock):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    buf = ctypes.create_string_buffer(filter4(0) + bytes(40), 56)
    buf[12:16] = struct.pack("I", 10)
    n = ctypes.c_int(56)
    if libc.getsockopt(sock.fileno(), IP, IP_MSFILTER, buf, ctypes.byref(n)) < 0:
        raise OSError(ctypes.get_errno(), "")
    mode, count = struct.unpack("II", buf[8:16])
    return n.value, mode, count, sorted(buf[16 + 4 * i:20 + 4 * i] for i in range(min(count, 10)))
show(a)
attempt("before joining", a.setsockopt, IP, IP_MSFILTER, filter4(1, LO))
a.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP))
show(a)
attempt("include", a.setsockopt, IP, IP_MSFILTER, filter4(1, LO, "127.0.0.7"))
show(a); both("include 1", a)
attempt("exclude", a.setsockopt, IP, IP_MSFILTER, filter4(0, LO))
show(a); both("exclude 1", a)
attempt("bad mode", a.setsockopt, IP, IP_MSFILTER, filter4(2, LO))
attempt("too many", a.setsockopt, IP, IP_MSFILTER, filter4(1, *["10.0.0.%d" % n for n in range(11)]))
attempt("count over length", a.setsockopt, IP, IP_MSFILTER, ip(GROUP) + ip(LO) + struct.pack("II", 1, 3) + ip(LO))
attempt("short", a.setsockopt, IP, IP_MSFILTER, ip(GROUP))
attempt("include nothing leaves", a.setsockopt, IP, IP_MSFILTER, filter4(1))
show(a)
attempt("generic", a.setsockopt, IP, MCAST_JOIN, group_req(GROUP))
attempt("generic include", a.setsockopt, IP, MCAST_MSFILTER, struct.pack("I4x", 1) + storage(GROUP) + struct.pack("II", 1, 1) + storage("127.0.0.2"))
both("include 2", a)
a.close()

section("IPv6")
r = receiver("::", 0, V6); port = r.getsockname()[1]
attempt("not a group", r.setsockopt, IPV6, socket.IPV6_JOIN_GROUP, ip6("::1") + struct.pack("I", 1))
attempt("short", r.setsockopt, IPV6, socket.IPV6_JOIN_GROUP, ip6(GROUP6))
attempt("no such index", r.setsockopt, IPV6, socket.IPV6_JOIN_GROUP, ip6(GROUP6) + struct.pack("I", 99))
attempt("leave first", r.setsockopt, IPV6, socket.IPV6_LEAVE_GROUP, ip6(GROUP6) + struct.pack("I", 1))
attempt("join", r.setsockopt, IPV6, socket.IPV6_JOIN_GROUP, ip6(GROUP6) + struct.pack("I", 1))
attempt("again", r.setsockopt, IPV6, socket.IPV6_JOIN_GROUP, ip6(GROUP6) + struct.pack("I", 1))
attempt("v4 group by v6", r.setsockopt, IPV6, MCAST_JOIN, group_req(GROUP))
attempt("v4 group by IP", r.setsockopt, IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP))
q = receiver("::", port, V6); q.setsockopt(IPV6, IPV6_MULTICAST_ALL, 0)
p = receiver(GROUP6, port, V6)
o = receiver(OTHER6, port, V6)
z = socket.socket(V6, UDP); z.bind(("::1", 0))
attempt("send", z.sendto, b"no interface", (GROUP6, port))
print(heard(r, q, p))
z.setsockopt(IPV6, socket.IPV6_MULTICAST_IF, 1)
attempt("send", z.sendto, b"six", (GROUP6, port))
attempt("send", z.sendto, b"other", (OTHER6, port))
print(heard(r, q, p, o))
attempt("block", r.setsockopt, IPV6, MCAST_BLOCK, group_source_req(GROUP6, "::1"))
attempt("send", z.sendto, b"blocked", (GROUP6, port)); print(heard(r, q, p))
attempt("unblock", r.setsockopt, IPV6, MCAST_UNBLOCK, group_source_req(GROUP6, "::1"))
attempt("unblock again", r.setsockopt, IPV6, MCAST_UNBLOCK, group_source_req(GROUP6, "::1"))
attempt("join a source", q.setsockopt, IPV6, MCAST_JOIN_SOURCE, group_source_req(GROUP6, "::1"))
attempt("send", z.sendto, b"both", (GROUP6, port)); print(heard(r, q, p))
attempt("join another source", q.setsockopt, IPV6, MCAST_JOIN_SOURCE, group_source_req(GROUP6, "::2"))
attempt("leave source", q.setsockopt, IPV6, MCAST_LEAVE_SOURCE, group_source_req(GROUP6, "::1"))
attempt("send", z.sendto, b"one", (GROUP6, port)); print(heard(r, q, p))
attempt("leave", r.setsockopt, IPV6, socket.IPV6_LEAVE_GROUP, ip6(GROUP6) + struct.pack("I", 0))
attempt("leave again", r.setsockopt, IPV6, socket.IPV6_LEAVE_GROUP, ip6(GROUP6) + struct.pack("I", 1))
z.setsockopt(IPV6, socket.IPV6_MULTICAST_HOPS, 0)
r.setsockopt(IPV6, socket.IPV6_JOIN_GROUP, ip6(GROUP6) + struct.pack("I", 1))
attempt("no hops", z.sendto, b"nothing", (GROUP6, port)); print(heard(r, p))
n = 0
for n in range(25):
    try:
        r.setsockopt(IPV6, socket.IPV6_JOIN_GROUP, ip6("ff15::1:%x" % n) + struct.pack("I", 1))
    except OSError as e:
        print("at", n, errno.errorcode[e.errno])
        break
else:
    print("25 and more")
t = socket.socket(V6, TCP)
attempt("TCP", t.setsockopt, IPV6, socket.IPV6_JOIN_GROUP, ip6(GROUP6) + struct.pack("I", 1))
attempt("TCP HOPS", t.setsockopt, IPV6, socket.IPV6_MULTICAST_HOPS, 5)
attempt("TCP IF", t.setsockopt, IPV6, socket.IPV6_MULTICAST_IF, 1)
for x in (r, q, p, o, z, t): x.close()

section("raw sockets")
r = socket.socket(V4, RAW, 200)
r.setsockopt(IP, socket.IP_ADD_MEMBERSHIP, mreq(GROUP))
r.setsockopt(IP, IP_MULTICAST_ALL, 0)
w = socket.socket(V4, RAW, 200); w.setsockopt(IP, socket.IP_MULTICAST_IF, ip(LO))
w.sendto(b"raw", (GROUP, 0)); w.sendto(b"other", (OTHER, 0))
print([x[20:] for x in heard(r)[0]], [x[20:] for x in heard(w)[0]])

section("broadcasts")
s = socket.socket(V4, UDP)
attempt("without the option", s.sendto, b"x", ("255.255.255.255", 9))
attempt("connect without it", s.connect, ("255.255.255.255", 9))
print(s.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST))
attempt("bind to a group", socket.socket(V4, UDP).bind, (GROUP, 0))
attempt("bind to the broadcast address", socket.socket(V4, UDP).bind, ("255.255.255.255", 0))
attempt("bind to a group of IPv6", socket.socket(V6, UDP).bind, (GROUP6, 0))
attempt("raw bind to a group", socket.socket(V4, RAW, 200).bind, (GROUP, 0))
attempt("send as a group", s.sendto, b"x", (LO, 9))
