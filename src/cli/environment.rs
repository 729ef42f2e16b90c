//! Which broker and which result backend: the command line beats the environment, which beats the app.

use std::time::Duration;

use crate::app::App;
use crate::message::channels::Channels;
use crate::util::span;
use crate::worker::{KEEPALIVE, LifeSettings};

/// Where the URLs come from when nobody names one.
pub(super) const DEFAULT_BROKER: &str = "amqp://guest@localhost//";

/// Celery's variables in the order in which they are consulted: those of the global option, then the setting's.
const BROKER: [&str; 3] = ["BROKER_URL", "CELERY_BROKER", "CELERY_BROKER_URL"];
const RESULT_BACKEND: [&str; 2] = ["RESULT_BACKEND", "CELERY_RESULT_BACKEND"];

/// Reads one variable of the environment; a parameter, so that tests need not change the real one.
pub(super) type Variables<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's own environment. An empty variable counts as unset, as it does for Celery.
pub(super) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// The broker's URL.
pub(super) fn broker(option: Option<&str>, variables: Variables<'_>, app: &App) -> String {
    first(option, &BROKER, variables, app.broker_url()).unwrap_or_else(|| DEFAULT_BROKER.to_owned())
}

/// The URLs to consume from and to publish to. Each has a variable of its own, which beats everything, as in Celery;
/// otherwise both are the broker's.
pub(super) fn read_and_write(broker: &str, variables: Variables<'_>) -> (String, String) {
    let own = |name| variables(name).unwrap_or_else(|| broker.to_owned());
    (
        own("CELERY_BROKER_READ_URL"),
        own("CELERY_BROKER_WRITE_URL"),
    )
}

/// The result backend's URL, if anybody names one.
pub(super) fn result_backend(
    option: Option<&str>,
    variables: Variables<'_>,
    app: &App,
) -> Option<String> {
    first(option, &RESULT_BACKEND, variables, app.result_backend_url())
}

fn first(
    option: Option<&str>,
    names: &[&str],
    variables: Variables<'_>,
    app: Option<&str>,
) -> Option<String> {
    let given = option.map(str::to_owned);
    given
        .or_else(|| names.iter().find_map(|name| variables(name)))
        .or_else(|| app.map(str::to_owned))
}

/// What Celery's worker reads from the environment about revoked ids; everything else is the default.
pub(super) fn revokes() -> LifeSettings {
    let number = |name: &str| variable(name)?.parse::<f64>().ok();
    let mut life = LifeSettings::default();
    if let Some(most) = number("CELERY_WORKER_REVOKES_MAX") {
        life.revokes_max = most as usize;
    }
    if let Some(age) = number("CELERY_WORKER_REVOKE_EXPIRES") {
        life.revoke_expires = span::seconds(age).unwrap_or(life.revoke_expires);
    }
    life
}

/// Where remote control and events go: the app's word, but for the names that the environment gives.
pub(super) fn channels(variable: &dyn Fn(&str) -> Option<String>, app: &App) -> Channels {
    let mut channels = app.own_channels().clone();
    for (name, setting) in [
        ("CELERIAC_CONTROL_EXCHANGE", &mut channels.control_exchange),
        ("CELERIAC_EVENT_EXCHANGE", &mut channels.event_exchange),
    ] {
        if let Some(value) = variable(name) {
            *setting = value;
        }
    }
    channels
}

/// How long an autoscaled pool keeps children that have nothing to do.
pub(super) fn keepalive() -> Duration {
    let seconds = variable("AUTOSCALE_KEEPALIVE").and_then(|text| text.parse().ok());
    seconds.and_then(span::seconds).unwrap_or(KEEPALIVE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_beats_the_environment_which_beats_the_app() {
        let app = App::new("tasks").broker("amqp://app//");
        let nothing = |_: &str| None;
        assert_eq!(broker(None, &nothing, &App::new("x")), DEFAULT_BROKER);
        assert_eq!(broker(None, &nothing, &app), "amqp://app//");
        let setting =
            |name: &str| (name == "CELERY_BROKER_URL").then(|| "amqp://setting//".to_owned());
        assert_eq!(broker(None, &setting, &app), "amqp://setting//");
        let every = |name: &str| Some(format!("amqp://{name}//"));
        assert_eq!(broker(None, &every, &app), "amqp://BROKER_URL//");
        assert_eq!(
            broker(Some("amqp://option//"), &every, &app),
            "amqp://option//"
        );
    }

    #[test]
    fn t10_3_names_of_the_environment_go_before_the_apps() {
        let own = Channels {
            control_exchange: "ops".to_owned(),
            event_exchange: "opsev".to_owned(),
            ..Channels::default()
        };
        let app = App::new("tasks").channels(own.clone());
        assert_eq!(channels(&|_| None, &app), own);
        let given = |name: &str| (name == "CELERIAC_EVENT_EXCHANGE").then(|| "x".to_owned());
        let found = channels(&given, &app);
        assert_eq!(found.requests(), "ops.pidbox");
        assert_eq!(found.event_exchange, "x");
    }

    #[test]
    fn reading_and_writing_may_have_brokers_of_their_own() {
        let read =
            |name: &str| (name == "CELERY_BROKER_READ_URL").then(|| "amqp://read//".to_owned());
        let urls = ("amqp://read//".to_owned(), "amqp://b//".to_owned());
        assert_eq!(read_and_write("amqp://b//", &read), urls);
    }

    #[test]
    fn the_result_backend_is_whatever_is_named_first() {
        let app = App::new("tasks");
        assert_eq!(result_backend(None, &|_| None, &app), None);
        assert_eq!(
            result_backend(Some("rpc://"), &|_| None, &app).as_deref(),
            Some("rpc://")
        );
        let app = app.result_backend("rpc://");
        assert_eq!(
            result_backend(None, &|_| None, &app).as_deref(),
            Some("rpc://")
        );
    }
}
