//! What the broker is still to be told about its deliveries.
//!
//! Every delivery is settled exactly once: acknowledged, or rejected with or without a requeue. Decisions are
//! gathered here and leave together, once per turn of the Hub. Acknowledgements that cover everything up to a
//! tag leave as one frame with `multiple` set, which is what a broker settles cheapest. Each channel numbers its
//! deliveries anew.
//!
//! Pure: tags go in, [`Settle`]s come out.

use std::collections::VecDeque;

use crate::amqp::connection::DeliveryTag;
use crate::message::record::Verdict;

/// One frame to send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settle {
    /// `basic.ack`; with `multiple`, for this tag and all before it.
    Ack {
        /// The (last) tag.
        tag: DeliveryTag,
        /// Whether all earlier tags are meant too.
        multiple: bool,
    },
    /// `basic.reject`.
    Reject {
        /// The tag.
        tag: DeliveryTag,
        /// Whether the broker shall deliver the message again.
        requeue: bool,
    },
}

/// The deliveries that the broker does not yet know the fate of.
#[derive(Debug, Default)]
pub struct Acks {
    /// One or two.
    channels: Vec<(u16, Channel)>,
}

/// Those of one channel.
///
/// ```text
///  first                    first + entries.len()
///    v                                v
///    | told | acked | open | acked | open |      (delivery tags rise by one)
/// ```
#[derive(Debug, Default)]
struct Channel {
    entries: VecDeque<Entry>,
    /// The number of `entries[0]`.
    first: u64,
    /// Numbers acknowledged since the last flush.
    fresh: Vec<u64>,
    rejects: Vec<(DeliveryTag, bool)>,
    /// Deliveries the broker was not yet told about.
    outstanding: usize,
}

#[derive(Debug)]
struct Entry {
    tag: DeliveryTag,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Open,
    /// Acknowledged; the broker is told with the next flush.
    Acked,
    /// The broker was told, or is about to be in `rejects`.
    Told,
}

impl Acks {
    /// Nothing delivered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets everything: the connection is gone and the broker has taken its messages back.
    pub fn reset(&mut self) {
        self.channels.clear();
    }

    /// Forgets what a channel has delivered: it is gone, and the others stand.
    pub fn forget(&mut self, channel: u16) {
        self.channels.retain(|(number, _)| *number != channel);
    }

    /// A delivery arrived. A tag out of sequence means a new channel: what was before is forgotten.
    pub fn delivered(&mut self, tag: DeliveryTag) {
        match self.find(tag.channel) {
            Some(channel) => channel.delivered(tag),
            None => {
                let mut channel = Channel::default();
                channel.delivered(tag);
                self.channels.push((tag.channel, channel));
            }
        }
    }

    /// Acknowledges a delivery; `false` when it is settled already or belongs to a channel that is gone.
    pub fn ack(&mut self, tag: DeliveryTag) -> bool {
        self.find(tag.channel)
            .is_some_and(|channel| channel.ack(tag))
    }

    /// Rejects a delivery; `false` as in [`ack`](Self::ack).
    pub fn reject(&mut self, tag: DeliveryTag, requeue: bool) -> bool {
        self.find(tag.channel)
            .is_some_and(|channel| channel.reject(tag, requeue))
    }

    /// Settles a delivery one way or another; `false` as in [`ack`](Self::ack).
    pub fn settle_as(&mut self, tag: DeliveryTag, verdict: Verdict) -> bool {
        match verdict {
            Verdict::Ack => self.ack(tag),
            Verdict::Reject => self.reject(tag, false),
            Verdict::Requeue => self.reject(tag, true),
        }
    }

    /// How many deliveries the broker counts as unsettled.
    pub fn outstanding(&self) -> usize {
        self.channels.iter().map(|(_, it)| it.outstanding).sum()
    }

    /// The same, of one channel.
    pub fn outstanding_on(&self, channel: u16) -> usize {
        self.on(channel).map_or(0, |it| it.outstanding)
    }

    /// How many deliveries of one channel nothing is decided about.
    pub fn open_on(&self, channel: u16) -> usize {
        let channel = self.on(channel);
        channel.map_or(0, |it| it.outstanding - it.pending())
    }

    /// How many decisions wait for [`flush`](Self::flush).
    pub fn pending(&self) -> usize {
        self.channels.iter().map(|(_, it)| it.pending()).sum()
    }

