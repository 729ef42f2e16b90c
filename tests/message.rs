//! Messages as Celery published them, read, sent to a child, and published again.
#![allow(clippy::unwrap_used)] // in helpers of tests, too, the panic is the report

use std::time::{Duration, SystemTime};

use celeriac::amqp::Properties;
use celeriac::amqp::table::TableBuf;
use celeriac::message::body::Arguments;
use celeriac::message::headers::{Headers, table_from_json};
use celeriac::message::json::Raw;
use celeriac::message::moment;
use celeriac::message::properties::MessageProperties;
use celeriac::message::record::{Decoder, DeliveryInfo, Job, Kind};
use celeriac::message::signature::{Call, Embed, Retry};
use celeriac::message::task::{Accept, Protocol, TaskMessage, receive};
use serde_json::{Value, json};

/// A message captured from Celery 5.7 (`tests/golden/messages.jsonl`).
struct Capture {
    /// The call that made it.
    name: String,
    properties: MessageProperties,
    headers: Value,
    table: TableBuf,
    body: Vec<u8>,
}

impl Capture {
    fn read(line: &str) -> Self {
        let raw = Raw::parse(line).unwrap();
        let find = |name: &str| {
            raw.members()
                .find(|(key, _)| key.as_str().unwrap() == name)
                .map(|(_, value)| value)
        };
        let headers = find("headers").unwrap();
        let body = match (find("body"), find("body_base64")) {
            (Some(text), _) => text.as_str().unwrap().into_owned().into_bytes(),
            (None, Some(_)) => b"\x80\x04 octets that are no text".to_vec(),
            (None, None) => panic!("a capture without body: {line}"),
        };
        Self {
            name: find("capture").unwrap().as_str().unwrap().into_owned(),
            properties: serde_json::from_str(find("properties").unwrap().text()).unwrap(),
            headers: serde_json::from_str(headers.text()).unwrap(),
            table: table_from_json(headers.text()).unwrap(),
            body,
        }
    }

    fn properties(&self) -> Properties<'_> {
        self.properties.as_amqp(self.table.as_table())
    }

    fn receive(&self) -> TaskMessage<'_> {
        let properties = self.properties();
        // The body borrows from the capture, the properties are only looked at.
        receive(&properties, &self.body, &Accept::new(["json", "pickle"])).unwrap()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers[name].as_str()
    }
}

fn captures() -> Vec<Capture> {
    let captures: Vec<_> = include_str!("golden/messages.jsonl")
        .lines()
        .map(Capture::read)
        .collect();
    assert!(captures.len() > 35);
    captures
}

fn capture(name: &str) -> Capture {
    captures()
        .into_iter()
        .find(|capture| capture.name == name)
        .unwrap()
}

#[test]
fn every_capture_is_the_task_it_says() {
    for capture in captures() {
        let task = capture.receive();
        task.check_body().unwrap();
        if capture.name.starts_with("proto1") {
            let body: Value = serde_json::from_slice(&capture.body).unwrap();
            assert_eq!(task.protocol, Protocol::One);
            assert_eq!(
                (&*task.name, Some(&*task.id)),
                ("wproj.add", body["id"].as_str())
            );
            continue;
        }
        assert_eq!(task.protocol, Protocol::Two, "{}", capture.name);
        assert_eq!(Some(&*task.name), capture.header("task"));
        assert_eq!(Some(&*task.id), capture.header("id"));
        assert_eq!(task.shadow.as_deref(), capture.header("shadow"));
        assert_eq!(task.root_id.as_deref(), capture.header("root_id"));
        assert_eq!(task.parent_id.as_deref(), capture.header("parent_id"));
        assert_eq!(task.group.as_deref(), capture.header("group"));
        assert_eq!(task.group_index, capture.headers["group_index"].as_i64());
        assert_eq!(Some(task.retries), capture.headers["retries"].as_i64());
        assert_eq!(Some(&*task.argsrepr), capture.header("argsrepr"));
        assert_eq!(Some(&*task.kwargsrepr), capture.header("kwargsrepr"));
        assert_eq!(task.origin.as_deref(), capture.header("origin"));
        assert_eq!(
            task.ignore_result,
            capture.headers["ignore_result"].as_bool()
        );
        assert_eq!(task.compression.as_deref(), capture.header("compression"));
        assert_eq!(
            task.eta.as_ref().map(|eta| &*eta.text),
            capture.header("eta")
        );
        assert_eq!(
            task.expires.as_ref().map(|at| &*at.text),
            capture.header("expires")
        );
        assert_eq!(
            task.stamps.is_some(),
            capture.headers["stamped_headers"].is_array()
        );
        let limit = |index: usize| {
            capture.headers["timelimit"][index]
                .as_u64()
                .map(Duration::from_secs)
        };
        assert_eq!((task.hard_limit, task.soft_limit), (limit(0), limit(1)));
    }
}

