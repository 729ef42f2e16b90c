use proptest::prelude::*;
use serde_json::Value;

use super::raw::first_three;
use super::*;

/// Texts that Python reads and a strict parser does not, with the token it stumbles over.
const ODD: &[(&str, &str, OddityKind, usize)] = &[
    ("[1, NaN]", "NaN", OddityKind::NotFinite, 4),
    ("{\"a\": Infinity}", "Infinity", OddityKind::NotFinite, 6),
    (" -Infinity", "-Infinity", OddityKind::NotFinite, 1),
    ("1e999", "1e999", OddityKind::NotFinite, 0),
    (
        "[1180591620717411303424]",
        "1180591620717411303424",
        OddityKind::HugeInteger,
        1,
    ),
    (
        "[-9223372036854775809]",
        "-9223372036854775809",
        OddityKind::HugeInteger,
        1,
    ),
    (r#"["\ud800"]"#, r"\ud800", OddityKind::LoneSurrogate, 2),
    (r#"["\ud83dx"]"#, r"\ud83d", OddityKind::LoneSurrogate, 2),
    (
        r#"["\udc00\ud800"]"#,
        r"\udc00",
        OddityKind::LoneSurrogate,
        2,
    ),
    (
        r#"["\ud800\ud83d\ude00"]"#,
        r"\ud800",
        OddityKind::LoneSurrogate,
        2,
    ),
    (
        r#"{"\udfff": NaN}"#,
        r"\udfff",
        OddityKind::LoneSurrogate,
        2,
    ),
];

#[test]
fn names_the_first_token_that_strict_readers_refuse() {
    for (text, token, kind, offset) in ODD {
        let mut scanner = Scanner::new(text);
        scanner.value().unwrap();
        scanner.end().unwrap();
        let oddity = Oddity {
            kind: *kind,
            token,
            offset: *offset,
        };
        assert_eq!(scanner.oddity(), Some(oddity), "{text}");
    }
    let huge = Oddity {
        kind: OddityKind::HugeInteger,
        token: &"9".repeat(5000),
        offset: 3,
    };
    assert_eq!(
        huge.to_string(),
        format!(
            "{}... at octet 3 is an integer beyond 64 bits",
            "9".repeat(40)
        )
    );
}

#[test]
fn has_nothing_to_say_about_plain_json() {
    for text in [
        "[9223372036854775807, 18446744073709551615, 1e308]",
        r#""\ud83d\ude00""#,
        "-0.0",
    ] {
        let mut scanner = Scanner::new(text);
        scanner.value().unwrap();
        assert_eq!(scanner.oddity(), None, "{text}");
    }
}

/// What `json.loads` of Python 3.11 refuses, and where.
const REFUSED: &[(&str, Problem, usize)] = &[
    ("", Problem::ExpectedValue, 0),
    ("\u{feff}1", Problem::ExpectedValue, 0),
    ("nul", Problem::ExpectedValue, 0),
    ("nan", Problem::ExpectedValue, 0),
    ("-", Problem::ExpectedValue, 0),
    ("+1", Problem::ExpectedValue, 0),
    (".5", Problem::ExpectedValue, 0),
    ("[1,]", Problem::ExpectedValue, 3),
    ("[1 2]", Problem::ExpectedCommaOrClose, 3),
    ("[1}", Problem::ExpectedCommaOrClose, 2),
    ("[", Problem::ExpectedValue, 1),
    ("[1", Problem::ExpectedCommaOrClose, 2),
    ("{1: 2}", Problem::ExpectedKey, 1),
    ("{\"a\": 1,}", Problem::ExpectedKey, 8),
    ("{\"a\" 1}", Problem::ExpectedColon, 5),
    ("01", Problem::TrailingData, 1),
    ("1.", Problem::TrailingData, 1),
    ("1e+", Problem::TrailingData, 1),
    ("1 2", Problem::TrailingData, 2),
    ("'a'", Problem::ExpectedValue, 0),
    ("\"a", Problem::UnterminatedString, 2),
    ("\"a\nb\"", Problem::ControlCharacter, 2),
    (r#""\x""#, Problem::BadEscape, 1),
    (r#""\u12g4""#, Problem::BadEscape, 1),
    (r#""\u12"#, Problem::BadEscape, 1),
    (r#""\u+123""#, Problem::BadEscape, 1),
];

#[test]
fn refuses_what_python_refuses() {
    for (text, problem, offset) in REFUSED {
        let error = JsonError {
            offset: *offset,
            problem: *problem,
        };
        assert_eq!(Raw::parse(text), Err(error), "{text}");
    }
    let error = Scanner::from_bytes(b"[\"\xff\"]").map(drop);
    assert_eq!(
        error,
        Err(JsonError {
            offset: 2,
            problem: Problem::NotUtf8
        })
    );
}

#[test]
fn nesting_costs_no_stack() {
    let deep = "[".repeat(MAX_DEPTH) + &"]".repeat(MAX_DEPTH);
    assert_eq!(Raw::parse(&deep).unwrap().text(), deep);
    assert_eq!(repr(Raw::parse(&deep).unwrap(), REPR_LENGTH), "[[[[...]]]]");
    let deeper = format!("[{deep}]");
    let error = JsonError {
        offset: MAX_DEPTH + 1,
        problem: Problem::TooDeep,
    };
    // The innermost list is empty, and so never entered.
    assert_eq!(Raw::parse(&deeper.replace("[]", "[1]")).unwrap_err(), error);
}

#[test]
fn opens_values_one_level_at_a_time() {
    let raw =
        Raw::parse(r#" {"a": [1, {"b": 2}], "\u00fc\n": "x\ud83d\ude00\ud800y", "a": null} "#)
            .unwrap();
    let members: Vec<_> = raw
        .members()
        .map(|(k, v)| (k.as_str().unwrap(), v.text()))
        .collect();
    assert_eq!(members[0], ("a".into(), r#"[1, {"b": 2}]"#));
    assert_eq!(members[1].0, "ü\n");
    assert_eq!(members[2], ("a".into(), "null"));
    assert_eq!(
        raw.members().nth(1).unwrap().1.as_str().unwrap(),
        "x😀\u{fffd}y"
    );
    assert_eq!(raw.elements().count(), 0);
    assert_eq!(members.len(), 3);
}

#[test]
fn finds_three_elements_and_counts_all() {
    let mut scanner = Scanner::new(" [ [1], {} ,null,4, 5 ] ");
    let list = first_three(&mut scanner).unwrap().unwrap();
    assert_eq!(
        list.elements.map(|value| value.unwrap().text()),
        ["[1]", "{}", "null"]
    );
    assert_eq!(list.count, 5);
    assert_eq!(first_three(&mut Scanner::new("{}")), Ok(None));
    assert!(first_three(&mut Scanner::new("[1, 2")).is_err());
}

#[test]
fn writes_floats_as_python_does() {
    let table = [
        (0.1, "0.1"),
        (-0.0, "-0.0"),
        (1e15, "1000000000000000.0"),
        (1e16, "1e+16"),
        (1.5e16, "1.5e+16"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (1.5e-7, "1.5e-07"),
        (123456789.125, "123456789.125"),
        (5e-324, "5e-324"),
        (1e100, "1e+100"),
        (f64::MAX, "1.7976931348623157e+308"),
        (f64::INFINITY, "inf"),
        (f64::NAN, "nan"),
    ];
    for (value, text) in table {
        assert_eq!(python_float(value), text);
    }
}

#[test]
fn writes_strings_as_python_does() {
    let mut out = Vec::new();
    push_string(&mut out, "a\"\\/\u{8}\u{c}\n\r\t\u{1}\u{7f}ü😀");
    let text = r#""a\"\\/\b\f\n\r\t\u0001\u007f\u00fc\ud83d\ude00""#;
    assert_eq!(String::from_utf8(out).unwrap(), text);
    assert_eq!(
        to_string("a\"\\/\u{8}\u{c}\n\r\t\u{1}\u{7f}ü😀").unwrap(),
        text
    );
}

/// Each text was given to Celery 5.7's `saferepr` with that length.
#[test]
fn reprs_as_celery_does() {
    let table = include_str!("../../../tests/golden/saferepr.jsonl");
    let mut count = 0;
    for line in table.lines() {
        let line = Raw::parse(line).unwrap();
        let field = |name: &str| {
            line.members()
                .find(|(key, _)| key.as_str().unwrap() == name)
                .unwrap()
                .1
                .as_str()
                .unwrap()
        };
        let json = field("json");
        let length = field("length").parse().unwrap();
        let value = Raw::parse(&json).unwrap();
        assert_eq!(repr(value, length), field("list"), "{json} at {length}");
        if value.kind() == Kind::Array {
            assert_eq!(
                repr_tuple(value, length),
                field("tuple"),
                "{json} at {length}"
            );
        }
        count += 1;
    }
    assert!(count > 50, "the table is there");
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "\\PC{0,8}|[a-z\"\\\\\n]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 40, 5, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            proptest::collection::btree_map("[a-z\"é]{0,4}", inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    /// Written in Python's style, any value scans whole and reads back the same.
    #[test]
    fn what_is_written_scans_and_reads_back(value in any_json()) {
        let text = to_string(&value).unwrap();
        prop_assert!(text.is_ascii());
        prop_assert_eq!(Raw::parse(&text).unwrap().text(), &text);
        prop_assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), value);
    }

    /// Every strict prefix is refused, unless it is a shorter number.
    #[test]
    fn no_prefix_is_taken_for_the_whole(value in any_json()) {
        let text = to_string(&[value]).unwrap();
        for (end, _) in text.char_indices() {
            prop_assert!(Raw::parse(&text[..end]).is_err());
        }
    }

    #[test]
    fn strings_read_back(text: String) {
        let mut out = Vec::new();
        push_string(&mut out, &text);
        let out = String::from_utf8(out).unwrap();
        prop_assert_eq!(Raw::parse(&out).unwrap().as_str().unwrap(), text);
    }

    /// Wherever the first character is that has to be escaped.
    #[test]
    fn text_that_was_not_checked_is_written_the_same(text in "[ -~]{0,40}[é\"\\\\\n\u{7f}😀]?[ -~]{0,40}") {
        let mut out = Vec::new();
        push_utf8(&mut out, text.as_bytes()).unwrap();
        prop_assert_eq!(String::from_utf8(out).unwrap(), to_string(&text).unwrap());
    }

    #[test]
    fn what_is_not_utf8_is_refused(octets: Vec<u8>) {
        let mut out = Vec::new();
        let written = push_utf8(&mut out, &octets).is_ok();
        prop_assert_eq!(written, std::str::from_utf8(&octets).is_ok());
        prop_assert_eq!(written, !out.is_empty());
    }

    /// The scanner and serde_json agree on what is JSON, oddities apart.
    #[test]
    fn agrees_with_a_strict_parser(text in "[\\[\\]{},:\"a0-9.eE+\\\\u nulltrue-]{0,16}") {
        let strict = serde_json::from_str::<Value>(&text).is_ok();
        let mut scanner = Scanner::new(&text);
        let ours = scanner.value().is_ok() && scanner.end().is_ok();
        if scanner.oddity().is_none() {
            prop_assert_eq!(ours, strict, "{}", text);
        }
    }
}
