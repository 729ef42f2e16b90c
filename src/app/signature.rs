//! What a struct of arguments cannot do without.
//!
//! Python names every missing argument at once, while serde stops at the first. So when a call does not fit, and only
//! then, the type is asked again with stand-ins for its values, until it misses nothing.

use serde::Deserializer;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{self, DeserializeOwned, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::binder::Mismatch;

/// The parameters of a function that takes a struct.
#[derive(Debug, PartialEq)]
pub(super) struct Signature {
    /// Every field, in the order of its place.
    pub(super) fields: &'static [&'static str],
    /// The fields without a default, in the same order.
    pub(super) required: Vec<&'static str>,
}

/// The signature of `A`; `None` when it is no struct, or refuses every stand-in.
pub(super) fn of<A: DeserializeOwned>() -> Option<Signature> {
    [StandIn::Null, StandIn::Zero, StandIn::Empty]
        .into_iter()
        .find_map(signature_with::<A>)
}

fn signature_with<A: DeserializeOwned>(stand_in: StandIn) -> Option<Signature> {
    let mut signature = Signature {
        fields: &[],
        required: Vec::new(),
    };
    loop {
        match A::deserialize(Probe(&mut signature, stand_in)) {
            Ok(_) => return Some(signature),
            Err(Mismatch::Missing(field)) if !signature.required.contains(&field) => {
                signature.required.push(field);
            }
            Err(_) => return None,
        }
    }
}

/// Notes the fields, and gives those already known to be required a stand-in.
struct Probe<'a>(&'a mut Signature, StandIn);

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Mismatch;

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.0.fields = fields;
        let given = self.0.required.iter().map(|field| (*field, self.1));
        visitor.visit_map(MapDeserializer::new(given))
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_some(self)
    }

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Mismatch> {
        Err(de::Error::custom("no struct"))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// The emptiest value of whatever type is asked for. A field that takes any type gets the one named here.
#[derive(Clone, Copy)]
enum StandIn {
    Null,
    Zero,
    Empty,
}

impl IntoDeserializer<'_, Mismatch> for StandIn {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

/// Kinds of values whose stand-in is a constant.
macro_rules! stand_ins {
    ($($method:ident => $visit:ident($value:expr),)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
            visitor.$visit($value)
        }
    )*};
}

impl<'de> Deserializer<'de> for StandIn {
    type Error = Mismatch;

    stand_ins! {
        deserialize_bool => visit_bool(false),
        deserialize_i8 => visit_u8(0),
        deserialize_i16 => visit_u8(0),
        deserialize_i32 => visit_u8(0),
        deserialize_i64 => visit_u8(0),
        deserialize_i128 => visit_u8(0),
        deserialize_u8 => visit_u8(0),
        deserialize_u16 => visit_u8(0),
        deserialize_u32 => visit_u8(0),
        deserialize_u64 => visit_u8(0),
        deserialize_u128 => visit_u8(0),
        deserialize_f32 => visit_f32(0.0),
        deserialize_f64 => visit_f64(0.0),
        deserialize_char => visit_char('0'),
        deserialize_str => visit_borrowed_str(""),
        deserialize_string => visit_borrowed_str(""),
        deserialize_identifier => visit_borrowed_str(""),
        deserialize_bytes => visit_borrowed_bytes(b""),
        deserialize_byte_buf => visit_borrowed_bytes(b""),
        deserialize_seq => visit_seq(SeqDeserializer::new(std::iter::empty::<Self>())),
        deserialize_map => visit_map(MapDeserializer::new(std::iter::empty::<(&str, Self)>())),
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        match self {
            Self::Null => visitor.visit_unit(),
            Self::Zero => visitor.visit_u8(0),
            Self::Empty => visitor.visit_borrowed_str(""),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mismatch> {
        visitor.visit_none()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_seq(SeqDeserializer::new(std::iter::repeat_n(self, length)))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        let all = fields.iter().map(|field| (*field, self));
        visitor.visit_map(MapDeserializer::new(all))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        // A variant with contents refuses this; a stand-in for those could be endless.
        visitor.visit_enum(IntoDeserializer::<Mismatch>::into_deserializer(
            variants.first().copied().unwrap_or(""),
        ))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mismatch> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { ignored_any }
}
