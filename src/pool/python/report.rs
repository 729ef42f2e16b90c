//! What the interpreter reports on an app: the output of `report.py`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::util::span;

/// All that main must know of a Python app. Values are as Celery has resolved them from command line,
/// environment and configuration, in Celery's precedence.
#[derive(Clone, Debug, Deserialize)]
pub struct Report {
    /// The installed Celery.
    pub celery: Version,
    /// The node name.
    pub node: String,
    /// The banner as Celery prints it; nothing with `--quiet`.
    pub banner: Option<String>,
    /// The directory it works in, after `--workdir`.
    pub directory: String,
    /// The user that the interpreter runs as, after `--uid`.
    pub user: u32,
    /// Its group.
    pub group: u32,
    /// How the log is written.
    pub log: LogReport,
    /// Whether lines of the log are coloured.
    pub colour: bool,
    /// The name of the pool: `prefork`, `solo`, `threads`, ...
    pub pool: String,
    /// The worker's arguments.
    pub worker: WorkerReport,
    /// The settings that main consults.
    pub settings: Settings,
    /// The MIME types that tasks may come in.
    pub accept: Vec<String>,
    /// The name of the app's time zone.
    pub timezone: String,
    /// That of the process, if it has set one: Django does.
    pub zone: Option<String>,
    /// Where messages come from and go to.
    pub broker: Broker,
    /// Where results go.
    pub results: Results,
    /// The queues to consume, after `-Q`, `-X` and `worker_direct`.
    pub queues: Vec<Queue>,
    /// All queues of the app.
    pub declared: Vec<Queue>,
    /// The tasks by name.
    pub tasks: BTreeMap<String, TaskReport>,
    /// The signals of Celery's main process that somebody is connected to.
    pub receivers: Vec<String>,
    /// Remote control commands that are not Celery's own, with their kind: `control` or `inspect`.
    pub control: BTreeMap<String, String>,
    /// What the app brings that this worker does not run: a sentence each.
    pub differences: Vec<String>,
    /// What a state file of Celery's holds, if there is one.
    pub shelve: Option<Shelve>,
    /// The app's settings that are not the default, passwords hidden (`inspect conf`): JSON, in Python's dialect.
    pub conf: String,
    /// All of them.
    pub conf_with_defaults: String,
    /// Celery's own bug report (`inspect report`).
    pub bug_report: String,
}

/// The installed Celery.
#[derive(Clone, Debug, Deserialize)]
pub struct Version {
    /// `5.7.0`
    pub version: String,
    /// `5.7.0 (collider)`
    pub banner: String,
}

/// How the app writes its log.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct LogReport {
    /// Its level, as Python's number, if the app has set it itself.
    pub level: Option<f64>,
    /// Its file, if the app has set it up itself.
    pub file: Option<String>,
    /// The format of a line, `%(message)s` and the like.
    pub format: Option<String>,
    /// That of its date.
    pub datefmt: Option<String>,
    /// Its times are UTC.
    pub utc: bool,
}

/// The worker's arguments.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct WorkerReport {
    /// Minimum and maximum number of children, the larger first.
    pub autoscale: Option<(u32, u32)>,
    /// Whether `celery beat` shall run beside the worker.
    pub beat: bool,
    /// How many children.
    pub concurrency: Option<f64>,
    /// Whether the app has set up logging itself (the signal `setup_logging`).
    pub custom_logging: bool,
    /// Seconds between two `worker-heartbeat` events.
    pub heartbeat_interval: Option<f64>,
    /// Where the log goes; `None` for stderr. Not yet expanded.
    pub logfile: Option<String>,
    /// Python's number for the log level: 10 DEBUG, 20 INFO, 30 WARNING, 40 ERROR, 50 CRITICAL.
    pub loglevel: Option<f64>,
    /// KiB of resident memory after which a child is replaced.
    pub max_memory_per_child: Option<f64>,
    /// Tasks after which a child is replaced.
    pub max_tasks_per_child: Option<f64>,
    /// Whether colours were forbidden.
    pub no_color: bool,
    /// `default` or `fair`.
    pub optimization: Option<String>,
    /// Where to write the process id.
    pub pidfile: Option<String>,
    /// `fork` or `spawn`.
    pub pool_start_method: Option<String>,
    /// Messages to prefetch for each child.
    pub prefetch_multiplier: Option<f64>,
    /// No banner.
    pub quiet: bool,
    /// Whether what is printed goes to the log.
    pub redirect_stdouts: bool,
    /// The log level of what is printed.
    pub redirect_stdouts_level: Option<String>,
    /// Where beat keeps its schedule.
    pub schedule_filename: Option<String>,
    /// Beat's scheduler class.
    pub scheduler: Option<String>,
    /// Soft time limit of tasks that have none, in seconds.
    pub soft_time_limit: Option<f64>,
    /// Where revoked ids are kept.
    pub statedb: Option<String>,
    /// Whether to send task events from the start.
    pub task_events: bool,
    /// Hard time limit of tasks that have none, in seconds.
    pub time_limit: Option<f64>,
    /// No gossip.
    pub without_gossip: bool,
    /// No worker heartbeat events.
    pub without_heartbeat: bool,
    /// No mingle.
    pub without_mingle: bool,
}

