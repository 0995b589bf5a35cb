//! The control socket's side in the sandbox.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use sentry::kernel::Kernel;

use super::config;
use super::waiters::Waiters;
use crate::sandbox::control::{Answer, ProcessRow, Request, SignalTarget};
use crate::sandbox::plan::ProcessPlan;
use crate::sandbox::transport::{self, Donation, Received};

/// Requests served at once: each `wait` holds a thread.
const CONNECTIONS_MAX: usize = 256;

/// Serves requests one by one until `start` has been one of them.
pub(super) fn until_started(kernel: &Arc<Kernel>, listener: &UnixListener, waiters: &Arc<Waiters>) {
    for mut socket in listener.incoming().flatten() {
        let Ok(Some((request, received))) = transport::receive::<Request>(&mut socket) else {
            continue;
        };
        match request {
            Request::Start => {
                kernel.start();
                reply(&mut socket, &Answer::Done);
                return;
            }
            // The first can only be answered after the start; the second may take its time (a hook).
            Request::Wait { .. } | Request::Exec { .. } => {
                let (kernel, waiters) = (Arc::clone(kernel), Arc::clone(waiters));
                super::spawn("request", move || {
                    converse(&kernel, &mut socket, request, received, &waiters);
                });
            }
            // The container's process has not run, so it could not have set a handler.
            Request::Signal { signo, target }
                if ends_by_default(signo)
                    && !matches!(target, SignalTarget::Process(pid) if pid != 1) =>
            {
                reply(&mut socket, &Answer::Done);
                std::process::exit(128 + signo);
            }
            other => converse(kernel, &mut socket, other, received, waiters),
        }
    }
}

/// True for the signals whose default action ends a process (signal(7)).
fn ends_by_default(signo: i32) -> bool {
    let spared = [
        libc::SIGCHLD,
        libc::SIGCONT,
        libc::SIGURG,
        libc::SIGWINCH,
        libc::SIGSTOP,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
    ];
    !spared.contains(&signo)
}

/// Serves requests, each on a thread of its own, until the process ends.
pub(super) fn requests(kernel: &Arc<Kernel>, listener: &UnixListener, waiters: &Arc<Waiters>) {
    let live = Arc::new(());
    for mut socket in listener.incoming().flatten() {
        if Arc::strong_count(&live) > CONNECTIONS_MAX {
            reply(
                &mut socket,
                &Answer::Failed("too many requests at once".into()),
            );
            continue;
        }
        let (kernel, waiters) = (Arc::clone(kernel), Arc::clone(waiters));
        let live = Arc::clone(&live);
        super::spawn("request", move || {
            if let Ok(Some((request, received))) = transport::receive::<Request>(&mut socket) {
                converse(&kernel, &mut socket, request, received, &waiters);
            }
            drop(live);
        });
    }
}

fn reply(socket: &mut UnixStream, answer: &Answer) {
    // Who asked may have gone: there is nobody to tell.
    let _ = transport::send(socket, answer, Donation::default());
}

/// Answers one request.
fn converse(
    kernel: &Arc<Kernel>,
    socket: &mut UnixStream,
    request: Request,
    mut received: Received,
    waiters: &Arc<Waiters>,
) {
    // Whatever the request does, even to the first process, its answer still goes out.
    let _waiter = waiters.enter();
    let answer = match request {
        Request::Start => Answer::Failed("the container has been started already".into()),
        Request::Signal { signo, target } => signal(kernel, signo, target),
        Request::Processes => Answer::Processes(kernel.ps().into_iter().map(row).collect()),
        Request::Wait { pid } => wait(kernel, pid),
        Request::Exec { process, wait: and } => {
            let started = exec(kernel, *process, &mut received);
            match started {
                Answer::Started { pid } if and => {
                    reply(socket, &started);
                    wait(kernel, pid)
                }
                other => other,
            }
        }
    };
    reply(socket, &answer);
}

fn no_process() -> String {
    "there is no such process in the container".into()
}

fn signal(kernel: &Kernel, signo: i32, target: SignalTarget) -> Answer {
    if signo == libc::SIGWINCH && kernel.window_changed() {
        return Answer::Done;
    }
    let (pid, all) = match target {
        SignalTarget::Init => (1, false),
        SignalTarget::All => (-1, true),
        SignalTarget::Process(pid) => (pid, false),
    };
    match kernel.kill(pid, signo, all) {
        Ok(()) => Answer::Done,
        Err(sentry_abi::Errno::ESRCH) => Answer::Failed(no_process()),
        Err(errno) => Answer::Failed(errno.to_string()),
    }
}

fn exec(kernel: &Arc<Kernel>, plan: ProcessPlan, received: &mut Received) -> Answer {
    let process = match config::process(plan, received) {
        Ok(process) => process,
        Err(error) => return Answer::Failed(error.to_string()),
    };
    kernel.exec(process).map_or_else(
        |error| Answer::Failed(error.to_string()),
        |pid| Answer::Started { pid },
    )
}

fn wait(kernel: &Kernel, pid: i32) -> Answer {
    match kernel.wait_pid(pid) {
        Some(status) => Answer::Exited {
            status: status.code(),
        },
        None => Answer::Failed(no_process()),
    }
}

fn row(info: sentry::kernel::ProcessInfo) -> ProcessRow {
    ProcessRow {
        uid: info.uid,
        pid: info.pid,
        ppid: info.ppid,
        threads: info.threads,
        cpu_ns: info.cpu_ns,
        command: info.command,
    }
}
