//! Named cases, step by step.

use super::*;

const TIMING: Timing = Timing::STANDARD;

const fn at(millis: u64) -> Moment {
    Duration::from_millis(millis)
}

fn ada() -> Elector {
    Elector::new("ada".to_owned(), TIMING)
}

/// A lease held by somebody, of this version; each version has a renewal of its own.
fn held_by(holder: &str, version: u32) -> Found {
    let stamp = jiff::Timestamp::from_second(i64::from(version)).unwrap();
    Found {
        record: Record {
            holder: Some(holder.to_owned()),
            duration: Some(TIMING.duration),
            transitions: 3,
            times: (None, Some(stamp)),
        },
        version: version.to_string(),
    }
}

/// Ada, who asked at 0 for what she holds from 10 ms on, as version 1.
fn holding() -> Elector {
    let mut ada = ada();
    assert_eq!(ada.saw(at(0), None), None);
    assert_eq!(*ada.next(), Next::Write { at: at(0), what: Write::Create });
    assert_eq!(ada.wrote(at(0), at(10), held_by("ada", 1)), None);
    assert!(ada.holds(at(10)));
    ada
}

#[track_caller]
fn looks(elector: &Elector, millis: u64) {
    assert_eq!(*elector.next(), Next::Look { at: at(millis) });
}

#[track_caller]
fn claims(elector: &Elector, millis: u64, version: u32, transitions: i32) {
    let what = Write::Claim { over: version.to_string(), transitions };
    assert_eq!(*elector.next(), Next::Write { at: at(millis), what });
}

#[track_caller]
fn renews(elector: &Elector, millis: u64, version: u32) {
    let what = Write::Renew { over: version.to_string() };
    assert_eq!(*elector.next(), Next::Write { at: at(millis), what });
}

#[test]
fn it_looks_first_and_makes_a_lease_that_nobody_has() {
    looks(&ada(), 0);
    let ada = holding();
    renews(&ada, 2000, 1);
    assert_eq!(ada.other(), None);
}

#[test]
fn a_holder_gives_up_ten_seconds_after_it_asked_for_its_last_renewal() {
    let mut ada = holding();
    assert!(ada.holds(at(9999)) && !ada.holds(at(10_000)));
    assert_eq!(ada.wrote(at(2000), at(4500), held_by("ada", 2)), None);
    assert_eq!(ada.expire(at(11_999)), None);
    assert_eq!(ada.expire(at(12_000)), Some(Lost::NotRenewed));
    assert_eq!(ada.expire(at(12_000)), None, "once");
}

#[test]
fn an_answer_that_comes_too_late_holds_nothing() {
    let mut ada = ada();
    let _: Option<Lost> = ada.saw(at(0), None);
    assert_eq!(ada.wrote(at(0), at(11_000), held_by("ada", 1)), None);
    assert!(!ada.holds(at(11_000)));
    renews(&ada, 11_000, 1);
}

#[test]
fn a_lease_of_somebody_else_is_left_alone_until_it_has_not_changed_for_its_time() {
    let mut ada = ada();
    assert_eq!(ada.saw(at(1000), Some(held_by("bea", 1))), None);
    looks(&ada, 3000);
    assert_eq!(ada.other(), Some("bea"));
    let _: Option<Lost> = ada.saw(at(3000), Some(held_by("bea", 1)));
    looks(&ada, 5000);
    // Renewed: the time begins anew, whatever the record says of times.
    let _: Option<Lost> = ada.saw(at(15_000), Some(held_by("bea", 2)));
    looks(&ada, 17_000);
    let _: Option<Lost> = ada.saw(at(29_000), Some(held_by("bea", 2)));
    looks(&ada, 30_000);
    let _: Option<Lost> = ada.saw(at(30_000), Some(held_by("bea", 2)));
    claims(&ada, 30_000, 2, 4);
}

#[test]
fn a_change_that_is_no_renewal_gives_no_time() {
    let mut ada = ada();
    let _: Option<Lost> = ada.saw(at(0), Some(held_by("bea", 1)));
    // Somebody annotates it: another version, the same record.
    let annotated = Found { version: "9".to_owned(), ..held_by("bea", 1) };
    let _: Option<Lost> = ada.saw(at(15_000), Some(annotated));
    claims(&ada, 15_000, 9, 4);
}

#[test]
fn a_holder_that_asks_for_more_time_gets_it_and_one_that_asks_for_less_does_not() {
    for (asked, given) in [(60, 60_000), (1, 15_000)] {
        let mut ada = ada();
        let mut found = held_by("bea", 1);
        found.record.duration = Some(Duration::from_secs(asked));
        let _: Option<Lost> = ada.saw(at(0), Some(found.clone()));
        let _: Option<Lost> = ada.saw(at(given - 1), Some(found.clone()));
        looks(&ada, given);
        let _: Option<Lost> = ada.saw(at(given), Some(found));
        claims(&ada, given, 1, 4);
    }
}

