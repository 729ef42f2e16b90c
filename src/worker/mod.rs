//! The worker.

pub mod acks;
pub mod node_name;
pub mod outbox;
pub mod registry;
pub mod shutdown;
