//! An authority that signs one certificate and is forgotten.

use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use thiserror::Error;
use time::OffsetDateTime;

use crate::units::Timestamp;

/// How far a certificate reaches back before its making: the clocks of API servers and ours may
/// differ, and a certificate that begins in the future is refused.
const CLOCK_SKEW: Duration = Duration::from_secs(60 * 60);

/// A fresh certificate, its key and the authority to trust, each as PEM.
#[derive(Clone, PartialEq, Eq)]
pub struct Made {
    /// The authority.
    pub ca: String,
    /// The certificate.
    pub cert: String,
    /// Its key.
    pub key: String,
    /// When both end.
    pub not_after: Timestamp,
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { ca, cert, key: _, not_after } = self;
        let mut shown = f.debug_struct("Made");
        shown.field("ca", ca).field("cert", cert).field("key", &"[redacted]");
        shown.field("not_after", not_after).finish()
    }
}

/// Why no certificate could be made.
#[derive(Debug, Error)]
#[error("make a certificate for {names}: {source}")]
pub struct MakeError {
    names: String,
    source: rcgen::Error,
}

/// Makes a certificate for these names (DNS names and IP addresses).
///
/// # Errors
///
/// Where a name is none that a certificate can carry.
pub fn make(names: &[String], validity: Duration, now: Timestamp) -> Result<Made, MakeError> {
    let not_after = now.plus(validity);
    sign(names, now, not_after)
        .map(|(ca, cert, key)| Made { ca, cert, key, not_after })
        .map_err(|source| MakeError { names: names.join(", "), source })
}

fn sign(
    names: &[String],
    now: Timestamp,
    not_after: Timestamp,
) -> Result<(String, String, String), rcgen::Error> {
    let mut ca = CertificateParams::default();
    // Two authorities stand in one bundle during a renewal; by their names they are told apart.
    let about = format!("sla-planner webhook authority {}", now.as_millis() / 1000);
    ca.distinguished_name.push(DnType::CommonName, about);
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    ca.not_before = date(now.minus(CLOCK_SKEW));
    ca.not_after = date(not_after);
    let ca_key = KeyPair::generate()?;
    let ca_pem = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);

    let mut leaf = CertificateParams::new(names.to_vec())?;
    leaf.distinguished_name.push(DnType::CommonName, "sla-planner webhook");
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    leaf.use_authority_key_identifier_extension = true;
    leaf.not_before = date(now.minus(CLOCK_SKEW));
    leaf.not_after = date(not_after);
    let key = KeyPair::generate()?;
    let cert = leaf.signed_by(&key, &issuer)?.pem();
    Ok((ca_pem, cert, key.serialize_pem()))
}

/// A moment as certificates write it; one that they cannot write becomes the nearest they can.
fn date(at: Timestamp) -> OffsetDateTime {
    /// The end of the year 9999, after which there is no date in a certificate.
    const LAST: i64 = 253_402_300_799;
    let seconds = at.as_millis().div_euclid(1000).clamp(0, LAST);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
