//! The edge towards Kubernetes: what we read there, and the few things that we write.
//!
//! * [`client`]: the connection, the deadline of every call, and what a refusal says.
//! * [`kinds`]: in which versions our kinds are served, and objects read in them.
//! * [`events`]: our own small publisher of Events.
//! * [`adapter`]: the controller that keeps one scaling adapter for every service that wants one, and
//!   carries its replicas to the graph.
//! * [`asking`]: the graphs that ask a service of the cluster to plan for them.
//! * [`restricted`]: the namespaces that have an operator of their own, and are left alone.
//! * [`scale`]: the scale writer, the only way by which a decision becomes replicas.
//! * `replicas`: the one way in which either of the two writes a graph.
//! * [`rivals`]: who else sets the replicas of our adapters.
//! * [`rights`]: what RBAC lets us do, asked before it matters.
//! * [`inventory`]: the replica inventory of one graph.
//! * `watches`: what all watches of our kinds have in common.
//! * [`lease`]: of several processes with the same work, the one that does it.
//!
//! Every function takes its deadlines as arguments. The one clock of this room is in [`clock`].

pub mod adapter;
pub mod asking;
pub mod client;
pub mod clock;
pub mod events;
pub mod inventory;
pub mod kinds;
pub mod lease;
mod replicas;
pub mod restricted;
pub mod rights;
pub mod rivals;
pub mod scale;
mod watches;

/// Completes when everything that goes on is to come to its end.
pub type Stop = futures::future::Shared<futures::future::BoxFuture<'static, ()>>;
