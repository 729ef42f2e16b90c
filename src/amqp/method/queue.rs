//! Class 50: queues.

use super::super::table::Table;
use super::super::wire::ShortStr;

class_methods! { 50:
    /// Creates a queue, or checks that it is as described.
    10 Declare<'a> [u16] {
        /// Its name; empty to let the server choose one.
        queue: ShortStr<'a>,
        /// Only check that it exists.
        passive: bool,
        /// Survives a restart of the server.
        durable: bool,
        /// Belongs to this connection and ends with it.
        exclusive: bool,
        /// Vanishes with its last consumer.
        auto_delete: bool,
        /// No [`DeclareOk`] is wanted.
        nowait: bool,
        /// `x-queue-type`, `x-max-priority`, `x-expires` and their like.
        arguments: Table<'a>,
    }

    /// The queue is there.
    11 DeclareOk<'a> {
        /// Its name, also when the server chose it.
        queue: ShortStr<'a>,
        /// Messages that are ready.
        message_count: u32,
        /// Consumers it has.
        consumer_count: u32,
    }

    /// Binds a queue to an exchange.
    20 Bind<'a> [u16] {
        /// The queue that receives.
        queue: ShortStr<'a>,
        /// The exchange that sends.
        exchange: ShortStr<'a>,
        /// Pattern as the exchange's type reads it.
        routing_key: ShortStr<'a>,
        /// No [`BindOk`] is wanted.
        nowait: bool,
        /// What a headers exchange matches.
        arguments: Table<'a>,
    }

    /// The binding is there.
    21 BindOk {}

    /// Removes the messages that are ready.
    30 Purge<'a> [u16] {
        /// The queue.
        queue: ShortStr<'a>,
        /// No [`PurgeOk`] is wanted.
        nowait: bool,
    }

    /// The messages are gone.
    31 PurgeOk {
        /// How many there were.
        message_count: u32,
    }

    /// Deletes a queue.
    40 Delete<'a> [u16] {
        /// The queue.
        queue: ShortStr<'a>,
        /// Refuse while it has consumers.
        if_unused: bool,
        /// Refuse while it has messages.
        if_empty: bool,
        /// No [`DeleteOk`] is wanted.
        nowait: bool,
    }

    /// The queue is gone.
    41 DeleteOk {
        /// How many messages went with it.
        message_count: u32,
    }

    /// Removes a binding.
    50 Unbind<'a> [u16] {
        /// The queue that receives.
        queue: ShortStr<'a>,
        /// The exchange that sends.
        exchange: ShortStr<'a>,
        /// As it was bound.
        routing_key: ShortStr<'a>,
        /// As it was bound.
        arguments: Table<'a>,
    }

    /// The binding is gone.
    51 UnbindOk {}
}
