//! Misbehaviour on purpose: what a client must survive, at a moment that a test chooses.
//!
//! ```
//! use celeriac::amqp::ReplyCode;
//! use celeriac::amqp::method::basic;
//! use celeriac::broker::faults::{Action, Fault, Trigger};
//!
//! // The first basic.consume, from whomever, ends the connection.
//! let fault = Fault::once(
//!     Trigger::Method(basic::Consume::ID),
//!     Action::CloseConnection(ReplyCode::ConnectionForced),
//! );
//! # let _ = fault;
//! ```

use std::time::Duration;

use crate::amqp::method::{Method, MethodId};
use crate::amqp::reply::ReplyCode;

/// When a broker misbehaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trigger {
    /// When this method comes.
    Method(MethodId),
    /// When basic.qos asks for a limit for the whole channel, as a quorum queue cannot have it.
    GlobalQos,
}

impl Trigger {
    fn fits(self, method: &Method<'_>) -> bool {
        match self {
            Self::Method(id) => method.id() == id,
            Self::GlobalQos => matches!(method, Method::BasicQos(qos) if qos.global),
        }
    }
}

/// What a broker does instead of what it should.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Closes the connection with this code instead of answering.
    CloseConnection(ReplyCode),
    /// Closes the channel with this code instead of answering.
    CloseChannel(ReplyCode),
    /// Closes the socket without a word.
    Drop,
    /// Takes everything from now on, this method included, and answers nothing any more.
    Blackhole,
    /// Neither reads nor writes for so long, then goes on as if nothing had been.
    Stall(Duration),
    /// Writes its answer up to somewhere in the last frame, and closes the socket.
    CutFrame,
    /// Does as if the method had not come.
    Ignore,
}

/// One misbehaviour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// When.
    pub trigger: Trigger,
    /// What.
    pub action: Action,
    /// How many occasions pass before.
    pub after: u32,
    /// How often.
    pub times: u32,
}

impl Fault {
    /// A misbehaviour at the first occasion, and never again.
    pub const fn once(trigger: Trigger, action: Action) -> Self {
        Self {
            trigger,
            action,
            after: 0,
            times: 1,
        }
    }

    /// A misbehaviour at every occasion.
    pub const fn always(trigger: Trigger, action: Action) -> Self {
        Self {
            trigger,
            action,
            after: 0,
            times: u32::MAX,
        }
    }
}

/// How one broker misbehaves.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// The most that is written at once, in octets; nothing for as much as possible.
    pub write_at_most: Option<usize>,
    /// Sends no heartbeats.
    pub no_heartbeats: bool,
    list: Vec<Fault>,
}

impl Faults {
    /// Adds a misbehaviour. The first one that fits a method is what happens.
    pub fn add(&mut self, fault: Fault) {
        self.list.push(fault);
    }

    /// Behaves again.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Whether nothing is left that may happen.
    pub fn are_used_up(&self) -> bool {
        self.list.is_empty()
    }

    /// What happens now that this method has come; uses it up.
    pub(super) fn take(&mut self, method: &Method<'_>) -> Option<Action> {
        let place = self
            .list
            .iter()
            .position(|fault| fault.trigger.fits(method))?;
        let fault = self.list.get_mut(place)?;
        if fault.after > 0 {
            fault.after -= 1;
            return None;
        }
        let action = fault.action.clone();
        fault.times -= 1;
        if fault.times == 0 {
            self.list.remove(place);
        }
        Some(action)
    }
}
