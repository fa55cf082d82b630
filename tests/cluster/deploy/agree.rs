//! Helm and kustomize install the same, and Helm refuses what cannot work.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::render::{
    EVERYWHERE, NEEDED, SERVICE, config_of, helm_template, kustomize, manifests, of_kind, rules_of,
};

/// The configuration in the ConfigMap.
fn config(objects: &[Value]) -> Value {
    config_of(objects, "planner.yaml")
}

/// The Deployment without what one of the two alone says: labels, and names that are made.
fn process(objects: &[Value]) -> Value {
    let mut spec = of_kind(objects, "Deployment")["spec"].clone();
    let config = &mut spec["template"]["spec"]["volumes"][0]["configMap"]["name"];
    assert_eq!(*config, of_kind(objects, "ConfigMap")["metadata"]["name"], "it is the one made");
    *config = json!("…");
    let selector = spec["selector"].take();
    let labels = spec["template"]["metadata"].take()["labels"].take();
    for (key, value) in selector["matchLabels"].as_object().expect("labels") {
        assert_eq!(labels[key], *value, "the selector finds its pods");
    }
    let spread = "/template/spec/topologySpreadConstraints/0/labelSelector/matchLabels";
    if let Some(spread) = spec.pointer_mut(spread) {
        assert_eq!(spread.take(), selector["matchLabels"], "its own pods are spread");
    }
    let container = &mut spec["template"]["spec"]["containers"][0];
    // What Kubernetes takes for an image with a tag anyway.
    let policy = container.as_object_mut().expect("a container").shift_remove("imagePullPolicy");
    assert!(policy.is_none_or(|policy| policy == "IfNotPresent"));
    spec
}

/// Who is bound to what, and where: each binding in words.
fn bindings(objects: &[Value]) -> Vec<String> {
    let account = of_kind(objects, "ServiceAccount");
    let subject = json!([{
        "kind": "ServiceAccount",
        "name": account["metadata"]["name"], "namespace": account["metadata"]["namespace"],
    }]);
    let mut all = Vec::new();
    for binding in objects {
        let kind = binding["kind"].as_str().expect("a kind");
        if !kind.ends_with("Binding") {
            continue;
        }
        let (of, place) = (&binding["roleRef"], &binding["metadata"]["namespace"]);
        let is_bound = |o: &&Value| o["kind"] == of["kind"] && o["metadata"]["name"] == of["name"];
        let role = objects.iter().find(is_bound).expect("its role");
        assert!(of["kind"] == "ClusterRole" || role["metadata"]["namespace"] == *place);
        assert_eq!(binding["subjects"], subject);
        all.push(format!("{kind} of the {} in {place}", of["kind"]));
    }
    all.sort();
    all
}

/// The rules of each role, by its kind.
fn rules(objects: &[Value]) -> BTreeMap<&str, &Value> {
    let all = objects.iter().filter_map(|o| Some((o["kind"].as_str()?, o)));
    all.filter(|(kind, _)| kind.ends_with("Role")).map(|(kind, o)| (kind, &o["rules"])).collect()
}

fn assert_agree(kustomize: &[Value], helm: &[Value]) {
    assert_eq!(rules(kustomize), rules(helm));
    assert_eq!(config(kustomize), config(helm));
    assert_eq!(process(kustomize), process(helm));
    assert_eq!(bindings(kustomize), bindings(helm));
    let mounts = |objects: &[Value]| {
        of_kind(objects, "ServiceAccount")["automountServiceAccountToken"].clone()
    };
    assert_eq!(mounts(kustomize), mounts(helm));
    let kinds = |objects: &[Value]| {
        let mut all: Vec<_> = objects.iter().map(|o| o["kind"].to_string()).collect();
        // A namespace is made by `helm install --create-namespace`.
        all.retain(|kind| kind != "\"Namespace\"");
        all.sort();
        all
    };
    assert_eq!(kinds(kustomize), kinds(helm));
}

