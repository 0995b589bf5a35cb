import errno, os, tempfile

def attempt(call):
    try:
        return call()
    except OSError as e:
        return errno.errorcode[e.errno]

for parent in ("/tmp", "/dev/shm"):
    d = tempfile.mkdtemp(dir=parent)
    p = d + "/f"
    open(p, "w").close()
    def set_(name, value, flags=0):
        return attempt(lambda: os.setxattr(p, name, value, flags))
    def get(name):
        return attempt(lambda: os.getxattr(p, name))
    def names():
        return sorted(os.listxattr(p))
    print(get("user.a"), set_("user.a", b"1"), get("user.a"), names())
    print(set_("user.a", b"2", os.XATTR_CREATE), set_("user.b", b"2", os.XATTR_REPLACE), set_("user.b", b"x" * 100), names())
    print(set_("bogus.b", b"2"), set_("trusted.b", b"2"), get("trusted.b"), names())
    print(set_("user.", b""), get("user."), set_("user." + "x" * 300, b""), set_("user.big", b"x" * 70000))
    print(attempt(lambda: os.removexattr(p, "user.a")), attempt(lambda: os.removexattr(p, "user.a")), names())
    os.symlink("f", d + "/l")
    print(attempt(lambda: os.setxattr(d + "/l", "user.q", b"", follow_symlinks=False)), os.getxattr(d + "/l", "user.b"))
    os.mkdir(d + "/d")
    os.setxattr(d + "/d", "user.q", b"v")
    print(os.getxattr(d + "/d", "user.q"))
    os.rename(p, p + "2")
    p += "2"
    print(names())
    os.unlink(p); os.unlink(d + "/l"); os.rmdir(d + "/d"); os.rmdir(d)
for name in ("user.a", "bogus.a"):
    print(attempt(lambda: os.getxattr("/etc/passwd", name)))
print(os.listxattr("/etc/passwd"), attempt(lambda: os.setxattr("/proc/self/stat", "user.a", b"")), attempt(lambda: os.getxattr("/proc/self/stat", "user.a")), attempt(lambda: os.setxattr("/dev/null", "user.a", b"")))
