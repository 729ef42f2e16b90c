//! The commands: what they are called, what they take, who carries them out.

use super::{Handler, inspect, limits, monitor, pool, queues, revoke, stats, tasks};
use crate::message::pidbox::{Arguments, Exception};

/// Whether a command asks or tells: the two sub-commands of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `inspect`
    Inspect,
    /// `control`
    Control,
}

/// What the command line makes of a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Argument {
    /// A text.
    Text,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `yes`, `no` and their like.
    Flag,
}

/// One command of remote control.
#[derive(Clone, Debug)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// A name of earlier days, which nodes still answer to.
    pub alias: Option<&'static str>,
    /// Whether it asks or tells.
    pub kind: Kind,
    /// Whether it is listed.
    pub visible: bool,
    /// What it does, in a line.
    pub help: &'static str,
    /// The arguments as help shows them.
    pub signature: Option<&'static str>,
    /// The words that the command line takes, in order.
    pub arguments: &'static [(&'static str, Argument)],
    /// The name of the list that takes all words.
    pub variadic: Option<&'static str>,
    /// The arguments without which a node does not carry it out.
    pub required: &'static [&'static str],
    /// The other arguments, where a node refuses any others.
    pub optional: Option<&'static [&'static str]>,
    pub(super) handler: Handler,
}

/// The command of a name or an alias.
pub(crate) fn find(name: &str) -> Option<&'static Command> {
    COMMANDS
        .iter()
        .find(|command| command.name == name || command.alias == Some(name))
}

impl Command {
    /// Refuses arguments as the call of a Python function does.
    ///
    /// # Errors
    /// Python's `TypeError`.
    pub fn check(&self, arguments: &Arguments<'_>) -> Result<(), Exception> {
        let known = |name: &&str| {
            let optional = self.optional.is_none_or(|optional| optional.contains(name));
            optional || self.required.contains(name)
        };
        if let Some(unknown) = arguments.names().find(|name| !known(name)) {
            let text = format!(
                "{}() got an unexpected keyword argument '{unknown}'",
                self.name
            );
            return Err(Exception::new("TypeError", text));
        }
        let missing = self
            .required
            .iter()
            .filter(|name| arguments.find(name).is_none());
        let missing: Vec<String> = missing.map(|name| format!("'{name}'")).collect();
        let listed = match missing.as_slice() {
            [] => return Ok(()),
            [one] => one.clone(),
            [one, two] => format!("{one} and {two}"),
            [first @ .., last] => format!("{}, and {last}", first.join(", ")),
        };
        let plural = if missing.len() == 1 { "" } else { "s" };
        Err(Exception::new(
            "TypeError",
            format!(
                "{}() missing {} required positional argument{plural}: {listed}",
                self.name,
                missing.len()
            ),
        ))
    }
}

