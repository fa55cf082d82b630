//! Keeps the Secret and the registration in step: reads, decides, writes, and serves what is there.

use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingWebhookConfiguration,
};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams, PostParams};
use kube::core::ClusterResourceScope;
use kube::{Api, Client};
use serde_json::{Value, json};
use thiserror::Error;

use super::make::{Made, MakeError, make};
use super::secret::{change, new_secret, stored_of};
use super::state::{Plan, Step, Stored, decide, newest};
use crate::api::names;
use crate::units::Timestamp;
use crate::webhook::clock;
use crate::webhook::tls::{Pair, Serving};

const VALIDATING: &str = "validatingwebhookconfigurations";
const MUTATING: &str = "mutatingwebhookconfigurations";

/// Between two looks at the Secret and the registration, where nothing went wrong. A `caBundle` that
/// somebody removed (a manifest applied anew) is put back within this time; until then the API
/// server refuses or skips what the webhook is for.
const LOOK_EVERY: Duration = Duration::from_secs(10);
/// After a failure.
const AGAIN_AFTER: Duration = Duration::from_secs(3);
/// How long a replica that has just started waits for the others to put a Secret back that is gone or
/// spoilt: they look every ten seconds. It is waited only where a registration trusts an authority, so that
/// somebody may be serving.
const OTHERS_WITHIN: Duration = Duration::from_secs(15);
/// How often one look may start anew because another replica wrote in between.
const TRIES: u32 = 5;

/// What the keeper is to keep.
#[derive(Clone, Debug)]
pub struct KeeperOptions {
    /// Namespace of the Secret.
    pub namespace: String,
    /// Name of the Secret.
    pub secret: String,
    /// Name of the two registrations; either may be missing.
    pub registration: String,
    /// What is wanted of the certificate.
    pub plan: Plan,
    /// Between two looks; `None` is every ten seconds.
    pub every: Option<Duration>,
    /// Longest time for one call.
    pub call_deadline: Duration,
}

/// What one look left behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// What was done.
    pub step: Step,
    /// When the served certificate ends; `None` where the Secret does not say.
    pub not_after: Option<Timestamp>,
}

/// Why a look failed.
#[derive(Debug, Error)]
pub enum KeepError {
    /// A call to the API server failed.
    #[error("{call}")]
    Call {
        /// Which, with the RBAC rule that it takes.
        call: String,
        /// How.
        #[source]
        source: Box<kube::Error>,
    },
    /// A call took too long.
    #[error("{call} within {} s", .deadline.as_secs_f64())]
    Deadline {
        /// Which.
        call: String,
        /// How long it was waited for.
        deadline: Duration,
    },
    /// No certificate could be made.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The Secret is gone or has no pair that can be used, and another replica may have what was in it.
    #[error("find a certificate in Secret {0}: waiting for another replica to put it back")]
    Gone(String),
    /// Another replica wrote each time in between.
    #[error("write Secret {0}: changed by another replica again and again")]
    Busy(String),
}

impl KeepError {
    /// The HTTP status of a call that was refused.
    fn code(&self) -> Option<u16> {
        let Self::Call { source, .. } = self else { return None };
        if let kube::Error::Api(status) = &**source { Some(status.code) } else { None }
    }
}

/// Keeps the certificate.
pub struct Keeper {
    client: Client,
    options: KeeperOptions,
    serving: Serving,
    /// The bundle that the registration was last seen to have, and since when.
    trusted: Option<(String, Timestamp)>,
    /// What is served, and what came with it.
    served: Option<Stored>,
    /// Since when the Secret was gone or of no use, while nothing is served.
    gone_since: Option<Timestamp>,
}

impl Keeper {
    /// A keeper for what `serving` serves.
    #[must_use]
    pub const fn new(client: Client, options: KeeperOptions, serving: Serving) -> Self {
        Self { client, options, serving, trusted: None, served: None, gone_since: None }
    }

