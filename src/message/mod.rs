//! What travels: task messages, their results, and the records between main and its children.
//!
//! Everything here is pure: octets in, values out. No socket, no clock, no thread.
//!
//! - [`json`]: Python's JSON dialect, scanned rather than decoded.

mod base64;
pub mod headers;
pub mod json;
pub mod moment;
pub mod properties;
pub mod record;
