//! Timers, callbacks, hooks, and how long the Hub sleeps.

use std::cell::Cell;
use std::io::Write;
use std::thread;
use std::time::SystemTime;

use celeriac::hub::TIMERS_PER_TURN;

use super::*;

const SOON: Duration = Duration::from_millis(5);

#[test]
fn timers_run_by_deadline_then_priority_then_age_and_never_early() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let deadline = Instant::now() + SOON;
    for (priority, name) in [(6, "eta"), (0, "first"), (0, "second")] {
        hub.call_at_deadline(deadline, priority, move |world, _| {
            assert!(Instant::now() >= deadline);
            world.seen.push(name);
        });
    }
    hub.call_at_deadline(deadline - SOON / 5, 9, |world, _| {
        world.seen.push("earlier")
    });
    hub.call_at_deadline(deadline - SOON * 2, 9, |world, _| {
        world.seen.push("overdue")
    });
    hub.run(&mut world).unwrap();
    assert_eq!(
        world.seen(),
        ["overdue", "earlier", "first", "second", "eta"]
    );
}

#[test]
fn a_cancelled_call_of_any_kind_does_not_run() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let wall = SystemTime::now();
    let keys = [
        hub.call_soon(|_, _| panic!("cancelled")),
        hub.call_after(Duration::ZERO, |_, _| panic!("cancelled")),
        hub.call_at(wall, |_, _| panic!("cancelled")),
        hub.call_at_deadline(Instant::now(), 0, |_, _| panic!("cancelled")),
        hub.call_repeatedly(Duration::ZERO, |_, _| panic!("cancelled")),
        hub.before_poll(|_, _| panic!("cancelled")),
    ];
    for key in keys {
        assert!(hub.cancel(key));
        assert!(!hub.cancel(key), "a second time there is nothing to cancel");
    }
    assert!(hub.is_idle());
    assert_eq!(hub.next_deadline(), None);
    assert_eq!(hub.tick(&mut world, Some(SOON)).unwrap(), 0);
}

#[test]
fn a_timer_may_cancel_another_that_is_due_in_the_same_turn() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let now = Instant::now();
    let victim = hub.call_at_deadline(now, 1, |_, _| panic!("cancelled"));
    hub.call_at_deadline(now, 0, move |world, hub| {
        world.seen.push(if hub.cancel(victim) {
            "cancelled"
        } else {
            "too late"
        });
    });
    hub.run(&mut world).unwrap();
    assert_eq!(world.seen(), ["cancelled"]);
}

#[test]
fn a_key_is_stale_once_its_call_has_begun() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let key = hub.call_soon(|_, _| {});
    turn(&mut hub, &mut world);
    let later = hub.call_soon(|world, _| world.seen.push("later")); // in the same place
    assert!(!hub.cancel(key));
    assert_eq!(turn(&mut hub, &mut world), ["later"]);
    assert!(!hub.cancel(later));
}

#[test]
fn callbacks_run_in_order_and_those_they_add_in_the_next_turn() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    hub.call_soon(|world, hub| {
        world.seen.push("first");
        hub.call_soon(|world, _| world.seen.push("third"));
    });
    hub.call_soon(|world, _| world.seen.push("second"));
    assert_eq!(turn(&mut hub, &mut world), ["first", "second"]);
    assert!(hub.next_deadline().unwrap() <= Instant::now());
    // It does not sleep while something is to be called.
    hub.tick(&mut world, None).unwrap();
    assert_eq!(world.seen(), ["third"]);
}

#[test]
fn a_repeated_call_ends_when_it_cancels_itself() {
    let mut hub = Hub::<Vec<Instant>>::new().unwrap();
    let mut beats = Vec::new();
    let start = Instant::now();
    let key = Rc::new(Cell::new(None));
    let own = key.clone();
    let repeated = hub.call_repeatedly(SOON, move |beats: &mut Vec<Instant>, hub| {
        beats.push(hub.now());
        if beats.len() == 3 {
            assert!(hub.cancel(own.take().expect("it was set")));
        }
    });
    key.set(Some(repeated));
    hub.run(&mut beats).unwrap();
    assert_eq!(beats.len(), 3);
    for (number, beat) in (1..).zip(beats) {
        assert!(beat >= start + SOON * number, "beat {number} was early");
    }
}

#[test]
fn a_moment_of_the_wall_clock_in_the_past_is_due_at_once_and_in_the_future_in_time() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let now = SystemTime::now();
    hub.call_at(now + SOON, move |world, _| {
        assert!(SystemTime::now() >= now + SOON);
        world.seen.push("future");
    });
    hub.call_at(SystemTime::UNIX_EPOCH, |world, _| world.seen.push("past"));
    assert_eq!(turn(&mut hub, &mut world), ["past"]);
    hub.run(&mut world).unwrap();
    assert_eq!(world.seen(), ["future"]);
}

