//! `celeriac events --dump`: prints what workers say, a line for each event, in the form of Celery's.

use std::collections::{BTreeMap, VecDeque};
use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use super::remote::unavailable;
use super::{FAILURE, Setting};
use crate::amqp::Properties;
use crate::client::{Client, ClientError};
use crate::link::BrokerUrl;
use crate::message::channels::Channels;
use crate::message::event::{self, Event};
use crate::message::json::{Field, Object, Raw, python_float, python_str};
use crate::message::pidbox::Call;
use crate::message::signature;
use crate::sys::{clock, wait};
use crate::util::backoff::Backoff;
use crate::util::lamport::Lamport;

/// Labels of so many tasks are remembered.
const LABELS: usize = 4095;

/// The wait before another attempt to connect, and by how much it grows, as Celery's.
const STEP: Duration = Duration::from_secs(2);
/// The longest wait.
const LONGEST: Duration = Duration::from_secs(32);

/// Print the events of workers as they come
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub(super) struct Arguments {
    /// Print each event in a line
    #[arg(short, long)]
    dump: bool,

    /// Print each event as JSON in a line
    #[arg(short, long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, setting: &Setting<'_>) -> ExitCode {
    if !arguments.dump && !arguments.json {
        return setting.usage_error("There is no screen yet: give --dump or --json.");
    }
    let urls = match BrokerUrl::parse_list(&setting.broker()) {
        Ok(urls) => urls,
        Err(error) => return setting.usage_error(&format!("broker: {error}")),
    };
    let mut dump = Dump {
        json: arguments.json,
        channels: setting.channels(),
        ..Dump::default()
    };
    if !arguments.json {
        say("-> evdump: starting capture...\n");
    }
    dump.run(&urls)
}

/// Whether somebody reads it.
fn say(text: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
        .is_ok()
}

#[derive(Default)]
struct Dump {
    json: bool,
    channels: Channels,
    clock: Lamport,
    /// What is said of tasks in later events, by id.
    labels: BTreeMap<String, String>,
    /// The ids, the oldest first.
    known: VecDeque<String>,
}

impl Dump {
    /// Prints events, of one connection after the other, until nobody reads them.
    fn run(&mut self, urls: &[BrokerUrl]) -> ExitCode {
        let mut backoff = Backoff::new(STEP, STEP, LONGEST);
        loop {
            let error = match self.capture(urls, &mut backoff) {
                Ok(()) => return ExitCode::from(FAILURE),
                Err(error) => error,
            };
            let wait = match &error {
                ClientError::Unreachable(..) => backoff.next_delay(),
                ClientError::Socket(_) | ClientError::Closed(_) => {
                    self.tell("-> Connection lost, attempting reconnect\n");
                    continue;
                }
                _ => return unavailable("events", &error),
            };
            let seconds = wait.as_secs_f64();
            self.tell(&format!(
                "-> Cannot connect to {error}.\nTrying again in {seconds:.2} seconds\n\n"
            ));
            wait::pause(wait);
        }
    }

    /// Says something that is no event; not among JSON.
    fn tell(&self, text: &str) {
        match self.json {
            true => eprint!("{text}"),
            false => drop(say(text)),
        }
    }

    /// Prints events until nobody reads them.
    fn capture(&mut self, urls: &[BrokerUrl], backoff: &mut Backoff) -> Result<(), ClientError> {
        let mut client = Client::connect(urls)?;
        backoff.reset();
        let (channels, exchange) = (&self.channels, &self.channels.event_exchange);
        let queue = channels.event_listener(&signature::new_id());
        client.declare_exchange(exchange, "topic", true)?;
        client.consume_own(&queue, exchange, "#", &channels.event_queue)?;
        wake_up(&mut client, &channels.requests())?;
        loop {
            let body = client.receive(None, |message| Some(message.body.clone()))?;
            let now = clock::wall().duration_since(UNIX_EPOCH).unwrap_or_default();
            for event in event::read(&body).unwrap_or_default() {
                if !say(&self.line(event, now.as_secs_f64())) {
                    return Ok(());
                }
            }
        }
    }

    /// One event, received `now`, in seconds.
    fn line(&mut self, event: Event<'_>, now: f64) -> String {
        let kind = event.text("type").unwrap_or_default();
        let clock = match (kind.as_str(), event.clock()) {
            // Clients have no clock of their own: theirs is taken to be just before ours.
            ("task-sent", _) => self.clock.value().max(1) - 1,
            (_, 0) => self.clock.forward(),
            (_, clock) => {
                self.clock.adjust(clock);
                clock
            }
        };
        let received = python_float(now);
        let clock = clock.to_string();
        let mut fields: BTreeMap<&str, Raw<'_>> = BTreeMap::new();
        for name in event.fields.names() {
            fields.extend(event.fields.find(name).map(|value| (name, value)));
        }
        for (name, text) in [("clock", &clock), ("local_received", &received)] {
            fields.extend(Raw::parse(text).map(|value| (name, value)));
        }
        if self.json {
            let mut object = Object::new();
            for (name, value) in &fields {
                object.push(name, Field::Json(value.text()));
            }
            return object.into_json() + "\n";
        }
        let mut take = |name| fields.remove(name).map(python_str).unwrap_or_default();
        let (timestamp, host) = (take("timestamp"), take("hostname"));
        let _ = take("type");
        let time = time(timestamp.parse().unwrap_or_default());
        let mut label = String::new();
        if kind.starts_with("task-") {
            let id = take("uuid");
            if ["task-received", "task-sent"].contains(&kind.as_str()) {
                let (name, args, kwargs) = (take("name"), take("args"), take("kwargs"));
                self.remember(&id, format!("{name}({id}) args={args} kwargs={kwargs}"));
            }
            label = format!(" {}", self.labels.get(&id).map_or("", String::as_str));
        }
        let fields = fields
            .iter()
            .map(|(name, value)| format!("{name}={}", python_str(*value)));
        let fields: Vec<String> = fields.collect();
        format!(
            "{host} [{time}] {}:{label} {}\n",
            words(&kind),
            fields.join(", ")
        )
    }

