//! The control socket's side in the sandbox.

use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Arc;

use sentry::kernel::Kernel;

use super::config;
use crate::sandbox::control::{Answer, ProcessRow, Request, SignalTarget};
use crate::sandbox::transport::{self, Donation, Received};

/// Requests served at once: each `wait` holds a thread.
const CONNECTIONS_MAX: usize = 256;

/// Serves requests one by one until `start` has been one of them.
pub(super) fn until_started(kernel: &Arc<Kernel>, listener: &UnixListener) {
    for mut socket in listener.incoming().flatten() {
        let Ok(Some((request, received))) = transport::receive::<Request>(&mut socket) else {
            continue;
        };
        let starts = matches!(request, Request::Start);
        if starts {
            kernel.start();
            reply(&mut socket, &Answer::Done);
            return;
        }
        if matches!(request, Request::Wait { .. }) {
            // It can only be answered after the start.
            let kernel = Arc::clone(kernel);
            super::spawn("wait", move || {
                reply(&mut socket, &answer(&kernel, request, received))
            });
        } else {
            reply(&mut socket, &answer(kernel, request, received));
        }
    }
}

/// Serves requests, each on a thread of its own, until the process ends.
pub(super) fn requests(kernel: &Arc<Kernel>, listener: &UnixListener) {
    let live = Arc::new(());
    for mut socket in listener.incoming().flatten() {
        if Arc::strong_count(&live) > CONNECTIONS_MAX {
            reply(
                &mut socket,
                &Answer::Failed("too many requests at once".into()),
            );
            continue;
        }
        let (kernel, live) = (Arc::clone(kernel), Arc::clone(&live));
        super::spawn("request", move || {
            if let Ok(Some((request, received))) = transport::receive::<Request>(&mut socket) {
                reply(&mut socket, &answer(&kernel, request, received));
            }
            drop(live);
        });
    }
}

fn reply(socket: &mut UnixStream, answer: &Answer) {
    // Who asked may have gone: there is nobody to tell.
    let _ = transport::send(socket, answer, Donation::default());
}

fn answer(kernel: &Arc<Kernel>, request: Request, mut received: Received) -> Answer {
    let failed = |error: &dyn std::fmt::Display| Answer::Failed(error.to_string());
    match request {
        Request::Start => Answer::Failed("the container has been started already".into()),
        Request::Signal { signo, target } => {
            let (pid, all) = match target {
                SignalTarget::Init => (1, false),
                SignalTarget::All => (-1, true),
                SignalTarget::Process(pid) => (pid, false),
            };
            kernel
                .kill(pid, signo, all)
                .map_or_else(|errno| failed(&errno), |()| Answer::Done)
        }
        Request::Exec(plan) => match config::process(*plan, &mut received) {
            Ok(process) => kernel
                .exec(process)
                .map_or_else(|e| failed(&e), |pid| Answer::Started { pid }),
            Err(error) => failed(&error),
        },
        Request::Processes => Answer::Processes(kernel.ps().into_iter().map(row).collect()),
        Request::Wait { pid } => Answer::Exited {
            status: kernel.wait_pid(pid).code(),
        },
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
