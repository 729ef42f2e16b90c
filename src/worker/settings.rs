//! What a worker is told before it starts.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use super::autoscale::Autoscale;
use super::control::Command;
use super::limits::Limits;
use super::refusals::RefusalPolicy;
use super::revoked;
use super::statedb::Shelve;
use crate::amqp::table::TableBuf;
use crate::link::{self, BrokerUrl};
use crate::message::channels::Channels;
use crate::message::task::Accept;
use crate::pool::StartMethod;
use crate::pool::python::{Host, clerk};
use crate::sys::signal::Signal;

/// The settings of one worker, resolved: command line, environment and app have been consulted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name (`-n`), for example `celery@host`.
    pub node_name: String,
    /// The brokers to consume from (`broker_read_url`), alternates in order.
    pub read_urls: Vec<BrokerUrl>,
    /// The brokers to publish to (`broker_write_url`).
    pub write_urls: Vec<BrokerUrl>,
    /// Where results go (`--result-backend`).
    pub results: ResultBackend,
    /// How many children (`-c`).
    pub concurrency: usize,
    /// Between which numbers of children the pool grows and shrinks (`--autoscale`); it starts with `concurrency`.
    pub autoscale: Option<Autoscale>,
    /// Remote control may have every child replaced (`worker_pool_restarts`).
    pub pool_restarts: bool,
    /// Messages taken ahead for each child (`worker_prefetch_multiplier`); 0 is no limit.
    pub prefetch_multiplier: u32,
    /// How many messages there may be in hand while any of them waits for its time (`worker_eta_task_limit`).
    pub eta_task_limit: Option<u16>,
    /// After how many tasks a child is replaced (`--max-tasks-per-child`).
    pub max_tasks_per_child: Option<NonZeroU32>,
    /// How children are made (`--pool-start-method`).
    pub start_method: StartMethod,
    /// The queues consumed (`-Q`).
    pub queues: Vec<Queue>,
    /// Queues that are configured as well: remote control may have them consumed by their names alone.
    pub declared: Vec<Queue>,
    /// The serializers that tasks may come in (`accept_content`).
    pub accept: Accept,
    /// How to start a Python app's interpreter, should its zygote be lost.
    pub host: Option<Host>,
    /// The signals of Celery's main process that a Python app listens to, by name.
    pub listeners: BTreeSet<String>,
    /// What it tells of itself and listens to, beside tasks.
    pub monitoring: Monitoring,
    /// Commands of remote control that the program adds to Celery's.
    pub commands: Vec<Command>,
    /// Commands of remote control that a Python app brings, by name: its clerk carries them out.
    pub clerk_commands: BTreeSet<String>,
    /// `REMAP_SIGTERM=SIGQUIT` is in the environment: TERM is a cold shutdown.
    pub remap_sigterm: bool,
    /// How tasks live and end.
    pub life: LifeSettings,
    /// How it gets on with its broker.
    pub broker: BrokerSettings,
}

impl Settings {
    /// Names the parameters of the broker's URLs that mean nothing here. What does not look like a name is not shown: it
    /// may be a piece of a password that has a `?`.
    pub(super) fn warn_of_parameters(&self) {
        let urls = self.read_urls.iter().chain(&self.write_urls);
        let names: BTreeSet<&str> = urls
            .flat_map(BrokerUrl::ignored_parameters)
            .map(String::as_str)
            .filter(|name| {
                name.bytes()
                    .all(|octet| octet.is_ascii_lowercase() || octet == b'_')
            })
            .collect();
        for name in names {
            log::warn!(
                "The parameter '{name}' in a URL of the broker is not known and has no effect."
            );
        }
    }

    /// Some settings, for tests.
    #[cfg(test)]
    pub(super) fn of_tests() -> Self {
        Self {
            node_name: "w@host".into(),
            read_urls: vec![],
            write_urls: vec![],
            results: ResultBackend::Rpc,
            concurrency: 1,
            autoscale: None,
            pool_restarts: false,
            prefetch_multiplier: 4,
            eta_task_limit: None,
            max_tasks_per_child: None,
            start_method: StartMethod::Fork,
            queues: vec![],
            declared: vec![],
            accept: Accept::default(),
            host: None,
            listeners: BTreeSet::new(),
            monitoring: Monitoring::default(),
            commands: vec![],
            clerk_commands: BTreeSet::new(),
            remap_sigterm: false,
            life: LifeSettings::default(),
            broker: BrokerSettings::default(),
        }
    }

    /// The signal that asks a child to end. `REMAP_SIGTERM` has Python's children heed another.
    pub(super) fn pool_term(&self) -> Signal {
        match (self.results, self.remap_sigterm) {
            (ResultBackend::App, true) => Signal::SIGQUIT,
            _ => Signal::SIGTERM,
        }
    }

