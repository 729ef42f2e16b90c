//! Commands that tell what a worker is, not what it does.

use super::{Answer, Reply};
use crate::hub::Hub;
use crate::message::json::{Field, Object, list, python_float};
use crate::message::pidbox::{Arguments, Exception, is_true};
use crate::sys::process;
use crate::worker::events::mingle::GREETING;
use crate::worker::{Monitoring, TaskOptions, Worker};

/// So many nodes answer one greeting, about: all know the same, and one answer would do.
const ANSWERS: usize = 16;

type Cx<'a> = &'a mut Worker;
type Turn<'a> = &'a mut Hub<Worker>;

pub(super) fn ping(_: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    Ok(Reply::ok("pong"))
}

pub(super) fn clock(cx: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    let mut object = Object::new();
    object.push("clock", clock_value(cx));
    Ok(object.into())
}

fn clock_value(cx: &Worker) -> i64 {
    i64::try_from(cx.producer.events.clock.value()).unwrap_or(i64::MAX)
}

/// The settings are what they were at the start: nothing changes them later.
pub(super) fn conf(cx: Cx<'_>, _: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let Monitoring {
        conf,
        conf_with_defaults,
        ..
    } = &cx.settings.monitoring;
    let all = arguments.find("with_defaults").is_some_and(is_true);
    Ok(Reply::Json(
        if all { conf_with_defaults } else { conf }.clone(),
    ))
}

pub(super) fn report(cx: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    Ok(Reply::ok(&cx.settings.monitoring.report))
}

pub(super) fn memsample(_: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    let mut text = String::new();
    if let Some(resident) = resident() {
        text = list([resident.as_str()]);
        text = text.trim_matches(['[', ']']).to_owned();
    }
    Ok(match text.is_empty() {
        true => Reply::null(),
        false => Reply::Json(text),
    })
}

pub(super) fn memdump(_: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    let text = match resident() {
        Some(resident) => format!("- rss (end): {resident}.\n"),
        None => "- rss: (not known).\n".to_owned(),
    };
    let json = list([text.as_str()]);
    Ok(Reply::Json(json.trim_matches(['[', ']']).to_owned()))
}

/// This process's memory as Celery words it: `57.2MB`.
fn resident() -> Option<String> {
    let octets = process::resident_memory(process::current()).ok()?;
    Some(format!("{:.1}MB", octets as f64 / f64::from(1 << 20)))
}

pub(super) fn objgraph(_: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    // Celery's answer where Python's objgraph is not installed. There are no Python objects here.
    Ok(Reply::error("ImportError('Requires the objgraph library')"))
}

pub(super) fn registered(cx: Cx<'_>, _: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let builtins = arguments.find("builtins").is_some_and(is_true);
    let mut items = arguments.texts("taskinfoitems");
    if items.is_empty() {
        items = ["exchange", "routing_key", "rate_limit"]
            .map(str::to_owned)
            .to_vec();
    }
    let registry = &cx.tasks.registry;
    let names = registry
        .names()
        .filter(|name| builtins || !name.starts_with("celery."));
    let described = names.filter_map(|name| Some(describe(name, registry.options(name)?, &items)));
    let described: Vec<String> = described.collect();
    Ok(Reply::Json(list(&described)))
}

/// Whether main knows these attributes of a Python app's tasks as well; the others are the clerk's to tell.
pub(super) fn are_known(items: &[String]) -> bool {
    let known = ["name", "rate_limit", "acks_late"];
    items.iter().all(|item| known.contains(&item.as_str()))
}

/// `name [rate_limit=10/m]`: the options asked for that have a value.
fn describe(name: &str, options: &TaskOptions, items: &[String]) -> String {
    let shown = items.iter().filter_map(|item| {
        let value = option(name, options, item)?;
        Some(format!("{item}={value}"))
    });
    let shown: Vec<String> = shown.collect();
    match shown.is_empty() {
        true => name.to_owned(),
        false => format!("{name} [{}]", shown.join(" ")),
    }
}

/// An attribute of Celery's tasks as Python prints it.
fn option(name: &str, options: &TaskOptions, item: &str) -> Option<String> {
    let flag = |on: bool| Some(if on { "True" } else { "False" }.to_owned());
    let time = |time: std::time::Duration| {
        let seconds = time.as_secs_f64();
        match time.subsec_nanos() {
            0 => time.as_secs().to_string(),
            _ => python_float(seconds),
        }
    };
    match item {
        "name" => Some(name.to_owned()),
        "acks_late" => flag(options.acks_late),
        "acks_on_failure_or_timeout" => flag(options.acks_on_failure),
        "reject_on_worker_lost" => flag(options.reject_on_worker_lost),
        "ignore_result" => flag(options.ignore_result),
        "track_started" => flag(options.track_started),
        "serializer" => Some("json".to_owned()),
        "max_retries" => options.max_retries.map(|limit| limit.to_string()),
        "default_retry_delay" => Some(time(options.default_retry_delay)),
        "rate_limit" => options.rate_limit.clone(),
        "time_limit" => options.time_limit.map(time),
        "soft_time_limit" => options.soft_time_limit.map(time),
        _ => None,
    }
}

pub(super) fn revoked(cx: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    Ok(Reply::Json(cx.revoked_ids(usize::MAX)))
}

/// Another node's greeting: it learns what we know, and we what it knows. In a large cluster only some answer, or the
/// start of many workers would cost the square of their number in messages.
pub(super) fn hello(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let from = arguments.find("from_node").and_then(|node| node.as_str());
    let from = from.ok_or_else(|| Exception::new("TypeError", "from_node is no node name"))?;
    if from == cx.settings.node_name {
        return Ok(Reply::null());
    }
    log::info!("sync with {from}");
    cx.learn_revoked(arguments.find("revoked"));
    let chosen = cx
        .gossip
        .is_among_first(&cx.settings.node_name, &from, ANSWERS);
    if !chosen || !cx.mailbox.greetings.admit(hub.now()) {
        return Ok(Reply::Silence);
    }
    cx.producer.events.clock.forward();
    let mut object = Object::new();
    let revoked = cx.revoked_ids(GREETING);
    object.push("revoked", Field::Json(&revoked));
    object.push("clock", clock_value(cx));
    Ok(object.into())
}
