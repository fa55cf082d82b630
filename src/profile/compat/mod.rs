//! What the planner of Dynamo 0.9.0 makes of a performance table, to compare with.
//!
//! Written from the published methods: a not-a-knot cubic spline for prefill; for decode a
//! piecewise cubic Clough-Tocher surface over a Delaunay triangulation with gradients of least
//! curvature, sampled on a grid of 100 by 100, filled with the nearest point outside the hull and
//! read by rounding. It overshoots, goes negative and answers far outside its data without saying
//! so: nothing of ours plans with it. Its numbers are therefore plain floats.

mod clough_tocher;
mod decode;
mod prefill;
mod spline;

pub use decode::{Best, DynamoDecode};
pub use prefill::DynamoPrefill;
