//! The not-a-knot cubic spline.

/// A cubic spline whose third derivative is continuous at the second and the last but one point, so
/// that four points give one cubic. (De Boor, A Practical Guide to Splines, chapter IV.)
#[derive(Clone, Debug, PartialEq)]
pub(super) struct NotAKnot {
    x: Vec<f64>,
    y: Vec<f64>,
    /// Second derivatives at the points.
    second: Vec<f64>,
}

impl NotAKnot {
    /// Through at least four points of strictly growing `x`; `None` where there are fewer.
    pub(super) fn new(x: Vec<f64>, y: Vec<f64>) -> Option<Self> {
        let n = x.len();
        if n < 4 || y.len() != n {
            return None;
        }
        let h: Vec<f64> = x.windows(2).map(|w| w[1] - w[0]).collect();
        let d: Vec<f64> = y.windows(2).zip(&h).map(|(w, h)| (w[1] - w[0]) / h).collect();
        // One equation an inner point: below, diagonal, above, right side.
        let mut rows: Vec<[f64; 4]> = (1..n - 1)
            .map(|i| [h[i - 1], 2.0 * (h[i - 1] + h[i]), h[i], 6.0 * (d[i] - d[i - 1])])
            .collect();
        // The end values are the line through the two next ones: put into the first and last row.
        let (a, b) = (h[0], h[1]);
        rows[0][1] += a * (a + b) / b;
        rows[0][2] -= a * a / b;
        let (a, b) = (h[n - 2], h[n - 3]);
        let last = rows.len() - 1;
        rows[last][1] += a * (a + b) / b;
        rows[last][0] -= a * a / b;
        let inner = tridiagonal(&mut rows);
        let end = |a: f64, b: f64, near: f64, next: f64| near + (near - next) * a / b;
        let mut second = Vec::with_capacity(n);
        second.push(end(h[0], h[1], inner[0], inner[1]));
        second.extend_from_slice(&inner);
        second.push(end(h[n - 2], h[n - 3], inner[last], inner[last - 1]));
        Some(Self { x, y, second })
    }

    /// The value at `q`, which is first put into the range of the points; not a number is the first.
    pub(super) fn at_clamped(&self, q: f64) -> f64 {
        let n = self.x.len();
        let q = q.max(self.x[0]).min(self.x[n - 1]);
        let k = self.x.partition_point(|&x| x <= q).clamp(1, n - 1) - 1;
        let h = self.x[k + 1] - self.x[k];
        let (a, b) = ((self.x[k + 1] - q) / h, (q - self.x[k]) / h);
        a * self.y[k]
            + b * self.y[k + 1]
            + ((a * a * a - a) * self.second[k] + (b * b * b - b) * self.second[k + 1]) * h * h
                / 6.0
    }
}

/// Thomas's elimination.
fn tridiagonal(rows: &mut [[f64; 4]]) -> Vec<f64> {
    let n = rows.len();
    for i in 1..n {
        let before = rows[i - 1];
        let factor = rows[i][0] / before[1];
        rows[i][1] -= factor * before[2];
        rows[i][3] -= factor * before[3];
    }
    let mut out = vec![0.0; n];
    for i in (0..n).rev() {
        let above = if i + 1 < n { rows[i][2] * out[i + 1] } else { 0.0 };
        out[i] = (rows[i][3] - above) / rows[i][1];
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cubic_is_reproduced() {
        let cubic = |x: f64| 2.0 - x + 0.5 * x * x - 0.25 * x * x * x;
        for n in [4, 5, 9] {
            let x: Vec<f64> = (0..n).map(|i| f64::from(i) + f64::from(i * i) / 9.0).collect();
            let y = x.iter().map(|&x| cubic(x)).collect();
            let end = x[x.len() - 1];
            let s = NotAKnot::new(x, y).unwrap();
            for i in 0..20 {
                let q = end * f64::from(i) / 19.0;
                assert!((s.at_clamped(q) - cubic(q)).abs() < 1e-9, "{n} {q}");
            }
            assert_eq!(s.at_clamped(-5.0), s.at_clamped(0.0));
            assert_eq!(s.at_clamped(f64::NAN), s.at_clamped(0.0));
        }
        assert!(NotAKnot::new(vec![0.0, 1.0, 2.0], vec![0.0; 3]).is_none());
    }
}
