//! A pair in a folder that somebody else fills: cert-manager, or a Secret mounted by hand.

use std::path::PathBuf;
use std::time::Duration;

use crate::units::Timestamp;
use crate::webhook::tls::{Pair, PairError, Serving};

/// Between two looks. A mounted Secret changes about a minute after its object; what is read is a
/// few kilobytes.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// The folder with `tls.crt` and `tls.key`.
#[derive(Debug)]
pub struct Folder {
    path: PathBuf,
    serving: Serving,
    known: Option<(Vec<u8>, Vec<u8>)>,
    /// When the certificate that is served ends.
    not_after: Option<Timestamp>,
    every: Duration,
}

/// Why the folder has no pair to serve.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// A file cannot be read.
    #[error("read {file}")]
    Read {
        /// Which.
        file: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The files are no pair; half of a change is seen so too, and the next look finds the rest.
    #[error("use tls.crt and tls.key of {folder}")]
    Pair {
        /// Where.
        folder: String,
        /// Why.
        #[source]
        source: PairError,
    },
}

impl Folder {
    /// A folder whose pair is to be served.
    #[must_use]
    pub const fn new(path: PathBuf, serving: Serving) -> Self {
        Self { path, serving, known: None, not_after: None, every: LOOK_EVERY }
    }

    /// Looks more or less often.
    #[must_use]
    pub const fn every(mut self, every: Duration) -> Self {
        self.every = every;
        self
    }

    /// Looks once, and serves what is there where it is new; answers whether it was.
    ///
    /// # Errors
    ///
    /// Where there is no pair to serve; what was served before goes on being served.
    pub async fn look(&mut self) -> Result<bool, FolderError> {
        let read = async |name: &str| {
            let file = self.path.join(name);
            tokio::fs::read(&file)
                .await
                .map_err(|source| FolderError::Read { file: file.display().to_string(), source })
        };
        let found = (read("tls.crt").await?, read("tls.key").await?);
        if self.known.as_ref() == Some(&found) {
            return Ok(false);
        }
        let pair = Pair::from_pem(&found.0, &found.1).map_err(|source| FolderError::Pair {
            folder: self.path.display().to_string(),
            source,
        })?;
        self.not_after = pair.not_after();
        self.serving.set(pair);
        self.known = Some(found);
        Ok(true)
    }

    /// Looks again and again, until dropped. `told` hears, of every look that succeeded, when the
    /// certificate that is served ends, where it says so.
    pub async fn follow(mut self, told: impl Fn(Option<Timestamp>)) {
        loop {
            let looked = self.look().await;
            if looked.is_ok() {
                told(self.not_after);
            }
            match looked {
                Ok(true) => tracing::info!(folder = %self.path.display(), "certificate read"),
                Ok(false) => {}
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, source, "certificate not read");
                }
            }
            tokio::time::sleep(self.every).await;
        }
    }
}
