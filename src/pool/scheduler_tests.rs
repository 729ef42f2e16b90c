use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::*;
use crate::pool::fuzz::fuzz_scheduler;
use crate::sys::clock;

type Names = Scheduler<&'static str, u32>;

fn scheduler(target: usize) -> (Names, Instant) {
    (
        Scheduler::new(Policy {
            target,
            max_tasks_per_child: None,
        }),
        clock::now(),
    )
}

fn add_up(scheduler: &mut Names, name: &'static str) -> Key {
    let child = scheduler.add(name, clock::now());
    assert!(scheduler.up(child));
    child
}

#[test]
fn jobs_go_out_in_order_and_to_the_child_that_worked_last() {
    let (mut scheduler, now) = scheduler(2);
    assert_eq!(scheduler.wanted(now), 2);
    let (a, b) = (add_up(&mut scheduler, "a"), add_up(&mut scheduler, "b"));
    for job in 0..3 {
        scheduler.submit(job).unwrap();
    }
    assert_eq!(
        (
            scheduler.assign(clock::now()),
            scheduler.assign(clock::now()),
            scheduler.assign(clock::now())
        ),
        (Some(b), Some(a), None)
    );
    assert_eq!((scheduler.job(b), scheduler.job(a)), (Some(&0), Some(&1)));
    assert_eq!(scheduler.done(a, |job| *job == 1, clock::now()), Some(1));
    assert_eq!(scheduler.assign(clock::now()), Some(a));
    assert_eq!(scheduler.job(a), Some(&2));
}

#[test]
fn an_answer_for_another_job_is_counted_and_changes_nothing() {
    let (mut scheduler, _) = scheduler(1);
    let child = add_up(&mut scheduler, "a");
    scheduler.submit(7).unwrap();
    assert_eq!(scheduler.done(child, |job| *job == 7, clock::now()), None); // not yet given out
    assert_eq!(scheduler.assign(clock::now()), Some(child));
    assert_eq!(scheduler.done(child, |job| *job == 8, clock::now()), None);
    assert_eq!(
        scheduler.done(child, |job| *job == 7, clock::now()),
        Some(7)
    );
    assert_eq!(scheduler.done(child, |job| *job == 7, clock::now()), None);
    assert_eq!(scheduler.strays(), 3);
}

#[test]
fn a_job_that_has_not_begun_goes_to_the_next_child_ahead_of_the_others() {
    let (mut scheduler, now) = scheduler(1);
    let first = add_up(&mut scheduler, "a");
    scheduler.submit(1).unwrap();
    scheduler.submit(2).unwrap();
    assert_eq!(scheduler.assign(clock::now()), Some(first));
    let departed = scheduler.exited(first, true, now).unwrap();
    assert_eq!((departed.process, departed.job), ("a", None));
    let second = add_up(&mut scheduler, "b");
    assert_eq!(scheduler.assign(clock::now()), Some(second));
    assert_eq!(scheduler.job(second), Some(&1));
}

#[test]
fn children_that_die_without_work_are_made_ever_more_slowly_until_one_works() {
    let (mut scheduler, mut now) = scheduler(1);
    let mut delays = Vec::new();
    for _ in 0..12 {
        let child = scheduler.add("a", now);
        scheduler.exited(child, false, now).unwrap();
        assert_eq!(scheduler.wanted(now), 0);
        let again = scheduler.deadline().unwrap();
        delays.push((again - now).as_millis());
        now = again;
        assert_eq!(scheduler.wanted(now), 1);
    }
    let expected = [
        100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000, 30000,
    ];
    assert_eq!(delays, expected);

    let child = add_up(&mut scheduler, "a");
    scheduler.submit(1).unwrap();
    scheduler.assign(clock::now());
    scheduler.done(child, |_| true, clock::now()).unwrap();
    scheduler.exited(child, false, now).unwrap();
    assert_eq!((scheduler.wanted(now), scheduler.failed_starts()), (1, 0));
}

#[test]
fn a_child_that_dies_at_its_first_job_is_replaced_at_once() {
    let (mut scheduler, now) = scheduler(1);
    let child = add_up(&mut scheduler, "a");
    scheduler.submit(1).unwrap();
    scheduler.assign(clock::now());
    let departed = scheduler.exited(child, false, now).unwrap();
    assert_eq!((departed.job, scheduler.failed_starts()), (Some(1), 0));
    assert_eq!(scheduler.wanted(now), 1);
}

