//! The text form of a duration: "30s", "5m", "1h30m", "500ms".

use std::time::Duration;

/// What is wrong with a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected a duration with its unit, such as 500ms, 30s, 5m or 1h30m, found `{found}`{hint}"
)]
pub struct TextError {
    found: String,
    hint: &'static str,
}

const UNITS: [(&str, f64); 5] =
    [("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0)];

/// The longest duration that is read: a year. Anything longer is a slip of the unit.
const LONGEST: f64 = 366.0 * 86_400.0;

/// Reads a duration: one or more numbers with a unit (`ms`, `s`, `m`, `h`, `d`), biggest first.
///
/// # Errors
///
/// A number without a unit, a unit that is none, a negative number, or more than a year.
pub fn parse_duration(text: &str) -> Result<Duration, TextError> {
    let fail = |hint| TextError { found: text.to_owned(), hint };
    let trimmed = text.trim();
    if trimmed.starts_with('-') {
        return Err(fail(": it must not be negative"));
    }
    if trimmed.parse::<f64>().is_ok() {
        return Err(fail(": the unit is missing"));
    }
    let mut rest = trimmed;
    let mut seconds = 0.0;
    let mut last_unit = f64::INFINITY;
    while !rest.is_empty() {
        let digits =
            rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(|| fail(""))?;
        let (number, tail) = rest.split_at(digits);
        let letters = tail.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(letters);
        let scale = UNITS
            .iter()
            .find(|(name, _)| *name == unit)
            .map(|(_, scale)| *scale)
            .ok_or_else(|| fail(": units are ms, s, m, h and d"))?;
        if scale >= last_unit {
            return Err(fail(": the biggest unit comes first, each once"));
        }
        let number: f64 = number.parse().map_err(|_| fail(""))?;
        seconds += number * scale;
        last_unit = scale;
        rest = tail;
    }
    if trimmed.is_empty() || !seconds.is_finite() {
        return Err(fail(""));
    }
    if seconds > LONGEST {
        return Err(fail(": more than a year"));
    }
    Ok(Duration::from_secs_f64(seconds))
}

/// Writes a duration in the form that [`parse_duration`] reads, to the millisecond.
#[must_use]
pub fn format_duration(d: Duration) -> String {
    let mut ms = d.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)]
    {
        let n = ms / size;
        if n > 0 {
            out.push_str(&n.to_string());
            out.push_str(unit);
            ms %= size;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_carry_their_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("0.5s"), Ok(Duration::from_millis(500)));
        for bad in ["", "50", "-5s", "5 s", "s", "5x", "5s5s", "5s1h", "9999999h", "1e3s", "..s"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        let e = parse_duration("500").unwrap_err().to_string();
        assert!(e.contains("unit is missing"), "{e}");
    }

    #[test]
    fn what_is_written_is_read_back() {
        for ms in [0, 1, 999, 1000, 90_000, 3_600_000, 90_061_001] {
            let d = Duration::from_millis(ms);
            assert_eq!(parse_duration(&format_duration(d)), Ok(d), "{ms}");
        }
    }
}
