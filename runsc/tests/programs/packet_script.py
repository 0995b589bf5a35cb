import ctypes, errno, os, socket, struct

V4, V6, UDP, RAW, LINK = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.AF_PACKET
SOL, SOL_PACKET = socket.SOL_SOCKET, 263
ATTACH, DETACH, LOCK = 26, 27, 44
ADD_MEMBERSHIP, DROP_MEMBERSHIP, STATISTICS, AUXDATA, IGNORE_OUTGOING = 1, 2, 6, 8, 23
ALL, IPV4, OWN = 3, 0x800, 0x88b5

def section(name):
    print("--", name, flush=True)

def attempt(what, call, *args):
    try:
        r = call(*args)
        print(what, "ok", r if isinstance(r, (int, bytes, str, tuple, list)) else "")
    except OSError as e:
        print(what, errno.errorcode.get(e.errno, e.errno))

def watcher(kind=RAW, proto=ALL):
    s = socket.socket(LINK, kind, 0)
    s.bind(("lo", proto))
    return s

def drain(s, size=70000):
    out = []
    while True:
        try:
            out.append(s.recvfrom(size, socket.MSG_DONTWAIT))
        except BlockingIOError:
            return out

def program(*insns):
    return b"".join(struct.pack("HBBI", *insn) for insn in insns)

def attach(s, *insns):
    code = program(*insns)
    buffer = ctypes.create_string_buffer(code, max(len(code), 1))
    s.setsockopt(SOL, ATTACH, struct.pack("HxxxxxxQ", len(insns), ctypes.addressof(buffer)))

section("sockets")
for kind in (RAW, UDP, socket.SOCK_STREAM):
    attempt(kind, lambda: socket.socket(LINK, kind, 0).close())
s = socket.socket(LINK, RAW, socket.htons(ALL))
print(s.getsockname(), [s.getsockopt(SOL, name) for name in (socket.SO_TYPE, 39, 38, socket.SO_ERROR)])
s.bind(("lo", IPV4)); print(s.getsockname())
attempt("connect", s.connect, ("lo", 0)); attempt("listen", s.listen, 1); attempt("peer", s.getpeername)
attempt("shutdown", s.shutdown, socket.SHUT_RDWR)
attempt("no such device", s.bind, ("nope0", IPV4))
if os.fork() == 0:
    os.setuid(65534)
    attempt("unprivileged", socket.socket, LINK, RAW, 0); os._exit(0)
os.wait()

section("both directions")
u = socket.socket(V4, UDP); u.bind(("127.0.0.1", 0)); to = u.getsockname(); v = socket.socket(V4, UDP)
everything, cooked, incoming, other = watcher(), watcher(UDP), watcher(RAW, IPV4), watcher(RAW, OWN)
v.sendto(b"payload", to)
def short(all, header=14):
    return [(data[:header], data[header], data[header + 9], data[-7:], len(data), addr) for data, addr in all]
print(short(drain(everything))); print(short(drain(cooked), 0)); print(short(drain(incoming))); print(drain(other))
everything.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1); v.sendto(b"payload", to); print(short(drain(everything)))
attempt("bad", everything.setsockopt, SOL_PACKET, IGNORE_OUTGOING, 2); print(everything.getsockopt(SOL_PACKET, IGNORE_OUTGOING))
everything.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 0)
for x in (everything, cooked, incoming, other): drain(x)
drain(u)

section("sending")
frame = bytes(12) + struct.pack("!H", OWN) + b"a frame of our own"
attempt("frame", other.send, frame); print(drain(other)); print(drain(everything)); print(drain(cooked), drain(incoming))
attempt("short", other.send, b"x" * 13); attempt("nothing", other.send, b"")
x = socket.socket(LINK, UDP, 0)
attempt("no interface", x.send, b"x")
attempt("cooked", x.sendto, b"cooked", ("lo", OWN, 0, 0, b"\1\2\3\4\5\6")); print([data[12:] for data, _ in drain(other)]); drain(everything)
for y in (everything, cooked, incoming): drain(y)

section("lengths")
w = watcher(); v.sendto(b"0123456789", to); u.recv(100)
print(w.recvfrom(10)[0]); data, control, flags, addr = w.recvmsg(10, 0, socket.MSG_TRUNC); print(len(data), flags & socket.MSG_TRUNC, addr)
v.sendto(b"0123456789", to); u.recv(100); buffer = bytearray(10); print(w.recv_into(buffer, 10, socket.MSG_TRUNC)); print(len(w.recv(100, socket.MSG_PEEK)), len(w.recv(100)))

