//! `celeriac list bindings`: what is bound to what, as RabbitMQ's management plugin tells it.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::process::ExitCode;
use std::time::Duration;

use clap::Subcommand;
use serde::Deserialize;

use super::{FAILURE, Setting, http};
use crate::link::BrokerUrl;
use crate::message::base64;
use crate::message::json::{Object, list};

/// Where the plugin listens, as kombu assumes.
const PORT: u16 = 15672;
const TIMEOUT: Duration = Duration::from_secs(10);

/// Get info from the broker. For RabbitMQ the management plugin is required
#[derive(Debug, clap::Args)]
#[command(
    args_override_self = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Inspect queue bindings
    Bindings(Bindings),
}

#[derive(Debug, clap::Args)]
struct Bindings {
    /// Where the management plugin listens; by default at port 15672 of the broker's host
    #[arg(long, value_name = "HOST:PORT")]
    management: Option<String>,

    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

/// What the plugin says of a binding, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Binding {
    source: String,
    destination: String,
    routing_key: String,
}

pub(super) fn run(arguments: &Arguments, setting: &Setting<'_>) -> ExitCode {
    let What::Bindings(arguments) = &arguments.what;
    let url = match BrokerUrl::parse_list(&setting.broker()) {
        Ok(urls) => urls.into_iter().next(),
        Err(error) => return setting.usage_error(&format!("broker: {error}")),
    };
    let bindings = url.ok_or_else(|| "there is no broker".to_owned());
    match bindings.and_then(|url| ask(&url, arguments.management.as_deref())) {
        Ok(bindings) if arguments.json => println!("{}", json(&bindings)),
        Ok(bindings) => print!("{}", table(&bindings)),
        Err(reason) => {
            eprintln!("Error: {reason}");
            return ExitCode::from(FAILURE);
        }
    }
    ExitCode::SUCCESS
}

fn ask(url: &BrokerUrl, management: Option<&str>) -> Result<Vec<Binding>, String> {
    let place = match management {
        Some(place) => place.to_owned(),
        None => format!("{}:{PORT}", url.host()),
    };
    let failed = |why: &str| {
        format!("the bindings are asked of RabbitMQ's management plugin at {place}: {why}")
    };
    let address: Option<SocketAddr> = place
        .to_socket_addrs()
        .map_err(|error| failed(&error.to_string()))?
        .next();
    let address = address.ok_or_else(|| failed("the name has no address"))?;
    let who = base64::encode(format!("{}:{}", url.user(), url.password()).as_bytes());
    let head = format!("Authorization: Basic {who}\r\n");
    let path = format!("/api/bindings/{}", escaped(url.vhost()));
    match http::get(address, &path, &head, TIMEOUT) {
        Ok((200, body)) => serde_json::from_str(&body).map_err(|error| failed(&error.to_string())),
        Ok((status, body)) => Err(failed(&format!("{status} {}", body.trim()))),
        Err(error) => Err(failed(&error.to_string())),
    }
}

/// A virtual host as a part of a path.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for octet in text.bytes() {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {
                escaped.push(char::from(octet));
            }
            _ => escaped.push_str(&format!("%{octet:02X}")),
        }
    }
    escaped
}

/// The lines that Celery prints.
fn table(bindings: &[Binding]) -> String {
    let line =
        |queue: &str, exchange: &str, key: &str| format!("{queue:<28} {exchange:<28} {key}\n");
    let rule = "-".repeat(16);
    let mut text = line("Queue", "Exchange", "Routing Key") + &line(&rule, &rule, &rule);
    for Binding {
        source,
        destination,
        routing_key,
    } in bindings
    {
        text += &line(destination, source, routing_key);
    }
    text
}

fn json(bindings: &[Binding]) -> String {
    let objects: Vec<String> = bindings.iter().map(object).collect();
    list(
        objects
            .iter()
            .map(|text| crate::message::json::Field::Json(text)),
    )
}

fn object(binding: &Binding) -> String {
    let mut object = Object::new();
    object
        .push("queue", &binding.destination)
        .push("exchange", &binding.source)
        .push("routing_key", &binding.routing_key);
    object.into_json()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_celerys() {
        let bindings = [Binding {
            source: "celery".into(),
            destination: "celery".into(),
            routing_key: "k".into(),
        }];
        assert_eq!(
            table(&bindings),
            "Queue                        Exchange                     Routing Key\n\
             ----------------             ----------------             ----------------\n\
             celery                       celery                       k\n"
        );
        assert_eq!(
            json(&bindings),
            r#"[{"queue": "celery", "exchange": "celery", "routing_key": "k"}]"#
        );
        assert_eq!(escaped("/"), "%2F");
    }
}
