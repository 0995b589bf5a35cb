//! Routers: asking for them, what they advertise, and which of them is used (RFC 4861 section 6, RFC 4862
//! section 5.5).

use std::net::{IpAddr, Ipv6Addr};

use super::address::START_WITHIN;
use super::lifetime::{Lifetimes, earlier, ends};
use crate::link::{MacAddr, Medium};
use crate::neighbor::Evidence;
use crate::network::IfaceId;
use crate::network::addr::Cidr;
use crate::network::route::Route;
use crate::network::source::is_link_local;
use crate::stack::address::AddressOrigin;
use crate::stack::net::{Hop, Net};
use crate::time::{Duration, Instant};
use crate::wire::ipv6::{self, MTU_MIN};
use crate::wire::ndp::{self, NdOptions, NdRepr, PrefixInfo};

/// All routers of the link.
const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
/// Routers, prefixes and redirects that are remembered for each interface: forged ones take no more.
const ROUTERS_MAX: usize = 16;
const PREFIXES_MAX: usize = 32;
const REDIRECTS_MAX: usize = 64;
/// A redirect is forgotten after this long.
const REDIRECT_LASTS: Duration = Duration::from_secs(600);
/// Metrics of Linux for what routers say: a route set by hand is the better one.
const METRIC_DEFAULT: u32 = 1024;
const METRIC_PREFIX: u32 = 256;
/// An unauthenticated advertisement does not shorten an address's life below this (RFC 4862 section
/// 5.5.3).
const TWO_HOURS: Duration = Duration::from_secs(7200);

/// Routers are being asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Solicits {
    sent: u32,
    pub(super) next: Instant,
}

/// A default router.
#[derive(Clone, Copy, Debug)]
pub(super) struct Router {
    addr: Ipv6Addr,
    pub(super) until: Instant,
}

/// A prefix that is on the link.
#[derive(Clone, Debug)]
pub(super) struct OnLink {
    route: Route,
    pub(super) until: Option<Instant>,
}

/// A better way to one host.
#[derive(Clone, Debug)]
pub(super) struct Redirect {
    route: Route,
    pub(super) until: Instant,
}

impl Net {
    /// The link-local address is ours: who routes here?
    pub(super) fn start_soliciting(&mut self, id: IfaceId) {
        let next = self.some_time(START_WITHIN);
        let wanted = self.config.nd.accept_ra && self.config.nd.router_solicitations > 0;
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        let ethernet = iface.caps.medium == Medium::Ethernet;
        if wanted && ethernet && iface.nd.autoconf && iface.nd.routers.is_empty() {
            iface.nd.solicits = Some(Solicits { sent: 0, next });
        }
    }

    pub(super) fn solicit_timers(&mut self, id: IfaceId) {
        let now = self.now;
        let interval = self.config.nd.router_solicitation_interval;
        let most = self.config.nd.router_solicitations;
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        let mac = iface.mac;
        let Some(solicits) = iface.nd.solicits.as_mut() else {
            return;
        };
        if now < solicits.next {
            return;
        }
        (solicits.sent, solicits.next) = (solicits.sent + 1, now + interval);
        if solicits.sent >= most {
            iface.nd.solicits = None;
        }
        let src = match self.source_v6(ALL_ROUTERS, id) {
            Some(IpAddr::V6(src)) => src,
            _ => Ipv6Addr::UNSPECIFIED,
        };
        let message = ndp::router_solicit((!src.is_unspecified()).then_some(mac));
        self.stats.nd.out_router_solicits += 1;
        self.send_nd(id, (src, ALL_ROUTERS), None, &message);
    }

    /// A router tells of itself. `None` if it cannot be one.
    pub(super) fn router_advert_in(
        &mut self,
        id: IfaceId,
        src: Ipv6Addr,
        repr: NdRepr,
        options: &NdOptions,
    ) -> Option<()> {
        let NdRepr::RouterAdvert {
            hop_limit,
            lifetime_secs,
            reachable_ms,
            retrans_ms,
        } = repr
        else {
            return None;
        };
        if !is_link_local(src) || options.source.is_some_and(MacAddr::is_group) {
            return None;
        }
        if !self.config.nd.accept_ra || !self.iface(id)?.nd.autoconf {
            return Some(());
        }
        if let Some(mac) = options.source {
            self.nd_learn(id, src, mac, Evidence::Request);
        }
        let now = self.now;
        let iface = self.iface_mut(id)?;
        let mtu_max = iface.caps.mtu;
        let nd = &mut iface.nd;
        nd.solicits = None;
        nd.hop_limit = Some(hop_limit).filter(|hops| *hops > 0).or(nd.hop_limit);
        nd.reachable = said(reachable_ms).or(nd.reachable);
        nd.retrans = said(retrans_ms).or(nd.retrans);
        let mtu = options.mtu.filter(|mtu| (MTU_MIN..=mtu_max).contains(mtu));
        nd.mtu = mtu.or(nd.mtu);
        nd.routers.retain(|router| router.addr != src);
        if lifetime_secs > 0 && nd.routers.len() < ROUTERS_MAX {
            nd.routers.push(Router {
                addr: src,
                until: now + Duration::from_secs(u64::from(lifetime_secs)),
            });
        }
        for prefix in &options.prefixes {
            self.prefix_in(id, prefix);
        }
        self.choose_router(id);
        Some(())
    }

