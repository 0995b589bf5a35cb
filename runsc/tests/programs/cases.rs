//! The scripts. Each prints something that depends on its work and is the same on every run.

/// A script and the programs it needs.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) needs: &'static [&'static str],
    pub(crate) script: &'static str,
}

/// All of them.
pub(crate) const ALL: &[Case] = &[
    Case {
        name: "echo",
        needs: &[],
        script: "echo hello; exit 0",
    },
    Case {
        name: "busybox_applets",
        needs: &["busybox"],
        script: r#"
            set -e; d=$(mktemp -d); cd $d; b=busybox
            $b seq 1 200 > n; $b sort -rn n | $b head -n 3; $b tail -n 2 n; $b wc -l < n
            $b awk '{s+=$1} END {print s}' n; $b sed -n 's/^1\(.*\)5$/\1/p' n; $b grep -c 7 n
            $b tr a-z A-Z <<< 'upper'; $b cut -c2-3 <<< abcd; $b md5sum n; $b sha256sum n
            $b mkdir -p a/b/c; $b touch a/x a/b/y; $b find a | $b sort; $b tar cf t.tar a; $b tar tf t.tar | $b sort
            $b gzip -c n | $b gunzip | $b cmp - n && echo same; $b ln -s n link; $b readlink link; $b stat -c '%s %F' n
            $b cp n m; $b mv m o; $b rm o; $b ls; $b basename /a/b.c .c; $b dirname /a/b.c; $b expr 6 \* 7
            $b printf '%05d\n' 42; $b uniq -c <<< $'a\na\nb'; $b test -d a && echo dir; $b sh -c 'echo $((2**10))'
            $b dd if=/dev/zero bs=1024 count=100 2>/dev/null | $b wc -c; $b xargs echo < <(echo 1 2 3); $b id -u
            $b du -s a > /dev/null; $b env -i A=b $b env; $b sleep 0.01; $b true; $b false || echo false
        "#,
    },
    Case {
        name: "bash_pipes_and_jobs",
        needs: &["bash"],
        script: r#"
            set -m; seq 1 1000 | sort -n | tail -n 1 | cat; (exit 7); echo $?
            sleep 0.05 & p=$!; wait $p; echo waited $?; sh -c 'kill -TERM $$'; echo $?
            trap 'echo got usr1' USR1; kill -USR1 $$; f() { echo "in function $1"; }; f x
            sleep 1000 & jobs -r | wc -l; kill %1; wait %1 2>/dev/null; echo $?
            sleep 1000 & kill -STOP $!; while [ -z "$(jobs -s)" ]; do :; done; jobs -s | wc -l; kill -CONT $!; while [ -n "$(jobs -s)" ]; do :; done; kill $!; wait $! 2>/dev/null; echo $?
            a=$(for i in 1 2 3; do echo -n $i; done); echo $a; cat <(echo one) <(echo two)
            mkfifo /tmp/fifo.$$; echo through > /tmp/fifo.$$ & cat /tmp/fifo.$$; rm /tmp/fifo.$$
            yes | head -n 100000 | wc -c; coproc cat; echo hi >&${COPROC[1]}; read -u ${COPROC[0]} l; echo $l
            ulimit -n 64; ulimit -n; echo ${BASH_VERSINFO[0]} $SHLVL; exec 5>/tmp/f.$$; echo x >&5; cat /tmp/f.$$; rm /tmp/f.$$
        "#,
    },
    Case {
        name: "coreutils",
        needs: &[],
        script: r#"
            set -e; d=$(mktemp -d); cd $d
            seq 1 5000 | shuf --random-source=/bin/bash | sort -n | md5sum; seq 1 100 | paste -sd+ ; seq 10 | tac | tr '\n' ' '; echo
            printf 'a b\nc d\n' | join - <(printf 'a 1\nc 2\n'); seq 5 | split -l 2 - p_; ls p_*; cat p_aa
            head -c 100000 /dev/zero | sha1sum; base64 <<< hello; od -c <<< hi; nl <<< $'x\ny'; fold -w 3 <<< abcdef
            mkdir -p x/y; touch -d '2001-02-03 04:05:06 UTC' x/f; stat -c '%Y %A %h' x/f; chmod 640 x/f; stat -c %a x/f
            ln x/f x/g; stat -c %h x/f; cp -r x z; ls -R z; mv z w; rm -r w; ln -s x/f s; readlink -f s | sed "s,$d,D,"; realpath . | sed "s,$d,D,"
            truncate -s 12345 t; stat -c %s t; dd if=/dev/urandom of=r bs=4096 count=50 2>/dev/null; cp r r2; cmp r r2 && echo same
            df . > /dev/null; date -u -d @0 +%F; uname -s; nproc > /dev/null; env | grep -c PATH; timeout 5 true; echo $?; timeout 0.05 sleep 10 || echo $?
            echo abc | tee t1 t2 > /dev/null; cat t1 t2; comm <(seq 3) <(seq 2 4); tsort <<< 'a b'; factor 1234567; test -r t1 && echo readable
            install -m 755 t1 t3; stat -c %a t3; mktemp -u XXXX | wc -c; pwd | sed "s,$d,D,"; wc -c < /proc/self/cmdline | head -c 0; echo end
        "#,
    },
    Case {
        name: "python",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("os_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "python_signals",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("signal_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "python_cpu_time",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("cpu_time_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "python_xattrs",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("xattr_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "nginx_reload_and_stop",
        needs: &["nginx", "curl"],
        script: r#"
            d=$(mktemp -d); cd $d; mkdir html; echo page > html/index.html
            conf() { printf 'daemon off; error_log %s/log; pid %s/pid; user root; worker_processes 2; events {} http { access_log off; client_body_temp_path %s/t1; proxy_temp_path %s/t2; fastcgi_temp_path %s/t3; uwsgi_temp_path %s/t4; scgi_temp_path %s/t5; server { listen 127.0.0.1:8085; root %s/html; add_header X-Generation %s; } }' $d $d $d $d $d $d $d $d $1 > conf; }
            generation() { curl -s -D - -o /dev/null http://127.0.0.1:8085/ | grep -i x-generation | tr -d '\r'; }
            conf first; nginx -c $d/conf -e stderr & p=$!; until curl -s http://127.0.0.1:8085/; do :; done
            generation; pgrep -P $p | wc -l; old=$(pgrep -P $p | sort | tr '\n' ' ')
            conf second; kill -HUP $p; until generation | grep second; do :; done
            for worker in $old; do while kill -0 $worker 2>/dev/null; do :; done; done; pgrep -P $p | wc -l
            kill -TERM $p; wait $p; echo $?; curl -s http://127.0.0.1:8085/; echo $?; ls pid 2>&1 | wc -l; rm -r $d
        "#,
    },
    Case {
        name: "process_tools",
        needs: &["ps", "top", "free", "uptime", "pgrep"],
        script: r#"
            sleep 1000.$$ & p=$!; exec 9</etc/passwd; until grep -q '(sleep) S' /proc/$p/stat; do :; done
            ps -o stat= -o ni= -o args= -p $p | tr -s ' ' | sed "s/1000[.]$$/1000.PARENT/"; ps -o ppid= -p $p | tr -d ' ' | sed "s/^$$\$/the shell/"
            ps -e -o args= | grep -c "^sleep 1000.$$\$"; pgrep -x -P $$ sleep | sed "s/^$p\$/found/"; top -bn1 -p $p | tail -n 1 | awk '{print $2, $3, $4, $8, $NF}'
            free | awk '{print $1, NF}' | tail -n 2; free | awk '/^Mem/ {print ($2 >= $3 + $4 - 1)}'; uptime | grep -c 'load average'
            tr '\0' ' ' < /proc/$p/cmdline | sed "s/1000[.]$$/1000.PARENT/"; echo; readlink /proc/$p/exe; readlink /proc/$p/cwd; readlink /proc/$$/fd/9; tr '\0' '\n' < /proc/$p/environ | grep ^LC_ALL
            awk '{print NF}' /proc/$p/stat; cut -d ' ' -f 1-4 /proc/$p/stat | sed "s/$p/PID/;s/$$/PARENT/"; grep -E '^(Name|State|Threads|Uid)' /proc/$p/status
            grep -c 'r-xp.*sleep' /proc/$p/maps; grep -E '^(pos|flags)' /proc/$$/fdinfo/9; awk '$2 == "/proc" {print $1, $3}' /proc/self/mounts
            kill $p; wait $p; echo $?; ps -p $p > /dev/null; echo $?
        "#,
    },
    Case {
        name: "python_network",
        needs: &["python3", "ip"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("network_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "python_tcp",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("tcp_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "python_ipv6",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("ipv6_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "python_udp",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("udp_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "python_raw",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("raw_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "ping_itself",
        needs: &["ping", "python3"],
        script: r#"echo 0 2147483647 > /proc/sys/net/ipv4/ping_group_range
            for to in 127.0.0.1 ::1; do ping -c 3 -i 0.01 -s 100 $to | sed 's/time=.*/TIME/; s/time .*/TIME/; s/^rtt.*/RTT/'; done
            ping -c 2 -i 0.01 -s 9000 -t 7 127.0.0.1 | grep -c 'bytes from'; ping -c 1 -W 1 192.0.2.1; echo $?
            setpriv --reuid 65534 --regid 65534 --clear-groups ping -c 1 127.0.0.1 | grep -c 'bytes from'
            echo 1 0 > /proc/sys/net/ipv4/ping_group_range; cat /proc/sys/net/ipv4/ping_group_range
            ping -c 1 127.0.0.1 | grep -c 'bytes from'; python3 -c 'import socket; socket.socket(socket.AF_INET, socket.SOCK_DGRAM, 1)' 2>&1 | tail -n 1"#,
    },
    Case {
        name: "python_packets_and_filters",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("packet_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "python_error_queue",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("errqueue_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "python_multicast",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("multicast_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "python_pty",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("pty_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "python_corners",
        needs: &["python3"],
        script: concat!(
            "python3 - <<'EOF'\n",
            include_str!("corners_script.py"),
            "\nEOF\n"
        ),
    },
    Case {
        name: "scheduling",
        needs: &["python3"],
        script: r#"nice -n 3 nice; nice -n 3 nice -n 4 nice; nice -n 30 nice; nice -n 5 sh -c 'cut -d" " -f18,19 /proc/self/stat; renice -n 9 $$ > /dev/null; nice'
            taskset 1 taskset -p $$ | sed 's/.*: //' > /dev/null; python3 -c 'import os; os.sched_setaffinity(0, {0}); print(os.sched_getaffinity(0), os.fork() and os.wait()[1] or os.sched_getaffinity(0))
for call in (lambda: os.sched_getaffinity(-1), lambda: os.sched_setaffinity(0, {9999}), lambda: os.getpriority(os.PRIO_PGRP, 99999), lambda: os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))):
    try: print(call())
    except OSError as e: print(e.errno)
print(os.sched_getscheduler(0), os.getpriority(os.PRIO_USER, 0) <= 0)'"#,
    },
    Case {
        name: "perl",
        needs: &["perl"],
        script: r#"perl -e 'use strict; my %h; $h{$_ % 7}++ for 1..1000; print join(",", map {"$_=$h{$_}"} sort keys %h), "\n";
            pipe(my $r, my $w); my $p = fork; if (!$p) { close $r; print $w "child\n"; exit 3 } close $w; print <$r>; waitpid $p, 0; print $? >> 8, "\n";
            local $SIG{ALRM} = sub { print "alarm\n" }; alarm 1; sleep 5; open my $f, ">", "/tmp/perl.$$"; print $f "x" x 100000; close $f; print -s "/tmp/perl.$$", "\n"; unlink "/tmp/perl.$$"; print sort { $a <=> $b } (3,1,2); print "\n"'"#,
    },
    Case {
        name: "sqlite",
        needs: &["sqlite3"],
        script: r#"d=$(mktemp -d); sqlite3 $d/db "create table t(a integer primary key, b text);
            with recursive c(x) as (select 1 union all select x+1 from c where x<5000) insert into t select x, 'row '||x from c;
            create index i on t(b); select count(*), sum(a) from t; select b from t where b like '%99' order by a limit 3; pragma integrity_check; pragma journal_mode=wal; update t set b='new' where a%2=0; select count(*) from t where b='new';"; rm -r $d"#,
    },
    Case {
        name: "git",
        needs: &["git"],
        script: r#"set -e; d=$(mktemp -d); cd $d; export GIT_AUTHOR_DATE='2001-01-01T00:00:00Z' GIT_COMMITTER_DATE='2001-01-01T00:00:00Z' GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1
            git init -q -b main .; git config user.name N; git config user.email e@example.org; for i in 1 2 3; do echo line $i >> f; git add f; git commit -qm "commit $i"; done
            git log --format='%H %s'; git checkout -q -b side HEAD~1; echo side > g; git add g; git commit -qm side; git checkout -q main; git merge -q side -m merge; git log --oneline | wc -l; git diff HEAD~1 --stat; git gc -q; git fsck; git status --short; git clone -q . ../c.$$; ls ../c.$$; rm -rf ../c.$$ $d"#,
    },
    Case {
        name: "gcc_hello",
        needs: &["gcc"],
        script: r#"set -e; d=$(mktemp -d); cd $d; printf '#include <stdio.h>\n#include <pthread.h>\nstatic void *t(void *p) { *(int *)p += 41; return 0; }\nint main(void) { int n = 1; pthread_t h; pthread_create(&h, 0, t, &n); pthread_join(h, 0); printf("hello %%d\\n", n); return 0; }\n' > h.c; gcc -O2 -pthread -o h h.c; ./h; gcc -static -pthread -o s h.c; ./s; rm -r $d"#,
    },
    Case {
        name: "fork_bomb",
        needs: &["python3"],
        script: r#"
            python3 -c '
import os, resource, signal
os.setsid()
os.setuid(65534); resource.setrlimit(resource.RLIMIT_NPROC, (40, 40))
made = 0
try:
    while made < 1000:
        if os.fork() == 0: signal.pause()
        made += 1
except BlockingIOError as error: print("refused:", error.errno, made < 40)
os.kill(0, signal.SIGKILL)'
            echo $?; echo on it goes | cat
        "#,
    },
    Case {
        name: "too_many_threads",
        needs: &["python3"],
        script: r#"
            python3 -c '
import os, resource, threading
os.setuid(65533); resource.setrlimit(resource.RLIMIT_NPROC, (40, 40)); threading.stack_size(65536)
gate, made = threading.Event(), []
try:
    while len(made) < 1000:
        thread = threading.Thread(target=gate.wait); thread.start(); made.append(thread)
except RuntimeError as error: print(error, len(made) < 40)
gate.set(); [thread.join() for thread in made]
os._exit(9)'
            echo $?; echo on it goes | cat
        "#,
    },
];
