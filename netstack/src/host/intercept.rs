//! Blocking interception: what comes in on an interface for whichever address.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::blocking::Socket;
use super::errno::to_io;
use super::net::Net;
use super::tcp::TcpStream;
use super::udp::UdpSocket;
use crate::error::SocketError;
use crate::network::IfaceId;
use crate::socket::intercept::{
    EchoRequest, InterceptConfig, Intercepted, OfferId, TcpOffer, Unreachable,
};

/// Takes connections, datagrams and echo requests to any address on one interface. Dropping it ends
/// that; streams and sockets that it has given out reach nobody then.
///
/// A socket of the stack's own that fits comes first (`Stack::intercept` has the rules).
pub struct Interceptor {
    socket: Socket,
}

/// Something for an address that is not the stack's own.
pub enum Arrival {
    /// Somebody wants to connect, and waits for the answer.
    Tcp(Offer),
    /// The first datagram between two endpoints: the socket is connected to the peer, and is to be
    /// received from. When the flow has been idle for too long, that says `UnexpectedEof`.
    Udp {
        /// The socket.
        socket: UdpSocket,
        /// Who.
        from: SocketAddr,
        /// Where to.
        to: SocketAddr,
    },
    /// An echo request; [`Interceptor::echo_reply`] answers it.
    Echo(EchoRequest),
}

/// A connection that nobody has answered yet. Dropping it forgets it silently: the peer tries again.
pub struct Offer {
    net: Net,
    offer: TcpOffer,
    decided: bool,
}

impl Interceptor {
    /// Starts to take what comes in on `iface`.
    ///
    /// # Errors
    /// `InvalidInput` without such an interface, or if it has an interceptor.
    pub fn new(net: &Net, iface: IfaceId, config: InterceptConfig) -> io::Result<Self> {
        let id = net
            .with(|stack| stack.intercept(iface, config))
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        Ok(Self {
            socket: Socket::new(net, id),
        })
    }

    /// Waits for the next arrival.
    ///
    /// # Errors
    /// None that an open interceptor has.
    pub fn next(&self) -> io::Result<Arrival> {
        let next = self.socket.block_for(None, |stack, id| {
            stack.intercept_next(id).ok_or(SocketError::WouldBlock)
        })?;
        let net = self.socket.net();
        Ok(match next {
            Intercepted::Tcp(offer) => Arrival::Tcp(Offer {
                net: net.clone(),
                offer,
                decided: false,
            }),
            Intercepted::Udp(flow) => Arrival::Udp {
                socket: UdpSocket::own(net, flow.socket),
                from: flow.from,
                to: flow.to,
            },
            Intercepted::Echo(request) => Arrival::Echo(request),
        })
    }

    /// Answers an echo request as the host that it was for would. False if there is no room for it.
    pub fn echo_reply(&self, request: &EchoRequest) -> bool {
        let reply = |stack: &mut crate::stack::Stack| {
            stack.intercept_echo_reply(request, request.data.clone())
        };
        self.socket.net().with(reply)
    }
}

impl Offer {
    /// Who.
    pub fn from(&self) -> SocketAddr {
        self.offer.from
    }

    /// Where to.
    pub fn to(&self) -> SocketAddr {
        self.offer.to
    }

    /// The address that it was for.
    pub fn host(&self) -> IpAddr {
        self.offer.to.ip()
    }

    /// Answers, and waits for the handshake. The stream's local address is [`Offer::to`].
    ///
    /// # Errors
    /// EINVAL if the peer has given up meanwhile; ECONNREFUSED if it does so now, ETIMEDOUT.
    pub fn accept(mut self) -> io::Result<TcpStream> {
        self.decided = true;
        let id = self.net.with(|stack| stack.offer_accept(self.offer.id));
        let stream = TcpStream::own(&self.net, id.map_err(to_io)?);
        stream.wait_connected()?;
        Ok(stream)
    }

    /// Answers with a reset, as a host without such a port.
    ///
    /// # Errors
    /// EINVAL if the peer has given up meanwhile.
    pub fn refuse(mut self) -> io::Result<()> {
        self.decide(|stack, id| stack.offer_refuse(id))
    }

    /// Answers with an ICMP error.
    ///
    /// # Errors
    /// EINVAL if the peer has given up meanwhile.
    pub fn unreachable(mut self, why: Unreachable) -> io::Result<()> {
        self.decide(|stack, id| stack.offer_unreachable(id, why))
    }

    fn decide(
        &mut self,
        f: impl FnOnce(&mut crate::stack::Stack, OfferId) -> Result<(), SocketError>,
    ) -> io::Result<()> {
        self.decided = true;
        let id = self.offer.id;
        self.net.with(|stack| f(stack, id)).map_err(to_io)
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if !self.decided {
            // It may be gone already.
            let _ = self.decide(|stack, id| stack.offer_drop(id));
        }
    }
}
