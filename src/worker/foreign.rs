//! Messages that only Python reads: of protocol 1, with a body that is no JSON.
//!
//! The clerk of a Python app reads such a message and gives back one of protocol 2, which then takes the way of any
//! other. Until then it is unsettled, and forgotten with the channel that has delivered it. The clerk also hears of
//! messages that are rejected, for the receivers of `task_rejected`.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::Worker;
use super::refusals;
use super::tasks::Tasks;
use crate::amqp::connection::{Delivery, DeliveryTag};
use crate::amqp::table::TableBuf;
use crate::hub::Hub;
use crate::message::properties::MessageProperties;
use crate::message::record::{self, About, DeliveryInfo};
use crate::message::task::Refusal;
use crate::message::{base64, headers};
use crate::pool::python::clerk::Weight;

/// A message that the clerk is to read.
#[derive(Debug)]
pub(super) struct Foreign {
    pub(super) channel: u16,
    tag: DeliveryTag,
    redelivered: bool,
    consumer_tag: String,
    exchange: String,
    routing_key: String,
    properties: MessageProperties,
    headers: TableBuf,
    body: Vec<u8>,
}

/// What the clerk has made of it.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Decoded {
    /// A task.
    Task {
        headers: Map<String, Value>,
        content_type: String,
        content_encoding: String,
        /// In base64.
        body: String,
    },
    /// It cannot be decoded.
    Failed { error: String },
    /// No task.
    Other {},
}

impl Foreign {
    fn new(delivery: &Delivery<'_>) -> Option<Self> {
        let mut text = Vec::new();
        headers::write_table(delivery.properties.headers.unwrap_or_default(), &mut text).ok()?;
        Some(Self {
            channel: delivery.channel,
            tag: delivery.tag,
            redelivered: delivery.redelivered,
            consumer_tag: delivery.consumer_tag.to_string_lossy().into_owned(),
            exchange: delivery.exchange.to_string_lossy().into_owned(),
            routing_key: delivery.routing_key.to_string_lossy().into_owned(),
            properties: (&delivery.properties).into(),
            headers: headers::table_from_json(str::from_utf8(&text).ok()?).ok()?,
            body: delivery.body.to_vec(),
        })
    }

    fn delivery(&self) -> Delivery<'_> {
        Delivery {
            channel: self.channel,
            consumer_tag: self.consumer_tag.as_str().into(),
            tag: self.tag,
            redelivered: self.redelivered,
            exchange: self.exchange.as_str().into(),
            routing_key: self.routing_key.as_str().into(),
            properties: self.properties.as_amqp(self.headers.as_table()),
            body: &self.body,
        }
    }

    /// Becomes what the clerk has made of it.
    fn become_task(&mut self, answer: Option<&str>) -> Result<(), Refusal> {
        let answer = answer.and_then(|answer| serde_json::from_str(answer).ok());
        match answer {
            Some(Decoded::Task {
                headers,
                content_type,
                content_encoding,
                body,
            }) => {
                let text = Value::Object(headers).to_string();
                self.headers = headers::table_from_json(&text).map_err(|_| Refusal::Unknown)?;
                self.body = base64::decode(&body).ok_or(Refusal::Foreign)?;
                self.properties.content_type = Some(content_type);
                self.properties.content_encoding = Some(content_encoding);
                Ok(())
            }
            Some(Decoded::Failed { error }) => {
                log::debug!("clerk: {error}");
                Err(Refusal::Foreign)
            }
            Some(Decoded::Other {}) => Err(Refusal::Unknown),
            None => Err(Refusal::Foreign),
        }
    }
}

impl Tasks {
    /// Has the clerk read a message. False when there is none.
    pub(super) fn decode(&mut self, delivery: &Delivery<'_>) -> bool {
        let record = self.record_of(delivery);
        let (Some(books), Some(record)) = (&mut self.reporter.books, record) else {
            return false;
        };
        let foreign = Foreign::new(delivery);
        foreign.is_some_and(|foreign| books.decode(foreign, &record))
    }

    /// A message is rejected.
    pub(super) fn tell_of_rejected(&mut self, refusal: &Refusal, delivery: &Delivery<'_>) {
        if !self.tells_of_rejected || refusal.acknowledges() {
            return;
        }
        let record = self.record_of(delivery);
        let reason = (*refusal != Refusal::Unknown).then(|| refusal.to_string());
        let about = About::Refused {
            reason: reason.as_deref(),
        };
        if let (Some(books), Some(record)) = (&mut self.reporter.books, record) {
            books.tell(about, Weight::Passing, &record);
        }
    }

    /// A message as it is, for the clerk.
    fn record_of(&self, delivery: &Delivery<'_>) -> Option<Vec<u8>> {
        self.reporter.books.as_ref()?;
        let job = record::Job {
            job: 0,
            task: "",
            id: "",
            headers: &headers::Headers::Table(delivery.properties.headers.unwrap_or_default()),
            properties: &delivery.properties,
            delivery_info: &DeliveryInfo {
                exchange: delivery.exchange.to_string_lossy(),
                routing_key: delivery.routing_key.to_string_lossy(),
                priority: delivery.properties.priority,
                redelivered: delivery.redelivered,
            },
            hostname: &self.node_name,
            options: None,
            body: delivery.body,
        };
        let mut record = Vec::new();
        job.encode(&mut record).ok()?;
        Some(record)
    }
}

impl Worker {
    /// The clerk has read a message, or could not.
    pub(super) fn decoded(
        &mut self,
        mut foreign: Foreign,
        answer: Option<&str>,
        hub: &mut Hub<Self>,
    ) {
        let Self {
            tasks,
            consumer,
            producer,
            ..
        } = self;
        let job = match foreign.become_task(answer) {
            Ok(()) => tasks.take_in(&foreign.delivery(), &mut consumer.acks, producer, hub.now()),
            Err(refusal) => {
                let delivery = foreign.delivery();
                refusals::log_refusal(&refusal, &delivery);
                tasks.tell_of_rejected(&refusal, &delivery);
                let verdict = tasks.life.refusals.verdict(&refusal);
                consumer.acks.settle_as(delivery.tag, verdict);
                None
            }
        };
        if let Some(job) = job {
            self.tasks.parked.push_back(job);
            self.unpark(hub);
        }
    }
}
