//! The Lease as a record, and the patches that change it.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::ObjectMeta;
use serde_json::{Value, json};

use super::state::{Found, RELEASED, Record, Write};

/// What a Lease says.
pub(in crate::controllers) fn found(lease: Lease) -> Found {
    let Lease { metadata, spec } = lease;
    let LeaseSpec {
        acquire_time,
        holder_identity,
        lease_duration_seconds,
        lease_transitions,
        preferred_holder: _,
        renew_time,
        strategy: _,
    } = spec.unwrap_or_default();
    let seconds = lease_duration_seconds.and_then(|s| u64::try_from(s).ok());
    let record = Record {
        holder: holder_identity.filter(|holder| !holder.is_empty()),
        duration: seconds.map(Duration::from_secs),
        transitions: lease_transitions.unwrap_or(0),
        times: (acquire_time.map(|t| t.0), renew_time.map(|t| t.0)),
    };
    Found { record, version: metadata.resource_version.unwrap_or_default() }
}

/// What a write sends.
pub(super) enum Sent {
    /// An object to make.
    Object(Box<Lease>),
    /// A merge patch that is refused where the version is another one.
    Patch(Value),
}

/// What to send for a write. `now` is the wall clock, for people.
pub(super) fn sent(
    what: &Write,
    (name, me): (&str, &str),
    duration: Duration,
    now: jiff::Timestamp,
) -> Sent {
    let (seconds, now) = (whole_seconds(duration), MicroTime(now));
    let patch = |over: &str, spec: Value| {
        Sent::Patch(json!({"metadata": {"resourceVersion": over}, "spec": spec}))
    };
    match what {
        Write::Create => Sent::Object(Box::new(Lease {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            spec: Some(LeaseSpec {
                holder_identity: Some(me.to_owned()),
                lease_duration_seconds: Some(seconds),
                lease_transitions: Some(0),
                acquire_time: Some(now.clone()),
                renew_time: Some(now),
                ..LeaseSpec::default()
            }),
        })),
        Write::Claim { over, transitions } => patch(
            over,
            json!({
                "holderIdentity": me, "leaseDurationSeconds": seconds,
                "leaseTransitions": transitions, "acquireTime": now, "renewTime": now
            }),
        ),
        Write::Renew { over } => patch(
            over,
            json!({"holderIdentity": me, "leaseDurationSeconds": seconds, "renewTime": now}),
        ),
        Write::Release { over } => patch(
            over,
            json!({
                "holderIdentity": "", "leaseDurationSeconds": whole_seconds(RELEASED),
                "renewTime": now
            }),
        ),
    }
}

/// Rounded up, and at least one: the API server takes no lease of no time.
fn whole_seconds(duration: Duration) -> i32 {
    let up = duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0));
    i32::try_from(up.max(1)).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: (&str, &str) = ("the-lease", "me");
    const SECONDS: Duration = Duration::from_secs(15);

    fn at(second: i64) -> jiff::Timestamp {
        jiff::Timestamp::from_second(second).unwrap()
    }

    /// As the API server would have it after a merge patch.
    fn after(lease: &Lease, what: &Write, now: jiff::Timestamp) -> Lease {
        let Sent::Patch(patch) = sent(what, NAMES, SECONDS, now) else { panic!("{what:?}") };
        let mut value = serde_json::to_value(lease).unwrap();
        json_patch::merge(&mut value, &patch);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn what_is_written_is_read_again() {
        let Sent::Object(mut lease) = sent(&Write::Create, NAMES, SECONDS, at(100)) else {
            panic!("an object")
        };
        assert_eq!(lease.metadata.name.as_deref(), Some("the-lease"));
        lease.metadata.resource_version = Some("7".to_owned());
        let mut expected = Record {
            holder: Some("me".to_owned()),
            duration: Some(SECONDS),
            transitions: 0,
            times: (Some(at(100)), Some(at(100))),
        };
        let made = found(*lease.clone());
        assert_eq!((&made.record, made.version.as_str()), (&expected, "7"));

        let over = "7".to_owned();
        let renewed = after(&lease, &Write::Renew { over: over.clone() }, at(102));
        expected.times.1 = Some(at(102));
        assert_eq!(found(renewed).record, expected);

        let claim = Write::Claim { over: over.clone(), transitions: 4 };
        let claimed = after(&lease, &claim, at(103));
        expected = Record { transitions: 4, times: (Some(at(103)), Some(at(103))), ..expected };
        assert_eq!(found(claimed).record, expected);

        let released = found(after(&lease, &Write::Release { over }, at(104))).record;
        assert_eq!((released.holder, released.duration), (None, Some(RELEASED)));
    }

    #[test]
    fn a_write_names_the_version_and_keeps_what_it_does_not_know() {
        let over = "41".to_owned();
        let Sent::Patch(patch) = sent(&Write::Renew { over }, NAMES, SECONDS, at(5)) else {
            panic!("a patch")
        };
        assert_eq!(
            patch,
            json!({
                "metadata": {"resourceVersion": "41"},
                "spec": {
                    "holderIdentity": "me", "leaseDurationSeconds": 15,
                    "renewTime": "1970-01-01T00:00:05.000000Z"
                }
            })
        );
    }

    #[test]
    fn an_empty_lease_is_nobodys() {
        assert_eq!(found(Lease::default()).record, Record::default());
        let odd = json!({"spec": {"holderIdentity": "", "leaseDurationSeconds": -1}});
        assert_eq!(found(serde_json::from_value(odd).unwrap()).record, Record::default());
    }

    #[test]
    fn seconds_are_whole() {
        for (millis, seconds) in [(0, 1), (1, 1), (1000, 1), (1001, 2), (15_000, 15)] {
            assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
        }
        assert_eq!(whole_seconds(Duration::MAX), i32::MAX);
    }
}
