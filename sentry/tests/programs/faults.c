// Signals on bad stacks, forged frames, faulting instructions: what a process can do to itself.
// Each case runs in a child; a line says how it ended or what its handler saw.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

static char alternate[65536] __attribute__((aligned(64)));
static char second[65536] __attribute__((aligned(64)));
static volatile int depth;

#define SYS(nr, a, b) ({ long r_; __asm__ volatile("syscall" : "=a"(r_) : "0"(nr), "D"(a), "S"(b) : "rcx", "r11", "memory"); r_; })

static void say(const char *text) { if (write(1, text, strlen(text)) < 0) _exit(9); }
static void number(const char *label, long value) { char line[64]; snprintf(line, sizeof line, " %s=%ld", label, value); say(line); }

// Says what it got, and ends.
static void on_fault(int signo, siginfo_t *info, void *context) {
  ucontext_t *uc = context;
  char here;
  number("signal", signo); number("code", info->si_code);
  if (signo != SIGPIPE && (signo != SIGSEGV || info->si_code != SI_KERNEL)) number("address", (unsigned long)info->si_addr < 4096 ? (long)info->si_addr : -1);
  if (info->si_code != SI_KERNEL) number("trap", uc->uc_mcontext.gregs[REG_TRAPNO] != 0); // which one is the processor's business
  number("alternate", &here >= alternate && &here < alternate + sizeof alternate);
  _exit(40);
}

static void catch(int signo, int flags) {
  struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | flags};
  sigaction(signo, &action, 0);
}

static void catch_all(int flags) { catch(SIGSEGV, flags); catch(SIGBUS, flags); catch(SIGILL, flags); catch(SIGTRAP, flags); catch(SIGFPE, flags); catch(SIGSYS, flags); }

static void use_alternate(void *at, size_t size) { stack_t stack = {at, 0, size}; number("sigaltstack", sigaltstack(&stack, 0) ? errno : 0); }

static void *page(int prot) { return mmap(0, 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); }

static void fault_at(void *sp) { __asm__ volatile("mov %0, %%rsp; movl $0, 8" : : "r"(sp)); }

