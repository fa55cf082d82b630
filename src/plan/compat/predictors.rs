//! The `constant` and `kalman` predictors of Dynamo 0.9.0.

/// What both do with a value before they use it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Intake {
    started: bool,
}

impl Intake {
    /// Not a number is 0; zeros before the first other value are dropped, later ones are kept.
    fn take(&mut self, value: f64) -> Option<f64> {
        let value = if value.is_nan() { 0.0 } else { value };
        self.started |= value != 0.0;
        self.started.then_some(value)
    }
}

/// The last value.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Constant {
    intake: Intake,
    last: f64,
}

impl Constant {
    /// Takes the value of the interval that ended.
    pub fn add(&mut self, value: f64) {
        if let Some(value) = self.intake.take(value) {
            self.last = value;
        }
    }

    /// The value of the next interval; 0 before the first.
    #[must_use]
    pub const fn predict(&self) -> f64 {
        self.last
    }
}

/// A Kalman filter of a level and its trend, with the defaults of Dynamo 0.9.0: process noise 1.0 and
/// 0.1, measurement noise 10.0, first covariance 1000. Raw predictions may be negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kalman {
    intake: Intake,
    log1p: bool,
    state: Option<State>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct State {
    level: f64,
    trend: f64,
    /// Covariance: of the level, of both, of the trend.
    p: [f64; 3],
    /// Whether the state is already that of the next interval.
    predicted: bool,
}

const Q_LEVEL: f64 = 1.0;
const Q_TREND: f64 = 0.1;
const R: f64 = 10.0;
const P0: f64 = 1000.0;

impl Kalman {
    /// With `log1p`, the filter works on `ln(1 + value)`.
    #[must_use]
    pub fn new(log1p: bool) -> Self {
        Self { intake: Intake::default(), log1p, state: None }
    }

    /// Takes the value of the interval that ended.
    pub fn add(&mut self, value: f64) {
        let Some(value) = self.intake.take(value) else { return };
        let z = if self.log1p { value.max(0.0).ln_1p() } else { value };
        match &mut self.state {
            None => {
                let p = [P0, 0.0, P0];
                self.state = Some(State { level: z, trend: 0.0, p, predicted: false });
            }
            Some(state) => {
                state.predict();
                state.update(z);
            }
        }
    }

    /// The value of the next interval; 0 before the first. Asking twice changes nothing.
    #[must_use]
    pub fn predict(&mut self) -> f64 {
        let Some(state) = &mut self.state else { return 0.0 };
        state.predict();
        if self.log1p { state.level.exp_m1().max(0.0) } else { state.level }
    }
}

impl State {
    fn predict(&mut self) {
        if self.predicted {
            return;
        }
        self.level += self.trend;
        let [a, b, d] = self.p;
        self.p = [a + 2.0 * b + d + Q_LEVEL, b + d, d + Q_TREND];
        self.predicted = true;
    }

    fn update(&mut self, z: f64) {
        let [a, b, d] = self.p;
        let (gain_level, gain_trend) = (a / (a + R), b / (a + R));
        let error = z - self.level;
        self.level += gain_level * error;
        self.trend += gain_trend * error;
        self.p = [(1.0 - gain_level) * a, (1.0 - gain_level) * b, d - gain_trend * b];
        self.predicted = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEEN: [f64; 12] =
        [100.0, 120.0, 140.0, 160.0, 180.0, 200.0, 200.0, 200.0, 50.0, 0.0, 0.0, 300.0];

    fn agrees(log1p: bool, printed: [f64; 12]) {
        let mut k = Kalman::new(log1p);
        for (value, want) in SEEN.into_iter().zip(printed) {
            k.add(value);
            assert!((k.predict() - want).abs() < 5.1e-5, "{} not {want}", k.predict());
        }
    }

    #[test]
    fn kalman_predicts_what_dynamo_printed() {
        agrees(
            false,
            [
                100.0, 129.8458, 159.4160, 179.7953, 199.8956, 219.9369, 225.6645, 226.1759,
                136.2012, 56.0217, 8.9969, 138.0108,
            ],
        );
        agrees(
            true,
            [
                100.0, 131.2552, 162.7463, 185.1749, 207.6408, 230.2836, 236.3775, 236.0068,
                103.3559, 6.3286, 0.5288, 11.0502,
            ],
        );
    }

    #[test]
    fn raw_kalman_goes_negative_as_reported() {
        let mut k = Kalman::new(false);
        for z in [1000.0, 10.0] {
            k.add(z);
            assert!(k.predict().is_finite());
        }
        assert!((k.predict() + 477.0).abs() < 0.5, "{}", k.predict());
    }

    #[test]
    fn leading_zeros_are_dropped_and_later_ones_are_not() {
        let mut c = Constant::default();
        assert_eq!(c.predict(), 0.0);
        for (value, want) in [(0.0, 0.0), (f64::NAN, 0.0), (7.0, 7.0), (0.0, 0.0)] {
            c.add(value);
            assert_eq!(c.predict(), want);
        }
        let (mut late, mut early) = (Kalman::new(false), Kalman::new(false));
        for v in [0.0, 0.0, 5.0, 6.0] {
            late.add(v);
        }
        for v in [5.0, 6.0] {
            early.add(v);
        }
        assert_eq!(late.predict(), early.predict());
    }
}
