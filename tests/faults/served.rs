//! The tasks that the worker under test serves. Each writes to the ledger, a file, what it does.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::thread;
use std::time::Duration;

use celeriac::app::{App, Context, TaskOptions, TaskResult};
use serde::Deserialize;

/// The variable that names the ledger.
pub(crate) const LEDGER: &str = "FAULTS_LEDGER";

#[derive(Deserialize)]
struct Work {
    name: String,
    #[serde(default)]
    milliseconds: u64,
}

/// The program.
pub(crate) fn app() -> App {
    let late = || TaskOptions::new().acks_late(true);
    App::new("faults")
        .task("f.early", work)
        .task_with("f.late", work, late())
        .task("f.large", |_, (_, octets): (String, usize)| {
            Ok("x".repeat(octets))
        })
        .task_with("f.retry", retry, late())
}

fn work(_: &Context, Work { name, milliseconds }: Work) -> TaskResult<String> {
    note("begin", &name);
    thread::sleep(Duration::from_millis(milliseconds));
    note("end", &name);
    Ok(name)
}

/// Fails the first time.
fn retry(context: &Context, Work { name, milliseconds }: Work) -> TaskResult<()> {
    let run = format!("{name}.{}", context.retries());
    note("begin", &run);
    thread::sleep(Duration::from_millis(milliseconds));
    note("end", &run);
    match context.retries() {
        0 => Err(context.retry().countdown(Duration::ZERO).into()),
        _ => Ok(()),
    }
}

/// One line in one write, so that lines of different processes do not mix.
fn note(what: &str, name: &str) {
    let path = std::env::var_os(LEDGER).expect("a ledger");
    let mut ledger = OpenOptions::new()
        .append(true)
        .create(true)
        .open(path)
        .expect("the ledger");
    ledger
        .write_all(format!("{what} {name}\n").as_bytes())
        .expect("written");
}
