use proptest::prelude::*;

use super::*;

fn requests(rows: &[(i64, u32, u32)]) -> Vec<Result<Request, TraceError>> {
    rows.iter()
        .map(|&(at, isl, osl)| {
            Ok(Request { at: Timestamp::from_millis(at), isl, osl, prefix_hit: None })
        })
        .collect()
}

fn sum_up(rows: &[(i64, u32, u32)], width: Duration) -> Vec<Interval> {
    intervals(requests(rows), width).map(Result::unwrap).collect()
}

const TEN: Duration = Duration::from_secs(10);

#[test]
fn empty_intervals_are_kept() {
    let found = sum_up(&[(1_000, 10, 1), (35_000, 10, 1)], TEN);
    let counts: Vec<u64> = found.iter().map(|i| i.requests).collect();
    assert_eq!(counts, [1, 0, 0, 1]);
    assert_eq!(found[3].start, Timestamp::from_millis(30_000));
    assert_eq!(found[1].rate, PerSecond::ZERO);
    assert_eq!(found[1].isl, None);
    assert_eq!(found[1].dispersion, None);
}

#[test]
fn a_request_on_the_border_belongs_to_the_later_interval() {
    let counts: Vec<u64> =
        sum_up(&[(9_999, 1, 1), (10_000, 1, 1)], TEN).iter().map(|i| i.requests).collect();
    assert_eq!(counts, [1, 1]);
}

#[test]
fn moments_of_lengths() {
    let found = sum_up(&[(0, 100, 7), (1, 300, 7)], TEN);
    let isl = found[0].isl.unwrap();
    assert_eq!((isl.mean.get(), isl.cv2, isl.max), (200.0, 0.25, 300));
    assert_eq!(found[0].osl.unwrap().cv2, 0.0);
    assert_eq!(found[0].rate.get(), 0.2);
}

#[test]
fn even_arrivals_have_no_dispersion_and_a_burst_has_much() {
    let even: Vec<_> = (0..10).map(|s| (s * 1_000 + 500, 1, 1)).collect();
    assert_eq!(sum_up(&even, TEN)[0].dispersion, Some(0.0));
    let burst: Vec<_> = (0..10).map(|_| (4_200, 1, 1)).collect();
    // One count of 10 and nine of 0: mean 1, variance (81 + 9) / 9.
    assert_eq!(sum_up(&burst, TEN)[0].dispersion, Some(10.0));
}

#[test]
fn a_second_that_the_interval_cuts_off_is_not_counted() {
    let width = Duration::from_millis(2_500);
    let rows = [(0, 1, 1), (1_000, 1, 1), (2_100, 1, 1), (2_200, 1, 1)];
    let found = sum_up(&rows, width);
    assert_eq!((found[0].requests, found[0].dispersion), (4, Some(0.0)));
    assert_eq!(sum_up(&rows, Duration::from_millis(1_500))[0].dispersion, None);
}

#[test]
fn an_error_ends_the_intervals() {
    let text = "timestamp_ms,input_length,output_length\n5,1,1\n0,1,1\n";
    let reader = super::super::Reader::new(text.as_bytes()).unwrap();
    let mut found = intervals(reader, TEN);
    assert!(found.next().unwrap().is_err());
    assert!(found.next().is_none());
}

#[test]
fn an_empty_trace_has_no_interval_and_no_width_is_too_short_or_too_long() {
    assert!(sum_up(&[], TEN).is_empty());
    assert_eq!(sum_up(&[(3, 1, 1)], Duration::ZERO).len(), 4);
    assert_eq!(sum_up(&[(i64::MAX - 1, 1, 1)], Duration::MAX).len(), 1);
    assert_eq!(sum_up(&[(i64::MAX, 1, 1)], Duration::MAX).len(), 2);
}

#[test]
fn the_example_trace_by_the_minute() {
    let trace: &[u8] = include_bytes!("../../examples/traces/azure-2023-conv-10min.jsonl");
    let minutes: Vec<Interval> =
        intervals(super::super::Reader::new(trace).unwrap(), Duration::from_secs(60))
            .map(Result::unwrap)
            .collect();
    assert_eq!(minutes.len(), 10);
    assert_eq!(minutes.iter().map(|m| m.requests).sum::<u64>(), 2867);
}

proptest! {
    #[test]
    fn requests_and_time_are_conserved(
        mut rows in prop::collection::vec((0i64..600_000, 0u32..9_000, 1u32..900), 1..200),
        width_ms in 1u64..90_000,
    ) {
        rows.sort_unstable();
        let width = Duration::from_millis(width_ms);
        // A width of 1 ms over ten minutes is 600,000 intervals: keep the trace short for it.
        let last = i64::try_from(width_ms).unwrap() * 500;
        rows.retain(|row| row.0 < last);
        prop_assume!(!rows.is_empty());
        let found = sum_up(&rows, width);

        prop_assert_eq!(found.iter().map(|i| i.requests).sum::<u64>(), rows.len() as u64);
        for (k, interval) in found.iter().enumerate() {
            prop_assert_eq!(interval.start, Timestamp::from_millis((k as i64) * width_ms as i64));
            prop_assert_eq!(interval.isl.is_some(), interval.requests > 0);
            prop_assert!(interval.dispersion.is_none_or(|d| d >= 0.0 && d.is_finite()));
        }
        prop_assert!(found.last().unwrap().requests > 0);

        let tokens: f64 = found
            .iter()
            .filter_map(|i| Some(i.isl?.mean.get() * i.requests as f64))
            .sum();
        let expected: f64 = rows.iter().map(|r| f64::from(r.1)).sum();
        prop_assert!((tokens - expected).abs() <= 1e-6 * expected.max(1.0));
        let longest = found.iter().filter_map(|i| Some(i.isl?.max)).max();
        prop_assert_eq!(longest, rows.iter().map(|r| r.1).max());
    }
}
