//! What the consuming connection asks of the worker: to go on, to begin again, to give up.

use std::time::{Duration, Instant};

use super::subscription::Purpose;
use super::{Consumer, Wish};
use crate::hub::Hub;
use crate::link::{Level, Remedy};
use crate::message::json::python_quoted;
use crate::pool::JobKey;
use crate::worker::Worker;
use crate::worker::limits::{LAST_WORDS, What};
use crate::worker::request::{Cause, State};

/// How long the worker waits before it opens a channel again that the broker has closed.
pub(in crate::worker) const REOPEN_PAUSE: Duration = Duration::from_secs(1);

/// The same where somebody has to change something first.
const SLOW_REOPEN_PAUSE: Duration = Duration::from_secs(15);

impl Worker {
    pub(in crate::worker) fn grant(&mut self, wish: Wish, hub: &mut Hub<Self>) {
        match wish {
            Wish::Up => {
                self.consumer.lost_since = None;
                self.producer.link.hurry(hub.now());
                self.advance(hub);
            }
            Wish::Consuming(Purpose::Mingle) => self.greet(hub),
            Wish::Consuming(_) => self.advance(hub),
            Wish::Read(letter) => self.read(&letter, hub),
            Wish::Declare(purpose) => {
                let Consumer {
                    link,
                    subscriptions,
                    ..
                } = &mut self.consumer;
                if let Some(connection) = link.connection()
                    && let Err(error) = subscriptions.of_mut(purpose).opened(connection)
                {
                    self.give_up(&error.to_string(), hub);
                }
            }
            Wish::Consume(purpose, tag) => self.consume_again(purpose, &tag),
            Wish::Ask => self.consumer.ask(),
            Wish::Judge => self.consumer.judge(hub.now()),
            Wish::Missing => self.consumer.declare_missing(),
            Wish::Reopen {
                channel,
                purpose,
                code,
                text,
            } => self.reopen((channel, purpose), code, &text, hub),
            Wish::Restart { was_up } => {
                self.without_broker(hub);
                self.forget_channel(None, hub);
                if was_up && self.settings.broker.cancel_on_loss {
                    self.cancel_late(hub);
                }
                self.consumer_blueprint.restart();
                self.advance(hub);
            }
            Wish::GiveUp(reason) => self.give_up(&reason, hub),
            Wish::Closed => {
                self.consumer.closed = true;
                self.advance(hub);
            }
        }
    }

    /// The broker cancelled a consumer.
    fn consume_again(&mut self, purpose: Purpose, tag: &str) {
        let Consumer {
            link,
            subscriptions,
            ..
        } = &mut self.consumer;
        let Some(connection) = link.connection() else {
            return;
        };
        match subscriptions
            .of_mut(purpose)
            .cancelled_by_broker(tag, connection)
        {
            Ok(Some(queue)) => {
                log::warn!("consumer: the broker cancelled {queue}: consuming it again");
            }
            Ok(None) => {}
            Err(error) => log::error!("consumer: cannot consume {tag} again: {error}"),
        }
    }

    /// The broker closed a channel: there is a mistake in what was asked for, or a message was kept too long. The others
    /// stand, and so does the worker; only who cannot be heard by remote control from the start is of no use.
    fn reopen(
        &mut self,
        (channel, purpose): (u16, Purpose),
        code: u16,
        text: &str,
        hub: &mut Hub<Self>,
    ) {
        let proven = self.consumer.subscriptions.of(purpose).is_proven();
        let remedy = Remedy::of(Level::Channel, code);
        let mut kept = String::new();
        match purpose {
            // Celery's words, with py-amqp's name of the exception.
            Purpose::Control if !proven && remedy == Remedy::WrongConfiguration => {
                let words = python_quoted(text);
                let reason = format!("ResourceLocked({code}, {words}, (50, 10), 'Queue.declare')");
                return self.give_up(&reason, hub);
            }
            Purpose::Tasks | Purpose::LongTasks => {
                let ids = self.tasks.unsettled(channel).join(", ");
                if !ids.is_empty() {
                    kept = format!(" Not acknowledged by then: {ids}");
                }
                self.forget_channel(Some(channel), hub);
            }
            // A greeting is no use later.
            Purpose::Mingle => return log::warn!("mingle: ({code}) {text}"),
            Purpose::Control | Purpose::Gossip => {}
        }
        log::error!("consumer: the broker closed the channel: ({code}) {text}. Reopening...{kept}");
        let pause = match remedy {
            Remedy::WrongConfiguration => SLOW_REOPEN_PAUSE,
            _ => REOPEN_PAUSE,
        };
        hub.call_after(pause, move |worker, _| {
            worker.subscribe(purpose);
        });
    }

