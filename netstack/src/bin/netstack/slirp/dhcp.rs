//! A DHCP server (RFC 2131) for namespaces that are not configured from outside.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use netstack::network::IfaceId;
use netstack::socket::{Family, SocketId};

use super::plan::{Leases, Plan};
use super::shared::Shared;

const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const LEASE_SECONDS: u32 = 86_400;
/// Name servers that fit into an option.
const DNS_MAX: usize = 63;
/// RFC 1035, 2.3.4
const LABEL_MAX: usize = 63;
/// Addresses that are given out at most.
const LEASES_MAX: u32 = 64;

/// RFC 2131, 2: up to the options, which begin with a magic number.
const FIXED_LEN: usize = 236;
const MAGIC: [u8; 4] = [99, 130, 83, 99];
/// The least length of a message that old clients take (RFC 1542, 2.1).
const REPLY_LEN_MIN: usize = 300;
const BOOT_REQUEST: u8 = 1;
const BOOT_REPLY: u8 = 2;
const ETHERNET: (u8, u8) = (1, 6);

/// Option codes (RFC 2132).
mod option {
    pub(super) const PAD: u8 = 0;
    pub(super) const NETMASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const DNS: u8 = 6;
    pub(super) const MTU: u8 = 26;
    pub(super) const REQUESTED: u8 = 50;
    pub(super) const LEASE_TIME: u8 = 51;
    pub(super) const MESSAGE_TYPE: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    /// RFC 3397
    pub(super) const SEARCH: u8 = 119;
    pub(super) const END: u8 = 255;
}

/// Message types (RFC 2132, 9.6).
mod kind {
    pub(super) const DISCOVER: u8 = 1;
    pub(super) const OFFER: u8 = 2;
    pub(super) const REQUEST: u8 = 3;
    pub(super) const DECLINE: u8 = 4;
    pub(super) const ACK: u8 = 5;
    pub(super) const NAK: u8 = 6;
    pub(super) const RELEASE: u8 = 7;
    pub(super) const INFORM: u8 = 8;
}

type Mac = [u8; 6];

/// What a client says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Request {
    xid: [u8; 4],
    flags: [u8; 2],
    /// The address that it has, unspecified if none.
    current: Ipv4Addr,
    mac: Mac,
    kind: u8,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
}

impl Request {
    /// `None` if it is no DHCP request that came directly from an Ethernet client.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let fixed = bytes.get(..FIXED_LEN)?;
        let address =
            |at: usize| Ipv4Addr::new(fixed[at], fixed[at + 1], fixed[at + 2], fixed[at + 3]);
        let direct = address(24).is_unspecified();
        if fixed[0] != BOOT_REQUEST || (fixed[1], fixed[2]) != ETHERNET || !direct {
            return None;
        }
        let options = bytes[FIXED_LEN..].strip_prefix(&MAGIC)?;
        let mut request = Self {
            xid: fixed[4..8].try_into().ok()?,
            flags: fixed[10..12].try_into().ok()?,
            current: address(12),
            mac: fixed[28..34].try_into().ok()?,
            kind: 0,
            requested: None,
            server: None,
        };
        request.read_options(options)?;
        (request.kind != 0).then_some(request)
    }

    fn read_options(&mut self, mut rest: &[u8]) -> Option<()> {
        while let [code, after @ ..] = rest {
            rest = after;
            match *code {
                option::PAD => continue,
                option::END => break,
                _ => {}
            }
            let [len, after @ ..] = rest else {
                return None;
            };
            let value = after.get(..usize::from(*len))?;
            rest = &after[value.len()..];
            let address = || <[u8; 4]>::try_from(value).map(Ipv4Addr::from).ok();
            match *code {
                option::MESSAGE_TYPE => self.kind = *value.first()?,
                option::REQUESTED => self.requested = address(),
                option::SERVER => self.server = address(),
                _ => {}
            }
        }
        Some(())
    }
}

/// Who has which address.
#[derive(Debug)]
struct Pool {
    first: u32,
    /// By place; `Some(None)` is an address that somebody has declined.
    leases: Vec<Option<Option<Mac>>>,
}

