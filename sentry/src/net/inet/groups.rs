//! Socket options about groups, between their ABI form and netstack's (ip(7), ipv6(7), RFC 3678).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use netstack::network::IfaceId;
use netstack::network::multicast::{FilterMode, SourceFilter};
use netstack::socket::GroupLink;
use sentry_abi::Errno;

use super::endpoint::Endpoint;
use crate::net::addr::parse_inet;

const IP: i32 = libc::IPPROTO_IP;
const IPV6: i32 = libc::IPPROTO_IPV6;
/// linux/in.h; the same numbers for both families.
const IP_MSFILTER: i32 = 41;
const MCAST_JOIN_GROUP: i32 = 42;
const MCAST_BLOCK_SOURCE: i32 = 43;
const MCAST_UNBLOCK_SOURCE: i32 = 44;
const MCAST_LEAVE_GROUP: i32 = 45;
const MCAST_JOIN_SOURCE_GROUP: i32 = 46;
const MCAST_LEAVE_SOURCE_GROUP: i32 = 47;
const MCAST_MSFILTER: i32 = 48;

/// Bytes of `struct sockaddr_storage`.
const STORAGE: usize = 128;
/// Where the first `sockaddr_storage` is in `struct group_req` and its relatives.
const GROUP_AT: usize = 8;

/// True for options whose value says first which group is asked for.
pub(crate) fn is_question(level: i32, name: i32) -> bool {
    matches!(
        (level, name),
        (IP, IP_MSFILTER) | (IP | IPV6, MCAST_MSFILTER)
    )
}

/// What a stream answers to these options (`do_ip_setsockopt`, `do_ipv6_setsockopt`): it has no groups.
pub(super) fn refused_by_streams(level: i32, name: i32) -> Option<Errno> {
    match (level, name) {
        (IP, libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP)
        | (IPV6, libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP) => Some(Errno::EPROTO),
        (IP, libc::IP_MULTICAST_IF | libc::IP_MULTICAST_TTL) => Some(Errno::EINVAL),
        _ => None,
    }
}

/// setsockopt(2); `None` if the option is none of these.
pub(super) fn set(
    endpoint: &Endpoint,
    level: i32,
    name: i32,
    value: &[u8],
) -> Option<Result<(), Errno>> {
    Some(match (level, name) {
        (IP, libc::IP_ADD_MEMBERSHIP | libc::IP_DROP_MEMBERSHIP) => {
            mreq(value).and_then(|(group, link)| {
                membership(
                    endpoint,
                    group.into(),
                    link,
                    name == libc::IP_ADD_MEMBERSHIP,
                )
            })
        }
        (IPV6, libc::IPV6_ADD_MEMBERSHIP | libc::IPV6_DROP_MEMBERSHIP) => {
            mreq6(value).and_then(|(group, link)| {
                membership(endpoint, group, link, name == libc::IPV6_ADD_MEMBERSHIP)
            })
        }
        (IP, libc::IP_UNBLOCK_SOURCE..=libc::IP_DROP_SOURCE_MEMBERSHIP) => {
            mreq_source(value).and_then(|asked| source(endpoint, name, asked))
        }
        (IP, IP_MSFILTER) => set_filter4(endpoint, value),
        (IP | IPV6, MCAST_JOIN_GROUP | MCAST_LEAVE_GROUP) => {
            let wrong = if level == IP {
                Errno::EINVAL
            } else {
                Errno::EADDRNOTAVAIL
            };
            group_req(level, value, wrong).and_then(|(group, link)| {
                membership(endpoint, group, link, name == MCAST_JOIN_GROUP)
            })
        }
        (
            IP | IPV6,
            MCAST_BLOCK_SOURCE
            | MCAST_UNBLOCK_SOURCE
            | MCAST_JOIN_SOURCE_GROUP
            | MCAST_LEAVE_SOURCE_GROUP,
        ) => group_source_req(level, value).and_then(|asked| source(endpoint, name, asked)),
        (IP | IPV6, MCAST_MSFILTER) => set_filter(endpoint, level, value),
        (IP, libc::IP_MULTICAST_IF) => set_interface4(endpoint, value),
        (IPV6, libc::IPV6_MULTICAST_IF) => set_interface6(endpoint, value),
        (IP, libc::IP_MULTICAST_TTL | libc::IP_MULTICAST_LOOP | libc::IP_MULTICAST_ALL) => {
            set_number4(endpoint, name, value)
        }
        (
            IPV6,
            libc::IPV6_MULTICAST_HOPS | libc::IPV6_MULTICAST_LOOP | libc::IPV6_MULTICAST_ALL,
        ) => set_number6(endpoint, name, value),
        _ => return None,
    })
}

