// Using up what there is: each case in a child, while a bystander answers when it is asked.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void say(const char *label, long count, int error) { printf(" %s=%ld %s", label, count, error ? strerrorname_np(error) : "ok"); fflush(stdout); }
// What a call returned, and why.
#define tell(label, call) do { errno = 0; long value_ = (long)(call); say(label, value_, errno); } while (0)

static void set(int what, rlim_t to) { struct rlimit limit = {to, to}; if (setrlimit(what, &limit)) _exit(9); }

// Makes descriptors until there are no more.
static void until_full(const char *label, int (*make)(void)) {
  set(RLIMIT_NOFILE, 500);
  long made = 0;
  int fd;
  while ((fd = make()) >= 0 && made < 100000) made++;
  say(label, fd < 0 && errno == EMFILE, errno);
  for (int i = 3; i < 500; i++) close(i);
  say("again", make() >= 0, 0);
}

static int make_open(void) { return open("/dev/null", O_RDONLY); }
static int make_dup(void) { return dup(1); }
static int make_pipe(void) { int p[2]; return pipe(p) ? -1 : p[1]; }
static int make_pair(void) { int p[2]; return socketpair(AF_UNIX, SOCK_STREAM, 0, p) ? -1 : p[1]; }
static int make_udp(void) { return socket(AF_INET, SOCK_DGRAM, 0); }
static int make_tcp(void) { return socket(AF_INET, SOCK_STREAM, 0); }
static int make_epoll(void) { return epoll_create1(0); }
static int make_event(void) { return eventfd(0, 0); }
static int make_timer(void) { return timerfd_create(CLOCK_MONOTONIC, 0); }
static int make_memfd(void) { return memfd_create("m", 0); }
static void open_files(void) { until_full("open", make_open); }
static void dups(void) { until_full("dup", make_dup); }
static void pipes(void) { until_full("pipe", make_pipe); }
static void pairs(void) { until_full("socketpair", make_pair); }
static void udp(void) { until_full("udp", make_udp); }
static void tcp(void) { until_full("tcp", make_tcp); }
static void epolls(void) { until_full("epoll", make_epoll); }
static void events(void) { until_full("eventfd", make_event); }
static void timerfds(void) { until_full("timerfd", make_timer); }
static void memfds(void) { until_full("memfd", make_memfd); }

static void accepts(void) { // the accept queue keeps its connection when there is no descriptor for it
  int listener = socket(AF_INET, SOCK_STREAM, 0), client = socket(AF_INET, SOCK_STREAM, 0);
  struct sockaddr_storage to = {.ss_family = AF_INET}; socklen_t len = 16;
  if (bind(listener, (void *)&to, 16) || listen(listener, 5) || getsockname(listener, (void *)&to, &len) || connect(client, (void *)&to, 16)) _exit(9);
  set(RLIMIT_NOFILE, 10);
  while (dup(1) >= 0) {}
  int fd = accept(listener, 0, 0); say("accept", 0, fd < 0 ? errno : 0);
}

static void *sleeper(void *lock) { pthread_mutex_lock(lock); pthread_mutex_unlock(lock); return 0; }
static void threads(void) { // as another user, for root is not bound by RLIMIT_NPROC
  static pthread_t made[2000];
  pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
  pthread_attr_t small;
  pthread_attr_init(&small); pthread_attr_setstacksize(&small, 65536);
  if (setuid(54321)) _exit(9);
  set(RLIMIT_NPROC, 100);
  pthread_mutex_lock(&lock);
  int count = 0, error;
  while (!(error = pthread_create(&made[count], &small, sleeper, &lock)) && count < 1999) count++;
  say("threads", count, error);
  pthread_mutex_unlock(&lock);
  for (int i = 0; i < count; i++) pthread_join(made[i], 0);
  say("again", pthread_create(&made[0], &small, sleeper, &lock), 0);
  pthread_join(made[0], 0);
}

