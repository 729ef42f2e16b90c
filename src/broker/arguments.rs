//! The arguments of queue.declare: read, checked, and compared when a queue is declared again.

use std::fmt;
use std::time::Duration;

use super::refusal::{Name, Refusal, Resource};
use crate::amqp::table::{Table, Value};

/// The longest time to live, in milliseconds: RabbitMQ's hundred years.
const LONGEST: i64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// The arguments that must be the same when a queue is declared again, in the order in which they
/// are checked. Others are ignored, as RabbitMQ ignores them.
const COMPARED: &[&str] = &[
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-dead-letter-strategy",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-single-active-consumer",
    "x-queue-type",
    "x-delivery-limit",
];

/// What the arguments of a queue ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct QueueOptions {
    /// Delete the queue when it was not used for so long.
    pub(super) expires: Option<Duration>,
    /// How long a message may wait.
    pub(super) message_ttl: Option<Duration>,
    pub(super) max_length: Option<u64>,
    pub(super) max_length_bytes: Option<u64>,
    pub(super) overflow: Overflow,
    pub(super) max_priority: u8,
    pub(super) dead_letter: Option<DeadLetter>,
    pub(super) quorum: bool,
    /// How often a message of a quorum queue may come back.
    pub(super) delivery_limit: Option<u32>,
    pub(super) single_active_consumer: bool,
}

/// Where messages go that a queue gives up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DeadLetter {
    pub(super) exchange: Box<[u8]>,
    /// Instead of the message's own.
    pub(super) routing_key: Option<Box<[u8]>>,
}

/// What happens to a message for which a queue has no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Overflow {
    /// The oldest message makes room.
    #[default]
    DropHead,
    /// The publisher hears a nack.
    RejectPublish,
    /// As well, and the message is dead-lettered.
    RejectPublishDeadLetter,
}

impl QueueOptions {
    /// Reads and checks the arguments.
    pub(super) fn read(table: Table<'_>, queue: Resource<'_>) -> Result<Self, Refusal> {
        let arguments = Checked { table, queue };
        let mut options = Self {
            expires: arguments.milliseconds("x-expires", 1)?,
            message_ttl: arguments.milliseconds("x-message-ttl", 0)?,
            ..Self::default()
        };
        options.dead_letter = arguments.dead_letter()?;
        options.max_length = arguments.natural("x-max-length")?;
        options.max_length_bytes = arguments.natural("x-max-length-bytes")?;
        if let Some(levels) = arguments.natural("x-max-priority")? {
            options.max_priority = u8::try_from(levels).map_err(|_| {
                let why = format_args!("{{max_value_exceeded,{levels}}}");
                Refusal::invalid_argument("x-max-priority", queue, why)
            })?;
        }
        options.overflow = arguments.overflow()?;
        options.single_active_consumer = arguments
            .find("x-single-active-consumer")
            .is_some_and(|value| value == Value::Bool(true));
        options.quorum = arguments.quorum()?;
        if options.quorum && arguments.find("x-max-priority").is_some() {
            let why = format_args!(
                "invalid arg 'x-max-priority' for {queue} of queue type rabbit_quorum_queue"
            );
            return Err(Refusal::precondition(why));
        }
        let limit = arguments.natural("x-delivery-limit")?;
        options.delivery_limit = limit.map(|limit| u32::try_from(limit).unwrap_or(u32::MAX));
        Ok(options)
    }
}

/// The arguments of one queue, with the words for what is wrong with them.
#[derive(Clone, Copy)]
struct Checked<'a> {
    table: Table<'a>,
    queue: Resource<'a>,
}

