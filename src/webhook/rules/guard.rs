//! The replica guard: once an adapter holds the replicas of a service, it alone says how many, and
//! who edits the graph past it is told where to turn.

use std::collections::BTreeSet;

use super::Case;
use super::graph::Graph;
use crate::api::names;
use crate::spec::{StockIdentities, Wording};
use crate::webhook::field::Verdict;
use crate::webhook::learnt::Learnt;

/// Who may change the replicas that an adapter holds.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    /// User names, each compared as a whole.
    pub exact: BTreeSet<String>,
    /// Whom Dynamo's own operator would let pass besides.
    pub stock: StockIdentities,
    /// The name under which the API server knows this process, whose adapter controller writes what the
    /// adapters ask for.
    pub own: Learnt<String>,
}

/// Service account of a planner that Dynamo's operator starts.
const PLANNER: &str = "planner-serviceaccount";
/// End of the name of the operator's service account.
const OPERATOR_SUFFIX: &str = "-dynamo-operator-controller-manager";

impl Identities {
    /// Whether this user may. Who is not known may not.
    #[must_use]
    pub fn allow(&self, user: Option<&str>) -> bool {
        let Self { exact, stock, own } = self;
        let Some(user) = user else { return false };
        if exact.contains(user) || own.is(|name| name == user) {
            return true;
        }
        let Some(account) = account_of(user) else { return false };
        match stock {
            StockIdentities::None => false,
            StockIdentities::Name => account == PLANNER,
            StockIdentities::Suffix => {
                account.ends_with(PLANNER) || account.ends_with(OPERATOR_SUFFIX)
            }
        }
    }
}

/// Name of a service account, out of `system:serviceaccount:NAMESPACE:NAME`.
fn account_of(user: &str) -> Option<&str> {
    match user.split(':').collect::<Vec<_>>().as_slice() {
        ["system", "serviceaccount", _, name] => Some(name),
        _ => None,
    }
}

/// Refuses changed replicas of services that an adapter holds, before or after the update: one that
/// switches the adapter off cannot carry new replicas along.
pub(super) fn check(case: &Case<'_>, old: &Graph<'_>, new: &Graph<'_>, verdict: &mut Verdict) {
    // The old object says whether it is going; the new one is still what its writer claims.
    let is_going =
        |field: &super::Field<'_>| field.get("metadata").get("deletionTimestamp").is_set();
    if case.old.as_ref().is_some_and(is_going)
        || case.rules.identities.allow(case.request.user.as_deref())
    {
        return;
    }
    for (name, service) in &new.services {
        let Some(before) = old.services.get(name) else { continue };
        if !(before.adapter || service.adapter) || before.count() == service.count() {
            continue;
        }
        let field = service.field.get("replicas");
        let instead = match case.rules.wording {
            Wording::Guide => format!(
                "use 'kubectl scale dgdsa/{} --replicas={}' or update the \
                 DynamoGraphDeploymentScalingAdapter instead",
                names::adapter_name(case.name(), name),
                service.count()
            ),
            Wording::Code => {
                "scale or update the related DynamoGraphDeploymentScalingAdapter instead".to_owned()
            }
        };
        let after = if before.adapter == service.adapter {
            ""
        } else if before.adapter {
            "; to take the replicas over, switch the adapter off first, in an update of its own"
        } else {
            "; to begin with other replicas, change them first, in an update of their own"
        };
        verdict.guarded(format!(
            "{} cannot be modified directly when scaling adapter is enabled; {instead}{after}",
            field.path()
        ));
    }
}
