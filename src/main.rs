//! The binary: hands the arguments to [`sla_planner::cli`] and exits with its code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // reqwest and kube are built without a default provider of cryptography; the first one to be
    // installed serves both. It can only fail where one is installed already.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        return ExitCode::FAILURE;
    }
    sla_planner::cli::main(std::env::args_os())
}
