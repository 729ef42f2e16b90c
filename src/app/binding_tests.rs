//! What binds to what, and what Python says when it does not.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::arguments::Arguments;
use super::error::Exception;
use super::signature;
use crate::message::json::Raw;

#[derive(Debug, Deserialize, PartialEq)]
struct Add {
    x: i64,
    y: i64,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Mail {
    to: String,
    subject: String,
    body: String,
    #[serde(default)]
    copies: u8,
    sender: Option<String>,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Nothing {}

#[derive(Debug, Deserialize, PartialEq)]
struct Wrapped(Add);

#[derive(Debug, Deserialize, PartialEq)]
struct Loose {
    x: i64,
    #[serde(flatten)]
    rest: BTreeMap<String, Value>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Colour {
    Red,
}

#[derive(Debug, Deserialize, PartialEq)]
struct Nested {
    colour: Colour,
    pair: (u8, f64),
    inner: Add,
    flag: bool,
    letter: char,
    bytes: Vec<u8>,
    table: BTreeMap<String, i64>,
    wrapped: Wrapped,
    any: Value,
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only its shape matters")]
struct Numbers {
    x: serde_json::Number,
    y: serde_json::Number,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
#[expect(dead_code, reason = "only its shape matters")]
enum Text {
    Text(String),
}

#[derive(Debug, Deserialize)]
#[expect(dead_code, reason = "only its shape matters")]
struct Texts {
    text: Text,
}

fn call<A: DeserializeOwned>(positional: &[&str], named: &[(&str, &str)]) -> Result<A, Exception> {
    let args = format!("[{}]", positional.join(", "));
    let named: Vec<String> = named
        .iter()
        .map(|(name, value)| format!("\"{name}\": {value}"))
        .collect();
    let kwargs = format!("{{{}}}", named.join(", "));
    let (args, kwargs) = (Raw::parse(&args).unwrap(), Raw::parse(&kwargs).unwrap());
    Arguments::new(args, kwargs).bind("f")
}

#[track_caller]
fn fails<A: DeserializeOwned + std::fmt::Debug>(
    positional: &[&str],
    named: &[(&str, &str)],
    text: &str,
) {
    let exception = call::<A>(positional, named).expect_err("does not fit");
    assert_eq!(exception.type_name, "TypeError");
    assert_eq!(exception.module.as_deref(), Some("builtins"));
    assert_eq!(exception.args, [json!(text)]);
}

#[test]
fn a_struct_takes_its_fields_by_position_by_name_or_mixed() {
    let expected = Add { x: 1, y: 2 };
    assert_eq!(call::<Add>(&["1", "2"], &[]).unwrap(), expected);
    assert_eq!(call::<Add>(&["1"], &[("y", "2")]).unwrap(), expected);
    assert_eq!(
        call::<Add>(&[], &[("y", "2"), ("x", "1")]).unwrap(),
        expected
    );
    assert_eq!(call::<Wrapped>(&["1"], &[("y", "2")]).unwrap().0, expected);
    assert_eq!(call::<Nothing>(&[], &[]).unwrap(), Nothing {});
}

#[test]
fn defaults_and_options_make_a_field_optional() {
    let mail = call::<Mail>(&["\"a\"", "\"b\""], &[("body", "\"c\"")]).unwrap();
    assert_eq!((mail.copies, mail.sender), (0, None));
    let mail = call::<Mail>(&["\"a\"", "\"b\"", "\"c\"", "2", "\"me\""], &[]).unwrap();
    assert_eq!((mail.copies, mail.sender), (2, Some("me".to_owned())));
}

#[test]
fn other_types_take_what_their_shape_says() {
    assert_eq!(
        call::<(i64, String)>(&["1", "\"a\""], &[]).unwrap(),
        (1, "a".to_owned())
    );
    assert_eq!(call::<Vec<i64>>(&["1", "2"], &[]).unwrap(), [1, 2]);
    assert_eq!(
        call::<BTreeMap<String, i64>>(&[], &[("a", "1")]).unwrap()["a"],
        1
    );
    assert_eq!(call::<f64>(&["1.5"], &[]).unwrap(), 1.5);
    assert_eq!(call::<String>(&["\"a\\n\""], &[]).unwrap(), "a\n");
    assert_eq!(call::<Colour>(&["\"red\""], &[]).unwrap(), Colour::Red);
    assert_eq!(
        call::<Value>(&["{\"a\": [1]}"], &[]).unwrap(),
        json!({"a": [1]})
    );
    call::<()>(&[], &[]).unwrap();
    assert_eq!(call::<Option<i64>>(&[], &[]).unwrap(), None);
    assert_eq!(call::<Option<i64>>(&["1"], &[]).unwrap(), Some(1));
    let loose = call::<Loose>(&[], &[("x", "1"), ("z", "3")]).unwrap();
    assert_eq!((loose.x, &loose.rest["z"]), (1, &json!(3)));
}

#[test]
fn a_name_given_twice_in_the_mapping_counts_once_and_the_last_wins() {
    let twice = [("x", "1"), ("y", "2"), ("x", "3")];
    assert_eq!(call::<Add>(&[], &twice).unwrap(), Add { x: 3, y: 2 });
}

#[test]
fn missing_arguments_are_all_named() {
    let one = "f() missing 1 required positional argument: 'y'";
    fails::<Add>(&["1"], &[], one);
    fails::<Wrapped>(&["1"], &[], one);
    fails::<Add>(
        &[],
        &[],
        "f() missing 2 required positional arguments: 'x' and 'y'",
    );
    fails::<Mail>(
        &[],
        &[("sender", "\"me\"")],
        "f() missing 3 required positional arguments: 'to', 'subject', and 'body'",
    );
    fails::<Mail>(
        &[],
        &[("subject", "\"s\"")],
        "f() missing 2 required positional arguments: 'to' and 'body'",
    );
    fails::<Loose>(&[], &[], "f() missing 1 required positional argument: 'x'");
}

#[test]
fn too_many_positional_arguments_are_counted() {
    fails::<Add>(
        &["1", "2", "3"],
        &[],
        "f() takes 2 positional arguments but 3 were given",
    );
    fails::<Nothing>(
        &["1"],
        &[],
        "f() takes 0 positional arguments but 1 was given",
    );
    fails::<()>(
        &["1"],
        &[],
        "f() takes 0 positional arguments but 1 was given",
    );
    fails::<i64>(
        &["1", "2"],
        &[],
        "f() takes 1 positional argument but 2 were given",
    );
    fails::<i64>(&[], &[], "f() takes 1 positional argument but 0 were given");
    fails::<(i64, i64)>(
        &["1"],
        &[],
        "f() takes 2 positional arguments but 1 was given",
    );
    fails::<Loose>(
        &["1"],
        &[],
        "f() takes 0 positional arguments but 1 was given",
    );
    fails::<Mail>(
        &["1", "2", "3", "4", "5", "6"],
        &[],
        "f() takes from 3 to 5 positional arguments but 6 were given",
    );
}

#[test]
fn unexpected_and_repeated_keywords_are_named_before_anything_is_counted() {
    let unexpected = "f() got an unexpected keyword argument 'z'";
    fails::<Add>(&["1", "2"], &[("z", "3")], unexpected);
    fails::<Add>(&["1", "2", "3"], &[("z", "3")], unexpected);
    fails::<()>(&[], &[("z", "3")], unexpected);
    fails::<i64>(&["1"], &[("z", "3")], unexpected);
    fails::<Vec<i64>>(&["1"], &[("z", "3")], unexpected);
    let twice = "f() got multiple values for argument 'x'";
    fails::<Add>(&["1"], &[("x", "2")], twice);
    fails::<Add>(&["1", "2"], &[("x", "2")], twice);
}

#[test]
fn a_value_of_another_type_names_its_argument() {
    fails::<Add>(
        &["1", "\"2\""],
        &[],
        "f() argument 'y': invalid type: string \"2\", expected i64 at line 1 column 3",
    );
    fails::<(u8,)>(
        &["256"],
        &[],
        "f() argument 1: invalid value: integer `256`, expected u8 at line 1 column 3",
    );
}

#[test]
fn what_only_python_reads_is_named() {
    for (args, kwargs, text) in [
        (
            "[1, NaN]",
            "{}",
            "f() argument 2: NaN at octet 0 is not a finite number",
        ),
        (
            "[]",
            "{\"x\": [\"\\ud800\"]}",
            "f() argument 'x': \\ud800 at octet 2 is a lone surrogate",
        ),
        (
            "[18446744073709551616]",
            "{}",
            "f() argument 1: 18446744073709551616 at octet 0 is an integer beyond 64 bits",
        ),
    ] {
        let arguments = Arguments::new(Raw::parse(args).unwrap(), Raw::parse(kwargs).unwrap());
        let exception = arguments.refuse_oddities("f").expect_err("odd");
        assert_eq!(exception.to_string(), format!("ValueError: {text}"));
    }
    let plain = Arguments::new(Raw::parse("[1]").unwrap(), Raw::parse("{}").unwrap());
    plain.refuse_oddities("f").unwrap();
}

#[test]
fn the_signature_is_found_whatever_the_fields_hold() {
    let signature = signature::of::<Nested>().expect("a struct");
    assert_eq!(signature.fields.len(), 9);
    // `any` may be null, yet a call has to give it.
    assert_eq!(signature.required, signature.fields);
    assert_eq!(signature::of::<i64>(), None);
    // A number takes no null for a stand-in, and this field no number.
    assert_eq!(
        signature::of::<Numbers>().expect("a struct").required,
        ["x", "y"]
    );
    assert_eq!(
        signature::of::<Texts>().expect("a struct").required,
        ["text"]
    );
}

proptest! {
    /// However a call spells its arguments, the same values arrive; and one too many never does.
    #[test]
    fn any_spelling_binds_the_same(x: i64, y: i64, by_position in 0..=2usize, swap: bool) {
        let texts = [x.to_string(), y.to_string()];
        let positional: Vec<&str> = texts.iter().take(by_position).map(String::as_str).collect();
        let mut named: Vec<(&str, &str)> = ["x", "y"]
            .into_iter()
            .zip(texts.iter().map(String::as_str))
            .skip(by_position)
            .collect();
        if swap {
            named.reverse();
        }
        prop_assert_eq!(call::<Add>(&positional, &named).unwrap(), Add { x, y });
        named.push(("w", "0"));
        prop_assert!(call::<Add>(&positional, &named).is_err());
    }

    /// What any JSON value binds to is what the parser says.
    #[test]
    fn any_value_binds_as_json(text: String, number: f64, list: Vec<i8>) {
        let value = json!({"text": text, "number": number, "list": list});
        prop_assert_eq!(call::<Value>(&[&value.to_string()], &[]).unwrap(), value);
    }
}
