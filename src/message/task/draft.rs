//! The fields of a task, collected one by one.

use std::borrow::Cow;
use std::time::Duration;

use super::field::Field;
use super::{InvalidTask, Moment, Protocol, TaskMessage};
use crate::amqp::table::{Array, Table, Value};
use crate::amqp::wire::DecodeError;
use crate::message::headers::Headers;

/// What is known of a task so far. A field set twice has its last value, as in a Python dict.
#[derive(Debug, Default)]
pub(super) struct Draft<'a> {
    /// The first field that was wrong. It counts only once this is known to be a task.
    problem: Option<InvalidTask>,
    /// Whether there is a field `task`, of whatever type.
    has_task: bool,
    task: Option<Cow<'a, str>>,
    id: Option<Cow<'a, str>>,
    shadow: Option<Cow<'a, str>>,
    eta: Option<Moment<'a>>,
    expires: Option<Moment<'a>>,
    retries: Option<i64>,
    replaced: Option<i64>,
    delivery_count: Option<i64>,
    limits: [Option<Duration>; 2],
    root_id: Option<Cow<'a, str>>,
    parent_id: Option<Cow<'a, str>>,
    group: Option<Cow<'a, str>>,
    group_index: Option<i64>,
    pub(super) argsrepr: Option<Cow<'a, str>>,
    pub(super) kwargsrepr: Option<Cow<'a, str>>,
    origin: Option<Cow<'a, str>>,
    ignore_result: Option<bool>,
    stamps: Option<Table<'a>>,
    stamped_headers: Option<Array<'a>>,
    pub(super) compression: Option<Cow<'a, str>>,
}

impl<'a> Draft<'a> {
    /// Reads a header table in one pass.
    pub(super) fn read(table: Table<'a>) -> Result<Self, DecodeError> {
        let mut draft = Self::default();
        for pair in table {
            let (key, value) = pair?;
            draft.set(key.as_bytes(), Field::Amqp(value));
        }
        Ok(draft)
    }

    pub(super) fn has_task(&self) -> bool {
        self.has_task
    }

    /// Takes one field. Those that main has no use for pass by.
    pub(super) fn set(&mut self, key: &[u8], field: Field<'a>) {
        if let Err(problem) = self.try_set(key, field) {
            self.problem.get_or_insert(problem);
        }
    }

    fn try_set(&mut self, key: &[u8], field: Field<'a>) -> Result<(), InvalidTask> {
        match key {
            b"task" => {
                self.has_task = true;
                self.task = Some(field.required_str("task")?);
            }
            b"id" => self.id = Some(field.required_str("id")?),
            b"shadow" => self.shadow = field.shown().filter(|name| !name.is_empty()),
            b"eta" => self.eta = field.optional_moment("ETA")?,
            b"expires" => self.expires = field.optional_moment("expires")?,
            b"retries" => self.retries = field.optional_integer("retries")?,
            b"replaced_task_nesting" => {
                self.replaced = field.optional_integer("replaced_task_nesting")?;
            }
            b"timelimit" => self.limits = field.limits()?,
            b"root_id" => self.root_id = field.optional_str("root_id")?,
            b"parent_id" => self.parent_id = field.optional_str("parent_id")?,
            b"group" => self.group = field.optional_str("group")?,
            b"group_index" => self.group_index = field.optional_integer("group_index")?,
            b"argsrepr" => self.argsrepr = field.shown(),
            b"kwargsrepr" => self.kwargsrepr = field.shown(),
            b"origin" => self.origin = field.shown(),
            b"ignore_result" => self.ignore_result = field.optional_bool("ignore_result")?,
            b"compression" => self.compression = field.optional_str("compression")?,
            b"stamps" => {
                if let Field::Amqp(Value::Table(stamps)) = field {
                    self.stamps = Some(stamps).filter(|stamps| !stamps.is_empty());
                }
            }
            b"stamped_headers" => {
                if let Field::Amqp(Value::Array(names)) = field {
                    self.stamped_headers = Some(names).filter(|names| !names.is_empty());
                }
            }
            // A quorum queue's, and none of the publisher's business.
            b"x-delivery-count" => {
                self.delivery_count = field
                    .optional_integer("x-delivery-count")
                    .unwrap_or_default();
            }
            _ => {}
        }
        Ok(())
    }

    /// The task, if all it needs is there.
    pub(super) fn finish(
        self,
        protocol: Protocol,
        headers: Headers<'a>,
        body: Cow<'a, [u8]>,
        json: bool,
    ) -> Result<TaskMessage<'a>, InvalidTask> {
        if let Some(problem) = self.problem {
            return Err(problem);
        }
        let [hard_limit, soft_limit] = self.limits;
        Ok(TaskMessage {
            protocol,
            name: self.task.ok_or(InvalidTask::Missing("task"))?,
            id: self.id.ok_or(InvalidTask::Missing("id"))?,
            shadow: self.shadow,
            eta: self.eta,
            expires: self.expires,
            retries: self.retries.unwrap_or_default(),
            replaced: self.replaced.unwrap_or_default(),
            delivery_count: self
                .delivery_count
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or_default(),
            hard_limit,
            soft_limit,
            root_id: self.root_id,
            parent_id: self.parent_id,
            group: self.group,
            group_index: self.group_index,
            argsrepr: self.argsrepr.unwrap_or_default(),
            kwargsrepr: self.kwargsrepr.unwrap_or_default(),
            origin: self.origin,
            ignore_result: self.ignore_result,
            stamps: self.stamps,
            stamped_headers: self.stamped_headers,
            compression: self.compression,
            headers,
            body,
            json,
        })
    }
}