// --- stacks
static void stack_null(void) { catch_all(0); fault_at(0); }
static void stack_unmapped(void) { catch_all(0); fault_at((void *)0x10000); }
static void stack_readonly(void) { catch_all(0); fault_at((char *)page(PROT_READ) + 4096); }
static void stack_kernel(void) { catch_all(0); fault_at((void *)0xffff800000001000); }
static void stack_noncanonical(void) { catch_all(0); fault_at((void *)0x8000000000001000); }
static void stack_wraps(void) { catch_all(0); fault_at((void *)64); }
static void stack_odd(void) { catch_all(0); fault_at(second + sizeof second - 3); }
static void stack_platform(void) { catch_all(0); fault_at((void *)0x7ff010008800); }
static void alternate_saves(void) { use_alternate(alternate, sizeof alternate); catch_all(SA_ONSTACK); fault_at(0); }
static void alternate_small(void) { use_alternate(alternate, 1024); use_alternate(alternate, 2048); catch_all(SA_ONSTACK); fault_at(0); }
static void alternate_unmapped(void) { use_alternate((void *)0x10000, 65536); catch_all(SA_ONSTACK); fault_at(second + 4096); }
static void alternate_wraps(void) { use_alternate((void *)-4096ul, 65536); catch_all(SA_ONSTACK); fault_at(second + 4096); }
static void usr1_bad_stack(void) { catch(SIGUSR1, 0); __asm__ volatile("mov $0x10000, %%rsp; syscall" : : "a"(SYS_tkill), "D"(gettid()), "S"(SIGUSR1)); }
static void usr1_bad_stack_caught(void) { use_alternate(alternate, sizeof alternate); catch(SIGUSR1, 0); catch(SIGSEGV, SA_ONSTACK); __asm__ volatile("mov $0x10000, %%rsp; syscall" : : "a"(SYS_tkill), "D"(gettid()), "S"(SIGUSR1)); }
static void recurse(volatile int n) { volatile char room[4096]; room[n & 4095] = n; recurse(n + 1 + (room[0] & 0)); room[0] = 1; }
static void overflow(void) { struct rlimit limit = {1 << 20, 1 << 20}; setrlimit(RLIMIT_STACK, &limit); catch_all(0); recurse(0); }
static void overflow_caught(void) { struct rlimit limit = {1 << 20, 1 << 20}; setrlimit(RLIMIT_STACK, &limit); use_alternate(alternate, sizeof alternate); catch_all(SA_ONSTACK); recurse(0); }
static void change_in_use(int s) { (void)s; use_alternate(second, sizeof second); stack_t off = {0, SS_DISABLE, 0}; number("disable", sigaltstack(&off, 0) ? errno : 0); stack_t now; sigaltstack(0, &now); number("flags", now.ss_flags); }
static void alternate_in_use(void) { use_alternate(alternate, sizeof alternate); struct sigaction action = {.sa_handler = change_in_use, .sa_flags = SA_ONSTACK}; sigaction(SIGUSR1, &action, 0); raise(SIGUSR1); }
static void autodisarm(void) { stack_t stack = {alternate, 1 << 31, sizeof alternate}; number("sigaltstack", sigaltstack(&stack, 0) ? errno : 0); struct sigaction action = {.sa_handler = change_in_use, .sa_flags = SA_ONSTACK}; sigaction(SIGUSR1, &action, 0); raise(SIGUSR1); stack_t now; sigaltstack(0, &now); number("flags", now.ss_flags); number("same", now.ss_sp == alternate); }
static void nested(int s) { if (++depth < 50) raise(s); }
static void nesting(void) { struct sigaction action = {.sa_handler = nested, .sa_flags = SA_NODEFER}; sigaction(SIGUSR1, &action, 0); raise(SIGUSR1); number("depth", depth); }
static void faulting(int s) { (void)s; depth++; *(volatile int *)8 = 0; }
static void fault_in_handler(void) { signal(SIGSEGV, faulting); *(volatile int *)8 = 0; }
static void fault_in_handler_nodefer(void) { struct rlimit limit = {1 << 18, 1 << 18}; setrlimit(RLIMIT_STACK, &limit); struct sigaction action = {.sa_handler = faulting, .sa_flags = SA_NODEFER}; sigaction(SIGSEGV, &action, 0); *(volatile int *)8 = 0; }
static void fault_blocked(void) { sigset_t all; sigfillset(&all); catch_all(0); sigprocmask(SIG_BLOCK, &all, 0); *(volatile int *)8 = 0; }
static void fault_ignored(void) { signal(SIGSEGV, SIG_IGN); *(volatile int *)8 = 0; }
static void handler_nowhere(void) { signal(SIGUSR1, (void (*)(int))0x10000); raise(SIGUSR1); }
static void handler_noncanonical(void) { catch(SIGSEGV, 0); signal(SIGUSR1, (void (*)(int))0x8000000000000000); raise(SIGUSR1); }
static void handler_kernel(void) { catch(SIGSEGV, 0); signal(SIGUSR1, (void (*)(int))0xffffffff81000000); raise(SIGUSR1); }
static void no_restorer(void) { struct { void *h; unsigned long f; void *r; unsigned long m; } action = {(void *)nested, 0, 0, 0}; depth = 100; catch(SIGSEGV, 0); syscall(SYS_rt_sigaction, SIGUSR1, &action, 0, 8); raise(SIGUSR1); number("went on", 1); }

