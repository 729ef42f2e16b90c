//! Commands about events, and the one that ends a worker.

use super::{Answer, Reply};
use crate::hub::Hub;
use crate::message::json::{Field, Raw, python_str};
use crate::message::pidbox::{Arguments, Exception};
use crate::worker::Worker;
use crate::worker::events::{HEARTBEAT, SOFTWARE};

type Cx<'a> = &'a mut Worker;
type Turn<'a> = &'a mut Hub<Worker>;

const UNAVAILABLE: &str = "event dispatcher unavailable";

pub(super) fn enable_events(cx: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    if !cx.producer.events.is_available() {
        return Ok(Reply::error(UNAVAILABLE));
    }
    cx.producer.events.expect_audience();
    if std::mem::replace(&mut cx.tasks.events.watched, true) {
        return Ok(Reply::ok("task events already enabled"));
    }
    log::info!("Events of group {{task}} enabled by remote.");
    Ok(Reply::ok("task events enabled"))
}

/// Where a worker was started with `-E`, Celery says "already disabled" and goes on sending them.
pub(super) fn disable_events(cx: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    if !cx.producer.events.is_available() {
        return Ok(Reply::error(UNAVAILABLE));
    }
    if !std::mem::replace(&mut cx.tasks.events.watched, false) {
        return Ok(Reply::ok("task events already disabled"));
    }
    log::info!("Events of group {{task}} disabled by remote.");
    Ok(Reply::ok("task events disabled"))
}

/// Monitors ask for this when they start, to learn who is there.
pub(super) fn heartbeat(cx: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    log::debug!("Heartbeat requested by remote.");
    cx.producer.events.expect_audience();
    let [ident, version, system] = SOFTWARE;
    let fields = [("freq", Field::Integer(5)), ident, version, system];
    cx.producer.events.worker(HEARTBEAT, &fields);
    Ok(Reply::null())
}

/// Stands for election; the events that this sends decide it.
pub(super) fn election(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    if !cx.settings.monitoring.gossip {
        let text = "'Gossip' object has no attribute 'dispatcher'";
        return Err(Exception::new("AttributeError", text));
    }
    let text = |name| arguments.find(name).map(python_str).unwrap_or_default();
    let action = arguments.find("action").map_or("null", Raw::text);
    cx.stand(&text("id"), &text("topic"), action, hub.now());
    Ok(Reply::null())
}

/// A warm shutdown. Nobody is answered, as with Celery.
pub(super) fn shutdown(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let message = arguments.find("msg").map(python_str);
    log::warn!(
        "{}",
        message.as_deref().unwrap_or("Got shutdown from remote")
    );
    cx.leave(0, hub);
    Ok(Reply::Silence)
}
