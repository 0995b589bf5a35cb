import errno, fcntl, os, select, signal, socket, struct, termios

SIOCATMARK = 0x8905

def section(name):
    print("--", name)

def attempt(call):
    try:
        return call()
    except OSError as e:
        return errno.errorcode[e.errno]

def listener(family=socket.AF_INET, host="127.0.0.1"):
    s = socket.socket(family)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind((host, 0))
    s.listen(8)
    return s

def connected(family=socket.AF_INET, host="127.0.0.1"):
    l = listener(family, host)
    a = socket.socket(family)
    a.connect(l.getsockname())
    b, _ = l.accept()
    l.close()
    return a, b

def ask(s, request):
    return struct.unpack("i", fcntl.ioctl(s, request, b"\0\0\0\0"))[0]

def ready(s, what, wait=10000):
    p = select.poll()
    p.register(s, what)
    return [events for _, events in p.poll(wait)]

section("urgent data beside the stream")
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    a, b = connected(family, host)
    print(attempt(lambda: b.recv(1, socket.MSG_OOB)), ask(b, SIOCATMARK))
    a.send(b"before!", socket.MSG_OOB)
    a.send(b"after")
    print(ready(b, select.POLLPRI), ready(b, select.POLLIN | select.POLLPRI))
    while ask(a, termios.TIOCOUTQ):
        pass
    print(ask(b, termios.FIONREAD), ask(b, SIOCATMARK), b.recv(100), ask(b, SIOCATMARK))
    print(b.recv(1, socket.MSG_OOB | socket.MSG_PEEK), b.recvmsg(5, 0, socket.MSG_OOB)[::2])
    print(attempt(lambda: b.recv(1, socket.MSG_OOB)), ready(b, select.POLLPRI, 0), ask(b, SIOCATMARK))
    print(b.recv(100), ask(b, SIOCATMARK))
    # Nobody reads the byte: the reader passes over it.
    a.send(b"x", socket.MSG_OOB)
    ready(b, select.POLLPRI)
    print(ready(b, select.POLLIN, 0), attempt(lambda: b.recv(5, socket.MSG_DONTWAIT)))
    a.send(b"1!", socket.MSG_OOB)
    a.send(b"2!", socket.MSG_OOB)
    while ask(a, termios.TIOCOUTQ):
        pass
    # A second one makes the first a byte of the stream, unless the reader stood before it.
    print(b.recv(100), b.recv(1, socket.MSG_OOB), attempt(lambda: b.recv(9, socket.MSG_DONTWAIT)))
    a.close()
    print(b.recv(1), attempt(lambda: b.recv(1, socket.MSG_OOB)))
    b.close()

section("urgent data in the stream")
a, b = connected()
b.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 1)
print(b.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE))
a.send(b"before!", socket.MSG_OOB)
a.send(b"after")
while ask(a, termios.TIOCOUTQ):
    pass
print(ready(b, select.POLLIN | select.POLLPRI), attempt(lambda: b.recv(1, socket.MSG_OOB)))
print(b.recv(100), ask(b, SIOCATMARK), b.recv(100), ask(b, SIOCATMARK))

section("SIGURG and EPOLLPRI")
caught = []
signal.signal(signal.SIGURG, lambda s, f: caught.append(s))
a, b = connected()
fcntl.fcntl(b, fcntl.F_SETOWN, os.getpid())
ep = select.epoll()
ep.register(b, select.EPOLLPRI | select.EPOLLET)
print(ep.poll(0), caught == [])
a.send(b"!", socket.MSG_OOB)
print([events for _, events in ep.poll(10)])
while not caught:
    pass
print(caught == [signal.SIGURG], b.recv(1, socket.MSG_OOB), ep.poll(0))
b.close()

section("connecting again")
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    free = listener(family, host)
    port = free.getsockname()[1]
    free.close()
    s = socket.socket(family)
    print([attempt(lambda: s.connect((host, port))) for _ in range(3)])
    print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
    l = listener(family, host)
    print(attempt(lambda: s.connect(l.getsockname())), attempt(lambda: s.connect(l.getsockname())))
    n = socket.socket(family)
    n.setblocking(False)
    print(attempt(lambda: n.connect((host, port))), ready(n, select.POLLOUT))
    print(errno.errorcode[n.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)], attempt(lambda: n.connect((host, port))))

