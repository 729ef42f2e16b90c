//! Laws of the life of a task, in virtual time: whatever happens in whatever order, every delivery is settled once and
//! every caller hears at most one end.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

#[path = "tasks_world.rs"]
mod world;

use world::{NAMES, World};

/// Lives through `steps`, then leaves.
fn live(steps: Vec<(u8, usize, u8)>) -> World {
    let mut world = World::new();
    for (step, choice, detail) in steps {
        let name = NAMES[choice % NAMES.len()];
        match step {
            0..=2 => world.deliver(name, None, None, detail % 3 == 0),
            3 => world.deliver(name, Some(u64::from(detail % 5)), Some(3), false),
            4 | 5 => world.assign(choice),
            6 | 7 => world.finish(choice, detail),
            8 => world.pass(Duration::from_millis(u64::from(detail) * 20)),
            9 => world.revoke(choice as u64, detail % 2 == 0),
            10 => world.confirm(),
            11 if detail == 0 => world.tasks.close(&mut world.acks),
            12 => world.reconnect(),
            _ => {}
        }
    }
    world.leave();
    world
}

/// What has to be so in the end.
fn check(world: &World) -> Result<(), TestCaseError> {
    prop_assert_eq!(world.tasks.requests.len(), 0, "a request is left");
    prop_assert_eq!(world.tasks.due.len(), 0, "a timer is left");
    prop_assert_eq!(world.tasks.held.len(), 0);
    prop_assert_eq!(world.acks.outstanding(), 0);
    for number in 1..=world.messages.len() as u64 {
        let fates = world.settled.get(&number).map_or(0, Vec::len);
        prop_assert_eq!(fates, 1, "message {} was settled {} times", number, fates);
    }
    Ok(())
}

proptest! {
    /// T3.3, T3.4: every delivery is settled exactly once, no caller hears two ends, nothing is left behind.
    #[test]
    fn every_delivery_is_settled_once(
        steps in proptest::collection::vec((0u8..12, 0usize..32, any::<u8>()), 1..120),
    ) {
        let world = live(steps);
        check(&world)?;
        for (caller, times) in &world.heard {
            prop_assert_eq!(*times, 1, "{} heard {} ends", caller, times);
        }
    }

    /// T7.1: connections may be lost at any moment, and still nothing is left, nothing runs twice at once, and nothing
    /// that has ended runs again, heard of by the broker or not.
    #[test]
    fn t7_1_a_lost_connection_has_nothing_run_twice(
        steps in proptest::collection::vec((0u8..13, 0usize..32, any::<u8>()), 1..120),
    ) {
        let world = live(steps);
        check(&world)?;
        for (id, times) in &world.ended {
            prop_assert_eq!(*times, 1, "{} ended {} times", id, times);
        }
    }
}

/// The fate of one delivery after `story`.
fn fate(name: &'static str, story: impl FnOnce(&mut World)) -> (&'static str, usize) {
    let mut world = World::new();
    world.deliver(name, None, None, false);
    story(&mut world);
    world.confirm();
    let fates = world.settled.remove(&1).unwrap_or_default();
    assert_eq!(fates.len(), 1, "{name}");
    (fates[0], world.heard.get("reply-1").copied().unwrap_or(0))
}

/// T3.1-T3.3, T12.2, T15.5: what the broker and the caller hear of each end.
#[test]
fn each_end_has_its_fate() {
    let ran = |how: u8| {
        move |world: &mut World| {
            world.assign(0);
            world.finish(0, how);
        }
    };
    let (success, failure, ignored, rejected, requeued, lost) = (0, 1, 2, 3, 4, 7);
    assert_eq!(fate("early", ran(success)), ("ack", 1));
    assert_eq!(
        fate("early", ran(requeued)),
        ("ack", 0),
        "it was acknowledged before"
    );
    assert_eq!(fate("late", ran(success)), ("ack", 1));
    assert_eq!(fate("late", ran(failure)), ("ack", 1));
    assert_eq!(fate("strict", ran(failure)), ("reject", 1));
    assert_eq!(fate("late", ran(ignored)), ("ack", 0));
    assert_eq!(fate("late", ran(rejected)), ("reject", 0));
    assert_eq!(fate("late", ran(requeued)), ("requeue", 0));
    assert_eq!(
        fate("late", ran(lost)),
        ("ack", 1),
        "as Celery's, unless the task says otherwise"
    );
    assert_eq!(fate("lossy", ran(lost)), ("requeue", 0));
    let not_started = ran(6);
    assert_eq!(fate("late", not_started), ("requeue", 0));
    assert_eq!(
        fate("early", not_started),
        ("ack", 1),
        "lost, and its caller told"
    );
    let timed_out = |world: &mut World| {
        world.assign(0);
        let (key, _) = world.tasks.requests.iter().next().unwrap();
        world
            .tasks
            .doom(key, Cause::TimedOut(Duration::from_secs(1)));
        world.finish(0, 7);
    };
    assert_eq!(fate("late", timed_out), ("ack", 1));
    assert_eq!(fate("patient", timed_out), ("requeue", 1));
    for name in NAMES {
        assert_eq!(
            fate(name, |world| world.revoke(1, false)),
            ("ack", 1),
            "{name}"
        );
        let unheard = |world: &mut World| {
            world.assign(0);
            world.revoke(1, true);
            world.finish(0, 7);
        };
        assert_eq!(fate(name, unheard), ("ack", 1), "{name}");
    }
}

/// A message may ask for more time than there is.
#[test]
fn a_limit_beyond_all_time_is_as_good_as_none() {
    let mut world = World::new();
    let limits = [
        (Some(Duration::MAX), None),
        (None, Some(Duration::MAX)),
        (Some(Duration::from_secs(1)), Some(Duration::MAX)),
    ];
    for (soft, hard) in limits {
        world.tasks.set_limits("late", Limits { soft, hard });
        world.deliver("late", None, None, false);
        world.assign(0);
    }
    assert_eq!(world.running.len(), 3);
    world.leave();
}

#[path = "redelivery_tests.rs"]
mod redelivery;