#[test]
fn a_child_that_dies_after_a_long_idle_life_is_replaced_at_once() {
    let (mut scheduler, now) = scheduler(1);
    for hour in 1..20 {
        let now = now + Duration::from_secs(3600 * hour);
        let child = scheduler.add("a", now - Duration::from_secs(3600));
        scheduler.up(child);
        scheduler.exited(child, false, now).unwrap();
        assert_eq!((scheduler.wanted(now), scheduler.failed_starts()), (1, 0));
    }
}

/// The owner sleeps until the deadline; one that stays in the past would keep it from sleeping.
#[test]
fn a_deadline_is_over_once_it_was_seen_to() {
    let (mut scheduler, mut now) = scheduler(1);
    scheduler.not_added(now);
    now = scheduler.deadline().unwrap();
    assert_eq!(scheduler.wanted(now), 1);
    assert_eq!(scheduler.deadline(), None, "though nothing could be made");
    assert_eq!(scheduler.wanted(now), 1);
}

/// T14.2: children that work alike do not all go at once: while there are shares to be used up, at most one is away.
#[test]
fn t14_2_children_that_work_alike_are_replaced_one_after_another() {
    let now = clock::now();
    let max_tasks_per_child = NonZeroU32::new(100);
    let (target, most) = (4, 100);
    let mut scheduler: Scheduler<u32, u32> = Scheduler::new(Policy {
        target,
        max_tasks_per_child,
    });
    let (mut made, mut job, mut least) = (0, 0, target);
    let mut done = std::collections::BTreeMap::new();
    let mut rounds_to_come_up = VecDeque::new();
    for _ in 0..1000 {
        while scheduler.wanted(now) > 0 {
            made += 1;
            rounds_to_come_up.push_back((scheduler.add(made, now), 2));
        }
        for (_, rounds) in &mut rounds_to_come_up {
            *rounds -= 1;
        }
        while let Some((child, _)) = rounds_to_come_up.pop_front_if(|(_, rounds)| *rounds == 0) {
            assert!(scheduler.up(child));
        }
        for _ in 0..target {
            job += 1;
            scheduler.submit(job).unwrap();
        }
        let busy: Vec<Key> = std::iter::from_fn(|| scheduler.assign(clock::now())).collect();
        if made > target as u32 {
            least = least.min(busy.len());
        }
        for child in busy {
            *done.entry(*scheduler.process(child).unwrap()).or_insert(0) += 1;
            scheduler.done(child, |_| true, clock::now()).unwrap();
        }
        while let Some(child) = scheduler.next_to_stop() {
            scheduler.exited(child, false, now).unwrap();
        }
    }
    assert_eq!(least, target - 1);
    let ended = done.range(..=made - target as u32);
    assert!(ended.clone().count() > 30);
    assert!(
        ended.clone().all(|(_, jobs)| (90..=most).contains(jobs)),
        "{done:?}"
    );
}

/// T14.2: a child that replaces one at work waits for it, unless that is being killed.
#[test]
fn no_more_children_have_jobs_than_there_should_be_children() {
    let (mut scheduler, now) = scheduler(1);
    let old = add_up(&mut scheduler, "old");
    for job in 1..=3 {
        scheduler.submit(job).unwrap();
    }
    assert_eq!(scheduler.assign(clock::now()), Some(old));
    assert!(scheduler.replace(old));
    assert_eq!(scheduler.wanted(now), 1, "before the old one has gone");
    let new = add_up(&mut scheduler, "new");
    assert_eq!(scheduler.assign(clock::now()), None);
    scheduler.done(old, |_| true, clock::now()).unwrap();
    assert_eq!(scheduler.next_to_stop(), Some(old));
    assert_eq!(scheduler.assign(clock::now()), Some(new));
    scheduler.doom(new, now);
    let third = add_up(&mut scheduler, "third");
    assert_eq!(
        scheduler.assign(clock::now()),
        Some(third),
        "however long the end of the other takes"
    );
    scheduler.exited(new, false, now).unwrap();
    scheduler.done(third, |_| true, clock::now()).unwrap();
    assert_eq!(scheduler.idle(), 1);
}

