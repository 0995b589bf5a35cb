// The calls of wild.c, each with arguments that are as they should be.
static char zeros[4096];
static struct iovec vec[2] = {{(void *)(RW + 0x8000), 8}, {(void *)(RW + 0x8100), 8}};
static struct msghdr msg = {.msg_iov = (void *)(RW + 0x8200), .msg_iovlen = 1};
static struct mmsghdr mmsg = {.msg_hdr = {.msg_iov = (void *)(RW + 0x8200), .msg_iovlen = 1}};
static struct timespec soon = {0, 1}, past = {1, 0};
static struct timespec pair_of_times[2] = {{1, 0}, {2, 0}};
static struct timeval short_time = {0, 1}, two_times[2] = {{1, 0}, {2, 0}};
static struct itimerval no_interval;
static struct itimerspec no_timer;
static struct pollfd poll_one = {EVENT, POLLIN, 0};
static struct epoll_event event = {.events = EPOLLIN};
static struct sockaddr_in loop_address;
static struct sockaddr_un unix_address = {AF_UNIX, "s"};
static struct sigaction usr1;
static unsigned long mask;
static struct { const unsigned long *set; size_t len; } mask_of = {(void *)(RW + 0x8300), 8};
static siginfo_t queued = {.si_code = SI_QUEUE};
static stack_t alternate = {(void *)RW, 0, 0x4000};
static struct rlimit limit = {64, 64};
static struct flock lock = {.l_type = F_WRLCK};
static struct open_how how = {.flags = O_RDONLY};
static struct clone_args no_clone = {.flags = CLONE_SIGHAND}; // EINVAL
static struct sigevent no_event = {.sigev_notify = SIGEV_NONE};
static struct __user_cap_header_struct cap_header = {_LINUX_CAPABILITY_VERSION_3, 0};
static struct __user_cap_data_struct caps[2];
static unsigned word = 5, words[2];
static int one = 1, length = 16;
static long offset = 1, far = 4000;
static struct utimbuf { long a, b; } utime_buf = {1, 2};
static char *argv_[2] = {"x", 0};

#define C(name, ...) {#name, SYS_##name, 0, {__VA_ARGS__}}
#define Q(name, ...) {#name, SYS_##name, 1, {__VA_ARGS__}}