// --- frames
static void (*forge)(ucontext_t *);
static void forging(int s, siginfo_t *i, void *c) { (void)s; (void)i; forge(c); }
static void forged(void (*how)(ucontext_t *)) { forge = how; catch(SIGSEGV, 0); catch(SIGBUS, 0); catch(SIGTRAP, 0); struct sigaction action = {.sa_sigaction = forging, .sa_flags = SA_SIGINFO}; sigaction(SIGUSR1, &action, 0); raise(SIGUSR1); number("went on", 1); unsigned long flags; __asm__ volatile("pushfq; pop %0" : "=r"(flags)); number("iopl", flags >> 12 & 3); number("if", flags >> 9 & 1); }
static void f_rip_kernel(ucontext_t *c) { c->uc_mcontext.gregs[REG_RIP] = 0xffffffff81000000; }
static void f_rip_noncanonical(ucontext_t *c) { c->uc_mcontext.gregs[REG_RIP] = 0x8000000000000000; }
static void f_rip_edge(ucontext_t *c) { c->uc_mcontext.gregs[REG_RIP] = 0x7ffffffff000; }
static void f_rip_platform(ucontext_t *c) { c->uc_mcontext.gregs[REG_RIP] = 0x7ff010000000; }
static void f_rsp_noncanonical(ucontext_t *c) { c->uc_mcontext.gregs[REG_RSP] = 0x8000000000000000; }
static void f_flags(ucontext_t *c) { c->uc_mcontext.gregs[REG_EFL] |= 0x3000; c->uc_mcontext.gregs[REG_EFL] &= ~0x200; }
static void f_flags_all(ucontext_t *c) { c->uc_mcontext.gregs[REG_EFL] |= ~0x100ul & ~0x40000ul; } // but TF and AC
static void f_trap(ucontext_t *c) { c->uc_mcontext.gregs[REG_EFL] |= 0x100; }
static void f_fp_pointer(ucontext_t *c) { c->uc_mcontext.fpregs = (void *)0x10000; }
static void f_fp_kernel(ucontext_t *c) { c->uc_mcontext.fpregs = (void *)0xffff800000000000; }
static void f_fp_odd(ucontext_t *c) { c->uc_mcontext.fpregs = (void *)((char *)c->uc_mcontext.fpregs + 1); }
static void f_fp_none(ucontext_t *c) { c->uc_mcontext.fpregs = 0; }
static void f_fp_mxcsr(ucontext_t *c) { c->uc_mcontext.fpregs->mxcsr = 0xffffffff; }
static void f_fp_header(ucontext_t *c) { memset((char *)c->uc_mcontext.fpregs + 512, 0xff, 64); }
static void f_fp_features(ucontext_t *c) { memset((char *)c->uc_mcontext.fpregs + 464 + 8, 0xff, 8); }
static void f_fp_size(ucontext_t *c) { memset((char *)c->uc_mcontext.fpregs + 464 + 4, 0xff, 4); }
static void f_fp_xsize(ucontext_t *c) { memset((char *)c->uc_mcontext.fpregs + 464 + 16, 0xff, 4); }
static void f_fp_magic(ucontext_t *c) { memset((char *)c->uc_mcontext.fpregs + 464, 0, 4); }
static void f_stack(ucontext_t *c) { c->uc_stack.ss_sp = (void *)1; c->uc_stack.ss_size = 3; c->uc_stack.ss_flags = 77; }
static void f_mask(ucontext_t *c) { memset(&c->uc_sigmask, 0xff, 8); }
static void f_uc_flags(ucontext_t *c) { c->uc_flags = -1ul; }
#define FRAME(name) static void frame_##name(void) { forged(f_##name); }
FRAME(rip_kernel) FRAME(rip_noncanonical) FRAME(rip_edge) FRAME(rip_platform) FRAME(rsp_noncanonical) FRAME(flags) FRAME(flags_all) FRAME(trap) FRAME(fp_pointer) FRAME(fp_kernel)
FRAME(fp_odd) FRAME(fp_none) FRAME(fp_mxcsr) FRAME(fp_header) FRAME(fp_features) FRAME(fp_size) FRAME(fp_xsize) FRAME(fp_magic) FRAME(stack) FRAME(mask) FRAME(uc_flags)
static void sigreturn_null(void) { catch_all(0); __asm__ volatile("xor %%esp, %%esp; syscall" : : "a"(SYS_rt_sigreturn)); }
static void sigreturn_null_caught(void) { use_alternate(alternate, sizeof alternate); catch_all(SA_ONSTACK); __asm__ volatile("xor %%esp, %%esp; syscall" : : "a"(SYS_rt_sigreturn)); }
static void sigreturn_zeros(void) { catch_all(0); memset(second, 0, sizeof second); use_alternate(alternate, sizeof alternate); catch_all(SA_ONSTACK); __asm__ volatile("mov %0, %%rsp; syscall" : : "r"(second), "a"(SYS_rt_sigreturn)); }