#[test]
fn headers_survive_the_way_through_a_table() {
    for capture in captures() {
        let text = Headers::Table(capture.table.as_table()).to_json().unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            capture.headers
        );
    }
}

/// The record of a job, as main writes it for a child.
fn encode(task: &TaskMessage<'_>, number: u64, properties: &Properties<'_>, out: &mut Vec<u8>) {
    let delivery_info = DeliveryInfo {
        routing_key: "celery".into(),
        ..DeliveryInfo::default()
    };
    let job = Job {
        job: number,
        task: &task.name,
        id: &task.id,
        headers: &task.headers,
        properties,
        delivery_info: &delivery_info,
        hostname: "w1@host",
        options: None,
        body: &task.body,
    };
    job.encode(out).unwrap();
}

#[test]
fn a_child_reads_what_main_received() {
    for capture in captures() {
        let task = capture.receive();
        let properties = capture.properties();
        let mut octets = Vec::new();
        encode(&task, 1, &properties, &mut octets);
        let mut decoder = Decoder::new();
        decoder.space(octets.len())[..octets.len()].copy_from_slice(&octets);
        decoder.filled(octets.len());
        let record = decoder.next_record().unwrap().unwrap();
        assert_eq!((record.kind, record.body), (Kind::Job, &*task.body));
        let head = record.job().unwrap();
        assert_eq!(head.properties, capture.properties);
        let headers: Value = serde_json::from_str(head.headers.get()).unwrap();
        assert_eq!(headers["id"], *task.id);
        if task.protocol == Protocol::Two {
            assert_eq!(headers, capture.headers);
        }
    }
}

/// A task written in Rust must name what it cannot take; one in Python takes it all.
#[test]
fn python_only_numbers_pass_and_are_named() {
    let capture = capture("json_types");
    let arguments = Arguments::scan(&capture.body).unwrap();
    assert_eq!(arguments.oddity.unwrap().token, "Infinity");
    assert!(arguments.args.text().contains("1180591620717411303424"));
}

#[test]
fn protocol_one_keeps_its_callbacks() {
    let capture = capture("proto1");
    let task = capture.receive();
    let body: Value = serde_json::from_slice(&task.body).unwrap();
    let sent: Value = serde_json::from_slice(&capture.body).unwrap();
    let embed = json!({
        "callbacks": sent["callbacks"], "errbacks": sent["errbacks"], "chain": null, "chord": null
    });
    assert_eq!(body, json!([[1, 2], {}, embed]));
    assert_eq!(
        task.expires.unwrap().text,
        "2026-11-20T12:01:42.798014+00:00"
    );
}