static void processes(void) {
  if (setuid(54322)) _exit(9);
  set(RLIMIT_NPROC, 60);
  int count = 0, hold[2], error = 0;
  if (pipe(hold)) _exit(9);
  while (count < 1000) {
    pid_t pid = fork();
    if (pid == 0) { char c; close(hold[1]); if (read(hold[0], &c, 1) < 0) _exit(1); _exit(0); }
    if (pid < 0) { error = errno; break; }
    count++;
  }
  say("processes", count, error);
  close(hold[1]);
  while (wait(0) > 0) {}
  pid_t pid = fork();
  if (pid == 0) _exit(0);
  say("again", pid > 0, 0);
  waitpid(pid, 0, 0);
}

static void bomb(void) { // every process forks as long as it can
  if (setuid(54323)) _exit(9);
  set(RLIMIT_NPROC, 50);
  int gate[2], done[2];
  if (pipe(gate) || pipe(done)) _exit(9);
  pid_t first = getpid();
  for (int i = 0; i < 200; i++) if (fork() == 0) i = i / 2;
  if (getpid() != first) { close(done[0]); close(gate[1]); char c; if (read(gate[0], &c, 1) < 0) _exit(1); _exit(0); }
  pid_t more = fork();
  if (more == 0) _exit(0);
  say("bomb", 0, more < 0 ? errno : 0);
  close(gate[1]); close(done[1]);
  char c; // the end of the last one
  if (read(done[0], &c, 1) != 0) _exit(9);
  say("all gone", 1, 0);
}

static void address_space(void) {
  set(RLIMIT_AS, 256 << 20);
  long count = 0;
  while (mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED && count < 100000) count++;
  say("mmap", count > 200 && count < 256, errno);
  tell("brk", sbrk(64 << 20) == (void *)-1);
}
static void data_limit(void) { set(RLIMIT_DATA, 64 << 20); void *p = mmap(0, 128 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); say("mmap", p == MAP_FAILED, errno); }
static void mappings(void) { // every other page: no two can be one
  char *p = mmap(0, 1ul << 30, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  long i = 0;
  while (i < 100000 && mprotect(p + i * 8192, 4096, PROT_READ) == 0) i++;
  say("mprotect", i > 30000 && i < 66000, errno);
  int *q = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  say("mmap", 0, q == MAP_FAILED ? errno : 0);
}
static void file_size(void) { signal(SIGXFSZ, SIG_IGN); set(RLIMIT_FSIZE, 10000); int fd = memfd_create("x", 0); char b[8192] = {0}; say("first", write(fd, b, 8192), 0); say("second", write(fd, b, 8192), 0); tell("third", write(fd, b, 1) < 0); tell("truncate", ftruncate(fd, 10001)); }

static void tmpfs_full(void) {
  mkdir("/tmp/full", 0755);
  if (mount("none", "/tmp/full", "tmpfs", 0, "size=1m")) { say("mount", 0, errno); return; }
  int fd = open("/tmp/full/f", O_CREAT | O_WRONLY, 0644);
  static char b[65536];
  long total = 0, n;
  while ((n = write(fd, b, sizeof b)) > 0) total += n;
  say("written", total, errno);
  say("unlink", unlink("/tmp/full/f"), 0); close(fd);
  fd = open("/tmp/full/g", O_CREAT | O_WRONLY, 0644);
  say("again", write(fd, b, sizeof b), 0);
  close(fd);
  int count = 0;
  char name[64];
  for (; count < 100; count++) { snprintf(name, sizeof name, "/tmp/full/m%d", count); if (mkdir(name, 0755) || mount("none", name, "tmpfs", 0, 0)) break; }
  say("mounts", count, 0);
  while (count-- > 0) { snprintf(name, sizeof name, "/tmp/full/m%d", count); umount(name); }
  umount("/tmp/full"); rmdir("/tmp/full");
}

static void in_flight(void) { // descriptors in messages that nobody receives
  int p[2], fds[200];
  set(RLIMIT_NOFILE, 300);
  if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, p)) _exit(9);
  for (int i = 0; i < 200; i++) fds[i] = dup(1);
  char control[CMSG_SPACE(sizeof fds)] = {0}, byte = 0;
  struct iovec vec = {&byte, 1};
  struct msghdr msg = {.msg_iov = &vec, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof control};
  struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
  c->cmsg_level = SOL_SOCKET; c->cmsg_type = SCM_RIGHTS; c->cmsg_len = CMSG_LEN(sizeof fds);
  memcpy(CMSG_DATA(c), fds, sizeof fds);
  long sent = 0;
  while (sendmsg(p[0], &msg, 0) > 0 && sent < 10000) sent++;
  say("stopped", sent < 10000, errno == EAGAIN || errno == ETOOMANYREFS ? 0 : errno);
  // A socket in its own queue: gone with the process.
  memcpy(CMSG_DATA(c), p, sizeof p); c->cmsg_len = CMSG_LEN(sizeof p); msg.msg_controllen = CMSG_SPACE(sizeof p);
  sendmsg(p[1], &msg, 0);
}

