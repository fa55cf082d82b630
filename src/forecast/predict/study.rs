//! How good forecasts are: predictors side by side on what came.

use std::collections::VecDeque;

use super::model::{Model, Yesterday};
use super::series::{Outlook, Series, pinball};
use crate::forecast::Band;
use crate::units::{Predictor, Timestamp};

/// Predictors that forecast one series side by side, each with a band of its own.
///
/// The judge keeps its own books: a band that is said at a moment is compared with the first value at
/// or after the horizon, once.
#[derive(Clone, Debug)]
pub struct Study {
    outlook: Outlook,
    books: Vec<Book>,
}

/// One predictor of a study.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contender {
    /// One that may be chosen by name.
    Named(Predictor),
    /// The value at the same time of the day before.
    SeasonalNaive,
}

impl Contender {
    /// All of them, in the order of the rows of a study.
    pub const ALL: [Self; 6] = [
        Self::Named(Predictor::Auto),
        Self::Named(Predictor::Constant),
        Self::Named(Predictor::Arima),
        Self::Named(Predictor::Kalman),
        Self::Named(Predictor::Prophet),
        Self::SeasonalNaive,
    ];

    /// As written in a report.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Named(predictor) => predictor.as_str(),
            Self::SeasonalNaive => "seasonal_naive",
        }
    }

    fn series(self) -> Series {
        match self {
            Self::Named(predictor) => Series::new(predictor),
            Self::SeasonalNaive => Series::of(Model::Yesterday(Yesterday::default())),
        }
    }
}

#[derive(Clone, Debug)]
struct Book {
    contender: Contender,
    series: Series,
    open: VecDeque<(Timestamp, Band)>,
    forecasts: u64,
    within: f64,
    above_low: f64,
    loss: f64,
    error: f64,
    seen: f64,
}

/// What came of one predictor on one series.
#[derive(Clone, Debug, PartialEq)]
pub struct StudyRow {
    /// Which.
    pub contender: Contender,
    /// Bands that were compared with what came. The shares below are 0 without any.
    pub forecasts: u64,
    /// Share of values not above the upper end.
    pub coverage: f64,
    /// Share of values not below the lower end.
    pub low_coverage: f64,
    /// Share of the highest values of the hold not above their upper end; `None` before one was over.
    pub peak_coverage: Option<f64>,
    /// Mean pinball loss of the upper end, over the mean value.
    pub pinball: f64,
    /// Mean absolute error of the point, over the mean value.
    pub error: f64,
    /// What each part of it is trusted with at the end.
    pub weights: Vec<(String, f64)>,
}

impl Study {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(outlook: Outlook) -> Self {
        let book = |contender: Contender| Book {
            contender,
            series: contender.series(),
            open: VecDeque::new(),
            forecasts: 0,
            within: 0.0,
            above_low: 0.0,
            loss: 0.0,
            error: 0.0,
            seen: 0.0,
        };
        Self { outlook, books: Contender::ALL.into_iter().map(book).collect() }
    }

    /// Takes in a value: it judges what was said of it, and is learned from.
    pub fn learn(&mut self, at: Timestamp, value: f64) {
        for book in &mut self.books {
            book.judge(at, value, self.outlook.quantile);
            book.series.learn(at, value, self.outlook);
            if let Some(band) = book.series.band() {
                book.open.push_back((at.plus(self.outlook.lead), band));
            }
        }
    }

    /// What came of each, in the order of [`Contender::ALL`].
    #[must_use]
    pub fn rows(&self) -> Vec<StudyRow> {
        self.books.iter().map(Book::row).collect()
    }
}

impl Book {
    fn judge(&mut self, at: Timestamp, value: f64, quantile: f64) {
        while let Some((due, band)) = self.open.front().copied().filter(|(due, _)| *due <= at) {
            self.open.pop_front();
            // Only the newest of several that a gap made due is about this moment.
            if self.open.front().is_some_and(|(next, _)| *next <= at) || due < at.minus(LATEST) {
                continue;
            }
            let one = |yes| if yes { 1.0 } else { 0.0 };
            self.forecasts += 1;
            self.within += one(value <= band.high);
            self.above_low += one(value >= band.low);
            self.loss += pinball(value, band.high, quantile);
            self.error += (value - band.point).abs();
            self.seen += value;
        }
    }

