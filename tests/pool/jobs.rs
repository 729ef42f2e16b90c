//! Jobs are run, answered and killed.

use std::collections::HashSet;

use celeriac::message::record::Outcome;
use celeriac::pool::Finish;
use celeriac::sys::process::{self, Exit};
use celeriac::sys::signal::Signal;

use crate::driver::{Driver, children_of, wait_for_state};

stories![
    a_job_runs,
    a_thousand_jobs_over_two_children_finish_once_each,
    short_jobs_behind_a_long_one_do_not_wait_for_it,
    jobs_ahead_of_a_child_that_dies_run_elsewhere,
    t4_3_an_answer_that_comes_in_single_bytes,
    t3_3_an_answer_written_before_the_end_counts,
    a_panic_is_the_failure_of_its_job,
    t4_3_a_large_answer_stalls_nobody,
    t12_4_a_job_is_killed_with_all_its_processes,
    t12_3_t15_1_a_signal_reaches_only_the_child_with_the_job,
];

fn a_job_runs() {
    let mut driver = Driver::new(1);
    let job = driver.submit("echo", "[[2, 2], {}, {}]");
    let done = driver.done(job);
    assert_eq!(
        (done.outcome, done.meta.as_slice()),
        (Outcome::Success, &b"[[2, 2], {}, {}]"[..])
    );
    let pid = driver.ups(1);
    assert_eq!(driver.owner.assigned(job), pid);
}

fn a_thousand_jobs_over_two_children_finish_once_each() {
    let mut driver = Driver::new(2);
    let jobs: Vec<_> = (0..1000)
        .map(|number| driver.submit("echo", number.to_string()))
        .collect();
    for (number, job) in jobs.iter().enumerate() {
        assert_eq!(driver.done(*job).meta, number.to_string().into_bytes());
    }
    driver.act(|pool, now| pool.close(now));
    driver.closed();
    assert!(jobs.iter().all(|job| driver.owner.finishes[job].len() == 1));
    assert_eq!(driver.owner.finishes.len(), 1000);
    assert_eq!(driver.owner.pool.stats().strays, 0);
    let pids = jobs.iter().flat_map(|job| driver.owner.assigned(*job));
    assert_eq!(pids.collect::<HashSet<_>>().len(), 2);
}

fn t3_3_an_answer_written_before_the_end_counts() {
    let mut driver = Driver::new(1);
    let child = driver.ups(1)[0];
    let job = driver.submit("answer_and_exit", "");
    // The death is told first, before anybody has looked at the pipe.
    wait_for_state(child, "Z (zombie)");
    let (pid, exit) = process::reap().unwrap().unwrap();
    assert!(driver.act(|pool, now| pool.handle_exit(pid, exit, now)));
    assert_eq!(driver.owner.finishes[&job].len(), 1);
    assert_eq!(driver.done(job).outcome, Outcome::Success);
}

fn t4_3_an_answer_that_comes_in_single_bytes() {
    let mut driver = Driver::new(1);
    let job = driver.submit("drip", "a b c");
    assert_eq!(driver.done(job).meta, b"a b c");
    // The task has answered; the child then answers for it once more.
    let next = driver.submit("echo", "");
    driver.done(next);
    assert_eq!(driver.owner.finishes[&job].len(), 1);
    assert_eq!(driver.owner.pool.stats().strays, 1);
}

/// A child that was quick has jobs ahead; when its next one is long, they are taken back and run by the other.
fn short_jobs_behind_a_long_one_do_not_wait_for_it() {
    let mut driver = Driver::new(2);
    for _ in 0..20 {
        let quick = [0; 40].map(|_| driver.submit("echo", "quick"));
        let long = driver.submit("block", "");
        let behind = [0; 40].map(|_| driver.submit("echo", "behind"));
        for job in quick.into_iter().chain(behind) {
            driver.done(job);
        }
        assert!(!driver.owner.finishes.contains_key(&long));
        driver.act(|pool, now| assert!(pool.kill_job(long, Signal::SIGKILL, now)));
        driver.loss(long);
    }
    assert!(driver.owner.finishes.values().all(|each| each.len() == 1));
    assert_eq!(driver.owner.pool.stats().strays, 0);
}

