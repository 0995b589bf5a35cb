//! The host's name server: the first of /etc/resolv.conf, read again when the file has changed.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use super::plan::DNS_PORT;

const RESOLV_CONF: &str = "/etc/resolv.conf";
/// How often to look whether it has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// More of the file is not read.
const READ_MAX: u64 = 64 * 1024;

/// Finds the name server.
#[derive(Debug)]
pub(super) struct Resolver {
    /// Given by the user: the file is not looked at.
    fixed: bool,
    server: Option<SocketAddr>,
    looked: Option<Instant>,
    modified: Option<SystemTime>,
}

impl Resolver {
    pub(super) fn new(fixed: Option<SocketAddr>) -> Self {
        Self {
            fixed: fixed.is_some(),
            server: fixed,
            looked: None,
            modified: None,
        }
    }

    /// The server, if there is one.
    pub(super) fn server(&mut self) -> Option<SocketAddr> {
        let fresh = self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY);
        if !self.fixed && !fresh {
            self.looked = Some(Instant::now());
            self.look(Path::new(RESOLV_CONF));
        }
        self.server
    }

    fn look(&mut self, path: &Path) {
        use std::io::Read;
        let modified = std::fs::metadata(path)
            .and_then(|meta| meta.modified())
            .ok();
        if modified.is_some() && modified == self.modified {
            return;
        }
        self.modified = modified;
        let mut text = String::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(READ_MAX).read_to_string(&mut text));
        self.server = read.ok().and_then(|_| first_server(&text));
    }
}

/// The first `nameserver` line that this program can use.
fn first_server(text: &str) -> Option<SocketAddr> {
    let mut addresses = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let keyword = words.next()? == "nameserver";
        let address: IpAddr = words.next().filter(|_| keyword)?.parse().ok()?;
        Some(SocketAddr::new(address, DNS_PORT))
    });
    addresses.next()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_counts() {
        let text = "# nameserver 1.1.1.1\nsearch example\nnameserver fe80::1%eth0\n nameserver 9.9.9.9 \nnameserver 8.8.8.8\n";
        assert_eq!(first_server(text), Some("9.9.9.9:53".parse().unwrap()));
        assert_eq!(first_server("nameserver\noptions edns0"), None);
    }
}
