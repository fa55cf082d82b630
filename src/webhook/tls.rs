//! The certificate that is served, changed between two handshakes without touching a connection.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use thiserror::Error;

use super::certs::end::not_after;
use crate::units::Timestamp;

/// A certificate chain with its key, known to fit together.
#[derive(Clone)]
pub struct Pair(Arc<CertifiedKey>);

/// Why two texts are no certificate with its key.
#[derive(Debug, Error)]
pub enum PairError {
    /// The certificate cannot be read.
    #[error("read the certificate (PEM): {0}")]
    Certificate(String),
    /// The key cannot be read.
    #[error("read the private key (PEM): {0}")]
    Key(String),
    /// They do not belong together, or the key is of a kind that is not supported.
    #[error("use the private key with the certificate: {0}")]
    Mismatch(#[from] rustls::Error),
}

impl Pair {
    /// Reads a chain and its key.
    ///
    /// # Errors
    ///
    /// Where either cannot be read or the key is not that of the first certificate.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        let chain = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|e| PairError::Certificate(e.to_string()))?;
        if chain.is_empty() {
            return Err(PairError::Certificate("no CERTIFICATE block".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|e| PairError::Key(e.to_string()))?;
        Ok(Self(Arc::new(CertifiedKey::from_der(chain, key, &provider())?)))
    }

    /// When its certificate ends; `None` where that cannot be read.
    #[must_use]
    pub fn not_after(&self) -> Option<Timestamp> {
        not_after(self.0.cert.first()?)
    }
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pair").field(&"[redacted]").finish()
    }
}

/// What is served from now on. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Serving(Arc<RwLock<Option<Pair>>>);

impl Serving {
    /// Serves this pair to whoever connects from now on.
    pub fn set(&self, pair: Pair) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Some(pair);
    }

    /// Whether there is something to serve.
    #[must_use]
    pub fn is_set(&self) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// The TLS side of the server. Only HTTP/1.1 is offered: what HTTP/2 adds is a larger surface,
    /// and Dynamo's operator has it off as well.
    ///
    /// # Panics
    ///
    /// Never: the versions are those that the provider brings.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("the provider knows the default versions of TLS")
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(self.clone()));
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Arc::new(config)
    }
}

impl ResolvesServerCert for Serving {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let pair = self.0.read().unwrap_or_else(PoisonError::into_inner);
        pair.as_ref().map(|pair| Arc::clone(&pair.0))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}
