//! Faults at every point, and how quick main stays meanwhile.

use std::time::Duration;

use celeriac::message::record::{self, Done, Outcome};
use celeriac::pool::{Finish, JobKey, PoolSettings};
use celeriac::sys::clock;
use celeriac::sys::process::Exit;
use celeriac::sys::signal::Signal;
use celeriac::util::random::Random;
use nix::time::{ClockId, clock_gettime};

use crate::driver::{Driver, freeze, settings};
use crate::tasks::Tasks;

stories![
    t3_3_a_child_dies_after_every_prefix_of_its_answer,
    t4_3_main_stays_quick_whatever_children_do,
    t14_4_a_child_has_its_time_to_leave,
    t15_1_terminating_hits_what_it_is_meant_for,
];

/// How often a story repeats itself: `short` times, or as often as its promise says.
fn times(short: usize, long: usize) -> usize {
    match std::env::var_os("CELERIAC_LONG") {
        Some(_) => long,
        None => short,
    }
}

/// Whatever part of its answer a child has written when it dies, its job has one end, and the job behind it another.
fn t3_3_a_child_dies_after_every_prefix_of_its_answer() {
    let mut answer = Vec::new();
    let mut done = Done::new(1000, Outcome::Success, 0.0);
    record::encode_done(&mut answer, &mut done).unwrap();
    let mut driver = Driver::new(1);
    for written in 0..=answer.len() {
        let job = driver.submit("prefix", written.to_string());
        let behind = driver.submit("echo", "x");
        match driver.finish(job) {
            Finish::Done(_) => assert_eq!(written, answer.len()),
            Finish::Lost(loss) => {
                assert!(
                    written < answer.len() && loss.exit == Exit::Code(0),
                    "{written}: {loss}"
                );
            }
            Finish::NotStarted => panic!("{written}"),
        }
        assert_eq!(driver.done(behind).meta, b"x");
    }
    let mut ends = driver.owner.finishes.values();
    assert!(ends.all(|finishes| finishes.len() == 1));
    assert_eq!(driver.owner.finishes.len(), 2 * (answer.len() + 1));
    assert_eq!(
        driver.owner.sources(),
        3,
        "zygote, and the pipes of one child"
    );
}

/// The time this thread has worked: what others do on this machine does not count.
fn worked() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .unwrap()
        .into()
}

/// One child is stopped with 64 MiB to read, one writes 64 MiB byte by byte, one writes as much at once.
fn t4_3_main_stays_quick_whatever_children_do() {
    let take_timeout = Duration::from_secs(600); // nobody is to be killed for it
    let mut driver = Driver::with(
        PoolSettings {
            take_timeout,
            ..settings(4)
        },
        Tasks::default(),
    );
    let children = driver.ups(4);
    let probe = driver.submit("echo", "");
    driver.done(probe);
    let next = driver.owner.assigned(probe)[0];
    assert!(children.contains(&next));
    freeze(next);
    let unread = driver.submit("length", vec![b'x'; 64 << 20]);
    assert_eq!(driver.owner.assigned(unread), [next]);
    let trickle = driver.submit("trickle", "");
    driver.started(trickle);

    let (mut turns, mut small) = (Vec::new(), 0);
    let begun = clock::now();
    while begun.elapsed() < Duration::from_secs(times(2, 60) as u64) {
        let jobs = [
            driver.submit("zeroes", (64 << 20).to_string()),
            driver.submit("echo", "x"),
        ];
        while jobs
            .iter()
            .any(|job| !driver.owner.finishes.contains_key(job))
        {
            let before = worked();
            driver.turn();
            turns.push(worked() - before);
        }
        for job in jobs {
            driver.owner.finishes.remove(&job);
        }
        small += 1;
    }
    turns.sort_unstable();
    let p99 = turns[turns.len() * 99 / 100];
    println!(
        "{} turns, {small} small jobs, p99 {p99:?}, longest {:?}",
        turns.len(),
        turns.last()
    );
    let limit = if cfg!(debug_assertions) { 30 } else { 10 };
    assert!(p99 < Duration::from_millis(limit), "{p99:?}");
    assert!(small > 1);
    for job in [unread, trickle] {
        assert!(
            !driver.owner.finishes.contains_key(&job),
            "it is still at it"
        );
    }
}

fn t14_4_a_child_has_its_time_to_leave() {
    for (farewell, exit) in [(100, Exit::Code(0)), (60_000, Exit::Signal(9))] {
        let stop_timeout = Duration::from_secs(1);
        let farewell = Duration::from_millis(farewell);
        let tasks = Tasks {
            farewell,
            ..Tasks::default()
        };
        let mut driver = Driver::with(
            PoolSettings {
                stop_timeout,
                ..settings(1)
            },
            tasks,
        );
        let child = driver.ups(1)[0];
        let begun = clock::now();
        driver.act(|pool, now| pool.close(now));
        driver.closed();
        assert_eq!(driver.exit_of(child), (exit, true));
        assert!(begun.elapsed() >= farewell.min(stop_timeout));
    }
}

/// Jobs of a millisecond, and one of them killed at any moment of its life: no other is ever hit.
fn t15_1_terminating_hits_what_it_is_meant_for() {
    let mut driver = Driver::new(2);
    let mut random = Random::new(15);
    let mut open: Vec<(JobKey, bool)> = Vec::new();
    let mut killed = 0;
    for _ in 0..times(300, 100_000) {
        while open.len() < 6 {
            open.push((driver.submit("sleep", "1"), false));
        }
        for _ in 0..random.below(3) {
            driver.turn();
        }
        let choice = random.below(open.len() as u64) as usize;
        let (job, meant) = &mut open[choice];
        *meant = true;
        driver.act(|pool, now| pool.kill_job(*job, Signal::SIGKILL, now));
        open.retain(|(job, meant)| match driver.owner.finishes.remove(job) {
            None => true,
            Some(ends) => {
                assert_eq!(ends.len(), 1);
                let hit = matches!(ends[0], Finish::Lost(_));
                assert!(*meant || matches!(ends[0], Finish::Done(_)), "{ends:?}");
                killed += usize::from(hit);
                false
            }
        });
    }
    for (job, meant) in open {
        assert!(matches!(driver.finish(job), Finish::Done(_)) || meant);
    }
    println!("{killed} were killed while they ran");
    assert!(killed > 10, "{killed}");
}