impl<'a> Checked<'a> {
    /// The table was checked when it arrived.
    fn find(self, key: &str) -> Option<Value<'a>> {
        self.table.find(key).ok().flatten()
    }

    fn integer(self, key: &str) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.find(key) else {
            return Ok(None);
        };
        match value.as_i64() {
            Some(number) => Ok(Some(number)),
            None => {
                let why = format_args!("\"expected integer, got {}\"", type_name(&value));
                Err(Refusal::invalid_argument(key, self.queue, why))
            }
        }
    }

    fn natural(self, key: &str) -> Result<Option<u64>, Refusal> {
        let Some(number) = self.integer(key)? else {
            return Ok(None);
        };
        u64::try_from(number).map(Some).map_err(|_| {
            let why = format_args!("{{value_negative,{number}}}");
            Refusal::invalid_argument(key, self.queue, why)
        })
    }

    fn milliseconds(self, key: &str, least: u64) -> Result<Option<Duration>, Refusal> {
        let Some(number) = self.natural(key)? else {
            return Ok(None);
        };
        if number < least {
            let why = format_args!("{{value_zero,{number}}}");
            return Err(Refusal::invalid_argument(key, self.queue, why));
        }
        if number > LONGEST as u64 {
            let why = format_args!("{{value_too_big,{number}}}");
            return Err(Refusal::invalid_argument(key, self.queue, why));
        }
        Ok(Some(Duration::from_millis(number)))
    }

    fn text(self, key: &str) -> Result<Option<&'a [u8]>, Refusal> {
        match self.find(key) {
            None => Ok(None),
            Some(Value::LongStr(text)) => Ok(Some(text)),
            Some(other) => {
                let why = format_args!("{{unacceptable_type,{}}}", type_name(&other));
                Err(Refusal::invalid_argument(key, self.queue, why))
            }
        }
    }

    fn dead_letter(self) -> Result<Option<DeadLetter>, Refusal> {
        let exchange = self.text("x-dead-letter-exchange")?;
        let routing_key = self.text("x-dead-letter-routing-key")?;
        match exchange {
            Some(exchange) => Ok(Some(DeadLetter {
                exchange: exchange.into(),
                routing_key: routing_key.map(Into::into),
            })),
            None if routing_key.is_some() => Err(Refusal::invalid_argument(
                "x-dead-letter-routing-key",
                self.queue,
                "routing_key_but_no_dlx_defined",
            )),
            None => Ok(None),
        }
    }

    fn overflow(self) -> Result<Overflow, Refusal> {
        match self.text("x-overflow")? {
            None | Some(b"drop-head") => Ok(Overflow::DropHead),
            Some(b"reject-publish") => Ok(Overflow::RejectPublish),
            Some(b"reject-publish-dlx") => Ok(Overflow::RejectPublishDeadLetter),
            Some(_) => Err(Refusal::invalid_argument(
                "x-overflow",
                self.queue,
                "invalid_overflow",
            )),
        }
    }

    fn quorum(self) -> Result<bool, Refusal> {
        match self.text("x-queue-type")? {
            None | Some(b"classic") => Ok(false),
            Some(b"quorum") => Ok(true),
            Some(other) => {
                let why = format_args!("\"unsupported queue type '{}'\"", Name(other));
                Err(Refusal::invalid_argument("x-queue-type", self.queue, why))
            }
        }
    }
}

/// Checks that a queue is declared again with the arguments it has.
pub(super) fn check_equivalent(
    current: Table<'_>,
    received: Table<'_>,
    queue: Resource<'_>,
) -> Result<(), Refusal> {
    for key in COMPARED {
        let find = |table: Table<'_>| -> Option<Shown> {
            match table.find(key).ok().flatten() {
                Some(value) => Some(Shown::of(&value)),
                None if *key == "x-queue-type" => Some(Shown::of(&Value::LongStr(b"classic"))),
                None => None,
            }
        };
        let (current, received) = (find(current), find(received));
        match (&current, &received) {
            (None, None) => {}
            (Some(current), Some(received)) => {
                let same_class =
                    current.kind == received.kind || (current.number && received.number);
                if !(same_class && current.text == received.text) {
                    let (received, current) = (Quoted(&received.text), Quoted(&current.text));
                    return Err(Refusal::inequivalent(key, queue, received, current));
                }
            }
            _ => {
                let (received, current) = (Typed(&received), Typed(&current));
                return Err(Refusal::inequivalent(key, queue, received, current));
            }
        }
    }
    Ok(())
}

/// A value as RabbitMQ shows it.
struct Shown {
    text: String,
    kind: &'static str,
    /// Integers are compared by value, whatever their width.
    number: bool,
}

impl Shown {
    fn of(value: &Value<'_>) -> Self {
        let text = match value {
            Value::LongStr(text) | Value::Bytes(text) => Name(text).to_string(),
            Value::Bool(truth) => truth.to_string(),
            other => match other.as_i64() {
                Some(number) => number.to_string(),
                None => format!("{other:?}"),
            },
        };
        Self {
            text,
            kind: type_name(value),
            number: value.as_i64().is_some(),
        }
    }
}

struct Quoted<'a>(&'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0)
    }
}

struct Typed<'a>(&'a Option<Shown>);

impl fmt::Display for Typed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => f.write_str("none"),
            Some(Shown { text, kind, .. }) => write!(f, "the value '{text}' of type '{kind}'"),
        }
    }
}

/// RabbitMQ's name of a value's type.
pub(super) const fn type_name(value: &Value<'_>) -> &'static str {
    match value {
        Value::LongStr(_) => "longstr",
        Value::Bool(_) => "bool",
        Value::I8(_) => "byte",
        Value::U8(_) => "unsignedbyte",
        Value::I16(_) => "short",
        Value::U16(_) => "unsignedshort",
        Value::I32(_) => "signedint",
        Value::U32(_) => "unsignedint",
        Value::I64(_) => "long",
        Value::F32(_) => "float",
        Value::F64(_) => "double",
        Value::Decimal { .. } => "decimal",
        Value::Timestamp(_) => "timestamp",
        Value::Table(_) => "table",
        Value::Array(_) => "array",
        Value::Bytes(_) => "binary",
        Value::Void => "void",
    }
}
