//! The channels of one connection, and what each waits for.

use std::collections::VecDeque;

use super::content::Assembly;
use super::error::CommandError;
use crate::amqp::method::{MethodId, basic};

/// How far a channel is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The number is not in use. Whatever the server still sends for it is ignored.
    Free,
    /// channel.open is out. What comes before open-ok belongs to an earlier life of the number:
    /// RabbitMQ goes on delivering until it reads our close-ok.
    Opening,
    /// Everything works.
    Open,
    /// channel.close is out; only close and close-ok count.
    Closing,
}

/// One channel number.
#[derive(Debug)]
pub(super) struct Channel {
    pub(super) phase: Phase,
    /// Tells the lives of this number apart.
    pub(super) incarnation: u32,
    /// The answers that synchronous methods wait for, oldest first.
    pub(super) replies: VecDeque<MethodId>,
    /// The number of the next publish, once confirms were asked for.
    pub(super) next_publish: Option<u64>,
    /// The message that is coming in pieces.
    pub(super) assembly: Option<Box<Assembly>>,
}

impl Channel {
    /// Forgets this life of the number.
    pub(super) fn free(&mut self) {
        *self = Self::new(Phase::Free, self.incarnation);
    }

    /// Where on the list `answer` stands; nothing when something else is to come first.
    ///
    /// Answers come in the order of the calls, but for consume-ok: in RabbitMQ the queue sends it and
    /// not the channel, so it may come after the answers to later calls.
    pub(super) fn awaited(&self, answer: MethodId) -> Option<usize> {
        let place = self.replies.iter().position(|reply| *reply == answer)?;
        let late = |reply: &MethodId| *reply == basic::ConsumeOk::ID;
        (late(&answer) || self.replies.iter().take(place).all(late)).then_some(place)
    }

    /// Takes `answer` off the list; false when something else is to come first.
    pub(super) fn take_reply(&mut self, answer: MethodId) -> bool {
        let place = self.awaited(answer);
        place.and_then(|place| self.replies.remove(place)).is_some()
    }

    const fn new(phase: Phase, incarnation: u32) -> Self {
        Self {
            phase,
            incarnation,
            replies: VecDeque::new(),
            next_publish: None,
            assembly: None,
        }
    }
}

/// All channels.
#[derive(Debug, Default)]
pub(super) struct Channels {
    /// Channel `n` is at `n - 1`. As long as the highest number ever used.
    slots: Vec<Channel>,
    /// How often a channel was opened.
    incarnations: u32,
}

impl Channels {
    /// Takes the lowest free number, as py-amqp does.
    pub(super) fn open(&mut self, channel_max: u16) -> Result<u16, CommandError> {
        let free = self.slots.iter().position(|slot| slot.phase == Phase::Free);
        let index = free.unwrap_or(self.slots.len());
        let number = u16::try_from(index + 1)
            .ok()
            .filter(|number| *number <= channel_max);
        let number = number.ok_or(CommandError::NoFreeChannel { channel_max })?;
        self.incarnations = self.incarnations.wrapping_add(1);
        let channel = Channel::new(Phase::Opening, self.incarnations);
        match self.slots.get_mut(index) {
            Some(slot) => *slot = channel,
            None => self.slots.push(channel),
        }
        Ok(number)
    }

    /// A channel that was used at some time.
    #[inline]
    pub(super) fn by_number(&mut self, number: u16) -> Option<&mut Channel> {
        self.slots.get_mut(usize::from(number).checked_sub(1)?)
    }

    /// A channel on which commands can be given; before open-ok they wait in line behind it.
    pub(super) fn usable(&mut self, number: u16) -> Result<&mut Channel, CommandError> {
        self.by_number(number)
            .filter(|channel| matches!(channel.phase, Phase::Opening | Phase::Open))
            .ok_or(CommandError::ChannelNotOpen(number))
    }

    /// Whether this life of a channel goes on.
    pub(super) fn is_alive(&self, number: u16, incarnation: u32) -> bool {
        usize::from(number)
            .checked_sub(1)
            .and_then(|index| self.slots.get(index))
            .is_some_and(|slot| slot.phase == Phase::Open && slot.incarnation == incarnation)
    }
}
