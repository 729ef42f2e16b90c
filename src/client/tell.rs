//! The commands of `control`: each returns what every node has answered to it.

use serde_json::json;

use super::connection::ClientError;
use super::control::{Control, NodeReply};

/// The nodes' answers, of which [`NodeReply::ok`] gives the text.
type Answers = Result<Vec<NodeReply>, ClientError>;

/// Each fails when the connection does; a node that refuses says so in its reply.
impl Control {
    /// Has tasks not run, wherever they come.
    ///
    /// # Errors
    /// As [`call`](Self::call); so for the others.
    pub fn revoke(&mut self, ids: &[&str]) -> Answers {
        self.call(
            "revoke",
            &json!({"task_id": ids, "terminate": false, "signal": null}),
        )
    }

    /// Ends tasks that run, by a signal of this name (`TERM`, `KILL`).
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn terminate(&mut self, ids: &[&str], signal: &str) -> Answers {
        self.call(
            "revoke",
            &json!({"task_id": ids, "terminate": true, "signal": signal}),
        )
    }

    /// Sets how often tasks of one name may start: `10/m`, `2/s`; empty for no limit.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn rate_limit(&mut self, task: &str, rate: &str) -> Answers {
        self.call(
            "rate_limit",
            &json!({"task_name": task, "rate_limit": rate}),
        )
    }

    /// Sets the limits, in seconds, of tasks of one name that start from now on.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn time_limit(&mut self, task: &str, soft: Option<f64>, hard: Option<f64>) -> Answers {
        self.call(
            "time_limit",
            &json!({"task_name": task, "hard": hard, "soft": soft}),
        )
    }

    /// Consumes another queue, of a direct exchange of its name where the worker's app does not know better.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn add_consumer(&mut self, queue: &str) -> Answers {
        self.call("add_consumer", &json!({"queue": queue}))
    }

    /// Consumes a queue no longer.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn cancel_consumer(&mut self, queue: &str) -> Answers {
        self.call("cancel_consumer", &json!({"queue": queue}))
    }

    /// Has more children.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn pool_grow(&mut self, children: u32) -> Answers {
        self.call("pool_grow", &json!({"n": children}))
    }

    /// Has fewer children.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn pool_shrink(&mut self, children: u32) -> Answers {
        self.call("pool_shrink", &json!({"n": children}))
    }

    /// Sets the limits of a worker that was started with `--autoscale`.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn autoscale(&mut self, max: u32, min: u32) -> Answers {
        self.call("autoscale", &json!({"max": max, "min": min}))
    }

    /// Replaces every child once its task has ended.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn pool_restart(&mut self) -> Answers {
        self.call(
            "pool_restart",
            &json!({"modules": null, "reload": false, "reloader": null}),
        )
    }

    /// Has events of tasks sent.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn enable_events(&mut self) -> Answers {
        self.call("enable_events", &json!({}))
    }

    /// Has no events of tasks sent any more.
    ///
    /// # Errors
    /// As [`call`](Self::call).
    pub fn disable_events(&mut self) -> Answers {
        self.call("disable_events", &json!({}))
    }

    /// Has workers leave once their tasks have ended. Nobody answers this.
    ///
    /// # Errors
    /// As [`cast`](Self::cast).
    pub fn shutdown(&mut self) -> Result<(), ClientError> {
        self.cast("shutdown", &json!({}))
    }
}
