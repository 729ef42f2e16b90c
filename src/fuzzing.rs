//! Bodies of the fuzz targets.
pub use crate::boot::fuzz_blueprint;
pub use crate::link::fuzz_broker_url;
#[cfg(target_os = "linux")]
pub use crate::pool::fuzz::fuzz_scheduler;
