//! Stories of channels that are lost, and of messages that wait too long.

use super::*;

/// The broker delivers what was not settled again: what no child has must not run twice, nor count, nor set timers.
#[test]
fn what_no_child_has_goes_with_its_channel() {
    let mut world = World::new();
    world.deliver("late", None, None, false);
    world.assign(0);
    world.deliver("early", None, Some(60), false);
    world.deliver("late", Some(60), None, false);
    world.deliver("limited", None, None, false);
    world.deliver("limited", None, None, false);
    let parked = world.waiting.pop().unwrap();
    world.tasks.parked.push_back(parked);
    assert_eq!(world.tasks.requests.len(), 5);

    world.acks.reset();
    world.lose_channel();
    assert!(world.waiting.is_empty(), "the pool has none of them");
    assert_eq!(world.tasks.requests.len(), 1, "the one that runs");
    assert!(world.tasks.held.len() == 0 && world.tasks.parked.is_empty());
    assert_eq!(world.tasks.due.len(), 0);
    world.pass(Duration::from_secs(3600));
    assert!(world.waiting.is_empty(), "nothing comes of them");
    world.confirm();
    assert!(world.settled.is_empty(), "the broker is told nothing");
}

/// T2.1: the broker takes a message back from a task that runs, and gives it out again: it goes on, and is acknowledged
/// by the new tag when it ends.
#[test]
fn t2_1_a_running_task_is_not_run_again_beside_itself() {
    let mut world = World::new();
    world.deliver("late", None, None, false);
    world.assign(0);
    world.reconnect();
    assert!(world.waiting.is_empty(), "it is known again");
    world.finish(0, 0);
    world.confirm();
    assert_eq!(world.settled[&1], ["ack"]);
}

/// T2.1: who wants it as in Celery has it so: the copy runs beside the first, and it alone is acknowledged.
#[test]
fn t2_1_a_running_task_may_be_run_again_beside_itself() {
    let mut world = World::new();
    world.tasks.life.runs_again = true;
    world.deliver("late", None, None, false);
    world.assign(0);
    world.reconnect();
    assert_eq!(world.waiting.len(), 1, "it is a message as any other");
    world.finish(0, 0);
    world.confirm();
    assert!(world.settled.is_empty(), "the first has no tag any more");
    world.assign(0);
    world.finish(0, 0);
    world.confirm();
    assert_eq!(world.settled[&1], ["ack"]);
}

/// T7.1: an outcome that the broker has not heard of is kept for the redelivery, and no longer.
#[test]
fn t7_1_what_ended_while_there_was_no_connection_is_settled_when_it_comes_again() {
    for (how, fate) in [(0, "ack"), (1, "ack"), (3, "reject")] {
        let mut world = World::new();
        world.deliver("late", None, None, false);
        world.assign(0);
        world.acks.reset();
        world.lose_channel();
        world.finish(0, how);
        world.confirm();
        assert!(world.settled.is_empty(), "there is nobody to tell");
        world.epoch += 1;
        world.tag = 0;
        world.open.clear();
        world.send(1, true);
        world.confirm();
        assert!(world.waiting.is_empty(), "it is not run again");
        assert_eq!(world.settled[&1], [fate]);
        assert_eq!(world.tasks.recall.awaited(), 0);
    }
}

/// T7.1: what was handed back has to run again.
#[test]
fn t7_1_a_task_that_asks_to_be_requeued_runs_again() {
    let mut world = World::new();
    world.deliver("late", None, None, false);
    world.assign(0);
    world.acks.reset();
    world.lose_channel();
    world.finish(0, 4);
    world.epoch += 1;
    world.tag = 0;
    world.open.clear();
    world.send(1, true);
    assert_eq!(world.waiting.len(), 1);
}

/// T2.2: what waits is handed back before the broker loses patience, wherever it waits; what runs goes on.
#[test]
fn t2_2_what_waits_too_long_is_handed_back() {
    let minutes = |count: u64| Duration::from_secs(60 * count);
    let mut world = World::new();
    world.deliver("late", None, None, false);
    world.assign(0);
    world.deliver("late", Some(36_000), None, false);
    world.deliver("limited", None, None, false);
    world.deliver("limited", None, None, false);
    world.deliver("late", None, None, false);
    let parked = world.waiting.pop().unwrap();
    world.tasks.parked.push_back(parked);
    let begin = world.now;
    let sweep = world.tasks.overdue.next_deadline().unwrap();
    assert_eq!(
        sweep,
        begin + minutes(21),
        "24 minutes are four fifths of half an hour"
    );
    assert!(
        world
            .tasks
            .hand_back_overdue(begin + minutes(20), &mut world.acks)
            .is_empty()
    );
    assert_eq!(world.tasks.requests.len(), 5);

    let in_pool = world.tasks.hand_back_overdue(sweep, &mut world.acks);
    assert_eq!(
        in_pool.len(),
        1,
        "the first limited one has passed to the pool"
    );
    for key in in_pool {
        world.finished(key, Finish::NotStarted);
    }
    world.confirm();
    assert_eq!(world.tasks.requests.len(), 1, "the one that runs");
    for number in 2..=5 {
        assert_eq!(world.settled[&number], ["requeue"], "{number}");
    }
    assert_eq!(
        world.tasks.overdue.next_deadline(),
        Some(sweep + minutes(3))
    );
    assert!(world.tasks.held.len() == 0 && world.tasks.parked.is_empty());
    world.finish(0, 0);
    world.confirm();
    world
        .tasks
        .hand_back_overdue(sweep + minutes(3), &mut world.acks);
    assert_eq!(
        world.tasks.overdue.next_deadline(),
        None,
        "nothing to look after"
    );
}

/// T2.2: a queue that says how patient the broker is with it is believed.
#[test]
fn t2_2_the_queues_own_timeout_counts() {
    let mut settings = Settings::of_tests();
    let mut queue = crate::worker::Queue::named("q");
    queue
        .arguments
        .insert("x-consumer-timeout", 60_000_i64)
        .unwrap();
    settings.queues.push(queue);
    let mut overdue = Overdue::new(&settings);
    let now = clock::now();
    overdue.expect(now);
    assert_eq!(overdue.next_deadline(), Some(now + Duration::from_secs(42)));
    settings.queues.clear();
    settings.broker.consumer_timeout = None;
    let mut never = Overdue::new(&settings);
    never.expect(now);
    assert_eq!(never.next_deadline(), None);
}

/// T7.1: a child has taken the job at the very moment at which the channel was lost: it is in hand like those that run.
#[test]
fn t7_1_what_a_child_takes_at_the_last_moment_is_known_again() {
    let mut world = World::new();
    world.deliver("late", None, None, false);
    let job = world.waiting.pop().unwrap();
    world.acks.reset();
    world.lose_channel();
    world.waiting.push(job);
    world.assign(0);
    world.epoch += 1;
    world.tag = 0;
    world.open.clear();
    world.send(1, true);
    assert!(world.waiting.is_empty(), "it is not run twice");
    world.finish(0, 0);
    world.confirm();
    assert_eq!(world.settled[&1], ["ack"]);
}
