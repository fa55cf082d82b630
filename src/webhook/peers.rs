//! Who is connected, and what each of them holds: a peer can take neither all connections nor all
//! the room for bodies, and one that never asked anything soon goes.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::server::Limits;

/// Connections at once. Each takes some tens of kilobytes and a file descriptor.
const CONNECTIONS: usize = 1024;

/// Connections of one address. An API server opens one for each request that it judges at the same
/// time; by default it takes 200 changes at once, of whatever kind.
const CONNECTIONS_OF_ONE: usize = 256;

/// Bodies of the longest kind whose bytes may be held at once, those on their way and those being
/// judged. What they become once read is bounded by itself, and by the threads that read them.
const BODIES: usize = 8;

/// The same of one address: several of the longest, and room is left for somebody else.
const BODIES_OF_ONE: usize = BODIES / 2;

/// Silence after which a connection is closed. The API server closes an idle one after 90 seconds by
/// itself: if we came first, a request could meet the closing and fail.
pub(super) const IDLE: Duration = Duration::from_secs(120);

/// What there is no more of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// What all peers share.
    Whole,
    /// The share of this peer.
    Share,
}

/// Everybody who is connected. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Peers {
    limits: Limits,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    connections: usize,
    bytes: usize,
    peers: BTreeMap<IpAddr, Peer>,
}

/// One address with a connection.
#[derive(Debug, Default)]
struct Peer {
    connections: usize,
    bytes: usize,
    /// It had a review answered.
    is_known: bool,
}