    /// How many unsettled messages the broker may give out; 0 is no limit, and so is what `basic.qos`
    /// cannot say.
    pub fn prefetch_count(&self) -> u16 {
        let most = self
            .autoscale
            .as_ref()
            .map_or(self.concurrency, |it| it.max);
        let count = most
            .max(1)
            .saturating_mul(self.prefetch_multiplier as usize);
        u16::try_from(count).unwrap_or(0)
    }
}

/// What a worker tells of itself, and to whom it listens beside its task queues.
#[derive(Clone, Debug)]
pub struct Monitoring {
    /// It answers remote control (`worker_enable_remote_control`).
    pub remote_control: bool,
    /// It sends events of its tasks from the start (`-E`).
    pub task_events: bool,
    /// It listens to the events of other workers (`--without-gossip` says no).
    pub gossip: bool,
    /// It greets other workers when it starts (`--without-mingle` says no).
    pub mingle: bool,
    /// How often it says that it is alive; never with `--without-heartbeat`.
    pub heartbeat: Option<Duration>,
    /// Where health and metrics are served (`--http`).
    pub http: Option<SocketAddr>,
    /// A file that is touched as long as the worker lives (`--heartbeat-file`).
    pub heartbeat_file: Option<PathBuf>,
    /// Where requests, replies and events go.
    pub channels: Channels,
    /// The settings that are not the default, as `inspect conf` shows them: a JSON object.
    pub conf: String,
    /// All settings, as `inspect conf yes` shows them.
    pub conf_with_defaults: String,
    /// What `inspect report` shows.
    pub report: String,
}

impl Default for Monitoring {
    fn default() -> Self {
        Self {
            remote_control: true,
            task_events: false,
            gossip: true,
            mingle: true,
            heartbeat: Some(Duration::from_secs(2)),
            http: None,
            heartbeat_file: None,
            channels: Channels::default(),
            conf: "{}".to_owned(),
            conf_with_defaults: "{}".to_owned(),
            report: String::new(),
        }
    }
}

/// How long a child may take to come up: an app that asks others for something at its start takes a while, and one that
/// is killed for that is no faster the next time.
const UP_TIMEOUT: Duration = Duration::from_secs(60);

/// How tasks live and end: limits, revocation, shutdown.
#[derive(Clone, Debug)]
pub struct LifeSettings {
    /// The limits of tasks that have none of their own and whose message has none (`--time-limit`,
    /// `--soft-time-limit`).
    pub limits: Limits,
    /// How often one task may lose its child, late acknowledged and with `reject_on_worker_lost`, before it is
    /// rejected for good. `None`: for ever, as Celery.
    pub max_worker_lost: Option<u32>,
    /// A child that uses more memory than this, in octets, is replaced once it has no task
    /// (`--max-memory-per-child`).
    pub max_memory_per_child: Option<u64>,
    /// A child that uses more memory than this, in octets, is killed in the middle of its task (`--max-memory-kill`).
    pub max_memory_kill: Option<u64>,
    /// How long a new child may take to come up (`worker_proc_alive_timeout`).
    pub up_timeout: Duration,
    /// How many revoked ids are remembered (`CELERY_WORKER_REVOKES_MAX`).
    pub revokes_max: usize,
    /// How long a revoked id is remembered (`CELERY_WORKER_REVOKE_EXPIRES`).
    pub revoke_expires: Duration,
    /// Where revoked ids survive the worker (`--statedb`).
    pub state_db: Option<PathBuf>,
    /// What a file of Celery's at that place holds, to be taken over.
    pub shelve: Option<Shelve>,
    /// How long a Python app's clerk may take for one thing (`--hook-timeout`).
    pub hook_timeout: Duration,
    /// How long a cold shutdown waits for running tasks (`worker_soft_shutdown_timeout`); zero: not at all.
    pub soft_shutdown_timeout: Duration,
    /// How long a warm shutdown waits for running tasks (`--grace`); zero: as long as they take.
    pub grace: Duration,
    /// What becomes of messages that cannot be run (`--dead-letter`, `--discard`, `--hand-back`).
    pub refusals: RefusalPolicy,
    /// A message that is delivered again while its task runs here, or after it has ended here, runs again, as in Celery
    /// (`--on-redelivery run`).
    pub runs_again: bool,
    /// Rate limits are not kept (`worker_disable_rate_limits`).
    pub disable_rate_limits: bool,
}

