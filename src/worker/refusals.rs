//! Messages that cannot be run: what becomes of them, and the log's words for them: what is wrong, and the message, cut
//! to a readable length.

use std::fmt::Write as _;
use std::time::Duration;

use log::Level;

use super::log_line::OfTask;
use crate::amqp::connection::{Delivery, Malformed};
use crate::message::headers;
use crate::message::record::Verdict;
use crate::message::task::{Refusal, TaskMessage};

/// Bodies and headers are shown up to this many octets, as Celery's.
const DUMPED: usize = 1024;

/// What becomes of messages that cannot be run, class by class. The default is what Celery does: it throws away what has
/// expired or cannot be decoded, and rejects the others, which a dead-letter exchange may keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusalPolicy {
    /// Tasks whose time has passed.
    pub expired: Verdict,
    /// Messages whose body cannot be decoded.
    pub undecodable: Verdict,
    /// Messages that are no task, or none that can be run.
    pub invalid: Verdict,
    /// Tasks that are not registered here. Handed back, another worker may know them, and nobody is told that they have
    /// failed: a worker of yesterday's program does not lose the tasks of today's.
    pub unregistered: Verdict,
    /// How long a task waits here before it is handed back, or a queue that nobody else serves would spin.
    pub pause: Duration,
}

impl Default for RefusalPolicy {
    fn default() -> Self {
        Self {
            expired: Verdict::Ack,
            undecodable: Verdict::Ack,
            invalid: Verdict::Reject,
            unregistered: Verdict::Reject,
            pause: Duration::from_secs(5),
        }
    }
}

impl RefusalPolicy {
    /// What becomes of a message that is refused for this.
    pub(super) fn verdict(&self, refusal: &Refusal) -> Verdict {
        match refusal.acknowledges() {
            true => self.undecodable,
            false => self.invalid,
        }
    }
}

/// Logs a message that is refused, at the level and with the first line that Celery's users grep for.
pub(super) fn log_refusal(refusal: &Refusal, delivery: &Delivery<'_>) {
    let details = details(delivery);
    match refusal {
        Refusal::Unknown => {
            log::warn!("Received and deleted unknown message.  Wrong destination?!?\n\n{details}")
        }
        Refusal::Undecodable(error) => {
            log::error!(target: CRITICAL, "Can't decode message body: {error}\n\n{details}");
        }
        Refusal::Foreign => {
            log::error!(target: CRITICAL, "Can't decode message body: {refusal}\n\n{details}");
        }
        _ => log::error!(
            "Received invalid task message: {refusal}\n\
             The message has been rejected.\n\n{details}"
        ),
    }
}

/// Logs a task that is not registered.
pub(super) fn log_unregistered(task: &TaskMessage<'_>, verdict: Verdict, delivery: &Delivery<'_>) {
    let fate = match verdict {
        Verdict::Ack => "thrown away",
        Verdict::Reject => "rejected",
        Verdict::Requeue => {
            // It may come again and again.
            let (name, id) = (&task.name, &task.id);
            return OfTask::from(task).log(
                Level::Warn,
                format_args!(
                    "Received unregistered task of type '{name}'[{id}]: it is handed back in a while"
                ),
            );
        }
    };
    OfTask::from(task).log(
        Level::Error,
        format_args!(
            "Received unregistered task of type '{}'.\n\
             The message has been {fate}. Is the module that defines the task part of this worker?\n\n{}",
            task.name,
            details(delivery),
        ),
    );
}

/// Logs a message that the connection could not even take apart.
pub(super) fn log_malformed(malformed: &Malformed<'_>) {
    log::error!(
        "Received invalid task message: {}\nThe message has been rejected. \
         It came through exchange {:?} with key {:?}.",
        malformed.error,
        malformed.exchange.to_string_lossy(),
        malformed.routing_key.to_string_lossy(),
    );
}

/// The log target of CRITICAL lines: [`log`] has no level above ERROR.
pub const CRITICAL: &str = "critical";

fn details(delivery: &Delivery<'_>) -> String {
    let properties = &delivery.properties;
    let mut text = format!("The body of the message was:\n{}\n", dump(delivery.body));
    let mut table = Vec::new();
    let headers = match headers::write_table(properties.headers.unwrap_or_default(), &mut table) {
        Ok(()) => dump(&table),
        Err(error) => format!("(malformed: {error})"),
    };
    let shown = |name: Option<crate::amqp::ShortStr<'_>>| match name {
        Some(name) => name.to_string_lossy().into_owned(),
        None => "none".to_owned(),
    };
    let _ = write!(
        text,
        "Its headers: {headers}\n\
         content type: {}, encoding: {}, exchange: {:?}, routing key: {:?}, redelivered: {}",
        shown(properties.content_type),
        shown(properties.content_encoding),
        delivery.exchange.to_string_lossy(),
        delivery.routing_key.to_string_lossy(),
        delivery.redelivered,
    );
    text
}

/// Octets as text on one line, cut, with the whole length behind.
fn dump(octets: &[u8]) -> String {
    let shown = octets.get(..DUMPED).unwrap_or(octets);
    let mut text = String::with_capacity(shown.len() + 16);
    for letter in String::from_utf8_lossy(shown).chars() {
        if letter.is_control() {
            text.extend(letter.escape_debug());
        } else {
            text.push(letter);
        }
    }
    let more = if octets.len() > shown.len() {
        "..."
    } else {
        ""
    };
    format!("{text}{more} ({}b)", octets.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_is_one_short_line() {
        assert_eq!(dump(b"{\"a\":\n1}\xff"), "{\"a\":\\n1}\u{fffd} (9b)");
        let long = dump(&[b'x'; 5000]);
        assert!(long.ends_with("... (5000b)"), "{long}");
        assert_eq!(long.len(), DUMPED + "... (5000b)".len());
    }
}
