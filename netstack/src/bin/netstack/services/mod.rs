//! The small servers. Each has a listener and a thread for each connection, up to a bound.

mod chargen;
mod discard;
mod echo;
pub(crate) mod http;

use std::io;
use std::sync::Arc;

use netstack::host::{TcpListener, TcpStream};
use parking_lot::{Condvar, Mutex};

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

/// How many connections a service has.
#[derive(Default)]
struct Count {
    open: Mutex<usize>,
    closed: Condvar,
}

impl Count {
    /// Waits until there is room for one more, and takes it.
    fn enter(self: &Arc<Self>) -> Place {
        let mut open = self.open.lock();
        while *open >= CONNECTIONS_MAX {
            self.closed.wait(&mut open);
        }
        *open += 1;
        Place(self.clone())
    }
}

/// The place of one connection, for as long as it lives.
struct Place(Arc<Count>);

impl Drop for Place {
    fn drop(&mut self) {
        *self.0.open.lock() -= 1;
        self.0.closed.notify_one();
    }
}

fn accept_for_ever(listener: &TcpListener, name: &str, handler: &Handler) {
    let count = Arc::new(Count::default());
    loop {
        let place = count.enter();
        let stream = match listener.accept() {
            Ok((stream, _)) => stream,
            Err(error) => {
                eprintln!("netstack: {name} has stopped accepting: {error}");
                return;
            }
        };
        let handler = handler.clone();
        let spawned = std::thread::Builder::new()
            .name(format!("{name}-conn"))
            .spawn(move || {
                let _place = place;
                // A connection that breaks is the peer's affair.
                let _ = handler(stream);
            });
        if let Err(error) = spawned {
            eprintln!("netstack: {name} refuses a connection: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_free_again_when_its_connection_ends() {
        let count = Arc::new(Count::default());
        let places: Vec<Place> = (0..CONNECTIONS_MAX).map(|_| count.enter()).collect();
        std::thread::scope(|scope| {
            let late = scope.spawn(|| count.enter());
            drop(places);
            drop(late.join().unwrap());
        });
        assert_eq!(*count.open.lock(), 0);
    }
}
