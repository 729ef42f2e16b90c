//! What the children of the stories can do.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::Duration;

use celeriac::message::record::{self, Done, JobHead, Outcome};
use celeriac::pool::ChildName;
use celeriac::pool::native::{Main, NativeChild};
use celeriac::sys::fd;
use celeriac::sys::process::{self, Fork};
use celeriac::sys::signal::{self, Signal};

#[derive(Default)]
pub(crate) struct Tasks {
    /// Never come up.
    pub(crate) hang_at_start: bool,
    /// Exit before coming up.
    pub(crate) exit_at_start: bool,
    /// How long it takes to leave.
    pub(crate) farewell: Duration,
}

impl NativeChild for Tasks {
    fn start(&mut self, _: ChildName) {
        if self.hang_at_start {
            sleep_for_ever();
        }
        if self.exit_at_start {
            process::exit_now(1);
        }
    }

    fn stop(&mut self) {
        sleep(self.farewell);
    }

    fn run_job(&mut self, job: &JobHead<'_>, body: &[u8], main: &mut Main<'_>) -> Done {
        let mut done = Done::new(job.job, Outcome::Success, 0.0);
        match &*job.task {
            "echo" => done.meta = body.to_vec(),
            "length" => done.meta = body.len().to_string().into_bytes(),
            "zeroes" => done.meta = vec![0; number(body)],
            "exit" => process::exit_now(number(body) as i32),
            "panic" => panic!("this task does {}", "that"),
            "block" => {
                main.started();
                sleep_for_ever();
            }
            "sleep" => {
                main.started();
                sleep(Duration::from_millis(number(body) as u64));
            }
            "facts" => done.meta = facts().into_bytes(),
            "grandchild" => {
                let status = Command::new("cat").arg("/proc/self/status").output();
                done.meta = status.expect("cat runs").stdout;
            }
            "garble" => {
                answers()
                    .write_all(b"Traceback (most recent call last):")
                    .expect("a pipe");
                sleep_for_ever();
            }
            "drip" => {
                done.meta = body.to_vec();
                drip(&mut done);
            }
            "prefix" => {
                let octets = answer(&mut done);
                answers()
                    .write_all(&octets[..number(body)])
                    .expect("a pipe");
                process::exit_now(0);
            }
            "trickle" => {
                main.started();
                done.meta = vec![0; 64 << 20];
                for octet in answer(&mut done) {
                    answers().write_all(&[octet]).expect("a pipe");
                    sleep(Duration::from_millis(10));
                }
            }
            "answer_and_exit" => {
                drip(&mut done);
                process::exit_now(0);
            }
            "orphan" => {
                // A grandchild that did not execute anything has both pipes.
                if let Fork::Child = process::fork().expect("one thread") {
                    sleep_for_ever();
                }
                let _ = signal::kill(process::current(), Signal::SIGKILL);
            }
            "family" => {
                if let Fork::Child = process::fork().expect("one thread") {
                    sleep_for_ever();
                }
                main.started();
                sleep_for_ever();
            }
            other => panic!("no task {other}"),
        }
        done
    }
}

fn number(body: &[u8]) -> usize {
    std::str::from_utf8(body)
        .expect("text")
        .parse()
        .expect("a number")
}

#[allow(clippy::disallowed_methods)] // in a child
fn sleep(duration: Duration) {
    thread::sleep(duration);
}

fn sleep_for_ever() -> ! {
    loop {
        sleep(Duration::from_secs(3600));
    }
}

/// What the child sees of itself, one fact a line.
fn facts() -> String {
    let fds = fd::open_fds().expect("/proc");
    let input = fs::read_link("/proc/self/fd/0").expect("/proc");
    let status = fs::read_to_string("/proc/self/status").expect("/proc");
    let stat = fs::read_to_string("/proc/self/stat").expect("/proc");
    format!(
        "Fds:\t{fds:?}\nStdin:\t{}\nStat:\t{stat}{status}",
        input.display()
    )
}

fn answer(done: &mut Done) -> Vec<u8> {
    let mut octets = Vec::new();
    record::encode_done(&mut octets, done).expect("an answer");
    octets
}

/// Writes the answer to main one byte at a time.
fn drip(done: &mut Done) {
    let mut answers = answers();
    for octet in answer(done) {
        answers.write_all(&[octet]).expect("a pipe");
        thread::yield_now();
    }
}

/// The pipe for answers, once more: of our two descriptors above 2 the one that is written.
fn answers() -> File {
    let is_written = |fd: &i32| {
        let info = fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).unwrap_or_default();
        info.lines()
            .any(|line| line.starts_with("flags:") && line.ends_with('1'))
    };
    let fds = fd::open_fds().expect("/proc");
    let fd = fds
        .into_iter()
        .find(|fd| *fd > 2 && is_written(fd))
        .expect("a pipe to main");
    OpenOptions::new()
        .write(true)
        .open(format!("/proc/self/fd/{fd}"))
        .expect("a pipe")
}