    fn prefix_in(&mut self, id: IfaceId, info: &PrefixInfo) {
        let Some(cidr) = Cidr::new(info.prefix.into(), info.len) else {
            return;
        };
        let cidr = cidr.network();
        let odd = info.prefix.is_multicast() || info.prefix.is_loopback() || info.len == 0;
        if odd || is_link_local(info.prefix) {
            return;
        }
        if info.on_link {
            self.on_link_prefix(id, cidr, info.valid_secs);
        }
        let lasting = info.preferred_secs <= info.valid_secs;
        if info.autonomous && lasting && info.len == 64 && self.config.nd.autoconf {
            self.autonomous_prefix(id, cidr, info);
        }
    }

    fn on_link_prefix(&mut self, id: IfaceId, cidr: Cidr, valid_secs: u32) {
        let route = Route {
            metric: METRIC_PREFIX,
            ..Route::new(cidr, id)
        };
        let until = ends(self.now, valid_secs);
        let Some(nd) = self.nd_of(id) else {
            return;
        };
        nd.on_link.retain(|prefix| prefix.route != route);
        if valid_secs > 0 && nd.on_link.len() < PREFIXES_MAX {
            let kept = route.clone();
            nd.on_link.push(OnLink { route: kept, until });
            self.routes.add(route);
        } else {
            self.routes.remove_exact(&route);
        }
    }

    /// Makes an address from a prefix, or lets those made from it live on (RFC 4862 section 5.5.3).
    fn autonomous_prefix(&mut self, id: IfaceId, cidr: Cidr, info: &PrefixInfo) {
        let now = self.now;
        let told = Lifetimes {
            preferred_until: ends(now, info.preferred_secs),
            valid_until: ends(now, info.valid_secs),
        };
        let IpAddr::V6(prefix) = cidr.addr() else {
            return;
        };
        let Some(iface) = self.iface_mut(id) else {
            return;
        };
        let mut known = false;
        for own in &mut iface.addrs {
            if own.cidr.network() != cidr {
                continue;
            }
            match own.origin {
                AddressOrigin::Router => {
                    known = true;
                    own.preferred_until = told.preferred_until;
                    own.valid_until = lengthened(now, own.valid_until, told.valid_until);
                }
                // Its end is set when it is made; the prefix can only bring it nearer.
                AddressOrigin::Temporary => {
                    let preferred = earlier(own.preferred_until, told.preferred_until);
                    own.preferred_until = preferred;
                }
                AddressOrigin::Manual | AddressOrigin::LinkLocal => {}
            }
        }
        if !known && info.valid_secs > 0 {
            let addr = self.make_address(id, prefix, 0);
            self.add_made(id, addr, AddressOrigin::Router, told);
            if self.config.nd.use_tempaddr > 0 && info.preferred_secs > 0 {
                self.add_temporary(id, prefix, told);
            }
        }
    }

    /// Makes the default route lead over the first router that answers, or over the first.
    pub(super) fn choose_router(&mut self, id: IfaceId) {
        let (now, neighbors) = (self.now, &self.neighbors);
        let Some(iface) = self.iface(id) else {
            return;
        };
        let routers = &iface.nd.routers;
        let answers = |router: &&Router| neighbors.may_be_reachable(id, router.addr.into(), now);
        let chosen = routers.iter().find(answers).or(routers.first());
        let wanted = chosen.map(|router| {
            let all = Cidr::all_of(router.addr.into());
            Route {
                metric: METRIC_DEFAULT,
                ..Route::via(all, router.addr.into(), id)
            }
        });
        let present = iface.nd.default.clone();
        if wanted == present {
            return;
        }
        if let Some(old) = present {
            self.routes.remove_exact(&old);
        }
        if let Some(new) = wanted.clone() {
            self.routes.add(new);
        }
        if let Some(nd) = self.nd_of(id) {
            nd.default = wanted;
        }
    }

    /// A neighbour says that it is no router (RFC 4861 section 7.2.5).
    pub(super) fn no_router_any_more(&mut self, id: IfaceId, addr: Ipv6Addr) {
        if let Some(nd) = self.nd_of(id) {
            nd.routers.retain(|router| router.addr != addr);
        }
        self.choose_router(id);
    }

