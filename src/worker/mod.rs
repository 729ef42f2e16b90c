//! The worker's main process: it takes tasks from the broker, has children run them, and tells the broker and the
//! caller what became of each.
//!
//! ```text
//! consumer ──delivery──▶ tasks ──job──▶ pool ──finish──▶ tasks ──result──▶ producer
//!     ▲                                                    │                   │
//!     └────────────────── acks ◀── settled once ───────────┴──── confirmed ◀───┘
//! ```
//!
//! [`Worker`] is the one value that the [`Hub`] lends to every handler, and each of its parts is the one owner
//! of its state. Assembly and order of start and stop are those of Celery: two blueprints of steps,
//! `components` (Hub, Producer, Clerk, StateDB, Pool, Consumer) and `consumer` (Connection, Events, Mingle, Tasks,
//! Control, Gossip, Heart, event loop).
//!
//! | file | holds |
//! |---|---|
//! | `settings`, `options`, `registry`, `node_name` | what a worker is told |
//! | `context` | [`Worker`]: the wiring of its parts, signals, what happens once per turn |
//! | `components`, `consumer` | the steps |
//! | `receive`, `foreign` | from a delivery to a job; what only Python can read |
//! | `held` | tasks that wait for their time |
//! | `tasks`, `request` | every request from its delivery to its settlement |
//! | `ends` | ends that no child tells of: it is gone, or main has ended the task |
//! | `limits`, `rate`, `revoked`, `losses` | what keeps a task from beginning, or from going on |
//! | `statedb` | what of that survives the worker |
//! | `task_event` | what has happened to tasks, for the worker's events |
//! | `patience` | how long an answer of the broker is waited for |
//! | `acks` | what the broker is still to be told about its deliveries |
//! | `recall`, `redelivery`, `overdue` | what the broker delivers again, and what is handed back before it closes the channel |
//! | `producer`, `publication`, `outbox`, `results` | what leaves, until the broker has it |
//! | `control` | remote control: the node's mailbox, the commands |
//! | `events`, `notices` | what monitors are told, and what may be lost |
//! | `health`, `http`, `metrics` | what probes and scrapers are told |
//! | `books` | what the clerk of a Python app is told, and what waits for its answer |
//! | `successor` | a new zygote for a Python app, when the first is lost |
//! | `refusals` | the log's words for messages that cannot be run |
//! | `gather` | how long what is to be told to the broker is gathered |
//! | `shutdown`, `leaving` | what signals ask for, and how it is done |
//! | `memory`, `autoscale` | children that use too much; how many there are |
//! | `log_line` | lines about a task, which carry its id |
//! | `wiring` | which file and which deadline of a part the Hub has |
//! | `extensions` | what a user's steps keep |

pub mod acks;
mod autoscale;
mod books;
mod components;
mod consumer;
mod context;
pub mod control;
mod ends;
mod events;
mod extensions;
mod foreign;
mod gather;
mod health;
mod held;
pub mod http;
mod leaving;
mod limits;
mod log_line;
mod losses;
mod memory;
mod metrics;
pub mod node_name;
mod notices;
mod options;
pub mod outbox;
mod overdue;
mod patience;
mod producer;
mod publication;
mod rate;
mod recall;
mod receive;
mod redelivery;
mod refusals;
mod registry;
mod request;
mod results;
mod revoked;
mod settings;
pub mod shutdown;
mod statedb;
mod successor;
mod task_event;
mod tasks;
mod wiring;

use std::fmt;
use std::io::{self, Write as _};

use consumer::wishes::REOPEN_PAUSE;

use crate::boot::BlueprintError;
use crate::hub::Hub;
use crate::pool::zygote::Zygote;
use crate::sys::{clock, process};

pub use autoscale::{Autoscale, KEEPALIVE};
pub use context::Worker;
pub use events::gossip::{Change, Gossip, Listener};
pub use extensions::Extensions;
pub use limits::Limits;
pub use log_line::{DUMP, OfTask};
pub use options::TaskOptions;
pub use rate::{InvalidRate, Rate};
pub use refusals::{CRITICAL, RefusalPolicy};
pub use registry::Registry;
pub use request::{Cause, Request, State};
pub use revoked::{REVOKE_EXPIRES, REVOKES_MAX, Revoked};
pub use settings::{
    Binding, BrokerSettings, Exchange, LifeSettings, Monitoring, Queue, ResultBackend, Settings,
};
pub use statedb::{Shelve, StateDb, StateDbError};
pub use task_event::{TaskEvent, TaskEvents, What};
pub use tasks::Tasks;

/// How a worker has left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// The exit status.
    pub status: u8,
    /// The program is to be executed anew (HUP).
    pub restart: bool,
}

/// Runs a worker until it is told to stop.
///
/// `zygote` was started before anything else, by [`native::start`](crate::pool::native::start).
///
/// # Errors
/// When the event loop cannot be had, or does not go on.
pub fn run(settings: Settings, registry: Registry, zygote: Zygote) -> Result<Left, RunError> {
    let mut hub = Hub::new()?;
    let seed = u64::from(process::current().raw().unsigned_abs()) ^ nanoseconds();
    let mut worker = Worker::new(settings, registry, zygote, seed, hub.now())?;
    hub.before_poll(Worker::before_poll);
    worker.blueprint.start();
    hub.call_soon(Worker::advance);
    hub.run(&mut worker)?;
    Ok(Left {
        status: worker.shutdown.exit_code(),
        restart: worker.shutdown.restarts(),
    })
}

fn nanoseconds() -> u64 {
    let wall = clock::wall().duration_since(std::time::UNIX_EPOCH);
    wall.map_or(0, |since| u64::from(since.subsec_nanos()))
}

/// Says something to the person at the terminal, as Celery does on signals. A closed terminal is no reason to stop.
fn say(line: &str) {
    let mut stdout = io::stdout().lock();
    let _ = write!(stdout, "\n{line}\n").and_then(|()| stdout.flush());
}

/// Why a worker could not run.
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError {
    /// The kernel refused something that the event loop needs.
    Io(io::Error),
    /// The steps do not fit together.
    Blueprint(BlueprintError),
}

impl fmt::Display for RunError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => write!(f, "event loop: {error}"),
            Self::Blueprint(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for RunError {}

impl From<io::Error> for RunError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl From<BlueprintError> for RunError {
    fn from(error: BlueprintError) -> Self {
        Self::Blueprint(error)
    }
}
