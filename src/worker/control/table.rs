//! Celery's own commands: what they are called, what they take, who carries them out.

use super::command::Argument::{Flag, Integer, Number, Text};
use super::command::Command;
use super::{inspect, limits, monitor, pool, queues, revoke, stats, tasks};

/// Celery's own commands, by name.
pub static COMMANDS: &[Command] = &[
    Command::inspect("active", tasks::active)
        .help("List of tasks currently being executed.")
        .alias("dump_active"),
    Command::inspect("active_queues", queues::active)
        .help("List the task queues a worker is currently consuming from.")
        .only(&[]),
    Command::control("add_consumer", queues::add)
        .help("Tell worker(s) to consume from task queue by name.")
        .signature("<queue> [exchange [type [routing_key]]]")
        .words(&[
            ("queue", Text),
            ("exchange", Text),
            ("exchange_type", Text),
            ("routing_key", Text),
        ])
        .required(&["queue"]),
    Command::control("autoscale", pool::autoscale)
        .help("Modify autoscale settings.")
        .signature("[max [min]]")
        .words(&[("max", Integer), ("min", Integer)])
        .only(&["max", "min"]),
    Command::control("cancel_consumer", queues::cancel)
        .help("Tell worker(s) to stop consuming from task queue by name.")
        .signature("<queue>")
        .words(&[("queue", Text)])
        .required(&["queue"]),
    Command::inspect("clock", inspect::clock).help("Get current logical clock value."),
    Command::inspect("conf", inspect::conf)
        .help("List configuration.")
        .alias("dump_conf")
        .signature("[include_defaults=False]")
        .words(&[("with_defaults", Flag)]),
    Command::control("disable_events", monitor::disable_events)
        .help("Tell worker(s) to stop sending task-related events.")
        .only(&[]),
    Command::control("election", monitor::election)
        .help("Hold election.")
        .required(&["id", "topic"]),
    Command::control("enable_events", monitor::enable_events)
        .help("Tell worker(s) to send task-related events.")
        .only(&[]),
    Command::control("heartbeat", monitor::heartbeat)
        .help("Tell worker(s) to send event heartbeat immediately.")
        .only(&[]),
    Command::inspect("hello", inspect::hello)
        .help("Request mingle sync-data.")
        .hidden()
        .required(&["from_node"]),
    Command::inspect("memdump", inspect::memdump)
        .help("Dump statistics of previous memsample requests.")
        .signature("[n_samples=10]")
        .words(&[("samples", Integer)]),
    Command::inspect("memsample", inspect::memsample).help("Sample current RSS memory usage."),
    Command::inspect("objgraph", inspect::objgraph)
        .help("Create graph of uncollected objects (memory-leak debugging).")
        .signature("[object_type=Request] [num=200 [max_depth=10]]")
        .words(&[("type", Text), ("num", Integer), ("max_depth", Integer)])
        .only(&["num", "max_depth", "type"]),
    Command::inspect("ping", inspect::ping).help("Ping worker(s)."),
    Command::control("pool_grow", pool::grow)
        .help("Grow pool by n processes/threads.")
        .signature("[N=1]")
        .words(&[("n", Integer)]),
    Command::control("pool_restart", pool::restart).help("Restart execution pool."),
    Command::control("pool_shrink", pool::shrink)
        .help("Shrink pool by n processes/threads.")
        .signature("[N=1]")
        .words(&[("n", Integer)]),
    Command::inspect("query_task", tasks::query)
        .help("Query for task information by id.")
        .signature("[id1 [id2 [... [idN]]]]")
        .variadic("ids")
        .required(&["ids"]),
    Command::control("rate_limit", limits::rate_limit)
        .help("Tell worker(s) to modify the rate limit for a task by type.")
        .signature("<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>")
        .words(&[("task_name", Text), ("rate_limit", Text)])
        .required(&["task_name", "rate_limit"]),
    Command::inspect("registered", inspect::registered)
        .help("List of registered tasks.")
        .alias("dump_tasks")
        .signature("[attr1 [attr2 [... [attrN]]]]")
        .variadic("taskinfoitems"),
    Command::inspect("report", inspect::report)
        .help("Information about Celery installation for bug reports.")
        .only(&[]),
    Command::inspect("reserved", tasks::reserved)
        .help("List of currently reserved tasks, not including scheduled/active.")
        .alias("dump_reserved"),
    Command::control("revoke", revoke::revoke)
        .help("Revoke task by task id (or list of ids).")
        .signature("[id1 [id2 [... [idN]]]]")
        .variadic("task_id")
        .required(&["task_id"]),
    Command::control("revoke_by_stamped_headers", revoke::by_stamped_headers)
        .help("Revoke task by header (or list of headers).")
        .signature("[key1=value1 [key2=value2 [... [keyN=valueN]]]]")
        .variadic("headers")
        .required(&["headers"]),
    Command::inspect("revoked", inspect::revoked)
        .help("List of revoked task-ids.")
        .alias("dump_revoked"),
    Command::inspect("scheduled", tasks::scheduled)
        .help("List of currently scheduled ETA/countdown tasks.")
        .alias("dump_schedule"),
    Command::control("shutdown", monitor::shutdown).help("Shutdown worker(s)."),
    Command::inspect("stats", stats::stats).help("Request worker statistics/information."),
    Command::control("terminate", revoke::terminate)
        .help("Terminate task by task id (or list of ids).")
        .signature("<signal> [id1 [id2 [... [idN]]]]")
        .words(&[("signal", Text)])
        .variadic("task_id")
        .required(&["signal", "task_id"]),
    Command::control("time_limit", limits::time_limit)
        .help("Tell worker(s) to modify the time limit for task by type.")
        .signature("<task_name> <soft_secs> [hard_secs]")
        .words(&[("task_name", Text), ("soft", Number), ("hard", Number)]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::json::Raw;
    use crate::message::pidbox::Arguments;

    fn find(name: &str) -> Option<&'static Command> {
        COMMANDS.iter().find(|command| command.is_called(name))
    }

    fn check(name: &str, arguments: &str) -> String {
        let arguments = Arguments::of(Raw::parse(arguments).unwrap());
        match find(name).unwrap().check(&arguments) {
            Ok(()) => "fine".to_owned(),
            Err(exception) => exception.to_string(),
        }
    }

    /// The answers of the captures `missing_arg`, `query_task_noargs`, `report_with_unexpected_kwarg`, ...
    #[test]
    fn arguments_are_refused_as_python_refuses_them() {
        for (name, arguments, expected) in [
            ("ping", r#"{"foo": 1}"#, "fine"),
            (
                "cancel_consumer",
                "{}",
                r#"TypeError("cancel_consumer() missing 1 required positional argument: 'queue'")"#,
            ),
            (
                "query_task",
                "{}",
                r#"TypeError("query_task() missing 1 required positional argument: 'ids'")"#,
            ),
            (
                "rate_limit",
                "{}",
                r#"TypeError("rate_limit() missing 2 required positional arguments: 'task_name' and 'rate_limit'")"#,
            ),
            (
                "report",
                r#"{"x": 1}"#,
                r#"TypeError("report() got an unexpected keyword argument 'x'")"#,
            ),
            (
                "autoscale",
                r#"{"max": 3, "zzz": 1}"#,
                r#"TypeError("autoscale() got an unexpected keyword argument 'zzz'")"#,
            ),
            (
                "enable_events",
                r#"{"a": 1}"#,
                r#"TypeError("enable_events() got an unexpected keyword argument 'a'")"#,
            ),
        ] {
            assert_eq!(check(name, arguments), expected);
        }
    }

    #[test]
    fn commands_are_in_order_and_found_by_their_old_names() {
        assert!(COMMANDS.is_sorted_by_key(|command| command.name));
        assert_eq!(find("dump_tasks").unwrap().name, "registered");
        assert!(find("nosuch").is_none());
    }
}
