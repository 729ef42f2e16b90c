//! Laws of the life of a task, in virtual time: whatever happens in whatever order, every delivery is settled once and
//! every caller hears at most one end.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;

use super::super::acks::Settle;
use super::super::events::Dispatcher;
use super::super::limits::What as Due;
use super::*;
use crate::amqp::Properties;
use crate::amqp::connection::{Delivery, DeliveryTag};
use crate::amqp::table::TableBuf;
use crate::link::{self, BrokerUrl, Link};
use crate::pool::Loss;
use crate::sys::process::Exit;
use crate::worker::patience::Patience;

/// A worker's tasks, with a broker and a pool that do what they are told.
struct World {
    tasks: Tasks,
    acks: Acks,
    producer: Producer,
    now: Instant,
    messages: Vec<Message>,
    epoch: u32,
    /// The last tag.
    tag: u64,
    /// What the broker has delivered and not heard of: message by tag.
    open: BTreeMap<u64, u64>,
    /// Each message's fates: there must come to be one.
    settled: BTreeMap<u64, Vec<&'static str>>,
    /// Ends that callers heard, by delivery.
    heard: BTreeMap<String, usize>,
    /// Jobs no child has.
    waiting: Vec<Job>,
    /// Jobs that children have.
    running: Vec<JobKey>,
    /// How often each task has come to an end that is final, by id.
    ended: BTreeMap<String, usize>,
}

struct Message {
    name: &'static str,
    eta: Option<String>,
    expires: Option<String>,
}

const NAMES: [&str; 6] = ["early", "late", "strict", "lossy", "patient", "limited"];