/// getsockopt(2) of what is a number or an address; `None` if the option is none of these.
pub(super) fn get(endpoint: &Endpoint, level: i32, name: i32) -> Option<Result<Vec<u8>, Errno>> {
    let is_ours = matches!(
        (level, name),
        (
            IP,
            libc::IP_MULTICAST_IF
                | libc::IP_MULTICAST_TTL
                | libc::IP_MULTICAST_LOOP
                | libc::IP_MULTICAST_ALL
        ) | (
            IPV6,
            libc::IPV6_MULTICAST_IF
                | libc::IPV6_MULTICAST_HOPS
                | libc::IPV6_MULTICAST_LOOP
                | libc::IPV6_MULTICAST_ALL
        )
    );
    if !is_ours {
        return None;
    }
    let options = match endpoint.call(|stack, id| stack.datagram_options(id).copied()) {
        Ok(options) => options,
        Err(error) => return Some(Err(error)),
    };
    let groups = if level == IP {
        options.groups4
    } else {
        options.groups6
    };
    let number: i32 = match (level, name) {
        (IP, libc::IP_MULTICAST_IF) => {
            let addr = groups.addr.unwrap_or(Ipv4Addr::UNSPECIFIED);
            return Some(Ok(addr.octets().to_vec()));
        }
        (IPV6, libc::IPV6_MULTICAST_IF) => groups.iface.map_or(0, IfaceId::index) as i32,
        (IP, libc::IP_MULTICAST_TTL) | (IPV6, libc::IPV6_MULTICAST_HOPS) => groups.ttl.into(),
        (IP, libc::IP_MULTICAST_LOOP) | (IPV6, libc::IPV6_MULTICAST_LOOP) => {
            groups.loop_back.into()
        }
        _ => groups.all.into(),
    };
    Some(Ok(number.to_ne_bytes().to_vec()))
}

/// getsockopt(2) of a filter: `asked` names the group, and has room for some sources.
pub(super) fn ask(
    endpoint: &Endpoint,
    level: i32,
    name: i32,
    asked: &[u8],
) -> Result<Vec<u8>, Errno> {
    let generic = name == MCAST_MSFILTER;
    let (group, link, head) = if generic {
        let (group, link) = group_req(level, asked, Errno::EADDRNOTAVAIL)?;
        (group, link, GROUP_AT + STORAGE)
    } else {
        let (group, link) = mreq(asked)?;
        (group.into(), link, 8)
    };
    let room = word(asked, head + 4)? as usize;
    let filter = endpoint.call(|stack, id| stack.group_filter(id, group, link))?;
    let mut answer = asked[..head].to_vec();
    let mode = u32::from(filter.mode == FilterMode::Include);
    answer.extend_from_slice(&mode.to_ne_bytes());
    answer.extend_from_slice(&(filter.sources.len() as u32).to_ne_bytes());
    for source in filter.sources.into_iter().take(room) {
        match (generic, source) {
            (false, IpAddr::V4(addr)) => answer.extend_from_slice(&addr.octets()),
            (_, addr) => {
                let mut storage = crate::net::addr::emit_inet((addr, 0).into());
                storage.resize(STORAGE, 0);
                answer.extend_from_slice(&storage);
            }
        }
    }
    Ok(answer)
}

fn membership(
    endpoint: &Endpoint,
    group: IpAddr,
    link: GroupLink,
    join: bool,
) -> Result<(), Errno> {
    endpoint.call(|stack, id| match join {
        true => stack.join_group(id, group, link),
        false => stack.leave_group(id, group, link),
    })
}

/// Group, link and source that an option names.
type Asked = (IpAddr, GroupLink, IpAddr);

fn source(endpoint: &Endpoint, name: i32, (group, link, source): Asked) -> Result<(), Errno> {
    endpoint.call(|stack, id| match name {
        libc::IP_ADD_SOURCE_MEMBERSHIP | MCAST_JOIN_SOURCE_GROUP => {
            stack.join_source(id, group, link, source)
        }
        libc::IP_DROP_SOURCE_MEMBERSHIP | MCAST_LEAVE_SOURCE_GROUP => {
            stack.leave_source(id, group, link, source)
        }
        libc::IP_BLOCK_SOURCE | MCAST_BLOCK_SOURCE => {
            stack.block_source(id, group, link, source, true)
        }
        _ => stack.block_source(id, group, link, source, false),
    })
}

fn word(value: &[u8], at: usize) -> Result<u32, Errno> {
    let bytes = value.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
    bytes
        .map(|bytes| u32::from_ne_bytes(*bytes))
        .ok_or(Errno::EINVAL)
}

