//! Messages on their way in: the publish method, its header, its body, and what becomes of it.

use std::time::{Duration, Instant};

use super::{Outputs, Session};
use crate::amqp::Properties;
use crate::amqp::frame::put_raw_message;
use crate::amqp::method::basic;
use crate::amqp::props::ContentHeader;
use crate::amqp::reply::ReplyCode;
use crate::broker::engine::Engine;
use crate::broker::keys::SessionKey;
use crate::broker::message::{Draft, Message};
use crate::broker::refusal::{Name, Refusal};
use crate::broker::vhost::{Outcome, Publication};

/// Class of the methods that carry content.
const BASIC: u16 = 60;

/// The message that a channel is about to publish.
#[derive(Debug, Default)]
pub(in crate::broker) struct Content {
    stage: Stage,
    mandatory: bool,
    /// Exchange and routing key, one after the other; the memory is used again and again.
    names: Vec<u8>,
    exchange_length: usize,
}

#[derive(Debug, Default)]
enum Stage {
    /// Nothing is published.
    #[default]
    Idle,
    /// The header is expected.
    Header,
    /// More of the body is expected.
    Body(Draft),
}

impl Content {
    pub(in crate::broker) fn start(&mut self, publish: &basic::Publish<'_>) {
        self.stage = Stage::Header;
        self.mandatory = publish.mandatory;
        self.names.clear();
        self.names.extend_from_slice(publish.exchange.as_bytes());
        self.exchange_length = self.names.len();
        self.names.extend_from_slice(publish.routing_key.as_bytes());
    }

    /// Checks that a method may come.
    pub(in crate::broker) fn check_idle(&self) -> Result<(), Refusal> {
        match self.stage {
            Stage::Idle => Ok(()),
            Stage::Header => Err(Refusal::unexpected(
                "expected content header for class 60, got non content header frame instead",
            )),
            Stage::Body(_) => Err(Refusal::unexpected(
                "expected content body, got non content body frame instead",
            )),
        }
    }

    /// Takes a content header; the message, if it has no body.
    pub(in crate::broker) fn header(
        &mut self,
        payload: &[u8],
        max_size: u64,
    ) -> Result<Option<Message>, Refusal> {
        if !matches!(self.stage, Stage::Header) {
            self.check_idle()?;
            return Err(not_a_method());
        }
        let header = ContentHeader::decode(payload)
            .map_err(|error| Refusal::new(ReplyCode::FrameError, error))?;
        let weight = payload.get(2..4);
        if header.class_id != BASIC {
            let class = header.class_id;
            let why = format_args!(
                "expected content header for class 60, got one for class {class} instead"
            );
            return Err(Refusal::unexpected(why));
        }
        if weight != Some(&[0, 0]) {
            return self.check_idle().map(|()| None);
        }
        if header.body_size > max_size {
            let size = header.body_size;
            let why =
                format_args!("message size {size} is larger than configured max size {max_size}");
            return Err(Refusal::precondition(why));
        }
        let (exchange, routing_key) = self.names.split_at(self.exchange_length);
        let draft = Draft::new(
            exchange,
            routing_key,
            header.property_list,
            header.body_size,
        );
        self.stage = Stage::Body(draft);
        Ok(self.take_complete())
    }

    /// Takes a piece of the body; the message, if that was the last.
    pub(in crate::broker) fn body(&mut self, payload: &[u8]) -> Result<Option<Message>, Refusal> {
        let Stage::Body(draft) = &mut self.stage else {
            self.check_idle()?;
            return Err(not_a_method());
        };
        if !draft.push(payload) {
            let why = "the body is longer than its header says";
            return Err(Refusal::new(ReplyCode::FrameError, why));
        }
        Ok(self.take_complete())
    }

    fn take_complete(&mut self) -> Option<Message> {
        match std::mem::take(&mut self.stage) {
            Stage::Body(draft) if draft.is_complete() => Some(draft.finish()),
            stage => {
                self.stage = stage;
                None
            }
        }
    }
}

fn not_a_method() -> Refusal {
    Refusal::unexpected("expected method frame, got non method frame instead")
}

