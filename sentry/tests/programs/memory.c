// More memory than the sandbox has: the process that holds most ends, the others don't.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static int ask[2], answer[2];

// A process with a little memory that it keeps using.
static void small(void) {
  char c;
  close(ask[1]); close(answer[0]);
  char *mine = malloc(4 << 20);
  memset(mine, 1, 4 << 20);
  while (read(ask[0], &c, 1) == 1) {
    for (int i = 0; i < 4 << 20; i += 4096) mine[i]++;
    if (write(answer[1], &c, 1) != 1) break;
  }
  _exit(0);
}

static void check(void) {
  char c = 'x';
  puts(write(ask[1], &c, 1) == 1 && read(answer[0], &c, 1) == 1 ? "small process goes on" : "small process is gone");
}

static void fill(void) {
  close(ask[1]);
  for (;;) {
    char *p = mmap(0, 1ul << 30, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) pause();
    for (unsigned long i = 0; i < 1ul << 30; i += 4096) p[i] = 1;
  }
}

static void fill_by_small_pieces(void) {
  close(ask[1]);
  for (;;) {
    char *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) pause();
    memset(p, 1, 65536);
  }
}

static void run(const char *name, void (*what)(void)) {
  fflush(stdout);
  pid_t pid = fork();
  if (pid == 0) what();
  int status;
  waitpid(pid, &status, 0);
  printf("%s ends=%d\n", name, status);
  check();
}

int main(void) {
  if (pipe(ask) || pipe(answer)) return 1;
  if (fork() == 0) small();
  close(ask[0]); close(answer[1]);
  run("hog", fill);
  run("many", fill_by_small_pieces);
  // All of it has come back.
  char *p = mmap(0, 128 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  memset(p, 3, 128 << 20);
  puts(p[100 << 20] == 3 ? "mapped file: all there" : "lost");
  return 0;
}
