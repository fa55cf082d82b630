//! An engine alone, pass by pass.

use super::*;
use crate::profile::EngineProfile;
use crate::sim::truth::TruthOptions;
use crate::spec::EngineLimits;
use crate::units::Tokens;

const MS: u64 = 1_000_000;

/// 0.1 ms a prompt token, 10 ms an iteration whatever is in it.
fn engine(limits: EngineLimits, kv: u64, generates: bool, resume: Resume) -> Engine {
    let prefill: Vec<(f64, f64)> =
        (0..=20).map(|i| (f64::from(i * 500 + 10), f64::from(i * 50 + 1))).collect();
    let decode =
        [(1.0, 100.0, 10.0), (400.0, 100.0, 10.0), (1.0, 9000.0, 10.0), (400.0, 9000.0, 10.0)];
    let profile = EngineProfile::from_points(&prefill, &decode, Tokens::clamped(1e7)).unwrap();
    let options = TruthOptions {
        attention_share: 0.0,
        block: 1,
        max_kv_tokens: Some(kv),
        resume,
        ..TruthOptions::default()
    };
    Engine::new(Arc::new(EngineTruth::new(&profile, limits, options)), generates)
}

fn prompt(id: u32, prefill: u32, steps: u32) -> Job {
    Job { id, prefill, cached: 0, steps, stopped: None }
}

fn handed_over(id: u32, kv: u32, steps: u32) -> Job {
    Job { id, prefill: 0, cached: kv, steps, stopped: None }
}

/// Requests with a time in ms.
type Times = Vec<(u32, u64)>;

/// Runs until nothing is left; answers when each request was read, began to answer, and ended.
fn drain(engine: &mut Engine) -> (Times, Times, Times) {
    drain_counting(engine, &mut (0, Vec::new()))
}

/// The same; counts the tokens that followed another one at once, and the gaps, ms, of the others.
fn drain_counting(
    engine: &mut Engine,
    (tokens, gaps): &mut (u64, Vec<u64>),
) -> (Times, Times, Times) {
    let (mut read, mut first, mut finished) = (Vec::new(), Vec::new(), Vec::new());
    let mut now = SimTime::ZERO;
    let mut done = Done::default();
    while let Some(end) = engine.begin(now) {
        engine.end(&mut done);
        *tokens += done.tokens;
        gaps.extend(done.resumed.iter().map(|gap| gap / MS));
        now = end;
        let ms = |at: SimTime| at.as_nanos() / MS;
        read.extend(done.prefilled.iter().map(|id| (*id, ms(now))));
        first.extend(done.first.iter().map(|(id, at)| (*id, ms(*at))));
        finished.extend(done.finished.iter().map(|id| (*id, ms(now))));
    }
    (read, first, finished)
}

#[test]
fn a_pass_reads_up_to_its_token_limit_and_all_of_it_ends_together() {
    let limits =
        EngineLimits { max_num_batched_tokens: 8192, max_num_seqs: 256, context_length: None };
    let mut e = engine(limits, 1_000_000, false, Resume::First);
    for id in 0..20 {
        assert_eq!(e.push(prompt(id, 1000, 0), SimTime::ZERO), None);
    }
    let (read, ..) = drain(&mut e);
    let at = |ms: std::ops::Range<u64>| read.iter().filter(|(_, t)| ms.contains(t)).count();
    // 8 fit the first pass, the ninth is split; 16 fit two passes; the rest comes with the third.
    assert_eq!((at(800..840), at(1600..1660), at(1990..2040)), (8, 8, 4), "{read:?}");
    assert!(read.is_sorted_by_key(|(id, _)| *id), "first come, first served");
    assert_eq!((e.unread(), e.kv(), e.requests()), (0, 0, 0));
}

#[test]
fn slots_bound_what_runs_and_the_rest_waits_for_them() {
    let limits =
        EngineLimits { max_num_batched_tokens: 8192, max_num_seqs: 4, context_length: None };
    let mut e = engine(limits, 1_000_000, true, Resume::First);
    for id in 0..6 {
        e.push(handed_over(id, 100, 30), SimTime::ZERO);
    }
    let (_, first, finished) = drain(&mut e);
    assert_eq!(&first[..4], [(0, 10), (1, 10), (2, 10), (3, 10)]);
    assert_eq!(&finished[..4], [(0, 300), (1, 300), (2, 300), (3, 300)]);
    assert_eq!(&first[4..], [(4, 310), (5, 310)]);
    assert_eq!(&finished[4..], [(4, 600), (5, 600)]);
}

#[test]
fn an_arrival_is_taken_on_with_the_next_iteration() {
    let mut e = engine(EngineLimits::default(), 1_000_000, true, Resume::First);
    let mut done = Done::default();
    e.push(handed_over(0, 100, 31), SimTime::ZERO);
    // The first token is told when it is made; thirty iterations follow as one.
    assert_eq!(e.begin(SimTime::ZERO), Some(SimTime::from_millis(10)));
    e.end(&mut done);
    assert_eq!((&done.first[..], done.tokens), (&[(0, SimTime::from_millis(10))][..], 0));
    assert_eq!(e.begin(SimTime::from_millis(10)), Some(SimTime::from_millis(310)));
    let cut = e.push(handed_over(1, 100, 6), SimTime::from_millis(111));
    assert_eq!(cut, Some(SimTime::from_millis(120)));
    assert_eq!(e.push(handed_over(2, 100, 6), SimTime::from_millis(115)), None, "cut already");
    e.end(&mut done);
    assert_eq!((done.tokens, done.busy), (11, 110 * MS));
    assert_eq!(e.begin(SimTime::from_millis(120)), Some(SimTime::from_millis(130)));
    e.end(&mut done);
    assert_eq!((done.first.len(), done.tokens), (2, 1));
    let end = e.begin(SimTime::from_millis(130)).unwrap();
    assert_eq!(end, SimTime::from_millis(180), "until the short ones end");
}

