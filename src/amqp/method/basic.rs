//! Class 60: messages.

use super::super::table::Table;
use super::super::wire::ShortStr;

class_methods! { 60:
    /// Limits how much may be delivered ahead of its acknowledgement.
    10 Qos {
        /// In octets; RabbitMQ knows only zero, no limit.
        prefetch_size: u32,
        /// In messages; zero for no limit.
        prefetch_count: u16,
        /// For the channel as a whole; RabbitMQ's reading, and gone in its version 4.
        global: bool,
    }

    /// The limit is in force.
    11 QosOk {}

    /// Starts a consumer.
    20 Consume<'a> [u16] {
        /// The queue.
        queue: ShortStr<'a>,
        /// Its name on this channel; empty to let the server choose one.
        consumer_tag: ShortStr<'a>,
        /// Not what this connection published; RabbitMQ ignores it.
        no_local: bool,
        /// Deliveries count as acknowledged when they are sent.
        no_ack: bool,
        /// No other consumer may have the queue.
        exclusive: bool,
        /// No [`ConsumeOk`] is wanted.
        nowait: bool,
        /// `x-priority` and its like.
        arguments: Table<'a>,
    }

    /// The consumer has started.
    21 ConsumeOk<'a> {
        /// Its name, also when the server chose it.
        consumer_tag: ShortStr<'a>,
    }

    /// Ends a consumer; from a server it says that its queue is gone.
    30 Cancel<'a> {
        /// The consumer.
        consumer_tag: ShortStr<'a>,
        /// No [`CancelOk`] is wanted.
        nowait: bool,
    }

    /// The consumer has ended.
    31 CancelOk<'a> {
        /// The consumer.
        consumer_tag: ShortStr<'a>,
    }

    /// Sends a message to an exchange. Content follows.
    40 Publish<'a> [u16] {
        /// The exchange; empty for the default one.
        exchange: ShortStr<'a>,
        /// Where to, as the exchange's type reads it.
        routing_key: ShortStr<'a>,
        /// Return it when no queue takes it.
        mandatory: bool,
        /// Return it when no consumer takes it at once; RabbitMQ refuses this.
        immediate: bool,
    }

    /// Gives back a message that could not be routed. Content follows.
    50 Return<'a> {
        /// Why.
        reply_code: u16,
        /// Why, in words.
        reply_text: ShortStr<'a>,
        /// As it was published.
        exchange: ShortStr<'a>,
        /// As it was published.
        routing_key: ShortStr<'a>,
    }

    /// Brings a consumer a message. Content follows.
    60 Deliver<'a> {
        /// The consumer.
        consumer_tag: ShortStr<'a>,
        /// The message's number on this channel, from one.
        delivery_tag: u64,
        /// It may have been delivered before.
        redelivered: bool,
        /// As it was published.
        exchange: ShortStr<'a>,
        /// As it was published.
        routing_key: ShortStr<'a>,
    }

    /// Asks a queue for one message.
    70 Get<'a> [u16] {
        /// The queue.
        queue: ShortStr<'a>,
        /// It counts as acknowledged when it is sent.
        no_ack: bool,
    }

    /// Brings the message that was asked for. Content follows.
    71 GetOk<'a> {
        /// The message's number on this channel, from one.
        delivery_tag: u64,
        /// It may have been delivered before.
        redelivered: bool,
        /// As it was published.
        exchange: ShortStr<'a>,
        /// As it was published.
        routing_key: ShortStr<'a>,
        /// How many are left in the queue.
        message_count: u32,
    }

    /// The queue has no message.
    72 GetEmpty {} [ShortStr<'_>]

    /// Acknowledges messages; from a server it confirms publishes.
    80 Ack {
        /// The message's number; zero with `multiple` for all.
        delivery_tag: u64,
        /// All up to this one.
        multiple: bool,
    }

    /// Refuses one message.
    90 Reject {
        /// The message's number.
        delivery_tag: u64,
        /// Back to its queue rather than away.
        requeue: bool,
    }

    /// Asks for everything unacknowledged again, without an answer.
    100 RecoverAsync {
        /// To whoever is free rather than to its first consumer.
        requeue: bool,
    }

    /// Asks for everything unacknowledged again.
    110 Recover {
        /// To whoever is free rather than to its first consumer.
        requeue: bool,
    }

    /// The messages will come again.
    111 RecoverOk {}

    /// Refuses messages; from a server it says that publishes are lost.
    120 Nack {
        /// The message's number; zero with `multiple` for all.
        delivery_tag: u64,
        /// All up to this one.
        multiple: bool,
        /// Back to their queue rather than away.
        requeue: bool,
    }
}
