//! Seats and room, against the clock and against each other.

use proptest::prelude::*;

use super::*;
use crate::webhook::server::BODY_LIMIT;

const CONNECTIONS: usize = 1024;
const CONNECTIONS_OF_ONE: usize = CONNECTIONS / 4;
const BYTES_OF_ONE: usize = BODIES_OF_ONE * BODY_LIMIT;
const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

fn address(last: u8) -> IpAddr {
    [10, 0, 0, last].into()
}

fn seat(peers: &Peers, address: IpAddr) -> Seat {
    let Seated { seat, instead_of } = peers.seat(address).unwrap();
    assert_eq!(instead_of, None);
    seat
}

/// Takes so many seats for one address.
fn seats(peers: &Peers, address: IpAddr, count: usize) -> Vec<Seat> {
    (0..count).map(|_| seat(peers, address)).collect()
}

async fn why_leaves(seat: &Seat) -> Option<Leave> {
    tokio::time::timeout(Duration::ZERO, seat.leave()).await.ok()
}

async fn is_stale(seat: &Seat) -> bool {
    why_leaves(seat).await == Some(Leave::Silent)
}

#[tokio::test(start_paused = true)]
async fn one_address_cannot_take_all_connections_and_all_together_have_an_end() {
    let peers = Peers::new(Limits::default());
    let mut all = seats(&peers, ONE, CONNECTIONS_OF_ONE);
    assert_eq!(peers.seat(ONE).unwrap_err(), Full::Share);
    let mapped = "::ffff:10.0.0.1".parse().unwrap();
    assert_eq!(peers.seat(mapped).unwrap_err(), Full::Share, "the same address");
    for last in 2..=4 {
        all.extend(seats(&peers, address(last), CONNECTIONS_OF_ONE));
    }
    all.iter().for_each(|seat| seat.is_busy(true));
    // Three of them had an answer: the fourth is a stranger with requests that do not end.
    (0..3).for_each(|known| all[known * CONNECTIONS_OF_ONE].answered());
    let newcomer = peers.seat(address(5)).unwrap();
    assert_eq!(newcomer.instead_of, Some(address(4)), "nobody is idle");
    let stalest = &all[3 * CONNECTIONS_OF_ONE];
    assert!(is_gone(&peers, stalest));
    assert_eq!(why_leaves(stalest).await, Some(Leave::MakesRoom));
    let why = "nobody is idle, and no stranger has all its share";
    assert_eq!(peers.seat(address(5)).unwrap_err(), Full::Whole, "{why}");
    drop(all.pop());
    drop(seat(&peers, address(5)));
    drop(newcomer);
    all.clear();
    assert!(peers.state().peers.is_empty() && peers.state().connections == 0);
}

#[tokio::test(start_paused = true)]
async fn who_holds_most_makes_room_for_who_holds_fewer() {
    let peers = Peers::new(Limits::default());
    let second = Duration::from_secs(1);
    let mut all = Vec::new();
    for last in 1..=4 {
        all.push(seats(&peers, address(last), CONNECTIONS_OF_ONE - usize::from(last == 1)));
        tokio::time::advance(second).await;
    }
    let one_more = seat(&peers, address(5));
    let (one, two) = (&all[0], &all[1]);
    // The second was there before the third and the fourth; its first has had an answer since, and
    // its second has a question.
    two[0].answered();
    let busy = two[1].asks();
    tokio::time::advance(second).await;
    // That answer makes the second known: strangers which hold as much go first.
    let third = peers.seat(address(6)).unwrap();
    assert_eq!(third.instead_of, Some(address(3)));
    assert_eq!(why_leaves(&all[2][0]).await, Some(Leave::MakesRoom));
    assert_eq!(why_leaves(&all[2][1]).await, None);
    assert_eq!(all[2][0].room().grow(1), Err(Full::Share), "its request comes too late");
    let fourth = peers.seat(address(6)).unwrap();
    assert_eq!(fourth.instead_of, Some(address(4)));
    // The second alone holds all its share: what it used longest ago goes.
    let fifth = peers.seat(address(6)).unwrap();
    assert_eq!(fifth.instead_of, Some(address(2)));
    let gone: Vec<usize> = (0..two.len()).filter(|i| is_gone(&peers, &two[*i])).collect();
    assert_eq!(gone, [2], "neither the answered nor the busy one");
    // All four hold 255: among strangers, who was silent for longest.
    let sixth = peers.seat(address(5)).unwrap();
    assert_eq!(sixth.instead_of, Some(address(1)));
    assert!(is_gone(&peers, &one[0]));
    // Who holds as many as the others, or one fewer, takes nothing from them.
    let rest = (0..4).map(|last| peers.state().held_by(address(last + 1)));
    assert_eq!(rest.collect::<Vec<_>>(), [254, 255, 255, 255]);
    assert_eq!(peers.seat(address(2)).unwrap_err(), Full::Whole);
    assert_eq!(peers.seat(address(1)).unwrap_err(), Full::Whole, "the other would take it back");
    // Places are given back once, by whoever has them.
    assert_eq!(peers.state().connections, CONNECTIONS);
    drop((one_more, third, fourth, fifth, sixth));
    drop(busy);
    drop(all);
    assert!(peers.state().peers.is_empty() && peers.state().connections == 0);
}

fn is_gone(peers: &Peers, seat: &Seat) -> bool {
    peers.state().taken(seat).is_none()
}

