//! Every rule with what it lets pass and what it refuses, word for word.

mod fill;
mod guard;
mod mad;
mod requests;

use serde_json::{Value, json};
use tokio::sync::watch;

use super::*;
use crate::webhook::answer::PatchStep;

const ADA: &str = "ada";

/// A graph as the guide shows one.
fn alpha() -> Value {
    json!({
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment",
        "metadata": {"name": "sglang-agg", "namespace": "serving"},
        "spec": {
            "backendFramework": "sglang",
            "services": {
                "Frontend": {"componentType": "frontend", "replicas": 2},
                "decode": {
                    "componentType": "worker", "subComponentType": "decode", "replicas": 1,
                    "scalingAdapter": {"enabled": true}
                }
            }
        }
    })
}

/// The same in the shape of v1beta1.
fn beta() -> Value {
    json!({
        "apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeployment",
        "metadata": {"name": "sglang-agg", "namespace": "serving"},
        "spec": {
            "backendFramework": "sglang",
            "components": [
                {"name": "Frontend", "type": "frontend", "replicas": 2},
                {"name": "decode", "type": "decode", "replicas": 1, "scalingAdapter": {}}
            ]
        }
    })
}

/// The object with some of it changed (RFC 7386).
fn with(mut object: Value, change: &Value) -> Value {
    json_patch::merge(&mut object, change);
    object
}

fn rules() -> Rules {
    Rules { gpu_discovery: true, ..Rules::default() }
}

fn request(old: Option<&Value>, new: &Value) -> Request {
    let text = |pointer: &str| new.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let (group, version) = text("/apiVersion").split_once('/').unwrap_or(("", ""));
    Request {
        uid: "u-1".to_owned(),
        group: group.to_owned(),
        version: version.to_owned(),
        kind: text("/kind").to_owned(),
        sub_resource: String::new(),
        name: text("/metadata/name").to_owned(),
        namespace: "serving".to_owned(),
        operation: if old.is_some() { Operation::Update } else { Operation::Create },
        user: Some(ADA.to_owned()),
        object: Some(new.clone()),
        old: old.cloned(),
    }
}

fn door(new: &Value) -> Door {
    Door::Validate(match new["kind"].as_str() {
        Some("DynamoGraphDeployment") => Subject::Graph,
        Some("DynamoComponentDeployment") => Subject::Component,
        _ => Subject::Request,
    })
}

fn judge(old: Option<&Value>, new: &Value) -> Answer {
    answer(door(new), &request(old, new), &rules())
}

fn message(answer: &Answer) -> &str {
    answer.denial.as_ref().map_or("", |denial| &denial.message)
}

/// Each row: a change to `base`, and what is said of it: the denial, empty where it passes.
fn check_creations(base: &Value, rows: &[(Value, &str)]) {
    assert_eq!(judge(None, base), Answer::pass(), "{base}");
    for (change, denial) in rows {
        let answer = judge(None, &with(base.clone(), change));
        assert_eq!(message(&answer), *denial, "{change}");
    }
}

fn warnings(new: &Value) -> Vec<String> {
    let answer = judge(None, new);
    assert_eq!(answer.denial, None, "{new}");
    answer.warnings
}

/// A service `decode` with these fields more.
fn decode(fields: Value) -> Value {
    json!({"spec": {"services": {"decode": fields}}})
}

