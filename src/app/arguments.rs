//! Binding of a call's arguments to the type a task function takes.
//!
//! The arguments of a message are a list and a mapping, and Python binds them to the parameters of a function. Here the
//! parameters are a `Deserialize` type, and the binding is a serde deserializer over both:
//!
//! | the type | takes |
//! |---|---|
//! | a struct | its fields by position, by name, or mixed; `#[serde(default)]` and `Option` make one optional |
//! | a tuple | exactly its elements, by position |
//! | `()` or a unit struct | nothing |
//! | a sequence | any number by position (`*args`) |
//! | a map, or a struct with `#[serde(flatten)]` | any names, none by position (`**kwargs`) |
//! | any other value | one, by position |
//! | `Option` of one of these | the same, or nothing |
//!
//! What does not fit fails with the text Python has for it. Each argument stays a slice of the message until its field
//! reads it: no tree of values is built unless a field asks for one. Field aliases are not supported.

use std::borrow::Cow;

use serde::de::DeserializeOwned;

use super::binder::{Argument, Binder, Mismatch};
use super::error::Exception;
use super::signature;
use crate::message::json::{Raw, Scanner};

/// The arguments of a call: slices of the message's body, one per argument.
#[derive(Clone, Debug)]
pub(crate) struct Arguments<'a> {
    positional: Vec<Raw<'a>>,
    /// Of a name given twice the last stays, as in Python's JSON.
    named: Vec<(Cow<'a, str>, Raw<'a>)>,
}

impl<'a> Arguments<'a> {
    /// Takes a list and a mapping apart.
    pub(crate) fn new(args: Raw<'a>, kwargs: Raw<'a>) -> Self {
        let mut named: Vec<(Cow<'a, str>, Raw<'a>)> = Vec::new();
        for (key, value) in kwargs.members() {
            let name = key.as_str().unwrap_or_default();
            match named.iter_mut().find(|(known, _)| *known == name) {
                Some(slot) => slot.1 = value,
                None => named.push((name, value)),
            }
        }
        Self {
            positional: args.elements().collect(),
            named,
        }
    }

    /// Refuses what Python's JSON has and Rust's numbers and strings have not, naming argument and token: `NaN`, half
    /// of a surrogate pair, an integer beyond 64 bits. For a body that is known to hold one of these.
    ///
    /// # Errors
    /// `ValueError`, if it is in the arguments.
    pub(crate) fn refuse_oddities(&self, function: &str) -> Result<(), Exception> {
        let places = (1..).zip(&self.positional);
        let positional = places.map(|(place, value)| (place.to_string(), value));
        let named = self.named.iter();
        let named = named.map(|(name, value)| (format!("'{name}'"), value));
        for (name, value) in positional.chain(named) {
            let mut scanner = Scanner::new(value.text());
            let oddity = scanner.value().ok().and_then(|_| scanner.oddity());
            if let Some(oddity) = oddity {
                let text = format!("{function}() argument {name}: {oddity}");
                return Err(Exception::new("ValueError", text).module("builtins"));
            }
        }
        Ok(())
    }

    /// Binds the arguments to the parameters of `function`, which is named in errors only.
    ///
    /// # Errors
    /// `TypeError` as Python raises it for arguments that do not fit, or that are of another type than the parameter.
    pub(crate) fn bind<A: DeserializeOwned>(&self, function: &str) -> Result<A, Exception> {
        A::deserialize(Binder(self)).map_err(|mismatch| {
            let text = match mismatch {
                Mismatch::Missing(first) => self.missing::<A>(first),
                Mismatch::Count { takes } => self.wrong_count::<A>(takes),
                Mismatch::Unexpected(name) => {
                    format!(" got an unexpected keyword argument '{name}'")
                }
                Mismatch::Twice(name) => format!(" got multiple values for argument '{name}'"),
                Mismatch::Value(name, text) => format!(" argument {name}: {text}"),
                Mismatch::Other(text) => format!(": {text}"),
            };
            Exception::new("TypeError", format!("{function}(){text}")).module("builtins")
        })
    }