// --- instructions
#define INSN(name, code) static void insn_##name(void) { catch_all(0); __asm__ volatile(code); /* the case ends here, whatever it did */ number("went on", 1); }
INSN(int3, "int3") INSN(ud2, "ud2") INSN(hlt, "hlt") INSN(cli, "cli") INSN(in, "in $0x80, %al") INSN(int1, ".byte 0xf1") INSN(int1_, "int $1") INSN(int0x81, "int $0x81") INSN(wrmsr, "wrmsr") INSN(rdmsr, "rdmsr") INSN(cr3, "mov %cr3, %rax")
INSN(lidt, "lidt (%rsp)") INSN(lock_bad, ".byte 0xf0,0x90") INSN(divide, "xor %ecx, %ecx; mov $1, %eax; cdq; idiv %ecx") INSN(swapgs, "swapgs") INSN(iret_null, "push $0; push $0; push $0; push $0; push $0; iretq") INSN(sysret, "sysretq")
INSN(load_ss, "xor %eax, %eax; mov %ax, %ss") INSN(load_ds, "mov $0x1234, %eax; mov %ax, %ds") INSN(call_null, "xor %eax, %eax; call *%rax") INSN(jump_noncanonical, "movabs $0x8000000000000000, %rax; jmp *%rax") INSN(read_noncanonical, "movabs $0x8000000000000000, %rax; mov (%rax), %rax")
INSN(alignment, "pushfq; orl $0x40000, (%rsp); popfq; lea -15(%rsp), %rax; movl $1, (%rax); pushfq; andl $~0x40000, (%rsp); popfq") INSN(nt_flag, "pushfq; orl $0x4000, (%rsp); popfq; mov $39, %eax; syscall") INSN(direction, "std; mov $39, %eax; syscall; cld")
static void insn_single_step(void) { catch_all(0); __asm__ volatile("pushfq; orl $0x100, (%%rsp); popfq; nop; nop" : : : "memory"); }
static void insn_step_over_call(void) { catch_all(0); __asm__ volatile("mov $39, %%eax; pushfq; orl $0x100, (%%rsp); popfq; syscall; nop" : : : "memory", "rax", "rcx", "r11"); }
static void syscall_no_stack(void) { long r; __asm__ volatile("mov %%rsp, %%rbx; xor %%esp, %%esp; syscall; mov %%rbx, %%rsp" : "=a"(r) : "0"(SYS_getppid) : "rbx", "rcx", "r11"); number("result", r > 0); }
static void syscall_kernel_stack(void) { long r; __asm__ volatile("mov %%rsp, %%rbx; mov $0xffff800000000000, %%rsp; syscall; mov %%rbx, %%rsp" : "=a"(r) : "0"(SYS_getppid) : "rbx", "rcx", "r11"); number("result", r > 0); }
static void no_exec(void) { catch_all(0); char *p = page(PROT_READ | PROT_WRITE); *p = 0xc3; ((void (*)(void))p)(); }
static void exec_straddles(void) { catch_all(0); char *p = mmap(0, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); munmap(p + 4096, 4096); p[4095] = 0x0f; ((void (*)(void))(p + 4095))(); }
static void past_end(void) { catch_all(0); int fd = open("/tmp", O_TMPFILE | O_RDWR, 0600); if (fd < 0) fd = memfd_create("x", 0); if (ftruncate(fd, 100)) _exit(9); char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); p[200] = 1; p[5000] = 1; }
static void truncated(void) { catch_all(0); int fd = memfd_create("x", 0); if (ftruncate(fd, 8192)) _exit(9); char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0), *q = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0); p[5000] = 1; q[5000] = 2; if (ftruncate(fd, 0)) _exit(9); int pair[2]; if (pipe(pair)) _exit(9); number("write", write(pair[1], p + 5000, 1) < 0 ? errno : 0); number("private", write(pair[1], q + 5000, 1) < 0 ? errno : 0); if (ftruncate(fd, 8192)) _exit(9); number("grown", p[5000]); if (ftruncate(fd, 100)) _exit(9); p[5000] = 1; }
static void truncated_by_child(void) { catch_all(0); int fd = memfd_create("x", 0); if (ftruncate(fd, 8192)) _exit(9); char *p = mmap(0, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); p[5000] = 1; pid_t pid = fork(); if (pid == 0) { if (ftruncate(fd, 0)) _exit(9); number("child", p[0]); _exit(0); } int status; waitpid(pid, &status, 0); p[0] = 1; }
static void punched(void) { int fd = memfd_create("x", 0); if (ftruncate(fd, 16384)) _exit(9); char *p = mmap(0, 16384, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); p[5000] = 1; p[9000] = 2; number("punch", fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 4096, 4096)); number("hole", p[5000]); number("beside", p[9000]); p[5000] = 3; char c; number("read", pread(fd, &c, 1, 5000)); number("byte", c); }
static void self_write(void) { int fd = memfd_create("x", 0); if (ftruncate(fd, 65536)) _exit(9); char *p = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); number("write", pwrite(fd, p + 8192, 4096, 0)); number("read", pread(fd, p + 16384, 4096, 0)); }
static void write_text(void) { catch_all(0); *(volatile char *)(void *)write_text = 1; }
static void vsyscall_read(void) { catch_all(0); number("byte", *(volatile char *)0xffffffffff600000); }
static void vsyscall_jump(void) { catch_all(0); ((void (*)(void))0xffffffffff600123)(); }
static void rseq_garbage(void) { catch_all(0); number("unaligned", syscall(SYS_rseq, 3, 32, 0, 0) < 0); number("kernel", syscall(SYS_rseq, 0xffff800000000000, 32, 0, 0) < 0); }

