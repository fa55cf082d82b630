//! A server of webhooks in this process, registered for one namespace by the shipped manifest.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::Status;
use serde_json::{Value, json};
use sla_planner::api::names;
use sla_planner::webhook::certs::{Keeper, KeeperOptions, Plan};
use sla_planner::webhook::{Identities, Reviewed, Rules, Server, ServerOptions, Serving};
use tokio::sync::oneshot;

use crate::bench::{Namespace, User, eventually, free_port, rule};
use crate::deploy::kustomize;
use crate::serving::{CALL, DGD, SOON, raw_dgds, raw_object, two_services};

/// The Secret of the certificate, as the manifest's Role names it.
pub(super) const SECRET: &str = "sla-planner-webhook-cert";

/// What the guide says of the service `Decode` of the graph `llama`.
pub(super) fn guide(replicas: u32) -> String {
    format!(
        "admission webhook \"vdynamographdeployment.kb.io\" denied the request: \
         spec.services[Decode].replicas cannot be modified directly when scaling adapter is enabled; \
         use 'kubectl scale dgdsa/llama-decode --replicas={replicas}' or update the \
         DynamoGraphDeploymentScalingAdapter instead"
    )
}

/// The objects of `deploy/overlays/webhook`.
pub(super) fn manifest() -> Vec<Value> {
    kustomize("overlays/webhook")
}

/// What somebody who edits graphs may do.
pub(super) fn editor_rules() -> Vec<PolicyRule> {
    vec![
        rule("nvidia.com", &[names::DGD_PLURAL], &["get", "create", "update", "patch", "delete"]),
        rule("nvidia.com", &[names::DGDSA_PLURAL], &["get"]),
        rule(
            "nvidia.com",
            &["dynamographdeploymentscalingadapters/scale"],
            &["get", "patch", "update"],
        ),
    ]
}

/// The rules with these users let past the guard.
pub(crate) fn rules_for<'a>(users: impl IntoIterator<Item = &'a User>) -> Rules {
    let exact: BTreeSet<String> = users.into_iter().map(|user| user.name.clone()).collect();
    let identities = Identities { exact, ..Identities::default() };
    Rules { identities, gpu_discovery: true, ..Rules::default() }
}

/// The webhooks of one namespace.
pub(crate) struct Hooks<'a> {
    ns: &'a Namespace,
    port: u16,
    rules: Rules,
    pub(super) serving: Serving,
    pub(super) heard: Arc<Mutex<Vec<Reviewed>>>,
    running: Option<(oneshot::Sender<()>, tokio::task::JoinHandle<()>)>,
}

impl<'a> Hooks<'a> {
    /// Registers and serves, and returns when the API server asks.
    pub(crate) async fn start(ns: &'a Namespace, rules: Rules) -> Self {
        let port = free_port();
        register(ns, port).await;
        let serving = Serving::default();
        let mut keeper = keeper(ns, &serving, ns.admin().await);
        keeper.look(now()).await.expect("a certificate");
        let mut hooks = Self { ns, port, rules, serving, heard: Arc::default(), running: None };
        hooks.serve().await;
        hooks.until_asked().await;
        hooks
    }

    /// Begins to serve, on the same port as before.
    pub(super) async fn serve(&mut self) {
        let options = ServerOptions {
            rules: self.rules.clone(),
            serving: self.serving.clone(),
            ..ServerOptions::default()
        };
        let address = ([127, 0, 0, 1], self.port).into();
        let server = Server::bind(address, options).await.expect("a free port");
        let (stop, stopped) = oneshot::channel::<()>();
        let heard = Arc::clone(&self.heard);
        let told =
            move |reviewed: &Reviewed| heard.lock().expect("no panic").push(reviewed.clone());
        let task = tokio::spawn(server.serve(async { drop(stopped.await) }, told));
        self.running = Some((stop, task));
    }

    /// Stops to serve.
    pub(super) async fn stop(&mut self) {
        if let Some((stop, task)) = self.running.take() {
            stop.send(()).expect("the server still runs");
            task.await.expect("the server ends");
        }
    }

    /// The API server learns of a registration by a watch.
    pub(super) async fn until_asked(&self) {
        until_asked(self.ns).await;
    }
}

/// Until a graph that cannot be is refused.
pub(super) async fn until_asked(ns: &Namespace) {
    let dgds = raw_dgds(ns).await;
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    let mut spec = two_services();
    spec["services"]["Decode"]["ingress"] = json!({"enabled": true});
    let bad = raw_object("probe", spec);
    eventually("the API server to ask the webhook", SOON, async || {
        match dgds.create(&dry, &bad).await {
            Err(error) if error.to_string().contains("ingress.host is required") => Ok(()),
            other => Err(format!("{:?}", other.map(drop))),
        }
    })
    .await;
}

/// Name of the registration of a namespace: there is one for each test.
pub(super) fn registration(ns: &Namespace) -> String {
    format!("hooks-{}", ns.name())
}

/// A keeper as `sla-planner webhook` has one, for a registration with a `url`.
pub(super) fn keeper(ns: &Namespace, serving: &Serving, client: kube::Client) -> Keeper {
    let options = KeeperOptions {
        namespace: ns.name().to_owned(),
        secret: SECRET.to_owned(),
        registration: registration(ns),
        plan: Plan {
            names: vec!["127.0.0.1".to_owned()],
            validity: Duration::from_secs(12 * 60),
            settle: Duration::from_secs(3),
        },
        every: Some(Duration::from_millis(200)),
        call_deadline: CALL,
    };
    Keeper::new(client, options, serving.clone())
}

