//! Commands that list tasks.

use std::borrow::Cow;

use super::{Answer, Reply};
use crate::hub::Hub;
use crate::message::body;
use crate::message::json::{Field, Object, REPR_LENGTH, Raw, list, repr, repr_tuple};
use crate::message::moment;
use crate::message::pidbox::{Arguments, is_true};
use crate::message::record::Record;
use crate::worker::Worker;
use crate::worker::events::seconds;
use crate::worker::held::Held;
use crate::worker::request::{Request, State};
use crate::worker::tasks::Tasks;

type Cx<'a> = &'a mut Worker;
type Turn<'a> = &'a mut Hub<Worker>;

/// What is shown of a task's arguments: themselves, or the texts of them that came with the message.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Values,
    Texts,
}

pub(super) fn active(cx: Cx<'_>, _: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let safe = arguments.find("safe").is_some_and(is_true);
    let shown = if safe { Shown::Texts } else { Shown::Values };
    Ok(listed(&cx.tasks, "active", shown))
}

pub(super) fn reserved(cx: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    Ok(listed(&cx.tasks, "reserved", Shown::Values))
}

fn listed(tasks: &Tasks, phase: &str, shown: Shown) -> Reply {
    let infos = tasks
        .requests()
        .filter(|request| phase_of(request) == phase)
        .map(|request| describe(request, &request.record, shown, &tasks.node_name));
    let infos: Vec<String> = infos.collect();
    Reply::Json(list(infos.iter().map(|info| Field::Json(info))))
}

/// Celery's word for how far a request is.
fn phase_of(request: &Request) -> &'static str {
    match request.state {
        State::Held => "scheduled",
        State::Limited | State::Foreign => "limited",
        State::Waiting => "reserved",
        State::Running { .. } | State::Ending { .. } => "active",
        // What has ended is only kept for the broker's sake.
        State::Publishing { .. } => "ready",
    }
}

pub(super) fn scheduled(cx: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    let mut held: Vec<_> = cx.tasks.held.iter().collect();
    held.sort_by_key(|(deadline, ..)| *deadline);
    let described = held.into_iter().filter_map(|(_, priority, held)| {
        let info = describe_held(&cx.tasks, held)?;
        let mut object = Object::new();
        object
            .push("eta", &moment::format(held.eta))
            .push("priority", i64::from(priority))
            .push("request", Field::Json(&info));
        Some(object.into_json())
    });
    let described: Vec<String> = described.collect();
    Ok(Reply::Json(list(
        described.iter().map(|it| Field::Json(it)),
    )))
}

fn describe_held(tasks: &Tasks, held: &Held) -> Option<String> {
    let request = tasks.request(held.job.key)?;
    Some(describe(
        request,
        &held.job.record,
        Shown::Values,
        &tasks.node_name,
    ))
}

pub(super) fn query(cx: Cx<'_>, _: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let ids = arguments.texts("ids");
    let tasks = &cx.tasks;
    let mut found = Object::new();
    for id in &ids {
        let held = || tasks.held.iter().map(|(_, _, held)| held);
        let wanted = |request: &&Request| request.id == *id;
        let Some(request) = tasks.requests().find(wanted) else {
            continue;
        };
        let info = match request.state {
            State::Held => held()
                .find(|held| tasks.request(held.job.key).is_some_and(|it| it.id == *id))
                .and_then(|held| describe_held(tasks, held)),
            _ => Some(describe(
                request,
                &request.record,
                Shown::Values,
                &tasks.node_name,
            )),
        };
        let info = info.unwrap_or_else(|| "null".to_owned());
        let pair = list([Field::Text(phase_of(request)), Field::Json(&info)]);
        found.push(id, Field::Json(&pair));
    }
    Ok(found.into())
}

/// Celery's `Request.info()`. `record` is the Job record that the child gets or got.
fn describe(request: &Request, record: &[u8], shown: Shown, node: &str) -> String {
    let record = Record::first(record).ok().flatten();
    let head = record.as_ref().and_then(|record| record.job().ok());
    let body = record.as_ref().map_or(&[][..], |record| record.body);
    let (args, kwargs) = match &head {
        Some(head) => shown_arguments(head.headers.get(), body, shown),
        None => ("[]".into(), "{}".into()),
    };
    let delivery_info = head.as_ref().map(|head| {
        let info = &head.delivery_info;
        let mut object = Object::new();
        object
            .push("exchange", &*info.exchange)
            .push("routing_key", &*info.routing_key)
            .push("priority", info.priority.map(i64::from))
            .push("redelivered", info.redelivered);
        object.into_json()
    });
    let pid = match request.state {
        State::Running { pid, .. } | State::Ending { pid, .. } => Some(i64::from(pid.raw())),
        _ => None,
    };
    let type_name = head
        .as_ref()
        .map_or(request.name.as_str(), |head| &*head.task);
    let mut object = Object::new();
    object
        .push("id", &request.id)
        .push("name", &request.name)
        .push("args", Field::Json(&args))
        .push("kwargs", Field::Json(&kwargs))
        .push("type", type_name)
        .push("hostname", node)
        .push("time_start", request.started.map(seconds))
        .push("acknowledged", request.acknowledged)
        .push("delivery_info", delivery_info.as_deref().map(Field::Json))
        .push("worker_pid", pid);
    object.into_json()
}

/// The arguments as JSON: the values where main can read them, otherwise their texts.
fn shown_arguments<'a>(
    headers: &'a str,
    body: &'a [u8],
    shown: Shown,
) -> (Cow<'a, str>, Cow<'a, str>) {
    let values = body::Arguments::scan(body).ok();
    if shown == Shown::Values
        && let Some(values) = values
    {
        return (values.args.text().into(), values.kwargs.text().into());
    }
    let headers = Raw::parse(headers).map(Arguments::of).unwrap_or_default();
    let header = |name| {
        headers
            .given(name)
            .and_then(Raw::as_str)
            .filter(|text| !text.is_empty())
    };
    let text = |text: Option<Cow<'_, str>>, value: Option<String>| {
        let text = text.map(Cow::into_owned).or(value);
        let json = list([text.as_deref().unwrap_or_default()]);
        Cow::Owned(json[1..json.len() - 1].to_owned())
    };
    let args = values.map(|values| repr_tuple(values.args, REPR_LENGTH));
    let kwargs = values.map(|values| repr(values.kwargs, REPR_LENGTH));
    (
        text(header("argsrepr"), args),
        text(header("kwargsrepr"), kwargs),
    )
}