// --- threads
static int thread_of(unsigned long flags, void *stack, void *ptid, void *tls, void *ctid) { register long r10 __asm__("r10") = (long)ctid, r8 __asm__("r8") = (long)tls; long r; __asm__ volatile("syscall; test %%rax, %%rax; jnz 1f; mov $60, %%eax; xor %%edi, %%edi; syscall; 1:" : "=a"(r) : "0"(SYS_clone), "D"(flags), "S"(stack), "d"(ptid), "r"(r10), "r"(r8) : "rcx", "r11", "memory"); return r > 0 ? 0 : -r; }
enum { THREAD = CLONE_VM | CLONE_FS | CLONE_FILES | CLONE_SIGHAND | CLONE_THREAD | CLONE_SYSVSEM };
static void settle(void) { for (int i = 0; i < 1000; i++) sched_yield(); }
static void clone_bad_ptid(void) { number("clone", thread_of(THREAD | CLONE_PARENT_SETTID, second + 4096, (void *)0x10000, 0, 0)); settle(); }
static void clone_bad_ctid(void) { number("clone", thread_of(THREAD | CLONE_CHILD_SETTID | CLONE_CHILD_CLEARTID, second + 4096, 0, 0, (void *)0xffff800000000000)); settle(); }
static void clone_bad_stack(void) { number("clone", thread_of(THREAD, (void *)0x8000000000000000, 0, 0, 0)); settle(); }
static void clone_bad_tls(void) { number("noncanonical", thread_of(THREAD | CLONE_SETTLS, second + 4096, 0, (void *)0x8000000000000000, 0)); number("kernel", thread_of(THREAD | CLONE_SETTLS, second + 4096, 0, (void *)0xffff800000000000, 0)); settle(); }
static void clone_flags(void) { number("thread alone", thread_of(CLONE_THREAD, 0, 0, 0, 0)); number("sighand alone", thread_of(CLONE_SIGHAND, 0, 0, 0, 0)); number("signal 99", thread_of(99, 0, 0, 0, 0)); number("fs and newns", thread_of(CLONE_FS | CLONE_NEWNS, 0, 0, 0, 0)); number("pidfd wild", thread_of(CLONE_PIDFD | SIGCHLD, 0, (void *)0x10000, 0, 0)); }
static void fs_base(void) { number("noncanonical", SYS(SYS_arch_prctl, 0x1002, 0x8000000000000000)); number("kernel", SYS(SYS_arch_prctl, 0x1002, 0xffff800000000000)); number("gs kernel", SYS(SYS_arch_prctl, 0x1001, 0xffff800000000000)); }
static void robust(void *head) { pid_t pid = fork(); if (pid == 0) { syscall(SYS_set_robust_list, head, 24); _exit(7); } int status; waitpid(pid, &status, 0); number("status", status); }
static void robust_wild(void) { robust((void *)0x10000); robust((void *)0xffff800000000000); robust((void *)-8ul); }
static void robust_loop(void) { unsigned long *list = (void *)second; list[0] = (long)&list[4]; list[1] = 8; list[2] = 0; list[4] = (long)&list[4]; list[5] = 0; robust(list); }
static void robust_offset(void) { unsigned long *list = (void *)second; list[0] = (long)&list[4]; list[1] = 0x8000000000000000; list[2] = -1ul; list[4] = (long)list; robust(list); }
static void robust_words(void) { unsigned long *list = mmap(0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0); list[0] = (long)&list[4]; list[1] = 8; list[2] = 0; list[4] = (long)list; pid_t pid = fork(); if (pid == 0) { *(int *)&list[5] = gettid() | 0x80000000; syscall(SYS_set_robust_list, list, 24); _exit(7); } waitpid(pid, 0, 0); number("died", *(unsigned *)&list[5] >> 30 & 1); number("waiters", *(unsigned *)&list[5] >> 31); }
static void clear_tid_wild(void) { pid_t pid = fork(); if (pid == 0) { syscall(SYS_set_tid_address, 0xffff800000000000); _exit(7); } int status; waitpid(pid, &status, 0); number("status", status); }
static void sigpipe(void) { int p[2]; if (pipe(p)) _exit(9); close(p[0]); catch(SIGPIPE, 0); if (write(p[1], "x", 1) < 0) number("errno", errno); }