#[test]
fn a_graph_is_held_to_each_rule_of_its_own() {
    let restart = |restart: Value| json!({"spec": {"restart": restart}});
    let pvc = |pvc: Value| json!({"spec": {"pvcs": [{"name": "ok"}, pvc]}});
    check_creations(
        &alpha(),
        &[
            (
                json!({"spec": {"services": null}}),
                "spec.services must have at least one service; found none: add one entry for each \
                 component to run",
            ),
            (decode(json!({"replicas": 0})), ""),
            (
                decode(json!({"replicas": -1})),
                "spec.services[decode].replicas must be non-negative; found -1: 0 is the fewest",
            ),
            (
                decode(json!({"replicas": "3"})),
                "spec.services[decode].replicas: expected a whole number, found the text `3`",
            ),
            (
                decode(json!({"scalingAdapter": {"enabled": "yes"}})),
                "spec.services[decode].scalingAdapter.enabled: expected true or false, found the text \
                 `yes`",
            ),
            (
                json!({"spec": {"services": [1]}}),
                "spec.services: expected a mapping, found a list\n\
                 spec.services must have at least one service; found none: add one entry for each \
                 component to run",
            ),
            (
                pvc(json!({"create": false})),
                "spec.pvcs[1].name is required; found none: name the claim",
            ),
            (
                pvc(json!({"name": "p", "create": true, "size": "1Gi"})),
                "spec.pvcs[1].storageClass is required when create is true; found none: give it, or \
                 set spec.pvcs[1].create to false for a claim that exists\n\
                 spec.pvcs[1].volumeAccessMode is required when create is true; found none: give it, \
                 or set spec.pvcs[1].create to false for a claim that exists",
            ),
            (
                pvc(
                    json!({"name": "p", "create": true, "storageClass": "s", "volumeAccessMode": "m"}),
                ),
                "spec.pvcs[1].size is required when create is true; found none: give it, or set \
                 spec.pvcs[1].create to false for a claim that exists",
            ),
            (
                pvc(json!({"name": "p", "create": true, "storageClass": "s", "size": "1Gi",
                           "volumeAccessMode": "m"})),
                "",
            ),
            (restart(json!({"id": "1"})), ""),
            (
                restart(json!({"id": ""})),
                "spec.restart.id is required; found none: give a text that no earlier restart had",
            ),
            (restart(json!({"id": "1", "strategy": {"order": ["decode", "Frontend"]}})), ""),
            (
                restart(json!({"id": "1", "strategy": {"type": "Parallel", "order": ["decode"]}})),
                "spec.restart.strategy.order cannot be specified when strategy is parallel; remove it, \
                 or set spec.restart.strategy.type to Sequential",
            ),
            (
                restart(
                    json!({"id": "1", "strategy": {"order": ["decode", "Frontend", "decode"]}}),
                ),
                "spec.restart.strategy.order must be unique; name each service once",
            ),
            (
                restart(json!({"id": "1", "strategy": {"order": ["decode"]}})),
                "spec.restart.strategy.order must have the same number of unique services as the \
                 deployment; found 1 of 2",
            ),
            (
                restart(json!({"id": "1", "strategy": {"order": ["decode", "prefill"]}})),
                "spec.restart.strategy.order contains unknown service: prefill; known are Frontend, \
                 decode",
            ),
        ],
    );
}

#[test]
fn a_graph_that_is_too_large_is_refused_at_once() {
    let service = json!({"componentType": "worker", "replicas": 1});
    let many: serde_json::Map<String, Value> =
        (0..300).map(|i| (format!("s{i}"), service.clone())).collect();
    let mut graph = alpha();
    graph["spec"]["services"] = Value::Object(many);
    assert!(message(&judge(None, &graph)).contains("at most 250 entries; found 300"));
    let mut graph = alpha();
    graph["spec"]["services"]["x".repeat(1 << 20)] = service;
    let said = message(&judge(None, &graph)).to_owned();
    assert!(said.contains("at most 253 characters") && said.len() < 500, "{} bytes", said.len());
}

#[test]
fn a_service_is_held_to_each_rule_in_a_graph_and_alone() {
    let rows = [
        (json!({"ingress": {"enabled": true, "host": "h"}}), ""),
        (json!({"ingress": {"enabled": false}}), ""),
        (
            json!({"ingress": {"enabled": true}}),
            "P.ingress.host is required when ingress is enabled; found none: give it, or set \
             P.ingress.enabled to false",
        ),
        (json!({"volumeMounts": [{"name": "a", "useAsCompilationCache": true}]}), ""),
        (
            json!({"volumeMounts": [{"name": "a", "mountPoint": "/a"}, {"name": "b"}]}),
            "P.volumeMounts[1].mountPoint is required when useAsCompilationCache is false; found none: \
             give the folder in the container",
        ),
        (json!({"sharedMemory": {"disabled": true}}), ""),
        (json!({"sharedMemory": {"size": "8Gi"}}), ""),
        (
            json!({"sharedMemory": {"size": "0"}}),
            "P.sharedMemory.size is required when disabled is false; found none: give a quantity such \
             as 8Gi, or leave P.sharedMemory out for the default",
        ),
        (json!({"replicas": -7}), "P.replicas must be non-negative; found -7: 0 is the fewest"),
        (json!({"ingress": 3}), "P.ingress: expected a mapping, found 3"),
    ];
    let alone = json!({
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoComponentDeployment",
        "metadata": {"name": "x"}, "spec": {"replicas": 1}
    });
    assert_eq!(judge(None, &alone), Answer::pass());
    for (fields, denial) in rows {
        let graph = judge(None, &with(alpha(), &decode(fields.clone())));
        assert_eq!(message(&graph), denial.replace("P.", "spec.services[decode]."), "{fields}");
        let component = judge(None, &with(alone.clone(), &json!({"spec": fields})));
        assert_eq!(message(&component), denial.replace("P.", "spec."), "alone");
    }
}

