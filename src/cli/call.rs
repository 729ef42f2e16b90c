//! `celeriac call`: sends one task and prints its id, or with `--wait` what it returned.

use std::borrow::Cow;
use std::process::ExitCode;
use std::time::{Instant, SystemTime};

use super::values::{Array, Expiry, Moment, Object, Seconds};
use super::{FAILURE, Setting, UNAVAILABLE};
use crate::client::{Client, ClientError};
use crate::link::BrokerUrl;
use crate::message::headers;
use crate::message::json::{self, Field, Kind, Raw};
use crate::message::record::Publish;
use crate::message::result::{Exception, ReceivedMeta};
use crate::message::signature::{self, Call};
use crate::sys::{clock, process};

/// Call a task by name
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES, args_override_self = true)]
pub(super) struct Arguments {
    /// The task's name; it need not be known here
    #[arg(value_name = "NAME")]
    name: String,

    /// Positional arguments, a JSON array
    #[arg(
        short,
        long,
        default_value = "[]",
        hide_default_value = true,
        value_name = "JSON"
    )]
    args: Array,

    /// Keyword arguments, a JSON object
    #[arg(
        short,
        long,
        default_value = "{}",
        hide_default_value = true,
        value_name = "JSON"
    )]
    kwargs: Object,

    /// Run it not before this moment, in ISO 8601; without an offset it is UTC
    #[arg(long, value_name = "TIME", conflicts_with = "countdown")]
    eta: Option<Moment>,

    /// Run it after so many seconds
    #[arg(long, value_name = "SECONDS")]
    countdown: Option<Seconds>,

    /// Do not run it after this moment, or after so many seconds
    #[arg(long, value_name = "SECONDS|TIME")]
    expires: Option<Expiry>,

    /// The queue to send it to
    #[arg(long, default_value = "celery", value_name = "NAME")]
    queue: String,

    /// The task's id; a new one by default
    #[arg(long, value_name = "ID")]
    task_id: Option<String>,

    /// How the arguments are written: json
    #[arg(long, default_value = "json", value_parser = ["json"], value_name = "NAME")]
    serializer: String,

    /// Wait for the result and print it: text as it is, anything else as JSON. A failed task is an error, exit 1.
    /// The worker must send results to who asked (rpc://)
    #[arg(long)]
    wait: bool,

    /// Print JSON: the id, and with --wait what it returned or failed with
    #[arg(short, long)]
    json: bool,

    /// Wait no longer than so many seconds
    #[arg(long, requires = "wait", value_name = "SECONDS")]
    timeout: Option<Seconds>,
}

const EXAMPLES: &str = "\
Examples:
  Send a task and print its id:
    celeriac call tasks.add -a '[2, 3]'

  By name, in ten seconds, to another queue:
    celeriac call tasks.add -k '{\"x\": 2, \"y\": 3}' --countdown 10 --queue slow

  Wait for the result, at most five seconds:
    celeriac call demo.add -a '[2, 3]' --wait --timeout 5";

/// Sends the task.
pub(super) fn run(arguments: Arguments, setting: Setting<'_>) -> ExitCode {
    let urls = match BrokerUrl::parse_list(&setting.broker()) {
        Ok(urls) => urls,
        Err(error) => {
            eprintln!("Error: broker: {error}");
            return ExitCode::from(FAILURE);
        }
    };
    let deadline = arguments
        .timeout
        .map(|Seconds(timeout)| clock::now() + timeout);
    let id = arguments.task_id.clone().unwrap_or_else(signature::new_id);
    match send(&urls, &arguments, &id, deadline) {
        Ok(answer @ (Answer::Sent | Answer::Returned(_) | Answer::Failed(_))) => {
            answer.print(&id, arguments.json)
        }
        Ok(Answer::Late) => {
            eprintln!("Error: no result of {id} within {} s", seconds(&arguments));
            ExitCode::from(FAILURE)
        }
        Err(reason @ ClientError::Unreachable(..)) => {
            eprintln!(
                "Error: Could not connect to the message broker. Please make sure your broker (e.g., RabbitMQ) is \
                 running and the connection settings are correct. Reason: {reason}"
            );
            ExitCode::from(UNAVAILABLE)
        }
        Err(error) => {
            eprintln!("Error: Unable to run the `call` command. Reason: {error}");
            ExitCode::from(UNAVAILABLE)
        }
    }
}

fn seconds(arguments: &Arguments) -> f64 {
    arguments
        .timeout
        .map_or(0.0, |Seconds(timeout)| timeout.as_secs_f64())
}

/// What became of a call.
#[derive(Debug, PartialEq)]
enum Answer {
    /// The broker has it.
    Sent,
    /// It returned this: JSON.
    Returned(String),
    /// It failed with this.
    Failed(String),
    /// The deadline passed before there was a result.
    Late,
}

