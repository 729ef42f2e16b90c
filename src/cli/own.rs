//! Options of the worker that Celery has not. For a Python app they are taken off its command line.

use std::ffi::OsString;

use std::time::Duration;

use clap::{Args, Parser, ValueEnum};

use crate::link::Failover;
use crate::worker::{BrokerSettings, LifeSettings, Settings};

/// Their names, each with a value.
pub(super) const NAMES: [&str; 7] = [
    "--max-worker-lost",
    "--dead-letter",
    "--on-connection-loss",
    "--exit-on-broker-loss",
    "--consumer-timeout",
    "--ask-after-silence",
    "--failover",
];

/// See the [module page](self).
#[derive(Args, Clone, Debug, Default)]
pub(super) struct Own {
    /// How often one task may cost its child's life before it is handed back no more: 3 by default; 0 for any number
    #[arg(long, value_name = "N")]
    max_worker_lost: Option<u32>,

    /// Reject these, for the queue's dead-letter exchange to keep, where Celery acknowledges and forgets them
    #[arg(long, value_delimiter = ',', value_name = "LIST")]
    dead_letter: Vec<Class>,

    /// What becomes of running tasks that are acknowledged late when the connection is lost: they go on, or are cancelled
    #[arg(long, value_name = "WHAT")]
    on_connection_loss: Option<OnLoss>,

    /// End, with status 1, after so many seconds without a broker
    #[arg(long, value_name = "SECONDS")]
    exit_on_broker_loss: Option<f64>,

    /// Seconds that the broker waits for an acknowledgement: 1800, as RabbitMQ; 0 for any time. Tasks that no child has
    /// begun are handed back before
    #[arg(long, value_name = "SECONDS")]
    consumer_timeout: Option<f64>,

    /// With room for tasks and none coming for so many seconds, ask the broker whether there are any: 60; 0 for never
    #[arg(long, value_name = "SECONDS")]
    ask_after_silence: Option<f64>,

    /// The order of brokers in a list: round-robin, shuffle, or priority, which goes back to the first after a loss
    #[arg(long, value_name = "ORDER", value_parser = failover)]
    failover: Option<Failover>,
}

/// What a lost connection means for tasks that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OnLoss {
    /// They go on.
    Keep,
    /// They are taken from their children.
    Cancel,
}

fn failover(name: &str) -> Result<Failover, String> {
    Failover::named(name).ok_or_else(|| "round-robin, shuffle or priority".to_owned())
}

/// So many seconds; none for 0.
fn time(seconds: f64) -> Option<Duration> {
    let time = Duration::try_from_secs_f64(seconds).ok();
    time.filter(|time| !time.is_zero())
}

/// What cannot be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Class {
    /// Tasks whose time has passed.
    Expired,
    /// Messages whose body cannot be decoded.
    Undecodable,
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
        life.dead_letter_expired |= self.dead_letter.contains(&Class::Expired);
        life.dead_letter_undecodable |= self.dead_letter.contains(&Class::Undecodable);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_change_what_they_name_and_no_more() {
        let read = |line: &str| {
            let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
            let (mut life, mut broker) = (LifeSettings::default(), BrokerSettings::default());
            let own = Own::read(&words)?;
            own.apply_to_life(&mut life);
            own.apply_to_broker(&mut broker);
            Ok::<_, String>((life, broker))
        };
        let (life, _) = read("--max-worker-lost 0 --dead-letter expired,undecodable").unwrap();
        assert_eq!(life.max_worker_lost, None);
        assert!(life.dead_letter_expired && life.dead_letter_undecodable);
        let (life, _) = read("--max-worker-lost=7").unwrap();
        assert_eq!(
            (life.max_worker_lost, life.dead_letter_expired),
            (Some(7), false)
        );
        assert!(read("--dead-letter everything").is_err());
        let (_, broker) = read(
            "--on-connection-loss cancel --exit-on-broker-loss 9 --consumer-timeout 0 --ask-after-silence 0.5 \
             --failover priority",
        )
        .unwrap();
        assert!(broker.cancel_on_loss);
        assert_eq!(broker.exit_on_loss, Some(Duration::from_secs(9)));
        assert_eq!(broker.consumer_timeout, None);
        assert_eq!(broker.silence, Some(Duration::from_millis(500)));
        assert_eq!(broker.link.retry.failover, Failover::Priority);
        assert!(read("--failover nowhere").is_err());
    }
}
