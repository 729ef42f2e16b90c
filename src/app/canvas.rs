//! What a message says is to happen after its task: callbacks and the rest of a chain after success, errbacks after
//! failure.
//!
//! Signatures of single tasks are published as Celery publishes them; where one names no queue it goes where its task
//! came from. Groups and chords need a result backend that counts, which `rpc://` is not for Celery either: what is not
//! published is named, and logged as one warning.

use std::borrow::Cow;
use std::time::{Duration, SystemTime};

use serde::Deserialize;
use serde_json::value::RawValue;

use super::Context;
use crate::message::body::Arguments;
use crate::message::json::{Raw, push_string};
use crate::message::moment;
use crate::message::record::Publish;
use crate::message::signature::{Call, Embed, new_id};
use crate::sys::process;

/// How the body of a message ends that asks for nothing, as Celery's clients write it.
const NOTHING: &[u8] = br#"{"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#;

/// What follows a task: messages to publish, and what was asked for in vain.
#[derive(Debug, Default)]
pub(super) struct Continuation {
    pub(super) publish: Vec<Publish>,
    pub(super) ignored: Vec<String>,
}

/// A signature, of which only a single task's is understood.
#[derive(Deserialize)]
struct Signature<'a> {
    #[serde(borrow)]
    task: Cow<'a, str>,
    #[serde(borrow, default)]
    args: Option<&'a RawValue>,
    #[serde(borrow, default)]
    kwargs: Option<&'a RawValue>,
    #[serde(borrow, default)]
    options: Options<'a>,
    #[serde(borrow, default)]
    subtask_type: Option<Cow<'a, str>>,
    #[serde(default)]
    immutable: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Options<'a> {
    #[serde(borrow)]
    task_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    queue: Option<Cow<'a, str>>,
    #[serde(borrow)]
    exchange: Option<Cow<'a, str>>,
    #[serde(borrow)]
    routing_key: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reply_to: Option<Cow<'a, str>>,
    #[serde(borrow)]
    group_id: Option<Cow<'a, str>>,
    group_index: Option<i64>,
    #[serde(borrow)]
    shadow: Option<Cow<'a, str>>,
    #[serde(borrow)]
    eta: Option<Cow<'a, str>>,
    #[serde(borrow)]
    expires: Option<&'a RawValue>,
    countdown: Option<f64>,
    priority: Option<u8>,
    time_limit: Option<f64>,
    soft_time_limit: Option<f64>,
    ignore_result: Option<bool>,
    #[serde(borrow)]
    link: Option<&'a RawValue>,
    #[serde(borrow)]
    link_error: Option<&'a RawValue>,
    #[serde(borrow)]
    chord: Option<&'a RawValue>,
}

/// The task that has ended, as its successors see it.
pub(super) struct Parent<'a> {
    pub(super) context: &'a Context,
    pub(super) now: SystemTime,
}

