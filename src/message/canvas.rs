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

use super::body::Arguments;
use super::json::{Raw, push_string};
use super::moment;
use super::properties::MessageProperties;
use super::record::{DeliveryInfo, Publish};
use super::result::{ResultMeta, State};
use super::signature::{Call, Embed, new_id};
use crate::util::span;

/// How the body of a message ends that asks for nothing, as Celery's clients write it.
const NOTHING: &[u8] = br#"{"callbacks": null, "errbacks": null, "chain": null, "chord": null}]"#;

/// What follows a task: messages to publish, and what was asked for in vain.
#[derive(Debug, Default)]
pub struct Continuation {
    /// The messages, in this order.
    pub publish: Vec<Publish>,
    ignored: Vec<String>,
}

impl Continuation {
    /// What a native task cannot do yet and was asked for, as the end of a line in the log.
    pub fn warning(&self) -> Option<String> {
        let ignored = self.ignored.join("; ");
        (!ignored.is_empty())
            .then(|| format!("asks for what a native task cannot do yet: {ignored}"))
    }
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

/// How a task has failed, for those that were to follow it.
#[derive(Clone, Copy, Debug)]
pub struct Failure<'a> {
    /// The exception, as results carry it.
    pub result: &'a str,
    /// Where it was raised.
    pub traceback: Option<&'a str>,
    /// Whether somebody wants to know.
    pub stored: bool,
}

/// What a message asks for beyond its task.
#[derive(Debug)]
pub struct Followers<'a>(Arguments<'a>);

/// The task that has ended, as its followers see it.
#[derive(Debug)]
pub struct Parent<'a> {
    /// Its id.
    pub id: &'a str,
    /// The task that began the workflow, if that is another.
    pub root_id: Option<&'a str>,
    /// How its message came.
    pub delivery_info: &'a DeliveryInfo<'a>,
    /// Who publishes; see [`origin`](super::signature::origin).
    pub origin: &'a str,
    /// When it ended.
    pub now: SystemTime,
}

/// Whether the body of a message is one that asks for nothing, as nearly all are.
pub fn asks_for_nothing(body: &[u8]) -> bool {
    body.is_empty() || body.ends_with(NOTHING)
}

impl<'a> Followers<'a> {
    /// The parts of a message's body, if it asks for anything.
    pub fn of(body: &'a [u8]) -> Option<Self> {
        if asks_for_nothing(body) {
            return None;
        }
        Arguments::scan(body).ok().map(Self)
    }

    /// After success, with the JSON of what was returned.
    pub fn succeeded(&self, parent: &Parent<'_>, value: &str) -> Continuation {
        let mut next = Continuation::default();
        let callbacks = self.listed("callbacks");
        let group = (callbacks.len() > 1).then(new_id);
        for (index, callback) in callbacks.into_iter().enumerate() {
            let place = group.as_deref().map(|group| (group, index as i64));
            parent.apply(callback, value, "[]", place, &mut next);
        }
        let mut chain = self.listed("chain");
        if let Some(step) = chain.pop() {
            let rest: Vec<&str> = chain.iter().map(|step| step.text()).collect();
            let rest = format!("[{}]", rest.join(", "));
            parent.apply(step, value, &rest, None, &mut next);
        }
        self.note_chord(&mut next);
        next
    }

    /// After failure. Errbacks are called with the task's id, as Celery calls those of other processes; the steps of its
    /// chain that were to follow have failed with it, or whoever waits for the last would wait for ever.
    pub fn failed(&self, parent: &Parent<'_>, failure: &Failure<'_>) -> Continuation {
        let mut next = Continuation::default();
        let mut id = Vec::new();
        push_string(&mut id, parent.id);
        let id = String::from_utf8_lossy(&id);
        let group = new_id();
        for (index, errback) in self.listed("errbacks").into_iter().enumerate() {
            parent.apply(errback, &id, "[]", Some((&group, index as i64)), &mut next);
        }
        if failure.stored {
            for step in self.listed("chain") {
                parent.fail(step.text(), failure, &mut next);
            }
        }
        self.note_chord(&mut next);
        next
    }