impl Engine {
    /// Publishes a message that has come completely.
    pub(in crate::broker) fn publish(
        &mut self,
        key: SessionKey,
        number: u16,
        message: Message,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(key) else {
            return Ok(());
        };
        let Some(vhost) = self.vhosts.get_mut(session.vhost) else {
            return Ok(());
        };
        let parts = message.parts();
        vhost.check_publish(parts.exchange)?;
        let publication = read(message, &session.user)?;
        let mut sink = Outputs {
            sessions: &mut self.sessions,
            to_flush: &mut self.to_flush,
        };
        let outcome = vhost.publish(publication, now, &mut sink);
        if let Some(session) = self.sessions.get_mut(key) {
            session.settle(number, outcome);
        }
        self.check_memory(key);
        Ok(())
    }
}

impl Session {
    /// Tells a publisher what became of its message, as far as it wants to know: a message that
    /// comes back does so before it is confirmed.
    fn settle(&mut self, number: u16, outcome: Outcome) {
        let Some(channel) = self.channels.get_mut(&number) else {
            return;
        };
        let mandatory = channel.content.mandatory;
        let published = channel
            .confirms
            .as_mut()
            .map(|confirms| confirms.published());
        match outcome {
            Outcome::Accepted => {}
            Outcome::Unroutable(message) => {
                if mandatory {
                    self.give_back(number, &message);
                }
            }
            Outcome::Rejected => {
                if let Some(delivery_tag) = published {
                    self.refuse(number, delivery_tag);
                }
            }
        }
    }

    fn give_back(&mut self, number: u16, message: &Message) {
        let parts = message.parts();
        let method = basic::Return {
            reply_code: ReplyCode::NoRoute.number(),
            reply_text: ReplyCode::NoRoute.name().into(),
            exchange: parts.exchange.into(),
            routing_key: parts.routing_key.into(),
        };
        let (list, frame_max) = (parts.property_list, self.frame_max);
        // Cannot fail: all of it came in.
        let _ = put_raw_message(
            self.output.writer(),
            number,
            &method.into(),
            list,
            parts.body,
            frame_max,
        );
    }

    /// Confirms what was accepted before, then says that the last message was not.
    fn refuse(&mut self, number: u16, delivery_tag: u64) {
        let channel = self.channels.get_mut(&number);
        let Some(confirms) = channel.and_then(|channel| channel.confirms.as_mut()) else {
            return;
        };
        let alone = confirms.before_last();
        let last_accepted = basic::Ack {
            delivery_tag: delivery_tag - 1,
            multiple: true,
        };
        confirms.told();
        if !alone {
            self.send(number, last_accepted);
        }
        self.send(
            number,
            basic::Nack {
                delivery_tag,
                multiple: false,
                requeue: false,
            },
        );
    }
}

/// Reads what a message's properties say about its way, and checks what a server checks.
fn read(message: Message, user: &str) -> Result<Publication, Refusal> {
    let list = message.parts().property_list;
    let malformed = |error| {
        let why = format_args!("message properties: {error}");
        Refusal::new(ReplyCode::SyntaxError, why)
    };
    let properties = Properties::decode(list).map_err(malformed)?;
    if let Some(headers) = properties.headers {
        headers.check().map_err(malformed)?;
    }
    if let Some(claimed) = properties.user_id
        && claimed != user
    {
        let why =
            format_args!("user_id property set to '{claimed}' but authenticated user was '{user}'");
        return Err(Refusal::precondition(why));
    }
    let expiration = properties
        .expiration
        .map(|text| read_expiration(text.as_bytes()))
        .transpose()?;
    let priority = properties.priority.unwrap_or(0);
    Ok(Publication {
        message,
        priority,
        expiration,
    })
}

/// A time to live in milliseconds, written in digits.
fn read_expiration(text: &[u8]) -> Result<Duration, Refusal> {
    let invalid = |why: String| {
        let text = Name(text);
        Refusal::precondition(format_args!("invalid expiration '{text}': {why}"))
    };
    let signs = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let digits = text
        .iter()
        .skip(signs)
        .take_while(|octet| octet.is_ascii_digit());
    let (number, rest) = text.split_at(signs + digits.count());
    let parsed: Option<i64> = std::str::from_utf8(number)
        .ok()
        .and_then(|text| text.parse().ok());
    match parsed {
        None => Err(invalid("no_integer".into())),
        Some(_) if !rest.is_empty() => {
            Err(invalid(format!("{{leftover_string,\"{}\"}}", Name(rest))))
        }
        Some(number) => match u64::try_from(number) {
            Ok(milliseconds) => Ok(Duration::from_millis(milliseconds)),
            Err(_) => Err(invalid(format!("{{value_negative,{number}}}"))),
        },
    }
}