impl Parent<'_> {
    /// After success, with the JSON of what was returned.
    pub(super) fn succeeded(&self, body: &[u8], value: &str) -> Continuation {
        let mut next = Continuation::default();
        let Some(arguments) = scan(body) else {
            return next;
        };
        let callbacks: Vec<Raw<'_>> = elements(arguments.embedded("callbacks"));
        let group = (callbacks.len() > 1).then(new_id);
        for (index, callback) in callbacks.into_iter().enumerate() {
            let place = group.as_deref().map(|group| (group, index as i64));
            self.apply(callback, value, "[]", place, &mut next);
        }
        let mut chain = elements(arguments.embedded("chain"));
        if let Some(step) = chain.pop() {
            let rest: Vec<&str> = chain.iter().map(|step| step.text()).collect();
            self.apply(
                step,
                value,
                &format!("[{}]", rest.join(", ")),
                None,
                &mut next,
            );
        }
        if arguments.embedded("chord").is_some() {
            next.ignored.push("the chord it is part of".into());
        }
        next
    }

    /// After failure. Errbacks are called with the task's id, as Celery calls those of other processes.
    pub(super) fn failed(&self, body: &[u8]) -> Continuation {
        let mut next = Continuation::default();
        let Some(arguments) = scan(body) else {
            return next;
        };
        let mut id = Vec::new();
        push_string(&mut id, self.context.id());
        let id = String::from_utf8_lossy(&id);
        let group = new_id();
        for (index, errback) in elements(arguments.embedded("errbacks"))
            .into_iter()
            .enumerate()
        {
            self.apply(errback, &id, "[]", Some((&group, index as i64)), &mut next);
        }
        if let Some(left @ 1..) = arguments
            .embedded("chain")
            .map(|chain| chain.elements().count())
        {
            next.ignored.push(format!(
                "the {left} remaining steps of its chain, which stay PENDING"
            ));
        }
        if arguments.embedded("chord").is_some() {
            next.ignored.push("the chord it is part of".into());
        }
        next
    }

    fn apply(
        &self,
        raw: Raw<'_>,
        first: &str,
        chain: &str,
        place: Option<(&str, i64)>,
        next: &mut Continuation,
    ) {
        let signature: Signature<'_> = match serde_json::from_str(raw.text()) {
            Ok(signature) => signature,
            Err(error) => {
                return next
                    .ignored
                    .push(format!("a signature that cannot be read ({error})"));
            }
        };
        if let Some(kind) = signature.subtask_type.as_deref() {
            return next.ignored.push(format!("a {kind}"));
        }
        if signature
            .options
            .chord
            .is_some_and(|chord| chord.get() != "null")
        {
            next.ignored
                .push(format!("the chord after {}", signature.task));
        }
        match self.publish(&signature, first, chain, place) {
            Some(publish) => next.publish.push(publish),
            None => next.ignored.push(format!(
                "{}, whose arguments cannot be read",
                signature.task
            )),
        }
    }

    fn publish(
        &self,
        signature: &Signature<'_>,
        first: &str,
        chain: &str,
        place: Option<(&str, i64)>,
    ) -> Option<Publish> {
        let options = &signature.options;
        let own_args = signature.args.map_or("[]", RawValue::get);
        let args = match signature.immutable {
            true => own_args.to_owned(),
            false => prepended(first, own_args)?,
        };
        let moment = |text: &str| moment::parse(text).ok();
        let later = |seconds: f64| {
            self.now
                .checked_add(Duration::try_from_secs_f64(seconds).ok()?)
        };
        let limit = |seconds: Option<f64>| Duration::try_from_secs_f64(seconds?).ok();
        let list = |raw: Option<&RawValue>| {
            raw.map(RawValue::get)
                .filter(|text| *text != "null")
                .map(listed)
        };
        let (callbacks, errbacks) = (list(options.link), list(options.link_error));
        let fresh = new_id();
        let id = self.context.id();
        let (group, index) = place.unzip();
        let origin = format!("gen{}@{}", process::current(), process::host_name());
        let expires =
            options
                .expires
                .and_then(|raw| match serde_json::from_str(raw.get()).ok()? {
                    serde_json::Value::String(text) => moment(&text),
                    number => later(number.as_f64()?),
                });
        let call = Call {
            args: Raw::parse(&args).ok()?,
            kwargs: Raw::parse(signature.kwargs.map_or("{}", RawValue::get)).ok()?,
            eta: options
                .eta
                .as_deref()
                .and_then(moment)
                .or_else(|| later(options.countdown?)),
            expires,
            priority: options.priority,
            hard_limit: limit(options.time_limit),
            soft_limit: limit(options.soft_time_limit),
            shadow: options.shadow.as_deref(),
            root_id: self.context.root_id().or(Some(id)),
            parent_id: Some(id),
            group: options.group_id.as_deref().or(group),
            group_index: options.group_index.or(index),
            ignore_result: options.ignore_result,
            reply_to: options.reply_to.as_deref(),
            embed: Embed {
                callbacks: callbacks.as_deref().and_then(|text| Raw::parse(text).ok()),
                errbacks: errbacks.as_deref().and_then(|text| Raw::parse(text).ok()),
                chain: Some(Raw::parse(chain).ok()?),
                chord: None,
            },
            ..Call::new(
                &signature.task,
                options.task_id.as_deref().unwrap_or(&fresh),
                &origin,
            )
        };
        let came_by = self.context.delivery_info();
        let (exchange, routing_key) = match options {
            Options {
                queue: Some(queue), ..
            } => ("", queue.as_ref()),
            Options {
                routing_key: Some(key),
                exchange,
                ..
            } => (exchange.as_deref().unwrap_or(""), key.as_ref()),
            _ => (came_by.exchange.as_str(), came_by.routing_key.as_str()),
        };
        Some(call.publish(exchange, routing_key, self.now))
    }
}

