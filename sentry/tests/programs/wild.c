// Wild arguments to every system call that the Sentry serves: pointers to nowhere, sizes out of
// range, descriptors of the wrong kind, one at a time while the rest is as it should be.
// A line says what a call answered to each value of one argument.
#include "wild.h"
#include "wild_calls.h"

static const struct { const char *name; unsigned long at; } pointers[] = {
  {"null", 0}, {"nothing", NOTHING}, {"kernel", 0xffff800000000000}, {"noncanonical", 0x8000000000000000}, {"top", -8ul},
  {"platform", 0x7ff010000000}, {"last", 0x7fffffffeff8}, {"none", NONE}, {"odd", RW + 0x4001},
};
static const long sizes[] = {0, 1, 3, 7, 65, 4096, -1, -4096, 0x7fffffff, 0x80000000, 1l << 40, 0x7fffffffffffffff, -0x7fffffffffffffff - 1};
static const int descriptors[] = {-1, -100, 9999, FREE, FILE_, DIR_, PIPE_R, PIPE_W, SOCK_A, UDP, TCP, EPOLL, EVENT, TIMER, INOTIFY, OPATH, PIDFD, NULL_};

static int home;

static void as(int fd, int number) { if (fd < 0 || (fd != number && dup2(fd, number) < 0)) _exit(9); if (fd != number) close(fd); }

static void pages(void) {
  int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED;
  mmap((void *)RW, RW_LEN, PROT_READ | PROT_WRITE, flags, -1, 0);
  mmap((void *)RO, 4096, PROT_READ, flags, -1, 0);
  mmap((void *)NONE, 4096, PROT_NONE, flags, -1, 0);
}

// The world that each call finds.
static void set_up(void) {
  int pair[2];
  pages();
  unlink("new"); unlink("g"); unlink("l"); unlink("fifo2"); unlink("s"); rmdir("d");
  int file = open("f", O_RDWR | O_CREAT | O_TRUNC, 0644);
  if (ftruncate(file, 8000)) _exit(9);
  as(file, FILE_); as(open(".", O_RDONLY | O_DIRECTORY), DIR_);
  if (pipe2(pair, O_NONBLOCK) || write(pair[1], "0123456789", 10) != 10) _exit(9);
  as(pair[0], PIPE_R); as(pair[1], PIPE_W);
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) || write(pair[1], "0123456789", 10) != 10) _exit(9);
  as(pair[0], SOCK_A); as(pair[1], SOCK_B);
  as(socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), UDP); as(socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), TCP);
  as(epoll_create1(0), EPOLL); as(eventfd(3, EFD_NONBLOCK), EVENT); as(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), TIMER);
  as(inotify_init1(IN_NONBLOCK), INOTIFY); as(open("f", O_PATH), OPATH); as(memfd_create("m", 0), MEMFD); as(syscall(SYS_pidfd_open, getpid(), 0), PIDFD);
  as(open("/dev/null", O_RDWR), NULL_);
  if (pipe2(pair, O_NONBLOCK)) _exit(9);
  as(pair[0], PIPE2_R); as(pair[1], PIPE2_W);
  loop_address = (struct sockaddr_in){AF_INET, htons(9), {htonl(INADDR_LOOPBACK)}, {0}};
  sigemptyset(&usr1.sa_mask);
  signal(SIGPIPE, SIG_IGN); signal(SIGXFSZ, SIG_IGN);
  alarm(20);
}

// Where argument `i` lies when it is as it should be; `edge` puts its last byte beyond the end.
static unsigned long place(const struct arg *arg, int i, int edge) {
  unsigned size = arg->kind == TEXT ? strlen((char *)arg->value) + 1 : arg->size;
  unsigned long at = edge ? RW + RW_LEN - size + 1 : RW + i * 0x1000;
  memcpy((void *)at, (void *)arg->value, size - edge);
  return at;
}

static void prepare(const struct call *call, long *values) {
  struct iovec to = {(void *)(RW + 0x8000), 1};
  memcpy((void *)(RW + 0x8200), &to, sizeof to); memset((void *)(RW + 0x8300), 0, 8);
  for (int i = 0; i < 6; i++) {
    const struct arg *arg = &call->args[i];
    values[i] = arg->kind == POINTER || arg->kind == TEXT || arg->kind == TIMEOUT ? (long)place(arg, i, 0) : arg->value;
  }
}

