//! A small harness: what is compared runs in turns in one process, so that whatever disturbs the
//! machine disturbs all alike; the best round of each is its result, and the ratio is what counts.
//!
//! Why not criterion: it measures one thing after the other, minutes apart, and ratios between them
//! then drift with the machine.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// Rounds in which every contender has its turn. Many short ones: some of each fit between two
/// interruptions, however busy the machine.
const ROUNDS: usize = 500;

/// One way of doing what is compared.
pub struct Contender<'a> {
    name: &'a str,
    run: Box<dyn FnMut(u64) + 'a>,
}

impl<'a> Contender<'a> {
    /// `operation` is what is timed, once per call.
    pub fn new<R>(name: &'a str, mut operation: impl FnMut() -> R + 'a) -> Self {
        let run = Box::new(move |times| {
            for _ in 0..times {
                black_box(operation());
            }
        });
        Self { name, run }
    }
}

/// Times every contender and prints a table: nanoseconds per operation, and the ratio to the first.
/// Returns the times in the order of the contenders.
pub fn compare(title: &str, mut contenders: Vec<Contender<'_>>) -> Vec<f64> {
    let times: Vec<u64> = contenders.iter_mut().map(calibrate).collect();
    let mut best = vec![f64::INFINITY; contenders.len()];
    for _ in 0..ROUNDS {
        for ((contender, &times), best) in contenders.iter_mut().zip(&times).zip(&mut best) {
            let nanoseconds = time(contender, times).as_nanos() as f64 / times as f64;
            *best = best.min(nanoseconds);
        }
    }
    println!("\n{title}");
    for (contender, nanoseconds) in contenders.iter().zip(&best) {
        let ratio = nanoseconds / best[0];
        println!(
            "  {:<44} {nanoseconds:>10.1} ns   {ratio:>6.2} x",
            contender.name
        );
    }
    best
}

/// How many operations take about a millisecond.
fn calibrate(contender: &mut Contender<'_>) -> u64 {
    let mut times = 1;
    loop {
        let took = time(contender, times);
        if took >= Duration::from_millis(1) {
            return times;
        }
        times *= 2;
    }
}

#[allow(clippy::disallowed_methods)]
fn time(contender: &mut Contender<'_>, times: u64) -> Duration {
    let start = Instant::now();
    (contender.run)(times);
    start.elapsed()
}