#[test]
fn a_namespace_with_an_operator_of_its_own_is_neither_judged_nor_filled_in() {
    let bad = with(alpha(), &decode(json!({"replicas": -1})));
    let (left_alone, told) = watch::channel(None);
    let dynamo_version = Some("0.9.0".to_owned());
    let rules = Rules { dynamo_version, left_alone: told.into(), ..rules() };
    let learn = |names: &[&str]| {
        left_alone.send_replace(Some(names.iter().map(ToString::to_string).collect()));
    };
    let [judged, filled] = [Door::Validate(Subject::Graph), Door::Fill(Subject::Graph)]
        .map(|door| move |rules: &Rules, graph: &Value| answer(door, &request(None, graph), rules));
    let refused = |rules: &Rules| judged(rules, &bad).denial.is_some();
    let is_filled = |rules: &Rules| !filled(rules, &alpha()).patch.is_empty();
    assert!(refused(&rules) && is_filled(&rules), "it is not known where they are");
    learn(&["another"]);
    assert!(refused(&rules) && is_filled(&rules));
    learn(&["another", "serving"]);
    assert_eq!(judged(&rules, &bad), Answer::pass());
    assert_eq!(filled(&rules, &alpha()), Answer::pass());
    learn(&[]);
    assert!(refused(&rules) && is_filled(&rules), "the operator is gone");
}

#[test]
fn an_endpoint_picker_needs_pools_to_pick_from() {
    let epp = json!({
        "componentType": "epp", "replicas": null, "scalingAdapter": null,
        "eppConfig": {"config": {}}
    });
    let graph = with(alpha(), &decode(epp));
    let (pools, told) = watch::channel(None);
    let rules = Rules { inference_pools: told.into(), ..rules() };
    let judged =
        |rules: &Rules| message(&answer(door(&graph), &request(None, &graph), rules)).to_owned();
    assert_eq!(judged(&rules), "", "it is not known whether there are any");
    pools.send_replace(Some(true));
    assert_eq!(judged(&rules), "");
    pools.send_replace(Some(false));
    let refused = judged(&rules);
    assert!(refused.starts_with("spec.services[decode]: an epp component needs"), "{refused}");
    assert!(refused.contains("inference.networking.k8s.io"), "{refused}");
}

#[test]
fn an_endpoint_picker_is_one_pod_with_one_configuration() {
    let epp = |fields: Value| {
        let base = json!({"componentType": "epp", "replicas": null, "scalingAdapter": null});
        decode(with(base, &fields))
    };
    let at = "spec.services[decode]";
    for (fields, denial) in [
        (json!({"eppConfig": {"config": {}}}), String::new()),
        (json!({"eppConfig": {"configMapRef": {"name": "m"}}}), String::new()),
        (
            json!({}),
            format!(
                "{at}.eppConfig is required for an epp component; give eppConfig.configMapRef or \
                 eppConfig.config"
            ),
        ),
        (
            json!({"eppConfig": {}}),
            format!(
                "{at}.eppConfig: expected exactly one of configMapRef and config, found neither: give \
                 one"
            ),
        ),
        (
            json!({"eppConfig": {"config": {}, "configMapRef": {"name": "m"}}}),
            format!(
                "{at}.eppConfig: expected exactly one of configMapRef and config, found both: remove \
                 one"
            ),
        ),
        (
            json!({"eppConfig": {"config": {}}, "replicas": 2, "multinode": {"nodeCount": 2}}),
            format!(
                "{at}.multinode: expected none for an epp component, which has one node: remove it\n\
                 {at}.replicas: expected exactly 1 for an epp component, found 2: set it to 1"
            ),
        ),
    ] {
        let answer = judge(None, &with(alpha(), &epp(fields.clone())));
        assert_eq!(message(&answer), denial, "{fields}");
    }
}

