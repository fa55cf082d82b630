//! Who is connected, and what each of them holds: a peer can take neither all connections nor all
//! the room for bodies, one that never asked anything soon goes, and where all connections are taken,
//! who holds most of them makes room for who holds fewer: with an idle one, and where nobody who holds
//! more has one, a stranger with all its share gives up one that asks.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::server::Limits;

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
    /// The number of the next seat.
    next: u64,
}

/// One address with a connection.
#[derive(Debug, Default)]
struct Peer {
    /// Its connections, by their number.
    seats: BTreeMap<u64, Taken>,
    bytes: usize,
    /// It had a review answered.
    is_known: bool,
}

/// One connection, as the others see it.
#[derive(Debug)]
struct Taken {
    /// When the last review on it was answered; when it was taken, before the first.
    last: Instant,
    /// A request is on its way or being judged.
    is_busy: bool,
    /// Tells it to make room.
    make_room: Arc<Notify>,
}

/// What a newcomer got.
#[derive(Debug)]
pub(super) struct Seated {
    /// Its place.
    pub(super) seat: Seat,
    /// Whose connection is closed for it.
    pub(super) instead_of: Option<IpAddr>,
}

impl Peers {
    /// Nobody yet.
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, state: Arc::default() }
    }

    /// A place for a connection from this address. Where all are taken, the idle connection that was of
    /// no use for longest is closed for it, of the address that holds most of them and would still hold
    /// as many as this one. Where none is idle, one with a request on its way goes, of an address
    /// that has used up its share and never had a review answered: requests that never end cost their
    /// sender nothing.
    pub(super) fn seat(&self, address: IpAddr) -> Result<Seated, Full> {
        // An address of IPv4 is the same one on a socket of both families.
        let address = address.to_canonical();
        let mut state = self.state();
        let held = state.held_by(address);
        if held >= self.limits.of_one() {
            return Err(Full::Share);
        }
        let instead_of = if state.connections < self.limits.connections {
            None
        } else {
            let (other, number) =
                state.stalest_above(held, self.limits.of_one()).ok_or(Full::Whole)?;
            if let Some(taken) = state.leave(other, number) {
                taken.make_room.notify_one();
            }
            Some(other)
        };
        let (now, make_room) = (Instant::now(), Arc::new(Notify::new()));
        let number = state.next;
        state.next += 1;
        state.connections += 1;
        let taken = Taken { last: now, is_busy: false, make_room: Arc::clone(&make_room) };
        state.peers.entry(address).or_default().seats.insert(number, taken);
        drop(state);
        let seat = Seat { peers: self.clone(), address, number, taken: now, make_room };
        Ok(Seated { seat, instead_of })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Peer {
    /// The seat that was of no use for longest, of the busy or of the idle ones, and since when.
    fn stalest(&self, is_busy: bool) -> Option<(Instant, u64)> {
        let such = self.seats.iter().filter(|(_, taken)| taken.is_busy == is_busy);
        such.map(|(number, taken)| (taken.last, *number)).min()
    }
}

impl State {
    fn held_by(&self, address: IpAddr) -> usize {
        self.peers.get(&address).map_or(0, |peer| peer.seats.len())
    }

    /// The idle connection that was of no use for longest, of the address that holds most. Of addresses
    /// that hold the same, one that never asked comes first. Where none is idle, the busy one that was
    /// of no use for longest, of the strangers that hold their whole `share`.
    ///
    /// Only of addresses that hold more than one above `held`: where a seat changed hands between
    /// near equals, it could be taken back at once, and so for ever.
    fn stalest_above(&self, held: usize, share: usize) -> Option<(IpAddr, u64)> {
        let above = || self.peers.iter().filter(move |(_, peer)| peer.seats.len() > held + 1);
        let idle = above().filter_map(|(address, peer)| {
            let (last, number) = peer.stalest(false)?;
            let rank = (peer.seats.len(), !peer.is_known, Reverse(last));
            Some((rank, (*address, number)))
        });
        if let Some((_, found)) = idle.max() {
            return Some(found);
        }
        let strangers = above().filter(|(_, peer)| !peer.is_known && peer.seats.len() >= share);
        let busy = strangers.filter_map(|(address, peer)| {
            let (last, number) = peer.stalest(true)?;
            Some((Reverse(last), (*address, number)))
        });
        busy.max().map(|(_, found)| found)
    }

    /// Takes a seat away, where it is still there.
    fn leave(&mut self, address: IpAddr, number: u64) -> Option<Taken> {
        let peer = self.peers.get_mut(&address)?;
        let taken = peer.seats.remove(&number)?;
        if peer.seats.is_empty() {
            self.peers.remove(&address);
        }
        self.connections = self.connections.saturating_sub(1);
        Some(taken)
    }

    fn taken(&mut self, seat: &Seat) -> Option<&mut Taken> {
        self.peers.get_mut(&seat.address)?.seats.get_mut(&seat.number)
    }
}

/// The place of one connection, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    peers: Peers,
    address: IpAddr,
    number: u64,
    taken: Instant,
    make_room: Arc<Notify>,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leave {
    /// It was of no use for too long.
    Silent,
    /// Another address, which holds fewer, got its place.
    MakesRoom,
}

impl Seat {
    /// Whose it is.
    pub(super) const fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether its address had a review answered.
    pub(super) fn is_known(&self) -> bool {
        self.peers.state().peers.get(&self.address).is_some_and(|peer| peer.is_known)
    }

    /// A request has begun; until this is dropped, the connection is closed for another one only where
    /// none is idle, and its address is a stranger with all its share.
    pub(super) fn asks(&self) -> Busy<'_> {
        self.is_busy(true);
        Busy { seat: self }
    }

    fn is_busy(&self, is_busy: bool) {
        if let Some(taken) = self.peers.state().taken(self) {
            taken.is_busy = is_busy;
        }
    }

    /// A review was answered.
    pub(super) fn answered(&self) {
        let mut state = self.peers.state();
        if let Some(taken) = state.taken(self) {
            taken.last = Instant::now();
        }
        if let Some(peer) = state.peers.get_mut(&self.address) {
            peer.is_known = true;
        }
    }

    /// Room for a body, none of it claimed yet.
    pub(super) const fn room(&self) -> Room<'_> {
        Room { seat: self, bytes: 0 }
    }

    /// Completes when the connection is to be closed: it has been of no use for too long, or makes room.
    /// A peer that asks on one connection may hold others in reserve.
    pub(super) async fn leave(&self) -> Leave {
        loop {
            let until = self.may_stay_until();
            if until <= Instant::now() {
                return Leave::Silent;
            }
            tokio::select! {
                () = self.make_room.notified() => return Leave::MakesRoom,
                () = tokio::time::sleep_until(until) => {}
            }
        }
    }

    fn may_stay_until(&self) -> Instant {
        let mut state = self.peers.state();
        let is_known = state.peers.get(&self.address).is_some_and(|peer| peer.is_known);
        match state.taken(self) {
            Some(taken) if is_known => taken.last + IDLE,
            Some(_) | None => self.taken + self.peers.limits.first,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        drop(self.peers.state().leave(self.address, self.number));
    }
}

/// A request of a connection is on its way or being judged.
#[derive(Debug)]
pub(super) struct Busy<'a> {
    seat: &'a Seat,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.seat.is_busy(false);
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
        // A connection that makes room for another one has none.
        if state.taken(self.seat).is_none() {
            return Err(Full::Share);
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
mod tests;
