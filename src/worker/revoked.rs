//! What was revoked: tasks by id, and by the stamps they carry.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::{Map, Value};

use super::Worker;
use super::acks::Acks;
use super::producer::Producer;
use super::request::{Cause, Request, State};
use super::tasks::Tasks;
use crate::hub::Hub;
use crate::pool::JobKey;
use crate::sys::clock;
use crate::sys::signal::Signal;
use crate::util::limited_set::LimitedSet;
use crate::util::slots::Key;

/// How many ids are remembered (`CELERY_WORKER_REVOKES_MAX`).
pub const REVOKES_MAX: usize = 50_000;

/// How long an id is remembered (`CELERY_WORKER_REVOKE_EXPIRES`).
pub const REVOKE_EXPIRES: Duration = Duration::from_secs(10_800);

/// The revoked tasks. Ids are forgotten when they are too old or too many; stamps only when they are too many.
#[derive(Clone, Debug)]
pub struct Revoked {
    ids: LimitedSet<String>,
    /// The values of each name, the oldest first.
    stamps: BTreeMap<String, Vec<Value>>,
    most: usize,
}

impl Revoked {
    /// Nothing revoked; at most `most` ids, each for `age`, and at most `most` stamps.
    pub fn new(most: usize, age: Duration) -> Self {
        Self {
            ids: LimitedSet::new(most, age),
            stamps: BTreeMap::new(),
            most,
        }
    }

    /// How many ids, and how many stamps.
    pub(super) fn counts(&self) -> (usize, usize) {
        let stamps = self.stamps.values().map(Vec::len);
        (self.ids.len(), stamps.sum())
    }

    /// Revokes an id, as of `at`; ids from elsewhere are as old as they are there. Whether that is news.
    pub fn insert(&mut self, id: &str, at: SystemTime, now: SystemTime) -> bool {
        self.ids.insert(id.to_owned(), at, now)
    }

    /// Revokes every task whose stamp `name` has this value. Whether that is news.
    pub fn insert_stamp(&mut self, name: &str, value: Value) -> bool {
        let known = self.stamps.entry(name.to_owned()).or_default();
        let news = !known.contains(&value);
        if news {
            known.push(value);
            if self.counts().1 > self.most {
                self.forget_stamp(name);
            }
        }
        news
    }

    /// There are too many: the oldest of this name goes, or one of another when it has no other.
    fn forget_stamp(&mut self, name: &str) {
        let mut others = self.stamps.keys().filter(|other| *other != name);
        let other = others.next().cloned();
        let is_only = self.stamps.get(name).is_some_and(|all| all.len() == 1);
        let name = other.filter(|_| is_only).unwrap_or_else(|| name.to_owned());
        if let Some(values) = self.stamps.get_mut(&name) {
            values.remove(0);
        }
        self.stamps.retain(|_, values| !values.is_empty());
    }

    /// Whether this id is revoked.
    pub fn contains(&self, id: &str, now: SystemTime) -> bool {
        self.ids.contains(id, now)
    }

    /// Whether a task is revoked by id or by one of its stamps.
    pub fn covers(&self, request: &Request, now: SystemTime) -> bool {
        self.contains(&request.id, now) || self.revoking_stamp(&request.stamps).is_some()
    }

    /// The first of these stamps, as name and value, that revokes.
    pub fn revoking_stamp<'a>(
        &self,
        stamps: &'a Map<String, Value>,
    ) -> Option<(&'a str, &'a Value)> {
        stamps.iter().find_map(|(name, value)| {
            let revoked = self.stamps.get(name)?;
            let one = match value {
                Value::Array(values) => values.iter().find(|value| revoked.contains(value))?,
                value => revoked.contains(value).then_some(value)?,
            };
            Some((name.as_str(), one))
        })
    }

    /// The ids, oldest first, without those that are too old (`inspect revoked`, and what peers are told).
    pub fn ids(&mut self, now: SystemTime) -> impl Iterator<Item = (&str, SystemTime)> {
        self.ids.forget(now);
        self.ids.iter().map(|(id, at)| (id.as_str(), at))
    }

    /// The revoked stamps by name.
    pub fn stamps(&self) -> &BTreeMap<String, Vec<Value>> {
        &self.stamps
    }
}

impl Default for Revoked {
    fn default() -> Self {
        Self::new(REVOKES_MAX, REVOKE_EXPIRES)
    }
}

impl Worker {
    /// Revokes tasks by id (Celery's `revoke` and `terminate`).
    ///
    /// What has not begun is discarded at once: its message is acknowledged, its result is REVOKED, wherever it waits.
    /// What runs goes on, unless `terminate` names a signal to end it by; no other task can be hit by that. Gives the ids
    /// of those that run and are sent it.
    pub fn revoke(
        &mut self,
        ids: &[String],
        terminate: Option<Signal>,
        hub: &mut Hub<Self>,
    ) -> Vec<String> {
        let now = clock::wall();
        for id in ids {
            self.remember_revoked(id, now);
        }
        self.withdraw_all(|request, _| ids.contains(&request.id), terminate, hub)
    }

    /// Takes note of an id that was revoked at `at`, here or elsewhere, and keeps it in the state file.
    pub fn remember_revoked(&mut self, id: &str, at: SystemTime) {
        let now = clock::wall();
        if self.tasks.revoked.insert(id, at, now)
            && let Some(state) = &mut self.state_db
        {
            state.revoked(id, at.min(now));
        }
    }

