//! `celeriac status`, `inspect` and `control`: remote control of workers, Celery's or our own.

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use super::render::{self, Style};
use super::values::Seconds;
use super::{Setting, UNAVAILABLE};
use crate::client::{ClientError, Control, NodeReply};
use crate::link::BrokerUrl;
use crate::message::channels::Channels;
use crate::message::json::{Field, Object, Raw, list};
use crate::worker::control::{Argument, COMMANDS, Command, Kind};

/// Show which workers are there
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub(super) struct StatusArguments {
    #[command(flatten)]
    options: Options,
}

/// Ask workers something
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub(super) struct InspectArguments {
    #[command(flatten)]
    request: RequestArguments,
}

/// Tell workers to do something
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub(super) struct ControlArguments {
    #[command(flatten)]
    request: RequestArguments,
}

#[derive(Debug, clap::Args)]
struct RequestArguments {
    #[command(flatten)]
    options: Options,

    /// List the commands
    #[arg(long)]
    list: bool,

    /// What to ask or tell
    #[arg(value_name = "COMMAND")]
    command: Option<String>,

    /// Arguments of the command
    #[arg(value_name = "ARGS", hide = true)]
    words: Vec<String>,
}

#[derive(Debug, clap::Args)]
struct Options {
    /// Seconds to wait for the next reply
    #[arg(short, long, default_value = "1.0", value_name = "SECONDS")]
    timeout: Seconds,

    /// Nodes to ask, joined by commas; all by default
    #[arg(short, long, value_delimiter = ',', value_name = "LIST")]
    destination: Vec<String>,

    /// Print JSON
    #[arg(short, long)]
    json: bool,
}

/// What is asked, and how it is shown.
struct Request<'a> {
    /// `status`, `inspect` or `control`.
    name: &'a str,
    method: &'a str,
    arguments: String,
    options: &'a Options,
    channels: Channels,
    body: bool,
}

pub(super) fn status(arguments: &StatusArguments, setting: &Setting<'_>) -> ExitCode {
    let request = Request {
        name: "status",
        method: "ping",
        arguments: "{}".to_owned(),
        options: &arguments.options,
        channels: setting.channels(),
        body: false,
    };
    request.run(setting)
}

pub(super) fn inspect(arguments: &InspectArguments, setting: &Setting<'_>) -> ExitCode {
    request(Kind::Inspect, &arguments.request, setting)
}

pub(super) fn control(arguments: &ControlArguments, setting: &Setting<'_>) -> ExitCode {
    request(Kind::Control, &arguments.request, setting)
}

fn request(kind: Kind, given: &RequestArguments, setting: &Setting<'_>) -> ExitCode {
    if given.list {
        print!("{}", listed(kind, setting.app.commands()));
        return ExitCode::SUCCESS;
    }
    let Some(name) = &given.command else {
        return setting.usage_error("Missing argument 'COMMAND'.");
    };
    let (kind, name) = todays(kind, name);
    let own = setting.app.commands();
    let command = commands(kind, own).find(|command| command.name == name);
    let Some(command) = command else {
        let known: Vec<&str> = commands(kind, own).map(|command| command.name).collect();
        let (word, known) = (word(kind), known.join(", "));
        return setting.usage_error(&format!(
            "Command {name} not recognized. Available {word} commands: {known}"
        ));
    };
    let arguments = match compile(command, &given.words) {
        Ok(arguments) => arguments,
        Err(reason) => return setting.usage_error(&reason),
    };
    let request = Request {
        name: word(kind),
        method: command.name,
        arguments,
        options: &given.options,
        channels: setting.channels(),
        body: true,
    };
    request.run(setting)
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Inspect => "inspect",
        Kind::Control => "control",
    }
}

