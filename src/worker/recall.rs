//! What became of deliveries that the broker may give out again.
//!
//! Acknowledgements are not acknowledged: when a channel is lost, the broker may not have heard of the last of them, and
//! it has certainly not heard of tasks that still run. All of these it delivers again, marked as redelivered. Each is
//! known again by its [`Identity`] and gets the same answer without being run twice: a task that still runs goes on
//! under its new tag, and one that has ended is settled as it was. Celery runs it a second time, and its
//! `worker_deduplicate_successful_tasks` asks the result backend.
//!
//! ```text
//!   settled, channel stands --- recent --+ the channel is lost
//!                                        v
//!   in hand, channel lost -----------> awaited ---> redelivered here: answered once
//!                                        |
//!                                        +--------> redelivered elsewhere: forgotten after many others
//! ```
//!
//! A retry has the same id, and so has a task that replaced itself or was handed back; what tells the first two apart is
//! part of the identity, and of the third nothing is kept: it has to run again. Pure, and bounded: what is settled is
//! kept for as many deliveries as the broker can have outstanding, what is awaited in two halves, of which the older
//! goes when the younger is full.

use std::collections::{HashMap, VecDeque};
use std::mem;

use super::consumer::subscription::place_of;
use crate::amqp::connection::Delivery;
use crate::message::record::Verdict;
use crate::message::task::TaskMessage;
use crate::util::slots::Key;

/// Half of what may be awaited.
const HALF: usize = 5_000;

/// What is kept of settled deliveries at least, and at most.
const RECENT: (usize, usize) = (64, 10_000);

/// What tells a delivery from others of the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// The queue, by its place among those consumed.
    pub(super) queue: u32,
    /// How often it was tried before.
    pub(super) retries: i64,
    /// How often it has replaced itself.
    pub(super) replaced: i64,
}

impl Run {
    /// Of a delivery. The tag of its consumer begins with the queue's place.
    pub(super) fn of(task: &TaskMessage<'_>, delivery: &Delivery<'_>) -> Self {
        Self {
            queue: place_of(delivery.consumer_tag),
            retries: task.retries,
            replaced: task.replaced,
        }
    }
}

/// What a delivery is known again by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The task's id.
    pub(super) id: String,
    /// The task's registered name.
    pub(super) task: String,
    /// Which run of it.
    pub(super) run: Run,
}

/// What the broker is to be told when it delivers a message again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The request is in hand and goes on.
    InHand(Key),
    /// It was decided.
    Settled(Verdict),
}

#[derive(Debug)]
struct Awaited {
    task: String,
    run: Run,
    fate: Fate,
}

/// See the [module page](self).
#[derive(Debug, Default)]
pub(super) struct Recall {
    /// Settled on the channel that stands, oldest first.
    recent: VecDeque<(Identity, Verdict)>,
    /// By id. More than one is rare: two queues, or a publisher that repeats itself.
    young: HashMap<String, Vec<Awaited>>,
    old: HashMap<String, Vec<Awaited>>,
}

impl Recall {
    /// A delivery was settled on the channel that stands, where so many may be outstanding at once.
    pub(super) fn settled(&mut self, identity: Identity, verdict: Verdict, outstanding: usize) {
        if verdict == Verdict::Requeue {
            return;
        }
        // A task that is acknowledged early may end long after, and others in between.
        let (least, most) = RECENT;
        let kept = match outstanding {
            0 => most,
            some => (2 * some).clamp(least, most),
        };
        while self.recent.len() >= kept {
            self.recent.pop_front();
        }
        self.recent.push_back((identity, verdict));
    }

    /// The channel is lost.
    pub(super) fn lost(&mut self) {
        for (identity, verdict) in mem::take(&mut self.recent) {
            self.expect(identity, Fate::Settled(verdict));
        }
    }

    /// This is to be answered so, once.
    pub(super) fn expect(&mut self, identity: Identity, fate: Fate) {
        let Identity { id, task, run } = identity;
        let is_full = match self.young.get(&id) {
            Some(same) => same.len() >= HALF,
            None => self.young.len() >= HALF,
        };
        if is_full {
            self.old = mem::take(&mut self.young);
        }
        let awaited = Awaited { task, run, fate };
        self.young.entry(id).or_default().push(awaited);
    }

    /// A request that was in hand has ended, and has not been delivered again yet.
    pub(super) fn ended(&mut self, key: Key, identity: Identity, verdict: Verdict) {
        for half in [&mut self.young, &mut self.old] {
            take(half, &identity.id, |awaited| {
                awaited.fate == Fate::InHand(key)
            });
        }
        if verdict != Verdict::Requeue {
            self.expect(identity, Fate::Settled(verdict));
        }
    }

