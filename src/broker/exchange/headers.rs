//! Headers: a message goes where the arguments of a binding match its headers.
//!
//! `x-match` says whether `all` (the default) or `any` of the arguments must match; `all-with-x` and
//! `any-with-x` count arguments whose name starts with `x-` as well. An argument of type void matches
//! whenever the header is there.

use super::{Binding, Destination, add, take};
use crate::amqp::table::{Table, Value};
use crate::amqp::{Properties, ShortStr};

/// All bindings.
#[derive(Debug, Default)]
pub(super) struct Headers {
    list: Vec<Binding>,
}

impl Headers {
    pub(super) fn bind(&mut self, binding: Binding) -> bool {
        add(&mut self.list, binding)
    }

    pub(super) fn unbind(&mut self, binding: &Binding) -> bool {
        take(&mut self.list, binding)
    }

    pub(super) fn route(&self, property_list: &[u8], found: &mut Vec<Destination>) {
        let properties = Properties::decode(property_list).unwrap_or_default();
        let headers = properties.headers.unwrap_or_default();
        let matching = self
            .list
            .iter()
            .filter(|binding| matches(Table::from_bytes(&binding.arguments), headers));
        found.extend(matching.map(|binding| binding.destination));
    }

    pub(super) fn all(&self) -> Vec<Binding> {
        self.list.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}

/// Whether the arguments of a binding match the headers of a message. Both were checked when they
/// arrived.
fn matches(arguments: Table<'_>, headers: Table<'_>) -> bool {
    let mode = match arguments.find("x-match") {
        Ok(Some(Value::LongStr(mode))) => mode,
        _ => b"all",
    };
    let any = mode.starts_with(b"any");
    let with_x = mode.ends_with(b"-with-x");
    let mut wanted = arguments
        .iter()
        .flatten()
        .filter(|(name, _)| *name != "x-match" && (with_x || !name.as_bytes().starts_with(b"x-")));
    let fits = |value: Value<'_>, actual: Value<'_>| match (value.as_i64(), actual.as_i64()) {
        (Some(one), Some(other)) => one == other,
        _ => value == Value::Void || value == actual,
    };
    let mut has = |(name, value): (ShortStr<'_>, Value<'_>)| {
        headers
            .iter()
            .flatten()
            .any(|(other, actual)| other == name && fits(value, actual))
    };
    if any {
        wanted.any(&mut has)
    } else {
        wanted.all(&mut has)
    }
}
