//! The step that has the state file.

use crate::boot::{Progress, Step, StepError};
use crate::hub::Hub;
use crate::sys::clock;
use crate::worker::{Worker, statedb};

pub(super) struct StateDb;

impl Step<Worker> for StateDb {
    fn name(&self) -> &'static str {
        "StateDB"
    }

    fn include_if(&self, cx: &Worker) -> bool {
        cx.settings.life.state_db.is_some()
    }

    /// What was revoked before this start is still revoked.
    fn start(&mut self, cx: &mut Worker, _hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        let Some(path) = cx.settings.life.state_db.clone() else {
            return Ok(Progress::Done);
        };
        let now = clock::wall();
        let failed = |error: statedb::StateDbError| StepError::new(error.to_string());
        if let Some(shelve) = cx.settings.life.shelve.take() {
            statedb::StateDb::import(&path, &shelve, now).map_err(failed)?;
        }
        let (state_db, saved) =
            statedb::StateDb::open(path, cx.settings.life.revoke_expires, now).map_err(failed)?;
        for (id, at) in saved.revoked {
            cx.tasks.revoked.insert(&id, at, now);
        }
        for (stamp, value) in saved.stamps {
            cx.tasks.revoked.insert_stamp(&stamp, value);
        }
        cx.producer.events.clock.adjust(state_db.clock());
        cx.state_db = Some(state_db);
        Ok(Progress::Done)
    }

    /// Saves the clock, and waits until everything is on the disk.
    fn shutdown(&mut self, cx: &mut Worker, _hub: &mut Hub<Worker>) -> Result<Progress, StepError> {
        if let Some(mut state_db) = cx.state_db.take() {
            state_db.set_clock(cx.producer.events.clock.value());
        }
        Ok(Progress::Done)
    }
}
