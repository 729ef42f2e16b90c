//! `celeriac broker`: a broker in memory, for development and tests; `celeriac broker queues` shows what is in one.

use std::io::{self, Write as _};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;

use serde::Deserialize;

use super::log::{self, Level};
use super::{FAILURE, Setting, UNAVAILABLE};
use crate::broker::{Broker, OVERVIEW_QUEUE, Rules, Settings, User};
use crate::client::{Client, ClientError};
use crate::hub::{Hub, Next};
use crate::link::BrokerUrl;
use crate::sys::signal::{Signal, SignalFd};

/// Run a broker in memory, for development and tests
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,

    /// Where to listen; port 0 for any free port
    #[arg(long, default_value = "127.0.0.1:5672", value_name = "HOST:PORT")]
    listen: Address,

    /// Who may log in; may be given several times. guest may only from this machine
    #[arg(long, default_value = "guest:guest", value_parser = user, value_name = "NAME:PASSWORD")]
    user: Vec<User>,

    /// A virtual host; may be given several times
    #[arg(long, default_value = "/", value_name = "NAME")]
    vhost: Vec<String>,

    /// Whose restrictions to keep: rabbitmq-3.10, or rabbitmq-4.3, which refuses more
    #[arg(long, default_value = "rabbitmq-3.10", value_name = "RULES")]
    rules: Rules,

    /// What to log: DEBUG, INFO, WARNING, ERROR, CRITICAL or FATAL, in any case
    #[arg(short, long, default_value = "WARNING", value_name = "LEVEL")]
    loglevel: Level,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Show the queues of the broker that is running
    Queues,
}

const EXAMPLES: &str = "\
Examples:
  Run a broker for the programs on this machine:
    celeriac broker

  For others too, with a user of their own:
    celeriac broker --listen 0.0.0.0:5672 --user ann:secret

  Show the queues of the broker that is running here:
    celeriac broker queues";

/// `--listen`: a host and a port, or a port of the loopback interface.
#[derive(Clone, Debug)]
struct Address(String);

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = text.strip_prefix(':').unwrap_or(text);
        let whole = match port.parse::<u16>() {
            Ok(port) => format!("127.0.0.1:{port}"),
            Err(_) => text.to_owned(),
        };
        match whole.to_socket_addrs() {
            Ok(_) => Ok(Self(whole)),
            Err(error) => Err(format!("{text}: {error}")),
        }
    }
}

fn user(text: &str) -> Result<User, String> {
    User::parse(text).ok_or_else(|| "a user is written NAME:PASSWORD".to_owned())
}

pub(super) fn run(arguments: Arguments, setting: &Setting<'_>) -> ExitCode {
    match arguments.command {
        Some(Command::Queues) => show_queues(setting),
        None => match serve(arguments, setting) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("Error: {error}");
                ExitCode::from(FAILURE)
            }
        },
    }
}

fn serve(arguments: Arguments, setting: &Setting<'_>) -> Result<(), String> {
    let log = log::Settings {
        level: arguments.loglevel,
        file: None,
        colour: setting.colour(),
        zone: None,
        format: log::Format::Celery,
    };
    log::start(&log, "Broker").map_err(|error| format!("cannot log: {error}"))?;
    let settings = Settings {
        users: arguments.user,
        virtual_hosts: arguments.vhost,
        rules: arguments.rules,
        ..Settings::default()
    };
    let Address(wanted) = arguments.listen;
    let user = settings
        .users
        .first()
        .map_or("guest", |user| &user.name)
        .to_owned();
    let mut broker = Broker::new(settings);
    let mut hub = Hub::new().map_err(|error| error.to_string())?;
    let address = broker
        .listen(&mut hub, &*wanted)
        .map_err(|error| format!("cannot listen at {wanted}: {error}"))?;
    stop_on_signals(&mut hub).map_err(|error| error.to_string())?;
    if !setting.global.quiet {
        println!("{}", announcement(address, &user));
        let _ = io::stdout().flush(); // a closed terminal is no reason not to work
    }
    hub.run(&mut broker).map_err(|error| error.to_string())
}

/// What the broker says it is.
fn announcement(address: SocketAddr, user: &str) -> String {
    format!(
        "celeriac broker at amqp://{user}@{address}// - in memory, for development and tests: what it holds is gone when \
         it stops. For production use RabbitMQ: set broker_url (or CELERY_BROKER_URL) to its address."
    )
}

