//! The loop: reads and writes the lease, and runs the work while it is held.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::api::coordination::v1::Lease;
use kube::Client;
use kube::api::{Api, Patch, PostParams};
use serde_json::Value;
use tokio::time::Instant;

use super::object::{Sent, found, sent};
use super::state::{Elector, Found, Lost, Moment, Next, Refusal, Timing, Write};
use crate::api::names;
use crate::controllers::Stop;
use crate::controllers::client::{Call, CallError, patch_params, within};
use crate::controllers::clock::wall_clock;
use crate::controllers::rights;

/// Between two questions for rights that are missing. Nobody should wait minutes for what was just
/// granted, and a question costs three calls.
const RIGHTS_AGAIN: Duration = Duration::from_secs(15);

/// How often a lease is handed back when somebody changes it in between.
const RELEASE_TRIES: u32 = 3;

/// Which lease, and who would hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseOptions {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Our name in it, which no other process ever has.
    pub holder: String,
    /// How long things may take.
    pub timing: Timing,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Rights are missing: nothing is tried until they are there. Told once until they are.
    RightsMissing {
        /// What each missing one is for, and the rule to add.
        what: Vec<String>,
    },
    /// Somebody else holds the lease. Told once until we hold it.
    Waits {
        /// Who.
        holder: String,
    },
    /// A read or a write failed; it is tried again. The same failure over and over is told once.
    Fails {
        /// Kind of the failure, for metrics.
        label: &'static str,
        /// What failed, for people.
        error: String,
    },
    /// We hold the lease, and the work begins.
    Holds,
    /// We hold it no more, and the work was cut off.
    Lost(Lost),
    /// The work has ended, and the lease is handed back.
    Released,
}

/// Does `work` while we hold the lease, until `stop`.
///
/// The work is told to end by the same `stop`, and the lease is kept until it has ended and handed back
/// then. Where the lease is lost the work is dropped on the spot, with every call that it waits for, and
/// begins anew when the lease is ours again. Work of which a part runs in another task would go on.
pub async fn while_held<W: Future<Output = ()>>(
    client: Client,
    options: LeaseOptions,
    stop: impl Future<Output = ()> + Send + 'static,
    told: impl Fn(&Told) + Send + Sync + 'static,
    work: impl Fn(Stop) -> W,
) {
    let stop = stop.boxed().shared();
    let mut member = Member::new(client, options, told);
    loop {
        tokio::select! {
            biased;
            () = stop.clone() => return,
            () = member.until_held() => {}
        }
        member.tell(&Told::Holds);
        let lost = {
            let mut work = pin!(work(stop.clone()));
            tokio::select! {
                // The lease comes first: work that is woken after the time is up does no step more.
                biased;
                lost = member.until_lost() => Some(lost),
                () = &mut work => None,
            }
        };
        let Some(lost) = lost else {
            member.release().await;
            return;
        };
        member.tell(&Told::Lost(lost));
    }
}

/// One who would hold a lease.
struct Member<T> {
    desk: Arc<Desk>,
    elector: Elector,
    began: Instant,
    told: T,
    /// What is told once: that we wait, and the last failure.
    waits: bool,
    failure: Option<String>,
}

/// What a step came to.
enum Done {
    Looked(Result<Option<Found>, CallError>),
    Wrote(Moment, Result<Found, CallError>),
}

impl<T: Fn(&Told)> Member<T> {
    fn new(client: Client, options: LeaseOptions, told: T) -> Self {
        let elector = Elector::new(options.holder.clone(), options.timing);
        let desk = Arc::new(Desk { client, options });
        Self { desk, elector, began: Instant::now(), told, waits: false, failure: None }
    }

    fn now(&self) -> Moment {
        self.began.elapsed()
    }

    fn tell(&self, told: &Told) {
        (self.told)(told);
    }

    /// Waits until the lease is ours.
    async fn until_held(&mut self) {
        self.until_allowed().await;
        while !self.elector.holds(self.now()) {
            let done = self.step().await;
            // What is not held cannot be lost.
            let _: Option<Lost> = self.take_in(done);
            if let Some(holder) = self.elector.other().map(str::to_owned)
                && !self.waits
            {
                self.waits = true;
                self.tell(&Told::Waits { holder });
            }
        }
        self.waits = false;
    }

    /// Keeps the lease as long as can be.
    async fn until_lost(&mut self) -> Lost {
        loop {
            let until = self.began + self.elector.held_until().unwrap_or_default();
            let done = before(until, self.step()).await;
            let expired = self.elector.expire(self.now());
            let lost = expired.or_else(|| done.and_then(|done| self.take_in(done)));
            if let Some(lost) = lost {
                return lost;
            }
        }
    }

    /// Hands the lease back, where it is ours.
    async fn release(&mut self) {
        for _ in 0..RELEASE_TRIES {
            let Some(what) = self.elector.release(self.now()) else { return };
            match self.desk.write(&what).await {
                Ok(_) => return self.tell(&Told::Released),
                Err(error) if error.is_conflict() => {
                    let Ok(found) = self.desk.look().await else { return };
                    if self.elector.saw(self.now(), found).is_some() {
                        return;
                    }
                }
                // It runs out by itself.
                Err(_) => return,
            }
        }
    }

