import errno, fcntl, hashlib, mmap, os, select, signal, socket, stat, struct, subprocess, sys, tempfile, threading, time

def section(name):
    print("--", name)

section("files")
d = tempfile.mkdtemp()
p = os.path.join(d, "f")
with open(p, "wb") as f:
    f.write(bytes(range(256)) * 1000)
print(os.path.getsize(p), hashlib.sha256(open(p, "rb").read()).hexdigest())
fd = os.open(p, os.O_RDWR)
print(os.pread(fd, 4, 250), os.pwrite(fd, b"abcd", 10), os.pread(fd, 6, 9))
os.ftruncate(fd, 100)
print(os.fstat(fd).st_size, os.lseek(fd, -10, os.SEEK_END))
m = mmap.mmap(fd, 100)
m[0:3] = b"xyz"
m.flush()
print(os.pread(fd, 3, 0))
m.close()
print(fcntl.fcntl(fd, fcntl.F_GETFD), os.get_inheritable(fd))
os.close(fd)
os.rename(p, p + "2")
os.symlink("f2", p)
print(os.readlink(p), os.path.islink(p), stat.S_ISREG(os.stat(p).st_mode))
os.mkdir(os.path.join(d, "sub"))
print(sorted(os.listdir(d)), [sorted(x[2]) for x in os.walk(d)])
os.chmod(p, 0o600)
print(oct(os.stat(p).st_mode & 0o777))
for call in (lambda: os.open(d + "/none", os.O_RDONLY), lambda: os.rmdir(d), lambda: os.mkdir(d), lambda: os.open(d, os.O_WRONLY), lambda: os.read(999, 1), lambda: os.unlink(d + "/sub")):
    try:
        call()
    except OSError as e:
        print(errno.errorcode[e.errno])
subprocess.check_call(["rm", "-r", d])

section("processes")
r, w = os.pipe()
pid = os.fork()
if pid == 0:
    os.write(w, b"from the child")
    os._exit(5)
print(os.read(r, 100), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print(subprocess.run(["sh", "-c", "echo out; echo err >&2; exit 3"], capture_output=True))
print(subprocess.check_output("cat | tr a-z A-Z", input=b"shout", shell=True))
ps = [subprocess.Popen(["sh", "-c", "exit %d" % i]) for i in range(10)]
print([x.wait() for x in ps])
x = subprocess.Popen(["sleep", "1000"])
x.send_signal(signal.SIGTERM)
print(x.wait())
try:
    subprocess.run(["/nonexistent"])
except FileNotFoundError as e:
    print(e.strerror)

section("signals")
seen = []
signal.signal(signal.SIGUSR1, lambda s, f: seen.append(s))
os.kill(os.getpid(), signal.SIGUSR1)
signal.setitimer(signal.ITIMER_REAL, 0.01)
signal.signal(signal.SIGALRM, lambda s, f: seen.append(s))
while len(seen) < 2:
    signal.pause()
print(seen)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])
os.kill(os.getpid(), signal.SIGUSR2)
print(signal.sigpending(), signal.sigwait([signal.SIGUSR2]))

section("threads")
total = [0]
lock = threading.Lock()
def add():
    for _ in range(1000):
        with lock:
            total[0] += 1
ts = [threading.Thread(target=add) for _ in range(8)]
[t.start() for t in ts]
[t.join() for t in ts]
print(total)
e = threading.Event()
t = threading.Timer(0.01, e.set)
t.start()
print(e.wait(10))
c = threading.Condition()
print(c.acquire(), c.wait(0.01))

section("sockets")
s = socket.socket()
s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
s.bind(("127.0.0.1", 0))
s.listen(5)
def serve():
    conn, _ = s.accept()
    data = b""
    while True:
        b = conn.recv(65536)
        if not b:
            break
        data += b
    conn.sendall(hashlib.sha1(data).hexdigest().encode())
    conn.close()
t = threading.Thread(target=serve)
t.start()
k = socket.create_connection(s.getsockname())
k.sendall(b"0123456789" * 100000)
k.shutdown(socket.SHUT_WR)
print(k.recv(100))
t.join()
a, b = socket.socketpair()
a.send(b"pair")
print(b.recv(10))
u1, u2 = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u1.bind(("127.0.0.1", 0))
u2.sendto(b"datagram", u1.getsockname())
print(u1.recvfrom(100)[0])
try:
    socket.create_connection(("127.0.0.1", 1))
except ConnectionRefusedError as e:
    print(errno.errorcode[e.errno])

section("polling")
p = select.poll()
p.register(r, select.POLLIN)
print(p.poll(0))
os.write(w, b"x")
print(len(p.poll(1000)))
ep = select.epoll()
ep.register(r, select.EPOLLIN | select.EPOLLET)
print(len(ep.poll(1)), len(ep.poll(0)))
print(select.select([r], [w], [], 0) == ([r], [w], []))
start = time.monotonic()
select.select([], [], [], 0.02)
print(time.monotonic() - start >= 0.02)

section("misc")
print(len(os.urandom(16)), os.getcwd(), os.uname().sysname, os.sysconf("SC_PAGESIZE"))
print(struct.unpack("4s", open("/proc/self/exe", "rb").read(4)), os.path.exists("/proc/%d/stat" % os.getpid()))
print(open("/proc/self/status").read().count("VmData:"), os.environ["HOME"], sys.byteorder)
