// System calls made so often that their places in the code are replaced (`mm/patch.rs`), in all the
// situations in which that could show: signals, restarts, threads, forks, jumps out of handlers.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

enum { MANY = 3000 };

static int zero, null, to[2], from[2];
static volatile sig_atomic_t handled;
static sigjmp_buf back;

static void count(int signo) {
    (void)signo;
    handled++;
}

static void jump(int signo) {
    (void)signo;
    siglongjmp(back, 1);
}

static void install(int signo, void (*handler)(int), int flags) {
    struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
    sigaction(signo, &action, 0);
}

// Makes all sites hot; counts what did not answer as it should.
static int all_calls(int rounds) {
    int wrong = 0;
    char bytes[8] = "1234567";
    for (int i = 0; i < rounds; i++) {
        wrong += read(zero, bytes, 4) != 4 || bytes[0] != 0 || bytes[4] != '5';
        memcpy(bytes, "1234567", 8);
        wrong += write(null, bytes, 3) != 3;
        wrong += syscall(SYS_getppid) != getppid();
        wrong += lseek(-1, 0, SEEK_SET) != -1 || errno != EBADF;
        wrong += read(-1, bytes, 1) != -1 || errno != EBADF;
        wrong += syscall(100000) != -1 || errno != ENOSYS;
        double x = i * 0.5;
        wrong += write(to[1], &x, sizeof x) != sizeof x;
        double y = 0;
        wrong += read(to[0], &y, sizeof y) != sizeof y || x != y;
    }
    return wrong;
}

static void *in_a_thread(void *wrong) {
    *(int *)wrong = all_calls(MANY);
    return 0;
}

static void threads(void) {
    // They share the pipe: only calls that do not wait for each other's bytes are compared.
    pthread_t thread[3];
    int wrong[3] = {0};
    for (int i = 0; i < 3; i++) {
        pthread_create(&thread[i], 0, in_a_thread, &wrong[i]);
        pthread_join(thread[i], 0);
    }
    printf("threads: %d %d %d wrong\n", wrong[0], wrong[1], wrong[2]);
}

static void *only_getppid(void *arg) {
    long wrong = 0;
    for (int i = 0; i < 4 * MANY; i++) wrong += getppid() != *(int *)arg;
    return (void *)wrong;
}

static void threads_at_once(void) {
    // The site becomes hot while several threads are at it.
    pthread_t thread[4];
    int parent = syscall(SYS_getppid);
    long wrong = 0;
    for (int i = 0; i < 4; i++) pthread_create(&thread[i], 0, only_getppid, &parent);
    for (int i = 0; i < 4; i++) {
        void *result;
        pthread_join(thread[i], &result);
        wrong += (long)result;
    }
    printf("threads at once: %ld wrong\n", wrong);
}

static void interrupted_reads(void) {
    char byte;
    // Again and again: the first one may come before the read.
    struct itimerval often = {{0, 2000}, {0, 2000}}, never = {{0, 0}, {0, 0}};
    for (int restarts = 0; restarts < 2; restarts++) {
        handled = 0;
        install(SIGALRM, count, restarts ? SA_RESTART : 0);
        if (!restarts) {
            setitimer(ITIMER_REAL, &often, 0);
            int n = read(from[0], &byte, 1), error = errno;
            setitimer(ITIMER_REAL, &never, 0);
            printf("read: %d %s, handled %d\n", n, strerror(error), handled > 0);
            continue;
        }
        pid_t child = fork();
        if (!child) {
            // Interrupts the parent's read, and ends it only after that.
            usleep(1000);
            kill(getppid(), SIGALRM);
            usleep(5000);
            _exit(write(from[1], "x", 1) != 1);
        }
        int n = read(from[0], &byte, 1), status;
        waitpid(child, &status, 0);
        printf("restarted read: %d %c, handled %d, child %d\n", n, byte, handled, status);
    }
}

static void signals_between(void) {
    handled = 0;
    install(SIGUSR1, count, 0);
    int wrong = 0;
    for (int i = 0; i < MANY; i++) {
        kill(getpid(), SIGUSR1);
        wrong += all_calls(1) + (handled != i + 1);
    }
    printf("signals: %d handled, %d wrong\n", handled, wrong);
}

static void jumps_out(void) {
    volatile int jumps = 0;
    install(SIGUSR2, jump, 0);
    for (volatile int i = 0; i < 200; i++) {
        if (sigsetjmp(back, 1)) {
            jumps++;
            continue;
        }
        kill(getpid(), SIGUSR2);
    }
    printf("jumps: %d, %d wrong\n", jumps, all_calls(10));
}

static void a_timer_all_the_time(void) {
    handled = 0;
    install(SIGALRM, count, SA_RESTART);
    struct itimerval often = {{0, 500}, {0, 500}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, 0);
    int wrong = 0;
    while (handled < 50) wrong += all_calls(20);
    setitimer(ITIMER_REAL, &never, 0);
    printf("timer: %d wrong\n", wrong);
}

static void forks(void) {
    for (int i = 0; i < 3; i++) {
        pid_t child = fork();
        if (!child) {
            pid_t grandchild = fork();
            if (!grandchild) _exit(all_calls(50) != 0);
            int status;
            waitpid(grandchild, &status, 0);
            _exit((all_calls(50) != 0) * 2 + (status != 0));
        }
        int status;
        waitpid(child, &status, 0);
        printf("fork %d: %d, %d wrong\n", i, status, all_calls(50));
    }
}

static void on_another_stack(void) {
    static char stack[64 << 10];
    stack_t other = {.ss_sp = stack, .ss_size = sizeof stack}, old;
    sigaltstack(&other, &old);
    handled = 0;
    install(SIGUSR1, count, SA_ONSTACK);
    for (int i = 0; i < 100; i++) kill(getpid(), SIGUSR1);
    printf("alternate stack: %d, %d wrong\n", handled, all_calls(10));
    sigaltstack(&old, 0);
}

int main(int argc, char **argv) {
    if (argc > 1) return 0;
    zero = open("/dev/zero", O_RDONLY);
    null = open("/dev/null", O_WRONLY);
    if (zero < 0 || null < 0 || pipe(to) || pipe(from)) return 1;
    setbuf(stdout, 0);
    printf("hot: %d wrong\n", all_calls(MANY));
    signals_between();
    interrupted_reads();
    jumps_out();
    a_timer_all_the_time();
    on_another_stack();
    forks();
    threads();
    threads_at_once();
    forks();
    pid_t child = vfork();
    if (!child) {
        execl(argv[0], argv[0], "again", (char *)0);
        _exit(9);
    }
    int status;
    waitpid(child, &status, 0);
    printf("exec: %d, %d wrong\n", status, all_calls(10));
    return 0;
}
