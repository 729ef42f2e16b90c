//! `celeriac health`: what a worker says of itself, for probes: exit 0, or 1 and why.
//!
//! It asks the worker's own endpoint (`celeriac worker --http`), without a broker, without an app.

use std::net::SocketAddr;
use std::process::ExitCode;

use super::values::Seconds;
use super::{FAILURE, http, own};

/// Ask a worker that was started with --http whether it lives
#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
pub(super) struct Arguments {
    /// Whether it lives: a restart would not help; the default
    #[arg(long)]
    live: bool,

    /// Whether it takes tasks
    #[arg(long, conflicts_with = "live")]
    ready: bool,

    /// Where it serves
    #[arg(
        long,
        env = "CELERIAC_HTTP",
        hide_env_values = true,
        value_parser = own::address,
        value_name = "ADDRESS"
    )]
    http: SocketAddr,

    /// How long it may take to answer
    #[arg(short, long, default_value = "2.0", value_name = "SECONDS")]
    timeout: Seconds,
}

pub(super) fn run(arguments: &Arguments) -> ExitCode {
    let path = if arguments.ready { "/readyz" } else { "/livez" };
    let Seconds(timeout) = arguments.timeout;
    match http::get(arguments.http, path, "", timeout) {
        Ok((200, body)) => {
            print!("{body}");
            ExitCode::SUCCESS
        }
        Ok((_, body)) => {
            print!("{body}");
            ExitCode::from(FAILURE)
        }
        Err(error) => {
            eprintln!("Error: {}: {error}", arguments.http);
            ExitCode::from(FAILURE)
        }
    }
}
