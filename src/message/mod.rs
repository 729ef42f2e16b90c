//! What travels: task messages, their results, and the records between main and its children.
//!
//! Everything here is pure: octets in, values out. No socket, no clock, no thread.
//!
//! - [`task`]: a received message, whatever its protocol, and why one cannot be run;
//! - [`signature`]: a call becomes a message, and a message the same again for a retry;
//! - [`canvas`]: what is to follow a task, and becomes messages when it has ended;
//! - [`result`]: results as clients read them;
//! - [`event`]: what workers tell monitors;
//! - [`pidbox`]: remote control, requests and replies;
//! - [`channels`]: where those two go;
//! - [`headers`]: header tables as JSON text, and back;
//! - [`body`]: the arguments in a message's body, found but not decoded;
//! - [`record`]: the pipe between main and a child;
//! - [`moment`]: dates and times in headers and results;
//! - [`properties`]: message properties outside a frame;
//! - [`json`]: Python's JSON dialect, which all of these speak.

pub(crate) mod base64;
pub mod body;
pub mod canvas;
pub mod channels;
pub mod event;
#[doc(hidden)]
pub mod fuzz;
pub mod headers;
pub mod json;
pub mod moment;
pub mod pidbox;
pub mod properties;
pub mod record;
pub mod result;
pub mod signature;
pub mod task;
