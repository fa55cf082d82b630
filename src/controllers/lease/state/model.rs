//! Electors against a modelled API server, with everything that may go wrong between them: calls that
//! are late or lost on either way, clocks that do not go at the same speed, processes that stand still,
//! crash, or end in order. Whatever happens, never do two hold the lease at once.

use rand::{RngExt as _, SeedableRng as _};
use rand_pcg::Pcg64Mcg;

use super::*;

/// The model's tick, ms.
const TICK: u64 = 20;
/// How long things go wrong, and then how long they go well, ms.
const TROUBLE: u64 = 240_000;
const CALM: u64 = 60_000;

/// The API server's copy.
#[derive(Default)]
struct Server {
    lease: Option<Record>,
    version: u64,
}

enum Answer {
    Looked(Option<Found>),
    Wrote(Found),
    Refused,
}

impl Server {
    fn found(&self) -> Option<Found> {
        let record = self.lease.clone()?;
        Some(Found { record, version: self.version.to_string() })
    }

    fn put(&mut self, record: Record) -> Answer {
        self.version += 1;
        self.lease = Some(record.clone());
        Answer::Wrote(Found { record, version: self.version.to_string() })
    }

    /// Does what `me` asks for; `stamp` makes every renewal another record.
    fn handle(&mut self, me: &str, ask: &Ask, duration: Duration, stamp: u64) -> Answer {
        let stamp = jiff::Timestamp::from_millisecond(i64::try_from(stamp).unwrap()).unwrap();
        let mine = |transitions| Record {
            holder: Some(me.to_owned()),
            duration: Some(duration),
            transitions,
            times: (None, Some(stamp)),
        };
        let what = match ask {
            Ask::Look => return Answer::Looked(self.found()),
            Ask::Write(what) => what,
        };
        let as_seen = |over: &String| *over == self.version.to_string();
        match (what, &self.lease) {
            (Write::Create, None) => self.put(mine(0)),
            (Write::Claim { over, transitions }, Some(_)) if as_seen(over) => {
                self.put(mine(*transitions))
            }
            (Write::Renew { over }, Some(lease)) if as_seen(over) => {
                let transitions = lease.transitions;
                self.put(mine(transitions))
            }
            (Write::Release { over }, Some(lease)) if as_seen(over) => {
                let lease = lease.clone();
                self.put(Record { holder: None, duration: Some(RELEASED), ..lease })
            }
            _ => Answer::Refused,
        }
    }
}

#[derive(Clone)]
enum Ask {
    Look,
    Write(Write),
}

/// A call on its way; times are the model's.
struct Flight {
    from: usize,
    me: String,
    number: u64,
    ask: Ask,
    arrives: Option<u64>,
    answers: Option<u64>,
    answer: Option<Answer>,
}

/// A process.
struct Process {
    elector: Elector,
    name: String,
    /// Its clock runs so many thousandths faster or slower, and began at another moment.
    speed: u64,
    offset: u64,
    /// The call that it waits for, and since when by its own clock.
    asked: Option<(u64, Moment)>,
    still_until: u64,
}

impl Process {
    fn clock(&self, now: u64) -> Moment {
        Duration::from_millis(self.offset + now * self.speed / 1000)
    }
}

/// What can happen, and how much of it.
#[derive(Clone, Copy)]
struct Trouble {
    /// The clocks run within so many thousandths of the right speed.
    drift: u64,
    timing: Timing,
}

struct World {
    rng: Pcg64Mcg,
    trouble: Trouble,
    server: Server,
    flights: Vec<Flight>,
    processes: Vec<Process>,
    born: u64,
    calls: u64,
}

/// What a run came to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Score {
    /// Ticks in which more than one held the lease.
    doubly: u64,
    /// How often another one came to hold it.
    changes: u64,
    /// Whether one holds it in the end.
    held: bool,
}

impl World {
    fn new(seed: u64, trouble: Trouble) -> Self {
        let mut world = Self {
            rng: Pcg64Mcg::seed_from_u64(seed),
            trouble,
            server: Server::default(),
            flights: Vec::new(),
            processes: Vec::new(),
            born: 0,
            calls: 0,
        };
        for _ in 0..3 {
            let process = world.process();
            world.processes.push(process);
        }
        world
    }

    fn process(&mut self) -> Process {
        self.born += 1;
        let name = format!("p{}", self.born);
        let drift = self.trouble.drift;
        Process {
            elector: Elector::new(name.clone(), self.trouble.timing),
            name,
            speed: self.rng.random_range(1000 - drift..=1000 + drift),
            offset: self.rng.random_range(0..100_000),
            asked: None,
            still_until: 0,
        }
    }

    fn happens(&mut self, per_million: u32) -> bool {
        self.rng.random_range(0..1_000_000) < per_million
    }

    /// How long one way takes; `None` is lost.
    fn way(&mut self, calm: bool) -> Option<u64> {
        match self.rng.random_range(0..100) {
            _ if calm => Some(self.rng.random_range(0..50)),
            0..70 => Some(self.rng.random_range(0..50)),
            70..85 => Some(self.rng.random_range(0..4000)),
            85..92 => Some(self.rng.random_range(0..40_000)),
            _ => None,
        }
    }

