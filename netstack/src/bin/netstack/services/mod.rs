//! The small servers. Each has a listener and a thread for each connection, up to a bound.

mod chargen;
mod discard;
mod echo;
pub(crate) mod http;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use netstack::host::{TcpListener, TcpStream};

pub(crate) use chargen::chargen;
pub(crate) use discard::discard;
pub(crate) use echo::echo;

/// Connections that one service handles at a time; more wait in the accept queue.
const CONNECTIONS_MAX: usize = 512;

/// What a service does with a connection.
pub(crate) type Handler = Arc<dyn Fn(TcpStream) -> io::Result<()> + Send + Sync>;

/// Accepts for ever, on a thread of its own.
pub(crate) fn spawn(listener: TcpListener, name: &str, handler: Handler) -> io::Result<()> {
    let thread_name = name.to_owned();
    std::thread::Builder::new()
        .name(thread_name.clone())
        .spawn(move || accept_for_ever(&listener, &thread_name, &handler))?;
    Ok(())
}

/// Counts a connection for as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn accept_for_ever(listener: &TcpListener, name: &str, handler: &Handler) {
    let count = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("netstack: {name} has stopped accepting: {error}");
                return;
            }
        };
        if count.fetch_add(1, Ordering::AcqRel) >= CONNECTIONS_MAX {
            count.fetch_sub(1, Ordering::AcqRel);
            drop(stream);
            continue;
        }
        let counted = Counted(count.clone());
        let handler = handler.clone();
        let spawned = std::thread::Builder::new()
            .name(format!("{name}-conn"))
            .spawn(move || {
                let _counted = counted;
                // A connection that breaks is the peer's affair.
                let _ = handler(stream);
            });
        if let Err(error) = spawned {
            eprintln!("netstack: {name} refuses a connection: {error}");
        }
    }
}