static const struct call calls[] = {
  C(read, F(FILE_), ROOM(100), N(100)), C(write, F(FILE_), ROOM(100), N(100)), C(pread64, F(FILE_), ROOM(100), N(100), N(0)),
  C(pwrite64, F(FILE_), ROOM(100), N(100), N(5)), C(readv, F(FILE_), P(vec), N(2)), C(writev, F(FILE_), P(vec), N(2)),
  C(preadv, F(FILE_), P(vec), N(2), N(0)), C(pwritev, F(FILE_), P(vec), N(2), N(0)), C(preadv2, F(FILE_), P(vec), N(2), V(0), V(0), N(0)),
  C(pwritev2, F(FILE_), P(vec), N(2), V(0), V(0), N(0)),
  {"read pipe", SYS_read, 0, {F(PIPE_R), ROOM(10), N(1)}}, {"write pipe", SYS_write, 0, {F(PIPE_W), ROOM(10), N(10)}},
  {"write null", SYS_write, 0, {F(NULL_), ROOM(10), N(10)}}, {"read eventfd", SYS_read, 0, {F(EVENT), ROOM(8), N(8)}},
  {"write eventfd", SYS_write, 0, {F(EVENT), P(offset), N(8)}}, {"read timerfd", SYS_read, 0, {F(TIMER), ROOM(8), N(8)}},
  {"read inotify", SYS_read, 0, {F(INOTIFY), ROOM(64), N(64)}}, {"read socket", SYS_read, 0, {F(SOCK_A), ROOM(10), N(1)}},
  {"write socket", SYS_write, 0, {F(SOCK_A), ROOM(10), N(10)}}, {"write memfd", SYS_write, 0, {F(MEMFD), ROOM(10), N(10)}},
  C(open, T("f"), V(O_RDONLY), V(0)), C(creat, T("new"), V(0600)), C(openat, F(DIR_), T("f"), V(O_RDONLY), V(0)), C(openat2, F(DIR_), T("f"), P(how), N(sizeof how)),
  C(lseek, F(FILE_), N(0), V(0)), C(stat, T("f"), ROOM(144)), C(lstat, T("f"), ROOM(144)), C(fstat, F(FILE_), ROOM(144)),
  C(newfstatat, F(DIR_), T("f"), ROOM(144), V(0)), C(statx, F(DIR_), T("f"), V(0), V(0x7ff), ROOM(256)), C(access, T("f"), V(4)),
  C(faccessat, F(DIR_), T("f"), V(4)), C(faccessat2, F(DIR_), T("f"), V(4), V(0)), C(poll, P(poll_one), N(1), V(0)), C(ppoll, P(poll_one), N(1), W(soon), P(mask), N(8)),
  C(select, N(32), ROOM(8), ROOM(8), ROOM(8), W(short_time)), C(pselect6, N(32), ROOM(8), ROOM(8), ROOM(8), W(soon), P(mask_of)),
  C(mprotect, V(RW), N(4096), V(3)), C(munmap, N(NOTHING), V(4096)), C(msync, V(RW), N(4096), V(MS_ASYNC)), C(mincore, V(RW), N(4096), ROOM(4)),
  C(madvise, V(RW), N(4096), V(MADV_NORMAL)), C(mlock, V(RW), N(4096)), C(mlock2, V(RW), N(4096), V(0)), C(munlock, V(RW), N(4096)), Q(mmap, N(0), V(4096), V(3), V(0x22), V(-1), N(0)),
  Q(mremap, N(RW), V(4096), V(4096), V(0)), C(pkey_mprotect, V(RW), N(4096), V(3), V(-1)),
  C(rt_sigaction, N(SIGUSR1), P(usr1), ROOM(32), N(8)), C(rt_sigprocmask, N(0), P(mask), ROOM(8), N(8)), C(rt_sigpending, ROOM(8), N(8)),
  C(rt_sigtimedwait, P(mask), ROOM(128), W(soon), N(8)), C(rt_sigqueueinfo, V(0x7ffffff), N(SIGUSR1), P(queued)), C(sigaltstack, P(alternate), ROOM(24)),
  C(ioctl, F(PIPE_R), V(FIONREAD), ROOM(4)), {"ioctl FIONBIO", SYS_ioctl, 0, {F(PIPE_R), V(FIONBIO), P(one)}}, {"ioctl TCGETS", SYS_ioctl, 0, {F(NULL_), V(TCGETS), ROOM(60)}},
  {"ioctl nonsense", SYS_ioctl, 0, {F(FILE_), V(0x12345678), ROOM(8)}},
  C(pipe, ROOM(8)), C(pipe2, ROOM(8), V(O_CLOEXEC)), C(dup, F(FILE_)), C(dup2, F(FILE_), N(FREE)), C(dup3, F(FILE_), N(FREE), V(0)), C(nanosleep, P(soon), ROOM(16)),
  C(clock_nanosleep, N(1), V(0), P(soon), ROOM(16)), C(getitimer, N(0), ROOM(32)), C(setitimer, N(0), P(no_interval), ROOM(32)),
  C(sendfile, F(PIPE2_W), F(FILE_), P(offset), N(10)), C(socket, N(AF_UNIX), N(SOCK_STREAM), N(0)), C(socketpair, V(AF_UNIX), V(SOCK_STREAM), V(0), ROOM(8)),
  C(connect, F(UDP), P(loop_address), N(16)), {"connect unix", SYS_connect, 0, {F(SOCK_A), P(unix_address), N(4)}}, C(bind, F(TCP), P(loop_address), N(16)),
  C(listen, F(TCP), N(5)), C(accept, F(TCP), ROOM(16), P(length)), C(accept4, F(TCP), ROOM(16), P(length), V(0)), C(sendto, F(UDP), ROOM(10), N(10), V(0), P(loop_address), N(16)),
  C(recvfrom, F(SOCK_A), ROOM(10), N(1), V(MSG_DONTWAIT), ROOM(16), P(length)), C(sendmsg, F(SOCK_A), P(msg), V(MSG_DONTWAIT)), C(recvmsg, F(SOCK_A), P(msg), V(MSG_DONTWAIT)),
  C(sendmmsg, F(SOCK_A), P(mmsg), N(1), V(MSG_DONTWAIT)), C(recvmmsg, F(SOCK_A), P(mmsg), N(1), V(MSG_DONTWAIT), P(soon)), C(shutdown, F(TCP), N(7)),
  C(getsockname, F(SOCK_A), ROOM(16), P(length)), C(getpeername, F(SOCK_A), ROOM(16), P(length)), C(setsockopt, F(UDP), V(SOL_SOCKET), V(SO_REUSEADDR), P(one), N(4)),
  C(getsockopt, F(UDP), V(SOL_SOCKET), V(SO_TYPE), ROOM(4), P(length)), {"setsockopt SO_RCVTIMEO", SYS_setsockopt, 0, {F(UDP), V(SOL_SOCKET), V(SO_RCVTIMEO), P(short_time), N(16)}},
  {"setsockopt TCP_NODELAY", SYS_setsockopt, 0, {F(TCP), V(6), V(1), P(one), N(4)}}, {"setsockopt IP_TTL", SYS_setsockopt, 0, {F(UDP), V(0), V(2), P(word), N(4)}},
  {"getsockopt TCP_INFO", SYS_getsockopt, 0, {F(TCP), V(6), V(11), ROOM(104), P(length)}}, {"getsockopt SO_PEERCRED", SYS_getsockopt, 0, {F(SOCK_A), V(SOL_SOCKET), V(SO_PEERCRED), ROOM(12), P(length)}},
  Q(clone3, P(no_clone), N(sizeof no_clone)), C(execve, T("none"), P(argv_), V(0)), C(execveat, F(DIR_), T("none"), P(argv_), V(0), V(0)), C(wait4, V(-1), ROOM(4), V(WNOHANG), ROOM(144)),
  C(waitid, N(0), V(0), ROOM(128), V(WNOHANG | WEXITED), ROOM(144)), C(kill, V(0x7ffffff), N(0)), C(tkill, V(0x7ffffff), N(10)), C(tgkill, V(0x7ffffff), V(0x7ffffff), N(10)), C(uname, ROOM(390)),
  C(fcntl, F(FILE_), V(F_GETLK), P(lock)), {"fcntl F_SETLK", SYS_fcntl, 0, {F(FILE_), V(F_SETLK), P(lock)}},
  {"fcntl nonsense", SYS_fcntl, 0, {F(FILE_), V(777), N(0)}}, C(flock, F(FILE_), N(LOCK_SH)), C(fsync, F(FILE_)), C(fdatasync, F(FILE_)), C(truncate, T("f"), N(8000)), C(ftruncate, F(FILE_), N(8000)),
  C(getdents64, F(DIR_), ROOM(2000), N(1)), C(getdents, F(DIR_), ROOM(2000), N(1)), Q(getcwd, ROOM(200), N(200)), C(chdir, T(".")), C(fchdir, F(DIR_)), C(rename, T("none"), T("g")),
  C(renameat, F(DIR_), T("none"), F(DIR_), T("g")), C(renameat2, F(DIR_), T("none"), F(DIR_), T("g"), N(0)), C(mkdir, T("d"), V(0755)), C(mkdirat, F(DIR_), T("d"), V(0755)), C(rmdir, T("none")),
  C(link, T("none"), T("g")), C(linkat, F(DIR_), T("none"), F(DIR_), T("g"), V(0)), C(unlink, T("none")), C(unlinkat, F(DIR_), T("none"), N(0)), C(symlink, T("t"), T("l")), C(symlinkat, T("t"), F(DIR_), T("l")),
  C(readlink, T("f"), ROOM(10), N(10)), {"readlink l", SYS_readlink, 0, {T("link"), ROOM(10), N(10)}}, C(readlinkat, F(DIR_), T("link"), ROOM(10), N(10)), C(chmod, T("f"), V(0644)), C(fchmod, F(FILE_), V(0644)), C(fchmodat, F(DIR_), T("f"), V(0644)),
  C(fchmodat2, F(DIR_), T("f"), V(0644), V(0)), C(chown, T("f"), V(-1), V(-1)), C(fchown, F(FILE_), V(-1), V(-1)), C(lchown, T("f"), V(-1), V(-1)), C(fchownat, F(DIR_), T("f"), V(-1), V(-1), V(0)),
  Q(gettimeofday, ROOM(16), ROOM(8)), Q(time, ROOM(8)), C(getrlimit, N(RLIMIT_NOFILE), ROOM(16)), C(setrlimit, N(RLIMIT_CORE), P(limit)), C(prlimit64, V(0), N(RLIMIT_CORE), P(limit), ROOM(16)), C(getrusage, N(0), ROOM(144)),
  Q(sysinfo, ROOM(112)), Q(times, ROOM(32)), C(getgroups, N(64), ROOM(256)), C(setgroups, N(1), P(word)), C(getresuid, ROOM(4), ROOM(4), ROOM(4)), C(getresgid, ROOM(4), ROOM(4), ROOM(4)),
  C(capget, P(cap_header), ROOM(24)), C(capset, P(cap_header), P(caps)), C(utime, T("f"), P(utime_buf)), C(utimes, T("f"), P(two_times)), C(futimesat, F(DIR_), T("f"), P(two_times)), C(utimensat, F(DIR_), T("f"), P(pair_of_times), V(0)),
  C(mknod, T("fifo2"), V(S_IFIFO | 0600), V(0)), C(mknodat, F(DIR_), T("fifo2"), V(S_IFIFO | 0600), V(0)), C(personality, V(0xffffffff)), C(statfs, T("."), ROOM(120)), C(fstatfs, F(FILE_), ROOM(120)),
  C(getpriority, N(0), V(0)), C(sched_setparam, V(0), P(words)), C(sched_getparam, V(0), ROOM(4)), C(sched_setscheduler, V(0), N(0), P(words)), C(sched_get_priority_max, N(0)), C(sched_rr_get_interval, V(0), ROOM(16)),
  C(prctl, N(PR_SET_NAME), P(zeros)), {"prctl PR_GET_NAME", SYS_prctl, 0, {V(PR_GET_NAME), ROOM(16)}}, {"prctl PR_GET_PDEATHSIG", SYS_prctl, 0, {V(PR_GET_PDEATHSIG), ROOM(4)}}, C(arch_prctl, V(0x1003), ROOM(8)),
  C(chroot, T(".")), C(mount, T("none"), T("d"), T("tmpfs"), V(0), T("")), C(umount2, T("d"), N(0)), C(sethostname, T("x"), N(1)), C(setdomainname, T("x"), N(1)), C(readahead, F(FILE_), N(0), N(100)),
  C(setxattr, T("f"), T("user.a"), ROOM(4), N(4), V(0)), C(fsetxattr, F(FILE_), T("user.a"), ROOM(4), N(4), V(0)), C(getxattr, T("f"), T("user.b"), ROOM(4), N(4)), C(fgetxattr, F(FILE_), T("user.b"), ROOM(4), N(4)),
  C(listxattr, T("f"), ROOM(100), N(0)), C(removexattr, T("f"), T("user.b")), C(futex, P(word), V(FUTEX_WAKE), V(1)), {"futex wait", SYS_futex, 0, {P(words), V(FUTEX_WAIT), V(0), W(soon)}},
  {"futex requeue", SYS_futex, 0, {P(word), V(FUTEX_CMP_REQUEUE), V(1), V(1), P(words), V(5)}}, {"futex wake op", SYS_futex, 0, {P(word), V(FUTEX_WAKE_OP), V(1), V(1), P(words), V(0)}},
  {"futex lock pi", SYS_futex, 0, {P(words), V(FUTEX_LOCK_PI), V(0), W(past)}}, {"futex unlock pi", SYS_futex, 0, {P(words), V(FUTEX_UNLOCK_PI)}}, {"futex bitset", SYS_futex, 0, {P(words), V(FUTEX_WAIT_BITSET), V(0), W(past), V(0), V(1)}},
  C(sched_setaffinity, V(0), N(8), P(offset)), Q(sched_getaffinity, V(0), N(128), ROOM(128)), C(epoll_create, N(1)), C(epoll_create1, N(0)), Q(set_tid_address, ROOM(4)), C(fadvise64, F(FILE_), N(0), N(100), N(0)),
  C(timer_create, N(1), P(no_event), ROOM(4)), C(timer_settime, V(77), V(0), P(no_timer), ROOM(32)), C(timer_gettime, V(77), ROOM(32)), C(clock_gettime, N(1), ROOM(16)), C(clock_getres, N(1), ROOM(16)),
  C(epoll_wait, F(EPOLL), ROOM(24), N(2), V(0)), C(epoll_pwait, F(EPOLL), ROOM(24), N(2), V(0), P(mask), N(8)), C(epoll_pwait2, F(EPOLL), ROOM(24), N(2), W(soon), P(mask), N(8)), C(epoll_ctl, F(EPOLL), N(1), F(PIPE_R), P(event)),
  C(inotify_init1, N(0)), C(inotify_add_watch, F(INOTIFY), T("f"), N(2)), C(inotify_rm_watch, F(INOTIFY), N(77)), C(set_robust_list, ROOM(24), N(24)), C(get_robust_list, V(0), ROOM(8), ROOM(8)),
  C(splice, F(PIPE_R), V(0), F(PIPE2_W), V(0), N(1), V(2)), {"splice file", SYS_splice, 0, {F(FILE_), P(offset), F(PIPE2_W), V(0), N(1), V(2)}}, C(tee, F(PIPE_R), F(PIPE2_W), N(1), V(2)), C(sync_file_range, F(FILE_), N(0), N(0), N(0)),
  C(timerfd_create, N(1), N(0)), C(timerfd_settime, F(TIMER), V(0), P(no_timer), ROOM(32)), C(timerfd_gettime, F(TIMER), ROOM(32)), C(eventfd2, V(0), N(0)), C(fallocate, F(FILE_), V(0), N(0), V(100)), {"fallocate length", SYS_fallocate, 0, {F(FILE_), V(0x100), V(0), N(100)}},
  C(getcpu, ROOM(4), ROOM(4)), C(getrandom, ROOM(16), N(16), V(0)), C(memfd_create, T("m"), N(0)), C(membarrier, N(0), V(0)), C(copy_file_range, F(FILE_), P(offset), F(FILE_), P(far), N(10), V(0)),
  C(pidfd_send_signal, F(PIDFD), N(0), P(queued), V(0)), C(pidfd_open, N(1), V(99)), C(close_range, N(100), N(200), V(0)), C(close, F(FREE)), C(unshare, N(0)), C(rt_tgsigqueueinfo, V(0x7ffffff), V(0x7ffffff), N(10), P(queued)),
  C(setfsuid, V(-1)), C(umask, N(022)), C(alarm, V(0)), C(getsid, V(0x7ffffff)), C(getpgid, V(0x7ffffff)), C(setpgid, V(0x7ffffff), N(0)),
};
