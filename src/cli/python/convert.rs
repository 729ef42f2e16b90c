//! From the report on a Python app to what the worker is told.

use std::num::NonZeroU32;
use std::time::Duration;

use serde_json::{Map, Value};

use super::environment;
use crate::amqp::sasl::Mechanism;
use crate::amqp::table::TableBuf;
use crate::link::{BrokerUrl, Failover};
use crate::message::channels::Channels;
use crate::message::headers;
use crate::message::task::Accept;
use crate::pool::StartMethod;
use crate::pool::python::{self as report, Report, TaskReport};
use crate::util::span;
use crate::worker::node_name;
use crate::worker::{
    Autoscale, Binding, BrokerSettings, Exchange, LifeSettings, Limits, Monitoring, Queue,
    Registry, ResultBackend, Settings, Shelve, TaskOptions,
};

/// Celery's `worker_proc_alive_timeout`, if nobody has set another.
const CELERYS_UP_TIMEOUT: Duration = Duration::from_secs(4);

/// kombu's names of the transport that main speaks.
const AMQP: [&str; 4] = ["amqp", "amqps", "pyamqp", "librabbitmq"];

/// The worker's settings.
///
/// # Errors
/// A sentence about a setting that cannot be served.
pub(super) fn settings(report: &Report) -> Result<Settings, String> {
    let transport = report.broker.transport.as_str();
    if !AMQP.contains(&transport) {
        return Err(format!(
            "the broker's transport is {transport}, and celeriac speaks AMQP 0-9-1 only (RabbitMQ, LavinMQ)"
        ));
    }
    let tls = report.settings.value("broker_use_ssl");
    if tls.is_some_and(|value| !matches!(value, Value::Null | Value::Bool(false))) {
        return Err("broker_use_ssl asks for TLS, which is not built in yet: reach the broker over a local tunnel \
             (stunnel, a sidecar), or keep this worker on celery"
            .to_owned());
    }
    let worker = &report.worker;
    let queues: Result<_, String> = report.queues.iter().map(queue).collect();
    Ok(Settings {
        node_name: report.node.clone(),
        read_urls: urls(&report.broker.read)?,
        write_urls: urls(&report.broker.write)?,
        results: ResultBackend::App,
        autoscale: worker
            .autoscale
            .map(|(max, min)| Autoscale::new(max as usize, min as usize, environment::keepalive())),
        pool_restarts: report.settings.flag("worker_pool_restarts") == Some(true),
        concurrency: match report.pool.as_str() {
            "solo" => 1,
            _ if worker.autoscale.is_some() => worker.autoscale.map_or(1, |(_, min)| min as usize),
            _ => worker.concurrency.map_or(1, |count| count as usize),
        },
        prefetch_multiplier: worker.prefetch_multiplier.map_or(4, |count| count as u32),
        eta_task_limit: number(report, "worker_eta_task_limit"),
        max_tasks_per_child: worker
            .max_tasks_per_child
            .and_then(|count| NonZeroU32::new(count as u32)),
        start_method: match worker.pool_start_method.as_deref() {
            Some("spawn") => StartMethod::Spawn,
            _ => StartMethod::Fork,
        },
        queues: queues?,
        declared: report.declared.iter().flat_map(queue).collect(),
        accept: Accept::new(&report.accept),
        host: None,
        listeners: report.receivers.iter().cloned().collect(),
        monitoring: monitoring(report)?,
        commands: vec![],
        clerk_commands: report.control.keys().cloned().collect(),
        remap_sigterm: environment::variable("REMAP_SIGTERM").as_deref() == Some("SIGQUIT"),
        life: life(report)?,
        broker: broker(&report.settings),
    })
}

/// A setting that is a positive number.
fn number(report: &Report, name: &str) -> Option<u16> {
    let number = report.settings.number(name);
    number.map(|count| count as u16).filter(|count| *count > 0)
}

