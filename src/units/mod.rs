//! Quantities that carry their unit, so that milliseconds cannot be added to tokens.
//!
//! Four short names are used everywhere in this project:
//!
//! * `ttft`: time to first token, from the arrival of a request at the frontend to its first
//!   output token; milliseconds.
//! * `itl`: inter-token latency, the mean time between the output tokens of one request;
//!   milliseconds a token.
//! * `isl`: input sequence length, the tokens of a prompt.
//! * `osl`: output sequence length, the tokens generated for a request.
//!
//! All quantities are finite and not negative: a value that is neither cannot be made. Unknown is
//! never a zero here; it is an absent value in the room that knows why ([`crate::observe`]).

mod convert;
mod duration;
mod predictor;
mod quantity;
mod role;
mod time;

pub use convert::{ceil_to_u32, floor_to_u32, round_to_u32, round_to_u64};
pub use duration::{TextError, format_duration, parse_duration};
pub use predictor::{NoPredictor, Predictor};
pub use quantity::{Gpus, Millis, PerSecond, Percentile, Replicas, Share, Tokens};
pub use role::Role;
pub use time::{Timestamp, millis_of, seconds_of};