    fn row(&self) -> StudyRow {
        let n = (self.forecasts as f64).max(1.0);
        let seen = self.seen.max(f64::MIN_POSITIVE);
        StudyRow {
            contender: self.contender,
            forecasts: self.forecasts,
            coverage: self.within / n,
            low_coverage: self.above_low / n,
            peak_coverage: self.series.coverage().1,
            pinball: self.loss / seen,
            error: self.error / seen,
            weights: self.series.trusted(),
        }
    }
}

/// A value this much after the horizon says nothing of it.
const LATEST: std::time::Duration = std::time::Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const TICK: i64 = 10_000;
    const OUTLOOK: Outlook =
        Outlook { lead: Duration::from_secs(130), hold: Duration::from_secs(60), quantile: 0.95 };

    fn studied(ticks: i64, load: impl Fn(f64) -> f64) -> Vec<StudyRow> {
        let mut study = Study::new(OUTLOOK);
        for i in 0..ticks {
            study.learn(Timestamp::from_millis(i * TICK), load(i as f64 * 10.0));
        }
        study.rows()
    }

    /// A number from -1 to 1 that looks drawn.
    fn noise(t: f64) -> f64 {
        (t * 12.9898).sin() * 43_758.545_3 % 1.0
    }

    #[test]
    fn the_upper_end_covers_what_it_says_and_all_are_judged_on_the_same_values() {
        let rows = studied(4000, |t| 20.0 + 5.0 * (t / 3000.0).sin() + 3.0 * noise(t));
        assert_eq!(rows.len(), Contender::ALL.len());
        for row in &rows {
            assert_eq!(row.forecasts, 4000 - 13, "{row:?}");
            assert!((0.93..=0.97).contains(&row.coverage), "{row:?}");
            assert!((0.93..=0.97).contains(&row.low_coverage), "{row:?}");
            assert!((0.93..=0.97).contains(&row.peak_coverage.unwrap()), "{row:?}");
        }
        let least = rows[1..].iter().map(|r| r.pinball).fold(f64::INFINITY, f64::min);
        assert!(rows[0].pinball < 1.1 * least, "auto {} best {least}", rows[0].pinball);
    }

    #[test]
    fn a_band_stays_honest_when_the_times_change() {
        let rows = studied(6000, |t| {
            let wild = if t > 30_000.0 { 8.0 } else { 1.0 };
            20.0 + wild * noise(t)
        });
        for row in &rows {
            assert!((0.93..=0.97).contains(&row.coverage), "{row:?}");
        }
    }

    #[test]
    fn on_a_service_with_days_the_season_is_worth_something() {
        let day = |t: f64| 40.0 + 30.0 * (t / 86_400.0 * std::f64::consts::TAU).sin() + noise(t);
        let mut study = Study::new(Outlook { lead: Duration::from_secs(3600), ..OUTLOOK });
        for i in 0..7 * 1440 {
            study.learn(Timestamp::from_millis(i * 60_000), day(i as f64 * 60.0));
        }
        let rows = study.rows();
        let of = |contender| rows.iter().find(|r| r.contender == contender).unwrap().error;
        let (last, prophet) =
            (of(Contender::Named(Predictor::Constant)), of(Contender::Named(Predictor::Prophet)));
        assert!(prophet < 0.7 * last, "prophet {prophet}, last value {last}");
        assert!(of(Contender::SeasonalNaive) < last);
    }

    #[test]
    fn a_gap_judges_nobody() {
        let mut study = Study::new(OUTLOOK);
        for i in 0..100 {
            study.learn(Timestamp::from_millis(i * TICK), 10.0);
        }
        let before = study.rows()[0].forecasts;
        study.learn(Timestamp::from_millis(1000 * TICK), 1000.0);
        assert_eq!(study.rows()[0].forecasts, before);
    }
}
