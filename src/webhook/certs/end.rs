//! When a certificate ends, read out of its DER (RFC 5280, 4.1).

use time::{Date, Month, PrimitiveDateTime, Time};

use crate::units::Timestamp;

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
/// The version, which a certificate of the first one does not have.
const VERSION: u8 = 0xa0;

/// `notAfter` of a certificate; `None` where it cannot be read. What is read was mostly written by
/// somebody else: no bytes make this panic.
pub(crate) fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = inside(SEQUENCE, der)?;
    let (signed, _) = inside(SEQUENCE, certificate)?;
    let numbered = inside(VERSION, signed).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = inside(INTEGER, numbered)?;
    let (_algorithm, rest) = inside(SEQUENCE, rest)?;
    let (_issuer, rest) = inside(SEQUENCE, rest)?;
    let (validity, _) = inside(SEQUENCE, rest)?;
    let Element { rest, .. } = element(validity)?;
    let Element { tag, content, .. } = element(rest)?;
    moment(tag, content)
}

struct Element<'a> {
    tag: u8,
    content: &'a [u8],
    /// What follows it.
    rest: &'a [u8],
}

fn element(bytes: &[u8]) -> Option<Element<'_>> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        // The length of the length; DER has none that is open.
        let count = usize::from(*first & 0x7f);
        if !(1..=4).contains(&count) {
            return None;
        }
        let (digits, rest) = rest.split_at_checked(count)?;
        (digits.iter().fold(0, |length, digit| (length << 8) | usize::from(*digit)), rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some(Element { tag: *tag, content, rest })
}

/// What is in an element of this kind, and what follows it.
fn inside(kind: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let Element { tag, content, rest } = element(bytes)?;
    (tag == kind).then_some((content, rest))
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`, by the tag.
fn moment(tag: u8, text: &[u8]) -> Option<Timestamp> {
    let digits = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return None;
    }
    let long = match tag {
        UTC_TIME => 2,
        GENERALIZED_TIME => 4,
        _ => return None,
    };
    let (year, rest) = digits.split_at_checked(long)?;
    let year: i32 = year.parse().ok()?;
    let year = match (tag, year) {
        (UTC_TIME, 50..) => 1900 + year,
        (UTC_TIME, _) => 2000 + year,
        _ => year,
    };
    if rest.len() != 10 {
        return None;
    }
    let two = |at: usize| rest.get(at..at + 2)?.parse::<u8>().ok();
    let date = Date::from_calendar_date(year, Month::try_from(two(0)?).ok()?, two(2)?).ok()?;
    let time = Time::from_hms(two(4)?, two(6)?, two(8)?).ok()?;
    let seconds = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp();
    Some(Timestamp::from_millis(seconds.checked_mul(1000)?))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::pki_types::CertificateDer;
    use rustls::pki_types::pem::PemObject as _;

    use super::super::make;
    use super::*;

    /// 2026-11-29T10:00:00Z.
    const NOW: Timestamp = Timestamp::from_millis(1_795_946_400_000);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn der(validity: Duration) -> CertificateDer<'static> {
        let made = make(&["a".to_owned()], validity, NOW).unwrap();
        CertificateDer::from_pem_slice(made.cert.as_bytes()).unwrap()
    }

    #[test]
    fn it_is_what_the_maker_said_in_both_ways_to_write_a_year() {
        // From 2050 on the year has four digits.
        for validity in [DAY, 90 * DAY, 23 * 365 * DAY, 24 * 365 * DAY, 99 * 365 * DAY] {
            assert_eq!(not_after(&der(validity)), Some(NOW.plus(validity)), "{validity:?}");
        }
    }

    #[test]
    fn a_time_is_read_by_its_tag_and_only_as_der_writes_it() {
        let at = |tag, text: &str| moment(tag, text.as_bytes()).map(Timestamp::as_millis);
        assert_eq!(at(UTC_TIME, "700101000001Z"), Some(1000));
        assert_eq!(at(UTC_TIME, "500101000000Z"), Some(-631_152_000_000));
        assert_eq!(at(GENERALIZED_TIME, "20500101000000Z"), Some(2_524_608_000_000));
        for (tag, text) in [
            (UTC_TIME, "700101000001"),
            (UTC_TIME, "7001010000Z"),
            (UTC_TIME, "70010100000+Z"),
            (UTC_TIME, "701301000000Z"),
            (UTC_TIME, "700230000000Z"),
            (UTC_TIME, "700101240000Z"),
            (GENERALIZED_TIME, "700101000000Z"),
            (GENERALIZED_TIME, "20500101000000.5Z"),
            (INTEGER, "700101000001Z"),
            (UTC_TIME, "Z"),
            (UTC_TIME, ""),
        ] {
            assert_eq!(at(tag, text), None, "{tag:#x} {text}");
        }
    }

    #[test]
    fn no_bytes_make_it_panic() {
        let whole = der(DAY);
        for end in 0..whole.len() {
            assert_eq!(not_after(whole.get(..end).unwrap()), None, "cut off at {end}");
            for bit in [0x01, 0x80, 0xff] {
                let mut bytes = whole.to_vec();
                bytes[end] ^= bit;
                let _end = not_after(&bytes);
            }
        }
    }
}
