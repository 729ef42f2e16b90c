//! A Python app's zygote that was lost gets a successor, while children and their tasks go on.
//!
//! The interpreter imports the app once more, which takes what it takes; main watches for its report meanwhile. An
//! interpreter that hangs is ended, and one that fails is tried again, ever more slowly, but not for ever: a worker
//! that cannot replace a child any more would shrink unseen, so it ends.

use std::time::{Duration, Instant};

use super::Worker;
use crate::hub::{Hub, Interest, Mode, Next, TimerKey};
use crate::pool::python::{Answer, Host, StartError, Starting};
use crate::sys::process::{Exit, Pid};
use crate::sys::signal::{self, Signal};
use crate::util::backoff::Backoff;

/// How long an interpreter may take to read the app.
const PATIENCE: Duration = Duration::from_secs(300);

/// The pause before the second attempt, how much longer each further one is, and the longest.
const PAUSES: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(4),
    Duration::from_secs(30),
];

/// How often it is tried.
const ATTEMPTS: u32 = 6;

/// A zygote that has lived so long was well.
const SOUND_AGE: Duration = Duration::from_secs(60);

/// What a lost zygote is replaced by.
#[derive(Debug)]
pub(super) struct Successor {
    starting: Option<Starting>,
    /// The one before it is still there: it is wanted for what has changed in the app since.
    reloads: bool,
    /// When the interpreter that is starting is given up, or when the next is to be started.
    alarm: Option<TimerKey>,
    attempts: u32,
    pauses: Backoff,
    /// When the zygote of now took over.
    since: Option<Instant>,
    /// The zygote has ended before the pool could know of it.
    ended: Option<Exit>,
}

impl Default for Successor {
    fn default() -> Self {
        let [first, step, cap] = PAUSES;
        Self {
            starting: None,
            reloads: false,
            alarm: None,
            attempts: 0,
            pauses: Backoff::new(first, step, cap),
            since: None,
            ended: None,
        }
    }
}

impl Successor {
    /// Whether there will be a zygote again.
    pub(super) fn is_expected(&self) -> bool {
        self.starting.is_some() || self.alarm.is_some()
    }
}

impl Worker {
    /// Reads the app anew, and then has every child replaced.
    pub(super) fn reload_zygote(&mut self, hub: &mut Hub<Self>) {
        if self.settings.host.is_none() || self.successor.starting.is_some() {
            return; // one is on its way, and will have read the latest
        }
        self.successor.reloads = true;
        self.begin_zygote(hub);
    }

    /// Has another child take the place of each, once its task has ended.
    pub(super) fn replace_children(&mut self, hub: &mut Hub<Self>) {
        let Some(pool) = &mut self.pool.pool else {
            return;
        };
        let names: Vec<_> = pool.children().map(|child| child.name).collect();
        for name in names {
            pool.replace_child(name, hub.now());
        }
        self.handle_pool_events(hub);
    }

    /// The zygote has ended.
    pub(super) fn replace_zygote(&mut self, exit: Exit, hub: &mut Hub<Self>) {
        if self.tasks.closing {
            return; // no child will be wanted any more
        }
        if self.settings.host.is_none() {
            log::error!(
                target: super::CRITICAL,
                "pool: the zygote exited with '{exit}': no child can be replaced. Shutting down..."
            );
            return self.leave(1, hub);
        }
        log::error!("pool: the zygote exited with '{exit}': starting another...");
        if self.successor.starting.is_some() {
            return; // for a reload
        }
        let sound = |since| hub.now().saturating_duration_since(since) >= SOUND_AGE;
        if self.successor.since.is_none_or(sound) {
            self.successor = Successor::default();
        }
        match self.successor.attempts {
            0 => self.begin_zygote(hub), // at once: children may be wanted
            _ => self.no_zygote("it has not lasted", hub),
        }
    }

    fn begin_zygote(&mut self, hub: &mut Hub<Self>) {
        if self.tasks.closing || self.successor.starting.is_some() {
            return;
        }
        self.successor.attempts += 1;
        let host = self.settings.host.clone();
        let begun = host.map(|host| self.start_interpreter(&host, hub));
        if let Some(Err(error)) = begun {
            self.no_zygote(&error.to_string(), hub);
        }
    }

