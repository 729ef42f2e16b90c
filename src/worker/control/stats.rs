//! The command `stats`: a worker in numbers.

use super::{Answer, Reply};
use crate::hub::Hub;
use crate::link::BrokerUrl;
use crate::message::json::{Field, Object, list, python_float};
use crate::message::pidbox::Arguments;
use crate::pool::Pool;
use crate::sys::process;
use crate::worker::{Settings, Worker};

/// Celery's `broker_heartbeat`, as it is configured, not as it was agreed on.
const HEARTBEAT: f64 = 120.0;
/// Celery's `broker_connection_timeout`.
const CONNECT_TIMEOUT: i64 = 4;

pub(super) fn stats(cx: &mut Worker, hub: &mut Hub<Worker>, _: &Arguments<'_>) -> Answer {
    let mut total = Object::new();
    for (name, count) in &cx.tasks.accepted {
        total.push(name, *count as i64);
    }
    let uptime = hub.now().saturating_duration_since(cx.started).as_secs();
    let pool = cx.pool.pool.as_ref().map(|it| pool(it, &cx.settings));
    let broker = cx.settings.read_urls.first().map(broker);
    let prefetch = cx.consumer.subscriptions.prefetch_count();
    let mut stats = Object::new();
    stats
        .push("total", Field::Json(&total.into_json()))
        .push("pid", i64::from(process::current().raw()))
        .push("clock", &cx.producer.events.clock.value().to_string())
        .push("uptime", uptime as i64)
        .push("pool", json_or_none(pool.as_deref()));
    if let Some(autoscaler) = autoscaler(cx) {
        stats.push("autoscaler", Field::Json(&autoscaler));
    }
    stats
        .push("broker", json_or_none(broker.as_deref()))
        .push("prefetch_count", prefetch as i64)
        .push("rusage", json_or_none(rusage().as_deref()))
        // Celery has no such thing; its monitors read past what they do not know. Flower would take a key `consumer`
        // for the form of Celery 3.
        .push("connections", Field::Json(&connections(cx)));
    if let Some(pool) = &cx.pool.pool {
        stats.push("children", Field::Json(&children(pool)));
    }
    Ok(Reply::from(stats))
}

/// What has gone wrong with connections, and how long the worker was ever kept from looking at them.
fn connections(cx: &Worker) -> String {
    let counts = cx.consumer.counts;
    let mut object = Object::new();
    object
        .push("connections_lost", counts.connections_lost as i64)
        .push("channels_closed", counts.channels_closed as i64)
        .push(
            "consumer_cancelled_total",
            counts.consumers_cancelled as i64,
        )
        .push("late_deliveries", counts.late_deliveries as i64)
        .push("silences_broken", counts.silences_broken as i64)
        .push("loop_stall_seconds_max", cx.stall.as_secs_f64());
    object.into_json()
}

/// What has gone wrong with children.
fn children(pool: &Pool) -> String {
    let stats = pool.stats();
    let mut object = Object::new();
    object
        .push("degraded", stats.is_degraded())
        .push("failed_starts", i64::from(stats.failed_starts))
        .push("strays", stats.strays as i64);
    object.into_json()
}

fn autoscaler(cx: &Worker) -> Option<String> {
    let scale = cx.autoscale.as_ref()?;
    let current = cx.pool.pool.as_ref()?.stats().concurrency;
    let mut object = Object::new();
    object
        .push("max", scale.max as i64)
        .push("min", scale.min as i64)
        .push("current", current as i64)
        .push("qty", cx.tasks_in_hand() as i64);
    Some(object.into_json())
}

fn json_or_none(json: Option<&str>) -> Field<'_> {
    json.map_or(Field::Text("N/A"), Field::Json)
}

fn pool(pool: &Pool, settings: &Settings) -> String {
    let stats = pool.stats();
    let children: Vec<_> = pool
        .children()
        .filter(|child| child.pid.is_some())
        .collect();
    let pids = children.iter().filter_map(|child| child.pid);
    let processes = list(pids.map(|pid| i64::from(pid.raw())));
    let most = match settings.max_tasks_per_child {
        Some(limit) => Field::Integer(limit.get().into()),
        None => Field::Text("N/A"),
    };
    let counts: Vec<u64> = children.iter().map(|child| child.writes).collect();
    let busy = children.iter().filter(|child| child.job.is_some()).count();
    let mut object = Object::new();
    object
        // Monitors show this name, and some look for it.
        .push("implementation", "celery.concurrency.prefork:TaskPool")
        .push("max-concurrency", stats.concurrency as i64)
        .push("processes", Field::Json(&processes))
        .push("max-tasks-per-child", most)
        .push("put-guarded-by-semaphore", false)
        .push("timeouts", Field::Json(&timeouts(settings)))
        .push("writes", Field::Json(&writes(&counts, busy)));
    object.into_json()
}