#[test]
fn what_is_deprecated_or_will_not_fit_is_warned_of_and_let_pass() {
    assert_eq!(
        warnings(&with(alpha(), &decode(json!({"dynamoNamespace": "mine"})))),
        ["spec.services[decode].dynamoNamespace is deprecated and ignored. Value 'mine' will be \
          replaced with 'serving-sglang-agg'. Remove this field from your configuration"]
    );
    assert_eq!(
        warnings(&with(
            alpha(),
            &decode(json!({"dynamoNamespace": "mine", "globalDynamoNamespace": true}))
        )),
        ["spec.services[decode].dynamoNamespace is deprecated and ignored. Value 'mine' will be \
          replaced with 'dynamo'. Remove this field from your configuration"]
    );
    assert_eq!(
        warnings(&with(alpha(), &decode(json!({"autoscaling": {"enabled": true}})))),
        ["spec.services[decode].autoscaling is deprecated and ignored. Use \
          DynamoGraphDeploymentScalingAdapter with HPA, KEDA, or Planner for autoscaling instead. See \
          docs/kubernetes/autoscaling.md"]
    );
    let twice = json!({"spec": {"services": {"Decode": {}}}});
    assert_eq!(
        warnings(&with(alpha(), &twice)),
        [
            "spec.services[decode] differs from Decode in case alone, and both would have the adapter \
          sglang-agg-decode; rename one of them"
        ]
    );
}

#[test]
fn names_too_long_for_grove_are_warned_of_where_grove_may_be() {
    // 10 of the graph and 36 of the service are one too many; 35 are not.
    let service = |name: &str, fields: Value| json!({"spec": {"services": {name: fields}}});
    let fits = "w".repeat(35);
    assert!(warnings(&with(alpha(), &service(&fits, json!({})))).is_empty());
    let over = "w".repeat(36);
    let object = with(alpha(), &service(&over, json!({})));
    assert_eq!(
        warnings(&object),
        [format!(
            "spec.services[{over}]: with Grove the names of its pods take 46 characters, more than \
             45: shorten it or the deployment's name, or set the annotation nvidia.com/enable-grove to \
             \"false\""
        )]
    );
    let without = json!({"metadata": {"annotations": {"nvidia.com/enable-grove": "false"}}});
    assert!(warnings(&with(object, &without)).is_empty());
    // Several pods carry the name of the service twice.
    let group = service(&"w".repeat(17), json!({"multinode": {"nodeCount": 2}}));
    assert_eq!(warnings(&with(alpha(), &group)).len(), 1);
}

#[test]
fn v1beta1_has_its_own_words_and_rules() {
    assert_eq!(judge(None, &beta()), Answer::pass());
    let components = |list: Value| json!({"spec": {"components": list}});
    for (change, denial) in [
        (
            components(json!([])),
            "spec.components must have at least one component; found none: add one entry for each \
             component to run",
        ),
        (
            components(json!([{"type": "frontend"}, {"name": "a", "replicas": -2}])),
            "spec.components[0].name is required; give each one its own\n\
             spec.components[a].replicas must be non-negative; found -2: 0 is the fewest",
        ),
        (
            components(json!([{"name": "a"}, {"name": "a"}])),
            "spec.components[a] stands twice; remove one of them",
        ),
        (
            components(json!([{"name": "A"}, {"name": "a"}])),
            "spec.components[a] differs from A in case alone, and both would have the adapter \
             sglang-agg-a; rename one of them",
        ),
        (
            json!({"spec": {"restart": {"id": "1"}}}),
            "spec.restart must be unset on create; set spec.restart.id after creation to request a \
             restart",
        ),
    ] {
        let answer = judge(None, &with(beta(), &change));
        assert_eq!(message(&answer), denial, "{change}");
    }
    let restarted = with(beta(), &json!({"spec": {"restart": {"id": "1"}}}));
    assert_eq!(judge(Some(&beta()), &restarted), Answer::pass());
}

