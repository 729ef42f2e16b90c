//! The timer wheel beside what else could hold a hundred thousand deadlines.
//!
//! `cargo bench --bench timer`
#![allow(clippy::disallowed_methods)]

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use celeriac::hub::Timer;
use celeriac_bench::{Contender, compare};
use tokio_util::time::DelayQueue;

/// Timers that stand while others come and go: the time limits of that many tasks.
const STANDING: usize = 100_000;
/// How many come due together in the last comparison.
const TOGETHER: usize = 10_000;

fn main() {
    // DelayQueue takes the time from a tokio runtime.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let _guard = runtime.enter();

    let ratio = newest_goes();
    let ratio_oldest = oldest_goes();
    come_due();
    println!("\nDelayQueue / Timer: {ratio:.1} newest, {ratio_oldest:.1} oldest (the bar is 4.0)");
}

/// Delays between a second and an hour, evenly spread and the same on every run.
fn delays() -> impl Iterator<Item = Duration> {
    (0u64..).map(|number| {
        let spread = number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 3_600_000_000;
        Duration::from_micros(1_000_000 + spread)
    })
}

/// A short task: its limit is set, and it has ended before anything else happens.
fn newest_goes() -> f64 {
    let start = Instant::now();
    let mut wheel = Timer::new(start);
    let mut queue = DelayQueue::new();
    let mut heap = Heap::default();
    for delay in delays().take(STANDING) {
        wheel.insert(start + delay, 0, 0_u64);
        queue.insert(0_u64, delay);
        heap.insert(start + delay);
    }
    let mut delays = [delays(), delays(), delays()].map(|delays| delays.skip(STANDING));
    let [for_wheel, for_queue, for_heap] = &mut delays;
    let times = compare(
        "insert a timer and cancel it; 100 000 others stand",
        vec![
            Contender::new("celeriac Timer", || {
                let key = wheel.insert(start + for_wheel.next().unwrap(), 0, 0);
                wheel.cancel(key)
            }),
            Contender::new("tokio-util DelayQueue", || {
                let key = queue.insert(0, for_queue.next().unwrap());
                queue.remove(&key)
            }),
            Contender::new("std BinaryHeap, cancelled ones swept late", || {
                let number = heap.insert(start + for_heap.next().unwrap());
                heap.cancel(number);
            }),
        ],
    );
    times[1] / times[0]
}

/// Long tasks: a hundred thousand run, and the oldest ends for each that starts.
fn oldest_goes() -> f64 {
    let start = Instant::now();
    let mut wheel = Timer::new(start);
    let mut queue = DelayQueue::new();
    let mut heap = Heap::default();
    let (mut in_wheel, mut in_queue, mut in_heap) =
        (VecDeque::new(), VecDeque::new(), VecDeque::new());
    for delay in delays().take(STANDING) {
        in_wheel.push_back(wheel.insert(start + delay, 0, 0_u64));
        in_queue.push_back(queue.insert(0_u64, delay));
        in_heap.push_back(heap.insert(start + delay));
    }
    let mut delays = [delays(), delays(), delays()].map(|delays| delays.skip(STANDING));
    let [for_wheel, for_queue, for_heap] = &mut delays;
    let times = compare(
        "insert a timer and cancel the oldest of 100 000",
        vec![
            Contender::new("celeriac Timer", || {
                in_wheel.push_back(wheel.insert(start + for_wheel.next().unwrap(), 0, 0));
                in_wheel.pop_front().and_then(|key| wheel.cancel(key))
            }),
            Contender::new("tokio-util DelayQueue", || {
                in_queue.push_back(queue.insert(0, for_queue.next().unwrap()));
                in_queue.pop_front().map(|key| queue.remove(&key))
            }),
            Contender::new("std BinaryHeap, cancelled ones swept late", || {
                in_heap.push_back(heap.insert(start + for_heap.next().unwrap()));
                in_heap.pop_front().map(|number| heap.cancel(number))
            }),
        ],
    );
    times[1] / times[0]
}

/// The other end of a timer's life. (DelayQueue hands out only what is due by the real clock.)
fn come_due() {
    let start = Instant::now();
    let end = start + Duration::from_secs(4000);
    compare(
        "insert 10 000 timers and take them out when all are due",
        vec![
            Contender::new("celeriac Timer", || {
                let mut wheel = Timer::new(start);
                for delay in delays().take(TOGETHER) {
                    wheel.insert(start + delay, 0, 0_u64);
                }
                std::iter::from_fn(|| wheel.pop_due(end)).count()
            }),
            Contender::new("std BinaryHeap", || {
                let mut heap = Heap::default();
                for delay in delays().take(TOGETHER) {
                    heap.insert(start + delay);
                }
                std::iter::from_fn(|| heap.heap.pop()).count()
            }),
        ],
    );
}

/// What one writes without a wheel. A heap cannot take out from its middle, so cancelled timers
/// stay until they are more than those that live; then all of them are swept out.
#[derive(Default)]
struct Heap {
    heap: BinaryHeap<Reverse<(Instant, usize)>>,
    /// By number, from `first` on: whether it was cancelled.
    cancelled: Vec<bool>,
    first: usize,
    corpses: usize,
}

impl Heap {
    fn insert(&mut self, deadline: Instant) -> usize {
        let number = self.first + self.cancelled.len();
        self.cancelled.push(false);
        self.heap.push(Reverse((deadline, number)));
        number
    }

    fn cancel(&mut self, number: usize) {
        self.cancelled[number - self.first] = true;
        self.corpses += 1;
        if self.corpses * 2 > self.heap.len() {
            self.sweep();
        }
    }

    fn sweep(&mut self) {
        let (cancelled, first) = (&self.cancelled, self.first);
        self.heap
            .retain(|Reverse((_, number))| !cancelled[number - first]);
        self.corpses = 0;
    }
}