impl Pool {
    fn new(leases: &Leases) -> Self {
        let (first, last) = (u32::from(leases.first), u32::from(leases.last));
        let count = last.saturating_sub(first).min(LEASES_MAX - 1) + 1;
        Self {
            first,
            leases: vec![None; count as usize],
        }
    }

    fn address(&self, place: usize) -> Ipv4Addr {
        Ipv4Addr::from(self.first + place as u32)
    }

    fn place(&self, address: Ipv4Addr) -> Option<usize> {
        let place = u32::from(address).checked_sub(self.first)? as usize;
        (place < self.leases.len()).then_some(place)
    }

    fn place_of(&self, mac: Mac) -> Option<usize> {
        self.leases
            .iter()
            .position(|lease| *lease == Some(Some(mac)))
    }

    /// The client's address: that which it has, that which it wants, or the first that is free.
    fn take(&mut self, mac: Mac, wanted: Option<Ipv4Addr>) -> Option<Ipv4Addr> {
        // A single address is the namespace's, whatever Ethernet address it has just now.
        let sole = self.leases.len() == 1;
        let free = |place: &usize| sole || self.leases[*place].is_none();
        let wanted = wanted.and_then(|address| self.place(address)).filter(free);
        let any = || (0..self.leases.len()).find(free);
        let place = self.place_of(mac).or(wanted).or_else(any)?;
        self.leases[place] = Some(Some(mac));
        Some(self.address(place))
    }

    fn release(&mut self, mac: Mac, declined: bool) {
        if let Some(place) = self.place_of(mac) {
            self.leases[place] = declined.then_some(None);
        }
    }
}

/// What there is to answer: the message type, and the address that it is about.
type Answer = (u8, Option<Ipv4Addr>);

/// The server.
pub(super) struct Dhcp {
    socket: SocketId,
    gateway: Ipv4Addr,
    pool: Pool,
}

impl Dhcp {
    /// Listens in the virtual network. `None` if that is not IPv4, or nothing is to be given out.
    pub(super) fn start(cx: &mut Shared, iface: IfaceId) -> Option<Self> {
        let IpAddr::V4(gateway) = cx.plan.gateway else {
            return None;
        };
        let pool = Pool::new(cx.plan.leases.as_ref()?);
        let socket = cx.stack.udp_open(Family::V4);
        let options = cx.stack.udp_options_mut(socket).ok()?;
        options.broadcast = true;
        options.iface = Some(iface);
        let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, SERVER_PORT));
        cx.stack.udp_bind(socket, any).ok()?;
        Some(Self {
            socket,
            gateway,
            pool,
        })
    }

    pub(super) fn socket(&self) -> SocketId {
        self.socket
    }

    /// Answers what has come.
    pub(super) fn guest_event(&mut self, cx: &mut Shared) {
        while let Ok(datagram) = cx.stack.udp_recv(self.socket) {
            let request = Request::parse(&datagram.data);
            let reply = request.and_then(|request| self.reply(&cx.plan, &request));
            let sent = reply.is_some_and(|(to, message)| {
                let sent = cx.stack.udp_send(self.socket, message, Some(to));
                sent.is_ok()
            });
            match sent {
                true => cx.counters.dhcp_answers += 1,
                false => cx.counters.dhcp_dropped += 1,
            }
        }
    }

    fn reply(&mut self, plan: &Plan, request: &Request) -> Option<(SocketAddr, Vec<u8>)> {
        let (kind, yours) = self.decide(request)?;
        let message = build(plan, request, self.gateway, (kind, yours));
        // A client without an address is reached by broadcast, and a NAK always goes there.
        let to = match kind {
            kind::NAK => Ipv4Addr::BROADCAST,
            _ if request.current.is_unspecified() => Ipv4Addr::BROADCAST,
            _ => request.current,
        };
        Some((SocketAddr::from((to, CLIENT_PORT)), message))
    }

    fn decide(&mut self, request: &Request) -> Option<Answer> {
        let for_another = request.server.is_some_and(|server| server != self.gateway);
        match request.kind {
            kind::DISCOVER => {
                let yours = self.pool.take(request.mac, request.requested)?;
                Some((kind::OFFER, Some(yours)))
            }
            kind::REQUEST if for_another => {
                self.pool.release(request.mac, false);
                None
            }
            kind::REQUEST => {
                let unspecified = request.current.is_unspecified();
                let current = Some(request.current).filter(|_| !unspecified);
                let wanted = request.requested.or(current)?;
                // After a restart the client's word is as good as ours: nobody else is here.
                match self.pool.take(request.mac, Some(wanted)) {
                    Some(yours) if yours == wanted => Some((kind::ACK, Some(yours))),
                    _ => Some((kind::NAK, None)),
                }
            }
            kind::INFORM => Some((kind::ACK, None)),
            kind::DECLINE | kind::RELEASE => {
                self.pool
                    .release(request.mac, request.kind == kind::DECLINE);
                None
            }
            _ => None,
        }
    }
}

