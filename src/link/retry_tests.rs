//! The schedule, in virtual time.

use super::*;

fn schedule(policy: RetryPolicy, urls: usize) -> Schedule {
    Schedule::new(policy, urls, 7)
}

fn texts(schedule: &mut Schedule, failure: Failure, count: usize) -> Vec<String> {
    (0..count)
        .map(|_| match schedule.next(failure) {
            Some((retry, _)) => retry.to_string(),
            None => "gave up".into(),
        })
        .collect()
}

#[test]
fn at_the_start_it_is_celerys() {
    let mut schedule = schedule(RetryPolicy::default(), 1);
    let texts = texts(&mut schedule, Failure::Attempt, 102);
    assert_eq!(texts[0], "Trying again in 2.00 seconds... (1/100)");
    assert_eq!(texts[1], "Trying again in 4.00 seconds... (2/100)");
    assert_eq!(texts[15], "Trying again in 32.00 seconds... (16/100)");
    assert_eq!(texts[99], "Trying again in 32.00 seconds... (100/100)");
    assert_eq!(texts[100..], ["gave up", "gave up"]);
}

#[test]
fn alternates_are_tried_before_a_pause_and_not_counted() {
    let mut schedule = schedule(RetryPolicy::default(), 3);
    let next = "Will retry using next failover.";
    assert_eq!(
        texts(&mut schedule, Failure::Attempt, 6),
        [
            next,
            next,
            "Trying again in 2.00 seconds... (1/100)",
            next,
            next,
            "Trying again in 4.00 seconds... (2/100)"
        ]
    );
}

#[test]
fn after_a_loss_a_minute_of_tries_is_quick() {
    let mut schedule = schedule(RetryPolicy::default(), 1);
    texts(&mut schedule, Failure::Attempt, 5);
    for _ in 0..2 {
        let (retry, wait) = schedule.next(Failure::Settled).expect("a try");
        assert!(
            retry == Retry::AtOnce && wait <= SPREAD,
            "{retry:?} {wait:?}"
        );
        for number in 1..=220 {
            let Some((
                Retry::Later {
                    pause,
                    attempt,
                    limit,
                },
                wait,
            )) = schedule.next(Failure::Attempt)
            else {
                panic!("try {number}");
            };
            let full = match number {
                1..=120 => 0.5,
                _ => f64::from(number - 120).min(16.0) * 2.0,
            };
            let shown = pause.as_secs_f64();
            assert!(
                shown <= full && shown >= full * (1.0 - JITTER),
                "{number}: {shown}"
            );
            assert_eq!((wait, attempt, limit), (pause, number, Some(220)));
        }
        assert_eq!(schedule.next(Failure::Attempt), None);
    }
}

#[test]
fn a_broker_that_ends_every_connection_cannot_make_us_spin() {
    let mut schedule = schedule(RetryPolicy::default(), 1);
    assert!(matches!(
        schedule.next(Failure::Unsettled),
        Some((Retry::AtOnce, _))
    ));
    for number in 1..=1000 {
        let (_, wait) = schedule.next(Failure::Unsettled).expect("a try");
        let full = 0.5 * f64::from(number.min(4));
        let shown = wait.as_secs_f64();
        assert!(shown <= full && shown >= full * (1.0 - JITTER), "{shown}");
    }
}

/// T1.1: a broker that is killed again and again, each time soon after it has come back, is looked for as quickly
/// as one that is killed for the first time.
#[test]
fn t1_1_a_connection_that_did_not_last_leaves_the_tries_quick() {
    let mut schedule = schedule(RetryPolicy::default(), 1);
    schedule.next(Failure::Settled);
    for _ in 0..50 {
        for _ in 0..20 {
            let (_, wait) = schedule.next(Failure::Attempt).expect("a try");
            assert!(wait <= Duration::from_millis(500), "{wait:?}");
        }
        schedule.next(Failure::Unsettled);
    }
}

#[test]
fn a_permanent_refusal_is_not_tried_quickly() {
    let mut schedule = schedule(RetryPolicy::default(), 1);
    schedule.next(Failure::Settled);
    schedule.next(Failure::Attempt);
    match schedule.next(Failure::Permanent) {
        Some((
            Retry::Later {
                pause,
                attempt: 2,
                limit: Some(101),
            },
            _,
        )) => {
            assert!(pause >= Duration::from_millis(1500));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_try_and_for_ever() {
    let once = RetryPolicy {
        limit: Some(0),
        ..RetryPolicy::default()
    };
    assert_eq!(schedule(once.clone(), 1).next(Failure::Attempt), None);
    let mut after_loss = schedule(once, 1);
    assert!(after_loss.next(Failure::Settled).is_some());
    assert_eq!(after_loss.next(Failure::Attempt), None);

    let forever = RetryPolicy {
        limit: None,
        ..RetryPolicy::default()
    };
    let texts = texts(&mut schedule(forever, 1), Failure::Attempt, 1000);
    assert_eq!(texts[999], "Trying again in 32.00 seconds... (1000)");
}

/// T22: the orders of brokers.
#[test]
fn t22_failover_goes_round_home_or_anywhere_else() {
    let after = |failover, url, failure, stays| {
        let policy = RetryPolicy {
            failover,
            ..RetryPolicy::default()
        };
        schedule(policy, 3).after(url, failure, stays)
    };
    use Failure::{Attempt, Settled};
    for failover in [Failover::RoundRobin, Failover::Priority] {
        assert_eq!(after(failover, 2, Attempt, false), 0);
        assert_eq!(after(failover, 0, Settled, false), 1, "it may be dead");
        assert_eq!(after(failover, 1, Settled, true), 1, "it only said no");
        assert_eq!(Failover::named(&failover.to_string()), Some(failover));
    }
    assert_eq!(after(Failover::RoundRobin, 1, Settled, false), 2);
    assert_eq!(after(Failover::Priority, 1, Settled, false), 0, "home");
    let policy = RetryPolicy {
        failover: Failover::Shuffle,
        ..RetryPolicy::default()
    };
    let mut any = schedule(policy, 3);
    let mut next: Vec<_> = (0..99).map(|_| any.after(1, Attempt, false)).collect();
    next.sort_unstable();
    next.dedup();
    assert_eq!(next, [0, 2], "each of the others");
    assert_eq!(
        schedule(RetryPolicy::default(), 1).after(0, Attempt, false),
        0
    );
}

/// T22: `broker_connection_retry_on_startup` and `broker_connection_retry`.
#[test]
fn t22_it_may_be_told_not_to_retry() {
    let at_start = RetryPolicy {
        at_start: false,
        ..RetryPolicy::default()
    };
    let mut once = schedule(at_start, 2);
    assert!(once.next(Failure::Attempt).is_some(), "the next URL");
    assert_eq!(once.next(Failure::Attempt), None);
    assert!(
        once.next(Failure::Settled).is_some(),
        "a loss is another matter"
    );
    let after_loss = RetryPolicy {
        after_loss: false,
        ..RetryPolicy::default()
    };
    let mut never = schedule(after_loss, 1);
    assert!(never.next(Failure::Attempt).is_some());
    assert_eq!(never.next(Failure::Settled), None);
}
