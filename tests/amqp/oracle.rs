//! Our reading beside that of amq-protocol.

use amq_protocol::frame::{WriteContext, gen_frame, parse_frame};
use celeriac::amqp::Method;
use celeriac::amqp::frame::{self, Frame, FrameKind, PROTOCOL_HEADER};
use celeriac::amqp::method::basic::Qos;
use celeriac::amqp::props::ContentHeader;
use celeriac::fuzzing::fuzz_differential;
use proptest::prelude::*;

use crate::golden::captures;
use crate::grammar::{arguments, every_method, properties};

/// Has the other implementation read a frame and write it again.
fn through_the_oracle(frame: &[u8]) -> Vec<u8> {
    let (rest, read) = parse_frame(frame).expect("they read it");
    assert!(rest.is_empty());
    let written = gen_frame(&read)(WriteContext::from(Vec::new())).expect("they write it");
    written.into_inner().0
}

#[test]
fn captured_frames_mean_the_same_to_both() {
    for (_, bytes) in captures() {
        let mut rest = bytes.strip_prefix(&PROTOCOL_HEADER).unwrap_or(&bytes);
        while let Some((frame, size)) = frame::decode(rest, 0).expect("these are frames") {
            if frame.kind != FrameKind::Body {
                assert!(parse_frame(&rest[..size]).is_ok(), "they read it as well");
            }
            fuzz_differential(&rest[..size]);
            rest = &rest[size..];
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Our encoding of any method, read and written by the other implementation, is our encoding: with
    /// tables sorted by key, as it has them, both write the same octets.
    #[test]
    fn methods_are_the_same_octets_for_both(arguments in arguments(), channel: u16) {
        for method in every_method(&arguments) {
            // They write zero for what RabbitMQ takes no other value for.
            let method = match method {
                Method::BasicQos(qos) => Qos { prefetch_size: 0, ..qos }.into(),
                method => method,
            };
            let mut ours = Vec::new();
            frame::put_method(&mut ours, channel, &method, 0).expect("names are short");
            prop_assert_eq!(through_the_oracle(&ours), ours, "{:?}", method);
        }
    }

    #[test]
    fn properties_are_the_same_octets_for_both(arguments in arguments(), present: u16, size: u64) {
        let mut list = Vec::new();
        properties(&arguments, present).encode(&mut list).expect("names are short");
        let mut payload = Vec::new();
        ContentHeader { class_id: 60, body_size: size, property_list: &list }.encode(&mut payload);
        let mut ours = Vec::new();
        Frame { kind: FrameKind::Header, channel: 1, payload: &payload }.encode(&mut ours);
        prop_assert_eq!(through_the_oracle(&ours), ours);
    }

    #[test]
    fn both_read_the_same_from_any_table(arguments in arguments(), position: usize, octet: u8) {
        let mut payload = Vec::new();
        if let Some(method) = every_method(&arguments).first() {
            method.encode(&mut payload).expect("names are short");
        }
        if !payload.is_empty() {
            let position = position % payload.len();
            payload[position] = octet;
        }
        fuzz_differential(&payload);
        fuzz_differential(payload.get(10..).unwrap_or_default());
    }
}
