//! What is to be done for one graph and its adapters: a pure function.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::{Resource, ResourceExt};

use crate::api::{Adapter, Graph, names};
use crate::units::Replicas;

/// Everything to be done for one graph, in the order in which it is done.
#[derive(Debug, Default, PartialEq)]
#[must_use]
pub(crate) struct Plan {
    /// Adapters to make, seeded with the graph's replicas.
    pub(crate) create: Vec<Create>,
    /// Adapters whose labels or owner are to be put right.
    pub(crate) repair: Vec<Repair>,
    /// Adapters to delete.
    pub(crate) delete: Vec<Delete>,
    /// Replicas to carry to the graph, all in one write.
    pub(crate) sync: Vec<Sync>,
    /// Statuses to write.
    pub(crate) status: Vec<Status>,
    /// Adapters that cannot be read; nothing is done for their services.
    pub(crate) invalid: Vec<Invalid>,
    /// What could not be planned, and why.
    pub(crate) remarks: Vec<Remark>,
}

/// An adapter to make.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Create {
    pub(crate) adapter: String,
    pub(crate) service: String,
    pub(crate) replicas: Replicas,
}

/// An adapter to put right; its replicas are never touched.
#[derive(Debug, PartialEq)]
pub(crate) struct Repair {
    pub(crate) adapter: String,
    pub(crate) service: String,
    pub(crate) resource_version: Option<String>,
    /// All owners, the graph among them; none means that the owners are right.
    pub(crate) owners: Option<Vec<OwnerReference>>,
}

/// An adapter to delete: this one, not a namesake made after it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Delete {
    pub(crate) adapter: String,
    pub(crate) service: String,
    pub(crate) uid: Option<String>,
    pub(crate) why: DeleteReason,
}

/// Why an adapter goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DeleteReason {
    /// The service no longer wants one.
    Disabled,
    /// The service is no longer in the graph.
    Orphan,
}

/// Replicas to carry from an adapter to its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Sync {
    pub(crate) adapter: String,
    pub(crate) service: String,
    pub(crate) from: Replicas,
    pub(crate) to: Replicas,
}

/// A status to write.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) adapter: String,
    pub(crate) replicas: Replicas,
    pub(crate) selector: String,
    /// Whether `lastScaleTime` is set: the replicas changed since the last status.
    pub(crate) scaled: bool,
}

/// An adapter that is there and cannot be read: who made it, and what it asks for, is not known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) adapter: String,
    /// The service that wants an adapter of this name.
    pub(crate) service: String,
    pub(crate) why: String,
}

/// The adapters of a namespace that cannot be read: what does not fit, by name.
pub(crate) type Unreadable<'a> = BTreeMap<&'a str, &'a str>;

/// What could not be planned, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Remark {
    /// Two services differ in case only, and so want one adapter.
    #[error(
        "services {holder} and {loser} both want the scaling adapter {adapter}: names that differ in \
         case only share one; {loser} goes without"
    )]
    NameShared {
        /// Name of the adapter.
        adapter: String,
        /// The service that has it.
        holder: String,
        /// The service that goes without.
        loser: String,
    },
    /// The adapter's name is taken by an adapter of another graph.
    #[error("the scaling adapter {adapter} that service {service} wants belongs to DGD {owner}")]
    NameTaken {
        /// Name of the adapter.
        adapter: String,
        /// The service that goes without.
        service: String,
        /// The graph that the adapter belongs to.
        owner: String,
    },
    /// The adapter belongs to a graph of the same name that is gone; it is about to be collected.
    #[error("the scaling adapter {adapter} waits for the garbage collector: its DGD was replaced")]
    OfFormerDgd {
        /// Name of the adapter.
        adapter: String,
    },
    /// An adapter made by hand for a service that the generated adapter scales, or that wants none.
    #[error("the scaling adapter {adapter} is ignored: {why}")]
    Ignored {
        /// Name of the adapter.
        adapter: String,
        /// Why.
        why: String,
    },
}

