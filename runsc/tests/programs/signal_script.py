import ctypes, errno, fcntl, os, pty, select, signal, socket, struct, sys, termios, time

libc = ctypes.CDLL(None, use_errno=True)

def section(name):
    print("--", name, flush=True)

def attempt(call):
    try:
        return call()
    except OSError as e:
        return errno.errorcode[e.errno]

F_SETSIG, F_GETSIG, F_SETOWN_EX, F_GETOWN_EX, FIOASYNC = 10, 11, 15, 16, 0x5452

def wait_for(signo):
    info = signal.sigwaitinfo([signo])
    return info.si_signo, info.si_code, info.si_band

section("SIGIO")
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO, signal.SIGRTMIN + 3, signal.SIGRTMIN + 4])
a, b = socket.socketpair()
print(fcntl.fcntl(a, fcntl.F_GETOWN), fcntl.fcntl(a, F_GETSIG))
print(fcntl.ioctl(a, FIOASYNC, struct.pack("i", 1)) is not None, bool(fcntl.fcntl(a, fcntl.F_GETFL) & os.O_ASYNC))
fcntl.fcntl(a, fcntl.F_SETOWN, os.getpid())
print(fcntl.fcntl(a, fcntl.F_GETOWN) == os.getpid())
b.send(b"x")
print(wait_for(signal.SIGIO)[0], a.recv(10))
fcntl.fcntl(a, F_SETSIG, signal.SIGRTMIN + 3)
print(fcntl.fcntl(a, F_GETSIG) - signal.SIGRTMIN)
b.send(b"y")
print([n for n in wait_for(signal.SIGRTMIN + 3)], a.recv(10))
fcntl.ioctl(a, FIOASYNC, struct.pack("i", 0))
b.send(b"z")
print(signal.sigpending(), bool(fcntl.fcntl(a, fcntl.F_GETFL) & os.O_ASYNC), a.recv(10))
fcntl.fcntl(a, fcntl.F_SETFL, fcntl.fcntl(a, fcntl.F_GETFL) | os.O_ASYNC)
fcntl.fcntl(a, F_SETOWN_EX, struct.pack("ii", 0, libc.gettid()))
print(struct.unpack("ii", fcntl.fcntl(a, F_GETOWN_EX, bytes(8))) == (0, libc.gettid()))
b.close()
print(wait_for(signal.SIGRTMIN + 3)[1:])
fcntl.fcntl(a, fcntl.F_SETOWN, -os.getpgrp())
print(struct.unpack("ii", fcntl.fcntl(a, F_GETOWN_EX, bytes(8))) == (2, os.getpgrp()))
print(attempt(lambda: fcntl.fcntl(a, fcntl.F_SETOWN, 999999)), attempt(lambda: fcntl.fcntl(a, F_SETSIG, 65)), attempt(lambda: fcntl.fcntl(a, F_SETOWN_EX, struct.pack("ii", 9, 1))))
a.close()
r, w = os.pipe()
fcntl.fcntl(r, F_SETSIG, signal.SIGRTMIN + 4)
fcntl.fcntl(r, fcntl.F_SETOWN, os.getpid())
fcntl.fcntl(r, fcntl.F_SETFL, os.O_ASYNC)
os.write(w, b"through a pipe")
print(wait_for(signal.SIGRTMIN + 4)[1:], os.read(r, 100))
m, s = pty.openpty()
fcntl.fcntl(s, F_SETSIG, signal.SIGRTMIN + 4)
fcntl.fcntl(s, fcntl.F_SETOWN, os.getpid())
fcntl.ioctl(s, FIOASYNC, struct.pack("i", 1))
os.write(m, b"line\n")
print(wait_for(signal.SIGRTMIN + 4)[1:], os.read(s, 100))
os.close(s)
l = socket.socket()
l.bind(("127.0.0.1", 0))
l.listen()
fcntl.fcntl(l, fcntl.F_SETOWN, os.getpid())
fcntl.ioctl(l, FIOASYNC, struct.pack("i", 1))
c = socket.create_connection(l.getsockname())
print(wait_for(signal.SIGIO)[0])
f = open("/proc/self/exe")
print(attempt(lambda: fcntl.ioctl(f, FIOASYNC, struct.pack("i", 1))))
child = os.fork()
if child == 0:
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGIO])
    u, v = socket.socketpair()
    fcntl.fcntl(u, fcntl.F_SETOWN, os.getpid())
    fcntl.ioctl(u, FIOASYNC, struct.pack("i", 1))
    v.send(b"default action")
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGIO])
    os._exit(0)
print(os.WTERMSIG(os.waitpid(child, 0)[1]))

section("signalfd")
def signalfd(fd, signals, flags=0):
    mask = sum(1 << (s - 1) for s in signals)
    fd = libc.signalfd(fd, ctypes.byref(ctypes.c_uint64(mask)), flags)
    if fd < 0:
        raise OSError(ctypes.get_errno(), "signalfd")
    return fd
def record(data):
    f = struct.unpack("IiiIIiIIIIiiQQQQ", data[:80])
    return dict(signo=f[0], code=f[2], own=f[3] == os.getpid(), status=f[10], int=f[11])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD])
fd = signalfd(-1, [signal.SIGUSR1, signal.SIGCHLD], os.O_NONBLOCK)
print(attempt(lambda: os.read(fd, 128)), attempt(lambda: os.read(fd, 127)), select.select([fd], [], [], 0)[0])
ep = select.epoll()
ep.register(fd, select.EPOLLIN)
os.kill(os.getpid(), signal.SIGUSR1)
os.kill(os.getpid(), signal.SIGUSR2)
print(len(ep.poll(10)), select.select([fd], [], [], 0)[0] == [fd], record(os.read(fd, 1000)), attempt(lambda: os.read(fd, 128)))
print(len(ep.poll(0)), signalfd(fd, [signal.SIGUSR2]) == fd, record(os.read(fd, 128)))
signalfd(fd, [signal.SIGCHLD])
child = os.fork()
if child == 0:
    os._exit(7)
print(len(ep.poll(10)))
os.waitpid(child, 0)
print(record(os.read(fd, 128)))
os.set_blocking(fd, True)
signalfd(fd, [signal.SIGUSR1])
child = os.fork()
if child == 0:
    # An inherited descriptor reads the child's own signals.
    os.kill(os.getpid(), signal.SIGUSR1)
    os._exit(record(os.read(fd, 128))["own"])
print(os.waitpid(child, 0)[1] >> 8, attempt(lambda: signalfd(0, [1])), attempt(lambda: signalfd(-1, [1], 1)))
child = os.fork()
if child == 0:
    os.kill(os.getppid(), signal.SIGUSR1)
    os._exit(0)
print(record(os.read(fd, 128))["signo"], os.waitpid(child, 0)[1])
