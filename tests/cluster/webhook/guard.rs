//! Who may change replicas that an adapter holds, and what users are told.

use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};
use sla_planner::webhook::Rules;

use super::scene::{Hooks, editor_rules, guide, patch_as, registration, replicas, rules_for};
use crate::bench::{User, eventually};
use crate::serving::{
    Controller, DGD, SOON, client_through, controller_rules, create_dgd, dgd_asks_for, namespace,
    raw_dgd, raw_dgds, raw_object, two_services,
};

#[tokio::test]
async fn a_direct_edit_is_refused_and_the_command_that_is_named_works() {
    let ns = namespace("guarded").await;
    let operator = ns.token(controller_rules()).await;
    let editor = ns.token(editor_rules()).await;
    let hooks = Hooks::start(&ns, rules_for([&operator])).await;
    create_dgd(&ns, two_services()).await;
    let controller = Controller::start_with(&ns, client_through(&operator, None).await);
    controller.adapter(&ns, "llama-decode").await;

    let patch = replicas("Decode", 5).to_string();
    let edit = ["patch", "dgd", DGD, "--type=merge", "-p", &patch];
    let refused = ns.bench().kubectl_as(&editor, &edit).await;
    assert!(!refused.status.success());
    assert_eq!(refused.stderr.trim(), format!("Error from server (Forbidden): {}", guide(5)));
    // Cluster administrators are no exception.
    let refused = ns.kubectl(&edit).await;
    assert!(refused.stderr.contains(&guide(5)), "{}", refused.stderr);
    let told = hooks.heard.lock().unwrap().last().unwrap().clone();
    assert_eq!((told.operation, told.result, told.reason), ("UPDATE", "denied", "replicas"));

    let command = refused.stderr.split('\'').nth(1).expect("a command in quotes").to_owned();
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    assert_eq!(words, ["scale", "dgdsa/llama-decode", "--replicas=5"]);
    ns.bench().kubectl_as(&editor, &words).await.success();
    // Our own controller carries it to the graph, past the guard.
    dgd_asks_for(&ns, "Decode", 5).await;
    // What no adapter holds is free.
    assert_eq!(patch_as(&editor, &ns, &replicas("Prefill", 3), false).await, Ok(()));
}

#[tokio::test]
async fn every_way_to_write_is_guarded_and_a_dry_run_says_the_same() {
    let ns = namespace("ways").await;
    let editor = ns.token(editor_rules()).await;
    let _hooks = Hooks::start(&ns, rules_for([])).await;
    create_dgd(&ns, two_services()).await;

    let dry = patch_as(&editor, &ns, &replicas("Decode", 5), true).await;
    assert_eq!(dry, Err(guide(5)));
    let resource = kube::core::ApiResource::erase::<sla_planner::api::DynamoGraphDeployment>(&());
    let api: Api<kube::api::DynamicObject> =
        Api::namespaced_with(editor.client().await, ns.name(), &resource);
    let mut applied = raw_object(DGD, json!({"services": {"Decode": {"replicas": 5}}}));
    applied.metadata.namespace = Some(ns.name().to_owned());
    let params = PatchParams::apply("somebody").force();
    let refused = api.patch(DGD, &params, &Patch::Apply(&applied)).await.expect_err("refused");
    assert!(refused.to_string().contains(&guide(5)), "{refused}");
    let steps: json_patch::Patch = serde_json::from_value(json!([
        {"op": "replace", "path": "/spec/services/Decode/replicas", "value": 5}
    ]))
    .unwrap();
    let refused = api.patch(DGD, &PatchParams::default(), &Patch::Json::<()>(steps)).await;
    assert!(refused.expect_err("refused").to_string().contains(&guide(5)));
    let mut whole = raw_dgd(&ns).await;
    whole.data["spec"]["services"]["Decode"]["replicas"] = json!(5);
    let refused = api.replace(DGD, &PostParams::default(), &whole).await;
    assert!(refused.expect_err("refused").to_string().contains(&guide(5)));

    // A manifest that leaves the replicas to the adapter can be put whole: they stay.
    let mut silent = raw_dgd(&ns).await;
    silent.data["spec"]["services"]["Decode"].as_object_mut().unwrap().remove("replicas");
    silent.data["spec"]["services"]["Prefill"].as_object_mut().unwrap().remove("replicas");
    api.replace(DGD, &PostParams::default(), &silent).await.expect("it says nothing of them");
    let services = raw_dgd(&ns).await.data["spec"]["services"].clone();
    assert_eq!(
        (&services["Decode"]["replicas"], &services["Prefill"]["replicas"]),
        (&json!(2), &json!(1))
    );
}