/// Of the jobs of a child that dies only one can have begun: the one it died of.
fn jobs_ahead_of_a_child_that_dies_run_elsewhere() {
    let mut driver = Driver::new(1);
    for _ in 0..20 {
        let before = [0; 10].map(|_| driver.submit("echo", ""));
        let deadly = driver.submit("exit", "1");
        let after = [0; 10].map(|_| driver.submit("echo", ""));
        driver.loss(deadly);
        for job in before.into_iter().chain(after) {
            driver.done(job);
        }
    }
    assert!(driver.owner.finishes.values().all(|each| each.len() == 1));
}

fn a_panic_is_the_failure_of_its_job() {
    let mut driver = Driver::new(1);
    let job = driver.submit("panic", "");
    let done = driver.done(job);
    assert_eq!(done.outcome, Outcome::Failure);
    let message = done.exception.clone().unwrap();
    assert!(
        message.starts_with("this task does that, tests/pool/tasks.rs:"),
        "{message}"
    );
    assert!(done.traceback.as_ref().unwrap().contains("run_job"));
    let next = driver.submit("echo", "x");
    driver.done(next);
    assert_eq!(driver.owner.assigned(job), driver.owner.assigned(next));
}

fn t4_3_a_large_answer_stalls_nobody() {
    let mut driver = Driver::new(2);
    driver.ups(2);
    let large = driver.submit("zeroes", (64 << 20).to_string());
    let mut meanwhile = 0;
    while !driver.owner.finishes.contains_key(&large) {
        let job = driver.submit("echo", "x");
        driver.done(job);
        meanwhile += 1;
    }
    assert_eq!(driver.done(large).meta.len(), 64 << 20);
    assert!(meanwhile > 1);
}

fn t12_4_a_job_is_killed_with_all_its_processes() {
    let mut driver = Driver::new(2);
    let job = driver.submit("family", "");
    let pid = driver.started(job);
    let grandchild = children_of(pid)[0];
    let other = driver.submit("block", "");
    driver.started(other);
    let waiting = driver.submit("block", "");

    assert!(driver.act(|pool, now| pool.kill_job(waiting, Signal::SIGTERM, now)));
    assert!(matches!(driver.finish(waiting), Finish::NotStarted));
    assert!(driver.act(|pool, now| pool.kill_job(job, Signal::SIGTERM, now)));
    assert_eq!(
        driver.loss(job),
        "Worker exited prematurely: signal 15 (SIGTERM) Job: 0."
    );
    assert_eq!(driver.exit_of(pid), (Exit::Signal(15), true));
    driver.until("the grandchild to end", |owner| {
        owner
            .strangers
            .contains(&(grandchild, Exit::Signal(15)))
            .then_some(())
    });
    assert!(!driver.act(|pool, now| pool.kill_job(job, Signal::SIGTERM, now)));
    assert!(!driver.owner.finishes.contains_key(&other));
}

fn t12_3_t15_1_a_signal_reaches_only_the_child_with_the_job() {
    let mut driver = Driver::new(1);
    let first = driver.submit("sleep", "0");
    driver.started(first);
    // Wait until it has answered, without hearing the answer: the signal must not be sent then.
    let child = driver.ups(1)[0];
    wait_for_state(child, "S (sleeping)");
    driver.act(|pool, now| pool.signal_job(first, Signal::SIGTERM, now));
    let second = driver.submit("block", "");
    driver.started(second);
    if driver.owner.assigned(second) == [child] {
        assert!(driver.act(|pool, now| pool.signal_job(second, Signal::SIGTERM, now)));
        assert!(driver.loss(second).contains("SIGTERM"));
    }
}
