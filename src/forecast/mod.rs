//! What is to come: the demand that the fleet must serve, as a point and a band.
//!
//! [`DemandForecast`] follows the work of prompts and that of outputs, each with its own
//! [`Rules`]: how much to keep standing is learnt from what every rule would have cost. Beside it the
//! rate and the mean lengths are predicted, each as a [`Band`] at the horizon; with a predictor that was
//! chosen by name, the upper end of its own forecast is what is kept standing.

mod demand;
mod fixed;
mod fleet;
mod predict;
mod prior;
mod standing;
mod startup;

pub use demand::{
    Band, Demand, DemandForecast, Engines, Forecast, Horizon, Lengths, Reading, Work,
};
pub use fixed::Regret;
pub use fleet::{Engine, LATE_AT_LEVEL};
pub use predict::{Bands, Contender, Outlook, Series, SeriesBand, Study, StudyRow, pinball};
pub use standing::{LONGEST_STEP, Lead, Rule, Rules, SET_BACK, Standing};
pub use startup::StartUps;