/// SIGINT or SIGTERM closes connections in good order; the Hub then has a moment to say so.
fn stop_on_signals(hub: &mut Hub<Broker>) -> io::Result<()> {
    const FAREWELL: std::time::Duration = std::time::Duration::from_millis(100);
    let signals = SignalFd::new(&[Signal::SIGINT, Signal::SIGTERM])?;
    let source = signals.clone();
    hub.add_reader(source, move |broker: &mut Broker, hub, _| {
        if let Ok(Some(_)) = signals.read() {
            broker.close_connections(hub, "the broker is stopping");
            hub.call_after(FAREWELL, |broker: &mut Broker, hub| {
                broker.close(hub);
                hub.stop();
            });
        }
        Next::Wait
    })?;
    Ok(())
}

/// One queue, as the broker describes it.
#[derive(Debug, Deserialize)]
struct Queue {
    vhost: String,
    name: String,
    messages: u64,
    messages_ready: u64,
    messages_unacknowledged: u64,
    consumers: u64,
    memory: u64,
}

fn show_queues(setting: &Setting<'_>) -> ExitCode {
    let urls = match BrokerUrl::parse_list(&setting.broker()) {
        Ok(urls) => urls,
        Err(error) => {
            eprintln!("Error: broker: {error}");
            return ExitCode::from(FAILURE);
        }
    };
    match fetch_queues(&urls) {
        Ok(queues) => {
            print!("{}", table(&queues));
            ExitCode::SUCCESS
        }
        Err(ClientError::Refused { code: 404, .. }) => {
            eprintln!("Error: the broker is not celeriac's, or not on this machine.");
            ExitCode::from(FAILURE)
        }
        Err(error) => {
            eprintln!("Error: {error}");
            ExitCode::from(UNAVAILABLE)
        }
    }
}

fn fetch_queues(urls: &[BrokerUrl]) -> Result<Vec<Queue>, ClientError> {
    let mut client = Client::connect(urls)?;
    let body = client.fetch(OVERVIEW_QUEUE)?.unwrap_or_default();
    client.close();
    serde_json::from_slice(&body).map_err(|error| ClientError::Unsendable(error.to_string()))
}

/// Columns under their names, queues in order.
fn table(queues: &[Queue]) -> String {
    let mut rows = vec![
        [
            "vhost",
            "name",
            "messages",
            "ready",
            "unacknowledged",
            "consumers",
            "memory",
        ]
        .map(str::to_owned),
    ];
    rows.extend(queues.iter().map(|queue| {
        [
            queue.vhost.clone(),
            queue.name.clone(),
            queue.messages.to_string(),
            queue.messages_ready.to_string(),
            queue.messages_unacknowledged.to_string(),
            queue.consumers.to_string(),
            queue.memory.to_string(),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<usize> = (0..7).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            let width = widths[column];
            if column < 2 {
                text.push_str(&format!("{cell:<width$}  "));
            } else {
                text.push_str(&format!("{cell:>width$}  "));
            }
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_be_only_a_port() {
        for (text, whole) in [
            ("5673", "127.0.0.1:5673"),
            (":0", "127.0.0.1:0"),
            ("0.0.0.0:1", "0.0.0.0:1"),
        ] {
            assert_eq!(text.parse::<Address>().unwrap().0, whole);
        }
        assert!("nowhere".parse::<Address>().is_err());
    }

    #[test]
    fn the_announcement_says_what_it_is_and_what_to_use_instead() {
        let text = announcement("127.0.0.1:5672".parse().unwrap(), "guest");
        for word in [
            "amqp://guest@127.0.0.1:5672//",
            "in memory",
            "RabbitMQ",
            "broker_url",
        ] {
            assert!(text.contains(word), "{text}");
        }
    }

    #[test]
    fn queues_are_a_table() {
        let body = br#"[{"vhost": "/", "name": "celery", "messages": 12, "messages_ready": 2,
            "messages_unacknowledged": 10, "consumers": 1, "memory": 640}]"#;
        let queues: Vec<Queue> = serde_json::from_slice(body).unwrap();
        let text = table(&queues);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0][1], "name");
        assert_eq!(lines[1], ["/", "celery", "12", "2", "10", "1", "640"]);
    }
}
