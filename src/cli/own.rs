//! Options of the worker that Celery has not. For a Python app they are taken off its command line.

use std::ffi::OsString;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use crate::link::Failover;
use crate::message::record::Verdict;
use crate::util::span;
use crate::worker::{BrokerSettings, LifeSettings, Settings};

/// Their names, each with a value.
pub(super) const NAMES: [&str; 18] = [
    "--log-format",
    "--hook-timeout",
    "--max-worker-lost",
    "--max-memory-kill",
    "--grace",
    "--soft-shutdown-timeout",
    "--dead-letter",
    "--discard",
    "--hand-back",
    "--on-connection-loss",
    "--on-redelivery",
    "--exit-on-broker-loss",
    "--consumer-timeout",
    "--long-tasks",
    "--ask-after-silence",
    "--failover",
    "--http",
    "--heartbeat-file",
];

/// See the [module page](self).
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Own {
    /// What the lines of the log look like: text, as Celery's, or json, an object a line, with the fields of its task
    #[arg(
        long,
        env = "CELERIAC_LOG_FORMAT",
        hide_env_values = true,
        default_value = "text",
        hide_possible_values = true,
        value_name = "FORMAT"
    )]
    pub(super) log_format: LogFormat,

    /// How often one task may cost its child's life before it is handed back no more: 3 by default; 0 for any number
    #[arg(long, value_name = "N")]
    max_worker_lost: Option<u32>,

    /// Kill a child that uses more KiB of memory in the middle of its task
    #[arg(long, value_name = "KIB")]
    max_memory_kill: Option<u64>,

    /// Seconds that a hook or a receiver of a signal may take in the process that calls them for main: 30 by default
    #[arg(long, value_name = "SECONDS")]
    hook_timeout: Option<f64>,

    /// Seconds that a warm shutdown leaves to running tasks, and then is a cold one: for ever by default
    #[arg(
        long,
        env = "CELERIAC_GRACE",
        hide_env_values = true,
        value_name = "SECONDS"
    )]
    grace: Option<f64>,

    /// Seconds that a cold shutdown leaves to running tasks
    #[arg(long, value_name = "SECONDS")]
    soft_shutdown_timeout: Option<f64>,

    /// Reject these, for the queue's dead-letter exchange to keep, where Celery acknowledges and forgets them
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    dead_letter: Vec<Forgotten>,

    /// Acknowledge and forget these, where Celery rejects them
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    discard: Vec<Rejected>,

    /// Hand unregistered tasks back to their queue after so many seconds, for a worker that knows them
    #[arg(long, value_name = "SECONDS", conflicts_with = "discard")]
    hand_back: Option<f64>,

    /// What becomes of running tasks that are acknowledged late when the connection is lost: they go on, or are cancelled
    #[arg(long, value_name = "WHAT")]
    on_connection_loss: Option<OnLoss>,

    /// What becomes of a message that is delivered again while its task runs here, or after it has ended here: it is
    /// recognised, and settled by that, or its task is run again, as Celery does
    #[arg(long, value_name = "WHAT")]
    on_redelivery: Option<OnRedelivery>,

    /// End, with status 1, after so many seconds without a broker
    #[arg(long, value_name = "SECONDS")]
    exit_on_broker_loss: Option<f64>,

    /// Seconds that the broker waits for an acknowledgement: 1800, as RabbitMQ; 0 for any time. Tasks that no child has
    /// begun are handed back before
    #[arg(long, value_name = "SECONDS")]
    consumer_timeout: Option<f64>,

    /// Queues, of those consumed, whose tasks may run longer than that: they get a channel of their own, and what the
    /// broker does about them does not concern the others
    #[arg(long, value_delimiter = ',', value_name = "QUEUES")]
    long_tasks: Vec<String>,

    /// With room for tasks and none coming for so many seconds, ask the broker whether there are any: 60; 0 for never
    #[arg(long, value_name = "SECONDS")]
    ask_after_silence: Option<f64>,

    /// The order of brokers in a list: round-robin, shuffle, or priority, which goes back to the first after a loss
    #[arg(long, value_name = "ORDER", value_parser = failover)]
    failover: Option<Failover>,

    /// Serve /livez, /readyz and /metrics at this address, for example 127.0.0.1:9540; a port alone is one of this
    /// machine's own address
    #[arg(
        long,
        env = "CELERIAC_HTTP",
        hide_env_values = true,
        value_parser = address,
        value_name = "ADDRESS"
    )]
    http: Option<SocketAddr>,

    /// Touch this file every second while the worker lives, for probes that can look at files only
    #[arg(long, value_name = "PATH")]
    heartbeat_file: Option<PathBuf>,
}

