//! The methods of AMQP 0-9-1 with RabbitMQ's extensions: every class, both directions.
//!
//! Each class is a file with one struct per method, each struct an argument list in wire order.
//! [`Method`] is the sum of them all. Reserved arguments are not shown: they are skipped when read
//! and written as zero or empty. Both roles use the same types, so a server decodes what a client
//! encodes.

use std::fmt;

use super::cursor::{Reader, Writer};
use super::wire::{DecodeError, EncodeError};

/// Declares the methods of one class. A list in brackets before or after the arguments names the
/// types of reserved ones.
macro_rules! class_methods {
    ($class:literal: $(
        $(#[$meta:meta])*
        $number:literal $name:ident $(<$lifetime:lifetime>)? $([$($before:ty),*])? {
            $($(#[$field_meta:meta])* $field:ident: $type:ty,)*
        } $([$($after:ty),*])?
    )*) => {$(
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct $name $(<$lifetime>)? {
            $($(#[$field_meta])* pub $field: $type,)*
        }

        impl $(<$lifetime>)? $name $(<$lifetime>)? {
            /// Class and number on the wire.
            pub const ID: $crate::amqp::method::MethodId =
                $crate::amqp::method::MethodId { class: $class, method: $number };
        }

        impl<'a> $crate::amqp::method::Arguments<'a> for $name $(<$lifetime>)? {
            #[inline]
            #[allow(unused_variables)]
            fn read(
                reader: &mut $crate::amqp::cursor::Reader<'a>,
            ) -> Result<Self, $crate::amqp::wire::DecodeError> {
                $($(<$before as $crate::amqp::cursor::Field<'_>>::read(reader)?;)*)?
                $(let $field = $crate::amqp::cursor::Field::read(reader)?;)*
                $($(<$after as $crate::amqp::cursor::Field<'_>>::read(reader)?;)*)?
                Ok(Self { $($field,)* })
            }

            #[inline]
            #[allow(unused_variables)]
            fn write(
                &self,
                writer: &mut $crate::amqp::cursor::Writer<'_>,
            ) -> Result<(), $crate::amqp::wire::EncodeError> {
                $($($crate::amqp::cursor::Field::write(&<$before>::default(), writer)?;)*)?
                $($crate::amqp::cursor::Field::write(&self.$field, writer)?;)*
                $($($crate::amqp::cursor::Field::write(&<$after>::default(), writer)?;)*)?
                Ok(())
            }
        }
    )*};
}

pub mod basic;
pub mod channel;
pub mod confirm;
pub mod connection;
pub mod exchange;
pub mod queue;
pub mod tx;

/// The argument list of one method.
pub(crate) trait Arguments<'a>: Sized {
    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError>;
    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError>;
}

/// Class and number of a method.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MethodId {
    /// The class: 50 for queues.
    pub class: u16,
    /// The method within its class: 10 for declare.
    pub method: u16,
}

impl MethodId {
    /// The name in the specification: `queue.declare`; nothing when the grammar has no such method.
    pub const fn name(self) -> Option<&'static str> {
        name_of(self)
    }
}

/// The name, or both numbers when there is none.
impl fmt::Display for MethodId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "({}, {})", self.class, self.method),
        }
    }
}

/// The sum of all methods, from one line each.
macro_rules! all_methods {
    ($($class:literal $number:literal $name:literal $variant:ident($type:ty),)*) => {
        /// A method of any class.
        ///
        /// ```
        /// use celeriac::amqp::method::{Method, queue};
        ///
        /// let declare = Method::from(queue::Declare {
        ///     queue: "celery".into(),
        ///     durable: true,
        ///     ..Default::default()
        /// });
        /// let mut payload = Vec::new();
        /// declare.encode(&mut payload)?;
        /// assert_eq!(Method::decode(&payload)?, declare);
        /// assert_eq!(declare.id().to_string(), "queue.declare");
        /// # Ok::<(), Box<dyn std::error::Error>>(())
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum Method<'a> {
            $(#[doc = concat!("`", $name, "`")] $variant($type),)*
        }

        impl<'a> Method<'a> {
            /// Class and number.
            pub const fn id(&self) -> MethodId {
                match self {
                    $(Self::$variant(_) => MethodId { class: $class, method: $number },)*
                }
            }

            /// Reads the payload of a method frame.
            ///
            /// # Errors
            /// When the grammar has no such method, or its arguments are not as the grammar says.
            pub fn decode(payload: &'a [u8]) -> Result<Self, DecodeError> {
                let mut reader = Reader::new(payload);
                let (class_id, method_id) = (reader.u16()?, reader.u16()?);
                let method = match (class_id, method_id) {
                    $(($class, $number) => Self::$variant(Arguments::read(&mut reader)?),)*
                    _ => return Err(DecodeError::UnknownMethod { class_id, method_id }),
                };
                reader.finish()?;
                Ok(method)
            }

            fn write_arguments(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
                match self {
                    $(Self::$variant(arguments) => arguments.write(writer),)*
                }
            }
        }

        $(
            impl<'a> From<$type> for Method<'a> {
                fn from(method: $type) -> Self {
                    Self::$variant(method)
                }
            }
        )*

        const fn name_of(id: MethodId) -> Option<&'static str> {
            match (id.class, id.method) {
                $(($class, $number) => Some($name),)*
                _ => None,
            }
        }
    };
}

all_methods! {
    10 10 "connection.start" ConnectionStart(connection::Start<'a>),
    10 11 "connection.start-ok" ConnectionStartOk(connection::StartOk<'a>),
    10 20 "connection.secure" ConnectionSecure(connection::Secure<'a>),
    10 21 "connection.secure-ok" ConnectionSecureOk(connection::SecureOk<'a>),
    10 30 "connection.tune" ConnectionTune(connection::Tune),
    10 31 "connection.tune-ok" ConnectionTuneOk(connection::TuneOk),
    10 40 "connection.open" ConnectionOpen(connection::Open<'a>),
    10 41 "connection.open-ok" ConnectionOpenOk(connection::OpenOk),
    10 50 "connection.close" ConnectionClose(connection::Close<'a>),
    10 51 "connection.close-ok" ConnectionCloseOk(connection::CloseOk),
    10 60 "connection.blocked" ConnectionBlocked(connection::Blocked<'a>),
    10 61 "connection.unblocked" ConnectionUnblocked(connection::Unblocked),
    10 70 "connection.update-secret" ConnectionUpdateSecret(connection::UpdateSecret<'a>),
    10 71 "connection.update-secret-ok" ConnectionUpdateSecretOk(connection::UpdateSecretOk),
    20 10 "channel.open" ChannelOpen(channel::Open),
    20 11 "channel.open-ok" ChannelOpenOk(channel::OpenOk),
    20 20 "channel.flow" ChannelFlow(channel::Flow),
    20 21 "channel.flow-ok" ChannelFlowOk(channel::FlowOk),
    20 40 "channel.close" ChannelClose(channel::Close<'a>),
    20 41 "channel.close-ok" ChannelCloseOk(channel::CloseOk),
    40 10 "exchange.declare" ExchangeDeclare(exchange::Declare<'a>),
    40 11 "exchange.declare-ok" ExchangeDeclareOk(exchange::DeclareOk),
    40 20 "exchange.delete" ExchangeDelete(exchange::Delete<'a>),
    40 21 "exchange.delete-ok" ExchangeDeleteOk(exchange::DeleteOk),
    40 30 "exchange.bind" ExchangeBind(exchange::Bind<'a>),
    40 31 "exchange.bind-ok" ExchangeBindOk(exchange::BindOk),
    40 40 "exchange.unbind" ExchangeUnbind(exchange::Unbind<'a>),
    40 51 "exchange.unbind-ok" ExchangeUnbindOk(exchange::UnbindOk),
    50 10 "queue.declare" QueueDeclare(queue::Declare<'a>),
    50 11 "queue.declare-ok" QueueDeclareOk(queue::DeclareOk<'a>),
    50 20 "queue.bind" QueueBind(queue::Bind<'a>),
    50 21 "queue.bind-ok" QueueBindOk(queue::BindOk),
    50 30 "queue.purge" QueuePurge(queue::Purge<'a>),
    50 31 "queue.purge-ok" QueuePurgeOk(queue::PurgeOk),
    50 40 "queue.delete" QueueDelete(queue::Delete<'a>),
    50 41 "queue.delete-ok" QueueDeleteOk(queue::DeleteOk),
    50 50 "queue.unbind" QueueUnbind(queue::Unbind<'a>),
    50 51 "queue.unbind-ok" QueueUnbindOk(queue::UnbindOk),
    60 10 "basic.qos" BasicQos(basic::Qos),
    60 11 "basic.qos-ok" BasicQosOk(basic::QosOk),
    60 20 "basic.consume" BasicConsume(basic::Consume<'a>),
    60 21 "basic.consume-ok" BasicConsumeOk(basic::ConsumeOk<'a>),
    60 30 "basic.cancel" BasicCancel(basic::Cancel<'a>),
    60 31 "basic.cancel-ok" BasicCancelOk(basic::CancelOk<'a>),
    60 40 "basic.publish" BasicPublish(basic::Publish<'a>),
    60 50 "basic.return" BasicReturn(basic::Return<'a>),
    60 60 "basic.deliver" BasicDeliver(basic::Deliver<'a>),
    60 70 "basic.get" BasicGet(basic::Get<'a>),
    60 71 "basic.get-ok" BasicGetOk(basic::GetOk<'a>),
    60 72 "basic.get-empty" BasicGetEmpty(basic::GetEmpty),
    60 80 "basic.ack" BasicAck(basic::Ack),
    60 90 "basic.reject" BasicReject(basic::Reject),
    60 100 "basic.recover-async" BasicRecoverAsync(basic::RecoverAsync),
    60 110 "basic.recover" BasicRecover(basic::Recover),
    60 111 "basic.recover-ok" BasicRecoverOk(basic::RecoverOk),
    60 120 "basic.nack" BasicNack(basic::Nack),
    85 10 "confirm.select" ConfirmSelect(confirm::Select),
    85 11 "confirm.select-ok" ConfirmSelectOk(confirm::SelectOk),
    90 10 "tx.select" TxSelect(tx::Select),
    90 11 "tx.select-ok" TxSelectOk(tx::SelectOk),
    90 20 "tx.commit" TxCommit(tx::Commit),
    90 21 "tx.commit-ok" TxCommitOk(tx::CommitOk),
    90 30 "tx.rollback" TxRollback(tx::Rollback),
    90 31 "tx.rollback-ok" TxRollbackOk(tx::RollbackOk),
}

impl Method<'_> {
    /// Appends the payload of a method frame.
    ///
    /// # Errors
    /// When an argument is too long for its type; then nothing is appended.
    pub fn encode(&self, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let before = out.len();
        let id = self.id();
        let mut writer = Writer::new(out);
        writer.u16(id.class);
        writer.u16(id.method);
        let result = self.write_arguments(&mut writer);
        if result.is_err() {
            out.truncate(before);
        }
        result
    }
}
