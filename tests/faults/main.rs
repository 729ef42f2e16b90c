//! The worker under a broker that misbehaves: each cell is a name, a fault, a moment, and what must hold.
//!
//! A worker process (this program itself, as a task program) serves an embedded broker in this process, which does what
//! `celeriac::broker::faults` has it do. Everything is seeded and has a deadline.
//!
//! ```text
//! cargo test --test faults                      the short form: every story, some of the matrix; under a minute
//! cargo test --test faults -- --whole           every cell, and longer storms
//! cargo test --test faults -- t1_ --seed 7      cells whose names contain a text; another seed
//! ```
#![cfg(target_os = "linux")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    clippy::unwrap_used
)]

#[allow(dead_code)]
#[path = "../broker/client.rs"]
mod client;
mod connection;
mod delivery;
mod matrix;
mod scene;
mod served;
mod storm;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

/// Cells that run at once: most of their time is waiting.
const AT_ONCE: usize = 3;

/// See the module page.
struct Cell {
    name: String,
    story: Box<dyn Fn() + Send>,
}

impl Cell {
    fn new(name: impl Into<String>, story: impl Fn() + Send + 'static) -> Self {
        Self {
            name: name.into(),
            story: Box::new(story),
        }
    }
}

/// What is to be run.
struct Plan {
    whole: bool,
    seed: u64,
    filter: Option<String>,
}

impl Plan {
    fn read() -> Self {
        let mut plan = Self {
            whole: false,
            seed: 1,
            filter: None,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--whole" => plan.whole = true,
                "--seed" => plan.seed = arguments.next().unwrap().parse().unwrap(),
                other if other.starts_with('-') => {} // the harness's own
                other => plan.filter = Some(other.to_owned()),
            }
        }
        plan
    }

    fn cells(&self) -> VecDeque<Cell> {
        let mut cells = VecDeque::new();
        cells.extend(matrix::cells(self.whole, self.seed));
        cells.extend(connection::cells());
        cells.extend(delivery::cells());
        cells.extend(storm::cells(self.whole, self.seed));
        if let Some(filter) = &self.filter {
            cells.retain(|cell| cell.name.contains(filter));
        }
        cells
    }
}

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        return served::app().main();
    }
    let begin = Instant::now();
    let cells = Mutex::new(Plan::read().cells());
    let failed = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                loop {
                    let Some(cell) = cells.lock().unwrap().pop_front() else {
                        return;
                    };
                    let since = Instant::now();
                    let passed = catch_unwind(AssertUnwindSafe(&cell.story)).is_ok();
                    let (name, seconds) = (cell.name, since.elapsed().as_secs_f64());
                    println!("test {name} ... {} ({seconds:.1} s)", word(passed));
                    if !passed {
                        failed.lock().unwrap().push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let seconds = begin.elapsed().as_secs_f64();
    println!(
        "test result: {}. {} failed; finished in {seconds:.1} s",
        word(failed.is_empty()),
        failed.len()
    );
    ExitCode::from(u8::from(!failed.is_empty()))
}

fn word(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}