    /// A neighbour does not answer: another router may, and a way over it is no better one.
    pub(in crate::stack) fn neighbor_gone(&mut self, id: IfaceId, addr: IpAddr) {
        let Some(nd) = self.nd_of(id) else {
            return;
        };
        let lost = |redirect: &Redirect| redirect.route.gateway == Some(addr);
        let gone: Vec<Route> = nd
            .redirects
            .iter()
            .filter(|it| lost(it))
            .map(|it| it.route.clone())
            .collect();
        nd.redirects.retain(|redirect| !lost(redirect));
        for route in &gone {
            self.routes.remove_exact(route);
        }
        self.choose_router(id);
    }

    /// A router knows a better way. `None` if it cannot be the one that we use, or the way none.
    pub(super) fn redirect_in(
        &mut self,
        id: IfaceId,
        src: Ipv6Addr,
        (target, dst): (Ipv6Addr, Ipv6Addr),
        options: &NdOptions,
    ) -> Option<()> {
        let direct = target == dst;
        if !is_link_local(src) || dst.is_multicast() || !(direct || is_link_local(target)) {
            return None;
        }
        let path = self.path(dst.into(), None, Some(id)).ok()?;
        if path.hop != Hop::Neighbor(src.into()) {
            return None;
        }
        if !self.config.nd.accept_redirects || self.forwards(id, true) {
            return Some(());
        }
        let route = Route {
            gateway: (!direct).then_some(target.into()),
            ..Route::new(Cidr::new(dst.into(), 128)?, id)
        };
        let until = self.now + REDIRECT_LASTS;
        let nd = self.nd_of(id)?;
        let full = nd.redirects.len() >= REDIRECTS_MAX;
        let replaced = nd
            .redirects
            .iter()
            .position(|it| it.route.dest == route.dest);
        let replaced = replaced.or(full.then_some(0));
        let old = replaced.map(|at| nd.redirects.remove(at).route);
        let kept = route.clone();
        nd.redirects.push(Redirect { route: kept, until });
        if let Some(old) = old {
            self.routes.remove_exact(&old);
        }
        self.routes.add(route);
        if let Some(mac) = options.target.filter(|mac| !mac.is_group()) {
            self.nd_learn(id, target, mac, Evidence::Request);
        }
        Some(())
    }

    /// Tells `src`, who sent `packet` to `dst` by way of us, that `target` on its link is the better way.
    pub(in crate::stack) fn send_redirect(
        &mut self,
        id: IfaceId,
        src: Ipv6Addr,
        (target, dst): (Ipv6Addr, Ipv6Addr),
        packet: &[u8],
    ) {
        // RFC 4861 section 4.5: routers are named by their link-local addresses, we too.
        let own = self.iface(id).and_then(|link| {
            let usable = link.addrs.iter().filter(|own| own.is_usable());
            let mut all = usable.map(|own| own.ip());
            all.find_map(|ip| match ip {
                IpAddr::V6(ip) if is_link_local(ip) => Some(ip),
                _ => None,
            })
        });
        let Some(own) = own else {
            return;
        };
        if target != dst && !is_link_local(target) {
            return;
        }
        let known = self.neighbors.known(id, target.into());
        let room = ipv6::MTU_MIN as usize - ipv6::HEADER_LEN;
        let message = ndp::redirect(target, dst, known, packet, room);
        self.stats.icmp6.out_redirects += 1;
        self.send_nd(id, (own, src), None, &message);
    }

    /// Removes routers, prefixes and redirects whose time is over.
    pub(super) fn router_lifetimes(&mut self, id: IfaceId) {
        let now = self.now;
        let Some(nd) = self.nd_of(id) else {
            return;
        };
        nd.routers.retain(|router| now < router.until);
        let over = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let prefixes = nd.on_link.iter().filter(|it| over(it.until));
        let mut gone: Vec<Route> = prefixes.map(|it| it.route.clone()).collect();
        let redirects = nd.redirects.iter().filter(|it| it.until <= now);
        gone.extend(redirects.map(|it| it.route.clone()));
        nd.on_link.retain(|it| !over(it.until));
        nd.redirects.retain(|it| now < it.until);
        for route in &gone {
            self.routes.remove_exact(route);
        }
        self.choose_router(id);
    }
}

/// Milliseconds that are 0 if nothing is said; an hour at most.
fn said(ms: u32) -> Option<Duration> {
    (ms > 0).then(|| Duration::from_millis(u64::from(ms.min(3_600_000))))
}

/// The new end of an address's life: later as told, but hardly earlier.
fn lengthened(now: Instant, old: Option<Instant>, told: Option<Instant>) -> Option<Instant> {
    let told = told?;
    let floor = now + TWO_HOURS;
    match old {
        _ if told > floor => Some(told),
        Some(old) if told > old || old <= floor => Some(told.max(old)),
        _ => Some(floor),
    }
}