impl Peers {
    /// Nobody yet.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: Arc::default() }
    }

    /// A place for a connection from this address.
    pub(super) fn seat(&self, address: IpAddr) -> Result<Seat, Full> {
        // An address of IPv4 is the same one on a socket of both families.
        let address = address.to_canonical();
        let mut state = self.state();
        if state.connections >= CONNECTIONS {
            return Err(Full::Whole);
        }
        let peer = state.peers.entry(address).or_default();
        if peer.connections >= CONNECTIONS_OF_ONE {
            return Err(Full::Share);
        }
        peer.connections += 1;
        state.connections += 1;
        drop(state);
        let now = Instant::now();
        Ok(Seat { peers: self.clone(), address, taken: now, asked: Mutex::new(now) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    peers: Peers,
    address: IpAddr,
    taken: Instant,
    /// When the last review on this connection was answered; `taken` before the first.
    asked: Mutex<Instant>,
}

impl Seat {
    /// Whose it is.
    pub(super) const fn address(&self) -> IpAddr {
        self.address
    }

    /// A review was answered.
    pub(super) fn answered(&self) {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        if let Some(peer) = self.peers.state().peers.get_mut(&self.address) {
            peer.is_known = true;
        }
    }

    /// Room for a body, none of it claimed yet.
    pub(super) const fn room(&self) -> Room<'_> {
        Room { seat: self, bytes: 0 }
    }

    /// Completes when the connection has been of no use for too long. A peer that asks on one
    /// connection may hold others in reserve.
    pub(super) async fn stale(&self) {
        loop {
            let until = self.may_stay_until();
            if until <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    fn may_stay_until(&self) -> Instant {
        let is_known = self.peers.state().peers.get(&self.address).is_some_and(|p| p.is_known);
        if is_known {
            *self.asked.lock().unwrap_or_else(PoisonError::into_inner) + IDLE
        } else {
            self.taken + self.peers.limits.first
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut state = self.peers.state();
        state.connections = state.connections.saturating_sub(1);
        if let Some(peer) = state.peers.get_mut(&self.address) {
            peer.connections = peer.connections.saturating_sub(1);
            if peer.connections == 0 {
                state.peers.remove(&self.address);
            }
        }
    }
}

/// The room that one body takes, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Room<'a> {
    seat: &'a Seat,
    bytes: usize,
}

impl Room<'_> {
    /// Claims room for bytes that have come.
    pub(super) fn grow(&mut self, bytes: usize) -> Result<(), Full> {
        let most = self.seat.peers.limits.body;
        let mut state = self.seat.peers.state();
        if state.bytes + bytes > BODIES * most {
            return Err(Full::Whole);
        }
        let Some(peer) = state.peers.get_mut(&self.seat.address) else { return Err(Full::Share) };
        if peer.bytes + bytes > BODIES_OF_ONE * most {
            return Err(Full::Share);
        }
        peer.bytes += bytes;
        state.bytes += bytes;
        self.bytes += bytes;
        Ok(())
    }
}

impl Drop for Room<'_> {
    fn drop(&mut self) {
        let mut state = self.seat.peers.state();
        state.bytes = state.bytes.saturating_sub(self.bytes);
        if let Some(peer) = state.peers.get_mut(&self.seat.address) {
            peer.bytes = peer.bytes.saturating_sub(self.bytes);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::server::BODY_LIMIT;

    const BYTES_OF_ONE: usize = BODIES_OF_ONE * BODY_LIMIT;
    const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    fn address(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    async fn is_stale(seat: &Seat) -> bool {
        tokio::time::timeout(Duration::ZERO, seat.stale()).await.is_ok()
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_take_all_connections_and_all_together_have_an_end() {
        let peers = Peers::new(Limits::default());
        let mut seats: Vec<Seat> =
            (0..CONNECTIONS_OF_ONE).map(|_| peers.seat(ONE).unwrap()).collect();
        assert_eq!(peers.seat(ONE).unwrap_err(), Full::Share);
        let mapped = "::ffff:10.0.0.1".parse().unwrap();
        assert_eq!(peers.seat(mapped).unwrap_err(), Full::Share, "the same address");
        for last in 2..=4 {
            seats.extend((0..CONNECTIONS_OF_ONE).map(|_| peers.seat(address(last)).unwrap()));
        }
        assert_eq!(peers.seat(address(5)).unwrap_err(), Full::Whole);
        drop(seats.pop());
        drop(peers.seat(address(5)).unwrap());
        seats.clear();
        assert!(peers.state().peers.is_empty() && peers.state().connections == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn one_address_cannot_take_all_the_room() {
        let peers = Peers::new(Limits::default());
        let (one, other) = (peers.seat(ONE).unwrap(), peers.seat(address(2)).unwrap());
        let third = peers.seat(address(3)).unwrap();
        let (mut a, mut b, mut c) = (one.room(), other.room(), third.room());
        a.grow(BYTES_OF_ONE).unwrap();
        assert_eq!(a.grow(1), Err(Full::Share));
        assert_eq!(one.room().grow(1), Err(Full::Share), "of all its connections together");
        b.grow(BYTES_OF_ONE).unwrap();
        assert_eq!(c.grow(1), Err(Full::Whole));
        drop(a);
        c.grow(1).unwrap();
        drop((b, c));
        assert_eq!(peers.state().bytes, 0);
    }

    #[tokio::test(start_paused = true)]
    async fn who_never_asked_goes_within_seconds_and_who_asks_may_be_silent_for_long() {
        let limits = Limits::default();
        let peers = Peers::new(limits);
        let (first, spare) = (peers.seat(ONE).unwrap(), peers.seat(ONE).unwrap());
        let stranger = peers.seat(address(2)).unwrap();
        tokio::time::advance(limits.first - Duration::from_secs(1)).await;
        assert!(!is_stale(&first).await && !is_stale(&stranger).await);
        first.answered();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(is_stale(&stranger).await);
        assert!(!is_stale(&first).await && !is_stale(&spare).await);
        // 91 seconds after the last review the API server has closed it by itself.
        tokio::time::advance(Duration::from_secs(95)).await;
        assert!(!is_stale(&first).await && !is_stale(&spare).await);
        first.answered();
        tokio::time::advance(IDLE - Duration::from_secs(95)).await;
        assert!(!is_stale(&first).await && is_stale(&spare).await);
    }
}
