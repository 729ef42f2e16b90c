//! Commands that change the pool.

use super::{Answer, Reply};
use crate::hub::Hub;
use crate::message::json::python_repr;
use crate::message::pidbox::{Arguments, Exception};
use crate::worker::Worker;
use crate::worker::consumer::subscription::Purpose;

type Cx<'a> = &'a mut Worker;
type Turn<'a> = &'a mut Hub<Worker>;

/// No pool gets larger than this by remote control: a slip of the finger is not to exhaust the machine.
const LARGEST: i64 = 10_000;

pub(super) fn grow(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    resize(cx, hub, count(arguments)?.max(0))?;
    Ok(Reply::ok("pool will grow"))
}

pub(super) fn shrink(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    resize(cx, hub, -count(arguments)?.max(0))?;
    Ok(Reply::ok("pool will shrink"))
}

/// `n`, which is 1 when it is not given.
fn count(arguments: &Arguments<'_>) -> Result<i64, Exception> {
    let Some(n) = arguments.given("n") else {
        return Ok(1);
    };
    let wrong = || {
        Exception::new(
            "TypeError",
            format!("{} is no number of processes", python_repr(n)),
        )
    };
    n.as_i64().ok_or_else(wrong)
}

/// Changes the number of children by `change`. Where Celery stops every idle child and then fails, a pool is never
/// left without any.
fn resize(cx: Cx<'_>, hub: Turn<'_>, change: i64) -> Result<(), Exception> {
    let Some(pool) = &mut cx.pool.pool else {
        return Err(Exception::new("ValueError", "There is no pool"));
    };
    let now = pool.stats().concurrency;
    let wanted = i64::try_from(now).unwrap_or(LARGEST).saturating_add(change);
    if wanted < 1 {
        return Err(Exception::new(
            "ValueError",
            "Can't shrink pool. All processes busy!",
        ));
    }
    if wanted > LARGEST {
        return Err(Exception::new(
            "ValueError",
            format!("Can't grow pool beyond {LARGEST}"),
        ));
    }
    pool.resize(usize::try_from(wanted).unwrap_or(now), hub.now());
    let tasks = cx.consumer.subscriptions.of_mut(Purpose::Tasks);
    tasks.widen(change.saturating_mul(cx.settings.prefetch_multiplier.into()));
    cx.handle_pool_events(hub);
    Ok(())
}

pub(super) fn restart(_: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    Err(Exception::new("ValueError", "Pool restarts not enabled"))
}

pub(super) fn autoscale(_: Cx<'_>, _: Turn<'_>, _: &Arguments<'_>) -> Answer {
    Err(Exception::new("ValueError", "Autoscale not enabled"))
}