    /// `first` is missing; whatever else is missing is named with it.
    fn missing<A: DeserializeOwned>(&self, first: &'static str) -> String {
        let mut names = vec![first];
        if let Some(signature) = signature::of::<A>() {
            names = signature.required;
            names.retain(|name| !self.gives(signature.fields, name));
        }
        let quoted: Vec<String> = names.iter().map(|name| format!("'{name}'")).collect();
        let listed = match quoted.as_slice() {
            [one] => one.clone(),
            [one, two] => format!("{one} and {two}"),
            [many @ .., last] => format!("{}, and {last}", many.join(", ")),
            [] => String::new(),
        };
        let plural = if names.len() == 1 { "" } else { "s" };
        format!(
            " missing {} required positional argument{plural}: {listed}",
            names.len()
        )
    }

    fn gives(&self, fields: &[&str], name: &str) -> bool {
        let mut by_position = fields.iter().take(self.positional.len());
        by_position.any(|field| *field == name) || self.named.iter().any(|(given, _)| given == name)
    }

    fn wrong_count<A: DeserializeOwned>(&self, takes: usize) -> String {
        let given = self.positional.len();
        let were = if given == 1 { "was" } else { "were" };
        let required = signature::of::<A>().map_or(takes, |signature| signature.required.len());
        if required < takes {
            return format!(
                " takes from {required} to {takes} positional arguments but {given} {were} given"
            );
        }
        let plural = if takes == 1 { "" } else { "s" };
        format!(" takes {takes} positional argument{plural} but {given} {were} given")
    }

    /// The arguments of a function that has no parameter names: exactly `takes`, all by position.
    pub(super) fn exactly(&self, takes: usize) -> Result<Vec<Argument<'_>>, Mismatch> {
        let bound = self.by_position()?;
        if bound.len() == takes {
            Ok(bound)
        } else {
            Err(Mismatch::Count { takes })
        }
    }

    /// The arguments of a function that takes any number by position.
    pub(super) fn by_position(&self) -> Result<Vec<Argument<'_>>, Mismatch> {
        if let Some((name, _)) = self.named.first() {
            return Err(Mismatch::Unexpected(name.to_string()));
        }
        let places = (1..).zip(&self.positional);
        Ok(places
            .map(|(place, text)| Argument {
                name: Cow::Owned(place.to_string()),
                text: text.text(),
            })
            .collect())
    }

    /// The arguments of a function that takes any names.
    pub(super) fn by_name(&self) -> Result<Vec<Argument<'_>>, Mismatch> {
        if !self.positional.is_empty() {
            return Err(Mismatch::Count { takes: 0 });
        }
        let named = self.named.iter();
        Ok(named
            .map(|(name, text)| Argument {
                name: Cow::Borrowed(name),
                text: text.text(),
            })
            .collect())
    }

    /// Whether the call gives nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.positional.is_empty() && self.named.is_empty()
    }

    /// Every argument under the name of its field, checked in the order in which Python checks.
    pub(super) fn by_field(
        &self,
        fields: &'static [&'static str],
    ) -> Result<Vec<Argument<'_>>, Mismatch> {
        let places = fields.iter().zip(&self.positional);
        let mut bound: Vec<Argument<'_>> = places
            .map(|(field, text)| Argument {
                name: Cow::Borrowed(field),
                text: text.text(),
            })
            .collect();
        for (name, text) in &self.named {
            if !fields.contains(&name.as_ref()) {
                return Err(Mismatch::Unexpected(name.to_string()));
            }
            if bound.iter().any(|argument| argument.name == *name) {
                return Err(Mismatch::Twice(name.to_string()));
            }
            bound.push(Argument {
                name: Cow::Borrowed(name),
                text: text.text(),
            });
        }
        if self.positional.len() > fields.len() {
            return Err(Mismatch::Count {
                takes: fields.len(),
            });
        }
        Ok(bound)
    }
}
