//! What has been counted, for scrapers: OpenMetrics.
//!
//! Tasks are counted by name and queue, and names come from whoever may send messages: beyond a thousand they are all
//! `other`. Nothing is counted unless somebody may ask.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;

use super::Worker;
use super::request::Request;
use super::task_event::What;
use crate::sys::{clock, lines, process};

/// Series of tasks; what comes beyond them is counted together.
const MOST: usize = 1000;
/// What further tasks are counted as.
const OTHER: &str = "other";

/// The upper ends of a histogram's buckets, in seconds.
const BOUNDS: [f64; 8] = [0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0, 300.0];

/// What can become of a task, in the order of [`Counts`].
const FATES: [&str; 9] = [
    "received",
    "started",
    "succeeded",
    "failed",
    "retried",
    "revoked",
    "rejected",
    "cancelled",
    "lost",
];

/// The counts of a worker.
#[derive(Debug, Default)]
pub(super) struct Metrics {
    /// Whether anything is counted.
    pub(super) on: bool,
    /// By the queue's place among those consumed, and by the task's name.
    tasks: BTreeMap<u32, HashMap<String, Counts>>,
    series: usize,
    /// How long tasks took.
    runtime: Histogram,
    /// How long they waited here for a child.
    wait: Histogram,
    /// Children that have ended: as they should, and otherwise.
    pub(super) children_ended: [u64; 2],
}

#[derive(Debug, Default)]
struct Counts {
    fates: [u64; FATES.len()],
    runtime: Histogram,
}

/// How often something took how long.
#[derive(Clone, Debug, Default, PartialEq)]
struct Histogram {
    buckets: [u64; BOUNDS.len()],
    count: u64,
    sum: f64,
}

impl Histogram {
    fn observe(&mut self, seconds: f64) {
        if let Some(bucket) = BOUNDS.iter().position(|bound| seconds <= *bound)
            && let Some(count) = self.buckets.get_mut(bucket)
        {
            *count += 1;
        }
        self.count += 1;
        self.sum += seconds;
    }

    fn write(&self, out: &mut String, name: &str, labels: &str) {
        let comma = if labels.is_empty() { "" } else { "," };
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(self.buckets) {
            below += count;
            let _ = writeln!(
                out,
                "{name}_bucket{{{labels}{comma}le=\"{bound}\"}} {below}"
            );
        }
        let (count, sum) = (self.count, self.sum);
        let _ = writeln!(out, "{name}_bucket{{{labels}{comma}le=\"+Inf\"}} {count}");
        let _ = writeln!(
            out,
            "{name}_count{{{labels}}} {count}\n{name}_sum{{{labels}}} {sum}"
        );
    }
}

impl Metrics {
    /// Counts what has happened to a task.
    pub(super) fn count(&mut self, request: &Request, what: &What) {
        let fate = match what {
            What::Received { .. } => 0,
            What::Started => 1,
            What::Succeeded { .. } => 2,
            What::Failed { .. } => 3,
            What::Retried { .. } => 4,
            What::Revoked { .. } => 5,
            What::Rejected { .. } => 6,
            What::Cancelled => 7,
        };
        if let What::Started = what {
            let wait = clock::now().saturating_duration_since(request.delivered);
            self.wait.observe(wait.as_secs_f64());
        }
        let runtime = match what {
            What::Succeeded { runtime, .. } => Some(*runtime),
            _ => None,
        };
        if let Some(runtime) = runtime {
            self.runtime.observe(runtime);
        }
        let counts = self.counts(request);
        if let Some(count) = counts.fates.get_mut(fate) {
            *count += 1;
        }
        if let Some(runtime) = runtime {
            counts.runtime.observe(runtime);
        }
    }

    /// Counts a task that has lost its child.
    pub(super) fn count_lost(&mut self, request: &Request) {
        if self.on
            && let Some(lost) = self.counts(request).fates.last_mut()
        {
            *lost += 1;
        }
    }

    fn counts(&mut self, request: &Request) -> &mut Counts {
        let of_queue = self.tasks.entry(request.run.queue).or_default();
        let known = of_queue.contains_key(&request.task);
        if !known && self.series < MOST {
            self.series += 1;
            return of_queue.entry(request.task.clone()).or_default();
        }
        let name = if known { request.task.as_str() } else { OTHER };
        of_queue.entry(name.to_owned()).or_default()
    }
}