/// An address with a port; or a port, of the loopback address.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let port = text.trim_start_matches(':').parse::<u16>();
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let address = port.map(loopback).or_else(|_| text.parse());
    address.map_err(|_| format!("'{text}' is neither an address with a port nor a port."))
}

/// What lines of the log look like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(super) enum LogFormat {
    /// As Celery's, or as the app has it.
    #[default]
    Text,
    /// A JSON object a line.
    Json,
}

/// What a lost connection means for tasks that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnLoss {
    /// They go on.
    Keep,
    /// They are taken from their children.
    Cancel,
}

/// What a second delivery means for a task that is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnRedelivery {
    /// It is not run twice.
    Recognise,
    /// It is.
    Run,
}

fn failover(name: &str) -> Result<Failover, String> {
    Failover::named(name).ok_or_else(|| "round-robin, shuffle or priority".to_owned())
}

/// So many seconds; none for 0.
fn time(seconds: f64) -> Option<Duration> {
    let time = span::seconds(seconds);
    time.filter(|time| !time.is_zero())
}

/// What cannot be run, and is forgotten.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Forgotten {
    /// Tasks whose time has passed.
    Expired,
    /// Messages whose body cannot be decoded. (What only a child can decode is rejected if its task is acknowledged late.)
    Undecodable,
}

/// What cannot be run, and is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Rejected {
    /// Tasks that are not registered.
    Unregistered,
    /// Messages that are no task, or none that can be run.
    Invalid,
}

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    own: Own,
}

impl Own {
    /// Reads these options and nothing else.
    pub(super) fn read(words: &[OsString]) -> Result<Self, String> {
        let words = std::iter::once("celeriac".into()).chain(words.iter().cloned());
        let line = Line::try_parse_from(words).map_err(|error| error.to_string())?;
        Ok(line.own)
    }

    /// Has them hold.
    pub(super) fn apply(&self, settings: &mut Settings) {
        self.apply_to_life(&mut settings.life);
        self.apply_to_broker(&mut settings.broker);
        settings.monitoring.http = self.http;
        settings
            .monitoring
            .heartbeat_file
            .clone_from(&self.heartbeat_file);
    }

    fn apply_to_broker(&self, broker: &mut BrokerSettings) {
        if let Some(what) = self.on_connection_loss {
            broker.cancel_on_loss = what == OnLoss::Cancel;
        }
        if let Some(seconds) = self.exit_on_broker_loss {
            broker.exit_on_loss = time(seconds);
        }
        if let Some(seconds) = self.consumer_timeout {
            broker.consumer_timeout = time(seconds);
        }
        broker.long_tasks.extend(self.long_tasks.iter().cloned());
        if let Some(seconds) = self.ask_after_silence {
            broker.silence = time(seconds);
        }
        if let Some(order) = self.failover {
            broker.link.retry.failover = order;
        }
    }