    /// Gives out what is decided. Rejections come first, since an acknowledgement with `multiple` would
    /// swallow one that is still on its way.
    ///
    /// Unless `all` is wanted, acknowledgements beyond the first open delivery wait, as long as they are the fewer:
    /// once that delivery is settled too they cost the broker nothing of their own.
    pub fn flush(&mut self, all: bool, mut send: impl FnMut(Settle)) {
        for (_, channel) in &mut self.channels {
            channel.flush(all, &mut send);
        }
    }

    fn on(&self, number: u16) -> Option<&Channel> {
        let mut channels = self.channels.iter();
        channels.find(|(it, _)| *it == number).map(|(_, it)| it)
    }

    fn find(&mut self, number: u16) -> Option<&mut Channel> {
        let mut channels = self.channels.iter_mut();
        channels
            .find(|(known, _)| *known == number)
            .map(|(_, channel)| channel)
    }
}

impl Channel {
    fn delivered(&mut self, tag: DeliveryTag) {
        if self.entries.is_empty() {
            self.first = tag.number;
        } else if tag.number != self.first + self.entries.len() as u64 {
            *self = Self::default();
            self.first = tag.number;
        }
        self.entries.push_back(Entry {
            tag,
            state: State::Open,
        });
        self.outstanding += 1;
    }

    fn ack(&mut self, tag: DeliveryTag) -> bool {
        let open = self.settle(tag, State::Acked);
        if open {
            self.fresh.push(tag.number);
        }
        open
    }

    fn reject(&mut self, tag: DeliveryTag, requeue: bool) -> bool {
        let open = self.settle(tag, State::Told);
        if open {
            self.rejects.push((tag, requeue));
        }
        open
    }

    fn pending(&self) -> usize {
        self.fresh.len() + self.rejects.len()
    }

    fn flush(&mut self, all: bool, mut send: impl FnMut(Settle)) {
        self.outstanding -= self.pending();
        for (tag, requeue) in self.rejects.drain(..) {
            send(Settle::Reject { tag, requeue });
        }
        let mut run = 0;
        let mut last = None;
        while let Some(entry) = self
            .entries
            .pop_front_if(|entry| entry.state != State::Open)
        {
            self.first += 1;
            if entry.state == State::Acked {
                run += 1;
                last = Some(entry.tag);
            }
        }
        if let Some(tag) = last {
            send(Settle::Ack {
                tag,
                multiple: run > 1,
            });
        }
        self.fresh.retain(|number| *number >= self.first);
        if !all && self.fresh.len() < run {
            self.outstanding += self.fresh.len();
            return;
        }
        for number in self.fresh.drain(..) {
            let index = number - self.first;
            if let Some(entry) = self.entries.get_mut(index as usize) {
                entry.state = State::Told;
                send(Settle::Ack {
                    tag: entry.tag,
                    multiple: false,
                });
            }
        }
    }

