//! A worker's tasks in virtual time, with a broker and a pool that do what they are told.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::super::acks::Settle;
use super::super::super::events::Dispatcher;
use super::super::super::limits::What as Due;
use super::super::*;
use crate::amqp::Properties;
use crate::amqp::connection::{Delivery, DeliveryTag};
use crate::amqp::table::TableBuf;
use crate::link::{self, BrokerUrl, Link};
use crate::pool::Loss;
use crate::sys::process::Exit;
use crate::worker::patience::Patience;

/// A worker's tasks, with a broker and a pool that do what they are told.
pub(super) struct World {
    pub(super) tasks: Tasks,
    pub(super) acks: Acks,
    pub(super) producer: Producer,
    pub(super) now: Instant,
    pub(super) messages: Vec<Message>,
    pub(super) epoch: u32,
    /// The last tag.
    pub(super) tag: u64,
    /// What the broker has delivered and not heard of: message by tag.
    pub(super) open: BTreeMap<u64, u64>,
    /// Each message's fates: there must come to be one.
    pub(super) settled: BTreeMap<u64, Vec<&'static str>>,
    /// Ends that callers heard, by delivery.
    pub(super) heard: BTreeMap<String, usize>,
    /// Jobs no child has.
    pub(super) waiting: Vec<Job>,
    /// Jobs that children have.
    pub(super) running: Vec<JobKey>,
    /// How often each task has come to an end that is final, by id.
    pub(super) ended: BTreeMap<String, usize>,
}

pub(super) struct Message {
    pub(super) name: &'static str,
    pub(super) eta: Option<String>,
    pub(super) expires: Option<String>,
}

pub(super) const NAMES: [&str; 6] = ["early", "late", "strict", "lossy", "patient", "limited"];

pub(super) fn registry() -> Registry {
    let mut registry = Registry::new();
    let late = || TaskOptions::new().acks_late(true);
    registry.insert("early", TaskOptions::new());
    registry.insert("late", late());
    registry.insert("strict", late().acks_on_failure(false));
    registry.insert("lossy", late().reject_on_worker_lost(true));
    registry.insert("patient", late().acks_on_timeout(false));
    registry.insert("limited", late().rate_limit("10/s"));
    registry
}

impl World {
    pub(super) fn new() -> Self {
        let now = clock::now();
        let urls = vec![BrokerUrl::parse("amqp://").unwrap()];
        let link = Link::new(link::Settings::new(urls, "test"), 1, now);
        Self {
            tasks: Tasks::new(registry(), &Settings::of_tests(), now),
            acks: Acks::new(),
            producer: Producer::new(
                link,
                Dispatcher::new(&Settings::of_tests()),
                Patience::new(None),
            ),
            now,
            messages: vec![],
            epoch: 1,
            tag: 0,
            open: BTreeMap::new(),
            settled: BTreeMap::new(),
            heard: BTreeMap::new(),
            waiting: vec![],
            running: vec![],
            ended: BTreeMap::new(),
        }
    }

    pub(super) fn deliver(
        &mut self,
        name: &'static str,
        ahead: Option<u64>,
        expires: Option<u64>,
        limit: bool,
    ) {
        let moment = |seconds: u64| {
            crate::message::moment::format(clock::wall() + Duration::from_secs(seconds))
        };
        if limit {
            let hard = Some(Duration::from_secs(1));
            self.tasks.set_limits(name, Limits { soft: None, hard });
        }
        self.messages.push(Message {
            name,
            eta: ahead.map(moment),
            expires: expires.map(moment),
        });
        self.send(self.messages.len() as u64, false);
    }

    /// The broker delivers a message.
    pub(super) fn send(&mut self, number: u64, redelivered: bool) {
        self.tag += 1;
        self.open.insert(self.tag, number);
        let message = &self.messages[number as usize - 1];
        let mut headers = TableBuf::new();
        headers.insert("task", message.name).unwrap();
        headers
            .insert("id", format!("id-{number}").as_str())
            .unwrap();
        if let Some(eta) = &message.eta {
            headers.insert("eta", eta.as_str()).unwrap();
        }
        if let Some(expires) = &message.expires {
            headers.insert("expires", expires.as_str()).unwrap();
        }
        let reply_to = format!("reply-{number}");
        let properties = Properties {
            content_type: Some("application/json".into()),
            reply_to: Some(reply_to.as_str().into()),
            headers: Some(headers.as_table()),
            ..Properties::default()
        };
        let delivery = Delivery {
            channel: 1,
            consumer_tag: "c".into(),
            tag: DeliveryTag {
                channel: 1,
                number: self.tag,
                epoch: self.epoch,
                incarnation: 1,
            },
            redelivered,
            exchange: "".into(),
            routing_key: "q".into(),
            properties,
            body: b"[[], {}, {}]",
        };
        let Self {
            tasks,
            acks,
            producer,
            now,
            ..
        } = self;
        let job = tasks.receive(&delivery, acks, producer, *now);
        self.waiting.extend(job);
    }

    /// The connection is lost and had again: the broker delivers anew what it has not heard of.
    pub(super) fn reconnect(&mut self) {
        self.acks.reset();
        self.lose_channel();
        self.epoch += 1;
        self.tag = 0;
        for number in std::mem::take(&mut self.open).into_values() {
            self.send(number, true);
        }
    }

