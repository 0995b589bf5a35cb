# Corners of the system-call surface that only show in rare programs.
import ctypes, errno, fcntl, mmap, os, pty, resource, shutil, signal, socket, struct, tempfile, threading, time

libc = ctypes.CDLL(None, use_errno=True)

def call(nr, *args):
    result = libc.syscall(nr, *args)
    return errno.errorcode[ctypes.get_errno()] if result < 0 else result

def attempt(work):
    try:
        return work()
    except OSError as e:
        return errno.errorcode[e.errno]

def section(name):
    print("--", name, flush=True)

d = tempfile.mkdtemp()

section("sendfile")
def source(kind):
    if kind == "file":
        fd = os.open(d + "/in", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        os.write(fd, b"abc"); os.lseek(fd, 0, 0)
        return fd
    if kind == "pipe":
        r, w = os.pipe(); os.write(w, b"abc")
        return r
    if kind == "socket":
        a, b = socket.socketpair(); b.send(b"abc"); kept.append((a, b))
        return a.fileno()
    m, s = pty.openpty(); os.write(m, b"abc\n\x04"); kept.append((m, s))
    return s
def target(kind):
    if kind == "file":
        return os.open(d + "/out", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    if kind == "pipe":
        return os.pipe()[1]
    a, b = socket.socketpair(); kept.append((a, b))
    return a.fileno()
kept = []
for i in ("file", "pipe", "socket", "pty"):
    for o in ("file", "pipe", "socket"):
        from_, to = source(i), target(o)
        first = attempt(lambda: os.sendfile(to, from_, None, 1000))
        # The end of file that was typed after the line is told, not swallowed.
        second = attempt(lambda: os.sendfile(to, from_, None, 1000)) if i in ("file", "pty") else None
        print(i, o, first, second)
m, s = pty.openpty(); os.write(m, b"abc\n\x04")
r, w = os.pipe()
print(os.splice(s, w, 1000) if hasattr(os, "splice") else 4)

section("RLIMIT_FSIZE")
signal.signal(signal.SIGXFSZ, lambda *a: print("SIGXFSZ"))
big = os.open(d + "/big", os.O_RDWR | os.O_CREAT); os.ftruncate(big, 5000)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
out = os.open(d + "/limited", os.O_RDWR | os.O_CREAT)
print(os.sendfile(out, big, 0, 3000), attempt(lambda: os.sendfile(out, big, 0, 10)))
print(os.copy_file_range(big, out, 3000, 0, 10), attempt(lambda: os.copy_file_range(big, out, 10, 0, 1000)))
r, w = os.pipe(); os.write(w, b"x" * 100)
out2 = os.open(d + "/limited2", os.O_RDWR | os.O_CREAT); os.lseek(out2, 990, 0)
nr = lambda *a: libc.splice(*a)
print(nr(r, None, out2, None, 100, 0), nr(r, None, out2, None, 100, 0) < 0 and errno.errorcode[ctypes.get_errno()])
print(os.fstat(out2).st_size)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.getrlimit(resource.RLIMIT_FSIZE)[1],) * 2)

section("futex_waitv")
words = (ctypes.c_uint32 * 3)(1, 2, 3)
class Waitv(ctypes.Structure):
    _fields_ = [("val", ctypes.c_uint64), ("addr", ctypes.c_uint64), ("flags", ctypes.c_uint32), ("reserved", ctypes.c_uint32)]
def vector(values, flags=2 | 128):
    base = ctypes.addressof(words)
    return (Waitv * len(values))(*[Waitv(v, base + 4 * i, flags, 0) for i, v in enumerate(values)])
def at(seconds, clock=time.CLOCK_MONOTONIC):
    t = time.clock_gettime(clock) + seconds
    return struct.pack("qq", int(t), int(t % 1 * 1e9))
waitv = lambda v, n=None, flags=0, timeout=None, clock=1: call(449, v, len(v) if n is None else n, flags, timeout, clock)
print(waitv(vector([1, 2, 4])), waitv(vector([1, 2, 3]), timeout=at(0.01)), waitv(vector([1]), timeout=at(0.01, 0), clock=0))
print(waitv(vector([1]), n=0), waitv(vector([1]), n=129), waitv(vector([1]), flags=1), waitv(vector([1], flags=0)), waitv(vector([1], flags=3)),
      waitv(vector([1]), timeout=at(0), clock=7), call(449, 8, 1, 0, None, 1), call(449, None, 1, 0, None, 1))
bad = vector([1]); bad[0].addr += 1; print(waitv(bad)); bad[0].addr = 8; print(waitv(bad)); bad = vector([1]); bad[0].reserved = 1; print(waitv(bad))
# Which word it was: woken until somebody waits there.
result = []
waiter = threading.Thread(target=lambda: result.append(waitv(vector([1, 2, 3]))))
waiter.start()
while call(202, ctypes.byref(words, 4), 129, 1, None, None, 0) == 0:
    time.sleep(0.001)
waiter.join(); print(result)
# A signal ends it.
signal.signal(signal.SIGALRM, lambda *a: None); signal.siginterrupt(signal.SIGALRM, True)
signal.setitimer(signal.ITIMER_REAL, 0.02); print(waitv(vector([1, 2]), timeout=at(30)))

section("membarrier")
query = call(324, 0, 0, 0)
print(query & 0x19 == 0x19, call(324, 8, 0, 0), call(324, 16, 0, 0), call(324, 8, 0, 0), call(324, 1, 0, 0), call(324, 8, 1, 0), call(324, 1 << 20, 0, 0))
stop = threading.Event(); other = threading.Thread(target=stop.wait); other.start()
print(call(324, 8, 0, 0)); stop.set(); other.join()
pid = os.fork()
if pid == 0:
    os._exit(0 if call(324, 8, 0, 0) == 0 else 1)
