//! Starting and stopping a program made of parts that depend on each other.
//!
//! A [`Step`] is one part; a [`Blueprint`] is a set of them, ordered so that each starts after what
//! it requires. Both are Celery's ideas and words; the behaviour is Celery's with its defects fixed:
//!
//! - The order is a function of the list: as listed, wherever the requirements allow. Unknown,
//!   repeated and circular names are errors when the blueprint is made.
//! - Nothing here waits. A step that needs time answers [`Progress::Pending`] and is asked again
//!   each time its owner calls [`advance`].
//! - A step that cannot start takes down, in reverse, what had started before it.
//! - A blueprint can be stopped at any moment, half started too. Each step whose start answered
//!   `Ok` is stopped exactly once.
//!
//! The blueprint lives in the context that its steps change, which is why `advance` is a function
//! that is told where to find it:
//!
//! ```
//! use celeriac::boot::{self, Blueprint, Progress, State, Step, StepError};
//! use celeriac::hub::Hub;
//!
//! struct Worker {
//!     blueprint: Blueprint<Worker>,
//!     lamp: bool,
//! }
//!
//! struct Lamp;
//!
//! impl Step<Worker> for Lamp {
//!     fn name(&self) -> &'static str {
//!         "Lamp"
//!     }
//!     fn start(&mut self, worker: &mut Worker, _: &mut Hub<Worker>) -> Result<Progress, StepError> {
//!         worker.lamp = true;
//!         Ok(Progress::Done)
//!     }
//!     fn stop(&mut self, worker: &mut Worker, _: &mut Hub<Worker>) -> Result<Progress, StepError> {
//!         worker.lamp = false;
//!         Ok(Progress::Done)
//!     }
//! }
//!
//! let blueprint = Blueprint::new("Worker", vec![Box::new(Lamp)])?;
//! let mut worker = Worker { blueprint, lamp: false };
//! let mut hub = Hub::new()?;
//!
//! worker.blueprint.start(); // a wish; `advance` does what can be done now
//! assert_eq!(boot::advance(&mut worker, &mut hub, |worker| &mut worker.blueprint)?, State::Running);
//! assert!(worker.lamp);
//!
//! worker.blueprint.stop();
//! assert_eq!(boot::advance(&mut worker, &mut hub, |worker| &mut worker.blueprint)?, State::Stopped);
//! assert!(!worker.lamp);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod blueprint;
mod fuzz;
mod graph;
mod step;
#[cfg(test)]
mod tests;

pub use blueprint::{Blueprint, StartError, State, advance};
#[doc(hidden)]
pub use fuzz::fuzz_blueprint;
pub use graph::{BlueprintError, Graph, Node};
pub use step::{Progress, Step, StepError};
