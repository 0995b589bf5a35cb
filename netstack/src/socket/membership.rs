//! The groups that one socket has joined.

use std::net::{IpAddr, Ipv4Addr};

use super::datagram::DatagramOptions;
use crate::network::multicast::SourceFilter;
use crate::network::{IfaceId, IpMeta};

/// Groups that a socket of IPv6 can join; in Linux its memory for options ends about there.
pub(crate) const GROUPS6_MAX: usize = 1024;

/// Over which interface a group is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupLink {
    /// The one that the route to the group names.
    Any,
    /// This one.
    Iface(IfaceId),
    /// The one with this address.
    Addr(Ipv4Addr),
}

/// One group over one interface.
#[derive(Clone, Debug)]
pub(crate) struct Membership {
    pub(crate) group: IpAddr,
    pub(crate) iface: IfaceId,
    pub(crate) filter: SourceFilter,
    /// There has been a list of sources: its mode stays, even if it is empty (Linux `sflist`).
    pub(crate) listed: bool,
}

/// All of a socket.
#[derive(Debug, Default)]
pub(crate) struct Memberships(Vec<Membership>);

impl Memberships {
    /// True if a packet to a group is for the socket (Linux `ip_mc_sf_allow`, `inet6_mc_check`, of which the
    /// second does not look at the interface).
    pub(crate) fn allow(&self, meta: &IpMeta, options: &DatagramOptions) -> bool {
        if !meta.dst.is_multicast() {
            return true;
        }
        let same_link = |member: &&Membership| meta.dst.is_ipv6() || member.iface == meta.iface;
        let mut of_group = self.0.iter().filter(|member| member.group == meta.dst);
        match of_group.find(same_link) {
            Some(member) => member.filter.allows(meta.src),
            None => options.groups(meta.dst).all,
        }
    }

    /// The membership of a group over an interface.
    pub(crate) fn find(&self, group: IpAddr, iface: IfaceId) -> Option<&Membership> {
        self.0
            .iter()
            .find(|member| (member.group, member.iface) == (group, iface))
    }

    /// The same, to change it.
    pub(crate) fn find_mut(&mut self, group: IpAddr, iface: IfaceId) -> Option<&mut Membership> {
        self.0
            .iter_mut()
            .find(|member| (member.group, member.iface) == (group, iface))
    }

    /// How many groups of the family of `addr` there are.
    pub(crate) fn count(&self, addr: IpAddr) -> usize {
        let same = |member: &&Membership| member.group.is_ipv4() == addr.is_ipv4();
        self.0.iter().filter(same).count()
    }

    pub(crate) fn push(&mut self, member: Membership) {
        self.0.push(member);
    }

    /// Takes the membership of a group out, over `iface` if that is given.
    pub(crate) fn take(&mut self, group: IpAddr, iface: Option<IfaceId>) -> Option<Membership> {
        let wanted = |member: &Membership| {
            member.group == group && iface.is_none_or(|iface| iface == member.iface)
        };
        let at = self.0.iter().position(wanted)?;
        Some(self.0.remove(at))
    }

    /// Takes all of them out.
    pub(crate) fn take_all(&mut self) -> Vec<Membership> {
        core::mem::take(&mut self.0)
    }
}
