//! The worker: the one value that the Hub lends to every handler.

use std::time::{Duration, Instant};

use super::acks::Acks;
use super::autoscale::Autoscale;
use super::components::pool::PoolPart;
use super::consumer::subscription::Purpose;
use super::consumer::{self, Consumer, Letter, Wish};
use super::control::Mailbox;
use super::events::Dispatcher;
use super::events::gossip::Gossip;
use super::events::heart::Heart;
use super::events::mingle::Mingle;
use super::health::Health;
use super::http::Http;
use super::patience::Patience;
use super::producer::Producer;
use super::refusals::{self, CRITICAL};
use super::registry::Registry;
use super::settings::Settings;
use super::shutdown::{Phase, Shutdown};
use super::statedb::StateDb;
use super::successor::Successor;
use super::tasks::Tasks;
use super::wiring::{Alarm, earliest};
use super::{components, extensions::Extensions};
use crate::amqp::connection::Event;
use crate::boot::{self, Blueprint, BlueprintError, State, StepError};
use crate::hub::{Hub, Next, Ready};
use crate::link::{self, Link, LinkEvent, Turn};
use crate::pool::zygote::Zygote;
use crate::pool::{Finish, Job};
use crate::sys::clock;
use crate::util::random::Random;

/// The parts of a worker, each the one owner of its state, and what ties them together.
#[derive(Debug)]
pub struct Worker {
    /// What it was told.
    pub settings: Settings,
    /// The requests in hand.
    pub tasks: Tasks,
    /// What steps of a user keep here.
    pub extensions: Extensions,
    pub(super) zygote: Option<Zygote>,
    pub(super) pool: PoolPart,
    pub(super) successor: Successor,
    pub(super) autoscale: Option<Autoscale>,
    pub(super) consumer: Consumer,
    pub(super) producer: Producer,
    pub(super) blueprint: Blueprint<Self>,
    pub(super) consumer_blueprint: Blueprint<Self>,
    pub(super) shutdown: Shutdown,
    /// What survives the worker, if it is to.
    pub(super) state_db: Option<StateDb>,
    /// Its time is up: children that are told to end are killed soon.
    pub(super) hurried: bool,
    /// It says from time to time what it waits for, on its way out.
    pub(super) reminding: bool,
    pub(super) mailbox: Mailbox,
    pub(super) mingle: Mingle,
    pub(super) heart: Heart,
    pub(super) health: Health,
    pub(super) http: Http,
    /// The other workers it knows of.
    pub gossip: Gossip,
    /// When it began.
    pub(super) started: Instant,
    /// The longest turn of the Hub so far: what else there was to do has waited so long.
    pub(super) stall: Duration,
    alarm: Alarm,
}

impl Worker {
    /// A worker that does nothing yet; see [`run`](super::run).
    pub(super) fn new(
        settings: Settings,
        registry: Registry,
        zygote: Zygote,
        seed: u64,
        now: Instant,
    ) -> Result<Self, BlueprintError> {
        let mut random = Random::new(seed);
        let link = |urls: &[link::BrokerUrl], role: &str, seed| {
            let mut link_settings = link::Settings {
                urls: urls.to_vec(),
                connection_name: format!("{} {role}", settings.node_name),
                ..settings.broker.link.clone()
            };
            if role == "producer" {
                let retry = &mut link_settings.retry; // the consumer decides when to give up
                (retry.limit, retry.at_start, retry.after_loss) = (None, true, true);
            }
            Link::new(link_settings, seed, now)
        };
        let consumer = Consumer::new(
            link(&settings.read_urls, "consumer", random.next_u64()),
            &settings,
            now,
        );
        let producer = Producer::new(
            link(&settings.write_urls, "producer", random.next_u64()),
            Dispatcher::new(&settings),
            Patience::new(settings.broker.silence),
        );
        let tasks = Tasks::new(registry, &settings, now);
        tasks.warn_of_overdue();
        settings.warn_of_parameters();
        Ok(Self {
            tasks,
            extensions: Extensions::default(),
            zygote: Some(zygote),
            pool: PoolPart::default(),
            successor: Successor::default(),
            autoscale: settings.autoscale.clone(),
            consumer,
            producer,
            blueprint: components::blueprint()?,
            consumer_blueprint: consumer::blueprint()?,
            shutdown: Shutdown::new(settings.remap_sigterm),
            state_db: None,
            hurried: false,
            reminding: false,
            mailbox: Mailbox::default(),
            mingle: Mingle::default(),
            heart: Heart::default(),
            health: Health::default(),
            http: Http::default(),
            gossip: Gossip::default(),
            started: now,
            stall: Duration::ZERO,
            alarm: Alarm::default(),
            settings,
        })
    }

