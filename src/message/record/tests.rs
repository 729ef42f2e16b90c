use proptest::prelude::*;

use super::*;
use crate::amqp::Properties;
use crate::amqp::table::{TableBuf, Value};
use crate::message::headers::Headers;
use crate::message::properties::MessageProperties;

fn done(job: u64, text: &str, meta: &[u8]) -> Done {
    let properties = MessageProperties {
        priority: Some(3),
        ..MessageProperties::default()
    };
    let headers = "{\"task\": \"t\"}".to_owned();
    Done {
        result: Some(text.into()),
        store: true,
        publish: vec![Publish::new(
            "",
            "celery",
            headers,
            properties,
            b"[[], {}, null]".to_vec(),
        )],
        meta: meta.to_vec(),
        ..Done::new(job, Outcome::Success, 0.25)
    }
}

fn job(out: &mut Vec<u8>, number: u64, id: &str, body: &[u8]) {
    let mut table = TableBuf::new();
    table.insert("task", "tasks.add").unwrap();
    table.insert("id", id).unwrap();
    table.insert("eta", Value::Void).unwrap();
    let headers = Headers::Table(table.as_table());
    let properties = Properties {
        content_type: Some("application/json".into()),
        priority: Some(0),
        timestamp: Some(u64::MAX),
        ..Properties::default()
    };
    let delivery_info = DeliveryInfo {
        exchange: "".into(),
        routing_key: "celery".into(),
        priority: Some(0),
        redelivered: true,
    };
    let job = Job {
        job: number,
        task: "tasks.add",
        id,
        headers: &headers,
        properties: &properties,
        delivery_info: &delivery_info,
        hostname: "w1@host",
        options: Some("{\"soft\":1}"),
        body,
    };
    job.encode(out).unwrap();
}

/// Everything a record says, owned.
fn read_all(decoder: &mut Decoder, seen: &mut Vec<(Kind, Vec<u8>, Vec<u8>)>) {
    while let Some(record) = decoder.next_record().unwrap() {
        seen.push((record.kind, record.head.to_vec(), record.body.to_vec()));
    }
}

fn feed(decoder: &mut Decoder, octets: &[u8]) {
    decoder.space(octets.len())[..octets.len()].copy_from_slice(octets);
    decoder.filled(octets.len());
}

#[test]
fn a_job_says_everything_once() {
    let mut out = b"before".to_vec();
    job(&mut out, 7, "an \"id\" of ü", b"[[1, NaN], {}, null]");
    let mut decoder = Decoder::new();
    feed(&mut decoder, &out[6..]);
    let record = decoder.next_record().unwrap().unwrap();
    let head = record.job().unwrap();
    assert_eq!(
        (head.job, &*head.task, &*head.id),
        (7, "tasks.add", "an \"id\" of ü")
    );
    let headers = r#"{"task":"tasks.add","id":"an \"id\" of \u00fc","eta":null}"#;
    assert_eq!(head.headers.get(), headers);
    assert_eq!(
        head.properties.content_type.as_deref(),
        Some("application/json")
    );
    assert_eq!(
        (head.properties.priority, head.properties.timestamp),
        (Some(0), Some(u64::MAX))
    );
    assert_eq!(head.delivery_info.routing_key, "celery");
    assert!(head.delivery_info.redelivered);
    assert_eq!(head.hostname, "w1@host");
    assert_eq!(head.options.unwrap().get(), "{\"soft\":1}");
    assert_eq!(record.body, b"[[1, NaN], {}, null]");
    assert_eq!(record.done(), Err(RecordError::Unexpected(Kind::Job)));
}

#[test]
fn a_done_hands_over_each_body() {
    let mut done = done(3, "'x'", b"{\"status\": \"SUCCESS\"}");
    done.publish.push(Publish {
        body: b"second".to_vec(),
        ..done.publish[0].clone()
    });
    let mut out = Vec::new();
    encode_done(&mut out, &mut done).unwrap();
    let mut decoder = Decoder::new();
    feed(&mut decoder, &out);
    assert_eq!(decoder.next_record().unwrap().unwrap().done(), Ok(done));
}

