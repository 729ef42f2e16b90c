//! A Python app's zygote that was lost gets a successor, while children and their tasks go on.
//!
//! The interpreter imports the app once more, which takes what it takes; main watches for its report meanwhile.

use super::Worker;
use crate::hub::{Hub, Interest, Mode, Next};
use crate::pool::python::{Answer, Host, StartError, Starting};
use crate::sys::process::Exit;

/// What a lost zygote is replaced by.
#[derive(Debug, Default)]
pub(super) struct Successor {
    starting: Option<Starting>,
    /// The one before it is still there: it is wanted for what has changed in the app since.
    reloads: bool,
}

impl Worker {
    /// Reads the app anew, and then has every child replaced.
    pub(super) fn reload_zygote(&mut self, hub: &mut Hub<Self>) {
        let host = self.settings.host.clone();
        let (Some(host), None) = (host, &self.successor.starting) else {
            return; // one is on its way, and will have read the latest
        };
        self.successor.reloads = true;
        if let Err(error) = self.begin_zygote(&host, hub) {
            self.no_zygote(&error, hub);
        }
    }

    /// Has another child take the place of each, once its task has ended.
    pub(super) fn replace_children(&mut self, hub: &mut Hub<Self>) {
        let Some(pool) = &mut self.pool.pool else {
            return;
        };
        let names: Vec<_> = pool.children().map(|child| child.name).collect();
        for name in names {
            pool.replace_child(name, hub.now());
        }
        self.handle_pool_events(hub);
    }

    /// The zygote has ended.
    pub(super) fn replace_zygote(&mut self, exit: Exit, hub: &mut Hub<Self>) {
        if self.tasks.closing {
            return; // no child will be wanted any more
        }
        let Some(host) = self.settings.host.clone() else {
            log::error!(
                target: super::CRITICAL,
                "pool: the zygote exited with '{exit}': no child can be replaced. Shutting down..."
            );
            return self.leave(1, hub);
        };
        log::error!("pool: the zygote exited with '{exit}': starting another...");
        if let Err(error) = self.begin_zygote(&host, hub) {
            self.no_zygote(&error, hub);
        }
    }

    fn begin_zygote(&mut self, host: &Host, hub: &mut Hub<Self>) -> Result<(), StartError> {
        let starting = Starting::begin(host)?;
        let watched = hub.add(
            starting.answer(),
            Interest::READ,
            Mode::Drain,
            |worker, hub, _| worker.hear_successor(hub),
        );
        watched.map_err(StartError::System)?;
        self.successor.starting = Some(starting);
        Ok(())
    }

    fn hear_successor(&mut self, hub: &mut Hub<Self>) -> Next {
        let Some(starting) = &mut self.successor.starting else {
            return Next::Remove;
        };
        match starting.read() {
            Ok(Answer::Awaited) => Next::Wait,
            Ok(Answer::Some) => Next::Again,
            Ok(Answer::Complete) | Err(_) => {
                self.take_successor(hub);
                Next::Remove
            }
        }
    }

    fn take_successor(&mut self, hub: &mut Hub<Self>) {
        let finished = self.successor.starting.take().map(Starting::finish);
        match (finished, self.pool.pool.as_mut()) {
            (Some(Ok((zygote, _))), Some(pool)) => {
                log::info!("pool: another zygote has taken over");
                pool.replace_zygote(zygote, hub.now());
                self.handle_pool_events(hub);
                if std::mem::take(&mut self.successor.reloads) {
                    self.replace_children(hub);
                }
            }
            (Some(Err(error)), _) => self.no_zygote(&error, hub),
            _ => {}
        }
    }

    fn no_zygote(&mut self, error: &StartError, hub: &mut Hub<Self>) {
        let pool = self.pool.pool.as_ref();
        if std::mem::take(&mut self.successor.reloads)
            && pool.is_some_and(|it| it.zygote().is_some())
        {
            log::error!("pool: {error}: children stay as they are");
            return;
        }
        log::error!(
            target: super::CRITICAL,
            "pool: {error}: no child can be replaced. Shutting down..."
        );
        self.leave(1, hub);
    }
}