fn add_details(leases: &Leases, mut add: impl FnMut(u8, &[u8])) {
    let servers = leases.dns.iter().flat_map(Ipv4Addr::octets);
    let servers: Vec<u8> = servers.take(4 * DNS_MAX).collect();
    if !servers.is_empty() {
        add(option::DNS, &servers);
    }
    let search = search_list(&leases.search);
    if !search.is_empty() {
        add(option::SEARCH, &search);
    }
    if let Some(mtu) = leases.mtu {
        add(option::MTU, &mtu.to_be_bytes());
    }
}

/// Domains as RFC 1035, 3.1 writes names, without compression; those that fit into one option.
fn search_list(domains: &[String]) -> Vec<u8> {
    let mut list = Vec::new();
    for domain in domains {
        let mut name = Vec::new();
        for label in domain.trim_end_matches('.').split('.') {
            name.push(label.len() as u8);
            name.extend_from_slice(label.as_bytes());
        }
        name.push(0);
        let good = |label: &str| (1..=LABEL_MAX).contains(&label.len());
        let good = domain.trim_end_matches('.').split('.').all(good);
        if good && list.len() + name.len() <= usize::from(u8::MAX) {
            list.extend_from_slice(&name);
        }
    }
    list
}

fn build(plan: &Plan, request: &Request, gateway: Ipv4Addr, (kind, yours): Answer) -> Vec<u8> {
    let mut message = vec![0; FIXED_LEN];
    message[0] = BOOT_REPLY;
    (message[1], message[2]) = ETHERNET;
    message[4..8].copy_from_slice(&request.xid);
    message[10..12].copy_from_slice(&request.flags);
    if kind != kind::NAK {
        message[12..16].copy_from_slice(&request.current.octets());
    }
    message[16..20].copy_from_slice(&yours.unwrap_or(Ipv4Addr::UNSPECIFIED).octets());
    message[28..34].copy_from_slice(&request.mac);
    message.extend_from_slice(&MAGIC);
    let mut add = |code: u8, value: &[u8]| {
        message.extend_from_slice(&[code, value.len() as u8]);
        message.extend_from_slice(value);
    };
    add(option::MESSAGE_TYPE, &[kind]);
    add(option::SERVER, &gateway.octets());
    if kind != kind::NAK {
        if yours.is_some() {
            add(option::LEASE_TIME, &LEASE_SECONDS.to_be_bytes());
        }
        let mask = u32::MAX << (32 - u32::from(plan.network.prefix_len()));
        add(option::NETMASK, &mask.to_be_bytes());
        add(option::ROUTER, &gateway.octets());
        if let Some(leases) = &plan.leases {
            add_details(leases, add);
        }
    }
    message.push(option::END);
    message.resize(message.len().max(REPLY_LEN_MIN), option::PAD);
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 2, 2);

    fn server() -> Dhcp {
        let mut stack = netstack::stack::Stack::new(Default::default(), [1; 16]);
        Dhcp {
            socket: stack.udp_open(Family::V4),
            gateway: GATEWAY,
            pool: Pool::new(&leases()),
        }
    }

    fn leases() -> Leases {
        Leases {
            first: Ipv4Addr::new(10, 0, 2, 15),
            last: Ipv4Addr::new(10, 0, 2, 30),
            dns: vec![Ipv4Addr::new(10, 0, 2, 3)],
            search: vec!["example.org".into(), "a..b".into(), "x.".into()],
            mtu: Some(1500),
        }
    }

    fn plan() -> Plan {
        let mut plan = Plan::new("10.0.2.0/24".parse().unwrap()).unwrap();
        plan.leases = Some(leases());
        plan
    }

    fn message(mac: u8, options: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; FIXED_LEN];
        bytes[..3].copy_from_slice(&[1, 1, 6]);
        bytes[4..8].copy_from_slice(&[1, 2, 3, 4]);
        bytes[28..34].copy_from_slice(&[2, 0, 0, 0, 0, mac]);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(options);
        bytes
    }

    fn ask(server: &mut Dhcp, mac: u8, options: &[u8]) -> Option<Vec<u8>> {
        let request = Request::parse(&message(mac, options)).unwrap();
        Some(server.reply(&plan(), &request)?.1)
    }

    fn kind_and_address(reply: &[u8]) -> (u8, Ipv4Addr) {
        let address: [u8; 4] = reply[16..20].try_into().unwrap();
        assert_eq!(reply[240..242], [option::MESSAGE_TYPE, 1]);
        (reply[242], Ipv4Addr::from(address))
    }

    #[test]
    fn from_discover_to_ack() {
        let mut server = server();
        let offer = ask(&mut server, 7, &[53, 1, 1, 255]).unwrap();
        let first = Ipv4Addr::new(10, 0, 2, 15);
        assert_eq!(kind_and_address(&offer), (kind::OFFER, first));
        assert!(offer.len() >= REPLY_LEN_MIN);
        let routers = [option::ROUTER, 4, 10, 0, 2, 2, option::DNS, 4, 10, 0, 2, 3];
        assert!(offer.windows(12).any(|window| window == routers));
        let search = b"\x77\x10\x07example\x03org\x00\x01x\x00";
        assert!(offer.windows(search.len()).any(|window| window == search));
        let request = [53, 1, 3, 50, 4, 10, 0, 2, 15, 54, 4, 10, 0, 2, 2, 255];
        let ack = ask(&mut server, 7, &request).unwrap();
        assert_eq!(kind_and_address(&ack), (kind::ACK, first));
        // Another client gets another address, and may not have this one.
        let nak = ask(&mut server, 8, &request).unwrap();
        assert_eq!(kind_and_address(&nak).0, kind::NAK);
        assert_eq!(ask(&mut server, 7, &[53, 1, 7, 255]), None, "a release");
        let ack = ask(&mut server, 9, &request).unwrap();
        assert_eq!(kind_and_address(&ack), (kind::ACK, first));
    }

    #[test]
    fn a_full_pool_offers_nothing_and_a_declined_address_is_not_used_again() {
        let mut server = server();
        for mac in 0..16 {
            ask(&mut server, mac, &[53, 1, 1, 255]).unwrap();
        }
        assert_eq!(ask(&mut server, 99, &[53, 1, 1, 255]), None);
        assert_eq!(ask(&mut server, 3, &[53, 1, 4, 255]), None, "declined");
        assert_eq!(ask(&mut server, 99, &[53, 1, 1, 255]), None);
        ask(&mut server, 4, &[53, 1, 7, 255]);
        assert!(ask(&mut server, 99, &[53, 1, 1, 255]).is_some());
        // A request that names another server is not ours.
        assert_eq!(
            ask(&mut server, 5, &[53, 1, 3, 54, 4, 9, 9, 9, 9, 255]),
            None
        );
    }

    #[test]
    fn a_single_address_is_always_the_namespaces() {
        let mut server = server();
        let mut one = leases();
        one.last = one.first;
        server.pool = Pool::new(&one);
        for mac in 0..3 {
            let offer = ask(&mut server, mac, &[53, 1, 1, 255]).unwrap();
            assert_eq!(kind_and_address(&offer), (kind::OFFER, one.first));
        }
    }

    #[test]
    fn malformed_messages_are_no_requests() {
        let good = message(1, &[53, 1, 1, 255]);
        assert!(Request::parse(&good).is_some());
        for len in 0..good.len() - 1 {
            assert_eq!(Request::parse(&good[..len]), None, "{len}");
        }
        for options in [&[53, 9, 1][..], &[53], &[255], &[53, 0, 255], &[1, 200, 0]] {
            assert_eq!(Request::parse(&message(1, options)), None, "{options:?}");
        }
        let mut relayed = good;
        relayed[24] = 10;
        assert_eq!(Request::parse(&relayed), None);
    }
}
