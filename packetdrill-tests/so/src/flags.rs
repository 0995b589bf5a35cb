//! `--so_flags`: settings with commas between them.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use packetdrill_tests::run::Addresses;
use thiserror::Error;

/// Why flags make no sense.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(crate) enum FlagError {
    /// A word that is no flag.
    #[error(
        "'{0}' is no flag: local=ADDRESS, mtu=N, defaults, and settings such as net.ipv4.tcp_ecn=1 are"
    )]
    Unknown(String),
    /// A value that does not fit.
    #[error("'{1}' is no value for {0}")]
    Value(String, String),
}

/// What the flags say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flags {
    /// Addresses and MTU of the stack.
    pub(crate) addresses: Addresses,
    /// Begin with the settings that the public collections' set-up script makes.
    pub(crate) defaults: bool,
    /// Settings by name, in order.
    pub(crate) settings: Vec<(String, String)>,
}

impl Flags {
    /// Reads flags; a value may contain blanks, and ends at the next comma.
    ///
    /// # Errors
    /// [`FlagError`].
    pub(crate) fn parse(text: &str) -> Result<Self, FlagError> {
        const MTU: u16 = 1500;
        let mut flags = Self {
            addresses: Addresses {
                local: SocketAddr::from((Ipv4Addr::new(192, 168, 0, 1), 8080)),
                remote: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 8080)),
                mtu: MTU,
            },
            defaults: false,
            settings: Vec::new(),
        };
        for word in text.split(',').map(str::trim) {
            match word.split_once('=') {
                None if word.is_empty() => {}
                None if word == "defaults" => flags.defaults = true,
                Some(("local", value)) => {
                    let address: IpAddr = parsed("local", value)?;
                    flags.addresses.local.set_ip(address);
                }
                Some(("mtu", value)) => flags.addresses.mtu = parsed("mtu", value)?,
                Some((name, value)) if name.starts_with("net.") => {
                    flags.settings.push((name.to_owned(), value.to_owned()));
                }
                _ => return Err(FlagError::Unknown(word.to_owned())),
            }
        }
        Ok(flags)
    }
}

fn parsed<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, FlagError> {
    value
        .parse()
        .map_err(|_| FlagError::Value(name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_of_every_kind() {
        let text = "defaults, local=fd00::1,mtu=1520,net.ipv4.tcp_rmem=1 2 3,";
        let flags = Flags::parse(text).expect("good flags");
        assert!(flags.defaults);
        assert_eq!(
            flags.addresses.local,
            "[fd00::1]:8080".parse().expect("an address")
        );
        assert_eq!(flags.addresses.mtu, 1520);
        let setting = ("net.ipv4.tcp_rmem".to_owned(), "1 2 3".to_owned());
        assert_eq!(flags.settings, [setting]);
        assert_eq!(Flags::parse("").map(|flags| flags.defaults), Ok(false));
        for bad in ["local=x", "mtu=-1", "verbose", "tcp_ecn=1"] {
            assert!(Flags::parse(bad).is_err(), "{bad}");
        }
    }
}
