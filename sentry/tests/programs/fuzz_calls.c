// Random system calls with plausible and implausible arguments: `fuzz_calls SEED COUNT`.
// Children make the calls; the parent ends those that get stuck, and reports how many it saw end.
// Whatever a child meets is its own loss: the parent must get to the end.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BATCH = 250, AREA = 1 << 20, FDS = 40, STUCK_MS = 250 };

struct shared { volatile unsigned long progress, done; volatile long last; };
static struct shared *shared;
static unsigned char *area;
static int fds[FDS], fd_count;

static uint64_t next(uint64_t *s) { // splitmix64
  uint64_t z = (*s += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return z ^ (z >> 31);
}

// What would end the child at once, wait for ever, or end the parent.
static const short denied[] = {
  SYS_exit, SYS_exit_group, SYS_pause, SYS_rt_sigsuspend, SYS_kill, SYS_tkill, SYS_tgkill,
  SYS_rt_sigqueueinfo, SYS_rt_tgsigqueueinfo, SYS_pidfd_send_signal, SYS_reboot,
};

static int is_denied(long nr) {
  for (unsigned i = 0; i < sizeof denied / sizeof *denied; i++) if (denied[i] == nr) return 1;
  return 0;
}

static const char *const paths[] = {
  "/tmp/fuzz", "/tmp/fuzz/f", "/tmp/fuzz/d", "/tmp/fuzz/l", "/tmp/fuzz/loop", "/tmp/fuzz/new", "/tmp/fuzz/d/..", ".", "..", "", "/",
  "/proc/self/fd/5", "/proc/self/maps", "/proc/self/exe", "/proc/self/mem", "/proc/1/root", "/proc/self/cwd/f", "/dev/null",
  "/dev/ptmx", "/dev/tty", "/dev/full", "/dev/zero", "/etc/passwd", "/etc", "/sys", "/proc", "/tmp/fuzz/fifo", "/tmp/fuzz/sock", "/bin/true", "f", "d/x",
};

static uint64_t address(uint64_t *s) {
  uint64_t r = next(s);
  uint64_t at = (uint64_t)area;
  switch (r % 24) {
  case 0: return 0;
  case 1: return at + AREA;                     // past the end: unmapped
  case 2: return at + AREA - 1 - (r >> 8) % 16; // straddles
  case 3: return at + AREA + 0x2000;            // read-only
  case 4: return at + AREA + 0x4000;            // PROT_NONE
  case 5: return 0xffff800000000000;
  case 6: return 0x8000000000000000 + (r >> 32);
  case 7: return -(r >> 8 & 0xfff);
  case 8: return 0x7ff000000000 + (r >> 20 & 0x1fffffff); // the platform's
  case 9: return r & 0x7fffffffffff;
  case 10: return 0x7ffffffff000 - (r >> 8 & 0x1fff);
  default: return at + (r >> 8) % (AREA - 0x10000) / 8 * (r & 64 ? 8 : 1);
  }
}

static uint64_t argument(uint64_t *s) {
  uint64_t r = next(s);
  switch (r % 16) {
  case 0: return r >> 8 & 7;
  case 1: return (int64_t)-(int)(r >> 8 & 7);
  case 2: return 1ull << (r >> 8 & 63);
  case 3: return (1ull << (r >> 8 & 63)) - 1;
  case 4: return next(s);
  case 5: return r >> 8 & 0xffff;
  case 6: return (uint64_t)paths[(r >> 8) % (sizeof paths / sizeof *paths)];
  case 7: return (int64_t)AT_FDCWD;
  case 8: case 9: case 10: return fd_count ? fds[(r >> 8) % fd_count] : 3 + (int)(r >> 8 & 31);
  case 11: return 0;
  default: return address(s);
  }
}

static void scribble(uint64_t *s) { // a struct somewhere of addresses, sizes and flags
  uint64_t at = next(s) % (AREA - 256) / 8 * 8;
  for (int i = 0; i < 12; i++) {
    uint64_t value = argument(s);
    memcpy(area + at + 8 * i, &value, 8);
  }
}

static long call(long nr, const uint64_t *a) {
  register long r10 __asm__("r10") = a[3], r8 __asm__("r8") = a[4], r9 __asm__("r9") = a[5];
  long ret;
  __asm__ volatile("syscall" : "=a"(ret) : "0"(nr), "D"(a[0]), "S"(a[1]), "d"(a[2]), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  if (ret == 0 && (nr == SYS_fork || nr == SYS_vfork || nr == SYS_clone || nr == SYS_clone3))
    __asm__ volatile("syscall" : : "a"(SYS_exit), "D"(0));
  return ret;
}

static void calls(uint64_t *s, int count) {
  while (count-- > 0) {
    uint64_t r = next(s);
    long nr = r % 32 == 0 ? r >> 8 & 1023 : r % 11 == 0 ? 424 + (r >> 8) % 40 : (r >> 8) % 335;
    if (is_denied(nr) || (nr == SYS_rt_sigreturn && r >> 40 & 31)) continue;
    uint64_t a[6];
    for (int i = 0; i < 6; i++) a[i] = argument(s);
    if (nr == SYS_close || nr == SYS_close_range) a[0] = 200 + (a[0] & 63); // keep the descriptors
    if (nr == SYS_prlimit64) a[0] = 0;
    if ((nr == SYS_munmap || nr == SYS_mmap || nr == SYS_mprotect || nr == SYS_mremap) && r & 1 << 20) a[0] = (uint64_t)area + (r >> 30) % 64 * 4096, a[1] &= 0x1ffff;
    if (next(s) % 4 == 0) scribble(s);
    shared->progress++;
    shared->last = nr;
    call(nr, a);
  }
}

static void *other_thread(void *seed) { uint64_t s = (uint64_t)seed; calls(&s, BATCH); return 0; }

static void add(int fd) { if (fd >= 0 && fd_count < FDS) fds[fd_count++] = fd; }

static void open_all(void) {
  int pair[2];
  add(open("/tmp/fuzz/f", O_RDWR | O_CREAT, 0666)); add(open("/tmp/fuzz", O_RDONLY)); add(open("/tmp/fuzz/d", O_PATH));
  add(open("/dev/null", O_RDWR)); add(open("/dev/zero", O_RDWR)); add(open("/dev/full", O_RDWR)); add(open("/proc/self/maps", O_RDONLY));
  add(open("/proc/self/mem", O_RDWR)); add(open("/etc/passwd", O_RDONLY)); add(open("/proc/self/fd", O_RDONLY)); add(open("/", O_RDONLY));
  if (!pipe2(pair, O_NONBLOCK)) add(pair[0]), add(pair[1]);
  if (!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair)) add(pair[0]), add(pair[1]);
  if (!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair)) add(pair[0]), add(pair[1]);
  add(socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0)); add(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0)); add(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), client = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_in to = {AF_INET, 0, {htonl(INADDR_LOOPBACK)}, {0}}; socklen_t len = sizeof to;
  if (!bind(listener, (void *)&to, len) && !listen(listener, 4) && !getsockname(listener, (void *)&to, &len)
      && !connect(client, (void *)&to, len)) fcntl(client, F_SETFL, O_NONBLOCK);
  add(listener); add(client); add(accept(listener, 0, 0));
  add(epoll_create1(0)); add(eventfd(3, EFD_NONBLOCK)); add(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK)); add(inotify_init1(IN_NONBLOCK));
  int memory = memfd_create("m", MFD_ALLOW_SEALING); if (memory >= 0) { int ignored = ftruncate(memory, 65536); (void)ignored; } add(memory);
  int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK); add(master);
  if (master >= 0 && !unlockpt(master)) add(open(ptsname(master), O_RDWR | O_NOCTTY | O_NONBLOCK));
  add(syscall(SYS_pidfd_open, getpid(), 0)); add(999);
}

