//! Dynamo's autoscaling guide, line by line: each command of it that concerns a DGD, an adapter, an HPA
//! or KEDA, run with the kubectl, the controllers and the metrics APIs that a user has, on the manifests
//! that we ship in `deploy/examples`.
//!
//! Source: "Autoscaling", in the documentation of NVIDIA Dynamo 0.9.0. There is one file for each part of
//! it; [`scene`] is the graph of the guide in a namespace of a test's own, where the guide says `default`,
//! [`load`] what happens to it, and [`printed`] what kubectl says.
//! Left out is what needs containers (`kubectl logs`, `kubectl port-forward`, the pods of KEDA) and what
//! installs others by Helm.

mod enabling;
mod hpa;
mod keda;
mod load;
mod manual;
mod mixed;
mod ownership;
mod printed;
mod scene;
mod troubleshooting;
mod viewing;
