//! Messages that a queue gave up: what is written into their headers on the way to the dead-letter
//! exchange, as RabbitMQ writes it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::message::{Message, Parts};
use crate::amqp::Properties;
use crate::amqp::table::{ArrayBuf, Table, TableBuf, Value};
use crate::amqp::wire::{EncodeError, ShortStr};

/// Why a queue gave a message up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    DeliveryLimit,
    Expired,
    MaxLength,
    Rejected,
}

impl Reason {
    const fn name(self) -> &'static str {
        match self {
            Self::DeliveryLimit => "delivery_limit",
            Self::Expired => "expired",
            Self::MaxLength => "maxlen",
            Self::Rejected => "rejected",
        }
    }
}

/// A message that a queue has given up, and where it is to go.
#[derive(Debug)]
pub(super) struct Death {
    pub(super) message: Message,
    pub(super) queue: Box<[u8]>,
    pub(super) reason: Reason,
    pub(super) exchange: Box<[u8]>,
    /// Instead of the message's own.
    pub(super) routing_key: Option<Box<[u8]>>,
}

impl Death {
    /// The message as it goes to the dead-letter exchange.
    pub(super) fn message(&self, wall: SystemTime) -> Message {
        let parts = self.message.parts();
        let property_list = self.property_list(parts, wall);
        Message::new(Parts {
            exchange: &self.exchange,
            routing_key: self.routing_key.as_deref().unwrap_or(parts.routing_key),
            property_list: property_list.as_deref().unwrap_or(parts.property_list),
            body: parts.body,
        })
    }

    /// Nothing when the headers have no encoding, which those that arrived have.
    fn property_list(&self, parts: Parts<'_>, wall: SystemTime) -> Option<Vec<u8>> {
        let properties = Properties::decode(parts.property_list).ok()?;
        let headers = self.headers(parts, &properties, wall).ok()?;
        let mut list = Vec::new();
        let properties = Properties {
            headers: Some(headers.as_table()),
            expiration: None,
            ..properties
        };
        properties.encode(&mut list).ok()?;
        Some(list)
    }

    fn headers(
        &self,
        parts: Parts<'_>,
        properties: &Properties<'_>,
        wall: SystemTime,
    ) -> Result<TableBuf, EncodeError> {
        let old = properties.headers.unwrap_or_default();
        let deaths = self.deaths(parts, properties, wall)?;
        let mut pairs: Vec<(ShortStr<'_>, Value<'_>)> = old
            .iter()
            .flatten()
            .filter(|(key, _)| *key != "x-death")
            .collect();
        pairs.push(("x-death".into(), Value::Array(deaths.as_array())));
        if !matches!(old.find("x-first-death-reason"), Ok(Some(_))) {
            pairs.push((
                "x-first-death-exchange".into(),
                Value::LongStr(parts.exchange),
            ));
            pairs.push(("x-first-death-queue".into(), Value::LongStr(&self.queue)));
            pairs.push(("x-first-death-reason".into(), self.reason.name().into()));
        }
        pairs.sort_by_key(|(key, _)| *key);
        let mut headers = TableBuf::new();
        for (key, value) in pairs {
            headers.insert(key, value)?;
        }
        Ok(headers)
    }