#[test]
fn helm_and_kustomize_make_the_same_planner_of_one_graph() {
    let mut kustomize = kustomize("overlays/planner");
    let helm = helm_template("llm", &NEEDED).expect("a chart");
    // The chart says what the overlay leaves to the default.
    let map = kustomize.iter_mut().find(|o| o["kind"] == "ConfigMap").expect("a ConfigMap");
    let text = map["data"]["planner.yaml"].as_str().expect("a text");
    map["data"]["planner.yaml"] = json!(format!("{text}adapter_controller: false\n"));
    assert_agree(&kustomize, &helm);
}

#[test]
fn helm_and_kustomize_make_the_same_service_of_a_cluster() {
    for (overlay, values) in [("cluster", SERVICE), ("every-namespace", EVERYWHERE)] {
        let kustomize = kustomize(&format!("overlays/{overlay}"));
        let helm = helm_template("sla-planner", &values).expect("a chart");
        assert_agree(&kustomize, &helm);
        for objects in [&kustomize, &helm] {
            let mut budget = of_kind(objects, "PodDisruptionBudget")["spec"].clone();
            let selector = budget.as_object_mut().expect("a budget").shift_remove("selector");
            let deployment = &of_kind(objects, "Deployment")["spec"];
            assert_eq!(selector.as_ref(), Some(&deployment["selector"]));
            let expected =
                json!({"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"});
            assert_eq!(budget, expected, "it holds up no drain");
            assert_eq!(deployment["replicas"], 2);
        }
    }
}

#[test]
fn each_namespace_that_is_served_has_its_binding_and_the_leases_are_where_they_are_looked_for() {
    let served = "config.cluster.namespaces={llm,chat}";
    let elsewhere = "config.cluster.lease_namespace=leases";
    let values = [SERVICE[0], served, elsewhere, SERVICE[3]];
    let helm = helm_template("sla-planner", &values).expect("a chart");
    assert_eq!(
        bindings(&helm),
        [
            r#"RoleBinding of the "ClusterRole" in "chat""#,
            r#"RoleBinding of the "ClusterRole" in "llm""#,
            r#"RoleBinding of the "Role" in "leases""#,
        ]
    );
    let everywhere = helm_template("sla-planner", &EVERYWHERE).expect("a chart");
    assert_eq!(
        bindings(&everywhere),
        [
            r#"ClusterRoleBinding of the "ClusterRole" in null"#,
            r#"RoleBinding of the "Role" in "sla-planner""#,
        ]
    );
}

#[test]
fn helm_and_kustomize_make_the_same_monitor() {
    let endpoints = |objects: &[Value]| {
        let monitor = of_kind(objects, "PodMonitor");
        let selector = &monitor["spec"]["selector"]["matchLabels"];
        assert_eq!(*selector, of_kind(objects, "Deployment")["spec"]["selector"]["matchLabels"]);
        let place = monitor["metadata"]["namespace"].clone();
        assert_eq!(place, of_kind(objects, "Deployment")["metadata"]["namespace"]);
        (place, monitor["spec"]["podMetricsEndpoints"].clone())
    };
    let mut values = NEEDED.to_vec();
    values.push("podMonitor.enabled=true");
    let helm = helm_template("llm", &values).expect("a chart");
    assert_eq!(endpoints(&kustomize("overlays/planner-monitored")), endpoints(&helm));
    endpoints(&kustomize("overlays/cluster-monitored"));

    values.push("webhook.enabled=true");
    let both = helm_template("sla-planner", &values).expect("a chart");
    let monitors = both.iter().filter(|object| object["kind"] == "PodMonitor").count();
    assert_eq!(monitors, 2, "one of the planner, one of the webhooks");
    let theirs = webhooks(kustomize("overlays/webhook-monitored"));
    assert_eq!(endpoints(&theirs), endpoints(&webhooks(both)));
}

