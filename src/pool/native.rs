//! The Rust zygote, and the children it makes: forks of this program that run [`NativeChild`].
//!
//! The zygote is forked from main before main has opened anything, so that a child inherits no socket,
//! no secret and no half-used buffer; see [`zygote`](super::zygote) for its duties. A child lives in the
//! stack frames of the process it was forked from: it never returns into them, neither by a return nor by
//! a panic, but ends in [`exit_now`], so that nothing of its parent's is dropped twice.
//!
//! A child blocks where main must not: it waits for a job, runs it, writes the answer whole.

use std::cell::Cell;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use super::event::ChildName;
use super::zygote::{MAX_PACKET, Reply, Zygote, parse_request};
use crate::message::record::{self, Decoder, Done, JobHead, Kind, Outcome, Record};
use crate::sys::fd::{self, SharedFd};
use crate::sys::process::{self, Exit, Fork, Pid, exit_now};
use crate::sys::signal::{self, Signal};
use crate::sys::{clock, pipe};

/// How a process ends that was told something it cannot understand (`EX_SOFTWARE`).
const BAD_RECORD: i32 = 70;

/// How much a child asks for in one read: what a pipe holds.
const READ_SIZE: usize = 64 * 1024;

/// An output buffer larger than this is given back after use.
const KEPT_OUTPUT: usize = 1024 * 1024;

/// What a child of this program does. The value is made in main, before the zygote is forked, and each
/// child has a copy of it as the zygote holds it.
pub trait NativeChild {
    /// Runs once in each new child, before it says that it is up.
    fn start(&mut self, name: ChildName) {
        let _ = name;
    }

    /// Runs one job.
    fn run_job(&mut self, job: &JobHead<'_>, body: &[u8], main: &mut Main<'_>) -> Done;

    /// The answer for a job whose [`run_job`](Self::run_job) has panicked. That job has failed; the child
    /// goes on.
    fn panicked(&mut self, job: &JobHead<'_>, body: &[u8], panic: Panic) -> Done {
        let _ = body;
        let mut done = Done::new(job.job, Outcome::Failure, panic.runtime.as_secs_f64());
        done.exception = Some(panic.message);
        done.traceback = Some(panic.backtrace);
        done
    }

    /// Runs once when the child was told to leave.
    fn stop(&mut self) {}
}

/// What is known of a panic in a task.
#[derive(Clone, Debug, Default)]
pub struct Panic {
    /// What was said, and where in the source: `index out of bounds, src/tasks.rs:7:5`.
    pub message: String,
    /// The stack at that moment, as text.
    pub backtrace: String,
    /// How long the task had run.
    pub runtime: Duration,
}

/// The way back to main, for a job that runs.
#[derive(Debug)]
pub struct Main<'a> {
    job: u64,
    results: &'a SharedFd,
}

impl Main<'_> {
    /// Tells main that the task begins now. It costs main a wake-up, so only where somebody waits for it.
    pub fn started(&mut self) {
        let mut record = Vec::new();
        record::encode_started(&mut record, self.job);
        write_all(self.results, &record);
    }
}

/// Makes this process a sub-reaper and starts the zygote of a program whose children run `tasks`.
///
/// To be called in `main` before anything else: before the Hub, sockets, threads and log files exist.
///
/// # Errors
/// When this process has other threads already, or the kernel refuses one of the steps.
pub fn start(tasks: impl NativeChild) -> io::Result<Zygote> {
    io::stdout().flush()?; // or each child would flush what is in it once more
    process::become_subreaper()?;
    let main = process::current();
    let (ours, theirs) = pipe::socket_pair()?;
    match process::fork()? {
        Fork::Parent(pid) => Ok(Zygote::new(ours, pid)),
        Fork::Child => isolated(|| serve(main, theirs, tasks)),
    }
}

/// Runs `life` and ends the process with its status, without a way back into the caller's frames.
fn isolated(life: impl FnOnce() -> io::Result<i32>) -> ! {
    // A panic has printed its message through the hook; an error is told here.
    let code = match panic::catch_unwind(AssertUnwindSafe(life)) {
        Ok(Ok(code)) => code,
        Ok(Err(error)) => {
            log::error!("child process {}: {error}", process::current());
            1
        }
        Err(_) => 1,
    };
    exit_now(code)
}

