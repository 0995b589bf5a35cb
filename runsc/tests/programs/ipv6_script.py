import errno, itertools, os, select, socket, struct

def section(name):
    print("--", name, flush=True)

def attempt(what, call, *args):
    try:
        r = call(*args)
        print(what, "ok", r if isinstance(r, (int, bytes, str, tuple, list)) else "")
    except OSError as e:
        print(what, errno.errorcode.get(e.errno, e.errno))

def hidden(addr):
    return (addr[0], addr[1] != 0) + tuple(addr[2:])

TCP, UDP = socket.SOCK_STREAM, socket.SOCK_DGRAM
V4, V6 = socket.AF_INET, socket.AF_INET6

section("a connection on the loopback interface")
l = socket.create_server(("::1", 0), family=V6)
c = socket.create_connection(l.getsockname()[:2])
s, peer = l.accept()
print(peer == c.getsockname(), s.getsockname() == c.getpeername(), hidden(peer))
c.sendall(b"hello" * 1000); c.shutdown(socket.SHUT_WR)
print(len(b"".join(iter(lambda: s.recv(4096), b""))))
print(c.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG) > 30000)
for x in (c, s, l): x.close()

section("one listener for both families")
l = socket.create_server(("", 0), family=V6, dualstack_ipv6=True)
port = l.getsockname()[1]
print(hidden(l.getsockname()), l.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
for host in ("127.0.0.1", "::1", "::ffff:127.0.0.1", "::"):
    family = V6 if ":" in host else V4
    c = socket.socket(family, TCP); c.connect((host, port))
    s, peer = l.accept()
    print(host, hidden(peer), hidden(s.getsockname()), hidden(c.getpeername()), hidden(c.getsockname()))
    c.close(); s.close()
l.close()

section("only IPv6")
l = socket.create_server(("", 0), family=V6)
print(l.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY))
c = socket.socket(V4, TCP)
attempt("connect", c.connect, ("127.0.0.1", l.getsockname()[1]))
attempt("too late", l.setsockopt, socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
c.close(); c = socket.socket(V6, TCP)
c.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
attempt("mapped connect", c.connect, ("::ffff:127.0.0.1", l.getsockname()[1]))
attempt("mapped bind", c.bind, ("::ffff:127.0.0.1", 0))
c.close(); l.close()

section("who may have a port beside whom")
def holder(kind, family, addr, only, reuse):
    s = socket.socket(family, kind)
    if family == V6: s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
    return s
names = [(V4, "0.0.0.0", 0), (V4, "127.0.0.1", 0), (V6, "::", 0), (V6, "::", 1), (V6, "::1", 0), (V6, "::1", 1), (V6, "::ffff:127.0.0.1", 0), (V6, "::ffff:0.0.0.0", 0)]
for kind in (TCP, UDP):
    for listening in ((0, 1) if kind == TCP else (0,)):
        for reuse in (0, 1):
            rows = []
            for one in names:
                row = ""
                for two in names:
                    a, b = holder(kind, *one, reuse), holder(kind, *two, reuse)
                    a.bind((one[1], 0))
                    if listening: a.listen(1)
                    try:
                        b.bind((two[1], a.getsockname()[1]))
                        row += "+"
                        if listening:
                            try:
                                b.listen(1)
                            except OSError:
                                row = row[:-1] + "l"
                    except OSError as e:
                        row += "-" if e.errno == errno.EADDRINUSE else "?"
                    a.close(); b.close()
                rows.append(row)
            print(kind == TCP, listening, reuse, rows)

section("datagrams")
a = socket.socket(V6, UDP); a.bind(("::", 0))
for name in ("IPV6_RECVPKTINFO", "IPV6_RECVHOPLIMIT", "IPV6_RECVTCLASS"):
    a.setsockopt(socket.IPPROTO_IPV6, getattr(socket, name), 1)
b = socket.socket(V6, UDP); b.bind(("::1", 0))
b.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, 0x28)
b.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, 9)
port = a.getsockname()[1]
b.sendto(b"six", ("::1", port))
data, control, flags, peer = a.recvmsg(100, 1000)
print(data, flags, hidden(peer), sorted(control))
v4 = socket.socket(V4, UDP); v4.bind(("127.0.0.1", 0))
v4.sendto(b"four", ("127.0.0.1", port))
data, control, flags, peer = a.recvmsg(100, 1000)
print(data, flags, hidden(peer), [x for x in control if x[0] == socket.IPPROTO_IPV6])
a.sendto(b"back", peer); print(v4.recv(10))
a.sendto(b"self", ("::", port)); print(a.recv(10))
attempt("port 0", a.sendto, b"x", ("::1", 0))
attempt("no route", a.sendto, b"x", ("2001:db8::1", 9))
attempt("v4 of a v6 address", b.sendto, b"x", ("::ffff:127.0.0.1", port))
attempt("too long", a.sendto, bytes(70000), ("::1", port))
attempt("largest", a.sendto, bytes(65487), ("::1", port))
a.recv(70000)
c = socket.socket(V6, UDP); c.connect(("::1", 9)); c.send(b"x")
select.select([c], [], [], 5)
attempt("closed port", c.recv, 10)
print(hidden(c.getsockname()), hidden(c.getpeername()))
for x in (a, b, v4, c): x.close()

