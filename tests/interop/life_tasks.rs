//! The tasks of `life_app.py` as native ones: a program whose tasks end in every way there is.

#![allow(clippy::disallowed_methods)] // children may sleep

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};
use std::{fs, thread};

use celeriac::app::{App, Context, TaskError, TaskOptions, TaskResult};
use celeriac::sys::process;
use celeriac::sys::signal::{self, Signal};

fn main() -> ExitCode {
    let late = || TaskOptions::new().acks_late(true);
    let lossy = || late().reject_on_worker_lost(true);
    let app = App::new("life")
        .task("life.add", |_, (x, y): (i64, i64)| Ok(x + y))
        .task("life.pid", |_, ()| Ok(process::current().raw()))
        .task("life.sleep", sleep)
        .task("life.spin", spin)
        .task("life.stubborn", |_, ()| -> TaskResult<()> { stubborn() })
        .task("life.clogged", |_, ()| clogged())
        .task("life.catches", catches)
        .task("life.spawns", spawns)
        .task("life.early_ledger", ledger)
        .task_with("life.ledger", ledger, lossy())
        .task_with("life.failing_ledger", failing_ledger, lossy())
        .task_with("life.late_sleep", sleep, late())
        .task_with("life.grows", grows, late())
        .task_with("life.grim", grim, lossy())
        .task("life.noted", noted)
        .task_with(
            "life.again",
            again,
            TaskOptions::new()
                .retry_on_worker_lost(true)
                .max_retries(Some(2))
                .default_retry_delay(Duration::ZERO),
        )
        .task_with("life.reject", reject, late())
        .task_with(
            "life.ignore",
            |_, ()| -> TaskResult<()> { Err(TaskError::Ignore) },
            late(),
        )
        .task_with("life.late_fail", |_, ()| fail(), late())
        .task_with(
            "life.unacked_fail",
            |_, ()| fail(),
            late().acks_on_failure(false),
        )
        .task_with(
            "life.panics",
            |_, ()| -> TaskResult<()> { panic!("late") },
            late(),
        )
        .task_with(
            "life.leaves",
            |_, ()| -> TaskResult<()> { process::exit_now(0) },
            late(),
        )
        .task_with("life.retry", retry, late().max_retries(Some(5)));
    app.main()
}

fn rest(seconds: f64) {
    thread::sleep(Duration::from_secs_f64(seconds));
}

/// Ends at its soft limit, as a task in Python is ended.
fn sleep(context: &Context, seconds: f64) -> TaskResult<f64> {
    let left = context.time_left().unwrap_or(Duration::MAX);
    thread::sleep(Duration::from_secs_f64(seconds).min(left));
    context.check_soft_limit()?;
    Ok(seconds)
}

fn spin(context: &Context, seconds: f64) -> TaskResult<f64> {
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs_f64(seconds) {
        context.check_soft_limit()?;
    }
    Ok(seconds)
}

/// Does not look at its soft limit.
fn stubborn() -> ! {
    loop {
        std::hint::spin_loop();
    }
}

/// In a write that does not end.
fn clogged() -> TaskResult<()> {
    let (_read, mut write) = std::io::pipe()?;
    loop {
        write.write_all(&[0; 1 << 16])?;
    }
}

fn catches(context: &Context, seconds: f64) -> TaskResult<&'static str> {
    match sleep(context, seconds) {
        Ok(_) => Ok("slept"),
        Err(_) => Ok("caught"),
    }
}

/// Has two processes of its own, one of which has gone its own way, and waits for the other.
fn spawns(_: &Context, path: PathBuf) -> TaskResult<()> {
    let mut process = Command::new("sleep").arg("60").spawn()?;
    let daemon = Command::new("setsid").args(["sleep", "60"]).spawn()?;
    fs::write(path, format!("{} {}", process.id(), daemon.id()))?;
    process.wait()?;
    Ok(())
}

/// Uses more memory, for a while and after it.
fn grows(_: &Context, (mebibytes, seconds): (usize, f64)) -> TaskResult<()> {
    Box::leak(vec![1u8; mebibytes << 20].into_boxed_slice());
    rest(seconds);
    Ok(())
}

fn grim(context: &Context, path: PathBuf) -> TaskResult<()> {
    append(&path, context.id())?;
    signal::kill(process::current(), Signal::SIGKILL)?;
    Ok(())
}

/// Writes down whom it is told of.
fn noted(_: &Context, (id, path): (String, PathBuf)) -> TaskResult<()> {
    append(&path, &id)
}

/// Loses its child `times` times.
fn again(context: &Context, (path, times): (PathBuf, u32)) -> TaskResult<u32> {
    append(&path, context.id())?;
    if context.retries() < times {
        signal::kill(process::current(), Signal::SIGKILL)?;
    }
    Ok(context.retries())
}

fn reject(_: &Context, requeue: bool) -> TaskResult<()> {
    Err(TaskError::reject("no", requeue))
}

fn fail() -> TaskResult<()> {
    Err(TaskError::new("ValueError", "late"))
}

fn retry(context: &Context, (): ()) -> TaskResult<u32> {
    match context.retries() {
        retries @ 2.. => Ok(retries),
        _ => Err(context.retry().countdown(Duration::ZERO).into()),
    }
}

/// Writes down when it runs, and whether another run of it is going on at this moment.
fn ledger(context: &Context, (folder, seconds): (PathBuf, f64)) -> TaskResult<()> {
    let path = folder.join(context.id());
    let pid = process::current();
    let before = fs::read_to_string(&path).unwrap_or_default();
    if let Some((_, last)) = before.trim_end().rsplit_once("begin ")
        && !last.contains("end")
        && Path::new("/proc").join(last).exists()
    {
        fs::write(path.with_extension("twice"), format!("{last} and {pid}"))?;
    }
    append(&path, &format!("begin {pid}"))?;
    rest(seconds);
    append(&path, &format!("end {pid}"))?;
    Ok(())
}

fn failing_ledger(context: &Context, arguments: (PathBuf, f64)) -> TaskResult<()> {
    ledger(context, arguments)?;
    Err(TaskError::new("ValueError", "as expected"))
}

fn append(path: &Path, line: &str) -> TaskResult<()> {
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}