/// Names of earlier days: commands that were called otherwise, or belonged to `inspect`.
fn todays(kind: Kind, name: &str) -> (Kind, &str) {
    const MOVED: [&str; 4] = [
        "enable_events",
        "disable_events",
        "add_consumer",
        "cancel_consumer",
    ];
    match (kind, name) {
        (Kind::Inspect, "registered_tasks") => (kind, "registered"),
        (Kind::Inspect, "diagnose") => (kind, "stats"),
        (Kind::Inspect, name) if MOVED.contains(&name) => (Kind::Control, name),
        _ => (kind, name),
    }
}

/// The program's own commands, then Celery's.
fn commands(kind: Kind, own: &[Command]) -> impl Iterator<Item = &Command> {
    own.iter()
        .chain(COMMANDS)
        .filter(move |command| command.kind == kind && command.visible)
}

fn listed(kind: Kind, own: &[Command]) -> String {
    let rows = commands(kind, own).map(|command| {
        let name = match command.signature {
            Some(signature) => format!("{} {signature}", command.name),
            None => command.name.to_owned(),
        };
        (name, command.help)
    });
    let rows: Vec<_> = rows.collect();
    let title = match kind {
        Kind::Inspect => "Inspect",
        Kind::Control => "Control",
    };
    format!("{title} Commands:\n{}", render::columns(&rows))
}

/// The words of the command line as a command's arguments: a JSON object. Too few are the node's to refuse.
fn compile(command: &Command, words: &[String]) -> Result<String, String> {
    let mut object = Object::new();
    for ((name, kind), word) in command.words.iter().zip(words) {
        let json =
            value(*kind, word).map_err(|reason| format!("Invalid value for '{name}': {reason}"))?;
        object.push(name, Field::Json(&json));
    }
    let rest = words.get(command.words.len()..).unwrap_or_default();
    match (command.variadic, command.signature) {
        (Some(name), _) => {
            let rest = list(rest);
            object.push(name, Field::Json(&rest));
        }
        (None, Some(signature)) if !rest.is_empty() => {
            return Err(format!(
                "Command '{}' takes arguments: {signature}",
                command.name
            ));
        }
        (None, _) => {}
    }
    Ok(object.into_json())
}

fn value(kind: Argument, word: &str) -> Result<String, String> {
    match kind {
        Argument::Text => {
            let json = list([word]);
            Ok(json[1..json.len() - 1].to_owned())
        }
        Argument::Integer => match word.parse::<i64>() {
            Ok(number) => Ok(number.to_string()),
            Err(_) => Err(format!("'{word}' is not a valid integer.")),
        },
        Argument::Number => match word.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(crate::message::json::python_float(number)),
            _ => Err(format!("'{word}' is not a valid float.")),
        },
        Argument::Flag => match word.to_lowercase().as_str() {
            "true" | "yes" | "1" | "on" => Ok("true".to_owned()),
            "false" | "no" | "0" | "off" => Ok("false".to_owned()),
            _ => Err(format!("'{word}' is not a valid boolean.")),
        },
    }
}

impl Request<'_> {
    fn run(&self, setting: &Setting<'_>) -> ExitCode {
        let urls = match BrokerUrl::parse_list(&setting.broker()) {
            Ok(urls) => urls,
            Err(error) => return setting.usage_error(&format!("broker: {error}")),
        };
        let style = Style {
            colour: setting.colour() && std::io::stdout().is_terminal(),
            quiet: setting.global.quiet,
        };
        match self.ask(&urls, style) {
            Ok(replies) if replies.is_empty() => {
                eprintln!("Error: No nodes replied within time constraint");
                ExitCode::from(UNAVAILABLE)
            }
            Ok(replies) => {
                self.conclude(&replies, style);
                ExitCode::SUCCESS
            }
            Err(error) => unavailable(self.name, &error),
        }
    }

    fn ask(&self, urls: &[BrokerUrl], style: Style) -> Result<Vec<NodeReply>, ClientError> {
        let Options {
            timeout: Seconds(timeout),
            destination,
            json,
        } = self.options;
        let mut control = Control::connect_to(urls, &self.channels)?.timeout(*timeout);
        if !destination.is_empty() {
            control = control.destination(destination);
        }
        let replies = control.ask(self.method, &self.arguments, |reply| {
            if !json {
                let answer = Raw::parse(&reply.answer).unwrap_or(Raw::NULL);
                say(&style.reply(&reply.node, answer, self.body));
            }
        })?;
        control.close();
        Ok(replies)
    }

    /// What stands under the replies: with `--json` they themselves, in one line.
    fn conclude(&self, replies: &[NodeReply], style: Style) {
        if self.options.json {
            say(&match self.name {
                "control" => {
                    let each = replies
                        .iter()
                        .map(|reply| object(std::slice::from_ref(reply)));
                    let each: Vec<String> = each.collect();
                    format!("{}\n", list(each.iter().map(|json| Field::Json(json))))
                }
                _ => format!("{}\n", object(replies)),
            });
            return;
        }
        if self.name == "status" || (self.name == "inspect" && !style.quiet) {
            say(&format!("{}\n", render::footer(replies.len())));
        }
    }
}