print(os.waitpid(pid, 0)[1])

section("F_NOTIFY")
plain, directory = os.open(d + "/in", os.O_RDONLY), os.open(d, os.O_RDONLY)
print(attempt(lambda: fcntl.fcntl(plain, fcntl.F_NOTIFY, fcntl.DN_MULTISHOT)), attempt(lambda: fcntl.fcntl(directory, fcntl.F_NOTIFY, 0)),
      attempt(lambda: fcntl.fcntl(plain, fcntl.F_NOTIFY, fcntl.DN_CREATE)))

section("pidfd_send_signal")
signal.signal(signal.SIGUSR1, lambda *a: print("SIGUSR1"))
own = os.open("/proc/self", os.O_DIRECTORY); tasks = os.open("/proc/self/task", os.O_DIRECTORY)
print(call(424, own, signal.SIGUSR1, None, 0), call(424, tasks, signal.SIGUSR1, None, 0), call(424, plain, 0, None, 0), call(424, os.open("/proc", os.O_DIRECTORY), 0, None, 0))
pid = os.fork()
if pid == 0:
    os._exit(0)
child = os.open(f"/proc/{pid}", os.O_DIRECTORY)
os.waitpid(pid, 0)
print(call(424, child, 0, None, 0))

section("statfs")
usage = shutil.disk_usage("/usr")
print(usage.total > usage.used > 0)

section("TIOCGPTPEER")
m, s = pty.openpty()
peer = fcntl.ioctl(m, 0x5441, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
print(os.ttyname(peer) == os.ttyname(s), os.fstat(peer).st_rdev == os.fstat(s).st_rdev, os.get_inheritable(peer), os.isatty(peer))
os.write(m, b"x\n"); print(os.read(peer, 9), attempt(lambda: fcntl.ioctl(s, 0x5441, os.O_RDWR)), attempt(lambda: fcntl.ioctl(r, 0x5441, os.O_RDWR)))

section("SO_OOBINLINE")
for kind in ((socket.AF_INET, socket.SOCK_STREAM), (socket.AF_INET, socket.SOCK_DGRAM), (socket.AF_UNIX, socket.SOCK_STREAM)):
    s = socket.socket(*kind); before = s.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, 5); print(before, s.getsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE))

section("SCHED_RESET_ON_FORK")
RESET = os.SCHED_RESET_ON_FORK
os.setpriority(os.PRIO_PROCESS, 0, -5)
os.sched_setscheduler(0, os.SCHED_BATCH | RESET, os.sched_param(0))
print(os.sched_getscheduler(0) == os.SCHED_BATCH | RESET, os.getpriority(os.PRIO_PROCESS, 0), flush=True)
pid = os.fork()
if pid == 0:
    print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(attempt(lambda: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))), os.sched_getscheduler(0))
print(attempt(lambda: os.sched_getscheduler(-1)), attempt(lambda: os.sched_getparam(999999)), attempt(lambda: os.sched_rr_get_interval(-1)))
shutil.rmtree(d)

section("interrupted transfers")
signal.signal(signal.SIGALRM, lambda *a: None)
def tcp():
    listener = socket.create_server(("127.0.0.1", 0)); c = socket.create_connection(listener.getsockname())
    return c, listener.accept()[0]
class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]
class Mmsghdr(ctypes.Structure):
    _fields_ = [("name", ctypes.c_void_p), ("namelen", ctypes.c_uint32), ("iov", ctypes.c_void_p), ("iovlen", ctypes.c_size_t), ("control", ctypes.c_void_p),
                ("controllen", ctypes.c_size_t), ("flags", ctypes.c_int), ("len", ctypes.c_uint32)]
big = ctypes.create_string_buffer(32 << 20)
for restart in (True, False):
    signal.siginterrupt(signal.SIGALRM, not restart)
    for pair in (tcp, socket.socketpair):
        for what in ("send", "write", "sendmsg", "sendmmsg"):
            a, b = pair(); iov = Iovec(ctypes.addressof(big), len(big)); header = Mmsghdr(iov=ctypes.addressof(iov), iovlen=1)
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            if what == "write": sent = libc.write(a.fileno(), big, len(big))
            elif what == "send": sent = libc.send(a.fileno(), big, len(big), 0)
            elif what == "sendmsg": sent = libc.sendmsg(a.fileno(), ctypes.byref(header), 0)
            else:
                messages = libc.sendmmsg(a.fileno(), ctypes.byref(header), 1, 0)
                sent = header.len if messages == 1 else messages
            a.close(); got = 0
            while part := len(b.recv(1 << 20)): got += part
            print(restart, what, 0 < sent < len(big), got == sent)
        # Half of what was asked for has come when the signal does.
        a, b = pair(); a.sendall(b"x" * 1000); buffer = ctypes.create_string_buffer(2000)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        print(restart, "recv", libc.recv(b.fileno(), buffer, 2000, socket.MSG_WAITALL))

print("-- oom_score_adj")
def score(value=None):
    with open("/proc/self/oom_score_adj", "r" if value is None else "w") as f:
        return f.read() if value is None else f.write(value)
score("500")
print(repr(score()))
for bad in ("1001", "-1001", "much"):
    try:
        score(bad)
    except OSError as e:
        print(bad, e.strerror)
if os.fork() == 0:
    print("inherited", repr(score()), flush=True)
    os._exit(0)
os.wait()
score("0")
print(repr(score()))
