//! The series of a demand, each with its band.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::series::{Outlook, Series};
use crate::forecast::Band;
use crate::units::{Predictor, Timestamp};

/// The forecast of one series, and how well such forecasts did so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SeriesBand {
    /// The value at the horizon, in the unit of the series.
    #[serde(flatten)]
    pub band: Band,
    /// What the highest value from the horizon until the end of the hold stays below.
    pub peak: f64,
    /// The share of values so far that were within the upper end said of them; `None` before the
    /// first horizon has passed.
    pub coverage: Option<f64>,
    /// The same for the highest values of the hold.
    pub peak_coverage: Option<f64>,
    /// What each predictor is trusted with; together 1.
    pub weights: BTreeMap<String, f64>,
}

impl SeriesBand {
    fn of(series: &Series) -> Option<Self> {
        let (coverage, peak_coverage) = series.coverage();
        Some(Self {
            band: series.band()?,
            peak: series.peak()?,
            coverage,
            peak_coverage,
            weights: series.trusted().into_iter().collect(),
        })
    }
}

/// The demand at the horizon.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Bands {
    /// Who predicts.
    pub predictor: Predictor,
    /// How far ahead: from a change of the load until a replica that was asked for because of it
    /// serves.
    pub horizon: Duration,
    /// For how long from there on a replica is held at least.
    pub hold: Duration,
    /// The quantile that the upper end is; the lower end is one less it.
    pub quantile: f64,
    /// Requests per second.
    pub rate: SeriesBand,
    /// Mean prompt, tokens; `None` before one was seen.
    pub isl: Option<SeriesBand>,
    /// Mean output, tokens.
    pub osl: Option<SeriesBand>,
}

/// The quantile of the upper ends of bands. Higher, and there is too little experience to tell it;
/// lower, and a band says little of what a fleet must serve.
pub(in crate::forecast) const QUANTILE: f64 = 0.95;

/// What is learned of the series of a demand.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(in crate::forecast) struct Predicted {
    rate: Series,
    isl: Series,
    osl: Series,
    /// Work per second, where a predictor was named: its upper end is what is held.
    prefill: Series,
    decode: Series,
    /// How far ahead the last forecast was, and for how long what it asks for is held.
    ahead: Duration,
    hold: Duration,
}

/// One reading, in numbers: rate, mean lengths where requests came, and work per second.
#[derive(Clone, Copy, Debug)]
pub(in crate::forecast) struct Values {
    pub(in crate::forecast) rate: f64,
    pub(in crate::forecast) isl: Option<f64>,
    pub(in crate::forecast) osl: Option<f64>,
    pub(in crate::forecast) prefill: f64,
    pub(in crate::forecast) decode: f64,
}

impl Predicted {
    /// Takes in one reading. Another predictor than before begins anew.
    pub(in crate::forecast) fn learn(
        &mut self,
        at: Timestamp,
        seen: Values,
        kind: Predictor,
        (ahead, hold): (Duration, Duration),
    ) {
        if self.rate.kind() != kind {
            let new = || Series::new(kind);
            let (rate, isl, osl, prefill, decode) = (new(), new(), new(), new(), new());
            *self = Self { rate, isl, osl, prefill, decode, ahead, hold };
        }
        (self.ahead, self.hold) = (ahead, hold);
        let outlook = Outlook { lead: ahead, hold, quantile: QUANTILE };
        let Values { rate, isl, osl, prefill, decode } = seen;
        self.rate.learn(at, rate, outlook);
        for (series, length) in [(&mut self.isl, isl), (&mut self.osl, osl)] {
            if let Some(length) = length {
                series.learn(at, length, outlook);
            }
        }
        if kind != Predictor::Auto {
            self.prefill.learn(at, prefill, outlook);
            self.decode.learn(at, decode, outlook);
        }
    }

    /// Who predicts.
    pub(in crate::forecast) const fn kind(&self) -> Predictor {
        self.rate.kind()
    }

    /// The band of the rate.
    pub(in crate::forecast) fn rate(&self) -> Option<Band> {
        self.rate.band()
    }

    /// The work for prompts and for outputs that the highest of the hold stays below with these
    /// probabilities; `None` with `auto`, which asks its rules.
    pub(in crate::forecast) fn work(&self, prefill: f64, decode: f64) -> Option<(f64, f64)> {
        Some((self.prefill.highest(prefill)?, self.decode.highest(decode)?))
    }

    /// For how long what is asked for is held.
    pub(in crate::forecast) const fn hold(&self) -> Duration {
        self.hold
    }

    /// The demand at the horizon; `None` before a rate was seen.
    pub(in crate::forecast) fn bands(&self) -> Option<Bands> {
        Some(Bands {
            predictor: self.kind(),
            horizon: self.ahead,
            hold: self.hold,
            quantile: QUANTILE,
            rate: SeriesBand::of(&self.rate)?,
            isl: SeriesBand::of(&self.isl),
            osl: SeriesBand::of(&self.osl),
        })
    }
}