fn object(replies: &[NodeReply]) -> String {
    let mut object = Object::new();
    for reply in replies {
        object.push(&reply.node, Field::Json(&reply.answer));
    }
    object.into_json()
}

/// Prints at once: a reply is news. A closed terminal is no reason to stop.
fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
}

/// Says that the broker could not do its part.
pub(super) fn unavailable(command: &str, error: &ClientError) -> ExitCode {
    match error {
        ClientError::Unreachable(..) => eprintln!(
            "Error: Could not connect to the message broker. Please make sure your broker (e.g., RabbitMQ) is running \
             and the connection settings are correct. Reason: {error}"
        ),
        _ => eprintln!("Error: Unable to run the `{command}` command. Reason: {error}"),
    }
    ExitCode::from(UNAVAILABLE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::control::COMMANDS;

    fn compiled(name: &str, words: &[&str]) -> Result<String, String> {
        let command = COMMANDS.iter().find(|command| command.name == name);
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        compile(command.unwrap(), &words)
    }

    #[test]
    fn words_become_arguments() {
        for (name, words, expected) in [
            ("ping", &["extra", "args"][..], "{}"),
            ("query_task", &["a", "b"], r#"{"ids": ["a", "b"]}"#),
            ("query_task", &[], r#"{"ids": []}"#),
            (
                "rate_limit",
                &["t", "5/m"],
                r#"{"task_name": "t", "rate_limit": "5/m"}"#,
            ),
            (
                "terminate",
                &["KILL", "a"],
                r#"{"signal": "KILL", "task_id": ["a"]}"#,
            ),
            (
                "time_limit",
                &["t", "1", "2.5"],
                r#"{"task_name": "t", "soft": 1.0, "hard": 2.5}"#,
            ),
            ("conf", &["yes"], r#"{"with_defaults": true}"#),
            ("pool_grow", &[], "{}"),
        ] {
            assert_eq!(compiled(name, words).unwrap(), expected, "{name}");
        }
        let many = "Command 'rate_limit' takes arguments: <task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>";
        assert_eq!(
            compiled("rate_limit", &["t", "5/m", "z"]).unwrap_err(),
            many
        );
        assert!(
            compiled("pool_grow", &["x"])
                .unwrap_err()
                .contains("not a valid integer")
        );
    }

    #[test]
    fn old_names_are_understood() {
        assert_eq!(
            todays(Kind::Inspect, "registered_tasks"),
            (Kind::Inspect, "registered")
        );
        assert_eq!(
            todays(Kind::Inspect, "enable_events"),
            (Kind::Control, "enable_events")
        );
        assert_eq!(
            todays(Kind::Control, "enable_events"),
            (Kind::Control, "enable_events")
        );
    }

    /// The capture `inspect_list`.
    #[test]
    fn the_list_is_celerys() {
        let text = listed(Kind::Inspect, &[]);
        assert!(text.starts_with("Inspect Commands:\n  active                          List of tasks currently being executed.\n  active_queues                   List the task queues a worker is currently\n                                  consuming from.\n"), "{text}");
        assert!(!text.contains("hello"));
    }
}
