//! Prefill as Dynamo 0.9.0 interpolates it.

use super::super::engine::EngineProfile;
use super::super::error::ProfileError;
use super::spline::NotAKnot;

/// Time to first token and throughput by input length: two cubic splines, the input length put into
/// the range measured, without a word where it was outside.
#[derive(Clone, Debug, PartialEq)]
pub struct DynamoPrefill {
    ttft: NotAKnot,
    throughput: NotAKnot,
}

impl DynamoPrefill {
    /// From the points of a profile as read.
    ///
    /// # Errors
    ///
    /// [`ProfileError::Degenerate`] for fewer than four points, an input length measured twice, or
    /// no throughput column: Dynamo fails to start on each of them.
    pub fn new(profile: &EngineProfile) -> Result<Self, ProfileError> {
        let refuse = |needed, found: String| ProfileError::Degenerate { needed, found };
        let points = profile.prefill_points();
        if let Some(pair) = points.windows(2).find(|w| w[0].isl == w[1].isl) {
            let found = format!("{:.0} twice", pair[0].isl);
            return Err(refuse("each input length once", found));
        }
        let x: Vec<f64> = points.iter().map(|p| p.isl.get()).collect();
        let ttft = points.iter().map(|p| p.ttft.get()).collect();
        let throughput: Option<Vec<f64>> =
            points.iter().map(|p| Some(p.throughput_per_gpu?.get())).collect();
        let throughput = throughput
            .ok_or_else(|| refuse("the column prefill_thpt_per_gpu", "none".to_owned()))?;
        let few = || refuse("four prefill points", points.len().to_string());
        Ok(Self {
            ttft: NotAKnot::new(x.clone(), ttft).ok_or_else(few)?,
            throughput: NotAKnot::new(x, throughput).ok_or_else(few)?,
        })
    }

    /// Time to first token, in ms.
    #[must_use]
    pub fn ttft(&self, isl: f64) -> f64 {
        self.ttft.at_clamped(isl)
    }

    /// Input tokens per second and GPU.
    #[must_use]
    pub fn throughput_per_gpu(&self, isl: f64) -> f64 {
        self.throughput.at_clamped(isl)
    }
}