impl Answer {
    /// Prints it for people, where a text is printed as it is, or as a line of JSON.
    fn print(&self, id: &str, json: bool) -> ExitCode {
        let mut object = json::Object::new();
        object.push("task_id", id);
        let (text, code) = match self {
            Self::Returned(value) => {
                object.push("result", Field::Json(value));
                let text = Raw::parse(value).ok().and_then(Raw::as_str);
                (text.map_or_else(|| value.clone(), Cow::into_owned), 0)
            }
            Self::Failed(exception) => {
                object.push("error", exception);
                (exception.clone(), FAILURE)
            }
            Self::Sent | Self::Late => (id.to_owned(), 0),
        };
        match (json, self) {
            (true, _) => println!("{}", object.into_json()),
            (false, Self::Failed(_)) => eprintln!("{text}"),
            (false, _) => println!("{text}"),
        }
        ExitCode::from(code)
    }
}

fn send(
    urls: &[BrokerUrl],
    arguments: &Arguments,
    id: &str,
    deadline: Option<Instant>,
) -> Result<Answer, ClientError> {
    let mut client = Client::connect(urls)?;
    let reply_to = arguments.wait.then(signature::new_id);
    if let Some(queue) = &reply_to {
        client.consume_replies(queue)?;
    }
    client.declare_task_queue(&arguments.queue)?;
    let message = message(arguments, id, reply_to.as_deref(), clock::wall());
    let table = headers::table_from_json(&message.headers)
        .map_err(|error| ClientError::Unsendable(error.to_string()))?;
    client.publish(
        &arguments.queue,
        &message.properties.as_amqp(table.as_table()),
        &message.body,
    )?;
    let answer = match reply_to {
        None => Answer::Sent,
        Some(_) => match client.receive(deadline, |message| answer(&message.body, id)) {
            Err(ClientError::TimedOut) => Answer::Late,
            answer => answer?,
        },
    };
    client.close();
    Ok(answer)
}

/// The message of the call.
fn message(arguments: &Arguments, id: &str, reply_to: Option<&str>, now: SystemTime) -> Publish {
    let origin = signature::origin(process::current(), &process::host_name());
    let eta = arguments.eta.map(|Moment(moment)| moment);
    let expires = arguments.expires.map(|expires| match expires {
        Expiry::In(time) => now.checked_add(time),
        Expiry::At(moment) => Some(moment),
    });
    let call = Call {
        args: Raw::parse(&arguments.args.0).unwrap_or(Raw::EMPTY_LIST),
        kwargs: Raw::parse(&arguments.kwargs.0).unwrap_or(Raw::EMPTY_MAPPING),
        // No countdown and none at all are the same to Celery.
        eta: eta.or_else(|| countdown(arguments, now)),
        expires: expires.flatten(),
        reply_to,
        ..Call::new(&arguments.name, id, &origin)
    };
    call.publish("", &arguments.queue, now)
}

fn countdown(arguments: &Arguments, now: SystemTime) -> Option<SystemTime> {
    let Seconds(delay) = arguments
        .countdown
        .filter(|Seconds(delay)| !delay.is_zero())?;
    now.checked_add(delay)
}

/// Reads a result message; nothing when it is not the final one of task `id`.
fn answer(body: &[u8], id: &str) -> Option<Answer> {
    let meta = ReceivedMeta::parse(body).ok()?;
    if meta.task_id.as_deref() != Some(id) || !meta.is_ready() {
        return None;
    }
    if let ("FAILURE" | "REVOKED", Some(exception)) = (&*meta.status, meta.exception()) {
        return Some(Answer::Failed(last_line(&exception)));
    }
    let json = meta.result.map(|value| value.text().to_owned());
    Some(Answer::Returned(json.unwrap_or_else(|| "null".to_owned())))
}

/// The exception as the last line of a Python traceback: `ValueError: boom`.
fn last_line(exception: &Exception<'_>) -> String {
    let args = Raw::parse(&exception.args).ok();
    let args: Vec<Raw<'_>> = args.iter().flat_map(|args| args.elements()).collect();
    match args.as_slice() {
        [text] if text.kind() == Kind::String => {
            format!(
                "{}: {}",
                exception.type_name,
                text.as_str().unwrap_or_default()
            )
        }
        _ => exception.repr(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_the_final_result_of_the_task_that_was_called() {
        let returned = |result: &str| {
            let text = format!(r#"{{"status": "SUCCESS", "result": {result}, "task_id": "a"}}"#);
            answer(text.as_bytes(), "a")
        };
        for (result, printed) in [
            ("5", "5"),
            ("\"a\\nb\"", "\"a\\nb\""),
            ("[1, null]", "[1, null]"),
        ] {
            assert_eq!(returned(result), Some(Answer::Returned(printed.to_owned())));
        }
        assert_eq!(
            answer(
                br#"{"status": "SUCCESS", "result": 5, "task_id": "b"}"#,
                "a"
            ),
            None
        );
        assert_eq!(
            answer(
                br#"{"status": "STARTED", "result": 5, "task_id": "a"}"#,
                "a"
            ),
            None
        );
        assert_eq!(answer(b"no json", "a"), None);
    }

    #[test]
    fn a_failure_reads_as_the_end_of_a_traceback() {
        for (args, printed) in [("[\"boom\"]", "ValueError: boom"), ("[1]", "ValueError(1)")] {
            let text = format!(
                r#"{{"status": "FAILURE", "result": {{"exc_type": "ValueError", "exc_message": {args}}}, "task_id": "a"}}"#
            );
            assert_eq!(
                answer(text.as_bytes(), "a"),
                Some(Answer::Failed(printed.to_owned()))
            );
        }
    }
}
