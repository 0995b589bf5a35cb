// What a hostile image or volume can hold: links that lead out, devices, FIFOs, files that shrink.
// `hostile_tree`: the tree is at /inner, a directory to talk through at /shared.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static void say(const char *what, long value) { printf("%s: %s\n", what, value < 0 ? strerrorname_np(errno) : "ok"); fflush(stdout); }
static void open_(const char *path, int flags) { int fd = open(path, flags | O_NONBLOCK); char byte; say(path, fd < 0 ? -1 : flags & O_WRONLY ? 0 : read(fd, &byte, 1)); if (fd >= 0) close(fd); }

static void on_bus(int signo, siginfo_t *info, void *context) { (void)context; printf("signal %d code %d\n", signo, info->si_code); fflush(stdout); _exit(0); }

int main(void) {
  alarm(60);
  open_("/inner/data", O_RDONLY);
  // Out of the mount: `..` ends at its root's parent in the sandbox, absolute links at the sandbox's root.
  open_("/inner/up", O_RDONLY); open_("/inner/far-up", O_RDONLY); open_("/inner/absolute", O_RDONLY); open_("/inner/../secret", O_RDONLY); open_("/inner/dir-up/secret", O_RDONLY);
  if (chdir("/inner/sub")) return 1;
  open_("../../secret", O_RDONLY); open_("/proc/self/cwd/../../secret", O_RDONLY);
  char path[64];
  int fd = open("/inner/sub", O_PATH);
  snprintf(path, sizeof path, "/proc/self/fd/%d/../../secret", fd);
  say("fd/../../secret", open(path, O_RDONLY));
  snprintf(path, sizeof path, "/proc/self/fd/%d/../data", fd);
  say("fd/../data", open(path, O_RDONLY));
  say("openat ../../secret", openat(fd, "../../secret", O_RDONLY));
  open_("/proc/self/root/secret", O_RDONLY); open_("/proc/1/root/inner/../secret", O_RDONLY);
  open_("/inner/loop", O_RDONLY);
  // A descriptor opened for reading stays that.
  fd = open("/inner/data", O_RDONLY);
  snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
  say("reopened to write", open(path, O_WRONLY)); say("linked", linkat(AT_FDCWD, path, AT_FDCWD, "/inner/new", AT_SYMLINK_FOLLOW)); say("written", write(fd, "x", 1));
  // Nodes of the host.
  struct stat st;
  say("stat memory device", stat("/inner/mem", &st)); open_("/inner/mem", O_RDONLY); open_("/inner/disk", O_RDONLY);
  open_("/inner/fifo", O_WRONLY);
  struct sockaddr_un to = {AF_UNIX, "/inner/socket"};
  say("connect", connect(socket(AF_UNIX, SOCK_STREAM, 0), (void *)&to, sizeof to));
  say("odd name", stat("/inner/odd\n\xff\xfe name", &st)); say("set-uid", stat("/inner/suid", &st));
  // A file that shrinks while it is mapped.
  char *p = mmap(0, 16384, PROT_READ, MAP_SHARED, fd, 0), byte = p[12288];
  printf("byte %c\n", byte); fflush(stdout);
  close(open("/shared/ready", O_CREAT | O_WRONLY, 0644));
  while (access("/shared/go", F_OK)) sched_yield();
  int pair[2];
  if (pipe(pair)) return 1;
  say("write from it", write(pair[1], p + 12288, 1));
  struct sigaction action = {.sa_sigaction = on_bus, .sa_flags = SA_SIGINFO};
  sigaction(SIGBUS, &action, 0);
  byte = *(volatile char *)(p + 12288);
  printf("still there\n");
  return 0;
}