    pub(super) fn lose_channel(&mut self) {
        let mut cancelled = Vec::new();
        let cancel = |key| {
            let taken = self.waiting.extract_if(.., |job| job.key == key);
            let taken: Vec<JobKey> = taken.map(|job| job.key).collect();
            cancelled.extend(&taken);
            !taken.is_empty()
        };
        self.tasks.channel_lost(None, cancel, &mut self.acks);
        for key in cancelled {
            self.finished(key, Finish::NotStarted);
        }
    }

    pub(super) fn assign(&mut self, choice: usize) {
        if self.waiting.is_empty() {
            return;
        }
        let job = self.waiting.remove(choice % self.waiting.len());
        let id = |key: JobKey| {
            self.tasks
                .requests
                .get(Key::from(key.0))
                .map(|request| &request.id)
        };
        let twice = self
            .running
            .iter()
            .any(|running| id(*running) == id(job.key));
        assert!(!twice, "{:?} runs twice at once", id(job.key));
        self.running.push(job.key);
        let pid = Pid::new(7).unwrap();
        let Self {
            tasks,
            acks,
            producer,
            now,
            ..
        } = self;
        tasks.assigned(job.key, pid, *now, acks, producer);
    }

    pub(super) fn finish(&mut self, choice: usize, how: u8) {
        if self.running.is_empty() {
            return;
        }
        let key = self.running.remove(choice % self.running.len());
        if how % 8 < 4 {
            let request = self.tasks.request(key);
            let id = request.map(|it| it.id.clone()).unwrap_or_default();
            *self.ended.entry(id).or_default() += 1;
        }
        let done = |outcome| {
            let mut done = Done::new(key.0, outcome, 0.1);
            done.store = matches!(outcome, Outcome::Success | Outcome::Failure);
            done.meta = b"{}".to_vec();
            done
        };
        let finish = match how % 8 {
            0 => Finish::Done(done(Outcome::Success)),
            1 => Finish::Done(done(Outcome::Failure)),
            2 => Finish::Done(done(Outcome::Ignored)),
            3 => Finish::Done(done(Outcome::Rejected)),
            4 => Finish::Done(Done {
                requeue: true,
                ..done(Outcome::Rejected)
            }),
            5 => Finish::Done(done(Outcome::Retry)),
            6 => Finish::NotStarted,
            _ => Finish::Lost(Loss {
                exit: Exit::Signal(9),
                job_number: 1,
            }),
        };
        self.finished(key, finish);
    }

    pub(super) fn finished(&mut self, key: JobKey, finish: Finish) {
        let Self {
            tasks,
            acks,
            producer,
            ..
        } = self;
        tasks.finished(key, finish, acks, producer);
    }

    /// Time passes; what it brings is done as the worker does it.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        while let Some(due) = self.tasks.pop_alarm(self.now) {
            if due.what == Due::Hard {
                self.tasks
                    .doom(due.key, Cause::TimedOut(Duration::from_secs(1)));
            }
        }
        let Self {
            tasks,
            acks,
            producer,
            now,
            waiting,
            ..
        } = self;
        while let Some(job) = tasks.pop_due(*now, acks, producer) {
            waiting.push(job);
        }
    }

    pub(super) fn revoke(&mut self, number: u64, terminate: bool) {
        let id = format!("id-{number}");
        let wall = clock::wall();
        self.tasks.revoked.insert(&id, wall, wall);
        let found = self
            .tasks
            .requests
            .iter()
            .find(|(_, request)| request.id == id);
        let Some((key, _)) = found else {
            return;
        };
        if terminate {
            self.tasks.doom(key, Cause::Terminated(15));
        }
        let Self {
            tasks,
            acks,
            producer,
            waiting,
            ..
        } = self;
        let mut cancelled = None;
        let cancel = |job: JobKey| {
            let place = waiting.iter().position(|waits| waits.key == job);
            cancelled = place.map(|place| waiting.remove(place).key);
            cancelled.is_some()
        };
        tasks.withdraw(key, Cause::Revoked, cancel, acks, producer);
        if let Some(job) = cancelled {
            self.finished(job, Finish::NotStarted); // the pool says so for every job it has taken in
        }
    }

    /// The broker confirms what was published, and hears what is settled.
    pub(super) fn confirm(&mut self) {
        for publication in self.producer.confirm_all() {
            *self
                .heard
                .entry(publication.routing_key.clone())
                .or_default() += 1;
            self.tasks
                .published(&publication, Fate::Confirmed, &mut self.acks);
        }
        let Self {
            acks,
            settled,
            open,
            ..
        } = self;
        acks.flush(true, |frame| {
            let (tag, multiple, fate) = match frame {
                Settle::Ack { tag, multiple } => (tag, multiple, "ack"),
                Settle::Reject { tag, requeue: true } => (tag, false, "requeue"),
                Settle::Reject { tag, .. } => (tag, false, "reject"),
            };
            let first = if multiple { 0 } else { tag.number };
            let meant: Vec<u64> = open
                .range(first..=tag.number)
                .map(|(tag, _)| *tag)
                .collect();
            assert!(
                !meant.is_empty(),
                "the broker knows of none such: {frame:?}"
            );
            for number in meant.iter().filter_map(|tag| open.remove(tag)) {
                settled.entry(number).or_default().push(fate);
            }
        });
    }

    /// The worker leaves: what runs is ended, what waits goes back.
    pub(super) fn leave(&mut self) {
        self.tasks.close(&mut self.acks);
        self.tasks.cancel_running();
        for job in std::mem::take(&mut self.waiting) {
            self.finished(job.key, Finish::NotStarted);
        }
        while !self.running.is_empty() {
            self.finish(0, 7);
        }
        self.confirm();
    }
}