    /// A delivery has come again: what to do, unless it is to be run.
    pub(super) fn take(&mut self, id: &str, task: &str, run: Run) -> Option<Fate> {
        let is_it = |awaited: &Awaited| awaited.run == run && awaited.task == task;
        take(&mut self.young, id, is_it).or_else(|| take(&mut self.old, id, is_it))
    }

    /// How many deliveries are remembered that were settled on the channel that stands.
    pub(super) fn recent(&self) -> usize {
        self.recent.len()
    }

    /// How many deliveries are awaited.
    pub(super) fn awaited(&self) -> usize {
        let halves = self.young.values().chain(self.old.values());
        halves.map(Vec::len).sum()
    }
}

/// Takes the first of an id that is the one.
fn take(
    half: &mut HashMap<String, Vec<Awaited>>,
    id: &str,
    is_it: impl Fn(&Awaited) -> bool,
) -> Option<Fate> {
    let of_id = half.get_mut(id)?;
    let place = of_id.iter().position(is_it)?;
    let fate = of_id.swap_remove(place).fate;
    if of_id.is_empty() {
        half.remove(id);
    }
    Some(fate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: Run = Run {
        queue: 1,
        retries: 0,
        replaced: 0,
    };

    fn identity(id: &str, run: Run) -> Identity {
        Identity {
            id: id.into(),
            task: "t".into(),
            run,
        }
    }

    /// T7.1: what was settled is settled again, once, and what may look like it runs.
    #[test]
    fn t7_1_a_settled_delivery_is_known_again_once_and_a_retry_is_another() {
        let mut recall = Recall::default();
        recall.settled(identity("a", RUN), Verdict::Ack, 4);
        recall.settled(identity("b", RUN), Verdict::Reject, 4);
        recall.settled(identity("c", RUN), Verdict::Requeue, 4);
        assert_eq!(recall.take("a", "t", RUN), None, "the channel stands");
        recall.lost();
        let others = [
            Run { retries: 1, ..RUN },
            Run { replaced: 1, ..RUN },
            Run { queue: 2, ..RUN },
        ];
        for run in others {
            assert_eq!(recall.take("a", "t", run), None);
        }
        assert_eq!(recall.take("a", "other", RUN), None);
        assert_eq!(
            recall.take("a", "t", RUN),
            Some(Fate::Settled(Verdict::Ack))
        );
        assert_eq!(recall.take("a", "t", RUN), None, "once");
        assert_eq!(
            recall.take("b", "t", RUN),
            Some(Fate::Settled(Verdict::Reject))
        );
        assert_eq!(recall.take("c", "t", RUN), None, "it runs again");
        assert_eq!(recall.awaited(), 0);
    }

    /// T7.1: nothing grows with the years.
    #[test]
    fn t7_1_memory_is_bounded() {
        let mut recall = Recall::default();
        for number in 0..100_000 {
            recall.settled(identity(&number.to_string(), RUN), Verdict::Ack, 8);
            if number % 20 == 0 {
                recall.lost();
            }
        }
        assert!(recall.awaited() <= 2 * HALF);
        recall.lost();
        let last = recall.take("99999", "t", RUN);
        assert_eq!(last, Some(Fate::Settled(Verdict::Ack)));
        for number in 0..1000 {
            recall.settled(identity(&number.to_string(), RUN), Verdict::Ack, 8);
        }
        assert_eq!(recall.recent.len(), RECENT.0);
        for _ in 0..3 * HALF {
            recall.expect(identity("same", RUN), Fate::Settled(Verdict::Ack));
        }
        assert!(recall.awaited() <= 2 * HALF, "of one id neither");
    }

    /// T7.1: a request that ends between the loss and the redelivery.
    #[test]
    fn t7_1_what_ends_while_it_is_awaited_is_settled_by_its_end() {
        let mut slots = crate::util::slots::Slots::new();
        let keys = [slots.insert(()), slots.insert(())];
        let mut recall = Recall::default();
        for key in keys {
            recall.expect(identity("a", RUN), Fate::InHand(key));
        }
        recall.ended(keys[0], identity("a", RUN), Verdict::Ack);
        let mut fates = [recall.take("a", "t", RUN), recall.take("a", "t", RUN)];
        fates.sort_by_key(|fate| matches!(fate, Some(Fate::Settled(_))));
        let expected = [Fate::InHand(keys[1]), Fate::Settled(Verdict::Ack)];
        assert_eq!(fates, expected.map(Some));
        recall.expect(identity("b", RUN), Fate::InHand(keys[0]));
        recall.ended(keys[0], identity("b", RUN), Verdict::Requeue);
        assert_eq!(recall.take("b", "t", RUN), None);
    }
}
