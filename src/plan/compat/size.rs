//! How many engines the planner of Dynamo 0.9.0 asks for.

use crate::profile::compat::{DynamoDecode, DynamoPrefill};
use crate::units::{Gpus, Millis, Replicas, Tokens, ceil_to_u32, round_to_u32};

/// What the sizing rule reads. One field a line of its own pseudocode.
#[derive(Clone, Copy, Debug)]
pub struct Dynamo09Input<'a> {
    /// Its interpolated prefill table.
    pub prefill: &'a DynamoPrefill,
    /// Its interpolated decode table.
    pub decode: &'a DynamoDecode,
    /// Requests predicted for the next interval (a count, not a rate).
    pub requests: f64,
    /// Mean input length predicted.
    pub isl: Tokens,
    /// Mean output length predicted.
    pub osl: Tokens,
    /// Length of the interval in seconds; its default is 180.
    pub interval_s: f64,
    /// The ITL promise. There is no TTFT promise: the rule does not read it.
    pub itl_target: Millis,
    /// What observed latency says of the table; 1 and 1 with its `--no-correction`.
    pub corrections: Corrections,
    /// GPUs of a prefill engine; 0 is taken as 1.
    pub gpus_per_prefill: Gpus,
    /// GPUs of a decode engine; 0 is taken as 1.
    pub gpus_per_decode: Gpus,
    /// The fewest engines of each role; its default is 1.
    pub min_endpoint: Replicas,
    /// The most GPUs of both roles together (its default is 8), which the rule may exceed.
    pub gpu_budget: Gpus,
}

/// Observed latency over interpolated latency.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corrections {
    /// Of TTFT; only a value below 1 has an effect.
    pub prefill: f64,
    /// Of ITL; 0 or less is taken as 1.
    pub decode: f64,
}

impl Corrections {
    /// No correction.
    pub const NONE: Self = Self { prefill: 1.0, decode: 1.0 };
}

/// What the correction reads, all means over the last interval.
#[derive(Clone, Copy, Debug)]
pub struct Dynamo09Observed {
    /// Observed time to first token.
    pub ttft: Millis,
    /// Observed inter-token latency.
    pub itl: Millis,
    /// Requests that finished in the interval.
    pub requests: f64,
    /// Mean duration of a request in seconds, prefill included.
    pub duration_s: f64,
    /// Mean input length.
    pub isl: Tokens,
    /// Mean output length.
    pub osl: Tokens,
    /// Length of the interval in seconds.
    pub interval_s: f64,
    /// Decode engines registered.
    pub decode_engines: Replicas,
}

/// The corrections after an interval; `None` with no decode engine, where the rule divides by zero
/// and skips the interval.
#[must_use]
pub fn correct_dynamo_09(
    prefill: &DynamoPrefill,
    decode: &DynamoDecode,
    seen: &Dynamo09Observed,
) -> Option<Corrections> {
    if seen.decode_engines.get() == 0 {
        return None;
    }
    let engines = f64::from(seen.decode_engines.get());
    let concurrency = seen.requests / engines * seen.duration_s / seen.interval_s;
    let context = seen.isl.get() + seen.osl.get() / 2.0;
    Some(Corrections {
        prefill: seen.ttft.get() / prefill.ttft(seen.isl.get()),
        decode: seen.itl.get() / decode.itl(concurrency, context),
    })
}

/// The prefill and the decode engines that Dynamo 0.9.0 asks for.
///
/// Where its own arithmetic would fail (a throughput of exactly 0, an interval of 0) this answers
/// with the largest count instead; what is negative or not a number becomes `min_endpoint`.
#[must_use]
pub fn size_dynamo_09(input: &Dynamo09Input<'_>) -> (Replicas, Replicas) {
    let gpus_p = f64::from(input.gpus_per_prefill.get().max(1));
    let gpus_d = f64::from(input.gpus_per_decode.get().max(1));
    let fewest = input.min_endpoint.get();
    let (isl, osl) = (input.isl.get(), input.osl.get());
    let per_second = input.requests / input.interval_s;

    let tokens_in = per_second * isl * input.corrections.prefill.min(1.0);
    let num_p = ceil_to_u32(tokens_in / input.prefill.throughput_per_gpu(isl) / gpus_p);
    let itl = match input.corrections.decode {
        c if c <= 0.0 => input.itl_target.get(),
        c => input.itl_target.get() / c,
    };
    let best = input.decode.best_throughput_per_gpu(itl, isl + osl / 2.0);
    let num_d = ceil_to_u32(per_second * osl / best.throughput_per_gpu / gpus_d);

    let (num_p, num_d) = (num_p.max(fewest), num_d.max(fewest));
    let (num_p, num_d) =
        clamp_to_budget((num_p, num_d), (gpus_p, gpus_d), fewest, input.gpu_budget);
    (Replicas::new(num_p), Replicas::new(num_d))
}

