//! The host's name server: the first of /etc/resolv.conf, read again when the file has changed.

use std::io::Read;
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
        let modified = std::fs::metadata(path)
            .and_then(|meta| meta.modified())
            .ok();
        if modified.is_some() && modified == self.modified {
            return;
        }
        self.modified = modified;
        let first = Contents::of(path).servers.first().copied();
        self.server = first.map(|server| SocketAddr::new(server, DNS_PORT));
    }
}

/// What /etc/resolv.conf says, of what this program can use.
#[derive(Debug, Default)]
pub(crate) struct Contents {
    pub(crate) servers: Vec<IpAddr>,
    /// Domains to search; the last such line counts.
    pub(crate) search: Vec<String>,
}

impl Contents {
    /// Empty if the file is not there.
    pub(crate) fn read() -> Self {
        Self::of(Path::new(RESOLV_CONF))
    }

    fn of(path: &Path) -> Self {
        let mut text = String::new();
        let read = std::fs::File::open(path)
            .and_then(|file| file.take(READ_MAX).read_to_string(&mut text));
        match read {
            Ok(_) => Self::parse(&text),
            Err(_) => Self::default(),
        }
    }

    fn parse(text: &str) -> Self {
        let mut contents = Self::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let server: Option<IpAddr> = words.next().and_then(|word| word.parse().ok());
                    contents.servers.extend(server);
                }
                Some("search" | "domain") => contents.search = words.map(str::to_owned).collect(),
                _ => {}
            }
        }
        contents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_address_counts() {
        let text = "# nameserver 1.1.1.1\nsearch example\nnameserver fe80::1%eth0\n nameserver 9.9.9.9 \nnameserver 8.8.8.8\n";
        let contents = Contents::parse(text);
        let servers: Vec<String> = contents.servers.iter().map(IpAddr::to_string).collect();
        assert_eq!(servers, ["9.9.9.9", "8.8.8.8"]);
        assert_eq!(contents.search, ["example"]);
        assert!(
            Contents::parse("nameserver\noptions edns0")
                .servers
                .is_empty()
        );
    }
}