#[tokio::test]
async fn switching_the_adapter_off_is_no_way_past_the_guard_but_two_updates_are() {
    let ns = namespace("bypass").await;
    let editor = ns.token(editor_rules()).await;
    let _hooks = Hooks::start(&ns, rules_for([])).await;
    create_dgd(&ns, two_services()).await;

    for adapter in [json!({"enabled": false}), Value::Null] {
        let at_once =
            json!({"spec": {"services": {"Decode": {"replicas": 7, "scalingAdapter": adapter}}}});
        let said = patch_as(&editor, &ns, &at_once, false).await.expect_err("refused");
        assert_eq!(
            said,
            format!(
                "{}; to take the replicas over, switch the adapter off first, in an update of its own",
                guide(7)
            )
        );
    }
    assert_eq!(raw_dgd(&ns).await.data["spec"]["services"]["Decode"]["replicas"], 2);
    let off = json!({"spec": {"services": {"Decode": {"scalingAdapter": {"enabled": false}}}}});
    assert_eq!(patch_as(&editor, &ns, &off, false).await, Ok(()));
    assert_eq!(patch_as(&editor, &ns, &replicas("Decode", 7), false).await, Ok(()));
}

#[tokio::test]
async fn an_identity_passes_by_its_whole_name_also_when_it_is_impersonated() {
    let ns = namespace("who").await;
    let other = namespace("who-else").await;
    let ours = ns.service_account("sla-planner", editor_rules(), vec![]).await;
    let cluster_rules = editor_rules();
    let namesake = other.service_account("sla-planner", vec![], cluster_rules.clone()).await;
    let planner = ns.service_account("planner-serviceaccount", editor_rules(), vec![]).await;
    let editor = ns.token(editor_rules()).await;
    let _hooks = Hooks::start(&ns, rules_for([&ours])).await;
    create_dgd(&ns, two_services()).await;

    assert_eq!(patch_as(&ours, &ns, &replicas("Decode", 3), false).await, Ok(()));
    for user in [&namesake, &planner, &editor] {
        let said = patch_as(user, &ns, &replicas("Decode", 4), false).await;
        assert_eq!(said, Err(guide(4)), "{}", user.name);
    }
    // Whoever may impersonate is who they say they are, to us as to RBAC.
    let patch_of = |count| replicas("Decode", count).to_string();
    let as_user = async |user: &User, count| {
        let (who, patch) = (format!("--as={}", user.name), patch_of(count));
        ns.kubectl(&[&who, "patch", "dgd", DGD, "--type=merge", "-p", &patch]).await
    };
    as_user(&ours, 6).await.success();
    let refused = as_user(&editor, 7).await;
    assert!(refused.stderr.contains(&guide(7)), "{}", refused.stderr);
    // And who may not impersonate does not get as far as the guard.
    let who = format!("--as={}", ours.name);
    let patch = patch_of(8);
    let refused = ns
        .bench()
        .kubectl_as(&editor, &[&who, "patch", "dgd", DGD, "--type=merge", "-p", &patch])
        .await;
    assert!(refused.stderr.contains("cannot impersonate"), "{}", refused.stderr);
    assert_eq!(raw_dgd(&ns).await.data["spec"]["services"]["Decode"]["replicas"], 6);
}