/// What it tells of itself.
fn monitoring(report: &Report) -> Result<Monitoring, String> {
    let worker = &report.worker;
    let every = seconds(worker.heartbeat_interval).filter(|every| !every.is_zero());
    Ok(Monitoring {
        channels: channels(&report.settings)?,
        remote_control: report.settings.flag("worker_enable_remote_control") != Some(false),
        task_events: worker.task_events,
        gossip: !worker.without_gossip,
        mingle: !worker.without_mingle,
        heartbeat: (!worker.without_heartbeat).then(|| every.unwrap_or(Duration::from_secs(2))),
        http: None,
        heartbeat_file: None,
        report: report.bug_report.clone(),
        conf: report.conf.clone(),
        conf_with_defaults: report.conf_with_defaults.clone(),
    })
}

/// Where remote control and events go. Settings that the app's Celery does not know are as in a current one.
fn channels(settings: &report::Settings) -> Result<Channels, String> {
    let mut channels = Channels::default();
    for (name, setting) in [
        ("control_exchange", &mut channels.control_exchange),
        ("event_exchange", &mut channels.event_exchange),
        ("event_queue_prefix", &mut channels.event_prefix),
    ] {
        if let Some(text) = settings.text(name) {
            text.clone_into(setting);
        }
    }
    for (kind, queue) in [
        ("control_queue", &mut channels.control_queue),
        ("event_queue", &mut channels.event_queue),
    ] {
        for (flag, setting) in [
            ("durable", &mut queue.durable),
            ("exclusive", &mut queue.exclusive),
        ] {
            let given = settings.flag(&format!("{kind}_{flag}"));
            *setting = given.unwrap_or(*setting);
        }
        for (time, setting) in [("ttl", &mut queue.ttl), ("expires", &mut queue.expires)] {
            let name = format!("{kind}_{time}");
            if settings.value(&name).is_some() {
                *setting = settings.seconds(&name); // None is no limit
            }
        }
    }
    match channels.contradiction() {
        Some(reason) => Err(reason.to_owned()),
        None => Ok(channels),
    }
}

/// How tasks live and end.
fn life(report: &Report) -> Result<LifeSettings, String> {
    let (worker, settings) = (&report.worker, &report.settings);
    let defaults = environment::revokes();
    Ok(LifeSettings {
        limits: Limits {
            soft: seconds(worker.soft_time_limit),
            hard: seconds(worker.time_limit),
        },
        soft_shutdown_timeout: settings
            .seconds("worker_soft_shutdown_timeout")
            .unwrap_or_default(),
        up_timeout: settings
            .seconds("worker_proc_alive_timeout")
            .filter(|timeout| *timeout != CELERYS_UP_TIMEOUT)
            .unwrap_or(defaults.up_timeout),
        max_memory_per_child: worker
            .max_memory_per_child
            .map(|kib| (kib as u64).saturating_mul(1024)),
        disable_rate_limits: settings.flag("worker_disable_rate_limits") == Some(true),
        state_db: node_name::state_file(worker.statedb.as_deref(), &report.node)?,
        shelve: report.shelve.as_ref().map(|shelve| Shelve {
            files: shelve.files.clone(),
            revoked: shelve.revoked.clone(),
            clock: shelve.clock,
        }),
        ..defaults
    })
}