SO_ZEROCOPY, MSG_ZEROCOPY, SO_TIMESTAMPING, TCP_INQ = 60, 0x4000000, 37, 36
STAMPS = {"tx software": 1 << 1, "report": 1 << 4, "id": 1 << 7, "sched": 1 << 8, "ack": 1 << 9, "only": 1 << 11}

def reports(s, wanted):
    while wanted > 0:
        ready(s, 0)
        try:
            data, control, flags, name = s.recvmsg(1000, 1000, socket.MSG_ERRQUEUE)
        except BlockingIOError:
            continue
        yield data, control, flags, name
        wanted -= 1

section("MSG_ZEROCOPY")
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    a, b = connected(family, host)
    print(a.getsockopt(socket.SOL_SOCKET, SO_ZEROCOPY), attempt(lambda: a.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 2)))
    print(a.send(b"ignored", MSG_ZEROCOPY), b.recv(100), attempt(lambda: a.recv(1, socket.MSG_ERRQUEUE)))
    a.setsockopt(socket.SOL_SOCKET, SO_ZEROCOPY, 1)
    told = []
    for _ in range(3):
        a.sendall(b"z" * 200000, MSG_ZEROCOPY)
        print(len(b.recv(200000, socket.MSG_WAITALL)))
    seen = set()
    while len(seen) < 3:
        for data, control, flags, name in reports(a, 1):
            (level, kind, bytes_), = control
            number, origin, type_, code, _, low, high = struct.unpack("IBBBBII", bytes_[:16])
            seen.update(range(low, high + 1))
            told.append((data, flags == socket.MSG_ERRQUEUE, level, kind, len(bytes_), any(bytes_[16:]), number, origin, type_, code))
    print(sorted(seen), set(told), ready(a, 0, 0))

section("SO_TIMESTAMPING of what is sent")
import time
s = socket.socket()
print(attempt(lambda: s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, 1 << 30)), attempt(lambda: s.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, 1 << 7)))
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    a, b = connected(family, host)
    a.send(b"before")
    while ask(a, termios.TIOCOUTQ):
        pass
    flags = sum(STAMPS.values())
    a.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, flags)
    print(struct.unpack("ii", a.getsockopt(socket.SOL_SOCKET, SO_TIMESTAMPING, 8)) == (flags, 0))
    start = time.time()
    for piece in (b"x" * 100, b"y" * 1000):
        a.send(piece)
        b.recv(1000)
        for data, control, flags, name in reports(a, 3):
            times = [struct.unpack("6q", d) for level, kind, d in control if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPING)]
            errors = [struct.unpack("IBBBBII", d[:16]) for level, kind, d in control if kind in (11, 25)]
            near = [start - 1 < t[0] + t[1] / 1e9 < time.time() + 1 and t[2:] == (0, 0, 0, 0) for t in times]
            print(data, errors, near, [len(d) for _, _, d in control])

section("TCP_INQ")
a, b = connected()
b.setsockopt(socket.IPPROTO_TCP, TCP_INQ, 1)
print(b.getsockopt(socket.IPPROTO_TCP, TCP_INQ), attempt(lambda: b.setsockopt(socket.IPPROTO_TCP, TCP_INQ, 2)))
a.send(b"0123456789")
while ask(a, termios.TIOCOUTQ):
    pass
print(b.recvmsg(4, 100)[:2], b.recvmsg(4, 100, socket.MSG_PEEK)[:2])
a.shutdown(socket.SHUT_WR)
ready(b, select.POLLRDHUP)
print(b.recvmsg(4, 100)[:2], b.recvmsg(4, 100)[:2], b.recvmsg(4, 100)[:2])

section("queues")
SIOCOUTQNSD = 0x894b
l = listener()
print([attempt(lambda: ask(l, request)) for request in (termios.FIONREAD, termios.TIOCOUTQ, SIOCOUTQNSD, SIOCATMARK)])
print([attempt(lambda: ask(socket.socket(), request)) for request in (termios.FIONREAD, termios.TIOCOUTQ, SIOCOUTQNSD, SIOCATMARK)])
a, b = connected()
a.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 1)
a.send(b"corked")
print(ask(a, termios.TIOCOUTQ), ask(a, SIOCOUTQNSD), ask(b, termios.FIONREAD))
a.setsockopt(socket.IPPROTO_TCP, socket.TCP_CORK, 0)
ready(b, select.POLLIN)
print(ask(a, SIOCOUTQNSD), ask(b, termios.FIONREAD))