#[test]
fn a_lease_that_was_handed_back_is_taken_at_once() {
    for duration in [Some(RELEASED), None] {
        let mut ada = ada();
        let _: Option<Lost> = ada.saw(at(0), Some(held_by("bea", 1)));
        let mut free = held_by("", 2);
        free.record = Record { holder: None, duration, ..free.record };
        let _: Option<Lost> = ada.saw(at(2000), Some(free));
        claims(&ada, 2000, 2, 4);
    }
}

#[test]
fn a_lease_that_was_emptied_or_deleted_by_hand_stands_for_its_time() {
    let mut emptied = held_by("", 2);
    emptied.record.holder = None;
    let claim = Write::Claim { over: "2".to_owned(), transitions: 4 };
    for (found, what) in [(Some(emptied), claim), (None, Write::Create)] {
        let mut ada = ada();
        let _: Option<Lost> = ada.saw(at(0), Some(held_by("bea", 1)));
        let _: Option<Lost> = ada.saw(at(2000), found.clone());
        looks(&ada, 4000);
        let _: Option<Lost> = ada.saw(at(16_999), found.clone());
        looks(&ada, 17_000);
        let _: Option<Lost> = ada.saw(at(17_000), found);
        assert_eq!(*ada.next(), Next::Write { at: at(17_000), what });
    }
}

#[test]
fn a_holder_whose_lease_is_gone_makes_it_again_and_goes_on() {
    let mut ada = holding();
    ada.failed(at(2010), Refusal::Changed);
    looks(&ada, 2110);
    assert_eq!(ada.saw(at(2120), None), None);
    assert_eq!(*ada.next(), Next::Write { at: at(2120), what: Write::Create });
    assert!(ada.holds(at(2120)));
}

#[test]
fn a_holder_that_sees_another_name_has_lost_at_once() {
    for other in [Some("bea"), None] {
        let mut ada = holding();
        ada.failed(at(2010), Refusal::Changed);
        let mut found = held_by("bea", 2);
        found.record.holder = other.map(str::to_owned);
        let by = other.map(str::to_owned);
        assert_eq!(ada.saw(at(2120), Some(found)), Some(Lost::Taken { by }));
        assert!(!ada.holds(at(2120)));
        assert_eq!(ada.release(at(2120)), None, "it is not ours to hand back");
    }
}

#[test]
fn a_write_that_comes_back_with_another_name_is_no_renewal() {
    let mut ada = holding();
    let by = Some("bea".to_owned());
    assert_eq!(ada.wrote(at(2000), at(2010), held_by("bea", 2)), Some(Lost::Taken { by }));
}

#[test]
fn a_failed_renewal_is_tried_again_soon_and_a_look_that_failed_later() {
    let mut ada = holding();
    ada.failed(at(5000), Refusal::Failed);
    looks(&ada, 5500);
    // It had been done all the same.
    assert_eq!(ada.saw(at(5510), Some(held_by("ada", 2))), None);
    renews(&ada, 5510, 2);
    let mut bea = Elector::new("bea".to_owned(), TIMING);
    bea.failed(at(0), Refusal::Failed);
    looks(&bea, 2000);
}

#[test]
fn a_claim_whose_answer_was_lost_is_made_again_and_counts_once() {
    let mut ada = ada();
    ada.failed(at(3000), Refusal::Failed);
    assert_eq!(ada.saw(at(5000), Some(held_by("ada", 7))), None);
    claims(&ada, 5000, 7, 3);
    assert!(!ada.holds(at(5000)), "not before the answer");
}

#[test]
fn it_hands_back_what_it_holds() {
    let ada = holding();
    assert_eq!(ada.release(at(20)), Some(Write::Release { over: "1".to_owned() }));
    assert_eq!(ada.release(at(10_000)), None);
}

#[test]
fn a_record_of_absurd_numbers_is_survived() {
    let mut ada = ada();
    let record = Record {
        holder: Some("bea".to_owned()),
        duration: Some(Duration::MAX),
        transitions: i32::MAX,
        times: (None, None),
    };
    let found = Found { record: record.clone(), version: String::new() };
    assert_eq!(ada.saw(Moment::MAX, Some(found)), None);
    let mut ada = Elector::new("ada".to_owned(), TIMING);
    let record = Record { holder: None, duration: None, ..record };
    let _: Option<Lost> = ada.saw(at(0), Some(Found { record, version: "1".to_owned() }));
    claims(&ada, 0, 1, i32::MAX);
}