#[test]
fn reading_and_generating_share_a_pass() {
    let mut e = engine(EngineLimits::default(), 1_000_000, true, Resume::First);
    e.push(prompt(0, 510, 3), SimTime::ZERO);
    let (_, first, finished) = drain(&mut e);
    // The pass that reads the prompt makes the first token.
    assert_eq!((first, finished), (vec![(0, 51)], vec![(0, 71)]));
    e.push(prompt(1, 510, 100), SimTime::ZERO);
    let mut now = e.begin(SimTime::ZERO).unwrap();
    let mut done = Done::default();
    e.end(&mut done);
    e.push(prompt(2, 1010, 1), now);
    let begun = now;
    now = e.begin(now).unwrap();
    assert_eq!(now.since(begun), (101 + 10) * MS, "101 ms of prompt and an iteration");
    e.end(&mut done);
    assert_eq!((done.tokens, done.gap), (1, 111 * MS), "which is what the other one waited");
    assert_eq!(done.finished, [2], "one token is all that it wanted");
}

#[test]
fn growing_sequences_push_the_newest_out_and_it_is_read_again() {
    // Two of 100 fit; at 150 tokens each they fill 300.
    for (resume, other) in [(Resume::First, 3), (Resume::Last, 3)] {
        let limits =
            EngineLimits { max_num_batched_tokens: 8192, max_num_seqs: 8, context_length: None };
        let mut e = engine(limits, 300, true, resume);
        for id in 0..3 {
            e.push(handed_over(id, 99, 80), SimTime::ZERO);
        }
        let mut counted = (0, Vec::new());
        let (_, first, finished) = drain_counting(&mut e, &mut counted);
        let (tokens, gaps) = counted;
        let ids = |list: &[(u32, u64)]| {
            let mut ids: Vec<u32> = list.iter().map(|f| f.0).collect();
            ids.sort_unstable();
            ids.dedup();
            ids.len()
        };
        assert!(e.preempted() > 0, "{resume:?}");
        assert_eq!(first.len(), 3, "a sequence that goes on has had its first token");
        let all = tokens + u64::try_from(first.len() + gaps.len()).unwrap();
        assert_eq!((all, gaps.len() as u64), (3 * 80, e.preempted()), "each token is told once");
        // It waits at least for the pass that put it back, and for its own reading.
        assert!(gaps.iter().all(|gap| *gap > 20), "{gaps:?}");
        assert_eq!((ids(&first), finished.len()), (other, other), "all end, each once");
        // Eighty iterations, and short prompts that are read again between them.
        assert!(finished[0].0 == 0 && finished[0].1 < 900, "the oldest is never put back");
        assert_eq!((e.kv(), e.unread(), e.waiting_kv(), e.requests()), (0, 0, 0, 0));
    }
}

#[test]
fn what_was_put_back_goes_on_first_or_last() {
    let first_token_of_the_last = |resume| {
        let limits =
            EngineLimits { max_num_batched_tokens: 8192, max_num_seqs: 8, context_length: None };
        let mut e = engine(limits, 300, true, resume);
        for id in 0..3 {
            e.push(handed_over(id, 95, 80), SimTime::ZERO);
        }
        e.push(handed_over(3, 50, 2), SimTime::ZERO);
        drain(&mut e).1.iter().find(|(id, _)| *id == 3).unwrap().1
    };
    let (first, last) =
        (first_token_of_the_last(Resume::First), first_token_of_the_last(Resume::Last));
    assert!(last < first, "{last} {first}");
}

#[test]
fn what_waits_is_taken_on_in_the_pass_after_one_that_put_back() {
    let limits =
        EngineLimits { max_num_batched_tokens: 8192, max_num_seqs: 8, context_length: None };
    let mut e = engine(limits, 300, true, Resume::Last);
    // Three grow to 300 tokens together; the fourth fits as soon as one of them is put back.
    for id in 0..3 {
        e.push(handed_over(id, 95, 80), SimTime::ZERO);
    }
    e.push(handed_over(3, 50, 2), SimTime::ZERO);
    let (mut now, mut done, mut at) = (SimTime::ZERO, Done::default(), None);
    while let Some(end) = e.begin(now) {
        if at.is_none() && e.preempted() > 0 {
            at = Some(end);
        }
        e.end(&mut done);
        now = end;
        if let Some((_, first)) = done.first.iter().find(|(id, _)| *id == 3) {
            assert_eq!(*first, at.unwrap().plus(std::time::Duration::from_millis(10)));
        }
    }
}

#[test]
fn a_lost_engine_gives_back_everything_it_had() {
    let limits =
        EngineLimits { max_num_batched_tokens: 600, max_num_seqs: 2, context_length: None };
    let mut e = engine(limits, 1_000_000, true, Resume::First);
    for id in 0..4 {
        e.push(prompt(id, 500, 10), SimTime::ZERO);
    }
    e.begin(SimTime::ZERO);
    assert_eq!(e.abandon(), [0, 1, 2, 3]);
    assert_eq!((e.kv(), e.unread(), e.requests(), e.is_working()), (0, 0, 0, false));
}
