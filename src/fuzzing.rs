//! Bodies of the fuzz targets.
pub use crate::amqp::fuzz::{fuzz_differential, fuzz_frame_decoder, fuzz_method, fuzz_table};
pub use crate::boot::fuzz_blueprint;
pub use crate::broker::fuzz_broker;
pub use crate::hub::fuzz::{TimerOperation, check_timer, fuzz_timer_wheel};
pub use crate::link::fuzz_broker_url;
pub use crate::message::event::fuzz_event;
pub use crate::message::fuzz::fuzz_child_record;
pub use crate::message::fuzz::fuzz_json;
pub use crate::message::fuzz::fuzz_task_message;
pub use crate::message::pidbox::fuzz_pidbox;
#[cfg(target_os = "linux")]
pub use crate::pool::fuzz::fuzz_scheduler;
pub use crate::worker::http::fuzz_http_request;

/// A client's connection under any octets and timing; the time it starts at does not matter.
pub fn fuzz_connection(data: &[u8]) {
    crate::amqp::fuzz::fuzz_connection(data, crate::sys::clock::now());
}
