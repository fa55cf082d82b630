//! Admission: what Dynamo's operator refuses and fills in, as pure functions behind a thin server.
//!
//! * [`answer`] is the whole of the judgement: one [`Request`] and the [`Rules`] in, one [`Answer`]
//!   out. It knows no clock, no network and no cluster, and no request makes it panic. What it reads
//!   is JSON of any shape: an object may come before its schema was looked at.
//! * [`DOORS`] are the paths, those of Dynamo's operator in both generations.
//! * [`Server`] is HTTPS in front of it, with limits on everything that a stranger can send.
//! * [`certs`] makes the certificate, shares it between replicas and changes it while requests run.
//!
//! Where Dynamo documents a message, ours begins with it word for word: people and tools know it.
//! What we add (the value found, the way out) follows after a semicolon.
//!
//! Differences from Dynamo, all of them stricter or kinder by intent: the replica guard also holds
//! in the update that switches the adapter off; who may pass it is an exact name; the spec of a
//! request that is being profiled is refused at the door, where Dynamo takes it in and then halts;
//! replicas left out in an update of a scaled service keep their count.

mod answer;
pub mod certs;
mod clock;
mod desk;
mod field;
mod learnt;
mod peers;
mod request;
mod rules;
mod seldom;
mod server;
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "the tests write files and look at the clock")]
mod server_tests;
mod tls;
mod tree;

pub use answer::{Answer, Denial, PatchStep};
pub use learnt::Learnt;
pub use request::{Operation, Request, RequestError};
pub use rules::{DOORS, Door, Identities, Rules, Subject, answer};
pub use server::{BODY_LIMIT, Limits, Reviewed, Server, ServerOptions};
pub use tls::{Pair, PairError, Serving};