impl Default for LifeSettings {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            max_worker_lost: Some(3),
            max_memory_per_child: None,
            max_memory_kill: None,
            up_timeout: UP_TIMEOUT,
            revokes_max: revoked::REVOKES_MAX,
            revoke_expires: revoked::REVOKE_EXPIRES,
            state_db: None,
            shelve: None,
            hook_timeout: clerk::PATIENCE,
            soft_shutdown_timeout: Duration::ZERO,
            grace: Duration::ZERO,
            refusals: RefusalPolicy::default(),
            runs_again: false,
            disable_rate_limits: false,
        }
    }
}

/// How a worker gets on with its broker.
#[derive(Clone, Debug)]
pub struct BrokerSettings {
    /// How it connects; the brokers and the connection's name are filled in.
    pub link: link::Settings,
    /// A lost connection takes late tasks that run away from their children
    /// (`worker_cancel_long_running_tasks_on_connection_loss`).
    pub cancel_on_loss: bool,
    /// The worker ends, with status 1, when it has been without a broker for so long.
    pub exit_on_loss: Option<Duration>,
    /// How long the broker waits for an acknowledgement before it closes the channel: RabbitMQ's `consumer_timeout`,
    /// half an hour. What no child has begun by four fifths of it is handed back. `None`: it waits for ever.
    pub consumer_timeout: Option<Duration>,
    /// Queues whose tasks run long (`--long-tasks`): they have a channel of their own, which the broker may close without
    /// taking back what came from other queues.
    pub long_tasks: BTreeSet<String>,
    /// A worker with room that is sent nothing for so long asks the broker whether there is something. `None`: never.
    pub silence: Option<Duration>,
}

impl Default for BrokerSettings {
    fn default() -> Self {
        Self {
            link: link::Settings::new(vec![], ""),
            cancel_on_loss: false,
            exit_on_loss: None,
            consumer_timeout: Some(Duration::from_secs(1800)),
            long_tasks: BTreeSet::new(),
            silence: Some(Duration::from_secs(60)),
        }
    }
}

/// Where results go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultBackend {
    /// `rpc://`: a message to the caller's reply queue.
    Rpc,
    /// Nowhere (`disabled://`).
    Disabled,
    /// Where the app's own backend puts them: a Python app's children and its clerk.
    App,
}

/// A queue to consume, and how it is declared.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The queue's name.
    pub name: String,
    /// How it is bound, the queue's own exchange first.
    pub bindings: Vec<Binding>,
    /// Whether it survives a restart of the broker.
    pub durable: bool,
    /// Whether it belongs to this worker's connection.
    pub exclusive: bool,
    /// Whether it goes with its last consumer.
    pub auto_delete: bool,
    /// Whether it is declared and bound at all (kombu's `no_declare` says no).
    pub declared: bool,
    /// `x-queue-type` and its like.
    pub arguments: TableBuf,
    /// `x-priority` and its like.
    pub consumer_arguments: TableBuf,
}

/// One way for messages into a queue.
#[derive(Clone, Debug)]
pub struct Binding {
    /// From this exchange.
    pub exchange: Exchange,
    /// With this key.
    pub routing_key: String,
    /// What a headers exchange matches.
    pub arguments: TableBuf,
}

/// An exchange, and how it is declared.
#[derive(Clone, Debug)]
pub struct Exchange {
    /// Its name; empty for the default exchange, which is neither declared nor bound.
    pub name: String,
    /// Its type.
    pub kind: String,
    /// Whether it survives a restart of the broker.
    pub durable: bool,
    /// Whether it goes with its last binding.
    pub auto_delete: bool,
    /// Whether it is declared at all (kombu's `no_declare` says no).
    pub declared: bool,
    /// What plugins understand.
    pub arguments: TableBuf,
}

impl Exchange {
    /// Whether to declare it: the broker's own exchanges cannot be.
    pub fn is_ours(&self) -> bool {
        self.declared && !self.name.is_empty() && !self.name.starts_with("amq.")
    }
}

impl Queue {
    /// Whether only one of its consumers gets messages: the others wait beside a queue that may be full.
    pub(super) fn is_one_at_a_time(&self) -> bool {
        let argument = self.arguments.as_table().find("x-single-active-consumer");
        let value = argument.ok().flatten();
        value.and_then(|value| value.as_bool()) == Some(true)
    }

    /// A durable queue on a direct exchange of its own name, as Celery makes of a bare name.
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            bindings: vec![Binding {
                exchange: Exchange {
                    name: name.clone(),
                    kind: "direct".into(),
                    durable: true,
                    auto_delete: false,
                    declared: true,
                    arguments: TableBuf::new(),
                },
                routing_key: name.clone(),
                arguments: TableBuf::new(),
            }],
            durable: true,
            exclusive: false,
            auto_delete: false,
            declared: true,
            arguments: TableBuf::new(),
            consumer_arguments: TableBuf::new(),
            name,
        }
    }
}
