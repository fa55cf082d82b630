//! Azure's published CSV: `TIMESTAMP,ContextTokens,GeneratedTokens`, with times such as
//! `2023-11-16 18:15:46.6805900`.

use super::{AZURE, Problem, Request, SOME_TOKENS, TOKENS, csv_number, excerpt};
use crate::units::Timestamp;

const DATE: &str = "a date such as 2023-11-16 18:15:46.6805900";

/// A line; its time in milliseconds since 1970.
pub(super) fn parse(line: &str) -> Result<Request, Problem> {
    let fields: Vec<&str> = line.split(',').map(str::trim).collect();
    let field = |column: usize, expected| match fields.get(column) {
        None | Some(&"") => Err(Problem::Absent { field: AZURE[column], expected }),
        Some(text) => Ok(*text),
    };
    let time = field(0, DATE)?;
    let at = millis(time).ok_or_else(|| Problem::Value {
        field: AZURE[0],
        expected: DATE,
        found: excerpt(time),
    })?;
    let isl = csv_number(field(1, TOKENS)?, AZURE[1], TOKENS)?;
    let osl = csv_number(field(2, SOME_TOKENS)?, AZURE[2], SOME_TOKENS)?;
    if fields.len() > AZURE.len() {
        return Err(Problem::Columns { expected: AZURE.len() });
    }
    if osl == 0 {
        let found = "0".to_owned();
        return Err(Problem::Value { field: AZURE[2], expected: SOME_TOKENS, found });
    }
    Ok(Request { at: Timestamp::from_millis(at), isl, osl, prefix_hit: None })
}

/// Milliseconds since 1970, what is finer rounded down. The files of 2024 have `+00:00` behind the
/// time; any other zone is refused.
fn millis(text: &str) -> Option<i64> {
    let text = text.strip_suffix("+00:00").or_else(|| text.strip_suffix('Z')).unwrap_or(text);
    let (date, time) = text.split_once([' ', 'T'])?;
    let [year, month, day] = numbers(date, '-')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [hour, minute, second] = numbers(time, ':')?;
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    if !in_range || fraction.is_empty() || !fraction.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let padded: String = fraction.chars().chain("000".chars()).take(3).collect();
    let fraction: i64 = padded.parse().ok()?;
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1000 + fraction)
}

fn numbers(text: &str, separator: char) -> Option<[i64; 3]> {
    let mut parts = text.split(separator).map(|part| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| part.parse::<i64>().ok()).flatten()
    });
    let three = [parts.next()??, parts.next()??, parts.next()??];
    parts.next().is_none().then_some(three)
}

/// Days since 1970 of a date of the Gregorian calendar, for years of four digits: March begins the
/// year, so that the leap day is its last (Hinnant, "chrono-compatible low-level date algorithms").
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year / 400, year % 400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::super::{Format, Reader};
    use super::*;

    const HEADER: &str = "TIMESTAMP,ContextTokens,GeneratedTokens\n";

    fn read(lines: &str) -> Result<Vec<Request>, String> {
        let text = format!("{HEADER}{lines}");
        let reader = Reader::new(BufReader::new(text.as_bytes())).map_err(|e| e.to_string())?;
        assert_eq!(reader.format(), Format::Azure);
        reader.collect::<Result<_, _>>().map_err(|e| e.to_string())
    }

    #[test]
    fn times_count_from_the_first_request_over_midnight_and_leap_days() {
        let lines = "2024-02-28 23:59:59.9990000,374,44\n2024-02-29 00:00:00+00:00,396,109\n\
                     2024-03-01 00:00:00.5,1,2\n";
        let at: Vec<i64> = read(lines).unwrap().iter().map(|r| r.at.as_millis()).collect();
        assert_eq!(at, [0, 1, 86_400_501]);
        let text = format!("{HEADER}{lines}");
        let mut reader = Reader::new(text.as_bytes()).unwrap();
        assert_eq!(reader.began(), None, "nothing was read yet");
        assert!(reader.by_ref().all(|r| r.is_ok()));
        let began = reader.began().map(Timestamp::as_millis);
        assert_eq!(began, Some((days(2024, 2, 29) * 86_400 - 1) * 1000 + 999));
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2023, 11, 16), 19_677);
    }

    #[test]
    fn what_is_wrong_is_said_in_the_words_of_the_file() {
        let error = |lines: &str| read(lines).unwrap_err();
        let bad = error("16/11/2023 18:15,1,1\n");
        assert!(bad.contains("line 2") && bad.contains("TIMESTAMP: expected a date"), "{bad}");
        let bad = error("2023-11-16 18:15:46.6,1,0\n");
        assert!(bad.contains("GeneratedTokens"), "{bad}");
        let bad = error("2023-11-16 18:15:46.6,1,1\n2023-11-16 18:15:46.5,1,1\n");
        assert!(bad.contains("line 3") && bad.contains("sort the trace"), "{bad}");
        assert!(error("2023-11-16 18:15:46.6+01:00,1,1\n").contains("expected a date"));
        assert!(error("2023-11-16 18:15:46.6,1\n").contains("GeneratedTokens"));
    }
}