#[test]
fn a_planner_without_metrics_leaves_the_webhooks_their_monitor() {
    let more = ["config.metrics_port=0", "podMonitor.enabled=true", "webhook.enabled=true"];
    let helm = helm_template("llm", &[&NEEDED[..], &more].concat()).expect("a chart");
    let monitor = of_kind(&helm, "PodMonitor");
    assert_eq!(monitor["metadata"]["name"], "sla-planner-webhook");
    let finds = &monitor["spec"]["selector"]["matchLabels"]["app.kubernetes.io/component"];
    assert_eq!(finds, "webhook");
}

/// The objects of the webhooks, with what a release names in the whole cluster named as in the overlay.
fn webhooks(objects: Vec<Value>) -> Vec<Value> {
    let is_theirs = |o: &Value| o["metadata"]["labels"]["app.kubernetes.io/component"] == "webhook";
    let theirs = Value::Array(objects.into_iter().filter(is_theirs).collect());
    let text = theirs.to_string().replace("sla-planner-sla-planner-webhook", "CLUSTERWIDE");
    serde_json::from_str(&text).expect("JSON")
}

/// The selectors of what finds the pods, each without the label of a release.
fn selectors(objects: &[Value]) -> Vec<Value> {
    let pod = &of_kind(objects, "Deployment")["spec"]["template"];
    let spread = &pod["spec"]["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"];
    let mut all = vec![
        of_kind(objects, "Service")["spec"]["selector"].clone(),
        of_kind(objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"].clone(),
        of_kind(objects, "Deployment")["spec"]["selector"]["matchLabels"].clone(),
        spread.clone(),
    ];
    for selector in &mut all {
        let labels = selector.as_object_mut().expect("labels");
        assert!(!labels.is_empty());
        for (key, value) in &*labels {
            assert_eq!(pod["metadata"]["labels"][key], *value, "it finds the pods");
        }
        labels.shift_remove("app.kubernetes.io/instance");
    }
    all
}

#[test]
fn helm_and_kustomize_make_the_same_webhooks() {
    let values = [&NEEDED[..], &["webhook.enabled=true"]].concat();
    let helm = helm_template("sla-planner", &values).expect("a chart");
    let is_planner = |o: &&Value| {
        o["kind"] == "Deployment"
            && o["metadata"]["labels"]["app.kubernetes.io/component"].is_null()
    };
    let planner = helm.iter().find(is_planner).expect("the planner")["spec"]["selector"].clone();
    let name = &planner["matchLabels"]["app.kubernetes.io/name"];
    assert_eq!(name, "sla-planner", "no pods in common with the webhooks");
    let (kustomize, helm) = (webhooks(kustomize("overlays/webhook")), webhooks(helm));

    assert_eq!(selectors(&kustomize), selectors(&helm));
    assert_eq!(process(&kustomize), process(&helm));
    for kind in ["Role", "ClusterRole"] {
        let rules = |objects: &[Value]| {
            let text = of_kind(objects, kind)["rules"].to_string();
            let text = text.replace("CLUSTERWIDE", "sla-planner");
            serde_json::from_str::<Value>(&text).expect("JSON")
        };
        assert_eq!(rules(&kustomize), rules(&helm), "{kind}");
    }
    for kind in ["RoleBinding", "ClusterRoleBinding"] {
        let subjects = |objects: &[Value]| of_kind(objects, kind)["subjects"].clone();
        assert_eq!(subjects(&kustomize), subjects(&helm), "{kind}");
        assert_eq!(subjects(&helm)[0]["name"], "sla-planner-webhook", "not the planner's account");
    }
    for kind in ["ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"] {
        let hooks = |objects: &[Value]| of_kind(objects, kind)["webhooks"].clone();
        assert_eq!(hooks(&kustomize), hooks(&helm), "{kind}");
    }
    for objects in [&kustomize, &helm] {
        let mut budget = of_kind(objects, "PodDisruptionBudget")["spec"].clone();
        budget.as_object_mut().expect("a budget").shift_remove("selector");
        let expected = json!({"maxUnavailable": 1, "unhealthyPodEvictionPolicy": "AlwaysAllow"});
        assert_eq!(budget, expected, "a single replica holds up no drain");
    }
    let spec = |objects: &[Value], kind: &str| of_kind(objects, kind)["spec"]["ports"].clone();
    assert_eq!(spec(&kustomize, "Service"), spec(&helm, "Service"));
    let settled = |objects: &[Value]| {
        let text = config_of(objects, "webhook.yaml").to_string();
        let text = text.replace("CLUSTERWIDE", "sla-planner");
        let in_a_pod = sla_planner::spec::Defaults {
            pod_namespace: Some("sla-planner".to_owned()),
            ..sla_planner::spec::Defaults::default()
        };
        sla_planner::spec::load(&text, "webhook.yaml", &in_a_pod).expect("valid").webhook
    };
    assert_eq!(settled(&kustomize), settled(&helm));
    let allowed: Vec<String> = settled(&helm).allowed_users.into_iter().collect();
    assert_eq!(allowed, ["system:serviceaccount:sla-planner:sla-planner"]);
}

#[test]
fn helm_and_kustomize_let_the_same_in_and_a_release_may_let_in_more() {
    let ingress = |objects: &[Value]| of_kind(objects, "NetworkPolicy")["spec"]["ingress"].clone();
    let mut expected = ingress(&manifests("components/webhook-network-policy/networkpolicy.yaml"));
    let values = [&NEEDED[..], &["webhook.enabled=true", "webhook.networkPolicy.enabled=true"]];
    let mut values = values.concat();
    assert_eq!(ingress(&helm_template("llm", &values).expect("a chart")), expected);
    values.push("webhook.networkPolicy.extraFrom[0].ipBlock.cidr=10.244.0.0/32");
    let sources = expected[0]["from"].as_array_mut().expect("a list");
    sources.push(json!({"ipBlock": {"cidr": "10.244.0.0/32"}}));
    assert_eq!(ingress(&helm_template("llm", &values).expect("a chart")), expected);
}

#[test]
fn a_release_lets_its_own_planner_pass_the_guard_whatever_it_is_called() {
    let values = [
        &NEEDED[..],
        &["webhook.enabled=true", "serviceAccount.name=ada", "webhook.config.allowed_users={bea}"],
    ]
    .concat();
    let helm = webhooks(helm_template("llm", &values).expect("a chart"));
    let config = config_of(&helm, "webhook.yaml");
    assert_eq!(config["webhook"]["allowed_users"], json!(["system:serviceaccount:llm:ada", "bea"]));
}

#[test]
fn the_webhooks_have_the_rights_that_their_configuration_needs() {
    let rights = |more: &[&str]| {
        let values = [&NEEDED[..], &["webhook.enabled=true"], more].concat();
        let helm = webhooks(helm_template("llm", &values).expect("a chart"));
        let roles = ["Role", "ClusterRole"].map(|kind| {
            let is_there = helm.iter().any(|object| object["kind"] == kind);
            let rules = if is_there { rules_of(&helm, kind) } else { Vec::new() };
            rules.into_iter().flat_map(|rule| rule.resources.unwrap_or_default()).collect()
        });
        let bindings = ["RoleBinding", "ClusterRoleBinding"];
        let bindings = bindings.map(|kind| helm.iter().filter(|o| o["kind"] == kind).count());
        let is_bound =
            |roles: &[Vec<String>; 2]| roles.each_ref().map(|r| usize::from(!r.is_empty()));
        assert_eq!(is_bound(&roles), bindings);
        (helm, roles)
    };
    let folder = "webhook.config.certificate.folder=/certs";
    let all = "webhook.config.leave_restricted=false";
    let secrets = vec!["secrets".to_owned(); 2];
    let configs = ["validatingwebhookconfigurations", "mutatingwebhookconfigurations"];
    let configs = configs.map(str::to_owned).to_vec();
    let leases = vec!["leases".to_owned()];
    let both = [&configs[..], &leases].concat();
    assert_eq!(rights(&[]).1, [secrets.clone(), both]);
    assert_eq!(rights(&[all]).1, [secrets, configs]);
    assert_eq!(rights(&[folder, all]).1, [const { Vec::<String>::new() }; 2]);
    let (helm, roles) = rights(&[folder]);
    assert_eq!(roles, [vec![], leases]);
    let certificate = &config_of(&helm, "webhook.yaml")["webhook"]["certificate"];
    assert_eq!(*certificate, json!({"folder": "/certs"}));
}

#[test]
fn a_planner_that_only_advises_gets_no_right_to_write() {
    let mut values = NEEDED.to_vec();
    values.extend(["config.mode=advise", "config.adapter_controller=true"]);
    let verbs = |objects: &[Value], kind: &str| -> Vec<String> {
        rules_of(objects, kind).into_iter().flat_map(|rule| rule.verbs).collect()
    };
    let of_one = helm_template("llm", &values).expect("a chart");
    assert_eq!(verbs(&of_one, "Role"), ["get", "get", "list"]);
    let service = [&SERVICE[..], &["config.mode=advise"]].concat();
    let service = helm_template("llm", &service).expect("a chart");
    assert_eq!(verbs(&service, "ClusterRole"), ["get", "get", "list", "list", "watch"]);
    assert_eq!(verbs(&service, "Role"), ["create", "get", "patch"], "its Lease");
}

#[test]
fn without_metrics_there_are_neither_port_nor_probes() {
    let mut values = NEEDED.to_vec();
    values.push("config.metrics_port=0");
    let helm = helm_template("llm", &values).expect("a chart");
    let pod = &of_kind(&helm, "Deployment")["spec"]["template"]["spec"];
    let container = pod["containers"][0].as_object().expect("a container");
    for field in ["ports", "livenessProbe", "readinessProbe"] {
        assert!(!container.contains_key(field), "{field}");
    }
}

#[test]
fn helm_refuses_what_cannot_work() {
    for (values, says) in [
        (&[][..], "missing property 'prometheus'"),
        (&[][..], "missing property 'target'"),
        (&["mode=shard"], "'planner', 'cluster'"),
        (&["mode=cluster"], "missing property 'cluster'"),
        (&["mode=cluster", "config.cluster={}"], "at '/config/target': 'not' failed"),
        (&["config.cluster={}"], "at '/config/cluster': 'not' failed"),
        (&["mode=cluster", "config.cluster.namespaces={a,a}"], "items at 0 and 1 are equal"),
        (&["config.target.namespace=other"], "mode planner plans in the namespace of the release"),
        (&["config.prometheus.url=prometheus:9090"], "'^https?://'"),
        (&["replicas=2"], "additional properties 'replicas' not allowed"),
        (&["config.metrics_port=0", "podMonitor.enabled=true"], "podMonitor.enabled needs metrics"),
        (&["webhook.replicas=0"], "got 0"),
        (&["webhook.failurePolicy=Maybe"], "'Fail', 'Ignore'"),
        (&["webhook.config.enabled=true"], "webhook/config/enabled"),
        (&["webhook.config.certificate.secret=x"], "webhook/config/certificate/secret"),
        (
            &["webhook.enabled=true", "config.webhook.enabled=true"],
            "webhook.enabled serves them by a Deployment of their own",
        ),
    ] {
        let needed = if values.is_empty() { &[][..] } else { &NEEDED[..] };
        let refused = helm_template("llm", &[needed, values].concat()).expect_err(says);
        assert!(refused.contains(says), "{values:?}: {refused}");
    }
}