#[test]
fn one_killed_before_it_was_up_has_failed_once() {
    let (mut scheduler, now) = scheduler(1);
    let child = scheduler.add("a", now);
    scheduler.doom(child, now);
    assert!(!scheduler.up(child));
    scheduler.exited(child, false, now).unwrap();
    assert_eq!(scheduler.failed_starts(), 1);
    assert_eq!(scheduler.deadline(), Some(now + Duration::from_millis(100)));
}

#[test]
fn a_child_with_its_tasks_used_up_is_told_to_stop_while_its_replacement_is_made() {
    let now = clock::now();
    let policy = Policy {
        target: 1,
        max_tasks_per_child: NonZeroU32::new(2),
    };
    let mut scheduler: Names = Scheduler::new(policy);
    let child = add_up(&mut scheduler, "a");
    for job in 0..2 {
        assert_eq!(scheduler.next_to_stop(), None);
        scheduler.submit(job).unwrap();
        assert_eq!(scheduler.assign(clock::now()), Some(child));
        scheduler.done(child, |_| true, clock::now()).unwrap();
    }
    assert_eq!(
        (scheduler.next_to_stop(), scheduler.next_to_stop()),
        (Some(child), None)
    );
    assert_eq!(scheduler.wanted(now), 1);
}

#[test]
fn a_smaller_pool_sends_the_idle_away_first_and_the_busy_when_they_are_done() {
    let (mut scheduler, now) = scheduler(3);
    let [a, b, c] = ["a", "b", "c"].map(|name| add_up(&mut scheduler, name));
    scheduler.submit(1).unwrap();
    scheduler.submit(2).unwrap();
    scheduler.assign(clock::now());
    scheduler.assign(clock::now()); // to c and b
    scheduler.resize(1);
    assert_eq!(
        (scheduler.next_to_stop(), scheduler.next_to_stop()),
        (Some(a), None)
    );
    scheduler.done(c, |_| true, clock::now()).unwrap();
    assert_eq!(scheduler.next_to_stop(), Some(c));
    scheduler.done(b, |_| true, clock::now()).unwrap();
    assert_eq!(scheduler.next_to_stop(), None);
    assert_eq!(scheduler.wanted(now), 0);
    scheduler.resize(3);
    assert_eq!(scheduler.wanted(now), 2);
}

#[test]
fn a_child_that_dies_before_it_is_told_to_stop_is_not_told() {
    let (mut scheduler, now) = scheduler(3);
    let [a, b, c] = ["a", "b", "c"].map(|name| add_up(&mut scheduler, name));
    scheduler.resize(0);
    scheduler.exited(c, false, now).unwrap();
    scheduler.doom(b, now);
    assert_eq!(scheduler.next_to_stop(), Some(a));
    assert_eq!(scheduler.next_to_stop(), None);
}

#[test]
fn a_closed_pool_gives_back_what_waits_and_is_finished_with_its_last_child() {
    let (mut scheduler, now) = scheduler(2);
    let (a, starting) = (add_up(&mut scheduler, "a"), scheduler.add("b", now));
    scheduler.submit(1).unwrap();
    scheduler.submit(2).unwrap();
    assert_eq!(scheduler.assign(clock::now()), Some(a));
    assert_eq!(scheduler.close(), [2]);
    assert_eq!(scheduler.submit(3), Err(3));
    scheduler.up(starting);
    assert_eq!(
        (scheduler.assign(clock::now()), scheduler.next_to_stop()),
        (None, Some(starting))
    );
    assert_eq!(scheduler.done(a, |_| true, clock::now()), Some(1));
    assert_eq!(scheduler.next_to_stop(), Some(a));
    for child in [a, starting] {
        assert!(!scheduler.is_finished());
        scheduler.exited(child, false, now);
        assert_eq!(scheduler.wanted(now), 0);
    }
    assert!(scheduler.is_finished());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn every_job_ends_exactly_once_whatever_happens(
        data in prop::collection::vec(any::<u8>(), 0..400)
    ) {
        fuzz_scheduler(&data);
    }
}