impl Remark {
    /// Whether a service goes without its adapter because somebody else has the name.
    #[must_use]
    pub const fn is_conflict(&self) -> bool {
        matches!(self, Self::NameShared { .. } | Self::NameTaken { .. })
    }
}

/// Plans for one graph and the adapters of its namespace that name it or bear one of its names.
pub(crate) fn plan(dgd: &Graph, adapters: &[&Adapter], unreadable: &Unreadable<'_>) -> Plan {
    let mut plan = Plan::default();
    if dgd.is_going() {
        return plan;
    }
    let graph = dgd.name_any();
    let holders = holders(dgd, adapters, &mut plan.remarks);

    for (adapter_name, service) in &holders {
        if let Some(why) = unreadable.get(adapter_name.as_str()) {
            plan.invalid.push(Invalid {
                adapter: adapter_name.clone(),
                service: (*service).to_owned(),
                why: (*why).to_owned(),
            });
            continue;
        }
        let replicas = dgd.service(service).map_or(Replicas::new(1), crate::api::Service::replicas);
        let Some(adapter) = adapters.iter().find(|a| a.name_any() == *adapter_name) else {
            plan.create.push(Create {
                adapter: adapter_name.clone(),
                service: (*service).to_owned(),
                replicas,
            });
            continue;
        };
        if adapter.spec.dgd_ref.name != graph {
            plan.remarks.push(Remark::NameTaken {
                adapter: adapter_name.clone(),
                service: (*service).to_owned(),
                owner: adapter.spec.dgd_ref.name.clone(),
            });
            continue;
        }
        if is_going(adapter) || adapter.spec.dgd_ref.service_name != *service {
            // Going: the next event makes a new one. Of a service that is gone: deleted below.
            continue;
        }
        if is_of_former_dgd(adapter, dgd) {
            plan.remarks.push(Remark::OfFormerDgd { adapter: adapter_name.clone() });
            continue;
        }
        if let Some(repair) = repair(dgd, adapter, service) {
            plan.repair.push(repair);
        }
        let wanted = adapter.spec.replicas();
        let differs = replicas != wanted;
        if differs {
            plan.sync.push(Sync {
                adapter: adapter_name.clone(),
                service: (*service).to_owned(),
                from: replicas,
                to: wanted,
            });
        }
        if let Some(status) = status(adapter, &graph, service, differs) {
            plan.status.push(status);
        }
    }

    for adapter in adapters {
        if adapter.spec.dgd_ref.name != graph || is_going(adapter) {
            continue;
        }
        let name = adapter.name_any();
        let service = adapter.spec.dgd_ref.service_name.as_str();
        if holders.get(&name) == Some(&service) || is_of_former_dgd(adapter, dgd) {
            continue;
        }
        let generated = name == names::adapter_name(&graph, service);
        let delete = |why| Delete {
            adapter: name.clone(),
            service: service.to_owned(),
            uid: adapter.uid(),
            why,
        };
        match dgd.service(service) {
            // No graph is without any: what is missing is the form of the object.
            None if dgd.services().next().is_none() => plan.remarks.push(Remark::Ignored {
                adapter: name.clone(),
                why: format!(
                    "DGD {graph} is read without any service; nothing is deleted for that"
                ),
            }),
            None if generated || is_ours(adapter, dgd) => {
                plan.delete.push(delete(DeleteReason::Orphan));
            }
            None => plan.remarks.push(Remark::Ignored {
                adapter: name.clone(),
                why: format!("DGD {graph} has no service {service}"),
            }),
            Some(found) if generated && !found.adapter_enabled() => {
                plan.delete.push(delete(DeleteReason::Disabled));
            }
            Some(found) if found.adapter_enabled() => plan.remarks.push(Remark::Ignored {
                adapter: name.clone(),
                why: format!(
                    "service {service} is scaled by {}",
                    names::adapter_name(&graph, service)
                ),
            }),
            Some(_) => plan.remarks.push(Remark::Ignored {
                adapter: name.clone(),
                why: format!("service {service} has no scalingAdapter enabled"),
            }),
        }
    }
    plan
}