    fn remember(&mut self, id: &str, label: String) {
        if self.labels.insert(id.to_owned(), label).is_none() {
            self.known.push_back(id.to_owned());
        }
        if self.known.len() > LABELS
            && let Some(oldest) = self.known.pop_front()
        {
            self.labels.remove(&oldest);
        }
    }
}

/// Has all workers say that they are there.
fn wake_up(client: &mut Client, requests: &str) -> Result<(), ClientError> {
    let call = Call {
        method: "heartbeat",
        arguments: "{}",
        destination: None,
        pattern: None,
        reply: None,
    };
    let properties = Properties {
        content_type: Some("application/json".into()),
        content_encoding: Some("utf-8".into()),
        delivery_mode: Some(2),
        priority: Some(0),
        ..Properties::default()
    };
    client.declare_exchange(requests, "fanout", false)?;
    client.publish_to(requests, "", &properties, &call.body())
}

/// A type as people read it.
fn words(kind: &str) -> String {
    match kind {
        "worker-online" => "started".to_owned(),
        "worker-offline" => "shutdown".to_owned(),
        "worker-heartbeat" => "heartbeat".to_owned(),
        _ => kind.to_lowercase().replace('-', " "),
    }
}

/// `str(datetime.fromtimestamp(seconds, timezone.utc))`, which rounds the fraction alone, and half to even.
fn time(seconds: f64) -> String {
    let fraction = (seconds.fract() * 1e6).round_ties_even() as i64;
    let micros = (seconds.trunc() as i64)
        .saturating_mul(1_000_000)
        .saturating_add(fraction);
    let Ok(at) = jiff::Timestamp::from_microsecond(micros) else {
        return seconds.to_string();
    };
    let at = jiff::tz::TimeZone::UTC.to_datetime(at);
    let fraction = match at.subsec_nanosecond() / 1000 {
        0 => String::new(),
        micros => format!(".{micros:06}"),
    };
    format!("{}{fraction}+00:00", at.strftime("%Y-%m-%d %H:%M:%S"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(dump: &mut Dump, json: &str) -> String {
        let event = event::read(json.as_bytes()).unwrap().remove(0);
        dump.line(event, 1795174822.282203)
    }

    /// Lines of the capture `events_dump`.
    #[test]
    fn lines_are_celerys() {
        let mut dump = Dump::default();
        let heartbeat = r#"{"hostname": "ref@lab", "utcoffset": 0.0, "pid": 26475, "clock": 6, "freq": 5, "sw_ident": "py-celery", "sw_ver": "5.7.0", "sw_sys": "Linux", "timestamp": 1795174822.281357, "type": "worker-heartbeat"}"#;
        assert_eq!(
            line(&mut dump, heartbeat),
            "ref@lab [2026-11-20 11:40:22.281357+00:00] heartbeat: clock=6, freq=5, local_received=1795174822.282203, pid=26475, sw_ident=py-celery, sw_sys=Linux, sw_ver=5.7.0, utcoffset=0.0\n"
        );
        let received = r#"{"hostname": "ref@lab", "clock": 12, "uuid": "ev-add", "name": "proj.add", "args": "(1, 2)", "kwargs": "{}", "eta": null, "timestamp": 1795174825, "type": "task-received"}"#;
        assert_eq!(
            line(&mut dump, received),
            "ref@lab [2026-11-20 11:40:25+00:00] task received: proj.add(ev-add) args=(1, 2) kwargs={} clock=12, eta=None, local_received=1795174822.282203\n"
        );
        let started = r#"{"hostname": "ref@lab", "clock": 16, "uuid": "ev-add", "timestamp": 1795174825.5, "type": "task-started"}"#;
        assert!(
            line(&mut dump, started)
                .contains("task started: proj.add(ev-add) args=(1, 2) kwargs={} clock=16")
        );
        let sent = r#"{"hostname": "gen", "clock": 1, "uuid": "x", "name": "n", "args": "()", "kwargs": "{}", "timestamp": 1.0, "type": "task-sent"}"#;
        assert!(
            line(&mut dump, sent).contains("clock=16,"),
            "just before the 17 that comes next"
        );
    }

    /// As Python 3.11 prints them.
    #[test]
    fn times_are_rounded_as_pythons() {
        for (seconds, shown) in [
            (1795700735.7924965, "2026-11-26 13:45:35.792496+00:00"),
            (1795700735.7924967, "2026-11-26 13:45:35.792497+00:00"),
            (1795700735.0, "2026-11-26 13:45:35+00:00"),
            (1795700735.9999998, "2026-11-26 13:45:36+00:00"),
        ] {
            assert_eq!(time(seconds), shown);
        }
    }

    #[test]
    fn labels_are_bounded() {
        let mut dump = Dump::default();
        for number in 0..LABELS + 10 {
            dump.remember(&number.to_string(), String::new());
        }
        assert_eq!(dump.labels.len(), LABELS);
        assert!(!dump.labels.contains_key("0"));
    }
}
