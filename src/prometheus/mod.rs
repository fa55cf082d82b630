//! The observer: what Prometheus knows about one deployment, decoded into [`crate::observe`].
//!
//! One tick is one request. [`query`](union_query) writes all questions as one PromQL expression, so
//! that they are answered at one instant, [`Client`] sends it, [`decode_answer`] reads the wire and
//! [`decode_traffic`] says of every figure whether it is fresh, late, frozen, contradictory or
//! missing. Query text and decoding are pure; only [`Client`], [`Observer`] and [`Preflight`] do IO.

mod client;
mod decode;
mod error;
mod history;
mod observer;
mod preflight;
mod query;
mod traffic;

pub use client::{Client, Endpoint};
pub use decode::{Answer, DecodeError, Sample, Series, decode_answer, decode_matrix};
pub use error::PrometheusError;
pub use history::{decode_history, history};
pub use observer::{Observer, Sighting};
pub use preflight::{Preflight, SeriesCheck, explain_queries};
pub use query::{PART_LABEL, Part, Question, Selector, part_query, union_query};
pub use traffic::{Progress, Rules, decode_traffic};
