//! One-dimensional arithmetic: isotonic regression, monotone cubic, small least squares.

/// Makes `values` non-decreasing with the least change in squares (pool adjacent violators,
/// Ayer et al. 1955, equal weights).
///
/// Each output is non-decreasing in every input, which is what keeps a surface monotone when it is
/// applied across its rows.
pub(super) fn isotonic(values: &mut [f64]) {
    if values.is_sorted() {
        return;
    }
    let mut blocks: Vec<(f64, usize)> = Vec::with_capacity(values.len());
    for &v in values.iter() {
        let mut block = (v, 1);
        while let Some(&(mean, n)) = blocks.last()
            && mean > block.0
        {
            blocks.pop();
            let total = n + block.1;
            block = ((mean * n as f64 + block.0 * block.1 as f64) / total as f64, total);
        }
        blocks.push(block);
    }
    let mut rest = values;
    for (mean, n) in blocks {
        let (block, tail) = rest.split_at_mut(n);
        block.fill(mean);
        rest = tail;
    }
}

/// A monotone piecewise cubic through points (PCHIP: Fritsch and Carlson 1980, with the slopes of
/// Fritsch and Butland 1984). Monotone wherever the points are; never overshoots.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Pchip {
    x: Vec<f64>,
    y: Vec<f64>,
    slope: Vec<f64>,
}

impl Pchip {
    /// Through points of strictly growing `x`; at least one.
    pub(super) fn new(x: Vec<f64>, y: Vec<f64>) -> Self {
        let slope = slopes(&x, &y);
        Self { x, y, slope }
    }

    /// The value at `q`; outside the points, the value of the nearest.
    pub(super) fn at(&self, q: f64) -> f64 {
        let above = self.x.partition_point(|&x| x <= q);
        let Some(k) = above.checked_sub(1) else { return self.y[0] };
        if above == self.x.len() {
            return self.y[k];
        }
        let h = self.x[above] - self.x[k];
        let t = (q - self.x[k]) / h;
        let (lo, hi) = (self.y[k], self.y[above]);
        let s = 1.0 - t;
        let value = s * s * (1.0 + 2.0 * t) * lo
            + t * t * (3.0 - 2.0 * t) * hi
            + h * t * s * (s * self.slope[k] - t * self.slope[above]);
        // Exact arithmetic stays between the ends of a monotone segment; rounding may not.
        value.clamp(lo.min(hi), lo.max(hi))
    }

    /// The points, by growing abscissa.
    pub(super) fn points(&self) -> impl Iterator<Item = (f64, f64)> {
        self.x.iter().copied().zip(self.y.iter().copied())
    }

    /// The first abscissa and value.
    pub(super) fn first(&self) -> (f64, f64) {
        (self.x[0], self.y[0])
    }

    /// The last abscissa and value.
    pub(super) fn last(&self) -> (f64, f64) {
        (self.x[self.x.len() - 1], self.y[self.y.len() - 1])
    }
}

fn slopes(x: &[f64], y: &[f64]) -> Vec<f64> {
    let n = x.len();
    let h: Vec<f64> = x.windows(2).map(|w| w[1] - w[0]).collect();
    let d: Vec<f64> = y.windows(2).zip(&h).map(|(w, h)| (w[1] - w[0]) / h).collect();
    match n {
        0 | 1 => return vec![0.0; n],
        2 => return vec![d[0]; 2],
        _ => {}
    }
    let mut out = Vec::with_capacity(n);
    out.push(end_slope(h[0], h[1], d[0], d[1]));
    for k in 1..n - 1 {
        let (before, after) = (d[k - 1], d[k]);
        out.push(if before * after <= 0.0 {
            0.0
        } else {
            let (w1, w2) = (2.0 * h[k] + h[k - 1], h[k] + 2.0 * h[k - 1]);
            (w1 + w2) / (w1 / before + w2 / after)
        });
    }
    out.push(end_slope(h[n - 2], h[n - 3], d[n - 2], d[n - 3]));
    out
}

/// The three-point end slope, cut so that the end segment stays monotone.
fn end_slope(h0: f64, h1: f64, d0: f64, d1: f64) -> f64 {
    let m = ((2.0 * h0 + h1) * d0 - h0 * d1) / (h0 + h1);
    if m * d0 <= 0.0 {
        0.0
    } else if d0 * d1 <= 0.0 && m.abs() > 3.0 * d0.abs() {
        3.0 * d0
    } else {
        m
    }
}

/// The slope of the least squares line, not below 0; 0 for fewer than two distinct `x`.
pub(super) fn slope_not_falling(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mx = points.iter().map(|p| p.0).sum::<f64>() / n;
    let my = points.iter().map(|p| p.1).sum::<f64>() / n;
    let sxx: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let sxy: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    if sxx > 0.0 { (sxy / sxx).max(0.0) } else { 0.0 }
}