/// Our publisher, given what the captured call was given, writes the same octets.
#[test]
fn calls_are_published_as_celery_publishes_them() {
    for name in [
        "plain",
        "kwargs_meta",
        "eta_utc_aware",
        "countdown",
        "expires_seconds",
        "link",
        "chain",
    ] {
        let capture = capture(name);
        let task = capture.receive();
        let arguments = Arguments::scan(&task.body).unwrap();
        let custom = capture
            .headers
            .get("my-header")
            .map(|value| json!({"my-header": value}).to_string());
        let embedded = |key| arguments.embedded(key);
        let call = Call {
            args: arguments.args,
            kwargs: arguments.kwargs,
            eta: task.eta.as_ref().map(|eta| eta.at),
            expires: task.expires.as_ref().map(|expires| expires.at),
            priority: capture.properties.priority,
            hard_limit: task.hard_limit,
            soft_limit: task.soft_limit,
            shadow: task.shadow.as_deref(),
            ignore_result: task.ignore_result,
            reply_to: capture.properties.reply_to.as_deref(),
            correlation_id: capture.properties.correlation_id.as_deref(),
            headers: custom.as_deref().map(|text| Raw::parse(text).unwrap()),
            embed: Embed {
                callbacks: embedded("callbacks"),
                errbacks: embedded("errbacks"),
                chain: embedded("chain"),
                chord: embedded("chord"),
            },
            ..Call::new(&task.name, &task.id, task.origin.as_deref().unwrap())
        };
        let now = task
            .expires
            .as_ref()
            .map_or(SystemTime::UNIX_EPOCH, |at| at.at - Duration::from_secs(60));
        let message = call.publish("", "celery", now);
        assert_eq!(message.header_table().unwrap(), capture.table, "{name}");
        assert_eq!(message.properties, capture.properties, "{name}");
        assert_eq!(message.body, capture.body, "{name}");
    }
}

#[test]
fn a_retry_changes_what_celery_changes() {
    let capture = capture("worker_published"); // the first one is a retry
    let mut first = capture.headers.clone();
    first["retries"] = json!(0);
    first["eta"] = json!(null);
    first["parent_id"] = json!(null);
    first["x-death"] = json!([{"count": 1}]);
    first["x-first-death-queue"] = json!("celery");
    let first = first.to_string();
    let retry = Retry {
        id: capture.header("id").unwrap(),
        headers: Raw::parse(&first).unwrap(),
        properties: &capture.properties,
        delivery_info: &DeliveryInfo {
            routing_key: "celery".into(),
            ..DeliveryInfo::default()
        },
        body: &capture.body,
        eta: moment::parse(capture.header("eta").unwrap()).ok(),
    };
    let again = retry.publish(SystemTime::UNIX_EPOCH);
    assert_eq!(
        serde_json::from_str::<Value>(&again.headers).unwrap(),
        capture.headers
    );
    assert_eq!(
        (&again.properties, &again.body),
        (&capture.properties, &capture.body)
    );
    assert_eq!((&*again.exchange, &*again.routing_key), ("", "celery"));

    // Once more, at once: it has a parent now, and says until when it is wanted.
    let mut headers: Value = serde_json::from_str(&again.headers).unwrap();
    headers["parent_id"] = json!("another");
    headers["expires"] = json!("1970-01-01T00:01:00");
    let headers = headers.to_string();
    let third = Retry {
        headers: Raw::parse(&headers).unwrap(),
        eta: None,
        ..retry
    };
    let third = third.publish(SystemTime::UNIX_EPOCH);
    assert_eq!(third.properties.expiration.as_deref(), Some("60000"));
    let headers: Value = serde_json::from_str(&third.headers).unwrap();
    assert_eq!(headers["retries"], 2);
    assert_eq!(
        (&headers["eta"], &headers["parent_id"]),
        (&json!(null), &json!("another"))
    );
    assert_eq!(headers["expires"], "1970-01-01T00:01:00");
}

/// How long main spends on a plain message before the pool has it; run with `--release -- --ignored`.
#[test]
#[ignore = "a measurement"]
#[allow(clippy::disallowed_methods)]
fn receiving_and_encoding_a_job_takes_microseconds() {
    let capture = capture("plain");
    let properties = capture.properties();
    let accept = Accept::default();
    let mut octets = Vec::new();
    let mut rounds = |count: u32| {
        let start = std::time::Instant::now();
        for number in 0..count {
            let task = receive(&properties, &capture.body, &accept).unwrap();
            task.check_body().unwrap();
            octets.clear();
            encode(&task, number.into(), &properties, &mut octets);
        }
        start.elapsed() / count
    };
    rounds(10_000);
    let each = rounds(200_000);
    println!(
        "{each:?} for one message, a record of {} octets",
        octets.len()
    );
    assert!(each < Duration::from_micros(20));
}
