//! The worker's pulse: it says that it is there, that it still is, and that it goes.

use std::time::Duration;

use super::{HEARTBEAT, SOFTWARE};
use crate::hub::{Hub, TimerKey};
use crate::message::event::Field;
use crate::message::json::list;
use crate::sys::process;
use crate::worker::Worker;
use crate::worker::request::State;

/// The timer of the pulse.
#[derive(Debug, Default)]
pub(in crate::worker) struct Heart {
    timer: Option<TimerKey>,
}

impl Worker {
    /// Says that the worker is there, and goes on saying so.
    pub(in crate::worker) fn start_heart(&mut self, every: Duration, hub: &mut Hub<Self>) {
        self.producer.events.expect_audience();
        self.beat("worker-online");
        let timer = hub.call_repeatedly(every, |worker: &mut Self, _: &mut Hub<Self>| {
            worker.beat(HEARTBEAT);
        });
        if let Some(before) = self.heart.timer.replace(timer) {
            hub.cancel(before);
        }
    }

    /// Says that the worker goes. Nothing happens when it never said that it is there.
    pub(in crate::worker) fn stop_heart(&mut self, hub: &mut Hub<Self>) {
        if let Some(timer) = self.heart.timer.take() {
            hub.cancel(timer);
            self.beat("worker-offline");
        }
    }

    fn beat(&mut self, kind: &str) {
        let Some(every) = self.settings.monitoring.heartbeat else {
            return;
        };
        // The signal is the app's, and may be what keeps a file of its own fresh.
        self.send_signal("heartbeat_sent");
        if kind == HEARTBEAT && !self.producer.events.wants_heartbeat() {
            return;
        }
        let running = |state: State| matches!(state, State::Running { .. });
        let requests = self.tasks.requests();
        let active = requests.filter(|request| running(request.state)).count();
        let processed: u64 = self.tasks.accepted.values().sum();
        // Two decimals are what the kernel tells.
        let load = list(process::load_average());
        let [ident, version, system] = SOFTWARE;
        let fields = [
            ("freq", Field::Number(every.as_secs_f64())),
            ("active", Field::Integer(active as i64)),
            ("processed", Field::Integer(processed as i64)),
            ("loadavg", Field::Json(&load)),
            ident,
            version,
            system,
        ];
        self.producer.events.worker(kind, &fields);
    }
}