    fn settle(&mut self, tag: DeliveryTag, state: State) -> bool {
        let entry = tag
            .number
            .checked_sub(self.first)
            .and_then(|index| self.entries.get_mut(index as usize));
        match entry {
            Some(entry) if entry.tag == tag && entry.state == State::Open => {
                entry.state = state;
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tag(number: u64) -> DeliveryTag {
        DeliveryTag {
            channel: 1,
            number,
            epoch: 1,
            incarnation: 1,
        }
    }

    fn flush(acks: &mut Acks) -> Vec<Settle> {
        let mut frames = vec![];
        acks.flush(true, |frame| frames.push(frame));
        frames
    }

    fn window(count: u64) -> Acks {
        let mut acks = Acks::new();
        (1..=count).for_each(|number| acks.delivered(tag(number)));
        acks
    }

    /// T7.3: `multiple` only over what is settled without a gap.
    #[test]
    fn t7_3_a_run_from_the_front_leaves_as_one_frame() {
        let mut acks = window(5);
        for number in [2, 1, 3, 5] {
            assert!(acks.ack(tag(number)));
        }
        assert_eq!(acks.pending(), 4);
        let frames = flush(&mut acks);
        let run = Settle::Ack {
            tag: tag(3),
            multiple: true,
        };
        assert_eq!(
            frames,
            [
                run,
                Settle::Ack {
                    tag: tag(5),
                    multiple: false
                }
            ]
        );
        assert_eq!(acks.outstanding(), 1);
        acks.ack(tag(4));
        assert_eq!(
            flush(&mut acks),
            [Settle::Ack {
                tag: tag(4),
                multiple: false
            }]
        );
        assert_eq!(flush(&mut acks), []);
    }

    #[test]
    fn a_few_behind_an_open_delivery_wait_until_a_run_covers_them() {
        let mut acks = window(6);
        let part = |acks: &mut Acks| {
            let mut frames = vec![];
            acks.flush(false, |frame| frames.push(frame));
            frames
        };
        let ack = |number, multiple| Settle::Ack {
            tag: tag(number),
            multiple,
        };
        for number in [1, 2, 4] {
            acks.ack(tag(number));
        }
        assert_eq!(part(&mut acks), [ack(2, true)]);
        assert_eq!((acks.outstanding(), acks.pending()), (4, 1));
        acks.ack(tag(3));
        assert_eq!(part(&mut acks), [ack(4, true)]);
        acks.ack(tag(6));
        assert_eq!(part(&mut acks), [ack(6, false)], "nothing else to tell");
    }

    #[test]
    fn a_rejection_leaves_before_the_run_that_passes_it() {
        let mut acks = window(3);
        acks.ack(tag(1));
        acks.ack(tag(3));
        acks.reject(tag(2), true);
        let frames = flush(&mut acks);
        let reject = Settle::Reject {
            tag: tag(2),
            requeue: true,
        };
        assert_eq!(
            frames,
            [
                reject,
                Settle::Ack {
                    tag: tag(3),
                    multiple: true
                }
            ]
        );
    }

    #[test]
    fn a_tag_of_another_channel_is_nobodys() {
        let mut acks = window(2);
        let stale = DeliveryTag { epoch: 0, ..tag(1) };
        assert!(!acks.ack(stale));
        assert!(!acks.ack(tag(3)));
        assert!(acks.reject(tag(1), false));
        assert!(!acks.ack(tag(1)), "settled once");
        acks.delivered(DeliveryTag {
            incarnation: 2,
            ..tag(1)
        });
        assert_eq!(acks.outstanding(), 1, "a new channel begins anew");
        assert!(!acks.ack(tag(2)));
    }

    /// A broker's view: what is unsettled, as it applies the frames.
    fn apply(broker: &mut Vec<u64>, settled: &mut Vec<(u64, bool)>, frame: Settle) {
        match frame {
            Settle::Reject { tag, .. } => {
                broker.retain(|number| *number != tag.number);
                settled.push((tag.number, false));
            }
            Settle::Ack { tag, multiple } => {
                let covered =
                    |number: &u64| *number == tag.number || multiple && *number < tag.number;
                let acked = broker
                    .iter()
                    .filter(|number| covered(number))
                    .map(|n| (*n, true));
                settled.extend(acked);
                broker.retain(|number| !covered(number));
            }
        }
    }

    proptest! {
        /// T7.3: however decisions and flushes are mixed, the broker hears each decision once and no other.
        #[test]
        fn t7_3_the_broker_hears_every_decision_once(
            steps in proptest::collection::vec((0u8..4, 1u64..40), 1..200),
        ) {
            let (mut acks, mut delivered) = (Acks::new(), 0);
            let (mut decided, mut broker, mut settled) = (vec![], vec![], vec![]);
            for (step, number) in steps {
                match step {
                    0 => {
                        delivered += 1;
                        acks.delivered(tag(delivered));
                        broker.push(delivered);
                    }
                    1 if acks.ack(tag(number)) => decided.push((number, true)),
                    2 if acks.reject(tag(number), true) => decided.push((number, false)),
                    3 => {
                        let all = number % 2 == 0;
                        acks.flush(all, |frame| apply(&mut broker, &mut settled, frame));
                        prop_assert_eq!(acks.outstanding(), broker.len());
                    }
                    _ => {}
                }
            }
            acks.flush(true, |frame| apply(&mut broker, &mut settled, frame));
            decided.sort_unstable();
            settled.sort_unstable();
            prop_assert_eq!(decided, settled);
            prop_assert_eq!(acks.outstanding(), broker.len());
        }
    }
}