/// The text of a scrape.
struct Page(String);

impl Page {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# TYPE celeriac_{name} {kind}\n# HELP celeriac_{name} {help}"
        );
    }

    fn gauge(&mut self, name: &str, value: f64, help: &str) {
        self.family(name, "gauge", help);
        let _ = writeln!(self.0, "celeriac_{name} {value}");
    }

    fn counter(&mut self, name: &str, label: &str, values: &[(&str, u64)], help: &str) {
        self.family(name, "counter", help);
        for (value, count) in values {
            let _ = match label {
                "" => writeln!(self.0, "celeriac_{name}_total {count}"),
                _ => writeln!(
                    self.0,
                    "celeriac_{name}_total{{{label}=\"{value}\"}} {count}"
                ),
            };
        }
    }
}

/// A text as the value of a label.
fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

impl Worker {
    /// Everything that was counted, and how things stand.
    pub(super) fn metrics(&mut self) -> String {
        let mut page = Page(String::with_capacity(64 * 1024));
        self.write_tasks(&mut page);
        self.write_pool(&mut page);
        self.write_connections(&mut page);
        self.write_kept(&mut page);
        let stall = self.stall.as_secs_f64();
        page.gauge(
            "loop_stall_seconds_max",
            stall,
            "The longest turn of the main loop.",
        );
        let up = clock::now().saturating_duration_since(self.started);
        page.gauge(
            "uptime_seconds",
            up.as_secs_f64(),
            "Since the worker began.",
        );
        let main = process::resident_memory(process::current()).unwrap_or(0);
        page.gauge(
            "main_resident_bytes",
            main as f64,
            "Memory of the main process.",
        );
        let (live, ready) = (self.live().is_ok(), self.ready().is_ok());
        page.gauge("live", f64::from(u8::from(live)), "What /livez says.");
        page.gauge("ready", f64::from(u8::from(ready)), "What /readyz says.");
        page.0.push_str("# EOF\n");
        page.0
    }

    fn write_tasks(&self, page: &mut Page) {
        let metrics = &self.tasks.events.metrics;
        let subscriptions = &self.consumer.subscriptions;
        let mut rows: Vec<(String, &Counts)> = Vec::new();
        for (consumer, tasks) in &metrics.tasks {
            let queue = quoted(subscriptions.name_of(*consumer).unwrap_or(OTHER));
            rows.extend(tasks.iter().map(|(task, counts)| {
                (
                    format!("task=\"{}\",queue=\"{queue}\"", quoted(task)),
                    counts,
                )
            }));
        }
        for (index, fate) in FATES.iter().enumerate() {
            page.family(
                &format!("tasks_{fate}"),
                "counter",
                "Tasks, by what has become of them.",
            );
            for (labels, counts) in &rows {
                match counts.fates.get(index) {
                    Some(count) if *count > 0 => {
                        let _ = writeln!(page.0, "celeriac_tasks_{fate}_total{{{labels}}} {count}");
                    }
                    _ => {}
                }
            }
        }
        page.family(
            "task_runtime_seconds",
            "histogram",
            "How long tasks ran that succeeded.",
        );
        for (labels, counts) in rows.iter().filter(|(_, counts)| counts.runtime.count > 0) {
            counts
                .runtime
                .write(&mut page.0, "celeriac_task_runtime_seconds", labels);
        }
        let help = "From a task's delivery to its start.";
        page.family("task_wait_seconds", "histogram", help);
        metrics
            .wait
            .write(&mut page.0, "celeriac_task_wait_seconds", "");
        let held = self.tasks.held.len() as f64;
        page.gauge("tasks_held", held, "Tasks that wait for their time.");
        let dropped = self.tasks.events.dropped() + self.producer.dropped();
        let dropped = [("", dropped)];
        page.counter(
            "events_dropped",
            "",
            &dropped,
            "Events and replies that nobody got.",
        );
        page.counter(
            "log_lines_dropped",
            "",
            &[("", lines::dropped())],
            "Lines of main's log that nobody took in time.",
        );
    }

