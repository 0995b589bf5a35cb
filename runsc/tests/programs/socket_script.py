import errno, fcntl, hashlib, os, select, signal, socket, struct, termios, threading

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
    b, peer = l.accept()
    print(peer[0] == host, peer == a.getsockname(), a.getpeername() == b.getsockname())
    l.close()
    return a, b

def queue(s, request):
    return struct.unpack("i", fcntl.ioctl(s, request, b"\0\0\0\0"))[0]

section("streams of both families")
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    a, b = connected(family, host)
    def echo():
        digest = hashlib.sha1()
        while True:
            piece = b.recv(100000)
            if not piece:
                break
            digest.update(piece)
        b.sendall(digest.digest() * 50000)
        b.shutdown(socket.SHUT_WR)
    t = threading.Thread(target=echo)
    t.start()
    a.sendall(bytes(range(251)) * 20000)
    a.shutdown(socket.SHUT_WR)
    answer = hashlib.sha1()
    total = 0
    while True:
        piece = a.recv(1 << 20)
        if not piece:
            break
        answer.update(piece)
        total += len(piece)
    t.join()
    print(total, answer.hexdigest(), a.recv(10))
    print(a.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE), a.getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN) == family)
    a.close(); b.close()

section("flags")
a, b = connected()
a.send(b"peek at this")
print(select.select([b], [], [], 10)[0] == [b], b.recv(4, socket.MSG_PEEK), queue(b, termios.FIONREAD))
print(b.recv(4, socket.MSG_TRUNC), b.recv(100), attempt(lambda: b.recv(1, socket.MSG_DONTWAIT)))
def later():
    a.send(b"first ")
    a.send(b"second")
t = threading.Thread(target=later)
t.start()
print(b.recv(12, socket.MSG_WAITALL))
t.join()
print(a.sendmsg([b"gather ", b"", b"these"]), b.recvmsg_into([bytearray(3), bytearray(100)])[0:3])
a.send(b"urgent", socket.MSG_OOB)
p = select.poll()
p.register(b, select.POLLPRI)
print(p.poll(10000)[0][1], b.recv(10), b.recv(10, socket.MSG_OOB))
while queue(a, termios.TIOCOUTQ):
    pass
print("acknowledged")

section("endings")
caught = []
signal.signal(signal.SIGPIPE, lambda s, f: caught.append(s))
a, b = connected()
b.close()
print(a.recv(10))
p = select.poll()
p.register(a, select.POLLIN | select.POLLOUT | select.POLLRDHUP)
print(p.poll(0)[0][1])
a.shutdown(socket.SHUT_WR)
print(attempt(lambda: a.send(b"x", socket.MSG_NOSIGNAL)), list(caught), attempt(lambda: a.send(b"x")), caught)
a.close()
a, b = connected()
b.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
b.close()
print(select.select([a], [], [], 10)[0] == [a], attempt(lambda: a.recv(1)), a.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
a, b = connected()
b.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
b.close()
select.select([a], [], [], 10)
print(errno.errorcode[a.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)], a.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

section("connecting")
l = listener()
a = socket.socket()
p = select.poll()
p.register(a)
print(p.poll(0)[0][1], attempt(a.getpeername), attempt(lambda: a.send(b"x", socket.MSG_NOSIGNAL)), attempt(lambda: a.recv(1)))
a.setblocking(False)
first = attempt(lambda: a.connect(l.getsockname()))
print(first in (None, "EINPROGRESS"), select.select([], [a], [], 10)[1] == [a], a.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))
print(attempt(lambda: a.connect(l.getsockname())), a.getpeername() == l.getsockname())
c = socket.socket()
free = listener()
port = free.getsockname()[1]
free.close()
print(attempt(lambda: c.connect(("127.0.0.1", port))))
c = socket.socket()
print(attempt(lambda: c.bind(("192.0.2.1", 0))), attempt(lambda: c.bind(l.getsockname())))
l.setblocking(False)
print(l.accept()[1] == a.getsockname(), attempt(l.accept))
print(attempt(lambda: l.connect(("127.0.0.1", port))), attempt(lambda: l.send(b"x", socket.MSG_NOSIGNAL)))
l.setblocking(True)
l.settimeout(0.01)
try:
    l.accept()