/// Scales both down in proportion, rounding half to even, and gives decode what prefill leaves.
fn clamp_to_budget(
    (num_p, num_d): (u32, u32),
    (gpus_p, gpus_d): (f64, f64),
    fewest: u32,
    budget: Gpus,
) -> (u32, u32) {
    let budget = f64::from(budget.get());
    let wanted = f64::from(num_p) * gpus_p + f64::from(num_d) * gpus_d;
    if wanted <= budget {
        return (num_p, num_d);
    }
    let num_p = round_to_u32(f64::from(num_p) * (budget / wanted)).max(fewest);
    let num_d = round_to_u32((budget - f64::from(num_p) * gpus_p) / gpus_d).max(fewest);
    (num_p, num_d)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::library;

    struct Case {
        prefill: DynamoPrefill,
        decode: DynamoDecode,
        gpus: (u32, u32),
        budget: u32,
        corrections: Corrections,
    }

    fn h200() -> Case {
        let profile = library::get(library::DEFAULT).unwrap();
        Case {
            prefill: DynamoPrefill::new(&profile).unwrap(),
            decode: DynamoDecode::new(&profile).unwrap(),
            gpus: (1, 1),
            budget: u32::MAX,
            corrections: Corrections::NONE,
        }
    }

    impl Case {
        fn size(&self, requests: f64, isl: f64, osl: f64, itl: f64) -> (u32, u32) {
            let (p, d) = size_dynamo_09(&Dynamo09Input {
                prefill: &self.prefill,
                decode: &self.decode,
                requests,
                isl: Tokens::clamped(isl),
                osl: Tokens::clamped(osl),
                interval_s: 180.0,
                itl_target: Millis::clamped(itl),
                corrections: self.corrections,
                gpus_per_prefill: Gpus::new(self.gpus.0),
                gpus_per_decode: Gpus::new(self.gpus.1),
                min_endpoint: Replicas::new(1),
                gpu_budget: Gpus::new(self.budget),
            });
            (p.get(), d.get())
        }
    }

    #[test]
    fn sizes_are_those_dynamo_printed() {
        let c = h200();
        assert_eq!(c.size(100.0, 3000.0, 150.0, 50.0), (1, 1));
        assert_eq!(c.size(20_000.0, 3000.0, 150.0, 50.0), (7, 3));
        assert_eq!(c.size(20_000.0, 3000.0, 150.0, 10.0), (7, 4));
        assert_eq!(c.size(20_000.0, 8000.0, 500.0, 20.0), (19, 21));
        assert_eq!(c.size(5_000.0, 500.0, 1000.0, 15.0), (1, 3));
        assert_eq!(c.size(60_000.0, 1000.0, 300.0, 30.0), (13, 8));
        assert_eq!(c.size(200_000.0, 3000.0, 150.0, 50.0), (68, 25));
    }

    #[test]
    fn the_budget_clamp_rounds_as_python_does() {
        let c = Case { budget: 8, ..h200() };
        assert_eq!(c.size(20_000.0, 3000.0, 150.0, 50.0), (6, 2));
        assert_eq!(c.size(200_000.0, 3000.0, 150.0, 50.0), (6, 2));
        let c = Case { gpus: (2, 4), budget: 40, ..h200() };
        assert_eq!(c.size(200_000.0, 3000.0, 150.0, 50.0), (14, 3));
    }

    #[test]
    fn the_budget_clamp_can_exceed_the_budget() {
        let clamp = |wanted, gpus, budget| clamp_to_budget(wanted, gpus, 1, Gpus::new(budget));
        assert_eq!(clamp((24, 1), (1.0, 1.0), 8), (8, 1));
        // 28 GPUs of 24, 9 of 8 and 16 of 8.
        let over = |(p, d): (u32, u32), (gp, gd): (f64, f64)| f64::from(p) * gp + f64::from(d) * gd;
        for (wanted, gpus, budget, used) in [
            ((5, 2), (4.0, 8.0), 24, 28.0),
            ((1, 2), (1.0, 4.0), 8, 9.0),
            ((2, 2), (8.0, 8.0), 8, 16.0),
        ] {
            assert_eq!(over(clamp(wanted, gpus, budget), gpus), used, "{wanted:?}");
        }
    }

    #[test]
    fn corrections_act_as_published() {
        let with = |prefill, decode| {
            let corrections = Corrections { prefill, decode };
            Case { corrections, ..h200() }.size(200_000.0, 3000.0, 150.0, 50.0)
        };
        assert_eq!(with(5.0, 1.0).0, 68);
        assert_eq!(with(0.25, 1.0).0, 17);
        assert_eq!(with(0.0, 1.0).0, 1);
        for (decode, engines) in [(1.0, 25), (2.0, 26), (5.0, 36), (10.0, 374), (12.0, 745)] {
            assert_eq!(with(1.0, decode).1, engines, "{decode}");
        }
    }

    #[test]
    fn an_unreachable_promise_explodes() {
        let c = h200();
        for (itl, engines) in [(3.0, 75), (4.2, 75), (5.0, 38), (10.0, 4), (20.0, 3)] {
            assert_eq!(c.size(20_000.0, 3000.0, 150.0, itl).1, engines, "{itl}");
        }
    }

    #[test]
    fn the_correction_compares_with_the_table() {
        let c = h200();
        let seen = Dynamo09Observed {
            ttft: Millis::clamped(2.0 * c.prefill.ttft(3000.0)),
            itl: Millis::clamped(c.decode.itl(32.0, 3075.0) / 2.0),
            requests: 5760.0,
            duration_s: 3.0,
            isl: Tokens::clamped(3000.0),
            osl: Tokens::clamped(150.0),
            interval_s: 180.0,
            decode_engines: Replicas::new(3),
        };
        let got = correct_dynamo_09(&c.prefill, &c.decode, &seen).unwrap();
        assert!((got.prefill - 2.0).abs() < 1e-9 && (got.decode - 0.5).abs() < 1e-9, "{got:?}");
        let none = Dynamo09Observed { decode_engines: Replicas::new(0), ..seen };
        assert_eq!(correct_dynamo_09(&c.prefill, &c.decode, &none), None);
    }
}