/// The life of the zygote.
fn serve(main: Pid, socket: OwnedFd, mut tasks: impl NativeChild) -> io::Result<i32> {
    signal::restore_defaults()?;
    // Whoever stops a worker by its process group or cgroup means main and the children.
    for asks_to_end in [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ] {
        signal::ignore(asks_to_end)?;
    }
    process::new_session()?;
    process::die_with_parent(Signal::SIGKILL)?;
    if process::parent() != Some(main) {
        return Ok(0);
    }
    fd::close_all_except(&[socket.as_raw_fd()])?;
    process::redirect_stdin_to_null()?;
    process::set_title("celeriac zygote");
    fd::set_nonblocking(&socket, false)?;

    let mut packet = [0; MAX_PACKET];
    loop {
        let (length, ends) = pipe::receive_with_fds(&socket, &mut packet)?;
        if length == 0 {
            return Ok(0);
        }
        let number = packet.get(..length).and_then(parse_request);
        let (Some(number), Ok([jobs, results])) = (number, <[OwnedFd; 2]>::try_from(ends)) else {
            return Ok(BAD_RECORD);
        };
        if let Some(reason) = double_fork(main, &socket, number, [jobs, results], &mut tasks) {
            say(&socket, &Reply::Failed { number, reason });
        }
    }
}

/// Makes child `number` an orphan, for main to adopt. Answers with what went wrong, unless that was
/// told already.
fn double_fork(
    main: Pid,
    socket: &OwnedFd,
    number: u32,
    ends: [OwnedFd; 2],
    tasks: &mut impl NativeChild,
) -> Option<String> {
    match process::fork() {
        Ok(Fork::Child) => isolated(|| {
            let between = process::current();
            let reply = match process::fork() {
                Ok(Fork::Child) => {
                    isolated(|| live(main, between, ChildName::forked(number), ends, tasks))
                }
                Ok(Fork::Parent(pid)) => Reply::Forked { number, pid },
                Err(error) => Reply::Failed {
                    number,
                    reason: error.to_string(),
                },
            };
            say(socket, &reply);
            Ok(0)
        }),
        Ok(Fork::Parent(between)) => match process::wait_for(between) {
            Ok(Exit::Code(0)) => None,
            Ok(exit) => Some(format!("the process between ended early: {exit}")),
            Err(error) => Some(error.to_string()),
        },
        Err(error) => Some(error.to_string()),
    }
}

fn say(socket: &OwnedFd, reply: &Reply) {
    // Fails only when main is gone, and then nobody is left to be told.
    let _ = pipe::send_with_fds(socket, reply.packet().as_bytes(), &[]);
}

/// The life of a child.
fn live(
    main: Pid,
    between: Pid,
    name: ChildName,
    [jobs, results]: [OwnedFd; 2],
    tasks: &mut impl NativeChild,
) -> io::Result<i32> {
    signal::restore_defaults()?;
    signal::ignore(Signal::SIGINT)?; // Ctrl+C at the terminal is for main
    signal::ignore(Signal::SIGPIPE)?; // as in any Rust program: a task expects an error, not death
    process::new_session()?;
    if !adopted(main, between)? {
        return Ok(0);
    }
    fd::close_all_except(&[jobs.as_raw_fd(), results.as_raw_fd()])?;
    // The kernel keeps 15 bytes, one too few for `ForkPoolWorker-1`.
    process::set_title(&format!("PoolWorker-{}", name.number));
    catch_panic_texts();

    tasks.start(name);
    let (jobs, results) = (SharedFd::new(jobs), SharedFd::new(results));
    let mut up = Vec::new();
    record::encode_up(&mut up, process::current().raw().unsigned_abs());
    write_all(&results, &up);
    let code = work(&jobs, &results, tasks)?;
    tasks.stop();
    io::stdout().flush()?;
    Ok(code)
}