/// The body's parts, if it asks for anything.
fn scan(body: &[u8]) -> Option<Arguments<'_>> {
    if body.is_empty() || body.ends_with(NOTHING) {
        return None;
    }
    Arguments::scan(body).ok()
}

/// One signature or a list of them.
fn elements(value: Option<Raw<'_>>) -> Vec<Raw<'_>> {
    value
        .map(|list| list.elements().collect())
        .unwrap_or_default()
}

/// A list with one more in front.
fn prepended(first: &str, list: &str) -> Option<String> {
    let rest = list.trim().strip_prefix('[')?.strip_suffix(']')?.trim();
    Some(match rest.is_empty() {
        true => format!("[{first}]"),
        false => format!("[{first}, {rest}]"),
    })
}

/// `link` may be one signature or a list.
fn listed(text: &str) -> String {
    match text.trim_start().starts_with('[') {
        true => text.to_owned(),
        false => format!("[{text}]"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parent(context: &Context) -> Parent<'_> {
        Parent {
            context,
            now: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_chain_goes_on_with_its_last_element_and_hands_the_rest_on() {
        let context = Context::default();
        let body = br#"[[1], {}, {"callbacks": null, "errbacks": null, "chain": [
            {"task": "c", "args": [], "kwargs": {}, "options": {"task_id": "3"}, "subtask_type": null, "immutable": false},
            {"task": "b", "args": [9], "kwargs": {"k": 1}, "options": {"task_id": "2", "reply_to": "r", "queue": "q"},
             "subtask_type": null, "immutable": false}], "chord": null}]"#;
        let next = parent(&context).succeeded(body, "5");
        assert_eq!(next.ignored, [""; 0]);
        let [message] = &next.publish[..] else {
            panic!("{next:?}");
        };
        assert_eq!(
            (message.exchange.as_str(), message.routing_key.as_str()),
            ("", "q")
        );
        assert_eq!(message.properties.reply_to.as_deref(), Some("r"));
        assert!(
            message.headers.contains(r#""task":"b","id":"2""#),
            "{}",
            message.headers
        );
        let body = std::str::from_utf8(&message.body).unwrap();
        assert!(body.starts_with(r#"[[5, 9], {"k": 1}, "#), "{body}");
        let again = parent(&context).succeeded(&message.body, "6");
        assert!(again.publish[0].headers.contains(r#""task":"c","id":"3""#));
        assert!(
            parent(&context)
                .succeeded(&again.publish[0].body, "7")
                .publish
                .is_empty()
        );
    }

    #[test]
    fn callbacks_get_the_value_errbacks_the_id_and_the_immutable_nothing() {
        let context = Context::default();
        let body = br#"[[], {}, {"callbacks": [{"task": "a"}, {"task": "b", "immutable": true, "args": [1]}],
            "errbacks": [{"task": "e"}], "chain": [], "chord": {"task": "x"}}]"#;
        let args = |message: &Publish| {
            let body = std::str::from_utf8(&message.body).unwrap();
            body.split_once(", {}").unwrap().0.to_owned()
        };
        let next = parent(&context).succeeded(body, "\"v\"");
        assert_eq!(
            next.publish.iter().map(args).collect::<Vec<_>>(),
            ["[[\"v\"]", "[[1]"]
        );
        assert_eq!(next.ignored, ["the chord it is part of"]);
        let next = parent(&context).failed(body);
        assert_eq!(
            next.publish.iter().map(args).collect::<Vec<_>>(),
            ["[[\"\"]"]
        );
        let group =
            br#"[[], {}, {"callbacks": [{"task": "celery.group", "subtask_type": "group"}]}]"#;
        assert_eq!(parent(&context).succeeded(group, "1").ignored, ["a group"]);
    }

    #[test]
    fn a_body_that_asks_for_nothing_is_not_read_again() {
        assert!(scan(b"[[1, 2], {}, {\"callbacks\": null, \"errbacks\": null, \"chain\": null, \"chord\": null}]").is_none());
    }
}
