//! `sla-planner run` as a process, from the traffic in a real Prometheus to the pods of a real API
//! server. NVIDIA's operator and the frontend are doubles, everything else is what a user runs.
//!
//! [`scene`] is the deployment and the planner beside it; the other files are tests of what it does
//! with the load, with faults, and with the rights it has (its own and those of `deploy/`), and of how
//! it ends. [`service`] is the one that plans for several deployments.

mod deployed;
mod drop_in;
mod ending;
mod faults;
mod load;
mod pains;
mod rights;
mod rivals;
mod scene;
mod service;
mod surroundings;
mod v1beta1;