/// Waits until main is the parent, and makes sure of dying with it. False when main is gone.
#[allow(clippy::disallowed_methods)] // a child may sleep
fn adopted(main: Pid, between: Pid) -> io::Result<bool> {
    // The process between has a packet to send and then exits.
    while process::parent() == Some(between) {
        std::thread::sleep(Duration::from_micros(50));
    }
    process::die_with_parent(Signal::SIGKILL)?;
    Ok(process::parent() == Some(main))
}

/// Runs jobs until told to stop.
fn work(jobs: &SharedFd, results: &SharedFd, tasks: &mut impl NativeChild) -> io::Result<i32> {
    let mut decoder = Decoder::new();
    let mut output = Vec::new();
    loop {
        match decoder.next_record() {
            Ok(Some(record)) => match record.kind {
                Kind::Job => answer(&record, results, tasks, &mut output)?,
                Kind::Stop => return Ok(0),
                Kind::Up | Kind::Started | Kind::Done | Kind::Note | Kind::Reply => {
                    return Ok(BAD_RECORD);
                }
            },
            Ok(None) => {
                let count = jobs.read(decoder.space(READ_SIZE))?;
                if count == 0 {
                    return Ok(0); // main has let go of us
                }
                decoder.filled(count);
            }
            Err(error) => return Err(io::Error::other(error)),
        }
    }
}

fn answer(
    record: &Record<'_>,
    results: &SharedFd,
    tasks: &mut impl NativeChild,
    output: &mut Vec<u8>,
) -> io::Result<()> {
    let job = record.job().map_err(io::Error::other)?;
    let begun = clock::now();
    let mut done = run(&job, record.body, results, tasks).unwrap_or_else(|panic| {
        tasks.panicked(
            &job,
            record.body,
            Panic {
                runtime: elapsed(begun),
                ..panic
            },
        )
    });

    output.clear();
    if let Err(error) = record::encode_done(output, &mut done) {
        let mut done = Done::new(job.job, Outcome::Failure, elapsed(begun).as_secs_f64());
        done.exception = Some(format!("the answer cannot be sent: {error}"));
        record::encode_done(output, &mut done).map_err(io::Error::other)?;
    }
    write_all(results, output);
    if output.capacity() > KEPT_OUTPUT {
        *output = Vec::new();
    }
    Ok(())
}

fn elapsed(begun: Instant) -> Duration {
    clock::now().saturating_duration_since(begun)
}

thread_local! {
    /// Whether a panic of this thread is a task's, to be told in its answer and not on stderr.
    static IN_TASK: Cell<bool> = const { Cell::new(false) };
    /// The panic of the task that has just panicked.
    static PANIC: Cell<Option<Panic>> = const { Cell::new(None) };
}

fn run(
    job: &JobHead<'_>,
    body: &[u8],
    results: &SharedFd,
    tasks: &mut impl NativeChild,
) -> Result<Done, Panic> {
    let mut main = Main {
        job: job.job,
        results,
    };
    IN_TASK.set(true);
    let answer = panic::catch_unwind(AssertUnwindSafe(|| tasks.run_job(job, body, &mut main)));
    IN_TASK.set(false);
    answer.map_err(|_| PANIC.take().unwrap_or_default())
}

/// Has the panic of a task leave its message and stack where [`run`] finds them: the unwinding itself
/// carries neither the place nor the stack.
fn catch_panic_texts() {
    let print = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if !IN_TASK.get() {
            return print(info);
        }
        let text = info.payload_as_str().unwrap_or("panic");
        let place = info
            .location()
            .map(|place| format!(", {place}"))
            .unwrap_or_default();
        PANIC.set(Some(Panic {
            message: format!("{text}{place}"),
            backtrace: std::backtrace::Backtrace::force_capture().to_string(),
            runtime: Duration::ZERO,
        }));
    }));
}

/// Writes all of `bytes`, waiting for main to read. When main reads no more there is nothing left to
/// live for.
fn write_all(results: &SharedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match results.write(bytes) {
            Ok(count) => bytes = bytes.get(count..).unwrap_or_default(),
            Err(_) => exit_now(0),
        }
    }
}