#[test]
fn ten_thousand_timers_due_at_once_take_many_turns_with_no_sleep_and_descriptors_between() {
    const MANY: usize = 10_000;
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (reader, mut writer) = line();
    note(&mut hub, &reader, "descriptor");
    let now = Instant::now();
    for _ in 0..MANY {
        hub.call_at_deadline(now, 0, |world, _| world.seen.push("timer"));
    }
    let turns = MANY.div_ceil(TIMERS_PER_TURN);
    for _ in 0..turns {
        writer.write_all(b"a").unwrap();
        hub.tick(&mut world, None).unwrap();
        assert_eq!(
            world
                .seen
                .iter()
                .filter(|&&name| name == "descriptor")
                .count(),
            1
        );
        assert!(world.seen.len() <= TIMERS_PER_TURN + 1);
        world.keys.clear();
        world.seen.retain(|&name| name == "timer");
        let ran = world.seen().len();
        assert!(ran > 0);
    }
    assert_eq!(hub.counters().calls, MANY as u64);
}

#[test]
fn neither_timers_nor_callbacks_nor_descriptors_starve_one_another() {
    fn at_once(world: &mut World, hub: &mut TestHub) {
        world.seen.push("timer");
        hub.call_after(Duration::ZERO, at_once);
    }
    fn again(world: &mut World, hub: &mut TestHub) {
        world.seen.push("callback");
        hub.call_soon(again);
    }
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (_reader, writer) = line();
    hub.add_writer(writer, |world: &mut World, _, _| {
        world.seen.push("descriptor");
        Next::Wait
    })
    .unwrap();
    hub.call_after(Duration::ZERO, at_once);
    hub.call_soon(again);
    for _ in 0..10 {
        assert_eq!(
            turn(&mut hub, &mut world),
            ["descriptor", "timer", "callback"]
        );
    }
}

#[test]
fn an_idle_hub_makes_no_wake_ups() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (reader, _writer) = line();
    note(&mut hub, &reader, "never");
    // A worker's day: time limits come and go, one heartbeat stands.
    for milliseconds in 0..200 {
        let limit = hub.call_after(Duration::from_millis(milliseconds), |_, _| {});
        hub.cancel(limit);
    }
    assert_eq!(hub.next_deadline(), None);
    hub.call_after(Duration::from_millis(150), |_, hub| hub.stop());
    hub.run(&mut world).unwrap();
    assert_eq!(hub.counters().turns, 1, "it slept through");
}

#[test]
fn hooks_run_once_per_turn_before_the_wait_and_see_what_handlers_left() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (reader, mut writer) = line();
    note(&mut hub, &reader, "handler");
    hub.before_poll(move |world, _| {
        world.seen.push("flush");
        writer.write_all(b"a").unwrap();
    });
    let second = hub.before_poll(|world, _| world.seen.push("second"));
    // What the first hook wrote is reported by the wait of the same turn.
    assert_eq!(turn(&mut hub, &mut world), ["flush", "second", "handler"]);
    hub.cancel(second);
    assert_eq!(turn(&mut hub, &mut world), ["flush", "handler"]);
}

#[test]
fn a_hook_may_cancel_hooks_and_add_some() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let first = hub.before_poll(|world, _| world.seen.push("first"));
    hub.before_poll(move |world, hub| {
        world.seen.push("second");
        if hub.cancel(first) {
            hub.before_poll(|world, _| world.seen.push("fourth"));
        }
    });
    hub.before_poll(|world, _| world.seen.push("third"));
    let seen = turn(&mut hub, &mut world);
    assert_eq!(
        seen,
        ["first", "second", "third", "fourth"],
        "nobody is skipped"
    );
    assert_eq!(turn(&mut hub, &mut world), ["second", "third", "fourth"]);
}

#[test]
fn run_ends_when_told_to_and_when_nothing_is_left() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    hub.before_poll(|_, _| {});
    hub.run(&mut world).unwrap(); // hooks alone cannot wake anybody
    hub.call_soon(|world, hub| {
        world.seen.push("stop");
        hub.stop();
    });
    hub.call_repeatedly(SOON, |_, _| {});
    hub.run(&mut world).unwrap();
    assert_eq!(world.seen(), ["stop"]);
    hub.stop();
    let turns = hub.counters().turns;
    hub.run(&mut world).unwrap();
    assert_eq!(hub.counters().turns, turns, "stopped before it began");
}

#[test]
fn another_thread_wakes_the_hub_and_its_end_is_noticed() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (_, waker) = hub.waker(|world, _| world.seen.push("woken")).unwrap();
    let thread = thread::spawn(move || waker.wake());
    hub.run(&mut world).unwrap(); // ends with the waker
    thread.join().unwrap().unwrap();
    assert_eq!(world.seen(), ["woken"]);
}

#[test]
fn many_wakes_are_one_call_and_never_block() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (key, waker) = hub.waker(|world, _| world.seen.push("woken")).unwrap();
    for _ in 0..100_000 {
        waker.wake().unwrap(); // more than a pipe holds
    }
    turn_until(&mut hub, &mut world, |world| !world.seen.is_empty());
    assert_eq!(world.seen(), ["woken"]);
    assert_eq!(turn(&mut hub, &mut world), [""; 0]);
    hub.remove(key);
    assert_eq!(waker.wake().unwrap_err().kind(), io::ErrorKind::BrokenPipe);
}