    /// Revokes every task with one of these stamps; otherwise as [`revoke`](Self::revoke).
    pub fn revoke_stamped(
        &mut self,
        stamps: &Map<String, Value>,
        terminate: Option<Signal>,
        hub: &mut Hub<Self>,
    ) -> Vec<String> {
        for (name, value) in stamps {
            let values = match value {
                Value::Array(values) => values.clone(),
                value => vec![value.clone()],
            };
            for value in values {
                if self.tasks.revoked.insert_stamp(name, value.clone())
                    && let Some(state) = &mut self.state_db
                {
                    state.revoked_stamp(name, &value);
                }
            }
        }
        let is_meant = |request: &Request, revoked: &Revoked| {
            revoked.revoking_stamp(&request.stamps).is_some()
        };
        self.withdraw_all(is_meant, terminate, hub)
    }

    fn withdraw_all(
        &mut self,
        is_meant: impl Fn(&Request, &Revoked) -> bool,
        terminate: Option<Signal>,
        hub: &mut Hub<Self>,
    ) -> Vec<String> {
        let revoked = &self.tasks.revoked;
        let meant = |(_, request): &(Key, &Request)| is_meant(request, revoked);
        let keys: Vec<Key> = self
            .tasks
            .requests
            .iter()
            .filter(meant)
            .map(|(key, _)| key)
            .collect();
        let mut terminated = Vec::new();
        for key in keys {
            terminated.extend(match terminate {
                Some(signal) if self.is_running(key) => self.terminate(key, signal, hub),
                _ => {
                    self.withdraw(key, Cause::Revoked, hub);
                    None
                }
            });
        }
        self.handle_pool_events(hub);
        terminated
    }

    fn is_running(&self, key: Key) -> bool {
        let request = self.tasks.requests.get(key);
        request.is_some_and(|request| matches!(request.state, State::Running { .. }))
    }

    /// Ends a task that runs. What its child has written is heard first, and it is given nothing in between.
    fn terminate(&mut self, key: Key, signal: Signal, hub: &mut Hub<Self>) -> Option<String> {
        let pool = self.pool.pool.as_mut()?;
        if !pool.kill_job(JobKey(key.into()), signal, hub.now()) {
            return None; // it has just ended
        }
        self.tasks.doom(key, Cause::Terminated(signal as i32));
        let request = self.tasks.requests.get(key)?;
        let (id, number) = (&request.id, signal as i32);
        request.info(format_args!("Terminating {id} ({number})"));
        Some(id.clone())
    }

    /// Settles a task that no child has begun, wherever it waits. One that runs is left alone.
    pub(super) fn withdraw(&mut self, key: Key, cause: Cause, hub: &mut Hub<Self>) {
        let Self {
            tasks,
            consumer,
            producer,
            pool,
            ..
        } = self;
        let now = hub.now();
        let cancel = |job| pool.pool.as_mut().is_some_and(|pool| pool.cancel(job, now));
        tasks.withdraw(key, cause, cancel, &mut consumer.acks, producer);
        self.handle_pool_events(hub);
    }
}

impl Tasks {
    /// See [`Worker::withdraw`]. `cancel` takes a job out of the pool, if no child has it.
    pub(super) fn withdraw(
        &mut self,
        key: Key,
        cause: Cause,
        cancel: impl FnOnce(JobKey) -> bool,
        acks: &mut Acks,
        producer: &mut Producer,
    ) {
        let Some(request) = self.requests.get_mut(key) else {
            return;
        };
        let job_key = JobKey(key.into());
        let waited = match request.state {
            State::Held => {
                let alarm = request.alarm.take();
                let held = alarm.and_then(|alarm| self.held.cancel(alarm));
                held.map(|held| held.job)
            }
            State::Foreign => None,
            State::Limited => self.rates.remove(&request.task, job_key),
            State::Waiting => match self.parked.iter().position(|job| job.key == job_key) {
                Some(place) => self.parked.remove(place),
                None if cancel(job_key) => None, // it was kept when it went to the pool
                None => return,                  // a child was given it
            },
            State::Running { .. } | State::Ending { .. } | State::Publishing { .. } => return,
        };
        if let Some(job) = &waited {
            self.keep_job(job);
        }
        self.clear_alarm(key);
        self.discard(key, cause, acks, producer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// T13.1: whoever revokes by stamps, for ever.
    #[test]
    fn there_are_only_so_many_stamps() {
        let mut revoked = Revoked::new(3, REVOKE_EXPIRES);
        for number in 0..10 {
            revoked.insert_stamp("many", number.into());
            revoked.insert_stamp(&format!("once.{number}"), number.into());
            assert!(revoked.counts().1 <= 3);
            let last = serde_json::json!({format!("once.{number}"): number});
            let last = last.as_object().unwrap();
            assert!(revoked.revoking_stamp(last).is_some(), "{number}");
        }
    }

    #[test]
    fn every_stamp_is_looked_at_and_each_of_its_values() {
        let mut revoked = Revoked::default();
        for (name, value) in [
            ("customer", "a".into()),
            ("customer", "b".into()),
            ("batch", 7.into()),
        ] {
            assert!(revoked.insert_stamp(name, value));
        }
        assert!(!revoked.insert_stamp("batch", 7.into()));
        let stamps = |json: &str| serde_json::from_str::<Map<String, Value>>(json).unwrap();
        for (json, hit) in [
            (r#"{"customer": "b"}"#, true),
            (r#"{"customer": ["x", "a"]}"#, true),
            (r#"{"customer": "x", "batch": 7}"#, true),
            (r#"{"customer": "x", "batch": 8}"#, false),
            (r#"{"other": "a"}"#, false),
            ("{}", false),
        ] {
            assert_eq!(
                revoked.revoking_stamp(&stamps(json)).is_some(),
                hit,
                "{json}"
            );
        }
    }
}