section("what goes along")
drain(w); print(struct.unpack("II", w.getsockopt(SOL_PACKET, STATISTICS, 8)), struct.unpack("II", w.getsockopt(SOL_PACKET, STATISTICS, 8)))
w.setsockopt(SOL_PACKET, AUXDATA, 1); print(w.getsockopt(SOL_PACKET, AUXDATA))
v.sendto(b"x", to); u.recv(10)
print([[(l, t, struct.unpack("IIIHHHH", d)) for l, t, d in w.recvmsg(100, 100)[1]] for _ in range(2)])
other.send(frame); print(struct.unpack("IIIHHHH", w.recvmsg(100, 100)[1][0][2])); drain(w)
for what, mreq in (("promiscuous", struct.pack("iHH8s", 1, 1, 0, b"")), ("again", struct.pack("iHH8s", 1, 1, 0, b"")), ("no device", struct.pack("iHH8s", 99, 1, 0, b"")), ("short", b"abc")):
    attempt(what, w.setsockopt, SOL_PACKET, ADD_MEMBERSHIP, mreq)
attempt("drop", w.setsockopt, SOL_PACKET, DROP_MEMBERSHIP, struct.pack("iHH8s", 1, 1, 0, b""))
attempt("unknown", w.setsockopt, SOL_PACKET, 99, 1)
w.setsockopt(SOL, socket.SO_RCVBUF, 4096)
for _ in range(50): v.sendto(bytes(100), to)
drain(u); got = len(drain(w)); packets, drops = struct.unpack("II", w.getsockopt(SOL_PACKET, STATISTICS, 8)); print(0 < got < 100, packets - drops == got)

section("filters")
w = watcher(); drain(w)
port = (0x28, 0, 0, 14 + 22), (0x15, 0, 1, to[1]), (6, 0, 0, 40), (6, 0, 0, 0)
attach(w, *port)
t = socket.socket(V4, UDP); t.bind(("127.0.0.1", 0))
v.sendto(b"wanted", to); v.sendto(b"not wanted", t.getsockname()); print([(len(data), addr[2]) for data, addr in drain(w)])
attach(w, (0x28, 0, 0, 0xfffff000), (0x15, 0, 1, OWN), (6, 0, 0, 0xffffffff), (6, 0, 0, 0)); v.sendto(b"x", to); other.send(frame); print([len(data) for data, _ in drain(w)])
attach(w, (0x20, 0, 0, 0xfffff004), (0x15, 0, 1, 4), (6, 0, 0, 20), (6, 0, 0, 0)); v.sendto(b"x", to); print([(len(data), addr[2]) for data, addr in drain(w)])
attempt("detach", w.setsockopt, SOL, DETACH, 0); attempt("detach again", w.setsockopt, SOL, DETACH, 0)
for what, insns in (("empty", ()), ("no return", ((0, 0, 0, 1),)), ("backward", ((5, 0, 0, 0xffffffff), (6, 0, 0, 0))), ("by zero", ((0x34, 0, 0, 0), (6, 0, 0, 0))), ("word", ((0x60, 0, 0, 3), (6, 0, 0, 0))),
    ("unknown", ((0xf0, 0, 0, 0), (6, 0, 0, 0))), ("too far", ((0x15, 1, 0, 0), (6, 0, 0, 0))), ("ancillary", ((0x20, 0, 0, 0xfffff002), (6, 0, 0, 0))), ("shift", ((0x64, 0, 0, 32), (6, 0, 0, 0))), ("long", ((6, 0, 0, 1),) * 4096), ("too long", ((6, 0, 0, 1),) * 4097)):
    attempt(what, attach, w, *insns)
attempt("bad pointer", w.setsockopt, SOL, ATTACH, struct.pack("HxxxxxxQ", 1, 8)); attempt("short", w.setsockopt, SOL, ATTACH, b"abcdefgh")
attempt("lock", w.setsockopt, SOL, LOCK, 1); print(w.getsockopt(SOL, LOCK))
attempt("unlock", w.setsockopt, SOL, LOCK, 0); attempt("attach", attach, w, (6, 0, 0, 1)); attempt("detach", w.setsockopt, SOL, DETACH, 0)
drain(u)
attach(u, (0x80, 0, 0, 0), (0x25, 0, 1, 12), (6, 0, 0, 0xffffffff), (6, 0, 0, 0))
for n in (4, 5, 100): v.sendto(bytes(n), to)
print([len(data) for data, _ in drain(u)])
attach(u, (0x28, 0, 0, 2), (0x15, 0, 1, to[1]), (6, 0, 0, 11), (6, 0, 0, 0)); v.sendto(b"cut short", to); print(drain(u)[0][0])
attach(u, (0x30, 0, 0, 0xfff00009), (0x15, 0, 1, 17), (6, 0, 0, 1), (6, 0, 0, 0)); v.sendto(b"x", to); print(drain(u)[0][0])
attach(u, (6, 0, 0, 0)); v.sendto(b"x", to); print(drain(u)); u.setsockopt(SOL, DETACH, 0); v.sendto(b"x", to); print(drain(u)[0][0])
r = socket.socket(V4, RAW, 200); attach(r, (0x30, 0, 0, 9), (0x15, 0, 1, 200), (6, 0, 0, 22), (6, 0, 0, 0)); r.sendto(b"raw", ("127.0.0.1", 0)); print([data[20:] for data, _ in drain(r)])
