//! A channel is lost, and its messages come again.

use std::collections::HashSet;
use std::time::Instant;

use super::acks::Acks;
use super::log_line::OfTask;
use super::recall::{Fate, Identity, Run};
use super::request::{Request, State};
use super::tasks::Tasks;
use crate::amqp::connection::Delivery;
use crate::message::record::Verdict;
use crate::message::task::TaskMessage;
use crate::pool::JobKey;
use crate::util::slots::Key;

impl Tasks {
    /// The channel is gone, or with `None` all channels are, and the broker delivers its messages again: those that no
    /// child has are forgotten, as in Celery, or each would run once for every connection it has seen; the others are
    /// known again when they come. `cancel` takes a job out of the pool, if no child has it.
    pub(super) fn channel_lost(
        &mut self,
        channel: Option<u16>,
        mut cancel: impl FnMut(JobKey) -> bool,
        acks: &mut Acks,
    ) {
        let is_lost = |request: &Request| channel.is_none_or(|it| request.tag.channel == it);
        if channel.is_none() {
            self.held.clear();
            self.rates.clear();
        }
        let requests = &self.requests;
        let mut parked: HashSet<JobKey> = HashSet::new();
        self.parked.retain(|job| {
            let request = requests.get(Key::from(job.key.0));
            let lost = request.is_none_or(is_lost);
            if lost {
                parked.insert(job.key);
            }
            !lost
        });
        let mut keys = self.keys(|request| request.waits_here() && is_lost(request));
        keys.extend(
            self.keys(|request| request.state == State::Waiting && is_lost(request))
                .into_iter()
                .filter(|key| {
                    let job = JobKey((*key).into());
                    parked.contains(&job) || cancel(job)
                }),
        );
        self.let_go(keys, acks);
        self.recall.lost();
        for (key, request) in self.requests.iter_mut() {
            if is_lost(request) && !std::mem::replace(&mut request.orphaned, true) {
                self.recall.expect(request.identity(), Fate::InHand(key));
            }
        }
    }

    /// The ids of tasks of a channel that the broker has not heard the end of, a few of them.
    pub(super) fn unsettled(&self, channel: u16) -> Vec<&str> {
        const SHOWN: usize = 10;
        let is_unsettled = |it: &Request| !it.acknowledged && it.tag.channel == channel;
        let unsettled = self.requests.iter().filter(|(_, it)| is_unsettled(it));
        unsettled
            .map(|(_, it)| it.id.as_str())
            .take(SHOWN)
            .collect()
    }

    /// Whether a message that was delivered again is known: its task goes on and is settled by the new tag, or has ended
    /// and is settled now. Celery runs it a second time, beside the first if need be.
    pub(super) fn recognises(
        &mut self,
        task: &TaskMessage<'_>,
        delivery: &Delivery<'_>,
        acks: &mut Acks,
        now: Instant,
    ) -> bool {
        let run = Run::of(task, delivery);
        let Some(fate) = self.recall.take(&task.id, &task.name, run) else {
            return false;
        };
        let (name, id) = (task.display_name(), &task.id);
        match fate {
            Fate::InHand(key) => {
                let Some(request) = self.requests.get_mut(key) else {
                    return false;
                };
                request.info(format_args!(
                    "Task {name}[{id}] was delivered again while it is in hand: it is not run twice"
                ));
                request.tag = delivery.tag;
                request.delivered = now;
                request.orphaned = false;
                if request.acknowledged {
                    acks.ack(delivery.tag); // the broker has not heard it, or it would not have come again
                }
            }
            Fate::Settled(verdict) => {
                OfTask::from(task).info(format_args!(
                    "Task {name}[{id}] was delivered again after it has ended: it is not run twice"
                ));
                match verdict {
                    Verdict::Ack => acks.ack(delivery.tag),
                    Verdict::Reject | Verdict::Requeue => acks.reject(delivery.tag, false),
                };
                let identity = Identity {
                    id: task.id.to_string(),
                    task: task.name.to_string(),
                    run,
                };
                self.recall.settled(identity, verdict, self.window);
            }
        }
        true
    }

    /// A request is settled: that is kept for the case that the broker has not heard it.
    pub(super) fn remember(&mut self, key: Key, verdict: Verdict) {
        let Some(request) = self.requests.remove(key) else {
            return;
        };
        let orphaned = request.orphaned;
        let identity = request.into_identity();
        match orphaned {
            true => self.recall.ended(key, identity, verdict),
            false => self.recall.settled(identity, verdict, self.window),
        }
    }
}
