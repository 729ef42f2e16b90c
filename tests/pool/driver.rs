//! A main for the stories: the pool wired to a Hub, as the worker does it.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use celeriac::amqp::Properties;
use celeriac::hub::{Hub, Interest, Mode, Next};
use celeriac::message::headers::Headers;
use celeriac::message::record::{self, DeliveryInfo, Done};
use celeriac::pool::native;
use celeriac::pool::zygote::Zygote;
use celeriac::pool::{Finish, Job, JobKey, Pool, PoolEvent, PoolSettings, PoolSource, Progress};
use celeriac::sys::clock;
use celeriac::sys::process::{self, Exit, Pid};
use celeriac::sys::signal::{self, Signal, SignalFd};
use celeriac::util::slots::Key;

use crate::tasks::Tasks;

/// How long anything may take that is not timed by its story.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Driver {
    hub: Hub<Owner>,
    pub(crate) owner: Owner,
    jobs: u64,
}

/// The Hub's context.
pub(crate) struct Owner {
    pub(crate) pool: Pool,
    sources: HashMap<PoolSource, Key>,
    /// All events but those about sources.
    pub(crate) events: Vec<PoolEvent>,
    /// Processes that were reaped and not the pool's.
    pub(crate) strangers: Vec<(Pid, Exit)>,
    /// How each job ended: one entry for each time.
    pub(crate) finishes: HashMap<JobKey, Vec<Finish>>,
}

impl Driver {
    pub(crate) fn new(concurrency: usize) -> Self {
        Self::with(settings(concurrency), Tasks::default())
    }

    pub(crate) fn with(settings: PoolSettings, tasks: Tasks) -> Self {
        let zygote = native::start(tasks).expect("a zygote");
        Self::over(zygote, settings)
    }

    pub(crate) fn over(zygote: Zygote, settings: PoolSettings) -> Self {
        let signals = SignalFd::new(&[Signal::SIGCHLD]).expect("a signalfd");
        let mut hub = Hub::new().expect("a hub");
        let mut owner = Owner {
            pool: Pool::new(zygote, settings, hub.now()),
            sources: HashMap::new(),
            events: Vec::new(),
            strangers: Vec::new(),
            finishes: HashMap::new(),
        };
        hub.add_reader(signals.clone(), move |owner: &mut Owner, hub, _| {
            while let Ok(Some(_)) = signals.read() {}
            owner.reap(hub);
            Next::Wait
        })
        .expect("a reader");
        owner.take_events(&mut hub);
        Self {
            hub,
            owner,
            jobs: 0,
        }
    }

    /// One turn of the loop.
    pub(crate) fn turn(&mut self) {
        let now = clock::now();
        let deadline = self.owner.pool.deadline().unwrap_or(now + PATIENCE);
        let wait = deadline
            .saturating_duration_since(now)
            .min(Duration::from_millis(50));
        self.hub.tick(&mut self.owner, Some(wait)).expect("a turn");
        let now = self.hub.now();
        if self
            .owner
            .pool
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            self.owner.pool.handle_deadline(now);
        }
        self.owner.take_events(&mut self.hub);
    }

    /// Turns until `answer` has one.
    #[track_caller]
    pub(crate) fn until<T>(
        &mut self,
        what: &str,
        mut answer: impl FnMut(&mut Owner) -> Option<T>,
    ) -> T {
        let deadline = clock::now() + PATIENCE;
        loop {
            if let Some(value) = answer(&mut self.owner) {
                return value;
            }
            let events = &self.owner.events;
            assert!(
                clock::now() < deadline,
                "waited in vain for {what}; events: {events:#?}"
            );
            self.turn();
        }
    }

    pub(crate) fn submit(&mut self, task: &str, body: impl AsRef<[u8]>) -> JobKey {
        let id = "00000000-0000-4000-8000-000000000000";
        self.submit_message(task, id, &Headers::Json("{}".to_owned()), body.as_ref())
    }

    pub(crate) fn submit_message(
        &mut self,
        task: &str,
        id: &str,
        headers: &Headers<'_>,
        body: &[u8],
    ) -> JobKey {
        let key = JobKey(1000 + self.jobs);
        self.jobs += 1;
        let mut record = Vec::new();
        let job = record::Job {
            job: key.0,
            task,
            id,
            headers,
            properties: &Properties {
                content_type: Some("application/json".into()),
                content_encoding: Some("utf-8".into()),
                ..Properties::default()
            },
            delivery_info: &DeliveryInfo::default(),
            hostname: "story@localhost",
            options: None,
            body,
        };
        job.encode(&mut record).expect("a record");
        let now = clock::now();
        self.owner
            .pool
            .submit(Job { key, record }, now)
            .expect("an open pool");
        self.owner.take_events(&mut self.hub);
        key
    }

    /// Something the owner does to its pool.
    pub(crate) fn act<T>(&mut self, act: impl FnOnce(&mut Pool, Instant) -> T) -> T {
        let value = act(&mut self.owner.pool, clock::now());
        self.owner.take_events(&mut self.hub);
        value
    }

    /// Turns until `count` children have come up altogether; their pids in that order.
    #[track_caller]
    pub(crate) fn ups(&mut self, count: usize) -> Vec<Pid> {
        self.until("children to come up", |owner| {
            let pids = owner.ups();
            (pids.len() >= count).then_some(pids)
        })
    }

    /// Turns until the job is over.
    #[track_caller]
    pub(crate) fn finish(&mut self, job: JobKey) -> &Finish {
        self.until("a job to finish", |owner| {
            owner.finishes.contains_key(&job).then_some(())
        });
        &self.owner.finishes[&job][0]
    }

    #[track_caller]
    pub(crate) fn done(&mut self, job: JobKey) -> &Done {
        match self.finish(job) {
            Finish::Done(done) => done,
            other => panic!("not done but {other:?}"),
        }
    }

    /// The text of a job's loss.
    #[track_caller]
    pub(crate) fn loss(&mut self, job: JobKey) -> String {
        match self.finish(job) {
            Finish::Lost(loss) => loss.to_string(),
            other => panic!("not lost but {other:?}"),
        }
    }

    /// Turns until the child says that it has begun the job; its pid.
    #[track_caller]
    pub(crate) fn started(&mut self, job: JobKey) -> Pid {
        self.until("a job to start", |owner| {
            owner.events.iter().find_map(|event| match event {
                PoolEvent::Started { job: it, pid, .. } if *it == job => Some(*pid),
                _ => None,
            })
        })
    }

    #[track_caller]
    pub(crate) fn exit_of(&mut self, pid: Pid) -> (Exit, bool) {
        self.until("a child to exit", |owner| {
            owner.events.iter().find_map(|event| match event {
                PoolEvent::ChildExited {
                    pid: it,
                    exit,
                    expected,
                    ..
                } if *it == pid => Some((*exit, *expected)),
                _ => None,
            })
        })
    }

    #[track_caller]
    pub(crate) fn closed(&mut self) {
        self.until("the pool to close", |owner| {
            owner
                .events
                .iter()
                .any(|event| matches!(event, PoolEvent::Closed))
                .then_some(())
        });
        assert_eq!(self.owner.pool.children().count(), 0);
    }
}

