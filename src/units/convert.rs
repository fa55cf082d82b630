//! The only place where a float becomes an integer.

/// Rounds up, saturating at 0 and `u32::MAX`; NaN becomes 0.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` from float saturates and maps NaN to 0, which is what is promised"
)]
pub fn ceil_to_u32(x: f64) -> u32 {
    x.ceil() as u32
}

/// Rounds down, saturating at 0 and `u32::MAX`; NaN becomes 0.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` from float saturates and maps NaN to 0, which is what is promised"
)]
pub fn floor_to_u32(x: f64) -> u32 {
    x.floor() as u32
}

/// Rounds half to even (Python's `round`), saturating at 0 and `u32::MAX`; NaN becomes 0.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` from float saturates and maps NaN to 0, which is what is promised"
)]
pub fn round_to_u32(x: f64) -> u32 {
    x.round_ties_even() as u32
}

/// Rounds to the nearest, saturating at 0 and `u64::MAX`; NaN becomes 0.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "`as` from float saturates and maps NaN to 0, which is what is promised"
)]
pub fn round_to_u64(x: f64) -> u64 {
    x.round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mad_floats_saturate() {
        assert_eq!(ceil_to_u32(f64::NAN), 0);
        assert_eq!(ceil_to_u32(-3.0), 0);
        assert_eq!(ceil_to_u32(1e300), u32::MAX);
        assert_eq!(ceil_to_u32(2.1), 3);
        assert_eq!(floor_to_u32(2.9), 2);
        assert_eq!(round_to_u32(2.5), 2);
        assert_eq!(round_to_u32(3.5), 4);
        assert_eq!(round_to_u64(f64::INFINITY), u64::MAX);
    }
}
