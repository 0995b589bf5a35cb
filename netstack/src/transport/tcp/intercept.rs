//! SYNs to any address and port, offered to the embedder before they are answered.
//!
//! An offer is a flow of its own, so that the SYN again is no second offer. Accepting it sends the
//! SYN-ACK and makes a socket in SYN-RECEIVED, which becomes writable when the handshake is complete.

use std::collections::VecDeque;
use std::net::SocketAddr;

use smallvec::SmallVec;

use super::Cx;
use super::engine::TcpEngine;
use super::flow::{Flow, FlowKey};
use super::handshake::{Opening, SynReceived};
use super::listen::path_mss;
use super::options::SocketOptions;
use super::segment::{IpOptions, Segment, send_reset};
use super::seq::Seq;
use super::slot::{Socket, State};
use super::timer_heap::TimerHeap;
use crate::buf::Bytes;
use crate::error::SocketError;
use crate::network::{IfaceId, IpMeta};
use crate::socket::SocketId;
use crate::socket::intercept::{InterceptConfig, OfferId, TcpOffer};
use crate::table::Slab;
use crate::time::Duration;

/// A SYN that waits for a decision.
#[derive(Debug)]
pub(super) struct Offer {
    key: FlowKey,
    /// Without its payload, which the peer will send again.
    syn: Segment,
    /// The number to answer with, if the SYN recycles a TIME-WAIT record.
    recycled: Option<Seq>,
    iface: IfaceId,
    number: u64,
}

/// Who takes the SYNs of one interface.
#[derive(Debug)]
struct Taker {
    id: SocketId,
    iface: IfaceId,
    most: usize,
    patience: Duration,
    undecided: usize,
    /// Not told to the embedder yet.
    fresh: VecDeque<OfferId>,
}

/// All offers of an engine.
#[derive(Debug, Default)]
pub(super) struct Offers {
    records: Slab<Offer>,
    pub(super) timers: TimerHeap,
    takers: SmallVec<[Taker; 1]>,
    next_number: u64,
}

/// What an ICMP error about a SYN has to quote.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RefusedSyn {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) seq: u32,
}

impl Offers {
    /// Both ends of an offer.
    pub(super) fn key(&self, index: u32) -> Option<&FlowKey> {
        self.records.get(index).map(|offer| &offer.key)
    }
}

impl TcpEngine {
    /// Begins to offer the SYNs that come in on `iface` to `id`.
    pub(crate) fn intercept(&mut self, id: SocketId, iface: IfaceId, config: &InterceptConfig) {
        self.offers.takers.push(Taker {
            id,
            iface,
            most: config.tcp_offers_max,
            patience: config.tcp_offer_timeout,
            undecided: 0,
            fresh: VecDeque::new(),
        });
    }

    /// Ends that, and forgets what is undecided. Connections stay.
    pub(crate) fn stop_intercepting(&mut self, id: SocketId) {
        let Some(at) = self.offers.takers.iter().position(|taker| taker.id == id) else {
            return;
        };
        let iface = self.offers.takers[at].iface;
        let all = self.offers.records.iter();
        let its: Vec<u32> = all
            .filter(|(_, offer)| offer.iface == iface)
            .map(|(index, _)| index)
            .collect();
        its.into_iter()
            .for_each(|index| drop(self.forget_offer(index)));
        self.offers.takers.remove(at);
    }

    /// A segment that meets no flow and no listener. True if it was a SYN and somebody takes those.
    pub(super) fn offer_in(
        &mut self,
        cx: &mut Cx<'_>,
        key: &FlowKey,
        meta: &IpMeta,
        segment: &Segment,
        recycled: Option<Seq>,
    ) -> bool {
        if !segment.syn() || segment.is_ack() || segment.rst() || segment.fin() {
            return false;
        }
        let offers = &mut self.offers;
        let taker = offers
            .takers
            .iter_mut()
            .find(|taker| taker.iface == meta.iface);
        let Some(taker) = taker else {
            return false;
        };
        if taker.undecided >= taker.most {
            cx.stats.offers_dropped += 1;
            return true;
        }
        let number = offers.next_number;
        offers.next_number += 1;
        let mut syn = segment.clone();
        syn.payload = Bytes::new();
        let index = offers.records.insert(Offer {
            key: *key,
            syn,
            recycled,
            iface: meta.iface,
            number,
        });
        offers.timers.set(index, Some(cx.now + taker.patience));
        taker.undecided += 1;
        taker.fresh.push_back(OfferId { index, number });
        cx.events.mark(taker.id);
        self.flows.insert(key, Flow::Offer(index));
        true
    }