/// Celery's own commands, by name.
pub static COMMANDS: &[Command] = &[
    Command {
        name: "active",
        alias: Some("dump_active"),
        kind: Kind::Inspect,
        visible: true,
        help: "List of tasks currently being executed.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: None,
        handler: tasks::active,
    },
    Command {
        name: "active_queues",
        alias: None,
        kind: Kind::Inspect,
        visible: true,
        help: "List the task queues a worker is currently consuming from.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: Some(&[]),
        handler: queues::active,
    },
    Command {
        name: "add_consumer",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Tell worker(s) to consume from task queue by name.",
        signature: Some("<queue> [exchange [type [routing_key]]]"),
        arguments: &[
            ("queue", Argument::Text),
            ("exchange", Argument::Text),
            ("exchange_type", Argument::Text),
            ("routing_key", Argument::Text),
        ],
        variadic: None,
        required: &["queue"],
        optional: None,
        handler: queues::add,
    },
    Command {
        name: "autoscale",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Modify autoscale settings.",
        signature: Some("[max [min]]"),
        arguments: &[("max", Argument::Integer), ("min", Argument::Integer)],
        variadic: None,
        required: &[],
        optional: Some(&["max", "min"]),
        handler: pool::autoscale,
    },
    Command {
        name: "cancel_consumer",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Tell worker(s) to stop consuming from task queue by name.",
        signature: Some("<queue>"),
        arguments: &[("queue", Argument::Text)],
        variadic: None,
        required: &["queue"],
        optional: None,
        handler: queues::cancel,
    },
    Command {
        name: "clock",
        alias: None,
        kind: Kind::Inspect,
        visible: true,
        help: "Get current logical clock value.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: None,
        handler: inspect::clock,
    },
    Command {
        name: "conf",
        alias: Some("dump_conf"),
        kind: Kind::Inspect,
        visible: true,
        help: "List configuration.",
        signature: Some("[include_defaults=False]"),
        arguments: &[("with_defaults", Argument::Flag)],
        variadic: None,
        required: &[],
        optional: None,
        handler: inspect::conf,
    },
    Command {
        name: "disable_events",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Tell worker(s) to stop sending task-related events.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: Some(&[]),
        handler: monitor::disable_events,
    },
    Command {
        name: "election",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Hold election.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &["id", "topic"],
        optional: None,
        handler: monitor::election,
    },
    Command {
        name: "enable_events",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Tell worker(s) to send task-related events.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: Some(&[]),
        handler: monitor::enable_events,
    },
    Command {
        name: "heartbeat",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Tell worker(s) to send event heartbeat immediately.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: Some(&[]),
        handler: monitor::heartbeat,
    },
    Command {
        name: "hello",
        alias: None,
        kind: Kind::Inspect,
        visible: false,
        help: "Request mingle sync-data.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &["from_node"],
        optional: None,
        handler: inspect::hello,
    },
    Command {
        name: "memdump",
        alias: None,
        kind: Kind::Inspect,
        visible: true,
        help: "Dump statistics of previous memsample requests.",
        signature: Some("[n_samples=10]"),
        arguments: &[("samples", Argument::Integer)],
        variadic: None,
        required: &[],
        optional: None,
        handler: inspect::memdump,
    },
    Command {
        name: "memsample",
        alias: None,
        kind: Kind::Inspect,
        visible: true,
        help: "Sample current RSS memory usage.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: None,
        handler: inspect::memsample,
    },
    Command {
        name: "objgraph",
        alias: None,
        kind: Kind::Inspect,
        visible: true,
        help: "Create graph of uncollected objects (memory-leak debugging).",
        signature: Some("[object_type=Request] [num=200 [max_depth=10]]"),
        arguments: &[
            ("type", Argument::Text),
            ("num", Argument::Integer),
            ("max_depth", Argument::Integer),
        ],
        variadic: None,
        required: &[],
        optional: Some(&["num", "max_depth", "type"]),
        handler: inspect::objgraph,
    },
    Command {
        name: "ping",
        alias: None,
        kind: Kind::Inspect,
        visible: true,
        help: "Ping worker(s).",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: None,
        handler: inspect::ping,
    },
    Command {
        name: "pool_grow",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Grow pool by n processes/threads.",
        signature: Some("[N=1]"),
        arguments: &[("n", Argument::Integer)],
        variadic: None,
        required: &[],
        optional: None,
        handler: pool::grow,
    },
    Command {
        name: "pool_restart",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Restart execution pool.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: None,
        handler: pool::restart,
    },
    Command {
        name: "pool_shrink",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Shrink pool by n processes/threads.",
        signature: Some("[N=1]"),
        arguments: &[("n", Argument::Integer)],
        variadic: None,
        required: &[],
        optional: None,
        handler: pool::shrink,
    },
    Command {
        name: "query_task",
        alias: None,
        kind: Kind::Inspect,
        visible: true,
        help: "Query for task information by id.",
        signature: Some("[id1 [id2 [... [idN]]]]"),
        arguments: &[],
        variadic: Some("ids"),
        required: &["ids"],
        optional: None,
        handler: tasks::query,
    },
    Command {
        name: "rate_limit",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Tell worker(s) to modify the rate limit for a task by type.",
        signature: Some("<task_name> <rate_limit (e.g., 5/s | 5/m | 5/h)>"),
        arguments: &[
            ("task_name", Argument::Text),
            ("rate_limit", Argument::Text),
        ],
        variadic: None,
        required: &["task_name", "rate_limit"],
        optional: None,
        handler: limits::rate_limit,
    },
    Command {
        name: "registered",
        alias: Some("dump_tasks"),
        kind: Kind::Inspect,
        visible: true,
        help: "List of registered tasks.",
        signature: Some("[attr1 [attr2 [... [attrN]]]]"),
        arguments: &[],
        variadic: Some("taskinfoitems"),
        required: &[],
        optional: None,
        handler: inspect::registered,
    },
    Command {
        name: "report",
        alias: None,
        kind: Kind::Inspect,
        visible: true,
        help: "Information about Celery installation for bug reports.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: Some(&[]),
        handler: inspect::report,
    },
    Command {
        name: "reserved",
        alias: Some("dump_reserved"),
        kind: Kind::Inspect,
        visible: true,
        help: "List of currently reserved tasks, not including scheduled/active.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: None,
        handler: tasks::reserved,
    },
    Command {
        name: "revoke",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Revoke task by task id (or list of ids).",
        signature: Some("[id1 [id2 [... [idN]]]]"),
        arguments: &[],
        variadic: Some("task_id"),
        required: &["task_id"],
        optional: None,
        handler: revoke::revoke,
    },
    Command {
        name: "revoke_by_stamped_headers",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Revoke task by header (or list of headers).",
        signature: Some("[key1=value1 [key2=value2 [... [keyN=valueN]]]]"),
        arguments: &[],
        variadic: Some("headers"),
        required: &["headers"],
        optional: None,
        handler: revoke::by_stamped_headers,
    },
    Command {
        name: "revoked",
        alias: Some("dump_revoked"),
        kind: Kind::Inspect,
        visible: true,
        help: "List of revoked task-ids.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: None,
        handler: inspect::revoked,
    },
    Command {
        name: "scheduled",
        alias: Some("dump_schedule"),
        kind: Kind::Inspect,
        visible: true,
        help: "List of currently scheduled ETA/countdown tasks.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: None,
        handler: tasks::scheduled,
    },
    Command {
        name: "shutdown",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Shutdown worker(s).",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: None,
        handler: monitor::shutdown,
    },
    Command {
        name: "stats",
        alias: None,
        kind: Kind::Inspect,
        visible: true,
        help: "Request worker statistics/information.",
        signature: None,
        arguments: &[],
        variadic: None,
        required: &[],
        optional: None,
        handler: stats::stats,
    },
    Command {
        name: "terminate",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Terminate task by task id (or list of ids).",
        signature: Some("<signal> [id1 [id2 [... [idN]]]]"),
        arguments: &[("signal", Argument::Text)],
        variadic: Some("task_id"),
        required: &["signal", "task_id"],
        optional: None,
        handler: revoke::terminate,
    },
    Command {
        name: "time_limit",
        alias: None,
        kind: Kind::Control,
        visible: true,
        help: "Tell worker(s) to modify the time limit for task by type.",
        signature: Some("<task_name> <soft_secs> [hard_secs]"),
        arguments: &[
            ("task_name", Argument::Text),
            ("soft", Argument::Number),
            ("hard", Argument::Number),
        ],
        variadic: None,
        required: &[],
        optional: None,
        handler: limits::time_limit,
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::json::Raw;

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