static void say(const struct call *call, const char *label, const long *v) {
  register long r10 __asm__("r10") = v[3], r8 __asm__("r8") = v[4], r9 __asm__("r9") = v[5];
  long ret;
  __asm__ volatile("syscall" : "=a"(ret) : "0"((long)call->nr), "D"(v[0]), "S"(v[1]), "d"(v[2]), "r"(r10), "r"(r8), "r"(r9) : "rcx", "r11", "memory");
  if (ret == 0 && call->nr == SYS_clone3) _exit(0); // a child
  if (ret < 0 && ret > -4096) printf(" %s=%s", label, strerrorname_np(-ret));
  else if (call->quiet || ret > 100000 || ret < 0) printf(" %s=ok", label);
  else printf(" %s=%ld", label, ret);
}

static void vary(const struct call *call, int i) {
  const struct arg *arg = &call->args[i];
  long values[6];
  char label[40];
  printf("%s[%d]", call->name, i);
#define TRY(name, value) do { prepare(call, values); values[i] = (long)(value); say(call, name, values); } while (0)
  if (arg->kind == POINTER || arg->kind == TEXT || arg->kind == TIMEOUT) {
    for (unsigned k = arg->kind == TIMEOUT; k < sizeof pointers / sizeof *pointers - (arg->kind == TIMEOUT); k++) TRY(pointers[k].name, pointers[k].at);
    prepare(call, values); values[i] = place(arg, i, 1); say(call, "edge", values);
    if (arg->kind == POINTER) TRY("readonly", RO);
  } else if (arg->kind == SIZE) {
    for (unsigned k = 0; k < sizeof sizes / sizeof *sizes; k++) { snprintf(label, sizeof label, "%ld", sizes[k]); TRY(label, sizes[k]); }
  } else if (arg->kind == FD) {
    // What changes a file must not change a device of the machine.
    int changes = call->nr == SYS_fchmod || call->nr == SYS_fchown || call->nr == SYS_ftruncate || call->nr == SYS_fsetxattr;
    for (unsigned k = 0; k < sizeof descriptors / sizeof *descriptors - changes; k++) { snprintf(label, sizeof label, "fd%d", descriptors[k]); TRY(label, descriptors[k]); }
  }
  printf("\n");
}

static void one_argument(const struct call *call, int i) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) { set_up(); vary(call, i); fflush(stdout); _exit(0); }
  int status;
  waitpid(pid, &status, 0);
  fchmod(home, 0777); // fchmod may have closed it
  if (status) printf("%s[%d] status %x\n", call->name, i, status);
}

int main(int argc, char **argv) {
  char dir[64];
  syscall(SYS_close_range, 3, ~0u, 0); // so that descriptors have the same numbers in every run
  snprintf(dir, sizeof dir, "/dev/shm/wild-%d", getpid());
  if (mkdir(dir, 0777) || (getuid() == 0 && chown(dir, 65534, 65534)) || chdir(dir)) return 1;
  // Not as root: what root may do with such arguments should not happen to the machine.
  if (getuid() == 0 && (setgroups(0, 0) || setgid(65534) || setuid(65534))) return 1;
  struct rlimit files = {1024, 1024}, locked = {8 << 20, 8 << 20};
  setrlimit(RLIMIT_NOFILE, &files); setrlimit(RLIMIT_MEMLOCK, &locked);
  home = open(".", O_RDONLY | O_DIRECTORY);
  prctl(PR_SET_DUMPABLE, 1); // /proc/self stays ours
  if (symlink("target", "link")) return 1;
  for (unsigned c = 0; c < sizeof calls / sizeof *calls; c++)
    for (int i = 0; i < 6; i++)
      if (calls[c].args[i].kind != VALUE && (argc < 2 || !strcmp(argv[1], calls[c].name))) one_argument(&calls[c], i);
  unlink("f"); unlink("new"); unlink("g"); unlink("l"); unlink("fifo2"); unlink("s"); unlink("link"); rmdir("d");
  if (chdir("/") || rmdir(dir)) return 1;
  return 0;
}