#[tokio::test]
async fn rules_warnings_and_defaults_reach_the_user() {
    let ns = namespace("rules").await;
    let editor = ns.token(editor_rules()).await;
    let rules = Rules { dynamo_version: Some("0.9.0".to_owned()), ..rules_for([]) };
    let _hooks = Hooks::start(&ns, rules).await;
    let mut spec = two_services();
    spec["services"]["Prefill"] = json!({"autoscaling": {"enabled": true}, "dynamoNamespace": "x"});
    let file = ns.bench().dir().join(format!("{}.json", ns.name()));
    let object = json!({
        "apiVersion": "nvidia.com/v1alpha1", "kind": "DynamoGraphDeployment",
        "metadata": {"name": DGD}, "spec": spec
    });
    std::fs::write(&file, object.to_string()).unwrap();
    let created = ns.bench().kubectl_as(&editor, &["create", "-f", file.to_str().unwrap()]).await;
    assert!(created.status.success(), "{}", created.stderr);
    let dynamo_namespace = format!(
        "Warning: spec.services[Prefill].dynamoNamespace is deprecated and ignored. Value 'x' will be \
         replaced with '{}-llama'. Remove this field from your configuration",
        ns.name()
    );
    assert!(created.stderr.contains(&dynamo_namespace), "{}", created.stderr);
    assert!(created.stderr.contains("Warning: spec.services[Prefill].autoscaling is deprecated"));
    let made = raw_dgd(&ns).await;
    assert_eq!(made.data["spec"]["services"]["Prefill"]["replicas"], 1, "filled in");
    let stamps = made.metadata.annotations.unwrap_or_default();
    assert_eq!(stamps["nvidia.com/dynamo-operator-origin-version"], "0.9.0");

    let engine = json!({"spec": {"backendFramework": "sglang"}});
    let said = patch_as(&editor, &ns, &engine, false).await.expect_err("refused");
    assert!(said.contains("spec.backendFramework is immutable and cannot be changed"), "{said}");
    let topology = json!({"spec": {"services": {"Extra": {}, "Prefill": null}}});
    let said = patch_as(&editor, &ns, &topology, false).await.expect_err("refused");
    assert!(said.contains("services added: [Extra], services removed: [Prefill]"), "{said}");
}

#[tokio::test]
async fn without_an_answer_the_failure_policy_holds_and_graphs_can_still_go() {
    let ns = namespace("away").await;
    let editor = ns.token(editor_rules()).await;
    let mut hooks = Hooks::start(&ns, rules_for([])).await;
    create_dgd(&ns, two_services()).await;
    let mut held = raw_object("held", two_services());
    held.metadata.finalizers = Some(vec!["nvidia.com/finalizer".to_owned()]);
    raw_dgds(&ns)
        .await
        .create(&PostParams::default(), &held)
        .await
        .expect("a graph with a finalizer");
    hooks.stop().await;

    // Fail: nothing of it is changed, whatever it is.
    let label = json!({"metadata": {"labels": {"a": "b"}}});
    let said = patch_as(&editor, &ns, &label, false).await.expect_err("refused");
    assert!(said.contains("failed calling webhook \"vdynamographdeployment.kb.io\""), "{said}");
    // What is being deleted gets rid of its finalizer all the same, and deletions are not asked for.
    ns.kubectl(&["delete", "dgd", "held", "--wait=false"]).await.success();
    let release = r#"{"metadata":{"finalizers":null}}"#;
    ns.kubectl(&["patch", "dgd", "held", "--type=merge", "-p", release]).await.success();

    // Ignore: everything passes, the guard too.
    let ignore =
        json!({"webhooks": [{"name": "vdynamographdeployment.kb.io", "failurePolicy": "Ignore"}]});
    let ignore = ignore.to_string();
    let name = registration(&ns);
    let patch = ["patch", "validatingwebhookconfiguration", &name, "-p", &ignore];
    ns.kubectl(&patch).await.success();
    eventually("the policy to be ignored", SOON, async || {
        patch_as(&editor, &ns, &replicas("Decode", 9), false).await
    })
    .await;

    // Back again, it is asked again.
    let fail = ignore.replace("Ignore", "Fail");
    ns.kubectl(&["patch", "validatingwebhookconfiguration", &name, "-p", &fail]).await.success();
    hooks.serve().await;
    hooks.until_asked().await;
    assert_eq!(patch_as(&editor, &ns, &replicas("Decode", 3), false).await, Err(guide(3)));
    // And an administrator can let one namespace out.
    hooks.stop().await;
    ns.kubectl(&["label", "namespace", ns.name(), "sla-planner/webhooks=ignored"]).await.success();
    eventually("the namespace to be let out", SOON, async || {
        patch_as(&editor, &ns, &replicas("Decode", 3), false).await
    })
    .await;
}
