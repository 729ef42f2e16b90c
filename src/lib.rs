//! celeriac: the Celery worker, rebuilt in Rust.
#![cfg_attr(not(test), warn(clippy::unwrap_used))]

pub mod amqp;
pub mod app;
pub mod boot;
pub mod broker;
pub mod cli;
pub mod hub;
pub mod link;
pub mod manual;
pub mod message;
#[cfg(target_os = "linux")]
pub mod pool;
pub mod sys;
pub mod util;
pub mod worker;

/// Bodies of the fuzz targets, one per target; ordinary code so that `cargo test` replays the seeds.
#[doc(hidden)]
pub mod fuzzing;
