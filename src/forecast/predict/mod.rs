//! Predictors by name, and bands that keep their coverage.
//!
//! A [`Series`] has one predictor or several, weighs them by what their upper ends would have cost, and
//! puts a band around what they say together: the ratios of what came to what was said are kept and
//! decayed, and an aim moves until the wanted share of them is covered (techniques.md 3.1).

mod arima;
mod bands;
mod kalman;
mod model;
mod residuals;
mod seasonal;
mod series;
mod study;

pub use bands::{Bands, SeriesBand};
pub(super) use bands::{Predicted, Values};
pub use series::{Outlook, Series, pinball};
pub use study::{Contender, Study, StudyRow};