#[test]
fn an_update_keeps_engine_topology_and_nodes() {
    let rows = [
        (json!({"spec": {"envs": [{"name": "A"}]}}), ""),
        (decode(json!({"multinode": null, "resources": {"limits": {"gpu": "2"}}})), ""),
        (
            json!({"spec": {"backendFramework": "vllm"}}),
            "spec.backendFramework is immutable and cannot be changed after creation; it is `sglang`, \
             found `vllm`: put it back, or create another deployment",
        ),
        (
            json!({"spec": {"services": {"prefill": {}, "decode": null}}}),
            "service topology is immutable and cannot be modified after creation: services added: \
             [prefill], services removed: [decode]; keep the keys of spec.services, or create another \
             deployment",
        ),
        (
            json!({"spec": {"services": {"a": {}, "b": {}}}}),
            "service topology is immutable and cannot be modified after creation: services added: [a \
             b]; keep the keys of spec.services, or create another deployment",
        ),
        (
            decode(json!({"multinode": {"nodeCount": 2}})),
            "spec.services[decode] cannot change node topology (between single-node and multi-node) \
             after creation; remove `multinode` again, or create another deployment",
        ),
    ];
    for (change, denial) in rows {
        let answer = judge(Some(&alpha()), &with(alpha(), &change));
        assert_eq!(message(&answer), denial, "{change}");
        let is_engine = denial.contains("backendFramework");
        let warned = ["Changing spec.backendFramework may cause unexpected behavior"];
        assert_eq!(answer.warnings, if is_engine { &warned[..] } else { &[] });
        let label = answer.denial.map(|denial| denial.label);
        assert_eq!(label, (!denial.is_empty()).then_some("immutable"));
    }
    let multi = with(alpha(), &decode(json!({"multinode": {"nodeCount": 2}})));
    let more = with(alpha(), &decode(json!({"multinode": {"nodeCount": 4}})));
    assert_eq!(judge(Some(&multi), &more), Answer::pass(), "more nodes are still several");
    assert!(message(&judge(Some(&multi), &alpha())).contains("put `multinode` back"));
}

#[test]
fn a_component_alone_keeps_its_engine_and_has_no_guard() {
    let alone = json!({
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoComponentDeployment",
        "metadata": {"name": "x"},
        "spec": {"backendFramework": "vllm", "replicas": 1, "scalingAdapter": {"enabled": true}}
    });
    let more = with(alone.clone(), &json!({"spec": {"replicas": 5}}));
    assert_eq!(judge(Some(&alone), &more), Answer::pass());
    let other = with(alone.clone(), &json!({"spec": {"backendFramework": "trtllm"}}));
    assert_eq!(
        message(&judge(Some(&alone), &other)),
        "spec.backendFramework is immutable and cannot be changed after creation; it is `vllm`, found \
         `trtllm`: put it back, or create another deployment"
    );
}

#[test]
fn what_cannot_be_judged_is_refused_with_the_field_at_fault() {
    let said = |door, request: &Request| {
        let denial = answer(door, request, &rules()).denial.unwrap();
        assert_eq!((denial.code, denial.label), (400, "unreadable"));
        denial.message
    };
    let graph = Door::Validate(Subject::Graph);
    let mut pod = request(None, &alpha());
    (pod.group, pod.version, pod.kind) = (String::new(), "v1".to_owned(), "Pod".to_owned());
    assert_eq!(
        said(graph, &pod),
        "request.kind: expected DynamoGraphDeployment of nvidia.com, found `Pod` of ``: put the rule \
         for it under another webhook of the registration"
    );
    let mut later = request(None, &alpha());
    later.version = "v2".to_owned();
    assert_eq!(
        said(graph, &later),
        "request.kind.version: expected v1alpha1 or v1beta1, found `v2`: register these two with \
         `matchPolicy: Equivalent`, and the API server converts"
    );
    let mut none = request(None, &alpha());
    none.object = None;
    assert_eq!(said(graph, &none), "request.object: expected an object in a CREATE, found none");
    let mut blind = request(Some(&alpha()), &alpha());
    blind.old = Some(json!("x"));
    assert_eq!(
        said(graph, &blind),
        "request.oldObject: expected an object in a UPDATE, found none"
    );
    assert_eq!(said(Door::Fill(Subject::Graph), &blind), said(graph, &blind));
}