    /// Moves both blueprints as far as they can go.
    pub(super) fn advance(&mut self, hub: &mut Hub<Self>) {
        if self.consumer_blueprint.state() != State::Stopped {
            // Its steps wait for the broker and report what goes wrong themselves.
            if let Err(error) = self.advance_consumer(hub) {
                self.give_up(&error.to_string(), hub);
            }
        }
        if let Err(error) = boot::advance(self, hub, |worker| &mut worker.blueprint) {
            log::error!(target: CRITICAL, "Unrecoverable error: {error}");
            self.shutdown.leave(1);
            hub.stop();
        }
        if self.blueprint.state() == State::Stopped && self.shutdown.phase() != Phase::Running {
            self.blueprint.shutdown();
            let _ = boot::advance(self, hub, |worker| &mut worker.blueprint);
        }
    }

    pub(super) fn advance_consumer(&mut self, hub: &mut Hub<Self>) -> Result<(), StepError> {
        boot::advance(self, hub, |worker| &mut worker.consumer_blueprint)
            .map(drop)
            .map_err(StepError::new)
    }

    pub(super) fn give_up(&mut self, reason: &str, hub: &mut Hub<Self>) {
        log::error!(target: CRITICAL, "Unrecoverable error: {reason}");
        self.leave(1, hub);
    }

    /// Every process that has ended, ours or adopted.
    pub(super) fn reap(&mut self, hub: &mut Hub<Self>) {
        while let Ok(Some((pid, exit))) = crate::sys::process::reap() {
            let pool = self.pool.pool.as_mut();
            if !pool.is_some_and(|pool| pool.handle_exit(pid, exit, hub.now()))
                && !self.handle_zygote_exit(pid, exit)
            {
                self.handle_clerk_exit(pid, hub);
            }
        }
        self.handle_pool_events(hub);
    }

    /// Gives a job to the pool.
    fn submit(&mut self, job: Job, hub: &mut Hub<Self>) {
        let Self {
            pool,
            tasks,
            consumer,
            producer,
            ..
        } = self;
        submit(job, pool, tasks, &mut consumer.acks, producer, hub.now());
    }

    /// Gives a job to the pool as soon as that may be.
    fn offer(&mut self, job: Job, hub: &mut Hub<Self>) {
        let Self {
            pool,
            tasks,
            consumer,
            producer,
            ..
        } = self;
        offer(job, pool, tasks, &mut consumer.acks, producer, hub.now());
    }

    /// Starts what was put aside while too many results waited for the broker or the clerk.
    pub(super) fn unpark(&mut self, hub: &mut Hub<Self>) {
        while !self.producer.is_congested()
            && !self.tasks.reporter.is_congested()
            && let Some(job) = self.tasks.parked.pop_front()
        {
            self.submit(job, hub);
            self.handle_pool_events(hub);
        }
    }

    pub(super) fn handle_consumer(&mut self, hub: &mut Hub<Self>, ready: Ready) -> Next {
        let closed = ready.read_closed || ready.write_closed || ready.error;
        let turn = self.consumer.link.handle_ready(closed, hub.now());
        self.handle_consumer_events(hub);
        next(turn)
    }

    pub(super) fn handle_producer(&mut self, hub: &mut Hub<Self>, ready: Ready) -> Next {
        let closed = ready.read_closed || ready.write_closed || ready.error;
        let turn = self.producer.link.handle_ready(closed, hub.now());
        self.handle_producer_events(hub);
        next(turn)
    }

    /// Reads what the publishing connection has to tell. Whether it had anything.
    fn handle_producer_events(&mut self, hub: &mut Hub<Self>) -> bool {
        let mut any = self.producer.handle_events();
        while let Some((publication, fate)) = self.producer.poll_settled() {
            any = true;
            self.tasks
                .published(&publication, fate, &mut self.consumer.acks);
        }
        self.unpark(hub);
        if any && self.blueprint.state() == State::Closing {
            self.advance(hub);
        }
        any
    }

    /// Reads what the consuming connection has to tell: tasks, mostly. Whether it had anything.
    fn handle_consumer_events(&mut self, hub: &mut Hub<Self>) -> bool {
        let now = hub.now();
        let mut any = false;
        let mut wishes = Vec::new();
        {
            let Self {
                consumer,
                producer,
                tasks,
                pool,
                health,
                ..
            } = self;
            let Consumer {
                link,
                acks,
                subscriptions,
                watchdog,
                counts,
                ..
            } = consumer;
            while let Some(event) = link.poll_event() {
                any = true;
                health.heard();
                let job = match event {
                    LinkEvent::Amqp(Event::Deliver(delivery)) => {
                        match subscriptions.purpose(delivery.channel) {
                            Some(Purpose::Tasks | Purpose::LongTasks) => {
                                watchdog.heard(now);
                                tasks.receive(&delivery, acks, producer, now)
                            }
                            purpose => {
                                let letter = purpose.map(|it| Letter::new(it, &delivery));
                                wishes.extend(letter.map(Wish::Read));
                                None
                            }
                        }
                    }
                    LinkEvent::Amqp(Event::Malformed(malformed)) => {
                        refusals::log_malformed(&malformed);
                        let purpose = subscriptions.purpose(malformed.channel);
                        if purpose.is_some_and(Purpose::is_tasks)
                            && let Some(tag) = malformed.tag
                        {
                            acks.delivered(tag);
                            acks.reject(tag, false);
                        }
                        None
                    }
                    event => {
                        wishes.extend(consumer::heed(event, acks, subscriptions, watchdog, counts));
                        None
                    }
                };
                if let Some(job) = job {
                    offer(job, pool, tasks, acks, producer, now);
                }
            }
        }
        self.handle_pool_events(hub);
        for wish in wishes {
            self.grant(wish, hub);
        }
        any
    }

