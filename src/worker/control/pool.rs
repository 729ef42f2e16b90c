//! Commands that change the pool.

use super::{Answer, Reply};
use crate::hub::Hub;
use crate::message::json::{Kind, python_repr};
use crate::message::pidbox::{Arguments, Exception, is_true};
use crate::worker::Worker;

type Cx<'a> = &'a mut Worker;
type Turn<'a> = &'a mut Hub<Worker>;

/// No pool gets larger than this by remote control: a slip of the finger is not to exhaust the machine.
const LARGEST: i64 = 10_000;

pub(super) fn grow(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    if cx.autoscale.is_some() {
        return Ok(scaled("pool_grow"));
    }
    resize(cx, hub, count(arguments)?.max(0))?;
    Ok(Reply::ok("pool will grow"))
}

pub(super) fn shrink(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    if cx.autoscale.is_some() {
        return Ok(scaled("pool_shrink"));
    }
    resize(cx, hub, -count(arguments)?.max(0))?;
    Ok(Reply::ok("pool will shrink"))
}

fn scaled(command: &str) -> Reply {
    Reply::error(&format!(
        "{command} is not supported with autoscale. Adjust autoscale range instead."
    ))
}

/// `n`, which is 1 when it is not given.
pub(super) fn count(arguments: &Arguments<'_>) -> Result<i64, Exception> {
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
    cx.consumer.subscriptions.grow(change);
    cx.handle_pool_events(hub);
    Ok(())
}

/// Has every child replaced once its task has ended; with `reload` by children of a program that was read anew.
pub(super) fn restart(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    if !cx.settings.pool_restarts {
        return Err(Exception::new("ValueError", "Pool restarts not enabled"));
    }
    let reload = arguments.find("reload").is_some_and(is_true);
    match cx.settings.host.is_some() && reload {
        true => cx.reload_zygote(hub),
        false => cx.replace_children(hub),
    }
    Ok(Reply::ok("reload started"))
}

pub(super) fn autoscale(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    if cx.autoscale.is_none() {
        return Err(Exception::new("ValueError", "Autoscale not enabled"));
    }
    let (max, min) = (limit(arguments, "max")?, limit(arguments, "min")?);
    cx.rescale(max, min, hub);
    let (max, min) = cx.autoscale.as_ref().map_or((0, 0), |it| (it.max, it.min));
    Ok(Reply::ok(&format!("autoscale now max={max} min={min}")))
}

/// A number of children, if it is given. Celery compares a text with a number, and fails.
fn limit(arguments: &Arguments<'_>, name: &str) -> Result<Option<usize>, Exception> {
    let Some(value) = arguments.given(name) else {
        return Ok(None);
    };
    let wrong = || match value.kind() {
        Kind::String => Exception::new(
            "TypeError",
            "'<' not supported between instances of 'str' and 'int'",
        ),
        _ => {
            let shown = python_repr(value);
            Exception::new("ValueError", format!("{shown} is no number of processes"))
        }
    };
    let number = value.as_i64().filter(|number| *number <= LARGEST);
    let number = number.and_then(|number| usize::try_from(number).ok());
    number.map(Some).ok_or_else(wrong)
}
