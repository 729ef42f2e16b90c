//! Exchanges: which queues a routing key means.
//!
//! Each type is a file with an index of its own over the same [`Binding`]s. A binding is known by its
//! destination, key and arguments together, so that the same queue may be bound several times.

mod direct;
mod fanout;
mod headers;
mod topic;

use std::fmt;

use self::direct::Direct;
use self::fanout::Fanout;
use self::headers::Headers;
use self::topic::Topic;
use super::keys::{ExchangeKey, QueueKey};

/// The type of an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Direct,
    Fanout,
    Headers,
    Topic,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Direct, Self::Fanout, Self::Headers, Self::Topic];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Fanout => "fanout",
            Self::Headers => "headers",
            Self::Topic => "topic",
        }
    }

    pub(super) fn from_name(name: &[u8]) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.name().as_bytes() == name)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Where a binding leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Destination {
    Exchange(ExchangeKey),
    Queue(QueueKey),
}

/// A binding, as its source holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) destination: Destination,
    pub(super) key: Box<[u8]>,
    pub(super) arguments: Box<[u8]>,
}

/// A binding, as its destination holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Bound {
    pub(super) source: ExchangeKey,
    pub(super) key: Box<[u8]>,
    pub(super) arguments: Box<[u8]>,
}

/// What is known of a message when it is routed.
#[derive(Clone, Copy)]
pub(super) struct Routed<'a> {
    pub(super) key: &'a [u8],
    pub(super) property_list: &'a [u8],
}

/// An exchange.
#[derive(Debug)]
pub(super) struct Exchange {
    pub(super) name: Box<[u8]>,
    pub(super) kind: Kind,
    pub(super) durable: bool,
    pub(super) auto_delete: bool,
    pub(super) internal: bool,
    /// Where messages go that it has no binding for.
    pub(super) alternate: Option<Box<[u8]>>,
    /// Bindings that lead here.
    pub(super) bound: Vec<Bound>,
    bindings: Bindings,
}

#[derive(Debug)]
enum Bindings {
    Direct(Direct),
    Fanout(Fanout),
    Headers(Headers),
    Topic(Topic),
}

impl Exchange {
    pub(super) fn new(name: &[u8], kind: Kind) -> Self {
        Self {
            name: name.into(),
            kind,
            durable: true,
            auto_delete: false,
            internal: false,
            alternate: None,
            bound: Vec::new(),
            bindings: match kind {
                Kind::Direct => Bindings::Direct(Direct::default()),
                Kind::Fanout => Bindings::Fanout(Fanout::default()),
                Kind::Headers => Bindings::Headers(Headers::default()),
                Kind::Topic => Bindings::Topic(Topic::default()),
            },
        }
    }

    /// Adds a binding; `false` when it is there already.
    pub(super) fn bind(&mut self, binding: Binding) -> bool {
        match &mut self.bindings {
            Bindings::Direct(direct) => direct.bind(binding),
            Bindings::Fanout(fanout) => fanout.bind(binding),
            Bindings::Headers(headers) => headers.bind(binding),
            Bindings::Topic(topic) => topic.bind(binding),
        }
    }

    /// Removes a binding; `false` when there is no such.
    pub(super) fn unbind(&mut self, binding: &Binding) -> bool {
        match &mut self.bindings {
            Bindings::Direct(direct) => direct.unbind(binding),
            Bindings::Fanout(fanout) => fanout.unbind(binding),
            Bindings::Headers(headers) => headers.unbind(binding),
            Bindings::Topic(topic) => topic.unbind(binding),
        }
    }

    /// Adds where a message goes to `found`; a destination may come more than once.
    pub(super) fn route(&self, message: Routed<'_>, found: &mut Vec<Destination>) {
        match &self.bindings {
            Bindings::Direct(direct) => direct.route(message.key, found),
            Bindings::Fanout(fanout) => fanout.route(found),
            Bindings::Headers(headers) => headers.route(message.property_list, found),
            Bindings::Topic(topic) => topic.route(message.key, found),
        }
    }

    /// Every destination, once for each binding.
    pub(super) fn bindings(&self) -> Vec<Binding> {
        match &self.bindings {
            Bindings::Direct(direct) => direct.all(),
            Bindings::Fanout(fanout) => fanout.all(),
            Bindings::Headers(headers) => headers.all(),
            Bindings::Topic(topic) => topic.all(),
        }
    }

    pub(super) fn is_bound(&self) -> bool {
        match &self.bindings {
            Bindings::Direct(direct) => !direct.is_empty(),
            Bindings::Fanout(fanout) => !fanout.is_empty(),
            Bindings::Headers(headers) => !headers.is_empty(),
            Bindings::Topic(topic) => !topic.is_empty(),
        }
    }
}

/// Adds to a list of bindings; `false` when it is there already.
fn add(list: &mut Vec<Binding>, binding: Binding) -> bool {
    let new = !list.contains(&binding);
    if new {
        list.push(binding);
    }
    new
}

/// Removes from a list of bindings; `false` when it is not there.
fn take(list: &mut Vec<Binding>, binding: &Binding) -> bool {
    let place = list.iter().position(|other| other == binding);
    place.is_some_and(|place| {
        list.swap_remove(place);
        true
    })
}

#[cfg(test)]
mod tests;
