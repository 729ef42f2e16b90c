//! Bodies of the fuzz targets.
pub use crate::link::fuzz_broker_url;
