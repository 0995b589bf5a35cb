import array, fcntl, os, re, socket, struct, subprocess

def section(name):
    print("--", name, flush=True)

def without_ipv6(text):
    lines, skip = [], False
    for line in text.split("\n"):
        if line.strip().startswith("inet6"):
            skip = True
        elif not (skip and line.strip().startswith("valid_lft")):
            skip = False
            lines.append(line)
    return "\n".join(lines)

# The stack's loopback has the largest MTU that an IPv4 packet can have, the kernel's one more.
def run(*command):
    r = subprocess.run(command, capture_output=True, text=True)
    print(command, r.returncode, without_ipv6(r.stdout.replace("65535", "65536") + r.stderr))

section("interfaces and routes by netlink")
print(socket.if_nameindex())
run("ip", "addr")
run("ip", "-br", "link")
run("ip", "route")
run("ip", "addr", "show", "dev", "lo")
run("ip", "link", "show", "nonesuch")
run("ip", "route", "get", "127.0.0.1")
run("ip", "-4", "addr", "show", "lo")
n = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
n.bind((0, 0))
n.send(struct.pack("IHHIIBxxxII", 24, 22, 0x301, 77, 0, 2, 0, 0)[:24])
size = n.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
answer = n.recv(4096)
print(size == len(answer), struct.unpack("IHHII", answer[:16])[1:4], n.getsockname()[0] == struct.unpack("I", answer[12:16])[0])
print(struct.unpack("IHHII", n.recv(4096)[:16])[:4])
n.send(struct.pack("IHHII", 20, 99, 5, 78, 0) + bytes(4))
print(struct.unpack("IHHIIi", n.recv(4096)[:20])[1:4])
try:
    socket.socket(socket.AF_NETLINK, socket.SOCK_STREAM, 0)
except OSError as e:
    print(e)

section("interfaces by ioctl")
print(socket.if_nametoindex("lo"), socket.if_indextoname(1))
s = socket.socket()
for request in (0x8913, 0x8915, 0x8917, 0x8919, 0x891B, 0x891D, 0x8927, 0x8933, 0x8942):
    print(hex(request), fcntl.ioctl(s, request, struct.pack("16s24x", b"lo"))[16:32])
space = array.array("B", bytes(400))
answer = fcntl.ioctl(s, 0x8912, struct.pack("iP", 400, space.buffer_info()[0]))
used = struct.unpack("iP", answer)[0]
print(used, bytes(space[:used]))
try:
    fcntl.ioctl(s, 0x8933, struct.pack("16s24x", b"nonesuch"))
except OSError as e:
    print(e)

section("tables in /proc/net")
l = socket.socket()
l.bind(("127.0.0.1", 5555))
l.listen(3)
c = socket.socket()
c.bind(("127.0.0.1", 5556))
c.connect(("127.0.0.1", 5555))
a, _ = l.accept()
a.send(b"hello")
while len(c.recv(5, socket.MSG_PEEK)) < 5 or struct.unpack("i", fcntl.ioctl(a, 0x5411, bytes(4)))[0]:
    pass
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
u.bind(("0.0.0.0", 5557))
v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
v.bind(("127.0.0.1", 5558))
v.connect(("127.0.0.1", 5557))
OWN = (":15B3", ":15B4", ":15B5", ":15B6")
def lines(name):
    # What others have left (TIME-WAIT of earlier programs) is none of this one's.
    return [line for line in open("/proc/net/" + name).read().split("\n") if any(port + " " in line for port in OWN)]
def rows(name):
    for line in lines(name):
        fields = line.split()
        yield len(line), fields[1:5], fields[7:9]
def inode(s):
    return os.readlink("/proc/self/fd/%d" % s.fileno())
for name in ("tcp", "udp"):
    print(open("/proc/net/" + name).readline().rstrip("\n") + "|")
    print(sorted(rows(name), key=str))
inodes = [line.split()[9] for line in lines("tcp")]
print(sorted("socket:[%s]" % i for i in inodes) == sorted(map(inode, (l, c, a))))
path = "/tmp/network-script-%d" % os.getpid()
x = socket.socket(socket.AF_UNIX)
x.bind(path)
x.listen()
y = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
y.bind("\0abstract-%d" % os.getpid())
z = socket.socket(socket.AF_UNIX)
z.connect(path)
own = {inode(s): s for s in (x, y, z)}
found = []
for line in open("/proc/net/unix"):
    fields = line.split()
    if "socket:[%s]" % fields[6] in own:
        found.append((fields[2:6], [re.sub(r"\d+", "N", p) for p in fields[7:]]))
print(sorted(found))
os.unlink(path)
print(open("/proc/net/route").readline().rstrip("\n") + "|")
table = open("/proc/net/dev").read().rstrip("\n").split("\n")
counts = table[2].split()
print(table[:2], len(table), counts[0], len(counts), int(counts[1]) > 0, int(counts[2]) > 0, counts[1:3] == counts[9:11])