    fn apply_to_life(&self, life: &mut LifeSettings) {
        if let Some(most) = self.max_worker_lost {
            life.max_worker_lost = Some(most).filter(|most| *most > 0);
        }
        if let Some(kib) = self.max_memory_kill {
            life.max_memory_kill = Some(kib.saturating_mul(1024)).filter(|octets| *octets > 0);
        }
        life.runs_again = self.on_redelivery == Some(OnRedelivery::Run);
        let seconds = |given: Option<f64>| span::seconds(given?);
        life.hook_timeout = seconds(self.hook_timeout).unwrap_or(life.hook_timeout);
        life.grace = seconds(self.grace).unwrap_or(life.grace);
        let patience = seconds(self.soft_shutdown_timeout);
        life.soft_shutdown_timeout = patience.unwrap_or(life.soft_shutdown_timeout);

        let refusals = &mut life.refusals;
        for class in &self.dead_letter {
            match class {
                Forgotten::Expired => refusals.expired = Verdict::Reject,
                Forgotten::Undecodable => refusals.undecodable = Verdict::Reject,
            }
        }
        for class in &self.discard {
            match class {
                Rejected::Unregistered => refusals.unregistered = Verdict::Ack,
                Rejected::Invalid => refusals.invalid = Verdict::Ack,
            }
        }
        if let Some(pause) = seconds(self.hand_back) {
            (refusals.unregistered, refusals.pause) = (Verdict::Requeue, pause);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::RefusalPolicy;

    fn both(line: &str) -> Result<(LifeSettings, BrokerSettings), String> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let (mut life, mut broker) = (LifeSettings::default(), BrokerSettings::default());
        let own = Own::read(&words)?;
        own.apply_to_life(&mut life);
        own.apply_to_broker(&mut broker);
        Ok((life, broker))
    }

    fn read(line: &str) -> Result<LifeSettings, String> {
        both(line).map(|(life, _)| life)
    }

    #[test]
    fn they_change_what_they_name_and_no_more() {
        let life = read("--max-worker-lost=7 --max-memory-kill 2048").unwrap();
        assert_eq!(
            (life.max_worker_lost, life.max_memory_kill),
            (Some(7), Some(2 << 20))
        );
        assert_eq!(life.refusals, RefusalPolicy::default());
        assert!(!life.runs_again && read("--on-redelivery run").unwrap().runs_again);
        assert_eq!(read("--max-worker-lost 0").unwrap().max_worker_lost, None);
        let life = read("--grace 2.5 --soft-shutdown-timeout 3").unwrap();
        let patience = (life.grace, life.soft_shutdown_timeout);
        assert_eq!(
            patience,
            (Duration::from_millis(2500), Duration::from_secs(3))
        );
    }

    /// T28: a policy for each class.
    #[test]
    fn what_cannot_be_run_is_kept_forgotten_or_handed_back() {
        let policy = |line: &str| read(line).unwrap().refusals;
        let default = RefusalPolicy::default();
        let kept = RefusalPolicy {
            expired: Verdict::Reject,
            undecodable: Verdict::Reject,
            ..default
        };
        assert_eq!(policy("--dead-letter expired,undecodable"), kept);
        let forgotten = RefusalPolicy {
            invalid: Verdict::Ack,
            unregistered: Verdict::Ack,
            ..default
        };
        assert_eq!(policy("--discard invalid,unregistered"), forgotten);
        let handed_back = RefusalPolicy {
            unregistered: Verdict::Requeue,
            pause: Duration::from_millis(500),
            ..default
        };
        assert_eq!(policy("--hand-back 0.5"), handed_back);
        assert!(read("--dead-letter everything").is_err());
        assert!(
            read("--discard expired").is_err(),
            "Celery does that anyway"
        );
    }

    #[test]
    fn those_of_the_connection_are_the_connections() {
        let (_, broker) = both(
            "--on-connection-loss cancel --exit-on-broker-loss 9 --consumer-timeout 0 --ask-after-silence 0.5 \
             --failover priority --long-tasks a,b",
        )
        .unwrap();
        assert!(broker.cancel_on_loss);
        assert_eq!(broker.exit_on_loss, Some(Duration::from_secs(9)));
        assert_eq!(broker.consumer_timeout, None);
        assert_eq!(broker.silence, Some(Duration::from_millis(500)));
        assert!(broker.long_tasks.iter().eq(["a", "b"]));
        assert_eq!(broker.link.retry.failover, Failover::Priority);
        assert!(both("--failover nowhere").is_err());
    }
}
