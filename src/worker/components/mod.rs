//! The steps of the Worker blueprint, one per file: Hub, Producer, Clerk, Pool, Consumer.

mod clerk;
mod consumer;
mod hub;
pub(super) mod pool;
mod producer;

use super::Worker;
use crate::boot::{Blueprint, BlueprintError};

/// The Worker blueprint.
pub(super) fn blueprint() -> Result<Blueprint<Worker>, BlueprintError> {
    Blueprint::new(
        "Worker",
        vec![
            Box::new(hub::Hub),
            Box::new(producer::Producer::default()),
            Box::new(clerk::Clerk::default()),
            Box::new(pool::Pool),
            Box::new(consumer::Consumer),
        ],
    )
}