    fn send(&mut self, from: usize, now: u64, ask: Ask, calm: bool) -> u64 {
        self.calls += 1;
        let arrives = self.way(calm).map(|way| now + way);
        let answers = arrives.and_then(|at| Some(at + self.way(calm)?));
        let me = self.processes[from].name.clone();
        let number = self.calls;
        self.flights.push(Flight { from, me, number, ask, arrives, answers, answer: None });
        number
    }

    fn run(&mut self) -> Score {
        let mut score = Score::default();
        let mut last = None;
        for now in (0..TROUBLE + CALM).step_by(usize::try_from(TICK).unwrap()) {
            let calm = now >= TROUBLE;
            self.arrivals(now);
            for i in 0..self.processes.len() {
                self.act(i, now, calm);
            }
            let holders: Vec<usize> = (0..self.processes.len())
                .filter(|i| {
                    let process = &self.processes[*i];
                    process.elector.holds(process.clock(now))
                })
                .collect();
            score.doubly += u64::from(holders.len() > 1);
            score.held = !holders.is_empty();
            if let Some(first) = holders.first().map(|i| self.processes[*i].name.clone()) {
                score.changes += u64::from(last.as_ref().is_some_and(|last| *last != first));
                last = Some(first);
            }
        }
        score
    }

    fn arrivals(&mut self, now: u64) {
        let duration = self.trouble.timing.duration;
        let mut due: Vec<usize> = (0..self.flights.len())
            .filter(|i| {
                let flight = &self.flights[*i];
                flight.answer.is_none() && flight.arrives.is_some_and(|at| at <= now)
            })
            .collect();
        due.sort_by_key(|i| self.flights[*i].arrives);
        for i in due {
            let flight = &mut self.flights[i];
            let answer = self.server.handle(&flight.me, &flight.ask, duration, now);
            flight.answer = Some(answer);
        }
        // What nobody waits for any more, or nothing comes back of.
        self.flights.retain(|flight| flight.arrives.is_some() && flight.number + 200 > self.calls);
    }

    fn act(&mut self, i: usize, now: u64, calm: bool) {
        if now < self.processes[i].still_until {
            return;
        }
        if !calm {
            if self.happens(500) {
                self.processes[i].still_until = now + self.rng.random_range(0..40_000);
                return;
            }
            if self.happens(200) {
                self.end(i, now);
                return;
            }
        }
        let process = &mut self.processes[i];
        let clock = process.clock(now);
        let _: Option<Lost> = process.elector.expire(clock);
        let Some((number, since)) = process.asked else {
            let (at, ask) = match process.elector.next() {
                Next::Look { at } => (*at, Ask::Look),
                Next::Write { at, what } => (*at, Ask::Write(what.clone())),
            };
            if at <= clock {
                let number = self.send(i, now, ask, calm);
                self.processes[i].asked = Some((number, clock));
            }
            return;
        };
        let here = self.flights.iter().position(|flight| {
            let is_its = flight.from == i && flight.me == process.name && flight.number == number;
            is_its && flight.answer.is_some() && flight.answers.is_some_and(|at| at <= now)
        });
        if let Some(here) = here {
            process.asked = None;
            let answer = self.flights.swap_remove(here).answer;
            let _: Option<Lost> = match answer {
                Some(Answer::Looked(found)) => process.elector.saw(clock, found),
                Some(Answer::Wrote(found)) => process.elector.wrote(since, clock, found),
                Some(Answer::Refused) | None => {
                    process.elector.failed(clock, Refusal::Changed);
                    None
                }
            };
        } else if clock >= since + self.trouble.timing.call {
            process.asked = None;
            process.elector.failed(clock, Refusal::Failed);
        }
    }

    /// Ends a process, in order or not; another one begins in its place.
    fn end(&mut self, i: usize, now: u64) {
        let process = &self.processes[i];
        let release = process.elector.release(process.clock(now));
        if let Some(release) = release.filter(|_| now.is_multiple_of(3)) {
            self.send(i, now, Ask::Write(release), false);
        }
        self.processes[i] = self.process();
    }
}

fn scores(runs: u64, trouble: Trouble) -> impl Iterator<Item = Score> {
    (0..runs).map(move |seed| World::new(seed, trouble).run())
}

#[test]
fn never_two_hold_it_and_when_things_go_well_one_does() {
    let trouble = Trouble { drift: 100, timing: Timing::STANDARD };
    let mut changes = 0;
    for (seed, score) in scores(100, trouble).enumerate() {
        assert_eq!(score.doubly, 0, "seed {seed}");
        assert!(score.held, "seed {seed}");
        changes += score.changes;
    }
    assert!(changes > 150, "it changes hands: {changes}");
}

#[test]
fn the_model_finds_two_where_a_holder_gives_up_too_late() {
    let give_up = Duration::from_secs(20);
    let late = Trouble { drift: 0, timing: Timing { give_up, ..Timing::STANDARD } };
    assert!(scores(30, late).any(|score| score.doubly > 0));
    let wild = Trouble { drift: 400, timing: Timing::STANDARD };
    assert!(scores(300, wild).any(|score| score.doubly > 0));
}
