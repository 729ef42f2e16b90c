//! The pool with real processes, told as stories.
//!
//! No test harness: a harness has threads, and a process with threads cannot fork. Each story runs in a
//! process of its own, which is the `main` of that story, so that none can leave anything to another.
//!
//! With `CELERIAC_LONG` in the environment some go on for as long as their promise says, minutes instead of a second.

#![allow(clippy::unwrap_used)] // a panic is how a story fails

/// Declares the stories of a file.
macro_rules! stories {
    ($($name:ident),* $(,)?) => {
        /// The stories by name.
        pub(crate) const STORIES: &[(&str, fn())] = &[$((stringify!($name), $name)),*];
    };
}

mod driver;
mod faults;
mod jobs;
mod life;
mod python;
mod tasks;
mod trouble;

use std::panic;
use std::time::{Duration, Instant};

use celeriac::sys::process::{self, Exit, Fork};
use celeriac::sys::{clock, signal};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let wanted: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    let chosen: Vec<_> = [
        life::STORIES,
        jobs::STORIES,
        trouble::STORIES,
        faults::STORIES,
        python::STORIES,
    ]
    .concat()
    .into_iter()
    .filter(|(name, _)| wanted.is_empty() || wanted.iter().any(|word| name.contains(*word)))
    .collect();
    if arguments.iter().any(|word| word == "--list") {
        chosen.iter().for_each(|(name, _)| println!("{name}: test"));
        return;
    }

    println!("\nrunning {} tests", chosen.len());
    let begun = clock::now();
    let failed: Vec<&str> = (chosen.iter().copied())
        .filter(|(name, story)| !passes(name, *story))
        .map(|(name, _)| name)
        .collect();
    println!(
        "\ntest result: {}. {} passed; {} failed; finished in {:.2}s\n",
        if failed.is_empty() { "ok" } else { "FAILED" },
        chosen.len() - failed.len(),
        failed.len(),
        begun.elapsed().as_secs_f64()
    );
    if !failed.is_empty() {
        println!("failures: {failed:?}");
        process::exit_now(101);
    }
}

/// Runs one story in a child of this process.
fn passes(name: &str, story: fn()) -> bool {
    let begun = clock::now();
    let exit = match process::fork().expect("the runner has one thread") {
        Fork::Parent(pid) => process::wait_for(pid).expect("the story is our child"),
        Fork::Child => {
            let passed = panic::catch_unwind(story).is_ok() && no_process_is_left();
            process::exit_now(i32::from(!passed));
        }
    };
    let passed = exit == Exit::Code(0);
    let word = if passed {
        "ok".to_owned()
    } else {
        format!("FAILED ({exit})")
    };
    println!(
        "test {name} ... {word} ({:.2}s)",
        begun.elapsed().as_secs_f64()
    );
    passed
}

/// Ends what the story has left behind. True when all of it can be ended, which also says that none of
/// it had got out of reach.
fn no_process_is_left() -> bool {
    let deadline: Instant = clock::now() + Duration::from_secs(10);
    while clock::now() < deadline {
        for pid in driver::children_of(process::current()) {
            let _ = signal::kill(pid, signal::Signal::SIGKILL);
        }
        while let Ok(Some(_)) = process::reap() {}
        if driver::children_of(process::current()).is_empty() {
            return true;
        }
    }
    false
}