    /// Waits until every call that the lease takes is allowed. What cannot be asked is not waited for:
    /// the calls will tell.
    async fn until_allowed(&mut self) {
        let mut is_told = false;
        loop {
            let missing = self.desk.missing_rights().await;
            if missing.is_empty() {
                return;
            }
            if !std::mem::replace(&mut is_told, true) {
                self.tell(&Told::RightsMissing { what: missing });
            }
            tokio::time::sleep(RIGHTS_AGAIN).await;
        }
    }

    /// The next step, when its time comes.
    fn step(&self) -> impl Future<Output = Done> + use<T> {
        let (began, desk, next) = (self.began, Arc::clone(&self.desk), self.elector.next().clone());
        async move {
            match next {
                Next::Look { at } => {
                    tokio::time::sleep_until(began + at).await;
                    Done::Looked(desk.look().await)
                }
                Next::Write { at, what } => {
                    tokio::time::sleep_until(began + at).await;
                    let sent = began.elapsed();
                    Done::Wrote(sent, desk.write(&what).await)
                }
            }
        }
    }

    fn take_in(&mut self, done: Done) -> Option<Lost> {
        let now = self.now();
        let (done, error) = match done {
            Done::Looked(Ok(found)) => (self.elector.saw(now, found), None),
            Done::Wrote(sent, Ok(found)) => (self.elector.wrote(sent, now, found), None),
            Done::Looked(Err(error)) | Done::Wrote(_, Err(error)) => (None, Some(error)),
        };
        let Some(error) = error else {
            self.failure = None;
            return done;
        };
        // A lease that is not there to be made has no namespace.
        let is_gone = error.is_not_found() && error.call.verb != "create";
        if error.is_conflict() || is_gone {
            self.elector.failed(now, Refusal::Changed);
        } else {
            self.elector.failed(now, Refusal::Failed);
            let text = error.to_string();
            if self.failure.as_ref() != Some(&text) {
                self.tell(&Told::Fails { label: error.label(), error: text.clone() });
                self.failure = Some(text);
            }
        }
        None
    }
}

/// Does `work` until a moment, by the clock and not by a timer alone: where the process was stopped in
/// between, the work is not woken first.
async fn before<T>(until: Instant, work: impl Future<Output = T>) -> Option<T> {
    let mut work = pin!(work);
    let mut timer = pin!(tokio::time::sleep_until(until));
    poll_fn(|context| {
        if timer.as_mut().poll(context).is_ready() || Instant::now() >= until {
            return Poll::Ready(None);
        }
        work.as_mut().poll(context).map(Some)
    })
    .await
}

/// The calls.
struct Desk {
    client: Client,
    options: LeaseOptions,
}

impl Desk {
    fn api(&self) -> Api<Lease> {
        Api::namespaced(self.client.clone(), &self.options.namespace)
    }

    fn call(&self, verb: &'static str) -> Call {
        let LeaseOptions { namespace, name, .. } = &self.options;
        let call = Call::object(verb, names::LEASE_GROUP, names::LEASE_PLURAL, namespace, name);
        // RBAC does not know the name of what is yet to be made.
        if verb == "create" { Call { name: None, ..call } } else { call }
    }

    async fn look(&self) -> Result<Option<Found>, CallError> {
        let api = self.api();
        let answer = api.get_opt(&self.options.name);
        let lease = within(self.options.timing.call, self.call("get"), answer).await?;
        Ok(lease.map(found))
    }

    async fn write(&self, what: &Write) -> Result<Found, CallError> {
        let LeaseOptions { namespace: _, name, holder, timing } = &self.options;
        let api = self.api();
        let lease = match sent(what, (name, holder), timing.duration, wall_clock()) {
            Sent::Object(lease) => {
                let params = PostParams {
                    field_manager: Some(names::FIELD_MANAGER.to_owned()),
                    ..PostParams::default()
                };
                within(timing.call, self.call("create"), api.create(&params, &lease)).await?
            }
            Sent::Patch(patch) => {
                let params = patch_params();
                let patch: Patch<Value> = Patch::Merge(patch);
                within(timing.call, self.call("patch"), api.patch(name, &params, &patch)).await?
            }
        };
        Ok(found(lease))
    }

    /// The rights that the lease takes and we have not, each with the rule to add.
    async fn missing_rights(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for verb in ["get", "create", "patch"] {
            let call = self.call(verb);
            match rights::allowed(&self.client, &call, self.options.timing.call).await {
                Ok(true) => {}
                Ok(false) => missing.push(CallError::forbidden(&call).to_string()),
                // Nor would the next question be answered.
                Err(_) => break,
            }
        }
        missing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn work_that_is_woken_after_its_time_does_no_step_more() {
        let until = Instant::now() + Duration::from_secs(10);
        let (wake, woken) = tokio::sync::oneshot::channel::<()>();
        let steps = std::sync::atomic::AtomicU32::new(0);
        let work = async {
            drop(woken.await);
            steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        };
        let mut guarded = pin!(before(until, work));
        assert!(guarded.as_mut().now_or_never().is_none(), "it waits");
        // The process stands still for a minute. What wakes it first is an answer that came meanwhile.
        tokio::time::advance(Duration::from_secs(60)).await;
        drop(wake);
        assert_eq!(guarded.await, None);
        assert_eq!(steps.load(std::sync::atomic::Ordering::Relaxed), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn work_in_time_is_done() {
        let until = Instant::now() + Duration::from_secs(10);
        let work = tokio::time::sleep(Duration::from_secs(9));
        assert_eq!(before(until, work).await, Some(()));
        let work = tokio::time::sleep(Duration::from_secs(2));
        assert_eq!(before(until, work).await, None, "a second is left");
    }
}
