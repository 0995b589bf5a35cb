import errno, select, socket

V4, V6, UDP = socket.AF_INET, socket.AF_INET6, socket.SOCK_DGRAM
IP_RECVERR, IPV6_RECVERR = 11, 25

def show(s):
    try:
        data, control, flags, addr = s.recvmsg(1000, 1000, socket.MSG_ERRQUEUE)
        print(data, [(l, t, d.hex()) for l, t, d in control], flags, addr[0], addr[1] == port)
    except OSError as e:
        print(errno.errorcode[e.errno])

def attempt(call, *args):
    try:
        print(call(*args))
    except OSError as e:
        print(errno.errorcode[e.errno])

x = socket.socket(V4, UDP); x.bind(("127.0.0.1", 0)); port = x.getsockname()[1]; x.close()
s = socket.socket(V4, UDP); s.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1); print(s.getsockopt(socket.IPPROTO_IP, IP_RECVERR))
show(s)
s.sendto(b"hello", ("127.0.0.1", port))
p = select.poll(); p.register(s, select.POLLIN | select.POLLERR); print(p.poll(1000)[0][1], select.select([s], [], [], 1)[0] == [s])
show(s); show(s); print(s.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), p.poll(0))
s.sendto(b"one", ("127.0.0.1", port)); attempt(s.sendto, b"two", ("127.0.0.1", port))
show(s); s.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 0); show(s)
c = socket.socket(V4, UDP); c.setsockopt(socket.IPPROTO_IP, IP_RECVERR, 1); c.connect(("127.0.0.1", port)); c.send(b"connected")
attempt(c.recv, 10); show(c); show(c)
s = socket.socket(V6, UDP); s.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVERR, 1); s.sendto(b"six", ("::1", port)); show(s); show(s)
