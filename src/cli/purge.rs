//! `celeriac purge`: removes the tasks that wait in queues.

use std::collections::BTreeSet;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::remote::unavailable;
use super::{FAILURE, Setting};
use crate::client::{Client, ClientError};
use crate::link::BrokerUrl;
use crate::message::json::Object;

/// Remove all tasks that wait in task queues. There is no undo
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub(super) struct Arguments {
    /// Do not ask first
    #[arg(short, long)]
    force: bool,

    /// The queues, joined by commas
    #[arg(
        short = 'Q',
        long,
        value_delimiter = ',',
        default_value = "celery",
        value_name = "LIST"
    )]
    queues: Vec<String>,

    /// Queues that are left alone, joined by commas
    #[arg(short = 'X', long, value_delimiter = ',', value_name = "LIST")]
    exclude_queues: Vec<String>,

    /// Print JSON: how many messages were removed from each queue
    #[arg(short, long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, setting: &Setting<'_>) -> ExitCode {
    let chosen = arguments
        .queues
        .iter()
        .filter(|queue| !arguments.exclude_queues.contains(queue));
    let chosen: BTreeSet<&str> = chosen.map(String::as_str).collect();
    if chosen.is_empty() {
        return ExitCode::SUCCESS;
    }
    if !arguments.force && !confirmed(&chosen) {
        eprintln!("Aborted!");
        return ExitCode::from(FAILURE);
    }
    let urls = match BrokerUrl::parse_list(&setting.broker()) {
        Ok(urls) => urls,
        Err(error) => return setting.usage_error(&format!("broker: {error}")),
    };
    match purge(&urls, &chosen) {
        Ok(counts) if arguments.json => {
            let mut object = Object::new();
            for (queue, count) in counts {
                object.push(queue, i64::from(count));
            }
            println!("{}", object.into_json());
            ExitCode::SUCCESS
        }
        Ok(counts) => {
            let total = counts.iter().map(|(_, count)| u64::from(*count)).sum();
            println!("{}", summary(total, counts.len()));
            ExitCode::SUCCESS
        }
        Err(error) => unavailable("purge", &error),
    }
}

fn purge<'a>(
    urls: &[BrokerUrl],
    queues: &BTreeSet<&'a str>,
) -> Result<Vec<(&'a str, u32)>, ClientError> {
    let mut client = Client::connect(urls)?;
    let mut counts = Vec::new();
    for queue in queues {
        counts.push((*queue, client.purge(queue)?));
    }
    client.close();
    Ok(counts)
}

/// Asks the person at the terminal.
fn confirmed(queues: &BTreeSet<&str>) -> bool {
    let names: Vec<&str> = queues.iter().copied().collect();
    print!(
        "WARNING:This will remove all tasks from {}: {}.\n         There is no undo for this operation!\n\n\
         (to skip this prompt use the -f option)\nAre you sure you want to delete all tasks? [y/N]: ",
        plural(queues.len() as u64, "queue"),
        names.join(", "),
    );
    let _ = io::stdout().flush();
    let mut answer = String::new();
    let read = io::stdin().read_line(&mut answer);
    read.is_ok() && ["y", "yes"].contains(&answer.trim().to_lowercase().as_str())
}

fn summary(messages: u64, queues: usize) -> String {
    let queue = plural(queues as u64, "queue");
    match messages {
        0 => format!("No messages purged from {queues} {queue}."),
        _ => {
            let message = plural(messages, "message");
            format!("Purged {messages} {message} from {queues} known task {queue}.")
        }
    }
}

fn plural(count: u64, noun: &str) -> String {
    if count == 1 {
        noun.to_owned()
    } else {
        format!("{noun}s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_are_celerys() {
        assert_eq!(summary(3, 1), "Purged 3 messages from 1 known task queue.");
        assert_eq!(summary(1, 2), "Purged 1 message from 2 known task queues.");
        assert_eq!(summary(0, 2), "No messages purged from 2 queues.");
        assert_eq!(summary(0, 1), "No messages purged from 1 queue.");
    }
}