#[test]
fn an_answer_has_an_end_whatever_is_wrong() {
    let size = |old: Option<&Value>, new: &Value| {
        let answer = judge(old, new);
        assert!(answer.denial.is_some());
        answer.to_review("u-1").len()
    };
    let mounts = with(alpha(), &decode(json!({"volumeMounts": vec![json!({}); 100_000]})));
    let answer = judge(None, &mounts);
    assert!(answer.to_review("u-1").len() < 64 << 10);
    assert_eq!(message(&answer).lines().count(), 21);
    assert!(message(&answer).ends_with("\nand 99980 more"), "{}", message(&answer));
    let claims = with(alpha(), &json!({"spec": {"pvcs": vec![json!({"create": true}); 100_000]}}));
    assert!(message(&judge(None, &claims)).ends_with("\nand 399980 more"));
    let long = "x".repeat(1 << 20);
    let order = json!({"spec": {"restart": {"id": "1", "strategy": {"order": [long, "y"]}}}});
    let named = json!({"spec": {"services": {long.as_str(): {"replicas": "x", "multinode": 1}}}});
    let backend = json!({"spec": {"backendFramework": long}});
    for change in [order, named.clone(), backend] {
        let new = with(alpha(), &change);
        assert!(size(Some(&alpha()), &new) < 64 << 10);
        // Also where it is the old object that is so.
        assert!(size(Some(&with(alpha(), &named)), &new) < 64 << 10);
    }
    let many: serde_json::Map<String, Value> =
        (0..50_000).map(|n| (format!("s{n}"), json!({}))).collect();
    let many = with(alpha(), &json!({"spec": {"services": many}}));
    let gone = judge(Some(&many), &alpha());
    assert!(message(&gone).contains(" and 499"), "{}", message(&gone));
    assert!(size(Some(&many), &alpha()) < 64 << 10);
    let model = json!({"engine": {"backend": long}, "deployment": {"model": long}});
    let request = json!({
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "r"}, "spec": {"profilingConfig": {"config": model}}
    });
    assert!(size(None, &request) < 64 << 10);
}

#[test]
fn deletions_and_subresources_pass() {
    let bad = with(alpha(), &json!({"spec": {"services": null}}));
    let mut status = request(Some(&alpha()), &bad);
    status.sub_resource = "status".to_owned();
    assert_eq!(answer(door(&bad), &status, &rules()), Answer::pass());
    let mut deletion = request(Some(&alpha()), &bad);
    (deletion.operation, deletion.object) = (Operation::Delete, None);
    assert_eq!(answer(door(&bad), &deletion, &rules()), Answer::pass());
}

#[test]
fn an_object_that_is_going_gets_rid_of_its_finalizer_whatever_is_wrong_with_it() {
    let going =
        json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["f"]}});
    let released = json!({"metadata": {"finalizers": null}});
    let bad = json!({"spec": {"services": {"decode": {"replicas": -1}}, "components": [{}]}});
    let request_kind = json!({
        "apiVersion": "nvidia.com/v1beta1", "kind": "DynamoGraphDeploymentRequest",
        "metadata": {"name": "r"}, "spec": {"searchStrategy": "thorough"}
    });
    let alone = json!({
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoComponentDeployment",
        "metadata": {"name": "x"}, "spec": {"replicas": -1}
    });
    for object in [with(alpha(), &bad), with(beta(), &bad), request_kind, alone] {
        let staying = with(object.clone(), &json!({"metadata": {"finalizers": ["f"]}}));
        let refused = judge(Some(&staying), &with(staying.clone(), &released));
        assert!(refused.denial.is_some(), "the rules hold while it stays: {object}");
        let old = with(object, &going);
        let new = with(old.clone(), &released);
        assert_eq!(judge(Some(&old), &new), Answer::pass());
        // What would be filled in is of no use to it either.
        let (Door::Validate(subject) | Door::Fill(subject)) = door(&new);
        assert_eq!(
            answer(Door::Fill(subject), &request(Some(&old), &new), &rules()),
            Answer::pass()
        );
        // The claim of the writer is not enough, and a changed spec is judged.
        assert!(judge(Some(&staying), &new).denial.is_some());
    }
    let changed = with(alpha(), &with(going.clone(), &decode(json!({"replicas": -2}))));
    assert!(judge(Some(&with(alpha(), &going)), &changed).denial.is_some());
}

#[test]
fn every_path_is_there_once() {
    let mut paths: Vec<&str> = DOORS.iter().map(|(path, _)| *path).collect();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), DOORS.len());
}

fn applied(mut object: Value, patch: &[PatchStep]) -> Value {
    let patch: json_patch::Patch =
        serde_json::from_value(serde_json::to_value(patch).unwrap()).unwrap();
    json_patch::patch(&mut object, &patch).unwrap();
    object
}