/// The limits of tasks that have none of their own, soft and hard; 0 is none.
fn timeouts(settings: &Settings) -> String {
    let limits = [settings.life.limits.soft, settings.life.limits.hard];
    let shown = limits.map(|limit| match limit {
        None => "0".to_owned(),
        Some(limit) if limit.subsec_nanos() == 0 => limit.as_secs().to_string(),
        Some(limit) => python_float(limit.as_secs_f64()),
    });
    format!("[{}]", shown.join(", "))
}

/// How the jobs were shared out among the children.
fn writes(counts: &[u64], busy: usize) -> String {
    let total: u64 = counts.iter().sum();
    let share = |count: u64| format!("{:.2}", count as f64 / total.max(1) as f64);
    let average = match counts.is_empty() {
        true => "0.00".to_owned(),
        false => format!(
            "{:.2}",
            if total > 0 {
                1.0 / counts.len() as f64
            } else {
                0.0
            }
        ),
    };
    let all: Vec<String> = counts.iter().map(|count| share(*count)).collect();
    let raw: Vec<String> = counts.iter().map(u64::to_string).collect();
    let mut inqueues = Object::new();
    inqueues
        .push("total", counts.len() as i64)
        .push("active", busy as i64);
    let mut object = Object::new();
    object
        .push("total", total as i64)
        .push("avg", &average)
        .push("all", &all.join(", "))
        .push("raw", &raw.join(", "))
        .push("strategy", "fair")
        .push("inqueues", Field::Json(&inqueues.into_json()));
    object.into_json()
}

/// kombu's `Connection.info()`, without the password.
fn broker(url: &BrokerUrl) -> String {
    let timeout = url
        .connect_timeout()
        .map(|timeout| timeout.as_secs() as i64);
    let heartbeat = url.heartbeat().map(|heartbeat| heartbeat.as_secs_f64());
    let login = url
        .login_method()
        .map_or_else(|| "PLAIN".to_owned(), |it| it.to_string());
    let mut object = Object::new();
    object
        .push("hostname", url.host())
        .push("userid", url.user())
        .push("virtual_host", url.vhost())
        .push("port", i64::from(url.port()))
        .push("insist", false)
        .push("ssl", false)
        .push("transport", "amqp")
        .push("connect_timeout", timeout.unwrap_or(CONNECT_TIMEOUT))
        .push("transport_options", Field::Json("{}"))
        .push("login_method", &login)
        .push("uri_prefix", Field::Null)
        .push("heartbeat", heartbeat.unwrap_or(HEARTBEAT))
        .push("failover_strategy", "round-robin")
        .push("alternates", Field::Json("[]"))
        .push("credential_provider", Field::Null);
    object.into_json()
}

/// Python's `resource.getrusage`; what Linux does not count is 0, as it is there.
fn rusage() -> Option<String> {
    let usage = process::usage().ok()?;
    let mut object = Object::new();
    object
        .push("utime", usage.user)
        .push("stime", usage.system)
        .push("maxrss", usage.max_resident);
    for zero in ["ixrss", "idrss", "isrss"] {
        object.push(zero, 0);
    }
    object
        .push("minflt", usage.faults[0])
        .push("majflt", usage.faults[1])
        .push("nswap", 0)
        .push("inblock", usage.blocks[0])
        .push("oublock", usage.blocks[1]);
    for zero in ["msgsnd", "msgrcv", "nsignals"] {
        object.push(zero, 0);
    }
    object
        .push("nvcsw", usage.switches[0])
        .push("nivcsw", usage.switches[1]);
    Some(object.into_json())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_read_as_celerys() {
        let expected = r#"{"total": 5, "avg": "0.50", "all": "0.60, 0.40", "raw": "3, 2", "strategy": "fair", "inqueues": {"total": 2, "active": 0}}"#;
        assert_eq!(writes(&[3, 2], 0), expected);
        assert!(writes(&[], 0).starts_with(r#"{"total": 0, "avg": "0.00", "all": "","#));
    }

    #[test]
    fn the_brokers_password_is_not_told() {
        let url = BrokerUrl::parse("amqp://user:secret@host:5673/v").unwrap();
        let told = broker(&url);
        assert!(
            told.contains(r#""userid": "user", "virtual_host": "v", "port": 5673"#),
            "{told}"
        );
        assert!(!told.contains("secret"));
    }
}