/// Whether one of the services of a graph wants the adapter of this name.
pub(crate) fn wants(dgd: &Graph, adapter: &str) -> bool {
    let graph = dgd.name_any();
    dgd.services().any(|(service, found)| {
        found.adapter_enabled() && names::adapter_name(&graph, service) == adapter
    })
}

/// Which service holds which adapter name. Of services that share a name, the one that has the
/// adapter keeps it; else the first in order gets it.
fn holders<'a>(
    dgd: &'a Graph,
    adapters: &[&Adapter],
    remarks: &mut Vec<Remark>,
) -> BTreeMap<String, &'a str> {
    let graph = dgd.name_any();
    let mut wanting: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (service, _) in dgd.services().filter(|(_, service)| service.adapter_enabled()) {
        wanting.entry(names::adapter_name(&graph, service)).or_default().push(service);
    }
    let mut holders = BTreeMap::new();
    for (name, services) in wanting {
        let present = adapters
            .iter()
            .find(|a| a.name_any() == name && a.spec.dgd_ref.name == graph)
            .map(|a| a.spec.dgd_ref.service_name.as_str());
        let Some(holder) =
            services.iter().find(|s| Some(**s) == present).or_else(|| services.first()).copied()
        else {
            continue;
        };
        for loser in services.iter().filter(|service| **service != holder) {
            remarks.push(Remark::NameShared {
                adapter: name.clone(),
                holder: holder.to_owned(),
                loser: (*loser).to_owned(),
            });
        }
        holders.insert(name, holder);
    }
    holders
}

/// The graph as controlling owner of an adapter, in the version in which it was read: an owner in a
/// version that is served no more cannot be found by the garbage collector.
pub(crate) fn owner_of(dgd: &Graph) -> OwnerReference {
    OwnerReference {
        api_version: dgd.version().api_version().to_owned(),
        kind: names::DGD_KIND.to_owned(),
        name: dgd.name_any(),
        uid: dgd.uid().unwrap_or_default(),
        controller: Some(true),
        block_owner_deletion: Some(true),
    }
}

fn repair(dgd: &Graph, adapter: &Adapter, service: &str) -> Option<Repair> {
    let graph = dgd.name_any();
    let label = |name: &str| adapter.labels().get(name).map(String::as_str);
    let labelled = label(names::LABEL_DGD_NAME) == Some(graph.as_str())
        && label(names::LABEL_COMPONENT) == Some(service);
    let owner = owner_of(dgd);
    let present = adapter.owner_references();
    // An object has one controller. Where another one holds the adapter, it stays so.
    let foreign = present.iter().any(|o| o.controller == Some(true) && o.uid != owner.uid);
    let owned = foreign || present.contains(&owner);
    if labelled && owned {
        return None;
    }
    let owners = (!owned).then(|| {
        let others = present.iter().filter(|o| o.uid != owner.uid).cloned();
        others.chain([owner.clone()]).collect()
    });
    Some(Repair {
        adapter: adapter.name_any(),
        service: service.to_owned(),
        resource_version: adapter.resource_version(),
        owners,
    })
}

fn status(adapter: &Adapter, graph: &str, service: &str, differs: bool) -> Option<Status> {
    let wanted = adapter.spec.replicas;
    let selector = names::adapter_selector(graph, service);
    let told = adapter.status.as_ref();
    let told_replicas = told.and_then(|status| status.replicas);
    if told_replicas == Some(wanted)
        && told.and_then(|status| status.selector.as_ref()) == Some(&selector)
        && !differs
    {
        return None;
    }
    // A status that names other replicas is that of a scaling whose status was never written.
    let scaled = differs || told_replicas.is_some_and(|told| told != wanted);
    Some(Status {
        adapter: adapter.name_any(),
        replicas: adapter.spec.replicas(),
        selector,
        scaled,
    })
}