/// How it gets on with its broker. What is not set, or not of its kind, is Celery's default.
fn broker(settings: &report::Settings) -> BrokerSettings {
    let mut broker = BrokerSettings::default();
    let link = &mut broker.link;
    if settings.value("broker_heartbeat").is_some() {
        link.heartbeat = settings.seconds("broker_heartbeat").unwrap_or_default(); // none for None, as in kombu
    }
    if let Some(timeout) = seconds(settings.number("broker_connection_timeout")) {
        link.connect_timeout = timeout;
    }
    let method = settings.text("broker_login_method");
    if let Some(method) = method.and_then(Mechanism::from_name) {
        link.login_method = method;
    }
    let retry = &mut link.retry;
    if settings.value("broker_connection_max_retries").is_some() {
        let most = settings.number("broker_connection_max_retries");
        retry.limit = most.map(|most| most as u32);
    }
    retry.after_loss = settings.flag("broker_connection_retry") != Some(false);
    let at_start = settings.flag("broker_connection_retry_on_startup");
    retry.at_start = at_start.unwrap_or(retry.after_loss);
    let order = settings.text("broker_failover_strategy");
    retry.failover = order.and_then(Failover::named).unwrap_or_default();
    let cancels = "worker_cancel_long_running_tasks_on_connection_loss";
    broker.cancel_on_loss = settings.flag(cancels) == Some(true);
    broker
}

fn urls(texts: &[String]) -> Result<Vec<BrokerUrl>, String> {
    let lists: Result<Vec<_>, _> = texts
        .iter()
        .map(|text| BrokerUrl::parse_list(text))
        .collect();
    lists
        .map(|lists| lists.into_iter().flatten().collect())
        .map_err(|error| format!("broker: {error}"))
}

fn queue(from: &report::Queue) -> Result<Queue, String> {
    let about = |error| format!("queue {}: {error}", from.name);
    let own = binding(&from.exchange, &from.routing_key, &from.binding_arguments);
    let further = from
        .bindings
        .iter()
        .map(|one| binding(&one.exchange, &one.routing_key, &one.arguments));
    Ok(Queue {
        name: from.name.clone(),
        bindings: std::iter::once(own)
            .chain(further)
            .collect::<Result<_, _>>()
            .map_err(about)?,
        durable: from.durable,
        exclusive: from.exclusive,
        auto_delete: from.auto_delete,
        declared: !from.no_declare,
        arguments: table(&from.arguments).map_err(about)?,
        consumer_arguments: table(&from.consumer_arguments).map_err(about)?,
    })
}

fn binding(
    exchange: &report::Exchange,
    routing_key: &str,
    arguments: &Map<String, Value>,
) -> Result<Binding, String> {
    Ok(Binding {
        exchange: Exchange {
            name: exchange.name.clone(),
            kind: exchange.kind.clone(),
            durable: exchange.durable,
            auto_delete: exchange.auto_delete,
            declared: !exchange.no_declare,
            arguments: table(&exchange.arguments)?,
        },
        routing_key: routing_key.to_owned(),
        arguments: table(arguments)?,
    })
}

fn table(arguments: &Map<String, Value>) -> Result<TableBuf, String> {
    let text = serde_json::to_string(arguments).map_err(|error| error.to_string())?;
    headers::table_from_json(&text).map_err(|error| error.to_string())
}

/// The options of the app's tasks.
pub(super) fn registry(report: &Report) -> Registry {
    let mut registry = Registry::new();
    for (name, task) in &report.tasks {
        registry.insert(name, options(task));
    }
    registry
}

/// What main decides about a task, or has to know. STARTED is the child's business.
fn options(task: &TaskReport) -> TaskOptions {
    let mut options = TaskOptions::new()
        .acks_late(task.acks_late)
        .acks_on_failure(task.acks_on_failure)
        .acks_on_timeout(task.acks_on_timeout)
        .reject_on_worker_lost(task.reject_on_worker_lost)
        .retry_on_worker_lost(task.retry_on_worker_lost)
        .max_retries(task.max_retries.map(|most| most as u32))
        .send_events(task.send_events)
        .ignore_result(task.ignore_result && !task.store_errors_even_if_ignored);
    options.time_limit = seconds(task.time_limit);
    options.soft_time_limit = seconds(task.soft_time_limit);
    options.rate_limit.clone_from(&task.rate_limit);
    options
}

/// A limit of 0 is none.
fn seconds(limit: Option<f64>) -> Option<Duration> {
    let limit = limit.and_then(span::seconds);
    limit.filter(|limit| !limit.is_zero())
}
