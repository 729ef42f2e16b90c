//! Children die, freeze and write nonsense.

use std::collections::HashSet;
use std::time::Duration;

use celeriac::pool::{ChildName, Finish, PoolEvent, PoolSettings};
use celeriac::sys::process::{Exit, Pid};
use celeriac::sys::signal::{self, Signal};
use celeriac::sys::{clock, fd};
use celeriac::util::random::Random;

use crate::driver::{Driver, freeze, settings};
use crate::tasks::Tasks;

stories![
    t3_1_a_killed_child_loses_its_job_and_is_replaced,
    t3_3_a_child_that_exits_in_the_middle_of_a_job_has_lost_it,
    t3_4_twenty_children_killed_one_after_another,
    t3_4_children_killed_at_random_under_load,
    t4_1_a_grandchild_with_the_pipe_does_not_hide_a_death,
    t4_4_garbage_costs_the_child_that_wrote_it,
    t4_3_a_child_that_does_not_read_stalls_nobody,
    t4_5_a_job_that_is_not_taken_goes_to_another_child,
    t4_5_a_job_of_a_child_killed_before_it_began_goes_to_another,
];

fn t3_1_a_killed_child_loses_its_job_and_is_replaced() {
    let mut driver = Driver::new(2);
    let before = driver.ups(2);
    let job = driver.submit("block", "");
    let victim = driver.started(job);
    let killed = clock::now();
    signal::kill(victim, Signal::SIGKILL).unwrap();
    assert_eq!(
        driver.loss(job),
        "Worker exited prematurely: signal 9 (SIGKILL) Job: 0."
    );
    driver.ups(3);
    assert!(killed.elapsed() < Duration::from_secs(1));
    assert_eq!(driver.exit_of(victim), (Exit::Signal(9), false));
    let survivor = before.iter().find(|pid| **pid != victim).copied();
    assert!(
        driver
            .owner
            .pool
            .children()
            .any(|child| child.pid == survivor)
    );
    let names: HashSet<_> = driver
        .owner
        .pool
        .children()
        .map(|child| child.name)
        .collect();
    assert!(names.contains(&ChildName::forked(3)));
}

fn t3_3_a_child_that_exits_in_the_middle_of_a_job_has_lost_it() {
    let mut driver = Driver::new(1);
    for (number, code) in [0, 1, 70].into_iter().enumerate() {
        let job = driver.submit("exit", code.to_string());
        let text = format!("Worker exited prematurely: exitcode {code} Job: {number}.");
        assert_eq!(driver.loss(job), text);
    }
}

fn t3_4_twenty_children_killed_one_after_another() {
    let mut driver = Driver::new(1);
    driver.ups(1);
    let files = fd::open_fds().unwrap().len();
    for round in 0..20 {
        let job = driver.submit("block", "");
        let pid = driver.started(job);
        signal::kill(pid, Signal::SIGKILL).unwrap();
        let number = format!("signal 9 (SIGKILL) Job: {round}.");
        assert!(driver.loss(job).ends_with(&number));
    }
    driver.ups(21);
    assert_eq!(fd::open_fds().unwrap().len(), files);
    assert_eq!(driver.owner.sources(), 3);
    assert!(
        driver
            .owner
            .finishes
            .values()
            .all(|finishes| finishes.len() == 1)
    );
}

fn t3_4_children_killed_at_random_under_load() {
    let mut driver = Driver::new(4);
    driver.ups(4);
    let mut random = Random::new(7);
    let mut jobs = Vec::new();
    while jobs.len() < 400 {
        for _ in 0..8 {
            jobs.push(driver.submit("sleep", (random.below(4)).to_string()));
        }
        let pids: Vec<Pid> = (driver.owner.pool.children())
            .filter_map(|child| child.pid)
            .collect();
        let victim = random.below(pids.len().max(1) as u64) as usize;
        if let Some(pid) = pids.get(victim) {
            let _ = signal::kill(*pid, Signal::SIGKILL);
        }
        while driver.owner.pool.stats().waiting > 4 {
            driver.turn();
        }
    }
    for job in &jobs {
        driver.finish(*job);
    }
    driver.act(|pool, now| pool.close(now));
    driver.closed();
    assert!(jobs.iter().all(|job| driver.owner.finishes[job].len() == 1));
    assert_eq!(driver.owner.sources(), 1);
    let lost = driver.owner.finishes.values().flatten();
    let lost = lost
        .filter(|finish| matches!(finish, Finish::Lost(_)))
        .count();
    assert!((1..=50).contains(&lost), "{lost} jobs lost");
}