except TimeoutError as e:
    print("timeout")

section("waiting")
a, b = connected()
ep = select.epoll()
ep.register(b, select.EPOLLIN | select.EPOLLET)
print(ep.poll(0))
a.send(b"one")
print(len(ep.poll(10)), len(ep.poll(0)))
a.send(b"two")
print(len(ep.poll(10)), len(ep.poll(0)), b.recv(3), b.recv(3))
b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 0, 10000))
print(attempt(lambda: b.recv(1)), len(b.getsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, 16)))
a.setblocking(False)
full = 0
while attempt(lambda: a.send(bytes(65536))) != "EAGAIN":
    full += 1
print(full > 0, select.select([], [a], [], 0)[1])
b.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("qq", 0, 0))
while not select.select([], [a], [], 0)[1]:
    b.recv(65536)
print("writable again")

section("datagrams")
for family, host in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
    u, v = socket.socket(family, socket.SOCK_DGRAM), socket.socket(family, socket.SOCK_DGRAM)
    u.bind((host, 0))
    v.bind((host, 0))
    print(v.sendto(b"a datagram", u.getsockname()), v.sendto(b"", u.getsockname()), v.sendto(b"third", u.getsockname()))
    print(queue(u, termios.FIONREAD), u.recvfrom(4, socket.MSG_PEEK)[0], u.recv_into(bytearray(4), 4, socket.MSG_PEEK | socket.MSG_TRUNC))
    data, control, flags, sender = u.recvmsg(4)
    print(data, control, flags == socket.MSG_TRUNC, sender == v.getsockname(), u.recv(10), u.recv(10))
    v.connect(u.getsockname())
    print(v.send(b"connected"), u.recv(100), attempt(lambda: v.send(bytes(70000))))
    port = u.getsockname()[1]
    u.close()
    v.send(b"nobody there")
    print(attempt(lambda: v.recv(10)))
u, v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("127.0.0.1", 0))
u.setsockopt(socket.IPPROTO_IP, 12, 1)
u.setsockopt(socket.IPPROTO_IP, socket.IP_RECVTOS, 1)
v.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, 33)
print(v.sendmsg([b"with ", b"control"], [(socket.IPPROTO_IP, socket.IP_TOS, struct.pack("i", 16))], 0, u.getsockname()))
data, control, flags, sender = u.recvmsg(100, 200)
print(data, sorted(control), flags)

section("options")
a, b = connected()
for level, name, value in (
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
    (socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 77),
    (socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 7),
    (socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 5),
    (socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 5000),
    (socket.IPPROTO_IP, socket.IP_TOS, 8),
    (socket.IPPROTO_IP, socket.IP_TTL, 9),
):
    print(a.setsockopt(level, name, value), a.getsockopt(level, name))
print(attempt(lambda: a.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, b"\1")), attempt(lambda: a.setsockopt(socket.SOL_SOCKET, socket.SO_TYPE, 1)))
print(attempt(lambda: a.setsockopt(socket.IPPROTO_TCP, 9999, 1)), attempt(lambda: a.getsockopt(77, 1)), attempt(lambda: a.setsockopt(77, 1, 1)))
a.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"reno")
print(a.getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16).rstrip(b"\0"), attempt(lambda: a.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, b"nonesuch")))
print(len(a.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 8)), a.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1))
s = socket.socket(socket.AF_INET6)
s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
s.bind(("::", 0))
s.listen()
c = socket.create_connection(("127.0.0.1", s.getsockname()[1]))
print(s.accept()[1][0], s.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN), c.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))

section("refused")
print(attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP)))
print(attempt(lambda: socket.socket(99)))
print(attempt(lambda: socket.socketpair(socket.AF_INET)))
