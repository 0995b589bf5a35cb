//! Programs of this machine: the same outcome in the Sentry as on its own kernel.

use crate::common;

#[test]
fn a_dynamic_program() {
    common::same(&["/bin/echo", "hello", "world"]);
}

#[test]
fn a_shell() {
    common::same(&["/bin/sh", "-c", "x=5; echo $((x * 2)); exit 3"]);
}

#[test]
fn a_shell_with_children_and_a_pipe() {
    common::same(&[
        "/bin/sh",
        "-c",
        "echo one two | tr a-z A-Z | cat; ls /etc/passwd; false || echo no",
    ]);
}

#[test]
fn bash_with_files_and_signals() {
    let script = "trap 'echo got' USR1; kill -USR1 $$; for i in 1 2 3; do echo $i; done | sort -r; \
                  (sleep 0.01; exit 4) & wait $!; echo $?; cat <<< here";
    common::same(&["/bin/bash", "-c", script]);
}

#[test]
fn python_with_threads_and_a_subprocess() {
    let script = "import threading, subprocess, os, signal\n\
        lock = threading.Lock(); total = [0]\n\
        def add():\n    for _ in range(1000):\n        with lock: total[0] += 1\n\
        threads = [threading.Thread(target=add) for _ in range(4)]\n\
        [t.start() for t in threads]; [t.join() for t in threads]\n\
        print(total[0])\n\
        print(subprocess.run(['/bin/echo', 'child'], capture_output=True).stdout)\n\
        pid = os.fork()\n\
        if pid == 0: os._exit(9)\n\
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))\n\
        signal.signal(signal.SIGALRM, lambda *a: print('alarm'))\n\
        signal.setitimer(signal.ITIMER_REAL, 0.01); signal.pause()\n";
    common::same(&["/usr/bin/python3", "-c", script]);
}
