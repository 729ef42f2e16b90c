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

#[path = "fate_tests.rs"]
mod fates;
#[path = "redelivery_tests.rs"]
mod redelivery;