#[test]
fn a_done_whose_bodies_do_not_add_up_is_refused() {
    let mut out = Vec::new();
    encode_done(&mut out, &mut done(3, "", b"")).unwrap();
    out[HEADER_LENGTH - 1] -= 1; // one octet of body is missing
    let mut decoder = Decoder::new();
    feed(&mut decoder, &out);
    assert_eq!(
        decoder.next_record().unwrap().unwrap().done(),
        Err(RecordError::Bodies)
    );
}

#[test]
fn garbage_is_named_and_stays_garbage() {
    let cases: &[(&[u8], RecordError)] = &[
        (b"X", RecordError::Magic),
        (b"CX", RecordError::Magic),
        (b"CL\x09", RecordError::Kind(9)),
        (b"CL\x00", RecordError::Kind(0)),
        (b"CL\x01\x80", RecordError::Flags(0x80)),
        (
            b"CL\x01\x00\x01\x00\x00\x01\0\0\0\0",
            RecordError::HeadTooLong(MAX_HEAD + 1),
        ),
    ];
    for (octets, error) in cases {
        let mut decoder = Decoder::new();
        feed(&mut decoder, octets);
        assert_eq!(decoder.next_record(), Err(error.clone()));
        feed(&mut decoder, b"CL\x02\0\0\0\0\x02\0\0\0\0{}");
        assert_eq!(decoder.next_record(), Err(error.clone()));
    }
}

#[test]
fn a_head_of_the_wrong_shape_is_named() {
    let mut decoder = Decoder::new();
    feed(&mut decoder, b"CL\x04\0\0\0\0\x0b\0\0\0\0{\"job\":\"x\"}");
    let record = decoder.next_record().unwrap().unwrap();
    let error = record.started().unwrap_err().to_string();
    assert!(
        error.starts_with("bad head of a Started record: invalid type: string"),
        "{error}"
    );
}

/// A header may announce 4 GiB; what it costs is what arrived.
#[test]
fn memory_grows_only_with_what_arrives() {
    let mut decoder = Decoder::new();
    feed(&mut decoder, b"CL\x05\0\0\0\0\x02\xff\xff\xff\xff{}");
    for _ in 0..100 {
        assert_eq!(decoder.next_record(), Ok(None));
        assert!(decoder.space(1).len() < 1 << 20);
        decoder.filled(1);
    }
    assert!(decoder.is_torn());
}

proptest! {
    /// However the pipe cuts the octets, the same records come out; and as long as one octet is
    /// missing, nothing does.
    #[test]
    fn any_chunking_gives_the_same_records(
        bodies in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 1..5),
        cuts in proptest::collection::vec(1..200usize, 1..40),
    ) {
        let mut octets = Vec::new();
        let mut expected = vec![(Kind::Up, b"{\"pid\":12}".to_vec(), Vec::new())];
        encode_up(&mut octets, 12);
        for (number, body) in bodies.iter().enumerate() {
            job(&mut octets, number as u64, "id", body);
            encode_started(&mut octets, number as u64);
            encode_done(&mut octets, &mut done(number as u64, "é", body)).unwrap();
            encode_stop(&mut octets);
        }
        let mut whole = Decoder::new();
        feed(&mut whole, &octets);
        let mut at_once = Vec::new();
        read_all(&mut whole, &mut at_once);
        prop_assert_eq!(&at_once[..1], &expected[..]);
        prop_assert_eq!(at_once.len(), 1 + 4 * bodies.len());
        prop_assert!(!whole.is_torn());

        expected.clear();
        let mut decoder = Decoder::new();
        let mut rest = &octets[..];
        for cut in cuts.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            let (now, later) = rest.split_at((*cut).min(rest.len()));
            feed(&mut decoder, now);
            read_all(&mut decoder, &mut expected);
            rest = later;
        }
        prop_assert_eq!(expected, at_once);
    }

    /// A prefix needs more; it is never an error and never a record.
    #[test]
    fn every_prefix_needs_more(body in proptest::collection::vec(any::<u8>(), 0..40)) {
        let mut octets = Vec::new();
        job(&mut octets, 1, "id", &body);
        for end in 0..octets.len() {
            let mut decoder = Decoder::new();
            feed(&mut decoder, &octets[..end]);
            prop_assert_eq!(decoder.next_record(), Ok(None));
            prop_assert_eq!(decoder.is_torn(), end > 0);
        }
    }
}