#define CASE(name) {#name, name}
static const struct { const char *name; void (*run)(void); } cases[] = {
  CASE(stack_null), CASE(stack_unmapped), CASE(stack_readonly), CASE(stack_kernel), CASE(stack_noncanonical), CASE(stack_wraps), CASE(stack_odd), CASE(stack_platform), CASE(alternate_saves), CASE(alternate_small),
  CASE(alternate_unmapped), CASE(alternate_wraps), CASE(usr1_bad_stack), CASE(usr1_bad_stack_caught), CASE(overflow), CASE(overflow_caught), CASE(alternate_in_use), CASE(autodisarm), CASE(nesting), CASE(fault_in_handler),
  CASE(fault_in_handler_nodefer), CASE(fault_blocked), CASE(fault_ignored), CASE(handler_nowhere), CASE(handler_noncanonical), CASE(handler_kernel), CASE(no_restorer),
  CASE(frame_rip_kernel), CASE(frame_rip_noncanonical), CASE(frame_rip_edge), CASE(frame_rip_platform), CASE(frame_rsp_noncanonical), CASE(frame_flags), CASE(frame_flags_all), CASE(frame_trap), CASE(frame_fp_pointer), CASE(frame_fp_kernel),
  CASE(frame_fp_odd), CASE(frame_fp_none), CASE(frame_fp_mxcsr), CASE(frame_fp_header), CASE(frame_fp_features), CASE(frame_fp_size), CASE(frame_fp_xsize), CASE(frame_fp_magic), CASE(frame_stack), CASE(frame_mask), CASE(frame_uc_flags),
  CASE(sigreturn_null), CASE(sigreturn_null_caught), CASE(sigreturn_zeros),
  CASE(insn_int3), CASE(insn_ud2), CASE(insn_hlt), CASE(insn_cli), CASE(insn_in), CASE(insn_int1), CASE(insn_int1_), CASE(insn_int0x81), CASE(insn_wrmsr), CASE(insn_rdmsr), CASE(insn_cr3), CASE(insn_lidt), CASE(insn_lock_bad), CASE(insn_divide), CASE(insn_swapgs),
  CASE(insn_iret_null), CASE(insn_sysret), CASE(insn_load_ss), CASE(insn_load_ds), CASE(insn_call_null), CASE(insn_jump_noncanonical), CASE(insn_read_noncanonical), CASE(insn_alignment), CASE(insn_nt_flag), CASE(insn_direction), CASE(insn_single_step), CASE(insn_step_over_call),
  CASE(syscall_no_stack), CASE(syscall_kernel_stack), CASE(no_exec), CASE(exec_straddles), CASE(past_end), CASE(truncated), CASE(truncated_by_child), CASE(punched), CASE(self_write), CASE(write_text), CASE(vsyscall_read), CASE(vsyscall_jump), CASE(rseq_garbage),
  CASE(clone_bad_ptid), CASE(clone_bad_ctid), CASE(clone_bad_stack), CASE(clone_bad_tls), CASE(clone_flags), CASE(fs_base), CASE(robust_wild), CASE(robust_loop), CASE(robust_offset), CASE(robust_words), CASE(clear_tid_wild), CASE(sigpipe),
};

int main(int argc, char **argv) {
  struct rlimit none = {0, 0};
  setrlimit(RLIMIT_CORE, &none);
  for (unsigned i = 0; i < sizeof cases / sizeof *cases; i++) {
    if (argc > 1 && strcmp(argv[1], cases[i].name)) continue;
    say(cases[i].name); say(":");
    pid_t pid = fork();
    if (pid == 0) { alarm(20); cases[i].run(); _exit(0); }
    int status;
    waitpid(pid, &status, 0);
    number("ends", status); say("\n");
  }
  return 0;
}