static void pending(void) {
  set(RLIMIT_SIGPENDING, 50);
  sigset_t all; sigfillset(&all); sigprocmask(SIG_BLOCK, &all, 0);
  long sent = 0;
  union sigval v = {0};
  while (sigqueue(getpid(), SIGRTMIN, v) == 0 && sent < 10000) sent++;
  say("queued", sent > 0 && sent <= 50, errno);
  say("kill", kill(getpid(), SIGUSR1), 0);
}

static void timers(void) { timer_t t; struct sigevent e = {.sigev_notify = SIGEV_NONE}; long made = 0; set(RLIMIT_SIGPENDING, 2000); while (made < 100000 && timer_create(CLOCK_MONOTONIC, &e, &t) == 0) made++; say("timers", made <= 2000, errno); }
static void watches(void) { int fd = inotify_init1(IN_NONBLOCK); for (int i = 0; i < 40000; i++) { close(open("/tmp/exhaust-watched", O_CREAT | O_WRONLY, 0644)); if (i == 0 && inotify_add_watch(fd, "/tmp/exhaust-watched", IN_ALL_EVENTS) < 0) _exit(9); } unlink("/tmp/exhaust-watched"); static char b[1 << 20]; long n = read(fd, b, sizeof b), overflows = 0; while (n > 0) { for (char *at = b; at < b + n; at += sizeof(struct inotify_event) + ((struct inotify_event *)at)->len) overflows += ((struct inotify_event *)at)->mask & IN_Q_OVERFLOW ? 1 : 0; n = read(fd, b, sizeof b); } say("overflow", overflows, 0); }
static void nested_epoll(void) { int at = epoll_create1(0), depth = 0; for (; depth < 100; depth++) { int outer = epoll_create1(0); struct epoll_event e = {.events = EPOLLIN}; if (epoll_ctl(outer, EPOLL_CTL_ADD, at, &e)) break; at = outer; } say("depth", depth, errno); struct epoll_event e = {.events = EPOLLIN}; int a = epoll_create1(0), b = epoll_create1(0); epoll_ctl(a, EPOLL_CTL_ADD, b, &e); tell("loop", epoll_ctl(b, EPOLL_CTL_ADD, a, &e)); }

static void arguments(void) {
  static char long_one[132 * 1024];
  memset(long_one, 'x', sizeof long_one - 1);
  char *one[] = {"true", long_one, 0};
  execv("/bin/true", one); say("one", 0, errno);
  static char *many[400000];
  long_one[100] = 0;
  for (int i = 0; i < 399999; i++) many[i] = long_one;
  execv("/bin/true", many); say("many", 0, errno);
  char *const none[] = {0};
  execve("/bin/true", none, many); say("environment", 0, errno);
}

