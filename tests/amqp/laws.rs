//! Laws over the whole grammar: what is encoded decodes to the same, and to nothing less.

use celeriac::amqp::method::{Method, MethodId};
use celeriac::amqp::table::{Array, ArrayBuf, MAX_DEPTH, Table, TableBuf};
use celeriac::amqp::wire::DecodeError;
use celeriac::amqp::{Properties, Value};
use proptest::prelude::*;

use crate::grammar::{
    Arguments, Owned, arguments, build_table, every_method, pairs, properties, value,
};

/// Whether a table reads as the pairs it was made of.
fn reads_as(table: Table<'_>, pairs: &[(String, Owned)]) -> bool {
    let read: Vec<_> = table
        .into_iter()
        .map(|pair| pair.expect("it is well-formed"))
        .collect();
    read.len() == pairs.len()
        && read
            .iter()
            .zip(pairs)
            .all(|((key, value), (expected_key, expected))| {
                *key == expected_key.as_str() && value_reads_as(*value, expected)
            })
}

fn value_reads_as(value: Value<'_>, expected: &Owned) -> bool {
    match (value, expected) {
        (Value::LongStr(octets), Owned::Text(expected))
        | (Value::Bytes(octets), Owned::Bytes(expected)) => octets == expected,
        (Value::Table(table), Owned::Table(pairs)) => reads_as(table, pairs),
        (Value::Array(array), Owned::Array(values)) => {
            let read: Vec<_> = array
                .into_iter()
                .map(|value| value.expect("well-formed"))
                .collect();
            read.len() == values.len()
                && read
                    .iter()
                    .zip(values)
                    .all(|(value, expected)| value_reads_as(*value, expected))
        }
        // Not-a-number is never equal to itself.
        (value, Owned::Plain(expected)) => format!("{value:?}") == format!("{expected:?}"),
        _ => false,
    }
}

/// Every pair of numbers for which the grammar has a method.
fn grammar() -> Vec<MethodId> {
    let all = (0..100).flat_map(|class| (0..130).map(move |method| MethodId { class, method }));
    all.filter(|id| id.name().is_some()).collect()
}

#[test]
fn the_list_of_this_test_has_every_method() {
    let arguments = Arguments::default();
    let listed: Vec<_> = every_method(&arguments).iter().map(Method::id).collect();
    assert_eq!(listed, grammar());
    assert_eq!(listed.len(), 64);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_method_decodes_to_itself_and_no_prefix_of_it_does(arguments in arguments()) {
        for method in every_method(&arguments) {
            let mut payload = Vec::new();
            method.encode(&mut payload).expect("names are short");
            prop_assert_eq!(Method::decode(&payload), Ok(method));
            for length in 0..payload.len() {
                let prefix = Method::decode(&payload[..length]);
                prop_assert_eq!(prefix, Err(DecodeError::Truncated), "{} of {:?}", length, method);
            }
            payload.push(0);
            prop_assert_eq!(Method::decode(&payload), Err(DecodeError::TrailingBytes { count: 1 }));
        }
    }

    #[test]
    fn any_set_of_properties_decodes_to_itself(arguments in arguments(), present: u16) {
        let properties = properties(&arguments, present);
        let mut list = Vec::new();
        properties.encode(&mut list).expect("names are short");
        prop_assert_eq!(Properties::decode(&list), Ok(properties));
        for length in 0..list.len() {
            prop_assert_eq!(Properties::decode(&list[..length]), Err(DecodeError::Truncated));
        }
    }

    #[test]
    fn a_table_reads_as_the_pairs_it_was_made_of(pairs in pairs(value())) {
        let table = build_table(&pairs);
        prop_assert!(reads_as(table.as_table(), &pairs), "{:?}", table);
        prop_assert_eq!(table.as_table().check(), Ok(()));
        for (key, expected) in &pairs {
            let found = table.as_table().find(key).expect("well-formed").expect("it is there");
            prop_assert!(value_reads_as(found, expected));
        }
    }
}

#[test]
fn further_property_words_are_skipped() {
    let list = [0x80, 0x01, 0x00, 0x01, 0xff, 0xfe, 1, b'x'];
    let properties = Properties::decode(&list).expect("three words and a string");
    assert_eq!(properties.content_type, Some("x".into()));
}

/// A table that holds a table that holds a table, `depth` in all.
fn nested(depth: u8) -> TableBuf {
    (1..depth).fold(TableBuf::new(), |inner, _| {
        let mut outer = TableBuf::new();
        outer.insert("t", inner.as_table()).expect("a short key");
        outer
    })
}

#[test]
fn nesting_is_bounded() {
    assert_eq!(nested(MAX_DEPTH).as_table().check(), Ok(()));
    assert_eq!(
        nested(MAX_DEPTH + 1).as_table().check(),
        Err(DecodeError::TooDeep)
    );
    let array = (0..100).fold(ArrayBuf::new(), |inner, _| {
        let mut outer = ArrayBuf::new();
        outer.push(inner.as_array()).expect("short");
        outer
    });
    let mut table = TableBuf::new();
    table.insert("a", array.as_array()).expect("a short key");
    assert_eq!(table.as_table().check(), Err(DecodeError::TooDeep));
}

#[test]
fn a_broken_table_reads_up_to_the_break() {
    let mut table = TableBuf::new();
    table.insert("id", "abc").expect("a short key");
    let bytes = [table.as_table().as_bytes(), b"\x01k?rest"].concat();
    let read: Vec<_> = Table::from_bytes(&bytes).iter().collect();
    assert_eq!(
        read,
        [
            Ok(("id".into(), "abc".into())),
            Err(DecodeError::UnknownTag(b'?'))
        ]
    );
    assert_eq!(
        Array::from_bytes(b"I\0\0").iter().collect::<Vec<_>>(),
        [Err(DecodeError::Truncated)]
    );
}

#[test]
fn other_spellings_of_integers_are_read() {
    let table =
        Table::from_bytes(b"\x01aU\xff\xfe\x01bL\xff\xff\xff\xff\xff\xff\xff\xff\x01ct\x02");
    assert_eq!(table.find("a"), Ok(Some(Value::I16(-2))));
    assert_eq!(table.find("b"), Ok(Some(Value::I64(-1))));
    assert_eq!(table.find("c"), Ok(Some(Value::Bool(true))));
}

#[test]
fn values_convert_as_far_as_they_can() {
    assert_eq!(Value::from("text").as_str(), Some("text"));
    assert_eq!(Value::LongStr(b"\xff").as_str(), None);
    assert_eq!(Value::U32(u32::MAX).as_i64(), Some(i64::from(u32::MAX)));
    assert_eq!(Value::I8(-3).as_f64(), Some(-3.0));
    assert_eq!(Value::F32(0.5).as_f64(), Some(0.5));
    assert_eq!(Value::Void.as_i64(), None);
    assert_eq!(Value::Bool(true).as_bool(), Some(true));
}
