//! Commands that a Python app brings: the clerk carries them out, and main what they order of it.

use super::{Asker, inspect, pool, queues, stats, tasks};
use crate::hub::Hub;
use crate::message::json::{Field, Object, Raw};
use crate::message::pidbox::{Arguments, Request};
use crate::worker::Worker;

impl Worker {
    /// Whether a command is one that a Python app brings, or asks for what only Python knows.
    pub(super) fn is_of_the_app(&self, request: &Request<'_>) -> bool {
        let method = &*request.method;
        self.tasks.reporter.books.is_some()
            && (self.settings.clerk_commands.contains(method)
                || (method == "pool_restart" && request.arguments.given("modules").is_some())
                || (["registered", "dump_tasks"].contains(&method)
                    && !inspect::are_known(&request.arguments.texts("taskinfoitems"))))
    }

    pub(super) fn ask_clerk(
        &mut self,
        request: &Request<'_>,
        asker: Option<Asker>,
        hub: &mut Hub<Self>,
    ) {
        let mut arguments = Object::new();
        for name in request.arguments.names() {
            let value = request.arguments.find(name).unwrap_or(Raw::NULL);
            arguments.push(name, Field::Json(value.text()));
        }
        let state = self.seen_by_commands(hub);
        if let Some(books) = &mut self.tasks.reporter.books {
            books.command(&request.method, &arguments.into_json(), &state, asker);
        }
    }

    /// What a command of the app may want to know of main.
    fn seen_by_commands(&mut self, hub: &mut Hub<Self>) -> String {
        let mut state = Object::new();
        for (name, handler) in [
            ("stats", stats::stats as super::Handler),
            ("queues", queues::active),
            ("active", tasks::active),
            ("reserved", tasks::reserved),
        ] {
            if let Ok(super::Reply::Json(json)) = handler(self, hub, &Arguments::default()) {
                state.push(name, Field::Json(&json));
            }
        }
        state.into_json()
    }

    /// Carries out what a command of the app has asked main for.
    pub(in crate::worker) fn obey_orders(
        &mut self,
        orders: &[(String, String)],
        hub: &mut Hub<Self>,
    ) {
        for (method, arguments) in orders {
            let arguments = Raw::parse(arguments).map(Arguments::of).unwrap_or_default();
            let done = match method.as_str() {
                "reset_connection" => {
                    let reason = "a command of remote control has asked for another";
                    self.consumer.link.abandon(reason, hub.now());
                    Ok(())
                }
                "widen_prefetch" => {
                    pool::count(&arguments).map(|change| self.consumer.subscriptions.widen(change))
                }
                _ => self.execute(method, &arguments, hub).map(|_| ()),
            };
            if let Err(exception) = done {
                log::error!("pidbox command error: {exception}");
            }
        }
    }
}
