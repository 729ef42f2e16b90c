//! What the broker and the caller hear of each end.

use super::*;

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
