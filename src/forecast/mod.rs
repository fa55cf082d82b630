//! What is to come: the demand that the fleet must serve, as a point and a band.
//!
//! Predictors stand behind one trait, [`Predictor`]; today there is one, [`LastValue`], which is
//! hard to beat at a horizon of minutes (techniques.md 3.1). [`DemandForecast`] keeps one for the
//! arrival rate and one for each length, and knows an idle gap from missing data.

mod demand;
mod last_value;

pub use demand::{Band, Demand, DemandForecast, Lengths};
pub use last_value::LastValue;

use std::time::Duration;

use crate::units::Timestamp;

/// Learns a series and tells its value one horizon ahead.
pub trait Predictor {
    /// Takes in a value that was observed at `at`. Values that are not finite are ignored.
    fn learn(&mut self, at: Timestamp, value: f64);

    /// The value `horizon` after the last one learned; `None` before anything was learned.
    fn predict(&self, horizon: Duration) -> Option<Band>;
}