/// A house that is soon full.
const SMALL: Limits = Limits {
    connections: 24,
    body: BODY_LIMIT,
    body_time: Duration::from_secs(2),
    first: Duration::from_secs(5),
};

/// What happens to the seats of an address.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Another connection.
    Comes,
    /// One ends, by its number among those of the address.
    Goes(usize),
    /// One begins to ask.
    Asks(usize),
    /// One has its answer.
    Answered(usize),
}

fn event() -> impl Strategy<Value = (u8, Event)> {
    let which = 0..SMALL.of_one();
    let event = prop_oneof![
        3 => Just(Event::Comes),
        1 => which.clone().prop_map(Event::Goes),
        2 => which.clone().prop_map(Event::Asks),
        1 => which.prop_map(Event::Answered),
    ];
    (0..8_u8, event)
}

/// The account of the test: the seats of each address that still have their place.
type Seats = BTreeMap<u8, Vec<Seat>>;

/// One arrival, against the account.
fn comes(peers: &Peers, all: &mut Seats, last: u8) {
    let count = |all: &Seats, last: u8| all.get(&last).map_or(0, Vec::len);
    let total: usize = all.values().map(Vec::len).sum();
    let held = count(all, last);
    let is_busy = |seat: &Seat| peers.state().taken(seat).expect("its place").is_busy;
    let busy: BTreeMap<u8, Vec<bool>> =
        all.iter().map(|(last, seats)| (*last, seats.iter().map(is_busy).collect())).collect();
    let above = || busy.iter().filter(move |(_, busy)| busy.len() > held + 1);
    // The most that one with an idle seat holds, and the strangers with all their share.
    let most =
        above().map(|(_, busy)| busy).filter(|busy| busy.contains(&false)).map(Vec::len).max();
    let greedy: Vec<u8> = above()
        .filter(|(_, busy)| busy.len() == SMALL.of_one())
        .filter(|(last, _)| !all[*last][0].is_known())
        .map(|(last, _)| *last)
        .collect();
    match peers.seat(address(last)) {
        Err(Full::Share) => assert!(held >= SMALL.of_one()),
        Err(Full::Whole) => {
            assert!(total == SMALL.connections && most.is_none() && greedy.is_empty());
        }
        Ok(Seated { seat, instead_of: None }) => {
            assert!(total < SMALL.connections && held < SMALL.of_one());
            all.entry(last).or_default().push(seat);
        }
        Ok(Seated { seat, instead_of: Some(IpAddr::V4(other)) }) => {
            let other = other.octets()[3];
            assert_eq!(total, SMALL.connections);
            assert!(count(all, other) > held + 1);
            match most {
                Some(most) => assert_eq!(count(all, other), most),
                None => assert!(greedy.contains(&other), "{other} of {greedy:?}"),
            }
            let others = all.get_mut(&other).expect("it had some");
            let gone: Vec<usize> =
                (0..others.len()).filter(|i| is_gone(peers, &others[*i])).collect();
            let [gone] = gone[..] else { panic!("one of them and not {gone:?}") };
            assert_eq!(busy[&other][gone], most.is_none(), "a busy one only where none is idle");
            drop(others.remove(gone));
            all.entry(last).or_default().push(seat);
        }
        Ok(Seated { instead_of: Some(IpAddr::V6(other)), .. }) => panic!("{other} never came"),
    }
}

proptest! {
    /// Whoever comes and goes: no more places than there are, no more of one than its share, nobody
    /// is closed while it asks but of strangers with all their share where none is idle, and whoever
    /// makes room still holds as many as who gets it.
    #[test]
    fn places_go_from_who_holds_most_to_who_holds_fewer(
        shares in proptest::collection::vec(0..=SMALL.of_one(), 8),
        events in proptest::collection::vec(event(), 1..200),
    ) {
        let peers = Peers::new(SMALL);
        let mut all = Seats::new();
        for (last, share) in (0..).zip(shares) {
            (0..share).for_each(|_| comes(&peers, &mut all, last));
        }
        for (last, event) in events {
            let seats = all.entry(last).or_default();
            let at = |which: usize| which.checked_rem(seats.len());
            match event {
                Event::Comes => comes(&peers, &mut all, last),
                Event::Goes(which) => drop(at(which).map(|i| seats.remove(i))),
                Event::Asks(which) => at(which).into_iter().for_each(|i| seats[i].is_busy(true)),
                Event::Answered(which) => {
                    if let Some(i) = at(which) {
                        seats[i].answered();
                        seats[i].is_busy(false);
                    }
                }
            }
            all.retain(|_, seats| !seats.is_empty());
            let held: BTreeMap<u8, usize> = all.iter().map(|(k, s)| (*k, s.len())).collect();
            let total: usize = held.values().sum();
            prop_assert!(total <= SMALL.connections);
            prop_assert!(held.values().all(|held| *held <= SMALL.of_one()));
            prop_assert_eq!(peers.state().connections, total);
            for (last, held) in held {
                prop_assert_eq!(peers.state().held_by(address(last)), held);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn one_address_cannot_take_all_the_room() {
    let peers = Peers::new(Limits::default());
    let (one, other) = (seat(&peers, ONE), seat(&peers, address(2)));
    let third = seat(&peers, address(3));
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
    let (first, spare) = (seat(&peers, ONE), seat(&peers, ONE));
    let stranger = seat(&peers, address(2));
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