fn is_going(adapter: &Adapter) -> bool {
    adapter.meta().deletion_timestamp.is_some()
}

/// Whether we or the graph's operator made it.
fn is_ours(adapter: &Adapter, dgd: &Graph) -> bool {
    adapter.labels().get(names::LABEL_DGD_NAME) == Some(&dgd.name_any())
        || adapter
            .owner_references()
            .iter()
            .any(|owner| Some(&owner.uid) == dgd.meta().uid.as_ref())
}

/// Whether it is owned by a graph that had the same name and is gone.
fn is_of_former_dgd(adapter: &Adapter, dgd: &Graph) -> bool {
    adapter.owner_references().iter().any(|owner| {
        owner.kind == names::DGD_KIND
            && owner.name == dgd.name_any()
            && Some(&owner.uid) != dgd.meta().uid.as_ref()
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::{DynamoGraphDeployment, DynamoGraphDeploymentScalingAdapter};

    /// The plan for objects that were read in `v1alpha1`.
    fn plan(
        dgd: &DynamoGraphDeployment,
        adapters: &[&DynamoGraphDeploymentScalingAdapter],
    ) -> Plan {
        let adapters: Vec<Adapter> = adapters.iter().map(|a| Adapter::from((*a).clone())).collect();
        let adapters: Vec<&Adapter> = adapters.iter().collect();
        super::plan(&dgd.clone().into(), &adapters, &Unreadable::new())
    }

    fn owner_of(dgd: &DynamoGraphDeployment) -> OwnerReference {
        super::owner_of(&dgd.clone().into())
    }

    fn dgd(services: Value) -> DynamoGraphDeployment {
        serde_json::from_value(json!({
            "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment",
            "metadata": {"name": "graph", "namespace": "serving", "uid": "dgd-1",
                "resourceVersion": "77"},
            "spec": {"services": services}
        }))
        .unwrap()
    }

    /// An adapter as this controller leaves it.
    fn adapter(service: &str, replicas: i32) -> DynamoGraphDeploymentScalingAdapter {
        serde_json::from_value(json!({
            "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeploymentScalingAdapter",
            "metadata": {
                "name": names::adapter_name("graph", service), "namespace": "serving",
                "uid": format!("uid-of-{service}"), "resourceVersion": "5",
                "labels": {
                    "nvidia.com/dynamo-graph-deployment-name": "graph",
                    "nvidia.com/dynamo-component": service
                },
                "ownerReferences": [owner_of(&dgd(json!({})))]
            },
            "spec": {"replicas": replicas, "dgdRef": {"name": "graph", "serviceName": service}},
            "status": {"replicas": replicas, "selector": names::adapter_selector("graph", service)}
        }))
        .unwrap()
    }

    #[test]
    fn an_adapter_is_made_for_a_service_that_wants_one_and_for_no_other() {
        let dgd = dgd(json!({
            "Decode": {"replicas": 3, "scalingAdapter": {"enabled": true}},
            "Unsaid": {"scalingAdapter": {"enabled": true}},
            "Prefill": {"replicas": 2}
        }));
        let plan = plan(&dgd, &[]);
        let made: Vec<_> =
            plan.create.iter().map(|c| (c.adapter.as_str(), c.replicas.get())).collect();
        assert_eq!(made, [("graph-decode", 3), ("graph-unsaid", 1)]);
    }

    #[test]
    fn what_is_right_is_left_alone() {
        let dgd = dgd(json!({"Decode": {"replicas": 3, "scalingAdapter": {"enabled": true}}}));
        assert_eq!(plan(&dgd, &[&adapter("Decode", 3)]), Plan::default());
    }

    #[test]
    fn planning_again_after_the_plan_is_done_changes_nothing() {
        let on = |replicas| json!({"replicas": replicas, "scalingAdapter": {"enabled": true}});
        let mut dgd = dgd(json!({
            "New": on(2), "Behind": on(3), "Lost": on(4), "Off": {"replicas": 5}
        }));
        let mut adapters =
            vec![adapter("Behind", 6), adapter("Lost", 4), adapter("Off", 5), adapter("Gone", 1)];
        adapters[1].metadata.labels = None;
        adapters[1].status = None;
        let done = plan(&dgd, &adapters.iter().collect::<Vec<_>>());

        for Create { service, replicas, .. } in &done.create {
            adapters.push(adapter(service, i32::try_from(replicas.get()).unwrap()));
        }
        for Repair { adapter: name, .. } in &done.repair {
            let repaired = adapters.iter_mut().find(|a| a.name_any() == *name).unwrap();
            repaired.metadata = adapter(&repaired.spec.dgd_ref.service_name, 0).metadata;
        }
        adapters.retain(|a| !done.delete.iter().any(|delete| delete.adapter == a.name_any()));
        let services = dgd.spec.services.as_mut().unwrap();
        for Sync { service, to, .. } in &done.sync {
            let service = services.get_mut(service).unwrap().as_mut().unwrap();
            service.replicas = i32::try_from(to.get()).ok();
        }
        for Status { adapter: name, .. } in &done.status {
            let told = adapters.iter_mut().find(|a| a.name_any() == *name).unwrap();
            let spec = told.spec.clone();
            told.status = adapter(&spec.dgd_ref.service_name, spec.replicas).status;
        }
        assert_eq!((done.create.len(), done.repair.len(), done.delete.len()), (1, 1, 2));
        assert_eq!((done.sync.len(), done.status.len()), (1, 2));
        assert_eq!(plan(&dgd, &adapters.iter().collect::<Vec<_>>()), Plan::default());
    }

    #[test]
    fn the_adapter_wins_over_the_graph() {
        let dgd = dgd(json!({"Decode": {"replicas": 3, "scalingAdapter": {"enabled": true}}}));
        let mut adapter = adapter("Decode", 5);
        adapter.status.as_mut().unwrap().replicas = Some(3);
        let plan = plan(&dgd, &[&adapter]);
        assert_eq!((plan.sync[0].from.get(), plan.sync[0].to.get()), (3, 5));
        assert_eq!((plan.status[0].replicas.get(), plan.status[0].scaled), (5, true));
        assert!(plan.create.is_empty() && plan.repair.is_empty());
    }

    #[test]
    fn an_adapter_of_zero_takes_the_service_to_zero() {
        let dgd = dgd(json!({"Decode": {"scalingAdapter": {"enabled": true}}}));
        let plan = plan(&dgd, &[&adapter("Decode", 0)]);
        assert_eq!((plan.sync[0].from.get(), plan.sync[0].to.get()), (1, 0));
    }

    #[test]
    fn a_first_status_is_no_scaling() {
        let dgd = dgd(json!({"Decode": {"replicas": 3, "scalingAdapter": {"enabled": true}}}));
        let mut adapter = adapter("Decode", 3);
        adapter.status = None;
        let plan = plan(&dgd, &[&adapter]);
        assert!(!plan.status[0].scaled);
        assert_eq!(
            plan.status[0].selector,
            "nvidia.com/dynamo-graph-deployment-name=graph,nvidia.com/dynamo-component=Decode"
        );
    }

    #[test]
    fn a_scaling_whose_status_was_lost_is_told_later() {
        let dgd = dgd(json!({"Decode": {"replicas": 5, "scalingAdapter": {"enabled": true}}}));
        let mut adapter = adapter("Decode", 5);
        adapter.status.as_mut().unwrap().replicas = Some(3);
        let plan = plan(&dgd, &[&adapter]);
        assert!(plan.sync.is_empty());
        assert!(plan.status[0].scaled);
    }

    #[test]
    fn an_adapter_without_labels_and_owner_is_adopted_with_its_replicas() {
        let dgd = dgd(json!({"Decode": {"replicas": 3, "scalingAdapter": {"enabled": true}}}));
        let mut adapter = adapter("Decode", 6);
        adapter.metadata.labels = None;
        adapter.metadata.owner_references = None;
        let plan = plan(&dgd, &[&adapter]);
        assert_eq!(plan.repair[0].owners.as_ref().unwrap(), &[owner_of(&dgd)]);
        assert_eq!(plan.repair[0].resource_version.as_deref(), Some("5"));
        assert_eq!(plan.sync[0].to.get(), 6);
    }

    #[test]
    fn the_graph_owns_its_adapter_in_the_version_in_which_it_is_served() {
        let graph: Graph = serde_json::from_value(json!({
            "apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment",
            "metadata": {"name": "graph", "namespace": "serving", "uid": "dgd-1"},
            "spec": {"components": [{"name": "Decode", "replicas": 3, "scalingAdapter": {}}]}
        }))
        .unwrap();
        let made_before = Adapter::from(adapter("Decode", 3));
        let plan = super::plan(&graph, &[&made_before], &Unreadable::new());
        let [owner] = plan.repair[0].owners.as_deref().unwrap() else { panic!("{plan:?}") };
        assert_eq!(
            (owner.api_version.as_str(), owner.uid.as_str()),
            ("nvidia.com/v1beta1", "dgd-1")
        );
        assert!(plan.create.is_empty() && plan.delete.is_empty() && plan.sync.is_empty());
    }

    #[test]
    fn another_controller_keeps_the_adapter_it_holds() {
        let dgd = dgd(json!({"Decode": {"replicas": 3, "scalingAdapter": {"enabled": true}}}));
        let mut adapter = adapter("Decode", 3);
        let owner = adapter.metadata.owner_references.as_mut().unwrap().first_mut().unwrap();
        "Application".clone_into(&mut owner.kind);
        "argo-1".clone_into(&mut owner.uid);
        assert_eq!(plan(&dgd, &[&adapter]), Plan::default());
    }

    #[test]
    fn the_adapter_of_a_disabled_service_and_that_of_a_removed_one_go() {
        let dgd = dgd(json!({"Decode": {"replicas": 3, "scalingAdapter": {"enabled": false}}}));
        let plan = plan(&dgd, &[&adapter("Decode", 4), &adapter("Gone", 1)]);
        let gone: Vec<_> = plan.delete.iter().map(|d| (d.adapter.as_str(), d.why)).collect();
        assert_eq!(
            gone,
            [("graph-decode", DeleteReason::Disabled), ("graph-gone", DeleteReason::Orphan)]
        );
        assert_eq!(plan.delete[0].uid.as_deref(), Some("uid-of-Decode"));
        assert!(plan.sync.is_empty(), "a disabled adapter does not scale");
    }

    #[test]
    fn an_adapter_made_by_hand_for_a_service_without_one_is_ignored_not_deleted() {
        let dgd = dgd(json!({"Decode": {"replicas": 3}}));
        let mut adapter = adapter("Decode", 4);
        adapter.metadata.name = Some("mine".to_owned());
        let plan = plan(&dgd, &[&adapter]);
        assert!(plan.delete.is_empty() && plan.sync.is_empty());
        assert!(plan.remarks[0].to_string().contains("no scalingAdapter enabled"));
    }

    #[test]
    fn names_that_differ_in_case_only_share_an_adapter_and_it_is_said() {
        let on = json!({"scalingAdapter": {"enabled": true}});
        let dgd = dgd(json!({"Decode": on, "decode": on}));
        let first = plan(&dgd, &[]);
        assert_eq!(first.create.len(), 1);
        assert_eq!(first.create[0].service, "Decode");
        let held = plan(&dgd, &[&adapter("decode", 1)]);
        assert!(held.create.is_empty() && held.delete.is_empty() && held.sync.is_empty());
        assert_eq!(
            held.remarks,
            [Remark::NameShared {
                adapter: "graph-decode".to_owned(),
                holder: "decode".to_owned(),
                loser: "Decode".to_owned()
            }]
        );
    }

    #[test]
    fn nothing_is_done_for_a_service_whose_adapter_cannot_be_read() {
        let on = |replicas: i32| json!({"replicas": replicas, "scalingAdapter": {"enabled": true}});
        let dgd = dgd(json!({"Decode": on(3), "Prefill": on(1), "Router": {"replicas": 1}}));
        let prefill = Adapter::from(adapter("Prefill", 2));
        let why = "invalid type: string \"three\", expected i32";
        // The last two are nobody's: no service wants an adapter of that name.
        let unreadable: Unreadable<'_> =
            ["graph-decode", "graph-router", "other-decode"].map(|name| (name, why)).into();
        let plan = super::plan(&dgd.into(), &[&prefill], &unreadable);
        let (adapter, service) = ("graph-decode".to_owned(), "Decode".to_owned());
        assert_eq!(plan.invalid, [Invalid { adapter, service, why: why.to_owned() }]);
        let carried: Vec<_> = plan.sync.iter().map(|sync| sync.service.as_str()).collect();
        assert_eq!(carried, ["Prefill"], "the other one goes on");
        let statuses: Vec<_> = plan.status.iter().map(|one| one.adapter.as_str()).collect();
        assert_eq!(statuses, ["graph-prefill"]);
        assert!(plan.create.is_empty() && plan.repair.is_empty() && plan.delete.is_empty());
        assert!(plan.remarks.is_empty(), "{:?}", plan.remarks);
    }

    #[test]
    fn a_graph_wants_the_adapters_of_the_services_that_enable_them() {
        let on = json!({"scalingAdapter": {"enabled": true}});
        let graph = Graph::from(dgd(json!({"Decode": on, "Prefill": {}})));
        let names = ["graph-decode", "graph-prefill", "graph-Decode", "decode"];
        assert_eq!(names.map(|name| wants(&graph, name)), [true, false, false, false]);
    }

    #[test]
    fn an_adapter_of_another_graph_with_our_name_is_not_touched() {
        let dgd = dgd(json!({"Decode": {"replicas": 3, "scalingAdapter": {"enabled": true}}}));
        let mut adapter = adapter("Decode", 9);
        "other".clone_into(&mut adapter.spec.dgd_ref.name);
        let plan = plan(&dgd, &[&adapter]);
        assert!(plan.create.is_empty() && plan.sync.is_empty() && plan.delete.is_empty());
        assert!(matches!(plan.remarks.as_slice(), [Remark::NameTaken { .. }]));
    }

    #[test]
    fn an_adapter_of_the_former_graph_does_not_scale_the_new_one() {
        let mut dgd = dgd(json!({"Decode": {"replicas": 3, "scalingAdapter": {"enabled": true}}}));
        let adapter = adapter("Decode", 9);
        dgd.metadata.uid = Some("dgd-2".to_owned());
        let plan = plan(&dgd, &[&adapter]);
        assert!(plan.sync.is_empty() && plan.repair.is_empty() && plan.delete.is_empty());
        assert!(matches!(plan.remarks.as_slice(), [Remark::OfFormerDgd { .. }]));
    }

    #[test]
    fn nothing_is_done_for_a_graph_that_is_going() {
        let mut dgd = dgd(json!({"Decode": {"replicas": 3, "scalingAdapter": {"enabled": true}}}));
        dgd.metadata.deletion_timestamp =
            serde_json::from_value(json!("2026-01-01T00:00:00Z")).ok();
        assert_eq!(plan(&dgd, &[&adapter("Decode", 9)]), Plan::default());
    }
}
