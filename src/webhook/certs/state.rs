//! What to do about a Secret: a pure function of its content and the time.

use std::time::Duration;

use crate::units::Timestamp;
use crate::webhook::tls::Pair;

/// What is in the Secret.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// `tls.crt`: the certificate that is served.
    pub cert: String,
    /// `tls.key`: its key.
    pub key: String,
    /// `ca.crt`: the authorities to trust, that of the newest pair first.
    pub ca: String,
    /// When the certificate ends; `None` where the Secret is not of our making.
    pub not_after: Option<Timestamp>,
    /// The names that it was made for.
    pub names: String,
    /// `next.crt` and `next.key` and when they end: the pair that comes next.
    pub next: Option<(String, String, Timestamp)>,
}

/// What is wanted of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The names to be served under.
    pub names: Vec<String>,
    /// How long a certificate is good.
    pub validity: Duration,
    /// How long API servers may take to see a changed `caBundle`.
    pub settle: Duration,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing: serve what is there.
    Keep,
    /// Make a pair and serve it at once, since there is none that could be served.
    Begin,
    /// Put back what is served, since it is not there any more.
    Restore,
    /// Make the next pair and trust both.
    Prepare,
    /// Serve the next pair from now on.
    Promote,
}

/// What to do about the Secret. `served` is what it last held that could be served, by us and so by
/// the other replicas: what API servers trust. `trusted` is since when the registration is known to
/// trust every authority of the bundle; `None` where it does not, or where that is not known.
#[must_use]
pub fn decide(
    stored: Option<&Stored>,
    served: Option<&Stored>,
    plan: &Plan,
    trusted: Option<Timestamp>,
    now: Timestamp,
) -> Step {
    let Some(stored) = stored.filter(|stored| stored.is_usable(now)) else {
        // Another authority at once would be one that the other replicas do not serve yet.
        let is_usable = served.is_some_and(|served| served.is_usable(now));
        return if is_usable { Step::Restore } else { Step::Begin };
    };
    if let Some((cert, key, end)) = &stored.next {
        if *end <= now || Pair::from_pem(cert.as_bytes(), key.as_bytes()).is_err() {
            return Step::Prepare;
        }
        let settled = trusted.is_some_and(|since| now.since(since) >= plan.settle);
        return if settled { Step::Promote } else { Step::Keep };
    }
    // Renewed after two thirds of its life: the rest is for what may hinder a renewal.
    let is_due = stored.not_after.is_none_or(|end| end.since(now) <= plan.validity / 3);
    if is_due || stored.names != plan.names.join(",") { Step::Prepare } else { Step::Keep }
}

impl Stored {
    /// Whether its pair can be served, and trusted.
    fn is_usable(&self, now: Timestamp) -> bool {
        let is_over = self.not_after.is_some_and(|end| end <= now);
        // Without an authority nobody could trust the certificate: it is not one of ours.
        let is_trusted = self.ca.contains("BEGIN CERTIFICATE");
        !is_over && is_trusted && Pair::from_pem(self.cert.as_bytes(), self.key.as_bytes()).is_ok()
    }
}

/// The first certificate of a bundle: the authority of the newest pair.
#[must_use]
pub(super) fn newest(bundle: &str) -> &str {
    const END: &str = "-----END CERTIFICATE-----";
    bundle.find(END).map_or(bundle, |at| &bundle[..at + END.len()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::webhook::certs::make;

    const HOUR: Duration = Duration::from_secs(3600);
    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn plan() -> Plan {
        Plan { names: vec!["a.b.svc".into()], validity: HOUR * 9, settle: Duration::from_secs(60) }
    }

    fn stored() -> Stored {
        let made = make(&plan().names, plan().validity, NOW).unwrap();
        Stored {
            cert: made.cert,
            key: made.key,
            ca: made.ca,
            not_after: Some(made.not_after),
            names: "a.b.svc".to_owned(),
            next: None,
        }
    }

    fn at(stored: &Stored, after: Duration) -> Step {
        decide(Some(stored), None, &plan(), Some(NOW), NOW.plus(after))
    }

    #[test]
    fn nothing_or_something_unusable_begins_anew() {
        assert_eq!(decide(None, None, &plan(), None, NOW), Step::Begin);
        let empty = Stored { not_after: Some(NOW.plus(HOUR)), ..Stored::default() };
        assert_eq!(at(&empty, Duration::ZERO), Step::Begin);
        let other_key = Stored { key: stored().key, ..stored() };
        assert_eq!(at(&other_key, Duration::ZERO), Step::Begin);
        let no_authority = Stored { ca: String::new(), ..stored() };
        assert_eq!(at(&no_authority, Duration::ZERO), Step::Begin);
        assert_eq!(at(&stored(), HOUR * 9), Step::Begin, "it has ended");
    }

    #[test]
    fn what_is_served_is_put_back_as_long_as_it_is_good() {
        let served = stored();
        let after = |found: Option<&Stored>, after: Duration| {
            decide(found, Some(&served), &plan(), Some(NOW), NOW.plus(after))
        };
        let empty = Stored::default();
        for found in [None, Some(&empty)] {
            assert_eq!(after(found, HOUR), Step::Restore);
            assert_eq!(after(found, HOUR * 9), Step::Begin, "it has ended");
        }
        let another = stored();
        assert_eq!(after(Some(&another), HOUR), Step::Keep, "another replica was there");
    }

    #[test]
    fn a_renewal_is_prepared_after_two_thirds_or_for_other_names_or_for_a_strangers_certificate() {
        assert_eq!(at(&stored(), HOUR * 5), Step::Keep);
        assert_eq!(at(&stored(), HOUR * 6), Step::Prepare);
        let renamed = Stored { names: "c.d.svc".to_owned(), ..stored() };
        assert_eq!(at(&renamed, Duration::ZERO), Step::Prepare);
        let strangers = Stored { not_after: None, ..stored() };
        assert_eq!(at(&strangers, Duration::ZERO), Step::Prepare);
    }

    #[test]
    fn the_next_pair_waits_until_it_is_trusted_long_enough() {
        let next = make(&plan().names, plan().validity, NOW.plus(HOUR)).unwrap();
        let next = Some((next.cert, next.key, next.not_after));
        let both = Stored { next, ..stored() };
        assert_eq!(at(&both, Duration::from_secs(59)), Step::Keep);
        assert_eq!(at(&both, Duration::from_secs(60)), Step::Promote);
        assert_eq!(decide(Some(&both), None, &plan(), None, NOW.plus(HOUR)), Step::Keep);
        let mut broken = both;
        broken.next.as_mut().unwrap().1.clear();
        assert_eq!(at(&broken, HOUR), Step::Prepare);
    }

    #[test]
    fn the_newest_authority_is_the_first_of_the_bundle() {
        let (a, b) = (stored().ca, stored().ca);
        assert_ne!(a, b);
        assert_eq!(newest(&format!("{a}{b}")), a.trim_end());
        assert_eq!(newest("no certificate"), "no certificate");
    }
}