    /// A segment of a peer whose SYN is undecided. Only what changes the SYN counts.
    pub(super) fn offered_segment(&mut self, index: u32, segment: Segment) {
        let Some(offer) = self.offers.records.get_mut(index) else {
            return;
        };
        if segment.rst() {
            // We have announced no window: only the next number can be the peer's own.
            if segment.seq == offer.syn.seq + 1 || segment.seq == offer.syn.seq {
                self.forget_offer(index);
            }
        } else if segment.syn() && !segment.is_ack() && !segment.fin() {
            // Again, or another attempt from the same port: the latest is what is answered.
            offer.syn = segment;
            offer.syn.payload = Bytes::new();
        }
    }

    /// Takes an offer from its tables.
    pub(super) fn forget_offer(&mut self, index: u32) -> Option<Offer> {
        let offers = &mut self.offers;
        let offer = offers.records.remove(index)?;
        offers.timers.remove(index);
        self.flows.remove(&offer.key, Flow::Offer(index));
        let taker = offers
            .takers
            .iter_mut()
            .find(|taker| taker.iface == offer.iface);
        if let Some(taker) = taker {
            taker.undecided -= 1;
            taker.fresh.retain(|id| id.number != offer.number);
        }
        Some(offer)
    }

    fn take_offer(&mut self, id: OfferId) -> Result<Offer, SocketError> {
        self.offer(id)?;
        self.forget_offer(id.index).ok_or(SocketError::Invalid)
    }

    fn offer(&self, id: OfferId) -> Result<&Offer, SocketError> {
        let offer = self.offers.records.get(id.index);
        let offer = offer.filter(|offer| offer.number == id.number);
        offer.ok_or(SocketError::Invalid)
    }

    /// The next offer that `id` has not been told of.
    pub(crate) fn next_offer(&mut self, id: SocketId) -> Option<TcpOffer> {
        let taker = self.offers.takers.iter_mut().find(|taker| taker.id == id)?;
        let id = taker.fresh.pop_front()?;
        let key = self.offer(id).ok()?.key;
        Some(TcpOffer {
            id,
            from: key.remote,
            to: key.local,
        })
    }

    /// True if there is an offer that `id` has not been told of.
    pub(crate) fn has_offer(&self, id: SocketId) -> bool {
        let mut takers = self.offers.takers.iter();
        takers.any(|taker| taker.id == id && !taker.fresh.is_empty())
    }

    /// True if the offer still waits for a decision.
    pub(crate) fn is_offered(&self, id: OfferId) -> bool {
        self.offer(id).is_ok()
    }

    /// Answers the SYN.
    ///
    /// # Errors
    /// `Invalid` if the offer is gone, `NetUnreachable` if there is no way back to the peer.
    pub(crate) fn accept_offer(
        &mut self,
        cx: &mut Cx<'_>,
        id: OfferId,
    ) -> Result<SocketId, SocketError> {
        let offer = self.take_offer(id)?;
        let key = offer.key;
        let mut opts = SocketOptions::new(cx.config);
        opts.ip.iface = Some(offer.iface);
        let path_mss = path_mss(cx, &key, &opts).ok_or(SocketError::NetUnreachable)?;
        let iss = offer
            .recycled
            .unwrap_or_else(|| self.secrets.isn(&key, cx.now));
        let timestamps = cx.config.tcp_timestamps;
        let offset = self.secrets.timestamp_offset(&key, timestamps);
        let opening = Opening::new(cx, &opts, key, iss, path_mss, offset);
        let handshake = SynReceived::start(cx, &opts, opening, &offer.syn);
        let mut socket = Socket::new(State::SynReceived(Box::new(handshake)), opts);
        socket.local = Some(key.local);
        let socket = self.sockets.insert(socket);
        self.flows.insert(&key, Flow::Socket(socket.index()));
        cx.stats.passive_opens += 1;
        self.settle(cx, socket);
        Ok(socket)
    }

    /// Answers the SYN with a reset.
    ///
    /// # Errors
    /// `Invalid` if the offer is gone.
    pub(crate) fn refuse_offer(&mut self, cx: &mut Cx<'_>, id: OfferId) -> Result<(), SocketError> {
        let offer = self.take_offer(id)?;
        let ip = IpOptions {
            iface: Some(offer.iface),
            ..IpOptions::default()
        };
        send_reset(cx, &offer.key, &offer.syn, ip);
        Ok(())
    }

    /// Forgets the SYN; the caller may say why.
    ///
    /// # Errors
    /// `Invalid` if the offer is gone.
    pub(crate) fn drop_offer(&mut self, id: OfferId) -> Result<RefusedSyn, SocketError> {
        let offer = self.take_offer(id)?;
        Ok(RefusedSyn {
            from: offer.key.remote,
            to: offer.key.local,
            seq: offer.syn.seq.0,
        })
    }

    /// Offers that wait for a decision.
    pub fn offer_len(&self) -> usize {
        self.offers.records.len()
    }
}