/// Least squares of `y` on three features with every coefficient of `bounded` not below 0, by
/// looking at every set of features: with three of them that is exact and cheap.
///
/// Features should be of like size. Coefficients that the points do not determine are 0.
pub(super) fn least_squares(rows: &[([f64; 3], f64)], bounded: [bool; 3]) -> [f64; 3] {
    let mut best = ([0.0; 3], f64::INFINITY);
    // Fewer features first, so that a larger set must fit better to be taken.
    for set in [0b000_u8, 0b001, 0b010, 0b100, 0b011, 0b101, 0b110, 0b111] {
        let Some(x) = solve(rows, set) else { continue };
        if x.iter().zip(bounded).any(|(&v, b)| !v.is_finite() || (b && v < 0.0)) {
            continue;
        }
        let error: f64 =
            rows.iter().map(|(f, y)| (f[0] * x[0] + f[1] * x[1] + f[2] * x[2] - y).powi(2)).sum();
        if error < best.1 * (1.0 - 1e-9) {
            best = (x, error);
        }
    }
    best.0
}

/// The normal equations of the features in `set`, by elimination with pivoting; `None` where they
/// are singular.
fn solve(rows: &[([f64; 3], f64)], set: u8) -> Option<[f64; 3]> {
    let picked: Vec<usize> = (0..3).filter(|k| set >> k & 1 == 1).collect();
    let n = picked.len();
    let mut a = [[0.0; 4]; 3];
    for (f, y) in rows {
        for (i, &p) in picked.iter().enumerate() {
            for (j, &q) in picked.iter().enumerate() {
                a[i][j] += f[p] * f[q];
            }
            a[i][3] += f[p] * y;
        }
    }
    let scale = (0..n).map(|i| a[i][i]).fold(0.0, f64::max);
    for col in 0..n {
        let pivot = (col..n).max_by(|&i, &j| a[i][col].abs().total_cmp(&a[j][col].abs()))?;
        if a[pivot][col].abs() <= scale * 1e-12 {
            return None;
        }
        a.swap(col, pivot);
        for i in 0..n {
            if i != col {
                let factor = a[i][col] / a[col][col];
                let from = a[col];
                for (x, y) in a[i].iter_mut().zip(from).skip(col) {
                    *x -= factor * y;
                }
            }
        }
    }
    let mut out = [0.0; 3];
    for (i, &p) in picked.iter().enumerate() {
        out[p] = a[i][3] / a[i][i];
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn isotonic_pools_what_falls_and_keeps_the_mean() {
        let mut y = [1.0, 3.0, 2.0, 2.5, 5.0];
        isotonic(&mut y);
        assert_eq!(y, [1.0, 2.5, 2.5, 2.5, 5.0]);
        let mut falling = [3.0, 2.0, 1.0];
        isotonic(&mut falling);
        assert_eq!(falling, [2.0; 3]);
    }

    #[test]
    fn pchip_goes_through_its_points_and_does_not_overshoot() {
        let p = Pchip::new(vec![0.0, 1.0, 2.0, 3.0], vec![0.0, 0.0, 10.0, 10.0]);
        assert_eq!(p.at(1.0), 0.0);
        assert_eq!(p.at(2.0), 10.0);
        assert_eq!(p.at(0.5), 0.0);
        assert_eq!(p.at(2.5), 10.0);
        assert_eq!(p.at(-1.0), 0.0);
        assert_eq!(p.at(99.0), 10.0);
        let line = Pchip::new(vec![1.0, 5.0], vec![2.0, 10.0]);
        assert_eq!(line.at(2.0), 4.0);
        assert_eq!(Pchip::new(vec![1.0], vec![2.0]).at(7.0), 2.0);
    }

    #[test]
    fn pchip_agrees_with_the_published_method() {
        // scipy.interpolate.PchipInterpolator([0,1,3,4],[0,2,3,7]) at 0.5, 2 and 3.5.
        let p = Pchip::new(vec![0.0, 1.0, 3.0, 4.0], vec![0.0, 2.0, 3.0, 7.0]);
        for (q, want) in
            [(0.5, 1.2053571428571428), (2.0, 2.471042471042471), (3.5, 4.475788288288288)]
        {
            assert!((p.at(q) - want).abs() < 1e-9, "{q}: {} not {want}", p.at(q));
        }
    }

    #[test]
    fn least_squares_finds_an_exact_quadratic_and_refuses_negative_terms() {
        let rows = |c: f64| -> Vec<([f64; 3], f64)> {
            (1..6)
                .map(|i| f64::from(i) / 5.0)
                .map(|x| ([1.0, x, x * x], 2.0 + 3.0 * x + c * x * x))
                .collect()
        };
        let got = least_squares(&rows(0.5), [true; 3]);
        for (g, w) in got.iter().zip([2.0, 3.0, 0.5]) {
            assert!((g - w).abs() < 1e-6, "{got:?}");
        }
        let got = least_squares(&rows(-0.5), [false, true, true]);
        assert_eq!(got[2], 0.0);
        assert!(got[1] > 2.0);
    }

    #[test]
    fn a_falling_tail_has_no_slope() {
        assert_eq!(slope_not_falling(&[(0.0, 2.0), (1.0, 1.0)]), 0.0);
        assert_eq!(slope_not_falling(&[(0.0, 1.0), (2.0, 5.0)]), 2.0);
        assert_eq!(slope_not_falling(&[(1.0, 1.0)]), 0.0);
    }
}
