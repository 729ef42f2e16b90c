//! Our reading beside that of amq-protocol, which shares no code with it.

use amq_protocol::frame::{AMQPFrame, parse_frame};
use amq_protocol::protocol::AMQPClass;
use amq_protocol::types::parsing::parse_field_table;
use amq_protocol::types::{AMQPValue, DecimalValue, FieldArray, FieldTable};

use crate::amqp::frame::{self, Frame, FrameError, FrameKind};
use crate::amqp::method::Method;
use crate::amqp::props::{ContentHeader, Properties};
use crate::amqp::table::{Array, Table, Value};
use crate::amqp::wire::DecodeError;

/// Longer input could nest tables so deeply that the other parser's recursion runs out of stack.
const LONGEST: usize = 2048;

/// What amq-protocol reads as a frame or a table we read too, with the same values.
pub fn fuzz_differential(data: &[u8]) {
    if data.len() <= LONGEST {
        compare_frame(data);
        compare_table(data);
    }
}

fn compare_frame(data: &[u8]) {
    let Ok((rest, theirs)) = parse_frame(data) else {
        return;
    };
    let size = data.len() - rest.len();
    let ours = match frame::decode(data, 0) {
        Ok(Some((frame, our_size))) => {
            assert_eq!(our_size, size);
            frame
        }
        Ok(None) => panic!("not complete for us: {theirs:?}"),
        // They take it from any peer at any time, and do not look into heartbeats.
        Err(FrameError::UnknownKind(b'A') | FrameError::HeartbeatOnChannel(_)) => return,
        Err(FrameError::HeartbeatWithPayload) => return,
        Err(error) => panic!("{error}: {theirs:?}"),
    };
    match &theirs {
        // RabbitMQ has no class access.
        AMQPFrame::Method(_, AMQPClass::Access(_)) => return,
        AMQPFrame::Header(_, header) => {
            let list = ContentHeader::decode(ours.payload).expect("they read it");
            // They do not know that the flags may go on in a second word.
            if list
                .property_list
                .get(1)
                .is_some_and(|flags| flags & 1 == 1)
            {
                return;
            }
            let properties = Properties::decode(list.property_list).expect("they read it");
            let headers = properties.headers.map(to_oracle);
            if headers != Some(Err(DecodeError::TooDeep)) {
                let headers = headers.map(|headers| headers.expect("they read it"));
                assert_eq!(
                    format!("{headers:?}"),
                    format!("{:?}", header.properties.headers())
                );
            }
        }
        _ => {}
    }
    let again = encode_again(&ours);
    let (rest, read_again) = parse_frame(again.as_slice()).expect("they read what we wrote");
    assert!(rest.is_empty());
    assert_eq!(format!("{read_again:?}"), format!("{theirs:?}"));
}

/// Decodes what is in a frame and encodes it.
fn encode_again(ours: &Frame<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    match ours.kind {
        FrameKind::Method => {
            let method = Method::decode(ours.payload).expect("they read it");
            method.encode(&mut payload).expect("it was decoded");
        }
        FrameKind::Header => {
            let header = ContentHeader::decode(ours.payload).expect("they read it");
            let properties = Properties::decode(header.property_list).expect("they read it");
            ContentHeader {
                property_list: &[],
                ..header
            }
            .encode(&mut payload);
            properties.encode(&mut payload).expect("it was decoded");
        }
        FrameKind::Body | FrameKind::Heartbeat => payload.extend_from_slice(ours.payload),
    }
    let mut again = Vec::new();
    Frame {
        payload: &payload,
        ..*ours
    }
    .encode(&mut again);
    again
}

fn compare_table(data: &[u8]) {
    let length = u32::try_from(data.len()).expect("short").to_be_bytes();
    let with_length = [&length[..], data].concat();
    let ours = Table::from_bytes(data);
    match (parse_field_table(with_length.as_slice()), to_oracle(ours)) {
        (Ok((_, theirs)), Ok(ours)) => assert_eq!(format!("{ours:?}"), format!("{theirs:?}")),
        (Ok(_), Err(DecodeError::TooDeep)) | (Err(_), Err(_)) => {}
        (Ok((_, theirs)), Err(error)) => panic!("{error}: {theirs:?}"),
        (Err(error), Ok(_)) => assert!(!keys_are_text(ours), "{error}: {ours:?}"),
    }
}

/// The table as amq-protocol has it. It keeps the last of equal keys, sorted.
fn to_oracle(table: Table<'_>) -> Result<FieldTable, DecodeError> {
    let mut theirs = FieldTable::default();
    for pair in table {
        let (key, value) = pair?;
        // They refuse the others.
        let key = key.to_str().unwrap_or_default();
        theirs.insert(key.into(), value_to_oracle(value)?);
    }
    Ok(theirs)
}

fn array_to_oracle(array: Array<'_>) -> Result<FieldArray, DecodeError> {
    let mut theirs = FieldArray::default();
    for value in array {
        theirs.push(value_to_oracle(value?)?);
    }
    Ok(theirs)
}

fn value_to_oracle(value: Value<'_>) -> Result<AMQPValue, DecodeError> {
    Ok(match value {
        Value::LongStr(bytes) => AMQPValue::LongString(bytes.into()),
        Value::Bool(value) => AMQPValue::Boolean(value),
        Value::I8(value) => AMQPValue::ShortShortInt(value),
        Value::U8(value) => AMQPValue::ShortShortUInt(value),
        Value::I16(value) => AMQPValue::ShortInt(value),
        Value::U16(value) => AMQPValue::ShortUInt(value),
        Value::I32(value) => AMQPValue::LongInt(value),
        Value::U32(value) => AMQPValue::LongUInt(value),
        Value::I64(value) => AMQPValue::LongLongInt(value),
        Value::F32(value) => AMQPValue::Float(value),
        Value::F64(value) => AMQPValue::Double(value),
        Value::Decimal { scale, value } => AMQPValue::DecimalValue(DecimalValue {
            scale,
            value: value.cast_unsigned(),
        }),
        Value::Timestamp(value) => AMQPValue::Timestamp(value),
        Value::Table(table) => AMQPValue::FieldTable(to_oracle(table)?),
        Value::Array(array) => AMQPValue::FieldArray(array_to_oracle(array)?),
        Value::Bytes(bytes) => AMQPValue::ByteArray(bytes.into()),
        Value::Void => AMQPValue::Void,
    })
}

/// Whether all keys are UTF-8: the other parser insists on that.
fn keys_are_text(table: Table<'_>) -> bool {
    table
        .into_iter()
        .flatten()
        .all(|(key, value)| key.to_str().is_ok() && value_is_text(value))
}

fn value_is_text(value: Value<'_>) -> bool {
    match value {
        Value::Table(table) => keys_are_text(table),
        Value::Array(array) => array.into_iter().flatten().all(value_is_text),
        _ => true,
    }
}