fn registry() -> Registry {
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
    fn new() -> Self {
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

    fn deliver(
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
    fn send(&mut self, number: u64, redelivered: bool) {
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
    fn reconnect(&mut self) {
        self.acks.reset();
        self.lose_channel();
        self.epoch += 1;
        self.tag = 0;
        for number in std::mem::take(&mut self.open).into_values() {
            self.send(number, true);
        }
    }

    fn lose_channel(&mut self) {
        let mut cancelled = Vec::new();
        let cancel = |key| {
            let taken = self.waiting.extract_if(.., |job| job.key == key);
            let taken: Vec<JobKey> = taken.map(|job| job.key).collect();
            cancelled.extend(&taken);
            !taken.is_empty()
        };
        self.tasks.channel_lost(cancel, &mut self.acks);
        for key in cancelled {
            self.finished(key, Finish::NotStarted);
        }
    }

    fn assign(&mut self, choice: usize) {
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

    fn finish(&mut self, choice: usize, how: u8) {
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

    fn finished(&mut self, key: JobKey, finish: Finish) {
        let Self {
            tasks,
            acks,
            producer,
            ..
        } = self;
        tasks.finished(key, finish, acks, producer);
    }

    /// Time passes; what it brings is done as the worker does it.
    fn pass(&mut self, time: Duration) {
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

    fn revoke(&mut self, number: u64, terminate: bool) {
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
    fn confirm(&mut self) {
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
    fn leave(&mut self) {
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

/// Lives through `steps`, then leaves.
fn live(steps: Vec<(u8, usize, u8)>) -> World {
    let mut world = World::new();
    for (step, choice, detail) in steps {
        let name = NAMES[choice % NAMES.len()];
        match step {
            0..=2 => world.deliver(name, None, None, detail % 3 == 0),
            3 => world.deliver(name, Some(u64::from(detail % 5)), Some(3), false),
            4 | 5 => world.assign(choice),
            6 | 7 => world.finish(choice, detail),
            8 => world.pass(Duration::from_millis(u64::from(detail) * 20)),
            9 => world.revoke(choice as u64, detail % 2 == 0),
            10 => world.confirm(),
            11 if detail == 0 => world.tasks.close(&mut world.acks),
            12 => world.reconnect(),
            _ => {}
        }
    }
    world.leave();
    world
}

/// What has to be so in the end.
fn check(world: &World) -> Result<(), TestCaseError> {
    prop_assert_eq!(world.tasks.requests.len(), 0, "a request is left");
    prop_assert_eq!(world.tasks.due.len(), 0, "a timer is left");
    prop_assert_eq!(world.tasks.held.len(), 0);
    prop_assert_eq!(world.acks.outstanding(), 0);
    for number in 1..=world.messages.len() as u64 {
        let fates = world.settled.get(&number).map_or(0, Vec::len);
        prop_assert_eq!(fates, 1, "message {} was settled {} times", number, fates);
    }
    Ok(())
}

proptest! {
    /// T3.3, T3.4: every delivery is settled exactly once, no caller hears two ends, nothing is left behind.
    #[test]
    fn every_delivery_is_settled_once(
        steps in proptest::collection::vec((0u8..12, 0usize..32, any::<u8>()), 1..120),
    ) {
        let world = live(steps);
        check(&world)?;
        for (caller, times) in &world.heard {
            prop_assert_eq!(*times, 1, "{} heard {} ends", caller, times);
        }
    }

    /// T7.1: connections may be lost at any moment, and still nothing is left, nothing runs twice at once, and nothing
    /// that has ended runs again, heard of by the broker or not.
    #[test]
    fn t7_1_a_lost_connection_has_nothing_run_twice(
        steps in proptest::collection::vec((0u8..13, 0usize..32, any::<u8>()), 1..120),
    ) {
        let world = live(steps);
        check(&world)?;
        for (id, times) in &world.ended {
            prop_assert_eq!(*times, 1, "{} ended {} times", id, times);
        }
    }
}

/// The fate of one delivery after `story`.
fn fate(name: &'static str, story: impl FnOnce(&mut World)) -> (&'static str, usize) {
    let mut world = World::new();
    world.deliver(name, None, None, false);
    story(&mut world);
    world.confirm();
    let fates = world.settled.remove(&1).unwrap_or_default();
    assert_eq!(fates.len(), 1, "{name}");
    (fates[0], world.heard.get("reply-1").copied().unwrap_or(0))
}

/// T3.1-T3.3, T12.2, T15.5: what the broker and the caller hear of each end.
#[test]
fn each_end_has_its_fate() {
    let ran = |how: u8| {
        move |world: &mut World| {
            world.assign(0);
            world.finish(0, how);
        }
    };
    let (success, failure, ignored, rejected, requeued, lost) = (0, 1, 2, 3, 4, 7);
    assert_eq!(fate("early", ran(success)), ("ack", 1));
    assert_eq!(
        fate("early", ran(requeued)),
        ("ack", 0),
        "it was acknowledged before"
    );
    assert_eq!(fate("late", ran(success)), ("ack", 1));
    assert_eq!(fate("late", ran(failure)), ("ack", 1));
    assert_eq!(fate("strict", ran(failure)), ("reject", 1));
    assert_eq!(fate("late", ran(ignored)), ("ack", 0));
    assert_eq!(fate("late", ran(rejected)), ("reject", 0));
    assert_eq!(fate("late", ran(requeued)), ("requeue", 0));
    assert_eq!(
        fate("late", ran(lost)),
        ("ack", 1),
        "as Celery's, unless the task says otherwise"
    );
    assert_eq!(fate("lossy", ran(lost)), ("requeue", 0));
    let not_started = ran(6);
    assert_eq!(fate("late", not_started), ("requeue", 0));
    assert_eq!(
        fate("early", not_started),
        ("ack", 1),
        "lost, and its caller told"
    );
    let timed_out = |world: &mut World| {
        world.assign(0);
        let (key, _) = world.tasks.requests.iter().next().unwrap();
        world
            .tasks
            .doom(key, Cause::TimedOut(Duration::from_secs(1)));
        world.finish(0, 7);
    };
    assert_eq!(fate("late", timed_out), ("ack", 1));
    assert_eq!(fate("patient", timed_out), ("requeue", 1));
    for name in NAMES {
        assert_eq!(
            fate(name, |world| world.revoke(1, false)),
            ("ack", 1),
            "{name}"
        );
        let unheard = |world: &mut World| {
            world.assign(0);
            world.revoke(1, true);
            world.finish(0, 7);
        };
        assert_eq!(fate(name, unheard), ("ack", 1), "{name}");
    }
}

/// A message may ask for more time than there is.
#[test]
fn a_limit_beyond_all_time_is_as_good_as_none() {
    let mut world = World::new();
    let limits = [
        (Some(Duration::MAX), None),
        (None, Some(Duration::MAX)),
        (Some(Duration::from_secs(1)), Some(Duration::MAX)),
    ];
    for (soft, hard) in limits {
        world.tasks.set_limits("late", Limits { soft, hard });
        world.deliver("late", None, None, false);
        world.assign(0);
    }
    assert_eq!(world.running.len(), 3);
    world.leave();
}

#[path = "redelivery_tests.rs"]
mod redelivery;
