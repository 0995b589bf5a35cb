// A guest that writes into what its platform keeps in its address space, unmaps it, maps over it and
// jumps into it: `scribble SEED`. Children do that; at the end a bystander must still be there.
#define _GNU_SOURCE
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

// As in sentry/stub/src/layout.rs.
#define BASE 0x7ff000000000ul
#define ORDER (BASE + 0x400000)
#define SLOTS (BASE + 0x10000000)
#define SLOT 0x8000ul
#define TABLE 0x60000ul
#define GATES (BASE + 0x600000)
#define GATES_LEN 0x80000ul

static uint64_t seed;

static uint64_t next(void) { // xorshift
  seed ^= seed << 13; seed ^= seed >> 7; seed ^= seed << 17;
  return seed;
}

// A value for a field: small, huge, an address in the slots, random.
static uint64_t value(void) {
  uint64_t r = next();
  switch (r % 6) {
  case 0: return r >> 8 & 7;
  case 1: return -(r >> 8 & 7);
  case 2: return SLOTS + (r >> 8 & 0x3ffff);
  case 3: return 1ul << (r >> 8 & 63);
  case 4: return 0x7fffffffffff & r;
  default: return r;
  }
}

// Whether the platform has such a thing at all (the ptrace one might not).
static void store(uint64_t at, uint64_t what, int size) {
  if (size == 4) *(volatile uint32_t *)at = what; else *(volatile uint64_t *)at = what;
}

static void one_field(void) { // slots 0 to 9: the command thread's, this thread's, neighbours
  uint64_t at = SLOTS + next() % 10 * SLOT + (next() % 3 ? next() % 16 * 4 : next() % SLOT & ~7ul);
  store(at, value(), next() % 2 ? 4 : 8);
  for (int i = 0; i < 5; i++) syscall(SYS_getppid);
}

static void many_fields(void) { for (int i = 0; i < 300; i++) one_field(); }

static void *calls(void *unused) { (void)unused; for (int i = 0; i < 300; i++) syscall(SYS_getppid); return 0; }

static void from_another_thread(void) {
  pthread_t thread;
  pthread_create(&thread, 0, calls, 0);
  for (int i = 0; i < 300; i++) store(SLOTS + next() % 10 * SLOT + 0x10 + next() % 0x40 / 8 * 8, value(), 8);
  pthread_join(thread, 0);
}

static void frames(void) { // where the kernel writes registers, and reads them back from
  for (int i = 0; i < 300; i++) { store(SLOTS + SLOT + 0x1000 + next() % 0x6ff0 / 8 * 8, value(), 8); syscall(SYS_getppid); }
}

static void orders(void) { store(ORDER + next() % 0x1000 / 8 * 8, value(), 8); }

// Call sites that are called often become jumps through these.
static void gates(void) {
  calls(0);
  uint64_t at = next() % 2 ? GATES + next() % GATES_LEN : TABLE + next() % 0x8000;
  if (next() % 2) store(at & ~7ul, value(), 8);
  mprotect((void *)(at & ~4095ul), 4096, PROT_READ | PROT_WRITE | PROT_EXEC);
  munmap((void *)(at & ~4095ul), 4096);
  calls(0);
  ((void (*)(void))at)();
}

static void jump(void) { // into the text, with random registers
  calls(0);
  uint64_t to = next() % 3 ? BASE + next() % 0x1000 : GATES + next() % 0x400, a = value(), b = value(), c = value(), d = next() % 400;
  uint64_t stack = SLOTS + SLOT * (1 + next() % 3) + 0x4000 + next() % 0x1000;
  if (next() % 2) stack = (uint64_t)&to;
  __asm__ volatile("mov %0, %%r11; mov %5, %%rsp; jmp *%%r11" : : "r"(to), "D"(a), "S"(b), "d"(c), "a"(d), "r"(stack) : "memory");
}

static void map_over(void) {
  uint64_t at = (next() % 2 ? BASE : SLOTS) + next() % 16 * 4096, len = 4096 << next() % 10;
  printf("%d", munmap((void *)at, len) == 0);
  printf("%d", mprotect((void *)at, len, PROT_READ | PROT_WRITE | PROT_EXEC) == 0);
  printf("%d", mmap((void *)at, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != MAP_FAILED);
  void *own = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  printf("%d", mremap(own, 4096, 4096, MREMAP_MAYMOVE | MREMAP_FIXED, at) != MAP_FAILED);
  printf("%d", mremap((void *)at, 4096, 8192, MREMAP_MAYMOVE) != MAP_FAILED);
  printf("%d\n", madvise((void *)at, len, MADV_DONTNEED) == 0);
  fflush(stdout);
}

static void (*const attacks[])(void) = {one_field, one_field, many_fields, from_another_thread, frames, orders, jump, jump, jump, jump, gates, gates, map_over};
enum { ATTACKS = sizeof attacks / sizeof *attacks };

int main(int argc, char **argv) {
  if (argc < 2) return 2;
  seed = strtoull(argv[1], 0, 0) * 0x9e3779b97f4a7c15 + 1;
  int ask[2], answer[2];
  if (pipe(ask) || pipe(answer)) return 1;
  if (fork() == 0) { // the bystander
    char c;
    close(ask[1]); close(answer[0]);
    while (read(ask[0], &c, 1) == 1) if (write(answer[1], &c, 1) != 1) break;
    _exit(0);
  }
  for (int i = 0; i < 26 * 10; i++) {
    uint64_t of_child = next();
    pid_t pid = fork();
    if (pid == 0) { seed = of_child | 1; alarm(2); attacks[i % ATTACKS](); _exit(0); }
    int status;
    waitpid(pid, &status, 0);
    char c = 'x';
    if (write(ask[1], &c, 1) != 1 || read(answer[0], &c, 1) != 1) { printf("after attack %d of %d the bystander is gone\n", i % ATTACKS, i); return 1; }
  }
  printf("bystander goes on\n");
  return 0;
}
