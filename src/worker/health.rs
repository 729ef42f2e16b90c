//! Whether the worker lives, and whether it takes tasks: what probes are told, which is the truth.
//!
//! *Live* is what a restart would mend: the loop turns (or nobody would answer), and there is a child that could work,
//! or is at least about to be made. A broker that is away is no reason to restart. *Ready* is what work depends on:
//! the broker is there and answers, every queue is consumed, and the worker does not leave.
//!
//! A broker may go without a word. So once somebody may ask, it is asked a question of a few octets now and then, and
//! one that does not answer soon counts as gone, long before its heartbeats are missed.

use std::fs::File;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use super::Worker;
use super::consumer::subscription::Purpose;
use super::shutdown::Phase;
use crate::hub::{Hub, TimerKey};
use crate::pool::{ChildInfo, Pool};
use crate::sys::{clock, process};

/// How often the broker is asked.
const PULSE: Duration = Duration::from_secs(3);
/// How long it may take to answer.
const PATIENCE: Duration = Duration::from_secs(6);
/// How often the heartbeat file is touched.
const TOUCH: Duration = Duration::from_secs(1);
/// So many children in a row that have ended before any had done work: the pool is in trouble.
const FAILED_STARTS: u32 = 5;

/// What is kept between two questions.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// The broker was asked then, and has said nothing since.
    asked: Option<Instant>,
    timers: Vec<TimerKey>,
}

impl Health {
    /// The broker has said something.
    pub(super) fn heard(&mut self) {
        self.asked = None;
    }
}

impl Worker {
    /// Begins to keep account of the broker, and to touch the heartbeat file if there is one.
    pub(super) fn start_health(&mut self, hub: &mut Hub<Self>) -> io::Result<()> {
        let monitoring = &self.settings.monitoring;
        if monitoring.http.is_some() || monitoring.heartbeat_file.is_some() {
            let pulse = hub.call_repeatedly(PULSE, |worker: &mut Self, hub: &mut Hub<Self>| {
                worker.ask_broker(hub.now());
            });
            self.health.timers.push(pulse);
        }
        if let Some(path) = &monitoring.heartbeat_file {
            touch(path)?;
            let timer = hub.call_repeatedly(TOUCH, |worker: &mut Self, _: &mut Hub<Self>| {
                worker.touch_heartbeat();
            });
            self.health.timers.push(timer);
        }
        Ok(())
    }

    pub(super) fn stop_health(&mut self, hub: &mut Hub<Self>) {
        for timer in self.health.timers.drain(..) {
            hub.cancel(timer);
        }
        if let Some(path) = &self.settings.monitoring.heartbeat_file {
            let _ = std::fs::remove_file(path); // somebody else may have
        }
    }

    /// A file that is not touched for a while is a worker in trouble, to those who can look at files only.
    fn touch_heartbeat(&mut self) {
        if let (Ok(()), Some(path)) = (self.live(), &self.settings.monitoring.heartbeat_file)
            && let Err(error) = touch(path)
        {
            log::error!("heartbeat file {}: {error}", path.display());
        }
    }

    fn ask_broker(&mut self, now: Instant) {
        let subscriptions = &mut self.consumer.subscriptions;
        let purpose = match subscriptions.of(Purpose::Control).is_consuming() {
            true => Purpose::Control,
            false => Purpose::Tasks,
        };
        if self.health.asked.is_none()
            && let Some(connection) = self.consumer.link.connection()
            && subscriptions.of(purpose).ask(connection)
        {
            self.health.asked = Some(now);
        }
    }

    /// Whether the worker lives; if not, why.
    pub(super) fn live(&self) -> Result<(), String> {
        let Some(pool) = &self.pool.pool else {
            return Ok(()); // it starts
        };
        if self.shutdown.phase() != Phase::Running || pool.stats().concurrency == 0 {
            return Ok(());
        }
        let (failed, trouble) = (pool.stats().failed_starts, FAILED_STARTS);
        // While children do not live long, one that is there proves nothing before it has had work.
        let proven = |child: &ChildInfo| failed < trouble || child.writes > 0;
        if usable(pool).any(|child| proven(&child)) {
            return Ok(());
        }
        let there = pool.children().filter(|child| child.pid.is_some()).count();
        match there {
            _ if failed >= trouble => Err(format!(
                "pool: {failed} children in a row have ended at once"
            )),
            // Between two children there may be none for a moment; while none fails that is no trouble.
            0 => Ok(()),
            _ => Err(format!(
                "pool: none of {there} children runs: all are stopped"
            )),
        }
    }

    /// Whether the worker takes tasks; if not, why.
    pub(super) fn ready(&self) -> Result<(), String> {
        let now = clock::now();
        if self.shutdown.phase() != Phase::Running || self.tasks.closing {
            return Err("it is shutting down".to_owned());
        }
        if !self.consumer.link.is_up() {
            return Err("there is no connection to the broker".to_owned());
        }
        if !self.consumer.subscriptions.consume_tasks() {
            return Err("the queues are not consumed".to_owned());
        }
        match self.health.asked {
            Some(asked) if now >= asked + PATIENCE => {
                let silence = now.saturating_duration_since(asked).as_secs();
                Err(format!("the broker has not answered for {silence} s"))
            }
            _ => self.live(),
        }
    }
}

/// The children that could work.
fn usable(pool: &Pool) -> impl Iterator<Item = ChildInfo> {
    pool.children().filter(|child| {
        child
            .pid
            .is_some_and(|pid| !process::is_stopped(pid).unwrap_or(true))
    })
}

fn touch(path: &Path) -> io::Result<()> {
    let file = File::options().create(true).append(true).open(path)?;
    file.set_modified(clock::wall())
}