    fn listed(&self, name: &str) -> Vec<Raw<'a>> {
        let list = self.0.embedded(name);
        list.map(|list| list.elements().collect())
            .unwrap_or_default()
    }

    fn note_chord(&self, next: &mut Continuation) {
        if self.0.embedded("chord").is_some() {
            next.ignored.push("the chord it is part of".into());
        }
    }
}

impl Parent<'_> {
    /// A step that will not be taken has failed as the one before it. Of a chord it is the body that somebody waits for.
    fn fail(&self, step: &str, failure: &Failure<'_>, next: &mut Continuation) {
        let Ok(step) = serde_json::from_str::<Signature<'_>>(step) else {
            return;
        };
        if step.subtask_type.as_deref() != Some("chord") {
            return self.fail_task(&step.options, failure, next);
        }
        let kwargs =
            Raw::parse(step.kwargs.map_or("{}", RawValue::get)).unwrap_or(Raw::EMPTY_MAPPING);
        let mut members = kwargs.members();
        let body = members.find(|(name, _)| name.as_str().as_deref() == Some("body"));
        if let Some((_, body)) = body
            && let Ok(body) = serde_json::from_str::<Signature<'_>>(body.text())
        {
            self.fail_task(&body.options, failure, next);
        }
    }

    fn fail_task(&self, options: &Options<'_>, failure: &Failure<'_>, next: &mut Continuation) {
        let (Some(id), Some(queue)) = (&options.task_id, &options.reply_to) else {
            return; // nobody's
        };
        let meta = ResultMeta {
            traceback: failure.traceback,
            date_done: Some(self.now),
            group_id: options.group_id.as_deref(),
            ..ResultMeta::new(State::Failure, id, failure.result)
        };
        let properties = MessageProperties::of_result(id);
        let body = meta.to_json().into_bytes();
        let mut publish = Publish::new("", queue.as_ref(), "{}".to_owned(), properties, body);
        publish.optional = true;
        next.publish.push(publish);
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
        let limit = |seconds: Option<f64>| span::seconds(seconds?);
        let list = |raw: Option<&RawValue>| {
            raw.map(RawValue::get)
                .filter(|text| *text != "null")
                .map(listed)
        };
        let (callbacks, errbacks) = (list(options.link), list(options.link_error));
        let fresh = new_id();
        let (group, index) = place.unzip();
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
            root_id: self.root_id.or(Some(self.id)),
            parent_id: Some(self.id),
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
                self.origin,
            )
        };
        let came_by = self.delivery_info;
        let (exchange, routing_key) = match options {
            Options {
                queue: Some(queue), ..
            } => ("", queue.as_ref()),
            Options {
                routing_key: Some(key),
                exchange,
                ..
            } => (exchange.as_deref().unwrap_or(""), key.as_ref()),
            _ => (&*came_by.exchange, &*came_by.routing_key),
        };
        Some(call.publish(exchange, routing_key, self.now))
    }
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

    const FAILURE: Failure<'_> = Failure {
        result: r#"{"exc_type": "ValueError", "exc_message": [], "exc_module": "builtins"}"#,
        traceback: Some("Traceback"),
        stored: true,
    };

    fn succeeded(body: &[u8], value: &str) -> Continuation {
        with_parent(|parent| Followers::of(body).unwrap().succeeded(parent, value))
    }

    fn failed(body: &[u8], failure: &Failure<'_>) -> Continuation {
        with_parent(|parent| Followers::of(body).unwrap().failed(parent, failure))
    }

    fn with_parent(ends: impl FnOnce(&Parent<'_>) -> Continuation) -> Continuation {
        ends(&Parent {
            id: "1",
            root_id: None,
            delivery_info: &DeliveryInfo::default(),
            origin: "gen1@test",
            now: SystemTime::UNIX_EPOCH,
        })
    }

    #[test]
    fn a_chain_goes_on_with_its_last_element_and_hands_the_rest_on() {
        let body = br#"[[1], {}, {"callbacks": null, "errbacks": null, "chain": [
            {"task": "c", "args": [], "kwargs": {}, "options": {"task_id": "3"}, "subtask_type": null, "immutable": false},
            {"task": "b", "args": [9], "kwargs": {"k": 1}, "options": {"task_id": "2", "reply_to": "r", "queue": "q"},
             "subtask_type": null, "immutable": false}], "chord": null}]"#;
        let next = succeeded(body, "5");
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
        let again = succeeded(&message.body, "6");
        assert!(again.publish[0].headers.contains(r#""task":"c","id":"3""#));
        assert!(
            Followers::of(&again.publish[0].body).is_some(),
            "it says so by itself"
        );
        assert!(succeeded(&again.publish[0].body, "7").publish.is_empty());
    }

    #[test]
    fn callbacks_get_the_value_errbacks_the_id_and_the_immutable_nothing() {
        let body = br#"[[], {}, {"callbacks": [{"task": "a"}, {"task": "b", "immutable": true, "args": [1]}],
            "errbacks": [{"task": "e"}], "chain": [], "chord": {"task": "x"}}]"#;
        let args = |message: &Publish| {
            let body = std::str::from_utf8(&message.body).unwrap();
            body.split_once(", {}").unwrap().0.to_owned()
        };
        let next = succeeded(body, "\"v\"");
        assert_eq!(
            next.publish.iter().map(args).collect::<Vec<_>>(),
            ["[[\"v\"]", "[[1]"]
        );
        assert_eq!(next.ignored, ["the chord it is part of"]);
        let next = failed(body, &FAILURE);
        assert_eq!(
            next.publish.iter().map(args).collect::<Vec<_>>(),
            ["[[\"1\"]"]
        );
        let group =
            br#"[[], {}, {"callbacks": [{"task": "celery.group", "subtask_type": "group"}]}]"#;
        assert_eq!(succeeded(group, "1").ignored, ["a group"]);
    }

    /// Of a chord the body has failed, which somebody waits for; a step without an id is nobody's.
    #[test]
    fn the_rest_of_a_chain_fails_with_its_first_step() {
        let body = br#"[[], {}, {"callbacks": null, "errbacks": null, "chord": null, "chain": [
            {"task": "c", "options": {"task_id": "3", "reply_to": "r", "group_id": "g"}},
            {"task": "nobody", "options": {}},
            {"task": "celery.chord", "subtask_type": "chord", "options": {}, "kwargs": {"header": [],
             "body": {"task": "b", "options": {"task_id": "2", "reply_to": "r"}}}}]}]"#;
        let next = failed(body, &FAILURE);
        let told = next.publish.iter().map(|message| {
            assert!(message.optional);
            assert_eq!(
                (message.exchange.as_str(), message.routing_key.as_str()),
                ("", "r")
            );
            let meta: serde_json::Value = serde_json::from_slice(&message.body).unwrap();
            assert_eq!(meta["status"], "FAILURE");
            assert_eq!(meta["result"]["exc_type"], "ValueError");
            (
                message.properties.correlation_id.as_deref().unwrap(),
                meta["group_id"].clone(),
            )
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told, [("3", "g".into()), ("2", serde_json::Value::Null)]);
        let unwanted = Failure {
            stored: false,
            ..FAILURE
        };
        assert!(failed(body, &unwanted).publish.is_empty());
    }

    #[test]
    fn a_body_that_asks_for_nothing_is_not_read_again() {
        assert!(Followers::of(b"[[1, 2], {}, {\"callbacks\": null, \"errbacks\": null, \"chain\": null, \"chord\": null}]").is_none());
        assert!(asks_for_nothing(b""));
    }
}
