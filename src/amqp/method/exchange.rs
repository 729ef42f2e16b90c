//! Class 40: exchanges, and RabbitMQ's bindings from one to another.

use super::super::table::Table;
use super::super::wire::ShortStr;

class_methods! { 40:
    /// Creates an exchange, or checks that it is as described.
    10 Declare<'a> [u16] {
        /// Its name.
        exchange: ShortStr<'a>,
        /// `direct`, `fanout`, `topic`, `headers`, or a plugin's type.
        kind: ShortStr<'a>,
        /// Only check that it exists.
        passive: bool,
        /// Survives a restart of the server.
        durable: bool,
        /// Vanishes with its last binding.
        auto_delete: bool,
        /// Takes messages from other exchanges only.
        internal: bool,
        /// No [`DeclareOk`] is wanted.
        nowait: bool,
        /// Options that plugins and extensions understand.
        arguments: Table<'a>,
    }

    /// The exchange is there.
    11 DeclareOk {}

    /// Deletes an exchange.
    20 Delete<'a> [u16] {
        /// Its name.
        exchange: ShortStr<'a>,
        /// Refuse while it has bindings.
        if_unused: bool,
        /// No [`DeleteOk`] is wanted.
        nowait: bool,
    }

    /// The exchange is gone.
    21 DeleteOk {}

    /// Binds one exchange to another.
    30 Bind<'a> [u16] {
        /// The exchange that receives.
        destination: ShortStr<'a>,
        /// The exchange that sends.
        source: ShortStr<'a>,
        /// Pattern as the source's type reads it.
        routing_key: ShortStr<'a>,
        /// No [`BindOk`] is wanted.
        nowait: bool,
        /// What a headers exchange matches.
        arguments: Table<'a>,
    }

    /// The binding is there.
    31 BindOk {}

    /// Removes a binding of one exchange to another.
    40 Unbind<'a> [u16] {
        /// The exchange that receives.
        destination: ShortStr<'a>,
        /// The exchange that sends.
        source: ShortStr<'a>,
        /// As it was bound.
        routing_key: ShortStr<'a>,
        /// No [`UnbindOk`] is wanted.
        nowait: bool,
        /// As it was bound.
        arguments: Table<'a>,
    }

    /// The binding is gone. Its number is 51, against the pattern of all others.
    51 UnbindOk {}
}
