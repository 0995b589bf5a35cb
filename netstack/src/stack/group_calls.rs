//! The socket calls about groups (RFC 3376 section 2, RFC 3678), with Linux's errors.

use std::net::IpAddr;

use super::Stack;
use crate::error::SocketError;
use crate::network::IfaceId;
use crate::network::multicast::{FilterMode, SourceFilter};
use crate::socket::{
    DatagramOptions, GROUPS6_MAX, GroupLink, Membership, Memberships, SocketId, SocketKind,
};

impl Stack {
    /// Options of a UDP, raw or echo socket.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn datagram_options(&self, id: SocketId) -> Result<&DatagramOptions, SocketError> {
        match id.kind() {
            SocketKind::Raw => Ok(&self.raw.get(id).ok_or(SocketError::Invalid)?.options),
            _ => self.udp_options(id),
        }
    }

    /// The same, to change them.
    ///
    /// # Errors
    /// `Invalid` if there is no such socket.
    pub fn datagram_options_mut(
        &mut self,
        id: SocketId,
    ) -> Result<&mut DatagramOptions, SocketError> {
        match id.kind() {
            SocketKind::Raw => Ok(&mut self.raw.get_mut(id).ok_or(SocketError::Invalid)?.options),
            _ => self.udp_options_mut(id),
        }
    }

    /// Makes a socket a member of a group, whoever sends (IP_ADD_MEMBERSHIP, IPV6_JOIN_GROUP,
    /// MCAST_JOIN_GROUP).
    ///
    /// # Errors
    /// `Invalid` if that is no group; `NoDevice`; `AddrInUse` if it is a member; `NoBuffers` for too many
    /// groups.
    pub fn join_group(
        &mut self,
        id: SocketId,
        group: IpAddr,
        link: GroupLink,
    ) -> Result<(), SocketError> {
        self.join_as(id, group, link, SourceFilter::ALL)
    }

    fn join_as(
        &mut self,
        id: SocketId,
        group: IpAddr,
        link: GroupLink,
        filter: SourceFilter,
    ) -> Result<(), SocketError> {
        let iface = self.group_iface(group, link)?;
        let max = match group {
            IpAddr::V4(_) => self.net.config.igmp_max_memberships,
            IpAddr::V6(_) => GROUPS6_MAX,
        };
        let memberships = self.memberships(id)?;
        if memberships.find(group, iface).is_some() {
            return Err(SocketError::AddrInUse);
        }
        if memberships.count(group) >= max {
            return Err(SocketError::NoBuffers);
        }
        memberships.push(Membership {
            group,
            iface,
            filter: filter.clone(),
            listed: false,
        });
        self.net
            .change_membership(iface, group, None, Some(&filter));
        Ok(())
    }

    /// Ends the membership, over any interface if none is named.
    ///
    /// # Errors
    /// `AddrNotAvailable` if it is no member; `NoDevice` if there is no such interface.
    pub fn leave_group(
        &mut self,
        id: SocketId,
        group: IpAddr,
        link: GroupLink,
    ) -> Result<(), SocketError> {
        let iface = match (self.group_iface(group, link), link) {
            (Ok(iface), _) => Some(iface),
            (Err(_), GroupLink::Any) if group.is_ipv6() => None,
            (Err(SocketError::NoDevice), GroupLink::Any) => return Err(SocketError::NoDevice),
            (Err(_), _) => return Err(SocketError::AddrNotAvailable),
        };
        let iface = iface.filter(|_| link != GroupLink::Any);
        let left = self.memberships(id)?.take(group, iface);
        let left = left.ok_or(SocketError::AddrNotAvailable)?;
        self.net
            .change_membership(left.iface, group, Some(&left.filter), None);
        Ok(())
    }

    /// Hears one source more of a group (IP_ADD_SOURCE_MEMBERSHIP, MCAST_JOIN_SOURCE_GROUP), of which the
    /// socket becomes a member.
    ///
    /// # Errors
    /// As [`Stack::join_group`]; `Invalid` if the membership is one with blocked sources;
    /// `AddrNotAvailable` if it hears that source; `NoBuffers` for too many sources.
    pub fn join_source(
        &mut self,
        id: SocketId,
        group: IpAddr,
        link: GroupLink,
        source: IpAddr,
    ) -> Result<(), SocketError> {
        match self.join_as(id, group, link, SourceFilter::NONE) {
            Ok(()) | Err(SocketError::AddrInUse) => {}
            Err(error) => return Err(error),
        }
        self.change_source(id, group, link, source, FilterMode::Include, true)
    }

    /// Hears a source no more (IP_DROP_SOURCE_MEMBERSHIP, MCAST_LEAVE_SOURCE_GROUP); with the last one the
    /// group is left.
    ///
    /// # Errors
    /// `Invalid` if it is no member with a list of sources; `AddrNotAvailable` if the source is not in it.
    pub fn leave_source(
        &mut self,
        id: SocketId,
        group: IpAddr,
        link: GroupLink,
        source: IpAddr,
    ) -> Result<(), SocketError> {
        self.change_source(id, group, link, source, FilterMode::Include, false)
    }

    /// Blocks a source, or no longer (IP_BLOCK_SOURCE, IP_UNBLOCK_SOURCE).
    ///
    /// # Errors
    /// `Invalid` if it is no member, or one with a list of sources; `AddrNotAvailable` if nothing would
    /// change; `NoBuffers` for too many sources.
    pub fn block_source(
        &mut self,
        id: SocketId,
        group: IpAddr,
        link: GroupLink,
        source: IpAddr,
        block: bool,
    ) -> Result<(), SocketError> {
        self.change_source(id, group, link, source, FilterMode::Exclude, block)
    }

    /// Linux `ip_mc_source`, `ip6_mc_source`.
    fn change_source(
        &mut self,
        id: SocketId,
        group: IpAddr,
        link: GroupLink,
        source: IpAddr,
        mode: FilterMode,
        add: bool,
    ) -> Result<(), SocketError> {
        let iface = self.group_iface(group, link)?;
        let max = self.sources_max(group);
        let member = self
            .memberships(id)?
            .find_mut(group, iface)
            .ok_or(SocketError::Invalid)?;
        if member.listed && member.filter.mode != mode {
            return Err(SocketError::Invalid);
        }
        let before = member.filter.clone();
        member.filter.mode = mode;
        let count = member.filter.sources.len();
        let leaves = !add && count == 1 && mode == FilterMode::Include && before.names(source);
        let changed = match add {
            _ if leaves => Ok(()),
            true if count >= max => Err(SocketError::NoBuffers),
            true if !member.filter.insert(source) => Err(SocketError::AddrNotAvailable),
            false if !member.filter.remove(source) => Err(SocketError::AddrNotAvailable),
            _ => Ok(()),
        };
        member.listed |= add && changed.is_ok();
        let after = member.filter.clone();
        self.net
            .change_membership(iface, group, Some(&before), Some(&after));
        if leaves {
            return self.leave_group(id, group, GroupLink::Iface(iface));
        }
        changed
    }

    /// Sets the whole filter of a membership (IP_MSFILTER, MCAST_MSFILTER); one that hears nothing leaves.
    ///
    /// # Errors
    /// `Invalid` if it is no member; `NoDevice`; `NoBuffers` for too many sources.
    pub fn set_group_filter(
        &mut self,
        id: SocketId,
        group: IpAddr,
        link: GroupLink,
        filter: SourceFilter,
    ) -> Result<(), SocketError> {
        if filter.sources.len() > self.sources_max(group) {
            return Err(SocketError::NoBuffers);
        }
        let iface = self.group_iface(group, link)?;
        if filter == SourceFilter::NONE {
            return self.leave_group(id, group, GroupLink::Iface(iface));
        }
        let member = self
            .memberships(id)?
            .find_mut(group, iface)
            .ok_or(SocketError::Invalid)?;
        let before = core::mem::replace(&mut member.filter, filter.clone());
        member.listed = true;
        self.net
            .change_membership(iface, group, Some(&before), Some(&filter));
        Ok(())
    }

    /// The filter of a membership.
    ///
    /// # Errors
    /// `AddrNotAvailable` if it is no member; `NoDevice`; `Invalid` if that is no group.
    pub fn group_filter(
        &mut self,
        id: SocketId,
        group: IpAddr,
        link: GroupLink,
    ) -> Result<SourceFilter, SocketError> {
        let iface = self.group_iface(group, link)?;
        let member = self.memberships(id)?.find(group, iface);
        Ok(member.ok_or(SocketError::AddrNotAvailable)?.filter.clone())
    }

    /// The groups that are heard, by interface (/proc/net/igmp, /proc/net/igmp6).
    pub fn groups(&self) -> impl Iterator<Item = (IfaceId, IpAddr)> {
        let ifaces = self.net.ifaces.iter().enumerate();
        ifaces.flat_map(|(at, iface)| {
            iface
                .groups
                .iter()
                .map(move |group| (IfaceId(at as u16), group))
        })
    }

    /// A socket is closed: it leaves all of its groups.
    pub(super) fn leave_all(&mut self, mut memberships: Memberships) {
        for left in memberships.take_all() {
            self.net
                .change_membership(left.iface, left.group, Some(&left.filter), None);
        }
    }

    /// Linux `ip_mc_find_dev`.
    fn group_iface(&self, group: IpAddr, link: GroupLink) -> Result<IfaceId, SocketError> {
        if !group.is_multicast() {
            return Err(SocketError::Invalid);
        }
        let found = match link {
            GroupLink::Iface(id) => self.net.iface(id).map(|_| id),
            GroupLink::Addr(addr) => self.net.iface_of(addr.into()),
            GroupLink::Any => self.net.path(group, None, None).ok().map(|path| path.iface),
        };
        found.ok_or(SocketError::NoDevice)
    }

    fn sources_max(&self, group: IpAddr) -> usize {
        match group {
            IpAddr::V4(_) => self.net.config.igmp_max_msf,
            IpAddr::V6(_) => self.net.config.mld_max_msf,
        }
    }

    fn memberships(&mut self, id: SocketId) -> Result<&mut Memberships, SocketError> {
        match id.kind() {
            SocketKind::Raw => Ok(&mut self
                .raw
                .get_mut(id)
                .ok_or(SocketError::Invalid)?
                .memberships),
            SocketKind::Udp => Ok(&mut self.udp.get_mut(id)?.memberships),
            _ => Err(SocketError::NotSupported),
        }
    }
}
