//! The serde deserializer behind [`Arguments::bind`]: each kind of type asks for the arguments in its own way.

use std::borrow::Cow;
use std::fmt;
use std::vec::IntoIter;

use serde::Deserializer;
use serde::de::{self, DeserializeSeed, IntoDeserializer, MapAccess, SeqAccess, Visitor};
use serde_json::de::StrRead;

use super::arguments::Arguments;

/// Why arguments do not fit; [`Arguments::bind`] words it as Python does.
#[derive(Debug)]
pub(super) enum Mismatch {
    /// A field without a default has no argument.
    Missing(&'static str),
    /// Too many positional arguments, or not as many as a function without parameter names takes.
    Count { takes: usize },
    /// A keyword that is no parameter.
    Unexpected(String),
    /// An argument given by position and by name.
    Twice(String),
    /// An argument that its parameter cannot hold, with the parser's words.
    Value(String, String),
    /// What else a `Deserialize` of the program's own has to say.
    Other(String),
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Mismatch {}

impl de::Error for Mismatch {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Other(text.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

/// One argument on its way to its parameter.
pub(super) struct Argument<'a> {
    /// The parameter's name, or its place counted from 1.
    pub(super) name: Cow<'a, str>,
    /// Its JSON.
    pub(super) text: &'a str,
}

impl<'de> Argument<'de> {
    fn parse<T>(
        &self,
        read: impl FnOnce(&mut serde_json::Deserializer<StrRead<'de>>) -> serde_json::Result<T>,
    ) -> Result<T, Mismatch> {
        let mut json = serde_json::Deserializer::from_str(self.text);
        let value = read(&mut json).and_then(|value| json.end().map(|()| value));
        value.map_err(|error| {
            let by_place = self.name.bytes().all(|byte| byte.is_ascii_digit());
            let quote = if by_place { "" } else { "'" };
            Mismatch::Value(format!("{quote}{}{quote}", self.name), error.to_string())
        })
    }
}

/// Answers serde's questions from the arguments.
pub(super) struct Binder<'a>(pub(super) &'a Arguments<'a>);

/// A type that takes one value: its question goes on to the one argument.
macro_rules! one_value {
    ($($method:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            self.only()?.parse(|json| json.$method(visitor))
        }
    )*};
}

impl<'de> Binder<'de> {
    fn only(&self) -> Result<Argument<'de>, Mismatch> {
        let mut given = self.0.exactly(1)?;
        given.pop().ok_or(Mismatch::Count { takes: 1 })
    }
}

impl<'de> Deserializer<'de> for Binder<'de> {
    type Error = Mismatch;

    one_value! {
        deserialize_any deserialize_bool deserialize_char deserialize_str deserialize_string
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_i128
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64 deserialize_u128
        deserialize_f32 deserialize_f64 deserialize_bytes deserialize_byte_buf
        deserialize_identifier
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_map(Given::new(self.0.by_field(fields)?))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_map(Given::new(self.0.by_name()?))
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_seq(Given::new(self.0.exactly(length)?))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_seq(Given::new(self.0.by_position()?))
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        self.0.exactly(0)?;
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        if self.0.is_empty() {
            visitor.visit_none()
        } else {
            visitor.visit_some(self)
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.only()?
            .parse(|json| json.deserialize_enum(name, variants, visitor))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }
}

/// Bound arguments, handed over one by one.
struct Given<'a> {
    rest: IntoIter<Argument<'a>>,
    value: Option<Argument<'a>>,
}

impl<'a> Given<'a> {
    fn new(arguments: Vec<Argument<'a>>) -> Self {
        Self {
            rest: arguments.into_iter(),
            value: None,
        }
    }
}

impl<'de> SeqAccess<'de> for Given<'de> {
    type Error = Mismatch;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mismatch> {
        let next = self.rest.next();
        next.map(|argument| argument.parse(|json| seed.deserialize(json)))
            .transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}

impl<'de> MapAccess<'de> for Given<'de> {
    type Error = Mismatch;

    fn next_key_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Mismatch> {
        let Some(argument) = self.rest.next() else {
            return Ok(None);
        };
        let name = argument.name.clone().into_deserializer();
        self.value = Some(argument);
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Mismatch> {
        match self.value.take() {
            Some(argument) => argument.parse(|json| seed.deserialize(json)),
            None => Err(Mismatch::Other(
                "a value was asked for before its name".to_owned(),
            )),
        }
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.rest.len())
    }
}
