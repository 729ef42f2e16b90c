//! `celeriac health`: what a worker says of itself, for probes: exit 0, or 1 and why.
//!
//! It asks the worker's own endpoint (`celeriac worker --http`), without a broker, without an app.

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::ExitCode;
use std::time::Duration;

use super::values::Seconds;
use super::{FAILURE, own};

/// An answer longer than this is none of ours.
const LONGEST: u64 = 64 * 1024;

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
    match ask(arguments.http, path, timeout) {
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

/// The status and the body of an answer.
fn ask(address: SocketAddr, path: &str, timeout: Duration) -> io::Result<(u16, String)> {
    let timeout = timeout.max(Duration::from_millis(1)); // zero would be none
    let mut socket = TcpStream::connect_timeout(&address, timeout)?;
    socket.set_read_timeout(Some(timeout))?;
    socket.set_write_timeout(Some(timeout))?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )?;
    let mut answer = String::new();
    let read = socket.take(LONGEST).read_to_string(&mut answer);
    match read {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            return Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "it does not answer",
            ));
        }
        read => read?,
    };
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "that is no answer of a worker");
    Ok((status.ok_or_else(odd)?, body.to_owned()))
}
