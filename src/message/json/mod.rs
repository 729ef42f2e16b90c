//! JSON as Python writes and reads it.
//!
//! Celery's bodies are what `json.dumps` makes of them: `NaN` and `Infinity` as bare words,
//! integers of any size, halves of surrogate pairs, keys more than once. A strict parser would
//! lose such tasks, although the Python child they are meant for reads them. So main never decodes
//! a body: a [`Scanner`] finds where its values are and hands out slices ([`Raw`]), and remembers
//! the first token that a strict reader refuses ([`Oddity`]), for a native task to name in its
//! failure.
//!
//! The other way, [`to_string`] and [`push_string`] write the very octets `json.dumps` would:
//! `, ` and `: ` between things and nothing but ASCII; and [`repr`] renders a value as Celery's
//! `saferepr` does, for logs and events.
//!
//! Nothing here recurses with the depth of its input.

mod nesting;
mod object;
mod python;
pub(in crate::message) mod raw;
mod repr;
mod scan;
mod write;

pub use object::{Field, Object, list};
pub use python::{python_quoted, python_repr, python_str};
pub use raw::{Elements, Kind, Members, Raw};
pub use repr::{REPR_LENGTH, repr, repr_str, repr_tuple};
pub use scan::{JsonError, MAX_DEPTH, Oddity, OddityKind, Problem, Scanner};
pub use write::{push_string, push_utf8, python_float, to_string};

#[cfg(test)]
mod tests;