    fn start_interpreter(&mut self, host: &Host, hub: &mut Hub<Self>) -> Result<(), StartError> {
        let starting = Starting::begin(host)?;
        let watched = hub.add(
            starting.answer(),
            Interest::READ,
            Mode::Drain,
            |worker, hub, _| worker.hear_successor(hub),
        );
        watched.map_err(StartError::System)?;
        self.successor.starting = Some(starting);
        let overdue = hub.call_after(PATIENCE, |worker, hub| worker.give_up_successor(hub));
        self.successor.alarm = Some(overdue);
        Ok(())
    }

    /// The interpreter takes too long. Its end, or that of its report, is heard of as any.
    fn give_up_successor(&mut self, _hub: &mut Hub<Self>) {
        self.successor.alarm = None;
        if let Some(starting) = &self.successor.starting {
            log::error!("pool: the app's interpreter takes longer than {PATIENCE:?} to start");
            let _ = signal::kill(starting.pid(), Signal::SIGKILL);
        }
    }

    fn hear_successor(&mut self, hub: &mut Hub<Self>) -> Next {
        let Some(starting) = &mut self.successor.starting else {
            return Next::Remove;
        };
        match starting.read() {
            Ok(Answer::Awaited) => Next::Wait,
            Ok(Answer::Some) => Next::Again,
            Ok(Answer::Complete) | Err(_) => {
                self.take_successor(hub);
                Next::Remove
            }
        }
    }

    fn take_successor(&mut self, hub: &mut Hub<Self>) {
        if let Some(alarm) = self.successor.alarm.take() {
            hub.cancel(alarm);
        }
        let finished = self.successor.starting.take().map(Starting::finish);
        match (finished, self.pool.pool.as_mut()) {
            (Some(Ok(_)), Some(_)) if self.successor.ended.is_some() => {
                let exit = self.successor.ended.take();
                let shown = exit.map_or_else(String::new, |exit| exit.to_string());
                self.no_zygote(&format!("the next zygote exited with '{shown}'"), hub);
            }
            (Some(Ok((zygote, _))), Some(pool)) => {
                log::info!("pool: another zygote has taken over");
                self.successor.since = Some(hub.now());
                pool.replace_zygote(zygote, hub.now());
                self.handle_pool_events(hub);
                if std::mem::take(&mut self.successor.reloads) {
                    self.replace_children(hub);
                }
            }
            (Some(Err(error)), _) => {
                self.successor.ended = None;
                self.no_zygote(&error.to_string(), hub);
            }
            _ => {}
        }
    }

    /// A process was reaped that is not the pool's. Whether it was a zygote that the pool does not have yet.
    pub(super) fn handle_zygote_exit(&mut self, pid: Pid, exit: Exit) -> bool {
        let first = self.zygote.as_ref().map(|zygote| zygote.pid());
        let next = self.successor.starting.as_ref().map(Starting::pid);
        let ours = [first, next].contains(&Some(pid));
        if ours {
            self.successor.ended = Some(exit);
        }
        ours
    }

    /// Why the first zygote is of no use, if that is known by now.
    pub(super) fn first_zygote_ended(&self) -> Option<Exit> {
        self.successor.ended
    }

    fn no_zygote(&mut self, reason: &str, hub: &mut Hub<Self>) {
        if self.tasks.closing {
            return;
        }
        let pool = self.pool.pool.as_ref();
        if std::mem::take(&mut self.successor.reloads)
            && pool.is_some_and(|it| it.zygote().is_some())
        {
            log::error!("pool: {reason}: children stay as they are");
            return;
        }
        if self.successor.attempts < ATTEMPTS {
            log::error!("pool: {reason}: no child can be replaced for now. Trying again...");
            return self.begin_later(hub);
        }
        log::error!(
            target: super::CRITICAL,
            "pool: {reason}: no child can be replaced. Shutting down..."
        );
        self.leave(1, hub);
    }

    fn begin_later(&mut self, hub: &mut Hub<Self>) {
        let pause = self.successor.pauses.next_delay();
        let alarm = hub.call_after(pause, |worker, hub| {
            worker.successor.alarm = None;
            worker.begin_zygote(hub);
        });
        self.successor.alarm = Some(alarm);
    }
}
