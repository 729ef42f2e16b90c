//! Bodies of the fuzz targets `child_record`, `json` and `task_message`.

use super::headers::{HeadersError, table_from_json};
use super::json::{self, Raw, Scanner};
use super::record::{Decoder, Kind, Record, encode_done};
use super::task::{Accept, receive};
use crate::amqp::Properties;

/// Records on a pipe: any octets are records, need more, or are an error, and the same one
/// however they are cut. What reads as a Done can be written, and reads back the same.
pub fn fuzz_child_record(data: &[u8]) {
    let at_once = records(data, data.len().max(1));
    let step = usize::from(data.first().copied().unwrap_or_default()) % 7 + 1;
    assert_eq!(records(data, step), at_once);
}

/// Everything that came out, each record as text, and the error that ended it.
fn records(data: &[u8], step: usize) -> Vec<String> {
    let mut decoder = Decoder::new();
    let mut seen = Vec::new();
    for chunk in data.chunks(step) {
        let space = decoder.space(chunk.len());
        space[..chunk.len()].copy_from_slice(chunk);
        decoder.filled(chunk.len());
        loop {
            match decoder.next_record() {
                Ok(Some(record)) => seen.push(describe(&record)),
                Ok(None) => break,
                Err(error) => {
                    seen.push(format!("{error:?}"));
                    return seen;
                }
            }
        }
    }
    seen
}

fn describe(record: &Record<'_>) -> String {
    match record.kind {
        Kind::Job => format!(
            "{:?}",
            record.job().map(|head| (head.job, head.task, head.id))
        ),
        Kind::Stop => "stop".into(),
        Kind::Up => format!("{:?}", record.up()),
        Kind::Started => format!("{:?}", record.started()),
        Kind::Note => "note".into(),
        Kind::Reply => format!("{:?}", record.reply()),
        Kind::Done => {
            let done = record.done();
            if let Ok(mut done) = done.clone() {
                let mut octets = Vec::new();
                encode_done(&mut octets, &mut done).expect("it came out of a record");
                let mut decoder = Decoder::new();
                decoder.space(octets.len())[..octets.len()].copy_from_slice(&octets);
                decoder.filled(octets.len());
                let again = decoder
                    .next_record()
                    .expect("a record")
                    .expect("a whole one");
                assert_eq!(again.done(), Ok(done));
            }
            format!("{done:?}")
        }
    }
}

/// JSON texts: the scanner never panics; what a strict parser takes, it takes; what it finds is all
/// of the text; and what has no oddity, a strict parser takes as well, deep nesting apart.
pub fn fuzz_json(data: &[u8]) {
    let strict = serde_json::from_slice::<serde_json::Value>(data);
    let Ok(mut scanner) = Scanner::from_bytes(data) else {
        assert!(strict.is_err());
        return;
    };
    let ours = scanner
        .value()
        .and_then(|value| scanner.end().map(|()| value));
    let Ok(value) = ours else {
        assert!(
            strict.is_err(),
            "the scanner refuses what is JSON: {ours:?}"
        );
        return;
    };
    let portable = scanner.oddity().is_none();
    if let Err(error) = &strict {
        assert!(
            !portable || error.to_string().contains("recursion"),
            "{error}"
        );
    }
    let text = std::str::from_utf8(data)
        .unwrap_or_default()
        .trim_matches([' ', '\t', '\r', '\n']);
    assert_eq!(value.text(), text);
    walk(value, 0);
    for length in [1, 7, json::REPR_LENGTH] {
        json::repr(value, length);
        json::repr_tuple(value, length);
    }
    if let Ok(strict) = &strict {
        let written = json::to_string(strict).expect("a value can be written");
        assert!(written.is_ascii() && Raw::parse(&written).is_ok());
    }
}

/// Every part of a value is a value.
fn walk(value: Raw<'_>, depth: u8) {
    assert_eq!(Raw::parse(value.text()), Ok(value));
    if depth < 3 {
        value
            .elements()
            .for_each(|element| walk(element, depth + 1));
        value.members().for_each(|(key, value)| {
            assert!(key.as_str().is_some());
            walk(value, depth + 1);
        });
    }
}

/// A delivery: two octets say how long the property list is, the rest is the body. It is a task or a
/// refusal, and the headers of a task are JSON that makes a table again.
pub fn fuzz_task_message(data: &[u8]) {
    let Some((length, rest)) = data.split_first_chunk::<2>() else {
        return;
    };
    let Some((list, body)) = rest.split_at_checked(u16::from_be_bytes(*length).into()) else {
        return;
    };
    let Ok(properties) = Properties::decode(list) else {
        return;
    };
    let accept = Accept::new(["json", "pickle"]);
    let task = match receive(&properties, body, &accept) {
        Ok(task) => task,
        Err(refusal) => {
            assert!(!refusal.to_string().is_empty());
            return;
        }
    };
    if let Err(refusal) = task.check_body() {
        assert!(!refusal.to_string().is_empty());
    }
    let headers = task.headers.to_json();
    if let Ok(text) = headers {
        let parsed = Raw::parse(&text).expect("headers are JSON");
        let id = parsed
            .members()
            .filter(|(key, _)| key.text() == "\"id\"")
            .last();
        assert_eq!(id.and_then(|(_, id)| id.as_str()), Some(task.id));
        // A key that is not UTF-8 grows, perhaps beyond what a table takes.
        let table = table_from_json(&text);
        assert!(matches!(table, Ok(_) | Err(HeadersError::Table(_))));
    }
}
