//! The steps of the Worker blueprint, one per file: Hub, Producer, Clerk, StateDB, Health, Pool,
//! Autoscaler, Consumer.

mod autoscaler;
mod clerk;
mod consumer;
mod health;
mod hub;
pub(super) mod pool;
mod producer;
mod state_db;

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
            Box::new(state_db::StateDb),
            Box::new(health::Health),
            Box::new(pool::Pool),
            Box::new(autoscaler::Autoscaler::default()),
            Box::new(consumer::Consumer),
        ],
    )
}
