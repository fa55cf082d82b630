//! Request traces: what arrived when, and how long it was.
//!
//! [`Reader`] streams a trace from any [`std::io::BufRead`], so that a day of requests needs no more
//! memory than one line, and [`intervals`] sums it up as a planner would have seen it. Times are
//! milliseconds from the start of the trace. Nothing is repaired on the way: a trace that is not
//! sorted, or has a request without output, is refused with the line that says so.

mod error;
mod interval;
pub mod ops;
mod reader;
mod recalled;
mod request;
mod synthetic;
mod window;

pub use error::{Problem, TraceError};
pub use interval::{Interval, Intervals, Moments, intervals};
pub use reader::{Format, Reader};
pub use recalled::{recalled, unknown};
pub use request::Request;
pub use synthetic::{LengthLaw, Requests, Shape, Synthetic, SyntheticError};
pub use window::{Windows, before, windows};
