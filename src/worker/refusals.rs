//! The log's words for messages that cannot be run: what is wrong, and the message, cut to a readable length.

use std::fmt::Write as _;

use crate::amqp::connection::{Delivery, Malformed};
use crate::message::headers;
use crate::message::task::{Refusal, TaskMessage};

/// Bodies and headers are shown up to this many octets, as Celery's.
const DUMPED: usize = 1024;

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
pub(super) fn log_unregistered(task: &TaskMessage<'_>, delivery: &Delivery<'_>) {
    log::error!(
        "Received unregistered task of type '{}'.\n\
         The message has been rejected. Is the module that defines the task part of this worker?\n\n{}",
        task.name,
        details(delivery),
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