    /// A channel of tasks is gone, or with `None` all are with their connection: nothing of it runs that has not begun.
    fn forget_channel(&mut self, channel: Option<u16>, hub: &mut Hub<Self>) {
        if let Some(books) = &mut self.tasks.reporter.books {
            books.forget_unstarted(channel);
        }
        let (pool, now) = (&mut self.pool.pool, hub.now());
        let cancel = |job| pool.as_mut().is_some_and(|pool| pool.cancel(job, now));
        let acks = &mut self.consumer.acks;
        self.tasks.channel_lost(channel, cancel, acks);
        self.handle_pool_events(hub);
    }

    /// Hands back what the broker would soon miss.
    pub(in crate::worker) fn hand_back_overdue(&mut self, now: Instant) {
        let in_pool = self.tasks.hand_back_overdue(now, &mut self.consumer.acks);
        if let Some(pool) = &mut self.pool.pool {
            for job in in_pool {
                pool.cancel(job, now);
            }
        }
    }

    /// As the app wishes it: late tasks that run are taken from their children, since somebody else will run them.
    fn cancel_late(&mut self, hub: &mut Hub<Self>) {
        let late = self.tasks.keys(|request| {
            request.acks_late
                && !request.acknowledged
                && matches!(request.state, State::Running { .. })
        });
        for key in late {
            if let Some(request) = self.tasks.requests.get(key) {
                let (name, id) = (&request.name, &request.id);
                request.warn(format_args!(
                    "consumer: Task {name}[{id}] is cancelled: the connection was lost"
                ));
            }
            let term = self.settings.pool_term();
            let (pool, job) = (self.pool.pool.as_mut(), JobKey(key.into()));
            if pool.is_some_and(|pool| pool.kill_job(job, term, hub.now())) {
                self.tasks.doom(key, Cause::Cancelled);
                self.tasks
                    .set_alarm(key, What::Kill, hub.now() + LAST_WORDS);
            }
        }
        self.handle_pool_events(hub);
    }

    /// There is no broker: for those who want the worker to end, its time runs.
    fn without_broker(&mut self, hub: &mut Hub<Self>) {
        let (None, Some(patience)) = (self.consumer.lost_since, self.settings.broker.exit_on_loss)
        else {
            return;
        };
        let lost = hub.now();
        self.consumer.lost_since = Some(lost);
        hub.call_after(patience, move |worker, hub| {
            if worker.consumer.lost_since == Some(lost) {
                let seconds = patience.as_secs_f64();
                worker.give_up(&format!("there was no broker for {seconds} s"), hub);
            }
        });
    }

    /// Asks for a channel to consume on, unless there is one or none is wanted any more.
    pub(in crate::worker) fn subscribe(&mut self, purpose: Purpose) {
        let Consumer {
            link,
            subscriptions,
            ..
        } = &mut self.consumer;
        let subscription = subscriptions.of_mut(purpose);
        let is_of_use = match purpose {
            Purpose::Tasks => !self.tasks.closing,
            Purpose::LongTasks => !self.tasks.closing && subscription.queues().next().is_some(),
            _ => true,
        };
        if !is_of_use || !subscription.is_closed() {
            return;
        }
        if let Some(connection) = link.connection()
            && let Err(error) = subscription.open(connection)
        {
            log::debug!("consumer: cannot open a channel: {error}");
        }
    }
}
