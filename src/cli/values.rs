//! Values of options, and what is wrong with them in the words of Celery's command line.

use std::str::FromStr;
use std::time::{Duration, SystemTime};

use crate::message::json::{JsonError, Kind, Problem, Raw};
use crate::message::moment;
use crate::sys::process;
use crate::util::span;

/// A JSON array.
#[derive(Clone, Debug)]
pub(super) struct Array(pub(super) String);

/// A JSON object.
#[derive(Clone, Debug)]
pub(super) struct Object(pub(super) String);

impl FromStr for Array {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        json(text, Kind::Array, "an array").map(Self)
    }
}

impl FromStr for Object {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        json(text, Kind::Object, "an object").map(Self)
    }
}

fn json(text: &str, kind: Kind, noun: &str) -> Result<String, String> {
    match Raw::parse(text) {
        Ok(value) if value.kind() == kind => Ok(value.text().to_owned()),
        Ok(_) => Err(format!("{text} was not {noun}")),
        Err(error) => Err(python_words(text, error)),
    }
}

/// A JSON error as Python words it: `Expecting value: line 1 column 1 (char 0)`.
fn python_words(text: &str, error: JsonError) -> String {
    let problem = match error.problem {
        Problem::BadEscape => "Invalid \\escape",
        Problem::ControlCharacter => "Invalid control character at",
        Problem::ExpectedColon => "Expecting ':' delimiter",
        Problem::ExpectedCommaOrClose => "Expecting ',' delimiter",
        Problem::ExpectedKey => "Expecting property name enclosed in double quotes",
        Problem::ExpectedValue => "Expecting value",
        Problem::TrailingData => "Extra data",
        Problem::UnterminatedString => "Unterminated string",
        _ => return error.to_string(),
    };
    let before = text.get(..error.offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
    format!(
        "{problem}: line {line} column {column} (char {})",
        before.chars().count()
    )
}

/// A moment in ISO 8601.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Moment(pub(super) SystemTime);

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let moment = moment::parse(text).map(Self);
        moment.map_err(|_| format!("'{text}' is not a date and time in ISO 8601."))
    }
}

/// A length of time in seconds, not negative.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Seconds(pub(super) Duration);

impl FromStr for Seconds {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let seconds: f64 = text
            .parse()
            .map_err(|_| format!("'{text}' is not a valid float."))?;
        let duration = span::seconds(seconds).map(Self);
        duration.ok_or_else(|| format!("'{text}' is not a length of time in seconds."))
    }
}

/// The end of something: a moment, or seconds from now.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Expiry {
    In(Duration),
    At(SystemTime),
}

impl FromStr for Expiry {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A year alone is a date in ISO 8601, but Celery takes a number for seconds first.
        if let Ok(Seconds(duration)) = text.parse() {
            return Ok(Self::In(duration));
        }
        let moment = text
            .parse::<Moment>()
            .map(|Moment(moment)| Self::At(moment));
        moment.map_err(|_| format!("'{text}' is neither seconds nor a date and time in ISO 8601."))
    }
}

/// `-c`: a number of processes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Concurrency(pub(super) usize);

impl FromStr for Concurrency {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "" | "0" | "auto" => Ok(Self(process::cpu_count())),
            _ => text
                .parse()
                .map(Self)
                .map_err(|_| format!("'{text}' is not a valid integer.")),
        }
    }
}

/// `--autoscale`: the larger number and the smaller one, in any order.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Range(pub(super) usize, pub(super) usize);

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| {
            let number = text.trim().parse::<usize>();
            number.map_err(|_| format!("'{text}' is not a valid integer."))
        };
        let numbers: Result<Vec<usize>, String> = text.split(',').map(number).collect();
        match numbers?.as_slice() {
            [max] => Ok(Self(*max, 0)),
            [one, other] => Ok(Self(*one.max(other), *one.min(other))),
            _ => Err(format!("'{text}' is more than two numbers.")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused<T: FromStr<Err = String>>(text: &str) -> String {
        text.parse::<T>().err().expect("refused")
    }

    #[test]
    fn json_is_refused_in_pythons_words() {
        assert_eq!(refused::<Array>("{\"a\":1}"), "{\"a\":1} was not an array");
        assert_eq!(refused::<Object>("[1]"), "[1] was not an object");
        for (text, words) in [
            ("x", "Expecting value: line 1 column 1 (char 0)"),
            ("[1,\n é", "Expecting value: line 2 column 2 (char 5)"),
            ("[1] 2", "Extra data: line 1 column 5 (char 4)"),
            ("[1 2]", "Expecting ',' delimiter: line 1 column 4 (char 3)"),
        ] {
            assert_eq!(refused::<Array>(text), words);
        }
    }

    #[test]
    fn json_is_taken_as_python_takes_it() {
        for text in [
            "[]",
            "[NaN, 1e400, \"\\ud800\"]",
            "[123456789012345678901234567890]",
        ] {
            assert_eq!(text.parse::<Array>().unwrap().0, text);
        }
    }

    #[test]
    fn an_expiry_is_seconds_first() {
        assert_eq!("60".parse(), Ok(Expiry::In(Duration::from_secs(60))));
        let moment = moment::parse("2030-01-02T03:04:05").unwrap();
        assert_eq!("2030-01-02T03:04:05".parse(), Ok(Expiry::At(moment)));
        assert!(refused::<Expiry>("soon").contains("neither"));
    }

    #[test]
    fn seconds_are_finite_and_not_negative() {
        assert_eq!("1.5".parse(), Ok(Seconds(Duration::from_millis(1500))));
        assert_eq!(refused::<Seconds>("abc"), "'abc' is not a valid float.");
        for text in ["-1", "inf", "nan"] {
            assert!(
                refused::<Seconds>(text).contains("length of time"),
                "{text}"
            );
        }
        assert!(refused::<Moment>("tomorrow").contains("ISO 8601"));
    }

    #[test]
    fn concurrency_is_a_number_or_one_child_a_processor() {
        assert_eq!("3".parse::<Concurrency>().unwrap().0, 3);
        for text in ["", "0", "auto"] {
            assert_eq!(text.parse::<Concurrency>().unwrap().0, process::cpu_count());
        }
        assert_eq!(
            "many".parse::<Concurrency>().unwrap_err(),
            "'many' is not a valid integer."
        );
    }

    #[test]
    fn a_range_has_two_numbers_in_any_order() {
        assert_eq!("10,3".parse(), Ok(Range(10, 3)));
        assert_eq!("3, 10".parse(), Ok(Range(10, 3)));
        assert_eq!("7".parse(), Ok(Range(7, 0)));
        assert!("1,2,3".parse::<Range>().is_err() && "x".parse::<Range>().is_err());
    }
}
