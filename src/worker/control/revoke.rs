//! Commands that revoke tasks.

use serde_json::{Map, Value};

use super::{Answer, Reply};
use crate::hub::Hub;
use crate::message::json::{Kind, Raw, python_quoted, python_repr};
use crate::message::pidbox::{Arguments, Exception, is_true};
use crate::sys::signal::Signal;
use crate::worker::Worker;

type Cx<'a> = &'a mut Worker;
type Turn<'a> = &'a mut Hub<Worker>;

pub(super) fn revoke(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let terminate = arguments.find("terminate").is_some_and(is_true);
    revoke_ids(cx, hub, arguments, terminate)
}

pub(super) fn terminate(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    revoke_ids(cx, hub, arguments, true)
}

fn revoke_ids(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>, terminate: bool) -> Answer {
    let mut ids = arguments.texts("task_id");
    ids.sort();
    ids.dedup();
    let begun = |id: &&String| {
        let mut requests = cx.tasks.requests();
        requests.any(|request| request.id == **id && request.has_begun())
    };
    let flagged: Vec<String> = ids.iter().filter(|id| !begun(id)).cloned().collect();
    cx.tasks.reporter.flag(&flagged);
    if !terminate {
        cx.revoke(&ids, None, hub);
        if !ids.is_empty() {
            log::info!("Tasks flagged as revoked: {}", ids.join(", "));
        }
        return Ok(Reply::ok(&format!(
            "tasks {} flagged as revoked",
            set(&ids)
        )));
    }
    let signal = signal(arguments)?;
    // Those that wait are in hand as well, and are discarded.
    let known = |id: &&String| cx.tasks.requests().any(|request| request.id == **id);
    let found: Vec<String> = ids.iter().filter(known).cloned().collect();
    cx.revoke(&ids, Some(signal), hub);
    Ok(match found.is_empty() {
        true => Reply::ok("terminate: tasks unknown"),
        false => Reply::ok(&format!("terminate: {}", found.join(", "))),
    })
}

/// A set of texts as Python prints it.
fn set(ids: &[String]) -> String {
    if ids.is_empty() {
        return "set()".to_owned();
    }
    let quoted: Vec<String> = ids.iter().map(|id| python_quoted(id)).collect();
    format!("{{{}}}", quoted.join(", "))
}

/// The signal to end tasks by: its name with or without `SIG`, or its number; by default TERM.
fn signal(arguments: &Arguments<'_>) -> Result<Signal, Exception> {
    let Some(value) = arguments.find("signal").filter(|value| is_true(*value)) else {
        return Ok(Signal::SIGTERM);
    };
    if let Some(number) = value.as_i64() {
        let signal = i32::try_from(number)
            .ok()
            .and_then(|it| Signal::try_from(it).ok());
        return signal.ok_or_else(|| Exception::new("ValueError", "signal number out of range"));
    }
    let Some(name) = value.as_str() else {
        let text = format!("{} is no signal", python_repr(value));
        return Err(Exception::new("TypeError", text));
    };
    if name.to_uppercase() != name {
        return Err(Exception::new(
            "TypeError",
            "signal name must be uppercase string.",
        ));
    }
    let name = match name.starts_with("SIG") {
        true => name.into_owned(),
        false => format!("SIG{name}"),
    };
    let unknown = || {
        let text = format!("module 'signal' has no attribute '{name}'");
        Exception::new("AttributeError", text)
    };
    name.parse().map_err(|_| unknown())
}

pub(super) fn by_stamped_headers(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let terminate = arguments.find("terminate").is_some_and(is_true);
    let stamps = stamps(arguments.find("headers").unwrap_or(Raw::NULL))?;
    let text = serde_json::to_string(&stamps).unwrap_or_default();
    let shown = Raw::parse(&text).map(python_repr).unwrap_or_default();
    if stamps.is_empty() {
        return Ok(Reply::ok(&format!(
            "headers {shown} flagged as revoked, but not terminated"
        )));
    }
    let signal = terminate.then(|| signal(arguments)).transpose()?;
    let terminated = cx.revoke_stamped(&stamps, signal, hub);
    log::info!("Tasks flagged as revoked by stamped headers: {shown}");
    Ok(match (terminate, terminated.is_empty()) {
        (false, _) => Reply::ok(&format!(
            "headers {shown} flagged as revoked, but not terminated"
        )),
        (true, true) => Reply::ok(&format!("headers {shown} were not terminated")),
        (true, false) => Reply::ok(&format!("headers {shown} revoked")),
    })
}

/// Stamps from a mapping, or from a list of `name=value`.
fn stamps(headers: Raw<'_>) -> Result<Map<String, Value>, Exception> {
    if headers.kind() == Kind::Object {
        return Ok(serde_json::from_str(headers.text()).unwrap_or_default());
    }
    let mut stamps = Map::new();
    for word in headers.elements() {
        let word = word.as_str().unwrap_or_default();
        let (name, value) = word
            .split_once('=')
            .ok_or_else(|| Exception::new("IndexError", "list index out of range"))?;
        stamps.insert(name.to_owned(), value.into());
    }
    Ok(stamps)
}
