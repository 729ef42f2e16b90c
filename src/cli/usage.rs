//! Usage errors in the words of Celery's command line, which scripts and people know.
//!
//! ```text
//! Usage: celeriac call [OPTIONS] NAME
//! Try 'celeriac call --help' for help.
//!
//! Error: Missing argument 'NAME'.
//! ```

use std::error::Error;
use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};

/// What the command line got wrong, as it is printed on stderr before exit 2.
pub(super) fn text(command: &Command, line: &[OsString], error: &clap::Error) -> String {
    let (usage, path) = usage(command, line);
    format!(
        "{usage}\nTry '{path} --help' for help.\n\nError: {}\n",
        reason(command, line, error)
    )
}

/// The same for what only the sub-command itself can see.
pub(super) fn refusal(command: &Command, line: &[OsString], reason: &str) -> String {
    let (usage, path) = usage(command, line);
    format!("{usage}\nTry '{path} --help' for help.\n\nError: {reason}\n")
}

/// The usage line of the sub-command that was asked for, and how it is called.
fn usage(command: &Command, line: &[OsString]) -> (String, String) {
    let program = program(command, line);
    match subcommand(command, line) {
        None => (
            format!("Usage: {program} [OPTIONS] [COMMAND] [ARGS]..."),
            program,
        ),
        Some(sub) => {
            let path = format!("{program} {}", sub.get_name());
            let arguments: String = sub
                .get_positionals()
                .filter(|argument| !argument.is_hide_set())
                .map(|argument| format!(" {}", value_name(argument)))
                .collect();
            (format!("Usage: {path} [OPTIONS]{arguments}"), path)
        }
    }
}

fn program(command: &Command, line: &[OsString]) -> String {
    let called = line.first().map(std::path::Path::new);
    let name = called.and_then(|path| path.file_name()?.to_str());
    name.unwrap_or_else(|| command.get_name()).to_owned()
}

fn subcommand<'a>(command: &'a Command, line: &[OsString]) -> Option<&'a Command> {
    line.iter()
        .skip(1)
        .find_map(|word| command.find_subcommand(word))
}

fn reason(command: &Command, line: &[OsString], error: &clap::Error) -> String {
    let invalid = context(error, ContextKind::InvalidArg);
    match error.kind() {
        ErrorKind::InvalidSubcommand => {
            let name = context(error, ContextKind::InvalidSubcommand);
            let mut text = format!("No such command '{name}'.");
            let similar = context(error, ContextKind::SuggestedSubcommand);
            if !similar.is_empty() {
                text.push_str("\n\nDid you mean one of these?\n    ");
                text.push_str(&similar);
            }
            text
        }
        ErrorKind::UnknownArgument if invalid.starts_with('-') => {
            format!("No such option '{invalid}'.")
        }
        ErrorKind::UnknownArgument => format!("Got unexpected extra argument ({invalid})"),
        ErrorKind::MissingRequiredArgument => {
            format!("Missing argument '{}'.", invalid.trim_matches(['<', '>']))
        }
        ErrorKind::ValueValidation | ErrorKind::InvalidValue => {
            let option = option_name(
                subcommand(command, line).unwrap_or(command),
                command,
                &invalid,
            );
            let value = context(error, ContextKind::InvalidValue);
            if value.is_empty() {
                return format!("Option {option} requires an argument.");
            }
            let why = error.source().map_or_else(
                || {
                    format!(
                        "'{value}' is not one of {}.",
                        context(error, ContextKind::ValidValue)
                    )
                },
                ToString::to_string,
            );
            format!("Invalid value for {option}: {why}")
        }
        _ => {
            let rendered = error.to_string();
            let first = rendered.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    }
}

/// `--args <ARGS>` as click names it: `'-a' / '--args'`.
fn option_name(sub: &Command, command: &Command, invalid: &str) -> String {
    let long = invalid.split_whitespace().next().unwrap_or_default();
    let known = sub
        .get_arguments()
        .chain(command.get_arguments())
        .find(|argument| {
            argument
                .get_long()
                .is_some_and(|name| long == format!("--{name}"))
        });
    match known.and_then(Arg::get_short) {
        Some(short) => format!("'-{short}' / '{long}'"),
        None => format!("'{long}'"),
    }
}

fn value_name(argument: &Arg) -> String {
    let names = argument.get_value_names().unwrap_or_default();
    names.join(" ")
}

fn context(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(texts)) => texts.join(", "),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}
