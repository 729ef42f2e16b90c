use proptest::prelude::*;

use super::*;
use crate::amqp::Properties;
use crate::amqp::table::{TableBuf, Value};
use crate::broker::keys::TypedKey;
use crate::util::slots::Key;

fn queue(number: u64) -> Destination {
    Destination::Queue(QueueKey::new(Key::from(number)))
}

fn binding(number: u64, key: &str) -> Binding {
    Binding {
        destination: queue(number),
        key: key.as_bytes().into(),
        arguments: Box::default(),
    }
}

fn routed(exchange: &Exchange, key: &str) -> Vec<Destination> {
    let mut found = Vec::new();
    let message = Routed {
        key: key.as_bytes(),
        property_list: b"\0\0",
    };
    exchange.route(message, &mut found);
    found.sort_unstable();
    found.dedup();
    found
}

/// The definition, word by word.
fn fits(pattern: &[&str], key: &[&str]) -> bool {
    match (pattern, key) {
        ([], []) => true,
        (["#", rest @ ..], _) => {
            fits(rest, key) || matches!(key, [_, shorter @ ..] if fits(pattern, shorter))
        }
        (["*", rest @ ..], [_, shorter @ ..]) => fits(rest, shorter),
        ([word, rest @ ..], [other, shorter @ ..]) => word == other && fits(rest, shorter),
        _ => false,
    }
}

/// The empty text has no words; everything else has one more than it has dots.
fn split(text: &str) -> Vec<&str> {
    if text.is_empty() {
        Vec::new()
    } else {
        text.split('.').collect()
    }
}

fn word(among: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    proptest::sample::select(among)
}

proptest! {
    /// The tree finds what the definition says, also after some patterns were taken out again.
    #[test]
    fn topics_match_as_defined(
        patterns in proptest::collection::vec(
            (proptest::collection::vec(word(&["a", "b", "", "*", "#"]), 0..5), any::<bool>()), 0..8),
        keys in proptest::collection::vec(proptest::collection::vec(word(&["a", "b", "", "c"]), 1..6), 1..6),
    ) {
        let mut exchange = Exchange::new(b"t", Kind::Topic);
        for (number, (pattern, _)) in patterns.iter().enumerate() {
            prop_assert!(exchange.bind(binding(number as u64, &pattern.join("."))));
        }
        for (number, (pattern, stays)) in patterns.iter().enumerate() {
            if !stays {
                prop_assert!(exchange.unbind(&binding(number as u64, &pattern.join("."))));
            }
        }
        for key in keys {
            let expected: Vec<Destination> = patterns
                .iter()
                .enumerate()
                .filter(|(_, (pattern, stays))| {
                    *stays && fits(&split(&pattern.join(".")), &split(&key.join(".")))
                })
                .map(|(number, _)| queue(number as u64))
                .collect();
            prop_assert_eq!(routed(&exchange, &key.join(".")), expected);
        }
        prop_assert_eq!(exchange.is_bound(), patterns.iter().any(|(_, stays)| *stays));
    }
}

#[test]
fn a_pattern_full_of_hashes_costs_no_more_than_its_size() {
    let mut exchange = Exchange::new(b"t", Kind::Topic);
    exchange.bind(binding(1, &["#.a"; 60].join(".")));
    let key = ["a"; 120].join(".");
    assert_eq!(routed(&exchange, &key), [queue(1)]);
    assert_eq!(routed(&exchange, &format!("{key}.b")), []);
}

#[test]
fn direct_and_fanout_are_what_their_names_say() {
    let mut direct = Exchange::new(b"d", Kind::Direct);
    let mut fanout = Exchange::new(b"f", Kind::Fanout);
    for exchange in [&mut direct, &mut fanout] {
        assert!(exchange.bind(binding(1, "a")));
        assert!(!exchange.bind(binding(1, "a")), "the same binding");
        assert!(exchange.bind(binding(2, "b")));
    }
    assert_eq!(routed(&direct, "a"), [queue(1)]);
    assert_eq!(routed(&direct, "c"), []);
    assert_eq!(routed(&fanout, "c"), [queue(1), queue(2)]);
    for exchange in [&mut direct, &mut fanout] {
        assert!(exchange.unbind(&binding(1, "a")));
        assert!(!exchange.unbind(&binding(1, "a")));
        assert!(exchange.is_bound());
        assert!(exchange.unbind(&binding(2, "b")));
        assert!(!exchange.is_bound());
    }
}

type Pairs<'a> = &'a [(&'a str, Value<'a>)];

fn table(pairs: Pairs<'_>) -> TableBuf {
    let mut table = TableBuf::new();
    for (key, value) in pairs {
        table.insert(*key, *value).expect("short");
    }
    table
}

#[test]
fn headers_match_all_or_any_of_the_arguments() {
    let red = ("color", Value::LongStr(b"red"));
    let two = ("size", Value::I32(2));
    let any = ("x-match", Value::LongStr(b"any"));
    let any_with_x = ("x-match", Value::LongStr(b"any-with-x"));
    let priority = ("x-level", Value::I32(1));
    let cases: &[(Pairs<'_>, Pairs<'_>, bool)] = &[
        (&[], &[red], true),
        (&[red, two], &[red], false),
        (&[red, two], &[two, red], true),
        (&[two], &[("size", Value::I64(2))], true),
        (&[any, red, two], &[red], true),
        (&[any, red, two], &[], false),
        (&[any, priority], &[priority], false),
        (&[any_with_x, priority], &[priority], true),
        (&[priority], &[], true),
        (&[("color", Value::Void)], &[red], true),
        (&[("color", Value::Void)], &[two], false),
    ];
    for (arguments, headers, expected) in cases {
        let mut exchange = Exchange::new(b"h", Kind::Headers);
        exchange.bind(Binding {
            arguments: table(arguments).as_table().as_bytes().into(),
            ..binding(1, "")
        });
        let table = table(headers);
        let mut property_list = Vec::new();
        let properties = Properties {
            headers: Some(table.as_table()),
            ..Properties::default()
        };
        properties.encode(&mut property_list).expect("short");
        let mut found = Vec::new();
        let message = Routed {
            key: b"",
            property_list: &property_list,
        };
        exchange.route(message, &mut found);
        assert_eq!(!found.is_empty(), *expected, "{arguments:?} {headers:?}");
    }
}
