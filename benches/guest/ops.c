// What one operation of a guest costs, in nanoseconds: the median of several rounds of each.
// Built statically by benches/compare; prints `name nanoseconds` lines.
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 7, PAGES = 2048 };

static const char *self;
static int zero, file, to_child[2], from_child[2];

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static void op_getpid(void) { syscall(SYS_getpid); }

static void op_read(void) {
    char byte;
    if (read(zero, &byte, 1) != 1) die("read");
}

static void op_pread(void) {
    static char block[4096];
    if (pread(file, block, sizeof block, 0) != sizeof block) die("pread");
}

static void op_pwrite(void) {
    static char block[4096];
    if (pwrite(file, block, sizeof block, 0) != sizeof block) die("pwrite");
}

static void op_stat(void) {
    struct stat st;
    if (stat("/etc/passwd", &st)) die("stat");
}

static void op_open(void) {
    int fd = open("/etc/passwd", O_RDONLY);
    if (fd < 0) die("open");
    close(fd);
}

static void op_mmap(void) {
    char *p = mmap(0, 16384, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) die("mmap");
    for (int i = 0; i < 4; i++) p[i * 4096] = 1;
    munmap(p, 16384);
}

static void op_fork(void) {
    pid_t child = fork();
    if (child < 0) die("fork");
    if (!child) _exit(0);
    waitpid(child, 0, 0);
}

static void op_exec(void) {
    pid_t child = fork();
    if (child < 0) die("fork");
    if (!child) {
        execl(self, self, "nothing", (char *)0);
        _exit(1);
    }
    int status;
    waitpid(child, &status, 0);
    if (status) die("exec");
}

static void op_pipe(void) {
    char byte = 1;
    if (write(to_child[1], &byte, 1) != 1 || read(from_child[0], &byte, 1) != 1) die("pipe");
}

static int by_value(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void report(const char *name, double *rounds) {
    qsort(rounds, ROUNDS, sizeof *rounds, by_value);
    printf("%s %.0f\n", name, rounds[ROUNDS / 2]);
    fflush(stdout);
}

static void measure(const char *name, void (*op)(void), int count) {
    double rounds[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        double start = now_ns();
        for (int i = 0; i < count; i++) op();
        rounds[round] = (now_ns() - start) / count;
    }
    report(name, rounds);
}

static void measure_faults(void) {
    double rounds[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        char *p = mmap(0, PAGES * 4096L, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED) die("mmap");
        madvise(p, PAGES * 4096L, MADV_NOHUGEPAGE);
        double start = now_ns();
        for (long i = 0; i < PAGES; i++) p[i * 4096] = 1;
        rounds[round] = (now_ns() - start) / PAGES;
        munmap(p, PAGES * 4096L);
    }
    report("page_fault", rounds);
}

static void start_echo(void) {
    if (pipe(to_child) || pipe(from_child)) die("pipe");
    if (fork()) return;
    char byte;
    close(to_child[1]);
    while (read(to_child[0], &byte, 1) == 1 && write(from_child[1], &byte, 1) == 1) {
    }
    _exit(0);
}

int main(int argc, char **argv) {
    if (argc > 1) return 0;
    self = argv[0];
    char path[] = "/tmp/ops-XXXXXX";
    zero = open("/dev/zero", O_RDONLY);
    file = mkstemp(path);
    if (zero < 0 || file < 0) die("open");
    unlink(path);
    op_pwrite();
    measure("getpid", op_getpid, 20000);
    measure("read_dev_zero", op_read, 20000);
    measure("pread_4k", op_pread, 10000);
    measure("pwrite_4k", op_pwrite, 10000);
    measure("stat", op_stat, 5000);
    measure("open_close", op_open, 3000);
    measure_faults();
    measure("mmap_touch_munmap_16k", op_mmap, 500);
    measure("fork_wait", op_fork, 50);
    measure("fork_exec_wait", op_exec, 30);
    start_echo();
    measure("pipe_ping_pong", op_pipe, 1000);
    return 0;
}