impl Owner {
    fn reap(&mut self, hub: &mut Hub<Self>) {
        while let Ok(Some((pid, exit))) = process::reap() {
            if !self.pool.handle_exit(pid, exit, hub.now()) {
                self.strangers.push((pid, exit));
            }
        }
        self.take_events(hub);
    }

    fn take_events(&mut self, hub: &mut Hub<Self>) {
        while let Some(event) = self.pool.poll_event() {
            match event {
                PoolEvent::SourceAdded(source, fd) => {
                    let interest = if source.is_written() {
                        Interest::WRITE
                    } else {
                        Interest::READ
                    };
                    let key = hub.add(
                        fd,
                        interest,
                        Mode::Drain,
                        move |owner: &mut Self, hub, _| {
                            let progress = owner.pool.handle_ready(source, hub.now());
                            owner.take_events(hub);
                            match progress {
                                Progress::Drained => Next::Wait,
                                Progress::Again => Next::Again,
                            }
                        },
                    );
                    self.sources.insert(source, key.expect("a source"));
                }
                PoolEvent::SourceRemoved(source) => {
                    let key = self
                        .sources
                        .remove(&source)
                        .expect("a source that was added");
                    hub.remove(key);
                }
                PoolEvent::Finished { job, finish } => {
                    self.finishes.entry(job).or_default().push(finish);
                }
                event => self.events.push(event),
            }
        }
    }

    pub(crate) fn ups(&self) -> Vec<Pid> {
        (self.events.iter())
            .filter_map(|event| match event {
                PoolEvent::ChildUp { pid, .. } => Some(*pid),
                _ => None,
            })
            .collect()
    }

    /// The pids the job was given to, in order.
    pub(crate) fn assigned(&self, job: JobKey) -> Vec<Pid> {
        (self.events.iter())
            .filter_map(|event| match event {
                PoolEvent::Assigned { job: it, pid, .. } if *it == job => Some(*pid),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn count(&self, is_it: impl Fn(&PoolEvent) -> bool) -> usize {
        self.events.iter().filter(|event| is_it(event)).count()
    }

    /// The pipe with the answers of a child, when there is only one.
    pub(crate) fn source_of_results(&self) -> PoolSource {
        let mut sources = self.sources.keys().copied();
        let results = |source: &PoolSource| matches!(source, PoolSource::Results(_));
        sources.find(results).expect("a child")
    }

    pub(crate) fn sources(&self) -> usize {
        self.sources.len()
    }
}

/// The processes whose parent is `parent`, from `/proc`.
pub(crate) fn children_of(parent: Pid) -> Vec<Pid> {
    let entries = fs::read_dir("/proc").expect("/proc");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(Pid::new)
        .filter(|pid| parent_of(*pid) == Some(parent))
        .collect()
}

/// The parent of a process; `None` when there is no such process.
pub(crate) fn parent_of(pid: Pid) -> Option<Pid> {
    status_of(pid, "PPid")?.parse().ok().and_then(Pid::new)
}

/// A line of `/proc/<pid>/status`.
pub(crate) fn status_of(pid: Pid, field: &str) -> Option<String> {
    line_of(
        &fs::read_to_string(format!("/proc/{pid}/status")).ok()?,
        field,
    )
}

/// The value of the line `field:\tvalue`.
pub(crate) fn line_of(text: &str, field: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(field)?.strip_prefix(":\t"))?;
    Some(line.trim().to_owned())
}

pub(crate) fn settings(concurrency: usize) -> PoolSettings {
    PoolSettings {
        concurrency,
        ..PoolSettings::default()
    }
}

/// Stops a child, and waits until it has stopped.
pub(crate) fn freeze(child: Pid) {
    signal::kill(child, Signal::SIGSTOP).unwrap();
    wait_for_state(child, "T (stopped)");
}

pub(crate) fn wait_for_state(child: Pid, state: &str) {
    let deadline = clock::now() + PATIENCE;
    while status_of(child, "State").unwrap() != state {
        assert!(clock::now() < deadline, "process {child} is not {state}");
    }
}
