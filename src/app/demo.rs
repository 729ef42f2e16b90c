//! The demonstration tasks of `celeriac worker --demo`: something to call before there is a program of one's own.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Number;
use serde_json::value::RawValue;

use super::{App, Context, Exception, TaskError, TaskResult};
use crate::sys::process;
use crate::sys::signal::{self, Signal};

/// `app` with the demonstration tasks.
pub(crate) fn register(app: App) -> App {
    app.task("demo.add", add)
        .task("demo.crash", crash)
        .task("demo.echo", echo)
        .task("demo.fail", fail)
        .task("demo.mul", mul)
        .task("demo.noop", noop)
        .task("demo.retry", retry)
        .task("demo.sleep", sleep)
}

#[derive(Deserialize)]
struct Pair {
    x: Number,
    y: Number,
}

/// `demo.add(x, y)`: the sum.
fn add(_: &Context, Pair { x, y }: Pair) -> TaskResult<Number> {
    arithmetic(&x, &y, i64::checked_add, |x, y| x + y)
}

/// `demo.mul(x, y)`: the product.
fn mul(_: &Context, Pair { x, y }: Pair) -> TaskResult<Number> {
    arithmetic(&x, &y, i64::checked_mul, |x, y| x * y)
}

/// Integers stay integers, anything else is a double.
fn arithmetic(
    x: &Number,
    y: &Number,
    integer: impl Fn(i64, i64) -> Option<i64>,
    float: impl Fn(f64, f64) -> f64,
) -> TaskResult<Number> {
    let number = match (x.as_i64(), y.as_i64()) {
        (Some(x), Some(y)) => integer(x, y).map(Number::from),
        _ => x
            .as_f64()
            .zip(y.as_f64())
            .and_then(|(x, y)| Number::from_f64(float(x, y))),
    };
    number.ok_or_else(|| python("OverflowError", "the result is too large"))
}

#[derive(Deserialize)]
struct Echo {
    value: Box<RawValue>,
}

/// `demo.echo(value)`: the value, as it was written.
fn echo(_: &Context, Echo { value }: Echo) -> TaskResult<Box<RawValue>> {
    Ok(value)
}

#[derive(Deserialize)]
struct Sleep {
    seconds: f64,
}

/// `demo.sleep(seconds)`: the seconds, later.
fn sleep(context: &Context, Sleep { seconds }: Sleep) -> TaskResult<f64> {
    let Ok(duration) = Duration::try_from_secs_f64(seconds) else {
        return Err(python("ValueError", "sleep length must be non-negative"));
    };
    // The rule against sleeping is for processes with a Hub; this is a child with one job.
    #[allow(clippy::disallowed_methods)]
    std::thread::sleep(duration.min(context.time_left().unwrap_or(duration)));
    context.check_soft_limit()?;
    Ok(seconds)
}

/// `demo.noop()`: nothing.
fn noop(_: &Context, (): ()) -> TaskResult<()> {
    Ok(())
}

#[derive(Deserialize)]
struct Fail {
    #[serde(default = "Fail::message")]
    message: String,
}

impl Fail {
    fn message() -> String {
        "boom".to_owned()
    }
}

/// `demo.fail(message="boom")`: a `ValueError`.
fn fail(_: &Context, Fail { message }: Fail) -> TaskResult<()> {
    Err(python("ValueError", &message))
}

#[derive(Deserialize)]
#[serde(default)]
struct Again {
    times: u32,
    countdown: f64,
}

impl Default for Again {
    fn default() -> Self {
        Self {
            times: 3,
            countdown: 1.0,
        }
    }
}

/// `demo.retry(times=3, countdown=1.0)`: retries itself so many times, so many seconds apart, then says how often.
fn retry(context: &Context, Again { times, countdown }: Again) -> TaskResult<u32> {
    if context.retries() >= times {
        return Ok(context.retries());
    }
    let Ok(countdown) = Duration::try_from_secs_f64(countdown) else {
        return Err(python("ValueError", "countdown must be non-negative"));
    };
    Err(context
        .retry()
        .countdown(countdown)
        .max_retries(Some(times))
        .into())
}

/// `demo.crash()`: kills the process it runs in.
fn crash(_: &Context, (): ()) -> TaskResult<()> {
    signal::kill(process::current(), Signal::SIGKILL)?;
    Ok(())
}

/// An exception of Python's own.
#[track_caller]
fn python(type_name: &str, message: &str) -> TaskError {
    Exception::new(type_name, message).module("builtins").into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(x: &str, y: &str) -> Pair {
        Pair {
            x: x.parse().unwrap(),
            y: y.parse().unwrap(),
        }
    }

    #[test]
    fn integers_stay_integers_and_never_wrap() {
        let context = Context::default();
        for (x, y, sum, product) in [("2", "3", "5", "6"), ("2", "0.5", "2.5", "1.0")] {
            assert_eq!(add(&context, numbers(x, y)).unwrap().to_string(), sum);
            assert_eq!(mul(&context, numbers(x, y)).unwrap().to_string(), product);
        }
        let largest = i64::MAX.to_string();
        assert!(add(&context, numbers(&largest, "1")).is_err());
        assert!(mul(&context, numbers("1e308", "10")).is_err());
    }

    #[test]
    fn times_that_make_no_sense_are_refused() {
        let context = Context::default();
        for seconds in [-1.0, f64::INFINITY] {
            assert!(sleep(&context, Sleep { seconds }).is_err());
            assert!(
                retry(
                    &context,
                    Again {
                        times: 1,
                        countdown: seconds
                    }
                )
                .is_err()
            );
        }
        assert_eq!(
            retry(
                &context,
                Again {
                    times: 0,
                    countdown: 1.0
                }
            )
            .unwrap(),
            0
        );
    }
}
