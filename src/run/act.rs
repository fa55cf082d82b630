//! Acting: carrying a decision out, shrinking pools first.

use crate::api::names;
use crate::controllers::scale::{ScaleOutcome, ScalePath, ScaleTarget, ScaleWriter};
use crate::plan::{Decision, Write};
use crate::record::WriteOutcome;
use crate::spec::DgdTarget;
use crate::units::Role;

/// What became of one write: for the record, and its label for the metrics.
pub(super) struct Acted {
    pub(super) outcome: WriteOutcome,
    pub(super) label: &'static str,
}

/// Writes what changes, in the order of [`Decision::writes`]. After one that failed nothing more is
/// written: a pool must not grow into GPUs that another one has not given back.
pub(super) async fn act(
    writer: &ScaleWriter,
    target: &DgdTarget,
    services: &[(Role, Result<String, String>)],
    decision: &Decision,
) -> Vec<Acted> {
    let mut done: Vec<Acted> = Vec::new();
    for write in decision.writes() {
        let failed = done.iter().any(|a| a.outcome.error.is_some());
        let service = services.iter().find(|(role, _)| *role == write.role).map(|(_, s)| s);
        done.push(match service {
            _ if failed => not_written(write, "skipped", "an earlier write of this tick failed"),
            Some(Ok(service)) => {
                let at = ScaleTarget {
                    namespace: target.namespace.clone(),
                    dgd: target.dgd.clone(),
                    service: service.clone(),
                };
                write_one(writer, &at, write).await
            }
            Some(Err(why)) => not_written(write, "no_service", why),
            None => not_written(write, "no_service", "the pool has no service"),
        });
    }
    done
}

fn not_written(write: Write, label: &'static str, why: &str) -> Acted {
    Acted { outcome: WriteOutcome { write, path: None, error: Some(why.to_owned()) }, label }
}

async fn write_one(writer: &ScaleWriter, at: &ScaleTarget, write: Write) -> Acted {
    let written = |path: Option<String>, label| Acted {
        outcome: WriteOutcome { write, path, error: None },
        label,
    };
    match writer.write(at, write.to).await {
        Ok(ScaleOutcome::Unchanged { replicas: _ }) => written(None, "unchanged"),
        Ok(ScaleOutcome::Wrote { path, from: _, to: _ }) => {
            let object = match path {
                ScalePath::Scale => format!(
                    "{}/{}/scale",
                    names::DGDSA_PLURAL,
                    names::adapter_name(&at.dgd, &at.service)
                ),
                ScalePath::Dgd => format!("{}/{}", names::DGD_PLURAL, at.dgd),
            };
            written(Some(object), "written")
        }
        Ok(ScaleOutcome::Refused { why }) => not_written(write, "refused", &why.to_string()),
        Err(error) => not_written(write, error.label(), &error.to_string()),
    }
}
