//! Commands that change the limits of tasks of one type.

use std::time::Duration;

use super::{Answer, Reply};
use crate::hub::Hub;
use crate::message::json::{Kind, Raw, python_quoted, python_repr, python_str};
use crate::message::pidbox::{Arguments, Exception, is_true};
use crate::util::span;
use crate::worker::{Limits, Rate, Worker};

type Cx<'a> = &'a mut Worker;
type Turn<'a> = &'a mut Hub<Worker>;

const UNKNOWN: &str = "unknown task";

pub(super) fn rate_limit(cx: Cx<'_>, hub: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let task = task_name(arguments);
    let limit = arguments.find("rate_limit").filter(|value| is_true(*value));
    let limit = limit.map(python_str);
    let text = limit.as_deref().unwrap_or_default();
    let rate = match (check_rate(text), Rate::parse(text)) {
        (Ok(()), Ok(rate)) => rate,
        (Ok(()), Err(error)) => return Ok(Reply::error(&error.to_string())),
        (Err(RateError::Unit(unit)), _) => return Err(Exception::new("KeyError", unit)),
        (Err(RateError::Number(number)), _) => {
            let words = format!(
                "could not convert string to float: {}",
                python_quoted(&number)
            );
            let exception = Exception::new("ValueError", words);
            return Ok(Reply::error(&format!(
                "Invalid rate limit string: {exception}"
            )));
        }
    };
    if !cx.tasks.set_rate_limit(&task, rate, hub.now()) {
        log::error!("Rate limit attempt for unknown task {task}");
        return Ok(Reply::error(UNKNOWN));
    }
    if let Some(options) = cx.tasks.registry.options_mut(&task) {
        options.rate_limit.clone_from(&limit);
    }
    Ok(match limit {
        Some(limit) => {
            log::info!("New rate limit for tasks of type {task}: {limit}.");
            Reply::ok("new rate limit set successfully")
        }
        None => {
            log::info!("Rate limits disabled for tasks of type {task}");
            Reply::ok("rate limit disabled successfully")
        }
    })
}

#[derive(Debug, PartialEq)]
enum RateError {
    Number(String),
    Unit(String),
}

/// Whether a text is a rate as Celery reads one: `5`, `0.5/s`, `10/m`, `100/h`.
fn check_rate(text: &str) -> Result<(), RateError> {
    if text.is_empty() {
        return Ok(());
    }
    let (number, unit) = text.split_once('/').unwrap_or((text, "s"));
    if !["s", "m", "h"].contains(&unit) && !unit.is_empty() {
        return Err(RateError::Unit(unit.to_owned()));
    }
    match number.trim().parse::<f64>() {
        Ok(_) => Ok(()),
        Err(_) => Err(RateError::Number(number.to_owned())),
    }
}

pub(super) fn time_limit(cx: Cx<'_>, _: Turn<'_>, arguments: &Arguments<'_>) -> Answer {
    let task = task_name(arguments);
    let (soft, hard) = (seconds(arguments, "soft")?, seconds(arguments, "hard")?);
    if !cx.tasks.set_limits(&task, Limits { soft, hard }) {
        log::error!("Change time limit attempt for unknown task {task}");
        return Ok(Reply::error(UNKNOWN));
    }
    let shown = |name| python_repr(arguments.find(name).unwrap_or(NONE));
    let (soft, hard) = (shown("soft"), shown("hard"));
    log::info!("New time limits for tasks of type {task}: soft={soft} hard={hard}");
    Ok(Reply::ok("time limits set successfully"))
}

/// A limit in seconds; null and zero are none.
fn seconds(arguments: &Arguments<'_>, name: &str) -> Result<Option<Duration>, Exception> {
    let Some(value) = arguments.given(name) else {
        return Ok(None);
    };
    let limit = match value.kind() {
        Kind::Number => value.as_f64(),
        _ => None,
    };
    let limit = limit.and_then(span::seconds);
    let wrong = || {
        Exception::new(
            "TypeError",
            format!("{} is no time limit", python_repr(value)),
        )
    };
    limit
        .map(|limit| Some(limit).filter(|limit| !limit.is_zero()))
        .ok_or_else(wrong)
}

fn task_name(arguments: &Arguments<'_>) -> String {
    python_str(arguments.find("task_name").unwrap_or(NONE))
}

const NONE: Raw<'static> = Raw::NULL;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_a_number_and_a_unit() {
        for text in ["5", "0.5/s", "10/m", "1e3/h", "0", "5/"] {
            assert_eq!(check_rate(text), Ok(()), "{text}");
        }
        assert_eq!(check_rate("abc"), Err(RateError::Number("abc".into())));
        assert_eq!(check_rate("5/x"), Err(RateError::Unit("x".into())));
    }
}