    /// The deaths so far, the latest first. One in the same queue for the same reason is counted, not
    /// repeated.
    fn deaths(
        &self,
        parts: Parts<'_>,
        properties: &Properties<'_>,
        wall: SystemTime,
    ) -> Result<ArrayBuf, EncodeError> {
        let earlier: Vec<Table<'_>> = deaths_of(properties.headers).collect();
        let is_same = |death: &&Table<'_>| {
            text(**death, "queue") == Some(&*self.queue)
                && text(**death, "reason") == Some(self.reason.name().as_bytes())
        };
        let latest = match earlier.iter().find(is_same) {
            Some(death) => counted(*death)?,
            None => self.first(parts, properties, wall)?,
        };
        let mut deaths = ArrayBuf::new();
        deaths.push(latest.as_table())?;
        for death in earlier.iter().filter(|death| !is_same(death)) {
            deaths.push(*death)?;
        }
        Ok(deaths)
    }

    fn first(
        &self,
        parts: Parts<'_>,
        properties: &Properties<'_>,
        wall: SystemTime,
    ) -> Result<TableBuf, EncodeError> {
        let seconds = wall
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs();
        let mut keys = ArrayBuf::new();
        keys.push(Value::LongStr(parts.routing_key))?;
        let mut death = TableBuf::new();
        death.insert("count", 1_i64)?;
        death.insert("reason", self.reason.name())?;
        death.insert("queue", Value::LongStr(&self.queue))?;
        death.insert("time", Value::Timestamp(seconds))?;
        death.insert("exchange", Value::LongStr(parts.exchange))?;
        death.insert("routing-keys", keys.as_array())?;
        if let Some(expiration) = properties.expiration {
            death.insert("original-expiration", Value::LongStr(expiration.as_bytes()))?;
        }
        Ok(death)
    }
}

/// Whether a dead message would go round for ever if it went into this queue: it has died there
/// before, and nobody has rejected it since.
pub(super) fn is_cycle(property_list: &[u8], queue: &[u8]) -> bool {
    let headers = Properties::decode(property_list)
        .unwrap_or_default()
        .headers;
    for death in deaths_of(headers) {
        if text(death, "reason") == Some(b"rejected") {
            return false;
        }
        if text(death, "queue") == Some(queue) {
            return true;
        }
    }
    false
}

/// A property list with one more header; nothing when it has no encoding.
pub(super) fn with_header(property_list: &[u8], name: &str, value: i64) -> Option<Vec<u8>> {
    let properties = Properties::decode(property_list).ok()?;
    let mut headers = TableBuf::new();
    for (key, old) in properties.headers.unwrap_or_default().iter().flatten() {
        if key != name {
            headers.insert(key, old).ok()?;
        }
    }
    headers.insert(name, value).ok()?;
    let mut list = Vec::new();
    let properties = Properties {
        headers: Some(headers.as_table()),
        ..properties
    };
    properties.encode(&mut list).ok()?;
    Some(list)
}

fn deaths_of(headers: Option<Table<'_>>) -> impl Iterator<Item = Table<'_>> {
    let deaths = match headers.unwrap_or_default().find("x-death") {
        Ok(Some(Value::Array(deaths))) => Some(deaths),
        _ => None,
    };
    let items = deaths.into_iter().flatten().flatten();
    items.filter_map(|death| death.as_table())
}

fn text<'a>(death: Table<'a>, key: &str) -> Option<&'a [u8]> {
    match death.find(key) {
        Ok(Some(Value::LongStr(text))) => Some(text),
        _ => None,
    }
}

/// The same death once more.
fn counted(death: Table<'_>) -> Result<TableBuf, EncodeError> {
    let mut counted = TableBuf::new();
    for (key, value) in death.iter().flatten() {
        match value.as_i64() {
            Some(count) if key == "count" => counted.insert(key, count.saturating_add(1))?,
            _ => counted.insert(key, value)?,
        }
    }
    Ok(counted)
}

/// The deaths that headers tell of: queue, reason, count.
#[cfg(test)]
pub(super) fn deaths_for_tests(headers: Option<Table<'_>>) -> Vec<(String, String, i64)> {
    let show = |death: Table<'_>, key: &str| {
        String::from_utf8_lossy(text(death, key).unwrap_or_default()).into_owned()
    };
    let count = |death: Table<'_>| death.find("count").ok().flatten()?.as_i64();
    deaths_of(headers)
        .map(|death| {
            (
                show(death, "queue"),
                show(death, "reason"),
                count(death).unwrap_or(0),
            )
        })
        .collect()
}
