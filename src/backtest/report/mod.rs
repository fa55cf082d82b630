//! What a comparison looks like: a page that opens offline, and tables for a readme.
//!
//! Everything here is a function from results to text: no files, no clock. Rows keep the order in
//! which their policy first appears; groups keep the order in which theirs does. A row is a policy
//! with all seeds that it was played with.

mod charts;
mod frontier;
mod html;
mod markdown;
mod measured;
mod profile;
mod standing;
mod svg;
mod table;
#[cfg(test)]
mod tests;
mod text;

pub use frontier::{FrontierPoint, frontier_html, frontier_markdown};
pub use html::html;
pub use markdown::markdown;
pub use measured::{LATENCIES, Measured, measured_markdown};
pub use profile::profile_svg;
