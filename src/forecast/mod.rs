//! What is to come: the demand that the fleet must serve, as a point and a band.
//!
//! [`DemandForecast`] follows the work of prompts and that of outputs, each with its own
//! [`Rules`]: how much to keep standing is learnt from what every rule would have cost.

mod demand;
mod prior;
mod standing;
mod startup;

pub use demand::{
    Band, Demand, DemandForecast, Engines, Forecast, Horizon, Lengths, Reading, Work,
};
pub use standing::{Engine, LATE_AT_LEVEL, LONGEST_STEP, Lead, Rule, Rules, SET_BACK, Standing};
pub use startup::StartUps;