fn t4_1_a_grandchild_with_the_pipe_does_not_hide_a_death() {
    let mut driver = Driver::new(1);
    let job = driver.submit("orphan", "");
    assert!(driver.loss(job).contains("SIGKILL"));
    driver.ups(2);
    let next = driver.submit("echo", "x");
    assert_eq!(driver.done(next).meta, b"x");
}

fn t4_4_garbage_costs_the_child_that_wrote_it() {
    let mut driver = Driver::new(2);
    let other = driver.submit("sleep", "300");
    let neighbour = driver.started(other);
    let job = driver.submit("garble", "");
    assert!(driver.loss(job).contains("SIGKILL"));
    let garbled = driver
        .owner
        .count(|event| matches!(event, PoolEvent::ChildGarbled { .. }));
    assert_eq!(garbled, 1);
    driver.done(other);
    driver.ups(3);
    assert!(
        driver
            .owner
            .pool
            .children()
            .any(|child| child.pid == Some(neighbour))
    );
}

/// The idle child that gets the next job.
fn next_in_turn(driver: &mut Driver, children: usize) -> Pid {
    driver.ups(children);
    let probe = driver.submit("echo", "");
    driver.done(probe);
    driver.owner.assigned(probe)[0]
}

fn t4_3_a_child_that_does_not_read_stalls_nobody() {
    let mut driver = Driver::new(2);
    let stopped = next_in_turn(&mut driver, 2);
    freeze(stopped);
    let large = driver.submit("length", vec![b'x'; 64 << 20]);
    assert_eq!(driver.owner.assigned(large), [stopped]);
    for _ in 0..200 {
        let job = driver.submit("echo", "x");
        driver.done(job);
        assert_ne!(driver.owner.assigned(job), [stopped]);
    }
    assert!(!driver.owner.finishes.contains_key(&large));
    signal::kill(stopped, Signal::SIGCONT).unwrap();
    assert_eq!(driver.done(large).meta, (64 << 20).to_string().into_bytes());
}

fn t4_5_a_job_that_is_not_taken_goes_to_another_child() {
    let take_timeout = Duration::from_millis(300);
    let mut driver = Driver::with(
        PoolSettings {
            take_timeout,
            ..settings(2)
        },
        Tasks::default(),
    );
    let stopped = next_in_turn(&mut driver, 2);
    freeze(stopped);
    let job = driver.submit("echo", "x");
    assert_eq!(driver.done(job).meta, b"x");
    let assigned = driver.owner.assigned(job);
    assert_eq!((assigned.len(), assigned[0]), (2, stopped));
    assert_eq!(driver.owner.finishes[&job].len(), 1);
    let overdue = driver
        .owner
        .count(|event| matches!(event, PoolEvent::ChildOverdue { .. }));
    assert_eq!(overdue, 1);
    assert_eq!(driver.exit_of(stopped), (Exit::Signal(9), true));
    // One that works longer than that is left alone.
    let slow = driver.submit("sleep", "900");
    driver.done(slow);
    assert_eq!(driver.owner.assigned(slow).len(), 1);
}

fn t4_5_a_job_of_a_child_killed_before_it_began_goes_to_another() {
    let mut driver = Driver::new(1);
    for body in [vec![b'x'; 100], vec![b'x'; 1 << 20]] {
        let stopped = next_in_turn(&mut driver, 1);
        freeze(stopped);
        let job = driver.submit("length", &body);
        signal::kill(stopped, Signal::SIGKILL).unwrap();
        assert_eq!(driver.done(job).meta, body.len().to_string().into_bytes());
        assert_eq!(driver.owner.assigned(job).len(), 2);
        assert_eq!(driver.owner.finishes[&job].len(), 1);
    }
}