pub(super) fn now() -> sla_planner::units::Timestamp {
    sla_planner::controllers::clock::now()
}

/// Registers what the manifest registers, for one namespace and a server on the loopback.
pub(super) async fn register(ns: &Namespace, port: u16) {
    for object in manifest() {
        if is_registration(&object) {
            ns.bench().apply_yaml(&for_one(object, ns, port).to_string()).await;
        }
    }
}

pub(super) fn is_registration(object: &Value) -> bool {
    object["kind"].as_str().expect("a kind").ends_with("WebhookConfiguration")
}

/// A registration as it is but for its name, for one namespace and a server on the loopback.
pub(super) fn for_one(mut object: Value, ns: &Namespace, port: u16) -> Value {
    object["metadata"]["name"] = json!(registration(ns));
    for webhook in object["webhooks"].as_array_mut().expect("webhooks") {
        let path = webhook["clientConfig"]["service"]["path"].as_str().expect("a path");
        webhook["clientConfig"] = json!({"url": format!("https://127.0.0.1:{port}{path}")});
        let here = json!({
            "key": "kubernetes.io/metadata.name", "operator": "In", "values": [ns.name()]
        });
        let selector = webhook["namespaceSelector"]["matchExpressions"].as_array_mut();
        selector.expect("a selector").push(here);
    }
    object
}

/// The validating registration as it is.
pub(super) async fn registered(ns: &Namespace) -> ValidatingWebhookConfiguration {
    let api: Api<ValidatingWebhookConfiguration> = Api::all(ns.admin().await);
    api.get(&registration(ns)).await.expect("the registration")
}

/// The `caBundle` of each webhook, validating and mutating, as text.
pub(super) async fn bundles(ns: &Namespace) -> Vec<String> {
    let mutating: Api<k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration> =
        Api::all(ns.admin().await);
    let mutating = mutating.get(&registration(ns)).await.expect("the registration");
    let configs = registered(ns).await.webhooks.unwrap_or_default().into_iter();
    let configs = configs.map(|webhook| webhook.client_config);
    let more = mutating.webhooks.unwrap_or_default().into_iter();
    configs
        .chain(more.map(|webhook| webhook.client_config))
        .map(|config| {
            let bytes = config.ca_bundle.map(|bundle| bundle.0).unwrap_or_default();
            String::from_utf8(bytes).expect("PEM")
        })
        .collect()
}

/// What a user's merge patch of the graph comes to.
pub(super) async fn patch_as(
    user: &User,
    ns: &Namespace,
    patch: &Value,
    dry_run: bool,
) -> Result<(), String> {
    let resource = kube::core::ApiResource::erase::<sla_planner::api::DynamoGraphDeployment>(&());
    let api: Api<kube::api::DynamicObject> =
        Api::namespaced_with(user.client().await, ns.name(), &resource);
    let params = PatchParams { dry_run, ..PatchParams::default() };
    match api.patch(DGD, &params, &Patch::Merge(patch)).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => {
            let Status { message, .. } = *status;
            Err(message)
        }
        Err(error) => Err(error.to_string()),
    }
}

/// The patch of the replicas of one service.
pub(super) fn replicas(service: &str, count: u32) -> Value {
    json!({"spec": {"services": {service: {"replicas": count}}}})
}

/// Reviews without a pause, from four users at once, until it is stopped.
#[derive(Default)]
pub(super) struct Load {
    done: AtomicBool,
    asked: AtomicUsize,
}

impl Load {
    /// Asks for what passes and for what the guard refuses, and answers how long two of them took at
    /// most.
    ///
    /// # Panics
    ///
    /// When a review is lost.
    pub(super) async fn run(&self, editor: &User, ns: &Namespace) -> Duration {
        let one = async |index: u32| {
            let mut slowest = Duration::ZERO;
            let mut round = 0;
            while !self.done.load(Ordering::Relaxed) {
                round += 1;
                let began = Instant::now();
                let free = patch_as(editor, ns, &replicas("Prefill", index + round), true).await;
                assert_eq!(free, Ok(()), "a review was lost");
                let held = patch_as(editor, ns, &replicas("Decode", 90), true).await;
                let said = held.expect_err("guarded");
                assert!(said.contains("denied the request: spec.services[Decode]"), "{said}");
                self.asked.fetch_add(2, Ordering::Relaxed);
                slowest = slowest.max(began.elapsed());
            }
            slowest
        };
        let (a, b, c, d) = tokio::join!(one(1), one(2), one(3), one(4));
        [a, b, c, d].into_iter().max().unwrap_or_default()
    }

    /// Reviews so far.
    pub(super) fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }

    /// Returns after so many more.
    pub(super) async fn goes_on_for(&self, reviews: usize) {
        let enough = self.asked() + reviews;
        eventually("the load to go on", SOON, async || {
            let count = self.asked();
            if count >= enough { Ok(()) } else { Err(count) }
        })
        .await;
    }

    pub(super) fn stop(&self) {
        self.done.store(true, Ordering::Relaxed);
    }
}