section("names that are refused")
for kind in (TCP, UDP):
    s = socket.socket(V6, kind)
    for addr in (("2001:db8::1", 0), ("fe80::1", 0), ("::ffff:1.2.3.4", 0), ("fe80::1", 0, 0, 1)):
        attempt(("bind", addr), s.bind, addr)
    for addr in (("2001:db8::1", 9), ("fe80::1", 9), ("ff02::1", 9)):
        t = socket.socket(V6, kind)
        attempt(("connect", addr), t.connect, addr)
        t.close()
    s.close()
t = socket.socket(V6, TCP)
attempt("refused", t.connect, ("::1", 1))
t.close()

section("options")
IPV6 = socket.IPPROTO_IPV6
for family in (V4, V6):
    for kind in (TCP, UDP):
        s = socket.socket(family, kind)
        print(family, kind, s.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN), s.getsockopt(socket.SOL_SOCKET, socket.SO_PROTOCOL))
        for name in ("IPV6_V6ONLY", "IPV6_UNICAST_HOPS", "IPV6_TCLASS"):
            attempt(name, s.getsockopt, IPV6, getattr(socket, name))
        for name, value in (("IPV6_UNICAST_HOPS", 5), ("IPV6_UNICAST_HOPS", 256), ("IPV6_UNICAST_HOPS", -1), ("IPV6_TCLASS", 0x20), ("IPV6_TCLASS", 256), ("IPV6_TCLASS", -1), ("IPV6_V6ONLY", 7)):
            attempt((name, value), s.setsockopt, IPV6, getattr(socket, name), value)
            attempt(name, s.getsockopt, IPV6, getattr(socket, name))
        s.close()
for kind, proto in ((TCP, 17), (UDP, 6), (socket.SOCK_SEQPACKET, 0), (UDP, socket.IPPROTO_ICMP)):
    attempt((kind, proto), lambda: socket.socket(V6, kind, proto).close())
attempt("v4 icmpv6", lambda: socket.socket(V4, UDP, socket.IPPROTO_ICMPV6).close())

section("raw ICMPv6")
s = socket.socket(V6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
s.setsockopt(socket.IPPROTO_ICMPV6, 1, struct.pack("8I", *[0xffffffff] * 4, 0xffffffff & ~2, *[0xffffffff] * 3))
print(s.getsockopt(socket.IPPROTO_ICMPV6, 1, 32).hex())
s.sendto(struct.pack("!BBHHH", 128, 0, 0, 7, 1) + b"payload", ("::1", 0))
data, peer = s.recvfrom(100)
print(data[:2], data[4:], peer)
s.close()

section("names")
for args in (("::1", 80), ("127.0.0.1", 80), ("::ffff:1.2.3.4", 80), (None, 80)):
    found = socket.getaddrinfo(*args, type=TCP, flags=socket.AI_PASSIVE | socket.AI_NUMERICSERV)
    print(args, sorted((f.name, addr) for f, _, _, _, addr in found))
print(sorted((f.name, addr) for f, _, _, _, addr in socket.getaddrinfo("::1", 80, type=TCP, flags=socket.AI_ADDRCONFIG)))
print([line.split() for line in open("/proc/net/if_inet6") if line.split()[-1] == "lo"])
l = socket.create_server(("::1", 0), family=V6)
port = l.getsockname()[1]
lines = open("/proc/net/tcp6").read().split("\n")
print(lines[0], [f[1][:32] + f[2] + f[3] for f in map(str.split, lines[1:]) if f and f[1].endswith("%04X" % port)])
u = socket.socket(V6, UDP); u.bind(("::", 0))
lines = open("/proc/net/udp6").read().split("\n")
print(lines[0], [f[1][:32] + f[2] + f[3] for f in map(str.split, lines[1:]) if f and f[1].endswith("%04X" % u.getsockname()[1])])