    /// Reads a message that is no task.
    pub(super) fn read(&mut self, letter: &Letter, hub: &mut Hub<Self>) {
        match letter.purpose {
            Purpose::Control => self.obey(letter, hub),
            Purpose::Gossip => self.overhear(letter, hub),
            Purpose::Mingle => self.greeted(letter),
            Purpose::Tasks | Purpose::LongTasks => {}
        }
    }

    /// Everything that is due: held tasks, and the deadlines of components.
    fn handle_alarm(&mut self, hub: &mut Hub<Self>) {
        self.alarm.rang();
        let now = hub.now();
        self.enforce_limits(hub);
        while let Some(job) = self.next_due(now) {
            self.offer(job, hub);
        }
        if let Some(pool) = &mut self.pool.pool {
            pool.handle_deadline(now);
        }
        self.handle_pool_events(hub);
        self.handle_clerk_deadline(hub);
        self.hand_back_overdue(now);
        self.consumer.handle_deadline(now);
        self.handle_consumer_events(hub);
        self.producer.handle_deadline(now);
        self.handle_producer_events(hub);
    }

    fn next_due(&mut self, now: Instant) -> Option<Job> {
        let acks = &mut self.consumer.acks;
        self.tasks.pop_due(now, acks, &mut self.producer)
    }

    /// Once per turn of the Hub: what this turn has decided leaves, and the Hub learns what to wait for.
    pub(super) fn before_poll(&mut self, hub: &mut Hub<Self>) {
        let now = hub.now();
        self.handle_pool_events(hub); // a step may have closed the pool, and has no time for what follows
        if self.may_grow() {
            self.scale(hub);
        }
        self.serve_clerk(hub);
        self.tell_task_events();
        let held_on = |channel| self.tasks.held_on(channel);
        self.tasks.window = self.consumer.adapt_prefetch(held_on);
        self.consumer.watch(now);
        self.stall = self.stall.max(clock::now().saturating_duration_since(now));
        let ready = self
            .pool
            .pool
            .as_ref()
            .map_or(0, crate::pool::Pool::waiting);
        let mut again = self.consumer.flush(Some(ready), now) == Turn::Again;
        again |= self.producer.flush(ready > 0, now) == Turn::Again;
        // A write can fail, and what is to be done about that may have to be flushed in its turn.
        again |= self.handle_consumer_events(hub);
        again |= self.handle_producer_events(hub);
        if again {
            hub.call_soon(|_, _| ());
        }
        self.wire(hub);
    }

    fn wire(&mut self, hub: &mut Hub<Self>) {
        let now = hub.now();
        let Self {
            consumer,
            producer,
            pool,
            tasks,
            alarm,
            ..
        } = self;
        let consuming = consumer.link.registration();
        let consuming = consumer.wire.sync(hub, consuming, Self::handle_consumer);
        let publishing = producer.link.registration();
        let publishing = producer.wire.sync(hub, publishing, Self::handle_producer);
        let zygote = pool
            .pool
            .as_ref()
            .is_some_and(|pool| pool.zygote().is_some());
        let deadlines = [
            consumer.deadline(),
            tasks.overdue.next_deadline(),
            producer.deadline(),
            pool.pool.as_ref().and_then(crate::pool::Pool::deadline),
            tasks.held.next_deadline(),
            tasks.due.next_deadline(),
            tasks.rates.next_deadline(now),
            tasks.reporter.deadline(zygote),
        ];
        alarm.sync(hub, earliest(deadlines), Self::handle_alarm);
        if let Err(error) = consuming.and(publishing) {
            self.give_up(&format!("cannot watch a socket: {error}"), hub);
        }
    }
}

/// Gives a job to the pool, or puts it aside while too many results wait for the broker or the clerk.
fn offer(
    job: Job,
    pool: &mut PoolPart,
    tasks: &mut Tasks,
    acks: &mut Acks,
    producer: &mut Producer,
    now: Instant,
) {
    match producer.is_congested() || tasks.reporter.is_congested() {
        true => tasks.parked.push_back(job),
        false => submit(job, pool, tasks, acks, producer, now),
    }
}

/// Gives a job to the pool; one that has closed gives it back, and its message returns to the queue.
fn submit(
    job: Job,
    pool: &mut PoolPart,
    tasks: &mut Tasks,
    acks: &mut Acks,
    producer: &mut Producer,
    now: Instant,
) {
    tasks.keep_job(&job);
    if let Some(Err(job)) = pool.pool.as_mut().map(|pool| pool.submit(job, now)) {
        tasks.finished(job.key, Finish::NotStarted, acks, producer);
    }
}

fn next(turn: Turn) -> Next {
    match turn {
        Turn::Wait => Next::Wait,
        Turn::Again => Next::Again,
    }
}