    /// Looks again and again, until dropped. `told` hears of every look that succeeded.
    pub async fn follow(mut self, told: impl Fn(&Kept)) {
        loop {
            let pause = match self.look(clock::now()).await {
                Ok(kept) => {
                    told(&kept);
                    self.options.every.unwrap_or(LOOK_EVERY)
                }
                Err(error) => {
                    let source = std::error::Error::source(&error).map(ToString::to_string);
                    tracing::warn!(%error, source, "certificate not kept");
                    AGAIN_AFTER
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Looks once and does what is to be done.
    ///
    /// # Errors
    ///
    /// Where the API server does not let us, or cannot be reached. What was served before goes on
    /// being served.
    pub async fn look(&mut self, now: Timestamp) -> Result<Kept, KeepError> {
        let mut done = Step::Keep;
        for _ in 0..TRIES {
            let found = self.read().await?;
            let stored = found.as_ref().map(stored_of);
            let trusted = match (&stored, &self.trusted) {
                (Some(stored), Some((bundle, since))) if *bundle == stored.ca => Some(*since),
                _ => None,
            };
            let served = self.served.as_ref();
            let step = decide(stored.as_ref(), served, &self.options.plan, trusted, now);
            if step == Step::Begin {
                self.wait_for_others(now).await?;
            }
            if step != Step::Keep {
                if self.write(step, found.as_ref(), stored.unwrap_or_default(), now).await? {
                    tracing::info!(secret = self.options.secret, ?step, "certificate");
                    done = step;
                }
                // What is there now is read again, whoever wrote it.
                continue;
            }
            let Some(stored) = stored else { continue };
            let (ca, not_after) = (stored.ca.clone(), stored.not_after);
            self.serve(stored);
            self.register(&ca, now).await?;
            return Ok(Kept { step: done, not_after });
        }
        Err(KeepError::Busy(self.options.secret.clone()))
    }

    /// Serves what is in the Secret, and remembers it.
    fn serve(&mut self, stored: Stored) {
        self.gone_since = None;
        let is_served = self.served.as_ref().is_some_and(|served| served.cert == stored.cert);
        // `decide` has read the pair already; one that it could not read is never kept.
        if !is_served
            && let Ok(pair) = Pair::from_pem(stored.cert.as_bytes(), stored.key.as_bytes())
        {
            self.serving.set(pair);
            tracing::info!(secret = self.options.secret, "certificate served");
        }
        self.served = Some(stored);
    }

    /// An error while another replica may be about to put the Secret back.
    async fn wait_for_others(&mut self, now: Timestamp) -> Result<(), KeepError> {
        if self.served.is_some() {
            return Ok(());
        }
        let since = *self.gone_since.get_or_insert(now);
        if now.since(since) >= OTHERS_WITHIN {
            return Ok(());
        }
        match self.is_any_trusted().await {
            Ok(true) => Err(KeepError::Gone(self.options.secret.clone())),
            Ok(false) => Ok(()),
            // Who may not look at registrations will hear of it when there is something to write.
            Err(error) if error.code() == Some(403) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Whether a registration trusts an authority, whichever.
    async fn is_any_trusted(&self) -> Result<bool, KeepError> {
        let name = self.options.registration.as_str();
        let validating: Api<ValidatingWebhookConfiguration> = Api::all(self.client.clone());
        let validating = validating.get_opt(name);
        let found = self.call("get", VALIDATING, name, validating).await?;
        let hooks = found.and_then(|found| found.webhooks).unwrap_or_default();
        let mut configs: Vec<_> = hooks.into_iter().map(|hook| hook.client_config).collect();
        let mutating: Api<MutatingWebhookConfiguration> = Api::all(self.client.clone());
        let found = self.call("get", MUTATING, name, mutating.get_opt(name)).await?;
        let hooks = found.and_then(|found| found.webhooks).unwrap_or_default();
        configs.extend(hooks.into_iter().map(|hook| hook.client_config));
        Ok(configs.iter().any(|c| c.ca_bundle.as_ref().is_some_and(|bundle| !bundle.0.is_empty())))
    }

    async fn read(&self) -> Result<Option<Secret>, KeepError> {
        let name = self.options.secret.as_str();
        self.call("get", "secrets", name, self.secrets().get_opt(name)).await
    }

    /// Carries a step out; false where another replica was faster.
    async fn write(
        &self,
        step: Step,
        found: Option<&Secret>,
        stored: Stored,
        now: Timestamp,
    ) -> Result<bool, KeepError> {
        let Plan { names, validity, .. } = &self.options.plan;
        let fresh = || make(names, *validity, now);
        let names = names.join(",");
        let next = match step {
            Step::Keep => return Ok(false),
            Step::Begin => {
                let Made { ca, cert, key, not_after } = fresh()?;
                Stored { cert, key, ca, not_after: Some(not_after), names, next: None }
            }
            Step::Restore => match &self.served {
                Some(served) => served.clone(),
                None => return Ok(false),
            },
            Step::Prepare => {
                let Made { ca, cert, key, not_after } = fresh()?;
                // A pair that was to come next and cannot be used has its authority in front.
                let present = match &stored.next {
                    Some(_) => stored.ca.trim_start_matches(newest(&stored.ca)),
                    None => newest(&stored.ca),
                };
                let ca = format!("{ca}{}\n", present.trim());
                Stored { ca, next: Some((cert, key, not_after)), names, ..stored }
            }
            Step::Promote => {
                let Some((cert, key, end)) = stored.next else { return Ok(false) };
                Stored { cert, key, not_after: Some(end), next: None, ..stored }
            }
        };
        let name = self.options.secret.as_str();
        let secrets = self.secrets();
        let written = match found {
            None => {
                let params = PostParams {
                    field_manager: Some(names::FIELD_MANAGER.into()),
                    ..PostParams::default()
                };
                let secret = new_secret(name, &next);
                self.call("create", "secrets", name, async {
                    secrets.create(&params, &secret).await.map(drop)
                })
                .await
            }
            Some(found) => {
                let params = PatchParams {
                    field_manager: Some(names::FIELD_MANAGER.into()),
                    ..PatchParams::default()
                };
                let patch = Patch::Merge(change(found, &next));
                self.call("patch", "secrets", name, async {
                    secrets.patch(name, &params, &patch).await.map(drop)
                })
                .await
            }
        };
        match written {
            Ok(()) => Ok(true),
            Err(error) if error.code() == Some(409) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Writes the bundle into the registrations, where it is not there yet.
    async fn register(&mut self, bundle: &str, now: Timestamp) -> Result<(), KeepError> {
        let client = self.client.clone();
        self.inject::<ValidatingWebhookConfiguration>(Api::all(client.clone()), VALIDATING, bundle)
            .await?;
        self.inject::<MutatingWebhookConfiguration>(Api::all(client), MUTATING, bundle).await?;
        if self.trusted.as_ref().is_none_or(|(known, _)| known != bundle) {
            self.trusted = Some((bundle.to_owned(), now));
        }
        Ok(())
    }

    async fn inject<K>(&mut self, api: Api<K>, plural: &str, bundle: &str) -> Result<(), KeepError>
    where
        K: kube::Resource<DynamicType = (), Scope = ClusterResourceScope>
            + Clone
            + std::fmt::Debug
            + serde::Serialize
            + serde::de::DeserializeOwned,
    {
        let name = self.options.registration.as_str();
        let Some(found) = self.call("get", plural, name, api.get_opt(name)).await? else {
            return Ok(());
        };
        let found = serde_json::to_value(&found).unwrap_or_default();
        let wanted = json!(ByteString(bundle.as_bytes().to_vec()));
        let webhooks = found["webhooks"].as_array().into_iter().flatten();
        let stale: Vec<Value> = webhooks
            .filter(|webhook| webhook["clientConfig"]["caBundle"] != wanted)
            .map(|webhook| json!({"name": webhook["name"], "clientConfig": {"caBundle": wanted}}))
            .collect();
        if stale.is_empty() {
            return Ok(());
        }
        // The list is merged by the webhooks' names, so that what else is in them stays.
        let patch = Patch::Strategic(json!({"webhooks": stale}));
        let params = PatchParams {
            field_manager: Some(names::FIELD_MANAGER.into()),
            ..PatchParams::default()
        };
        self.call("patch", plural, name, async {
            api.patch(name, &params, &patch).await.map(drop)
        })
        .await?;
        tracing::info!(registration = name, plural, "caBundle written");
        // The API servers have yet to see it.
        self.trusted = None;
        Ok(())
    }

    fn secrets(&self) -> Api<Secret> {
        Api::namespaced(self.client.clone(), &self.options.namespace)
    }

    async fn call<T>(
        &self,
        verb: &str,
        plural: &str,
        name: &str,
        answer: impl Future<Output = kube::Result<T>>,
    ) -> Result<T, KeepError> {
        let deadline = self.options.call_deadline;
        let group = if plural == "secrets" { "" } else { "admissionregistration.k8s.io" };
        match tokio::time::timeout(deadline, answer).await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => {
                let is_forbidden = matches!(&error, kube::Error::Api(status) if status.code == 403);
                let rule = if is_forbidden {
                    format!(
                        ": not allowed; the rule {{apiGroups: [\"{group}\"], resources: \
                         [\"{plural}\"], verbs: [\"{verb}\"]}} is missing"
                    )
                } else {
                    String::new()
                };
                let call = format!("{verb} {plural} {name}{rule}");
                Err(KeepError::Call { call, source: Box::new(error) })
            }
            Err(_) => {
                Err(KeepError::Deadline { call: format!("{verb} {plural} {name}"), deadline })
            }
        }
    }
}
