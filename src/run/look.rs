//! Looking: the replicas in the API server, the traffic in Prometheus.

use std::time::Duration;

use crate::api::DynamoGraphDeployment;
use crate::controllers::inventory::{
    self, DesiredSource, DgdInventory, InventoryError, InventoryOptions, PodSource,
};
use crate::controllers::kinds::Kinds;
use crate::observe::{Inventory, Missing, Observation, PoolInventory, Signal};
use crate::prometheus::{Client as PrometheusClient, Observer, Question, Rules, Selector};
use crate::spec::{Config, DgdTarget};
use crate::units::{Role, Timestamp};

use super::CALL_DEADLINE;

/// The services that the pools are, or why that is not known.
pub(super) type Services = Vec<(Role, Result<String, String>)>;

/// What did not work: source, kind, text.
pub(super) type Trouble = (&'static str, &'static str, String);

/// What a look brought, and what there is to say of it.
pub(super) struct Look {
    /// The graph as it was read, or why it was not.
    pub(super) found: Result<DgdInventory, InventoryError>,
    pub(super) observation: Observation,
    /// The services that the pools are, as far as the graph tells.
    pub(super) services: Services,
    /// What did not work, for the log and the metrics.
    pub(super) trouble: Vec<Trouble>,
}

/// Looks at one deployment.
pub(super) struct Looker {
    kinds: Kinds,
    prometheus: PrometheusClient,
    question: Question,
    rules: Rules,
    /// With the selector that it was made for, which changes when the graph tells its model.
    observer: Option<(Selector, Observer)>,
    /// The model that the graph told last; kept while the graph cannot be read.
    told_model: Option<String>,
}

impl Looker {
    pub(super) fn new(config: &Config, kinds: Kinds, prometheus: PrometheusClient) -> Self {
        let question =
            Question { window: config.intervals.window, percentile: config.sla.percentile };
        let rules = Rules { fresh_for: config.intervals.max_metric_age, ..Rules::default() };
        Self { kinds, prometheus, question, rules, observer: None, told_model: None }
    }

    pub(super) async fn look(
        &mut self,
        now: Timestamp,
        config: &Config,
        target: &DgdTarget,
    ) -> Look {
        let mut trouble = Vec::new();
        let read = read_inventory(&self.kinds, target, now, CALL_DEADLINE).await;
        let (inventory, services) = match &read {
            Ok(found) => {
                self.learn_model(config, &found.dgd);
                remark(found, &mut trouble);
                seen_pools(config, found)
            }
            Err(error) => {
                let detail = error.to_string();
                trouble.push(("kubernetes", error.label(), detail.clone()));
                let roles = config.pools.keys();
                let gone = |role: &Role| {
                    let why = Missing::SourceDown { detail: detail.clone() };
                    (*role, Signal::missing(why))
                };
                let inventory = Inventory { pools: roles.clone().map(gone).collect() };
                (inventory, roles.map(|role| (*role, Err(detail.clone()))).collect())
            }
        };
        let sighting = self.observer(target).observe(now).await;
        for warning in sighting.warnings {
            trouble.push(("prometheus", "warning", warning));
        }
        if let Some(error) = sighting.error {
            trouble.push(("prometheus", error.label(), error.chain()));
        }
        let observation = Observation { at: now, traffic: sighting.traffic, inventory };
        Look { found: read, observation, services, trouble }
    }

    fn learn_model(&mut self, config: &Config, dgd: &DynamoGraphDeployment) {
        let services: Vec<&str> = config
            .pools
            .iter()
            .filter_map(|(role, pool)| inventory::resolve(dgd, *role, pool.service.as_deref()).ok())
            .collect();
        if let Ok(model) = inventory::find_model(dgd, &services) {
            self.told_model = Some(model);
        }
    }

    fn observer(&mut self, target: &DgdTarget) -> &mut Observer {
        let selector = Selector {
            dynamo_namespace: target.dynamo_namespace.clone(),
            model: target.model.clone().or_else(|| self.told_model.clone()),
        };
        if self.observer.as_ref().is_none_or(|(known, _)| *known != selector) {
            let observer =
                Observer::new(self.prometheus.clone(), selector.clone(), self.question, self.rules);
            self.observer = Some((selector, observer));
        }
        &mut self.observer.as_mut().expect("it was just made where it was missing").1
    }
}

/// The pools as they are seen, and the services that they are.
pub(super) fn seen_pools(config: &Config, found: &DgdInventory) -> (Inventory, Services) {
    let mut pools = std::collections::BTreeMap::new();
    let mut services = Vec::new();
    for (role, pool) in &config.pools {
        let seen = inventory::resolve(&found.dgd, *role, pool.service.as_deref())
            .map_err(|e| e.to_string())
            .and_then(|name| match found.services.get(name) {
                Some(there) => Ok((name.to_owned(), there.pool.clone())),
                None => Err(format!("the DGD has no service {name}")),
            });
        let (signal, service): (Signal<PoolInventory>, _) = match seen {
            Ok((name, value)) => (Signal::Fresh { value, at: found.at }, Ok(name)),
            Err(detail) => {
                let why = Missing::NoObject { detail: detail.clone() };
                (Signal::missing(why), Err(detail))
            }
        };
        pools.insert(*role, signal);
        services.push((*role, service));
    }
    (Inventory { pools }, services)
}

/// Reads the inventory of the target.
pub(super) async fn read_inventory(
    kinds: &Kinds,
    target: &DgdTarget,
    now: Timestamp,
    call_deadline: Duration,
) -> Result<DgdInventory, InventoryError> {
    let options = InventoryOptions { call_deadline };
    inventory::read(kinds, &target.namespace, &target.dgd, now, options).await
}

/// What is known less well than it could be.
fn remark(found: &DgdInventory, trouble: &mut Vec<Trouble>) {
    if let PodSource::DgdStatus { why } = &found.pods {
        trouble.push(("kubernetes", "degraded", format!("pods are not seen: {why}")));
    }
    for (name, service) in &found.services {
        if let DesiredSource::DgdInstead { why } = &service.desired_from {
            let text = format!("the adapter of {name} is not read: {why}");
            trouble.push(("kubernetes", "degraded", text));
        }
    }
}
