# Pseudo terminals: sessions, controlling terminals, foreground groups, what a hang-up does.
import errno, fcntl, os, pty, signal, termios

TIOCSCTTY = termios.TIOCSCTTY


def outcome(call):
    try:
        return call()
    except OSError as error:
        return errno.errorcode[error.errno]


def child():
    print("leads", os.getsid(0) == os.getpid(), os.tcgetpgrp(0) == os.getpid())
    print("setsid again", outcome(os.setsid))
    print("taken again", outcome(lambda: fcntl.ioctl(0, TIOCSCTTY, 0)))
    other, slave = pty.openpty()
    print("a second one", outcome(lambda: fcntl.ioctl(slave, TIOCSCTTY, 0)))
    tty = os.open("/dev/tty", os.O_RDWR)
    print("tty", os.isatty(tty), os.ttyname(0).startswith("/dev/pts/"))
    print("foreground", outcome(lambda: os.tcsetpgrp(0, os.getpid())))
    if os.fork() == 0:
        print("not a leader", outcome(lambda: fcntl.ioctl(slave, TIOCSCTTY, 0)), flush=True)
        os._exit(0)
    os.wait()
    signal.signal(signal.SIGHUP, lambda *_: os._exit(5))
    print("ready", flush=True)
    signal.pause()


pid, master = pty.fork()
if pid == 0:
    child()
text = b""
while b"ready" not in text:
    text += os.read(master, 4096)
print(text.decode().replace("\r\n", "\n"), end="")
os.close(master)
print("hung up", os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
