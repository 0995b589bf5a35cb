// What wild.c passes: kinds of arguments, descriptors at fixed numbers, memory at fixed addresses.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/futex.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FILE_ = 10, DIR_, PIPE_R, PIPE_W, SOCK_A, SOCK_B, UDP, TCP, EPOLL, EVENT, TIMER, INOTIFY, OPATH, MEMFD, PIDFD, NULL_, PIPE2_R, PIPE2_W, FREE };

// 16 writable pages, then nothing; a read-only page; one without access; nothing.
#define RW 0x10000000ul
#define RW_LEN 0x10000ul
#define RO 0x10020000ul
#define NONE 0x10030000ul
#define NOTHING 0x10040000ul

struct arg {
  enum { VALUE, POINTER, TEXT, SIZE, FD, TIMEOUT } kind; // TIMEOUT: a pointer that waits for ever if it is null
  long value;    // of POINTER and TEXT: what is there
  unsigned size; // of POINTER
};

struct call {
  const char *name;
  int nr, quiet; // quiet: the result is not the same in two runs
  struct arg args[6];
};

#ifndef SYS_fchmodat2
#define SYS_fchmodat2 452
#endif

#define V(x) {VALUE, (long)(x), 0}
#define P(x) {POINTER, (long)&(x), sizeof(x)}
#define W(x) {TIMEOUT, (long)&(x), sizeof(x)}
#define ROOM(n) {POINTER, (long)zeros, (n)}
#define T(x) {TEXT, (long)(x), 0}
#define N(x) {SIZE, (long)(x), 0}
#define F(x) {FD, (x), 0}
