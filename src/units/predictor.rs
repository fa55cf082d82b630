//! The names of the demand predictors, which configuration, planner and back-test share.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Who predicts the demand.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Predictor {
    /// All of them and more, weighed by what their forecasts would have cost.
    #[default]
    Auto,
    /// The last value.
    Constant,
    /// An autoregressive model, whose order is chosen anew as data grows.
    Arima,
    /// A Kalman filter of a level and its damped trend.
    Kalman,
    /// Level, trend, and the seasons of the day and the week.
    Prophet,
}

impl Predictor {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Auto, Self::Constant, Self::Arima, Self::Kalman, Self::Prophet];

    /// The name as written in configuration and reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Constant => "constant",
            Self::Arima => "arima",
            Self::Kalman => "kalman",
            Self::Prophet => "prophet",
        }
    }
}

impl fmt::Display for Predictor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// There is no predictor of that name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected {}", Self::KNOWN)]
pub struct NoPredictor;

impl NoPredictor {
    /// Those that there are, for a message.
    pub const KNOWN: &'static str = "auto, constant, arima, kalman or prophet";
}

impl FromStr for Predictor {
    type Err = NoPredictor;

    fn from_str(text: &str) -> Result<Self, NoPredictor> {
        Self::ALL.into_iter().find(|p| p.as_str() == text).ok_or(NoPredictor)
    }
}