fn addr4(value: &[u8], at: usize) -> Result<Ipv4Addr, Errno> {
    let bytes = value.get(at..at + 4).and_then(|bytes| bytes.first_chunk());
    bytes
        .map(|octets| Ipv4Addr::from(*octets))
        .ok_or(Errno::EINVAL)
}

fn by_index(index: u32) -> Result<GroupLink, Errno> {
    match index {
        0 => Ok(GroupLink::Any),
        index => Ok(GroupLink::Iface(
            IfaceId::from_index(index).ok_or(Errno::ENODEV)?,
        )),
    }
}

fn by_addr(addr: Ipv4Addr) -> GroupLink {
    match addr.is_unspecified() {
        true => GroupLink::Any,
        false => GroupLink::Addr(addr),
    }
}

/// `struct ip_mreq`, or `ip_mreqn` with an index, which counts if there is one.
fn mreq(value: &[u8]) -> Result<(Ipv4Addr, GroupLink), Errno> {
    let (group, addr) = (addr4(value, 0)?, addr4(value, 4)?);
    let index = if value.len() >= 12 {
        word(value, 8)?
    } else {
        0
    };
    let link = if index > 0 {
        by_index(index)?
    } else {
        by_addr(addr)
    };
    Ok((group, link))
}

/// `struct ipv6_mreq`
fn mreq6(value: &[u8]) -> Result<(IpAddr, GroupLink), Errno> {
    let octets = value.first_chunk::<16>().ok_or(Errno::EINVAL)?;
    Ok((Ipv6Addr::from(*octets).into(), by_index(word(value, 16)?)?))
}

/// `struct ip_mreq_source`
fn mreq_source(value: &[u8]) -> Result<Asked, Errno> {
    if value.len() != 12 {
        return Err(Errno::EINVAL);
    }
    let (group, link, source) = (addr4(value, 0)?, addr4(value, 4)?, addr4(value, 8)?);
    Ok((group.into(), by_addr(link), source.into()))
}

/// A `sockaddr_storage` of the family that the level stands for.
fn storage(level: i32, value: &[u8], at: usize, wrong: Errno) -> Result<IpAddr, Errno> {
    let bytes = value.get(at..at + STORAGE).ok_or(Errno::EINVAL)?;
    let addr = parse_inet(bytes).map_err(|_| wrong)?.ip();
    match addr.is_ipv4() == (level == IP) {
        true => Ok(addr),
        false => Err(wrong),
    }
}

/// `struct group_req`
fn group_req(level: i32, value: &[u8], wrong: Errno) -> Result<(IpAddr, GroupLink), Errno> {
    let group = storage(level, value, GROUP_AT, wrong)?;
    Ok((group, by_index(word(value, 0)?)?))
}

/// `struct group_source_req`
fn group_source_req(level: i32, value: &[u8]) -> Result<Asked, Errno> {
    let source = storage(level, value, GROUP_AT + STORAGE, Errno::EADDRNOTAVAIL)?;
    let (group, link) = group_req(level, value, Errno::EADDRNOTAVAIL)?;
    Ok((group, link, source))
}

fn filter_mode(mode: u32) -> Result<FilterMode, Errno> {
    match mode {
        0 => Ok(FilterMode::Exclude),
        1 => Ok(FilterMode::Include),
        _ => Err(Errno::EINVAL),
    }
}

/// `struct ip_msfilter`
fn set_filter4(endpoint: &Endpoint, value: &[u8]) -> Result<(), Errno> {
    let (mode, count) = (word(value, 8)?, word(value, 12)? as usize);
    let max: usize = setting(endpoint, "igmp_max_msf");
    if count > max {
        return Err(Errno::ENOBUFS);
    }
    let sources = value.get(16..16 + 4 * count).ok_or(Errno::EINVAL)?;
    let sources = sources
        .as_chunks::<4>()
        .0
        .iter()
        .map(|octets| IpAddr::from(*octets));
    let filter = SourceFilter::new(filter_mode(mode)?, sources.collect());
    let (group, link) = (addr4(value, 0)?, by_addr(addr4(value, 4)?));
    endpoint.call(|stack, id| stack.set_group_filter(id, group.into(), link, filter))
}

