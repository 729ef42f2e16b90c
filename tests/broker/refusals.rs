//! Every deliberate error that RabbitMQ 3.10 was asked for, asked of this broker: the same level, code
//! and words, except where [`DIFFERENT`] says why not. `tests/golden/rabbitmq_refusals.jsonl` holds
//! what RabbitMQ answered.

#[path = "refusals/cases.rs"]
mod cases;
#[path = "refusals/drafts.rs"]
mod drafts;

use std::collections::BTreeSet;

use celeriac::broker::Settings;
use celeriac::broker::harness::TestBroker;
use serde_json::Value as Json;

use crate::raw::{Raw, Verdict};
use cases::{perform, perform_greeting};
use drafts::set_up;

/// Answers that differ on purpose: the case, our code (none: the socket is closed or all is well), why.
const DIFFERENT: &[(&str, Option<u16>, &str)] = &[
    (
        "basic.consume duplicate tag",
        Some(530),
        "the client library failed before it saw RabbitMQ's 530",
    ),
    (
        "channel number > max",
        Some(530),
        "RabbitMQ closes a channel that the client does not have",
    ),
    (
        "unknown class",
        Some(540),
        "RabbitMQ drops the socket; a reason helps more",
    ),
    (
        "unknown method",
        Some(540),
        "RabbitMQ drops the socket; a reason helps more",
    ),
    (
        "tx.select",
        Some(540),
        "no transactions here, and the client is told",
    ),
    (
        "access.request",
        Some(540),
        "the client library refused to send it",
    ),
    (
        "bad field table type",
        Some(502),
        "RabbitMQ drops the socket; a reason helps more",
    ),
    (
        "body longer than declared",
        Some(501),
        "RabbitMQ does not answer",
    ),
    (
        "basic.recover-async",
        None,
        "the client library waited for an answer that does not exist",
    ),
    (
        "priority 255",
        None,
        "the client library waited for an answer that does not exist",
    ),
    (
        "protocol header 0-8",
        None,
        "only 0-9 and 0-9-1 are spoken here",
    ),
];

/// Cases that a server cannot see: the client library itself refused, or it is about another server.
const NOT_OURS: &[&str] = &[
    "login AMQPLAIN",
    "login EXTERNAL (not offered)",
    "frame_max 4096 client",
];

/// What RabbitMQ answered.
fn expected(golden: &Json) -> Verdict {
    let code = golden["code"].as_u64().unwrap_or(0) as u16;
    let text = golden["text"].as_str().unwrap_or_default().to_owned();
    let method = golden["method"].as_str().unwrap_or("(0, 0)");
    let numbers: Vec<u16> = method
        .split(|sign: char| !sign.is_ascii_digit())
        .filter_map(|number| number.parse().ok())
        .collect();
    match (golden["scope"].as_str(), &numbers[..]) {
        (Some("channel"), _) if code == 312 => Verdict::Returned(code, text),
        (Some("channel"), [class, method]) => Verdict::ChannelClosed(code, text, *class, *method),
        (Some("connection"), [class, method]) => {
            Verdict::ConnectionClosed(code, text, *class, *method)
        }
        (Some("connect"), _) => Verdict::ConnectionClosed(code, text, 0, 0),
        (Some("raw"), _) => Verdict::Dropped(b"AMQP\0\0\x09\x01".to_vec()),
        _ => Verdict::Fine,
    }
}

fn code_of(verdict: &Verdict) -> Option<u16> {
    match verdict {
        Verdict::Fine | Verdict::Dropped(_) => None,
        Verdict::Returned(code, _)
        | Verdict::ChannelClosed(code, ..)
        | Verdict::ConnectionClosed(code, ..) => Some(*code),
    }
}

/// Ours for the method that opens a connection says which it is; that is all the difference.
fn without_cause(verdict: Verdict, golden: &Json) -> Verdict {
    match verdict {
        Verdict::ConnectionClosed(code, text, ..) if golden["scope"] == "connect" => {
            Verdict::ConnectionClosed(code, text, 0, 0)
        }
        other => other,
    }
}

#[test]
fn refusals_are_those_of_rabbitmq() {
    let golden = include_str!("../golden/rabbitmq_refusals.jsonl");
    let mut failures = Vec::new();
    let mut seen = BTreeSet::new();
    for line in golden.lines() {
        let golden: Json = serde_json::from_str(line).expect("JSON");
        let case = golden["case"].as_str().expect("a name");
        seen.insert(case.to_owned());
        if NOT_OURS.contains(&case) {
            continue;
        }
        let settings = Settings {
            virtual_hosts: vec!["wire".into()],
            ..Settings::default()
        };
        let broker = TestBroker::start(settings).expect("a broker");
        let mut owner = Raw::open(broker.address(), "wire");
        set_up(&mut owner);
        let verdict = perform_greeting(case, broker.address()).unwrap_or_else(|| {
            let mut raw = Raw::open(broker.address(), "wire");
            assert!(perform(case, &mut raw), "no such case: {case}");
            raw.verdict()
        });
        let verdict = without_cause(verdict, &golden);
        match DIFFERENT.iter().find(|(name, ..)| *name == case) {
            Some((_, code, why)) if code_of(&verdict) != *code => {
                failures.push(format!("{case}: {verdict:?}, should be {code:?}: {why}"));
            }
            Some(_) => {}
            None if verdict != expected(&golden) => {
                failures.push(format!("{case}:\n  {verdict:?}\n  {:?}", expected(&golden)));
            }
            None => {}
        }
    }
    assert!(failures.is_empty(), "\n{}\n", failures.join("\n"));
    for name in DIFFERENT.iter().map(|(name, ..)| name).chain(NOT_OURS) {
        assert!(seen.contains(*name), "{name} is no case");
    }
}