    /// T13.1: everything that waits here or is remembered, so that it can be seen to be bounded.
    fn write_kept(&self, page: &mut Page) {
        let Self {
            tasks, producer, ..
        } = self;
        let (revoked, stamps) = tasks.revoked.counts();
        let (published, passing) = producer.octets();
        let (nodes, elections) = self.gossip.counts();
        let books = tasks.reporter.books.as_ref();
        let kept = [
            ("requests", tasks.requests.len()),
            ("tasks_rate_limited", tasks.rates.len()),
            ("tasks_parked", tasks.parked.len()),
            ("timers", tasks.due.len()),
            ("task_events", tasks.events.len()),
            ("publication_octets", published),
            ("event_and_reply_octets", passing),
            ("notes_to_clerk", books.map_or(0, |books| books.notes())),
            ("revoked_ids", revoked),
            ("revoked_stamps", stamps),
            ("losses", tasks.losses.len()),
            ("settled_deliveries", tasks.recall.recent()),
            ("awaited_deliveries", tasks.recall.awaited()),
            ("nodes", nodes),
            ("elections", elections),
            ("series", tasks.events.metrics.series),
            ("http_connections", self.http.connections()),
        ];
        let help = "What waits in main or is remembered there; each has a bound.";
        page.family("kept", "gauge", help);
        for (what, count) in kept {
            let _ = writeln!(page.0, "celeriac_kept{{what=\"{what}\"}} {count}");
        }
    }

    fn write_pool(&self, page: &mut Page) {
        let Some(pool) = &self.pool.pool else {
            return;
        };
        let stats = pool.stats();
        let busy = pool.children().filter(|child| child.job.is_some()).count();
        let wanted = stats.concurrency as f64;
        page.gauge(
            "pool_processes",
            wanted,
            "How many children there should be.",
        );
        page.gauge("pool_busy", busy as f64, "Children that run a task.");
        page.gauge(
            "pool_idle",
            stats.idle as f64,
            "Children that wait for a task.",
        );
        page.gauge(
            "pool_waiting",
            stats.waiting as f64,
            "Tasks that wait for a child.",
        );
        page.family("child_resident_bytes", "gauge", "Memory of a child.");
        for child in pool.children() {
            let memory = child.pid.and_then(|pid| process::resident_memory(pid).ok());
            if let Some(memory) = memory {
                let name = child.name;
                let _ = writeln!(
                    page.0,
                    "celeriac_child_resident_bytes{{child=\"{name}\"}} {memory}"
                );
            }
        }
        let [retired, lost] = self.tasks.events.metrics.children_ended;
        let ended = [("retired", retired), ("lost", lost)];
        page.counter(
            "children_ended",
            "reason",
            &ended,
            "Children that have ended.",
        );
    }

    fn write_connections(&self, page: &mut Page) {
        let counts = self.consumer.counts;
        let lost = [
            ("connection_lost", counts.connections_lost),
            ("channel_closed", counts.channels_closed),
            ("consumer_cancelled", counts.consumers_cancelled),
            ("silence_broken", counts.silences_broken),
        ];
        page.counter(
            "reconnects",
            "reason",
            &lost,
            "How often consuming began anew.",
        );
        let late = [("", counts.late_deliveries)];
        page.counter(
            "late_deliveries",
            "",
            &late,
            "Messages of a connection that was gone.",
        );
        let window = self.consumer.subscriptions.prefetch_count() as f64;
        page.gauge(
            "prefetch_count",
            window,
            "Messages that the broker may give out; 0 is no limit.",
        );
        let unacked = self.consumer.acks.outstanding() as f64;
        page.gauge("messages_unacknowledged", unacked, "Messages in hand.");
        let waiting = self.producer.backlog() as f64;
        page.gauge(
            "publications_waiting",
            waiting,
            "Results and retries that the broker has not confirmed.",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_counts_what_is_below_each_bound() {
        let mut histogram = Histogram::default();
        for value in [0.001, 0.005, 0.3, 1000.0] {
            histogram.observe(value);
        }
        let mut text = String::new();
        histogram.write(&mut text, "x", "a=\"b\"");
        assert!(
            text.starts_with("x_bucket{a=\"b\",le=\"0.005\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("x_bucket{a=\"b\",le=\"0.5\"} 3\n"));
        assert!(text.contains("x_bucket{a=\"b\",le=\"+Inf\"} 4\n"));
        assert!(text.ends_with("x_count{a=\"b\"} 4\nx_sum{a=\"b\"} 1000.306\n"));
    }

    #[test]
    fn a_label_is_quoted() {
        assert_eq!(quoted("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    }
}
