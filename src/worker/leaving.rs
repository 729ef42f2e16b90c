//! What signals have the worker do, and what it says while it leaves.

use std::fmt::Write as _;
use std::time::Duration;

use super::Worker;
use super::log_line;
use super::request::{Request, State};
use super::settings::ResultBackend;
use super::shutdown::{Order, Phase};
use crate::hub::Hub;
use crate::sys::process::{self, Pid};
use crate::sys::signal::{self, Signal};

/// How often a worker that leaves says what it waits for.
const REMINDER: Duration = Duration::from_secs(10);

/// How long a worker whose time is up may take for its children to end and its broker to answer.
const LAST_MOMENT: Duration = Duration::from_millis(1800);

/// How many tasks one such line names.
const NAMED: usize = 5;

/// The real-time signal, counted from the first, that has a Python child write its stack to stderr. (`SIGUSR1` is the
/// soft time limit there.)
const DUMP: i32 = 1;

impl Worker {
    /// One of the signals that main listens to.
    pub(super) fn handle_signal(&mut self, signal: Signal, hub: &mut Hub<Self>) {
        match signal {
            Signal::SIGCHLD => return self.reap(hub),
            Signal::SIGUSR1 => return self.dump(hub),
            _ => {}
        }
        let running = |request: &Request| matches!(request.state, State::Running { .. });
        let patient = !self.settings.life.soft_shutdown_timeout.is_zero()
            && self.tasks.requests().any(running);
        let order = self.shutdown.handle(signal, patient);
        if signal == Signal::SIGHUP && order.enter.is_some() {
            let line: Vec<String> = std::env::args().collect();
            super::say(&format!("Restarting celery worker ({})", line.join(" ")));
        }
        self.carry_out(order, signal, hub);
    }

    fn carry_out(&mut self, order: Order, signal: Signal, hub: &mut Hub<Self>) {
        for line in order.say {
            super::say(line);
        }
        let Some(phase) = order.enter else {
            return;
        };
        self.announce_shutdown(signal, phase);
        match phase {
            Phase::Running => {}
            Phase::Warm => {
                self.blueprint.stop();
                self.grant_grace(signal, hub);
            }
            Phase::Soft => {
                let patience = self.settings.life.soft_shutdown_timeout;
                log::warn!(
                    "Initiating Soft Shutdown, terminating in {} seconds",
                    patience.as_secs_f64()
                );
                self.blueprint.stop();
                self.end_after(patience, signal, hub);
            }
            Phase::Cold | Phase::Ending => self.blueprint.terminate(),
            Phase::Hard => hub.stop(),
        }
        self.remind(hub);
        self.advance(hub);
    }

    /// A warm shutdown lasts no longer than its grace, if that is limited.
    fn grant_grace(&mut self, signal: Signal, hub: &mut Hub<Self>) {
        let grace = self.settings.life.grace;
        if !grace.is_zero() {
            self.end_after(grace, signal, hub);
        }
    }

    /// Takes running tasks from their children when this time has passed, and is gone soon after that, whoever has not
    /// answered by then: this is for those who are killed otherwise.
    fn end_after(&mut self, patience: Duration, signal: Signal, hub: &mut Hub<Self>) {
        hub.call_after(patience, move |worker, hub| {
            let order = worker.shutdown.run_out();
            if order.enter.is_none() {
                return; // another signal came first
            }
            worker.hurried = true;
            worker.carry_out(order, signal, hub);
            hub.call_after(LAST_MOMENT, |worker, hub| {
                log::error!("{}: leaving without", worker.waited_for(hub));
                hub.stop();
            });
        });
    }

    /// Leaves in order, for the worker's own reasons.
    pub(super) fn leave(&mut self, exit_code: u8, hub: &mut Hub<Self>) {
        let order = self.shutdown.leave(exit_code);
        self.blueprint.stop();
        if order.enter.is_some() {
            self.grant_grace(Signal::SIGTERM, hub);
        }
        self.remind(hub);
        self.advance(hub);
    }

    /// Says from time to time what is waited for, from the first step out on.
    fn remind(&mut self, hub: &mut Hub<Self>) {
        if !std::mem::replace(&mut self.reminding, true) {
            hub.call_repeatedly(REMINDER, |worker, hub| {
                log::warn!("{}", worker.waited_for(hub));
            });
        }
    }

    /// One line: which tasks, since when, and how many messages are not confirmed.
    fn waited_for(&self, hub: &Hub<Self>) -> String {
        let now = hub.now();
        let mut running: Vec<_> = self
            .tasks
            .requests()
            .filter_map(|request| match request.state {
                State::Running { pid, since } => Some((since, pid, request)),
                _ => None,
            })
            .collect();
        running.sort_by_key(|(since, ..)| *since);
        let mut line = match running.len() {
            1 => "Waiting for 1 task".to_owned(),
            count => format!("Waiting for {count} tasks"),
        };
        for (place, (since, pid, request)) in running.iter().take(NAMED).enumerate() {
            let mark = if place == 0 { ':' } else { ',' };
            let age = now.saturating_duration_since(*since).as_secs();
            let (name, id) = (&request.name, &request.id);
            let _ = write!(line, "{mark} {name}[{id}] in {pid} for {age} s");
        }
        if running.len() > NAMED {
            let _ = write!(line, " and {} more", running.len() - NAMED);
        }
        match self.producer.backlog() {
            0 => {}
            count => drop(write!(line, "; {count} messages are not confirmed yet")),
        }
        line
    }

    /// Has a child write its stack to stderr, if it is one that can.
    pub(super) fn ask_for_stack(&self, child: Option<Pid>) {
        if let (ResultBackend::App, Some(pid)) = (self.settings.results, child) {
            let _ = signal::kill_real_time(pid, DUMP); // one that is gone has nothing to say
        }
    }

    /// Says what main and each child are doing; Python's children write their stacks as well.
    fn dump(&mut self, hub: &mut Hub<Self>) {
        let mut text = format!("{}: pid {}\n", self.settings.node_name, process::current());
        for request in self.tasks.requests() {
            let Request {
                name, id, state, ..
            } = request;
            let _ = writeln!(text, "  {name}[{id}] {state:?}");
        }
        let _ = writeln!(text, "  {}", self.waited_for(hub));
        if let Some(pool) = &self.pool.pool {
            let _ = writeln!(text, "  {:?}", pool.stats());
            for child in pool.children() {
                let doing = if child.job.is_some() {
                    "works"
                } else {
                    "is idle"
                };
                let pid = child.pid.map(|pid| pid.to_string()).unwrap_or_default();
                let _ = writeln!(text, "  {} pid:{pid} {doing}", child.name);
                self.ask_for_stack(child.pid);
            }
        }
        log::error!(target: log_line::DUMP, "{text}");
    }
}