/// `struct group_filter`
fn set_filter(endpoint: &Endpoint, level: i32, value: &[u8]) -> Result<(), Errno> {
    let (group, link) = group_req(level, value, Errno::EINVAL)?;
    let head = GROUP_AT + STORAGE;
    let (mode, count) = (word(value, head)?, word(value, head + 4)? as usize);
    let name = if level == IP {
        "igmp_max_msf"
    } else {
        "mld_max_msf"
    };
    if count > setting(endpoint, name) {
        return Err(Errno::ENOBUFS);
    }
    let each = |n| storage(level, value, head + 8 + n * STORAGE, Errno::EINVAL);
    let sources: Result<Vec<IpAddr>, Errno> = (0..count).map(each).collect();
    let filter = SourceFilter::new(filter_mode(mode)?, sources?);
    endpoint.call(|stack, id| stack.set_group_filter(id, group, link, filter))
}

fn setting(endpoint: &Endpoint, name: &str) -> usize {
    let text = endpoint.look(|stack, _| stack.setting(name));
    text.and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// IP_MULTICAST_IF: an address, `struct ip_mreq`, or `ip_mreqn` with an index.
fn set_interface4(endpoint: &Endpoint, value: &[u8]) -> Result<(), Errno> {
    let (addr, index) = match value.len() {
        12.. => (addr4(value, 4)?, word(value, 8)?),
        8.. => (addr4(value, 4)?, 0),
        _ => (addr4(value, 0)?, 0),
    };
    endpoint.look(|stack, id| {
        let found = match (index, addr.is_unspecified()) {
            (0, true) => None,
            (0, false) => {
                let all = stack.interfaces();
                let mut having = all.filter(|it| it.addrs.iter().any(|own| own.addr() == addr));
                Some(having.next().ok_or(Errno::EADDRNOTAVAIL)?.id)
            }
            (index, _) => {
                let id = IfaceId::from_index(index).ok_or(Errno::EADDRNOTAVAIL)?;
                let known = stack.interfaces().any(|it| it.id == id);
                Some(id)
                    .filter(|_| known)
                    .ok_or(Errno::EADDRNOTAVAIL)?
                    .into()
            }
        };
        let options = stack
            .datagram_options_mut(id)
            .map_err(super::endpoint::to_errno)?;
        if found.is_some() && options.iface.is_some_and(|bound| Some(bound) != found) {
            return Err(Errno::EINVAL);
        }
        options.groups4.iface = found;
        options.groups4.addr = Some(addr).filter(|addr| !addr.is_unspecified());
        Ok(())
    })
}

fn set_interface6(endpoint: &Endpoint, value: &[u8]) -> Result<(), Errno> {
    let index = word(value, 0)?;
    endpoint.look(|stack, id| {
        let found = match index {
            0 => None,
            index => {
                let id = IfaceId::from_index(index).ok_or(Errno::ENODEV)?;
                let known = stack.interfaces().any(|it| it.id == id);
                Some(Some(id).filter(|_| known).ok_or(Errno::ENODEV)?)
            }
        };
        let options = stack
            .datagram_options_mut(id)
            .map_err(super::endpoint::to_errno)?;
        if found.is_some() && options.iface.is_some_and(|bound| Some(bound) != found) {
            return Err(Errno::EINVAL);
        }
        options.groups6.iface = found;
        Ok(())
    })
}

/// An `int`, or for IPv4 a single byte.
fn set_number4(endpoint: &Endpoint, name: i32, value: &[u8]) -> Result<(), Errno> {
    let number = super::datagram_options::number4(value)?;
    endpoint.look(|stack, id| {
        let options = stack
            .datagram_options_mut(id)
            .map_err(super::endpoint::to_errno)?;
        let groups = &mut options.groups4;
        match name {
            libc::IP_MULTICAST_TTL => groups.ttl = hops(number)?,
            libc::IP_MULTICAST_LOOP => groups.loop_back = number != 0,
            _ => groups.all = flag(number)?,
        }
        Ok(())
    })
}

fn set_number6(endpoint: &Endpoint, name: i32, value: &[u8]) -> Result<(), Errno> {
    let number = word(value, 0)? as i32;
    endpoint.look(|stack, id| {
        let options = stack
            .datagram_options_mut(id)
            .map_err(super::endpoint::to_errno)?;
        let groups = &mut options.groups6;
        match name {
            libc::IPV6_MULTICAST_HOPS => groups.ttl = hops(number)?,
            libc::IPV6_MULTICAST_LOOP => groups.loop_back = flag(number)?,
            _ => groups.all = number != 0,
        }
        Ok(())
    })
}

/// -1 is the default, which is 1.
fn hops(number: i32) -> Result<u8, Errno> {
    match number {
        -1 => Ok(1),
        number => u8::try_from(number).map_err(|_| Errno::EINVAL),
    }
}

fn flag(number: i32) -> Result<bool, Errno> {
    match number {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(Errno::EINVAL),
    }
}