static void child(uint64_t seed, int count) {
  uint64_t s = seed;
  struct rlimit space = {2ul << 30, 2ul << 30}, file = {16 << 20, 16 << 20}, cpu = {200, 200};
  setpgid(0, 0);
  setrlimit(RLIMIT_AS, &space); setrlimit(RLIMIT_FSIZE, &file); setrlimit(RLIMIT_NPROC, &cpu);
  if (chdir("/tmp/fuzz")) _exit(1);
  open_all();
  if (next(&s) % 2 && (setgroups(0, 0) || setgid(65534) || setuid(65534))) _exit(1);
  pthread_t thread;
  if (next(&s) % 2) pthread_create(&thread, 0, other_thread, (void *)next(&s));
  calls(&s, count);
  _exit(0);
}

static void make_tree(void) {
  mkdir("/tmp/fuzz", 0777); chmod("/tmp/fuzz", 0777); mkdir("/tmp/fuzz/d", 0777);
  if (symlink("f", "/tmp/fuzz/l") || symlink("loop", "/tmp/fuzz/loop") || mkfifo("/tmp/fuzz/fifo", 0666)) return;
  int fd = open("/tmp/fuzz/f", O_RDWR | O_CREAT, 0666);
  for (int i = 0; i < 64; i++) if (write(fd, area, 1024) != 1024) break;
  close(fd);
}

// Waits for the child; one that gets nowhere is killed, and must then end.
static int attend(pid_t pid) {
  unsigned long seen = shared->progress;
  int status = 0;
  for (int still = 0; waitpid(pid, &status, WNOHANG) == 0; ) {
    poll(0, 0, 5);
    still = seen == shared->progress ? still + 5 : 0;
    seen = shared->progress;
    if (still < STUCK_MS) continue;
    kill(-pid, SIGKILL); kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return status;
  }
  kill(-pid, SIGKILL);
  return status;
}

int main(int argc, char **argv) {
  if (argc < 3) return 2;
  uint64_t seed = strtoull(argv[1], 0, 0), count = strtoull(argv[2], 0, 0), s = seed;
  shared = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  area = mmap(0, AREA + 0x6000, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  munmap(area + AREA, 0x2000); mprotect(area + AREA + 0x2000, 0x2000, PROT_READ); mprotect(area + AREA + 0x4000, 0x2000, PROT_NONE);
  make_tree();
  while (shared->progress < count) {
    uint64_t seed_of_child = next(&s);
    for (int i = 0; i < 4096; i++) scribble(&s);
    pid_t pid = fork();
    if (pid == 0) child(seed_of_child, BATCH);
    if (pid < 0) { printf("fork: %s\n", strerror(errno)); return 1; }
    int status = attend(pid);
    while (waitpid(-1, 0, WNOHANG) > 0) {}
    if (getenv("FUZZ_TRACE")) fprintf(stderr, "%lu calls, the last %ld, status %x\n", shared->progress, shared->last, status);
  }
  printf("made the calls of seed %s\n", argv[1]);
  return 0;
}