/// A state file of Celery's.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Shelve {
    /// The files it consists of.
    pub files: Vec<PathBuf>,
    /// The revoked ids.
    pub revoked: Vec<String>,
    /// The logical clock.
    pub clock: u64,
}

/// Settings by name. An app may set them to anything; what is not of the kind that is asked for counts as not set.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Settings(Map<String, Value>);

impl Settings {
    /// A yes or no.
    pub fn flag(&self, name: &str) -> Option<bool> {
        self.0.get(name)?.as_bool()
    }

    /// A number.
    pub fn number(&self, name: &str) -> Option<f64> {
        self.0.get(name)?.as_f64()
    }

    /// A time in seconds.
    pub fn seconds(&self, name: &str) -> Option<Duration> {
        span::seconds(self.number(name)?)
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name)?.as_str()
    }

    /// A list of texts.
    pub fn texts(&self, name: &str) -> Option<Vec<&str>> {
        let list = self.0.get(name)?.as_array()?;
        Some(list.iter().filter_map(Value::as_str).collect())
    }

    /// Anything.
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }
}

/// Where messages come from and go to.
#[derive(Clone, Debug, Deserialize)]
pub struct Broker {
    /// Kombu's name of the transport: `amqp`, `redis`, ...
    pub transport: String,
    /// The URLs to consume from, in the order in which they are tried.
    pub read: Vec<String>,
    /// The URLs to publish to.
    pub write: Vec<String>,
}

/// Where results go.
#[derive(Clone, Debug, Deserialize)]
pub struct Results {
    /// The backend as the banner shows it.
    pub uri: String,
    /// Whether a result can be read more than once.
    pub persistent: bool,
}

/// An exchange to declare.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Exchange {
    /// Its name; empty for the default exchange, which is not declared.
    pub name: String,
    /// `direct`, `topic`, `fanout`, `headers` or a plugin's.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it survives a restart of the broker.
    pub durable: bool,
    /// Whether it goes with its last binding.
    pub auto_delete: bool,
    /// Whether it must exist already.
    pub passive: bool,
    /// Whether it is not declared.
    pub no_declare: bool,
    /// The arguments of its declaration.
    pub arguments: Map<String, Value>,
}

/// A queue to declare and consume.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// The exchange it is bound to.
    pub exchange: Exchange,
    /// The key it is bound with.
    pub routing_key: String,
    /// Whether it survives a restart of the broker.
    pub durable: bool,
    /// Whether it belongs to one connection.
    pub exclusive: bool,
    /// Whether it goes with its last consumer.
    pub auto_delete: bool,
    /// Whether messages count as acknowledged when they are sent.
    pub no_ack: bool,
    /// Whether neither it nor its exchange is declared.
    pub no_declare: bool,
    /// The arguments of its declaration, limits included.
    pub arguments: Map<String, Value>,
    /// The arguments of its binding.
    pub binding_arguments: Map<String, Value>,
    /// The arguments of the consumer.
    pub consumer_arguments: Map<String, Value>,
    /// Further bindings.
    pub bindings: Vec<Binding>,
}

/// One more binding of a queue.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct Binding {
    /// To this exchange.
    pub exchange: Exchange,
    /// With this key.
    pub routing_key: String,
    /// And these arguments.
    pub arguments: Map<String, Value>,
}

/// The options of a task.
#[derive(Clone, Debug, Deserialize, PartialEq)]
pub struct TaskReport {
    /// Acknowledge after the task ended.
    pub acks_late: bool,
    /// With `acks_late`: acknowledge a message whose task has failed, rather than reject it.
    pub acks_on_failure: bool,
    /// The same for a task that has run into its hard time limit.
    pub acks_on_timeout: bool,
    /// With `acks_late`: put the message back when the child is lost.
    pub reject_on_worker_lost: bool,
    /// Run it again when the child is lost.
    pub retry_on_worker_lost: bool,
    /// Keep no result.
    pub ignore_result: bool,
    /// But keep errors.
    pub store_errors_even_if_ignored: bool,
    /// Report STARTED.
    pub track_started: bool,
    /// Whether events are sent about it.
    pub send_events: bool,
    /// How often it may be retried; `None` for ever.
    pub max_retries: Option<f64>,
    /// Seconds between retries.
    pub default_retry_delay: Option<f64>,
    /// Hard time limit in seconds.
    pub time_limit: Option<f64>,
    /// Soft time limit in seconds.
    pub soft_time_limit: Option<f64>,
    /// How long the text of a result may be in log and event.
    pub resultrepr_maxsize: Option<f64>,
    /// Rate limit in Celery's form, such as `100/m`.
    pub rate_limit: Option<String>,
}