static void names(void) {
  static char path[5000], name[300];
  memset(name, 'n', 256); tell("name", mkdir(name, 0755)); name[255] = 0; tell("stat", access(name, 0));
  for (int i = 0; i < 4090; i += 2) memcpy(path + i, "./", 2);
  tell("4090", access(path, 0)); memset(path + 4090, '/', 5); tell("4095", access(path, 0)); path[4095] = '/'; tell("4096", access(path, 0));
  if (chdir("/tmp") || symlink("loop-b", "/tmp/loop-a") || symlink("loop-a", "/tmp/loop-b")) _exit(9);
  tell("loop", open("loop-a", O_RDONLY)); unlink("loop-a"); unlink("loop-b");
  char from[32], to[32];
  close(open("chain0", O_CREAT, 0644));
  for (int i = 1; i <= 41; i++) { snprintf(from, 32, "chain%d", i - 1); snprintf(to, 32, "chain%d", i); if (symlink(from, to)) _exit(9); }
  tell("40", access("chain40", 0)); tell("41", access("chain41", 0) < 0);
  for (int i = 0; i <= 41; i++) { snprintf(to, 32, "chain%d", i); unlink(to); }
  int depth = 0;
  while (depth < 3000 && mkdir("deep", 0755) == 0 && chdir("deep") == 0) depth++;
  say("deep", depth, 0);
  static char where[70000]; tell("getcwd", getcwd(where, sizeof where) == 0); tell("raw", syscall(SYS_getcwd, where, sizeof where) < 0);
  for (int i = 0; i < depth; i++) if (chdir("..") || rmdir("deep")) { say("up", i, errno); break; }
}

static void vectors(void) { static struct iovec v[1025]; say("1024", writev(1, v, 1024), 0); tell("1025", writev(1, v, 1025) < 0); struct pollfd *p = 0; set(RLIMIT_NOFILE, 100); tell("poll", poll(p, 101, 0) < 0); }
static void locks(void) { int fd = memfd_create("x", 0); long made = 0; struct flock l = {.l_type = F_WRLCK, .l_len = 1}; for (; made < 5000; made++) { l.l_start = made * 2; if (fcntl(fd, F_SETLK, &l)) break; } say("locks", made, made < 5000 ? errno : 0); }

static const struct { const char *name; void (*run)(void); } cases[] = {
  {"open files", open_files}, {"dups", dups}, {"pipes", pipes}, {"pairs", pairs}, {"udp", udp}, {"tcp", tcp}, {"epolls", epolls}, {"events", events}, {"timerfds", timerfds}, {"memfds", memfds}, {"accepts", accepts},
  {"threads", threads}, {"processes", processes}, {"bomb", bomb}, {"address space", address_space}, {"data", data_limit}, {"mappings", mappings}, {"file size", file_size}, {"tmpfs", tmpfs_full}, {"in flight", in_flight},
  {"pending", pending}, {"timers", timers}, {"watches", watches}, {"nested epoll", nested_epoll}, {"arguments", arguments}, {"names", names}, {"vectors", vectors}, {"locks", locks},
};

// A process that answers: the Sentry and it go on.
static int ask[2], answer[2];
static void bystander(void) {
  char c;
  close(ask[1]); close(answer[0]);
  while (read(ask[0], &c, 1) == 1) { void *p = malloc(100000); memset(p, 1, 100000); free(p); if (write(answer[1], &c, 1) != 1) break; }
  _exit(0);
}

int main(int argc, char **argv) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  if (pipe(ask) || pipe(answer)) return 1;
  if (fork() == 0) bystander();
  close(ask[0]); close(answer[1]);
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (argc > 1 && strcmp(argv[1], cases[i].name)) continue;
    printf("%s:", cases[i].name); fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) { close(ask[1]); close(answer[0]); cases[i].run(); exit(0); }
    int status; char c = 'x';
    waitpid(pid, &status, 0);
    if (write(ask[1], &c, 1) != 1 || read(answer[0], &c, 1) != 1) c = '?';
    printf(" ends=%d bystander=%c\n", status, c); fflush(stdout);
  }
  return 0;
}
