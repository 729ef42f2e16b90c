//! Commands about the queues a worker consumes.

use super::{Answer, Reply};
use crate::amqp::table::TableBuf;
use crate::hub::Hub;
use crate::message::headers;
use crate::message::json::{Field, Object, Raw, list, python_repr};
use crate::message::pidbox::{Arguments, Exception, is_true};
use crate::worker::{Exchange, Queue, Worker};

type Cx<'a> = &'a mut Worker;
type Turn<'a> = &'a mut Hub<Worker>;

/// AMQP's short string holds no more octets.
const LONGEST_NAME: usize = 255;

pub(super) fn active(cx: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    let subscriptions = cx.consumer.subscriptions.to_tasks();
    let queues = subscriptions.flat_map(|it| it.queues().map(describe));
    let queues: Vec<String> = queues.collect();
    Ok(Reply::Json(list(
        queues.iter().map(|json| Field::Json(json)),
    )))
}

/// A queue as kombu's `Queue.as_dict(recurse=True)` shows it. What main does not know of it is null.
fn describe(queue: &Queue) -> String {
    let binding = queue.bindings.first();
    let exchange = binding.map(|binding| describe_exchange(&binding.exchange));
    let arguments = table(&queue.arguments);
    let consumer_arguments = table(&queue.consumer_arguments);
    let binding_arguments = binding.and_then(|binding| table(&binding.arguments));
    let mut object = Object::new();
    object
        .push("name", &queue.name)
        .push("exchange", exchange.as_deref().map(Field::Json))
        .push("routing_key", binding.map(|binding| &binding.routing_key))
        .push("queue_arguments", arguments.as_deref().map(Field::Json))
        .push(
            "binding_arguments",
            binding_arguments.as_deref().map(Field::Json),
        )
        .push(
            "consumer_arguments",
            consumer_arguments.as_deref().map(Field::Json),
        )
        .push("durable", queue.durable)
        .push("exclusive", queue.exclusive)
        .push("auto_delete", queue.auto_delete)
        .push("no_ack", false)
        .push("alias", Field::Null)
        .push("bindings", Field::Json("[]"))
        .push("no_declare", (!queue.declared).then_some(true));
    for unknown in [
        "expires",
        "message_ttl",
        "max_length",
        "max_length_bytes",
        "max_priority",
    ] {
        object.push(unknown, Field::Null);
    }
    object.into_json()
}

fn describe_exchange(exchange: &Exchange) -> String {
    let arguments = table(&exchange.arguments);
    let mut object = Object::new();
    object
        .push("name", &exchange.name)
        .push("type", &exchange.kind)
        .push("arguments", arguments.as_deref().map(Field::Json))
        .push("durable", exchange.durable)
        .push("passive", false)
        .push("auto_delete", exchange.auto_delete)
        .push("delivery_mode", Field::Null)
        .push("no_declare", !exchange.declared);
    object.into_json()
}

/// A table as JSON; nothing when it is empty.
fn table(table: &TableBuf) -> Option<String> {
    let mut json = Vec::new();
    let written = headers::write_table(table.as_table(), &mut json);
    (!table.is_empty() && written.is_ok()).then(|| String::from_utf8(json).unwrap_or_default())
}

/// Consumes another queue. What the broker has to say comes later and is logged.
pub(super) fn add(cx: Cx<'_>, _: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let name = name(arguments)?;
    let mut known = cx.settings.queues.iter().chain(&cx.settings.declared);
    let known = known.find(|queue| queue.name == name);
    let queue = match known {
        Some(queue) => queue.clone(),
        None => made(&name, arguments)?,
    };
    let connection = cx.consumer.link.connection();
    match cx.consumer.subscriptions.add(queue, connection) {
        Ok(Some(purpose)) => {
            log::info!("Started consuming from {name}");
            cx.subscribe(purpose); // the first queue of long tasks has no channel yet
        }
        Ok(None) => {}
        Err(error) => return Err(Exception::new("ValueError", error.to_string())),
    }
    Ok(Reply::ok(&format!("add consumer {name}")))
}

pub(super) fn cancel(cx: Cx<'_>, _: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let name = name(arguments)?;
    log::info!("Canceling queue {name}");
    let connection = cx.consumer.link.connection();
    if let Err(error) = cx.consumer.subscriptions.remove(&name, connection) {
        return Err(Exception::new("ValueError", error.to_string()));
    }
    Ok(Reply::ok(&format!("no longer consuming from {name}")))
}

fn name(arguments: &Arguments<'_>) -> Result<String, Exception> {
    let value = arguments.find("queue").unwrap_or(Raw::EMPTY_LIST);
    match value.as_str() {
        Some(name) if !name.is_empty() && name.len() <= LONGEST_NAME => Ok(name.into_owned()),
        _ => {
            let text = format!("{} is no queue name", python_repr(value));
            Err(Exception::new("ValueError", text))
        }
    }
}

/// A queue that the configuration does not know, made of the command's arguments as kombu's `Queue(**options)` is.
fn made(name: &str, arguments: &Arguments<'_>) -> Result<Queue, Exception> {
    let mut queue = Queue::named(name);
    let text = |key| arguments.given(key).and_then(Raw::as_str);
    for key in ["exchange", "exchange_type", "routing_key"] {
        if text(key).is_some_and(|text| text.len() > LONGEST_NAME) {
            let reason = format!("{key} is longer than {LONGEST_NAME} octets");
            return Err(Exception::new("ValueError", reason));
        }
    }
    for binding in &mut queue.bindings {
        if let Some(exchange) = text("exchange") {
            binding.exchange.name = exchange.into_owned();
        }
        if let Some(kind) = text("exchange_type") {
            binding.exchange.kind = kind.into_owned();
        }
        if let Some(key) = text("routing_key") {
            binding.routing_key = key.into_owned();
        }
    }
    let flag = |key, default| arguments.given(key).map_or(default, is_true);
    queue.exclusive = flag("exclusive", false);
    queue.durable = flag("durable", true);
    queue.auto_delete = flag("auto_delete", queue.exclusive);
    for (key, table) in [
        ("queue_arguments", &mut queue.arguments),
        ("consumer_arguments", &mut queue.consumer_arguments),
    ] {
        if let Some(value) = arguments.given(key) {
            *table = headers::table_from_json(value.text())
                .map_err(|error| Exception::new("ValueError", format!("{key}: {error}")))?;
        }
    }
    Ok(queue)
}
