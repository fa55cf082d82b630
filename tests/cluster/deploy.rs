//! What `deploy/` installs: rendered by the tools that users have, applied to the real API server.
//!
//! [`render`] runs kubectl's kustomize and Helm; [`agree`] compares what they make, without a cluster;
//! [`apply`] installs it. That the planner works with the rights it is given is in
//! `planner/deployed.rs`, and that the webhooks do in `webhook/deployed.rs`.

mod agree;
mod apply;
mod render;

pub(crate) use apply::{helm, labelled_as_restricted};
pub(crate) use render::{
    called_in_the_cluster, config_of, deploy, kustomize, manifests, of_kind, placed, rules_of,
    text_of,
};
