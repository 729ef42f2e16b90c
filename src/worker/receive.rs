//! From a delivery to a job: what a message is, whether it may run, and when.

use std::time::{Duration, Instant};

use super::acks::Acks;
use super::producer::Producer;
use super::refusals;
use super::request::{Request, State};
use super::results::Ending;
use super::tasks::{Held, Tasks};
use crate::amqp::connection::Delivery;
use crate::message::record::{self, About, DeliveryInfo};
use crate::message::task::{self, Refusal, TaskMessage};
use crate::pool::{Job, JobKey};
use crate::sys::clock;

/// Bodies up to this size are checked in main, which refuses what has not the shape of a task's body. Larger ones
/// are the child's to check: a scan of megabytes would keep main from everything else.
const CHECKED_BODY: usize = 64 * 1024;

/// The priority of an ETA in the timer, as Celery's.
const ETA_PRIORITY: u8 = 6;

impl Tasks {
    /// Takes a delivery in, in Celery's order of decisions. Gives the job if it is to run now.
    ///
    /// What cannot be run is settled here, with a line in the log that says why.
    pub(super) fn receive(
        &mut self,
        delivery: &Delivery<'_>,
        acks: &mut Acks,
        producer: &mut Producer,
        now: Instant,
    ) -> Option<Job> {
        acks.delivered(delivery.tag);
        if self.closing {
            acks.reject(delivery.tag, true);
            return None;
        }
        let task = match self.read(delivery) {
            Ok(task) => task,
            Err(refusal) => {
                refusals::log_refusal(&refusal, delivery);
                if refusal.acknowledges() {
                    acks.ack(delivery.tag);
                } else {
                    acks.reject(delivery.tag, false);
                }
                return None;
            }
        };
        let Some(options) = self.registry.options(&task.name) else {
            refusals::log_unregistered(&task, delivery);
            acks.reject(delivery.tag, false);
            let mut request = Request::new(&task, &self.unregistered, delivery);
            self.keep_record(&mut request, &task, delivery);
            let name = task.name.clone().into_owned();
            self.report(&request, &Ending::NotRegistered(name), None, producer);
            return None;
        };
        let mut request = Request::new(&task, options, delivery);
        log::info!("Task {}[{}] received", request.name, request.id);
        if task
            .expires
            .as_ref()
            .is_some_and(|expires| clock::wall() > expires.at)
        {
            self.keep_record(&mut request, &task, delivery);
            self.discard_expired(request, acks, producer);
            return None;
        }
        let eta = task
            .eta
            .as_ref()
            .map(|eta| eta.at)
            .filter(|eta| *eta > clock::wall());
        if eta.is_some() {
            request.state = State::Held;
        }
        let key = self.requests.insert(request);
        let job = match self.encode(JobKey(key.into()), &task, delivery) {
            Ok(record) => Job {
                key: JobKey(key.into()),
                record,
            },
            Err(error) => {
                log::error!("Received invalid task message: {error}");
                self.requests.remove(key);
                acks.reject(delivery.tag, false);
                return None;
            }
        };
        if self.tells_of_received
            && let Some(books) = &mut self.reporter.books
        {
            books.tell(About::Received, &job.record);
        }
        match eta {
            Some(eta) => {
                self.hold(Held { job, eta }, now);
                None
            }
            None => Some(job),
        }
    }

    fn read<'a>(&self, delivery: &Delivery<'a>) -> Result<TaskMessage<'a>, Refusal> {
        let task = task::receive(&delivery.properties, delivery.body, &self.accept)?;
        if task.body.len() <= CHECKED_BODY && self.registry.options(&task.name).is_some() {
            task.check_body()?;
        }
        Ok(task)
    }

    fn encode(
        &mut self,
        key: JobKey,
        task: &TaskMessage<'_>,
        delivery: &Delivery<'_>,
    ) -> Result<Vec<u8>, record::WriteError> {
        let delivery_info = DeliveryInfo {
            exchange: delivery.exchange.to_string_lossy(),
            routing_key: delivery.routing_key.to_string_lossy(),
            priority: delivery.properties.priority,
            redelivered: delivery.redelivered,
        };
        let mut record = Vec::with_capacity(self.typical_record + task.body.len());
        let job = record::Job {
            job: key.0,
            task: &task.name,
            id: &task.id,
            headers: &task.headers,
            properties: &delivery.properties,
            delivery_info: &delivery_info,
            hostname: &self.node_name,
            options: None,
            body: &task.body,
        };
        job.encode(&mut record)?;
        self.typical_record = (record.len() - task.body.len()).next_multiple_of(256);
        Ok(record)
    }

    /// The clerk of a Python app is told of tasks by their records.
    fn keep_record(
        &mut self,
        request: &mut Request,
        task: &TaskMessage<'_>,
        delivery: &Delivery<'_>,
    ) {
        if self.reporter.books.is_some() {
            request.record = self.encode(JobKey(0), task, delivery).unwrap_or_default();
        }
    }

    /// Celery's words for an expired task are those for a revoked one.
    fn discard_expired(&mut self, request: Request, acks: &mut Acks, producer: &mut Producer) {
        log::info!("Discarding revoked task: {}[{}]", request.name, request.id);
        self.report(&request, &Ending::Expired, None, producer);
        acks.ack(request.tag);
    }

    fn hold(&mut self, held: Held, now: Instant) {
        let wait = held.eta.duration_since(clock::wall()).unwrap_or_default();
        self.held.insert(after(now, wait), ETA_PRIORITY, held);
    }

    /// The next held job whose time has come. One that the wall clock says is early (it was set back) is held on.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<Job> {
        while let Some(held) = self.held.pop_due(now) {
            if held.eta > clock::wall() + CLOCK_GRAIN {
                self.hold(held, now);
                continue;
            }
            if let Some(request) = self.request_mut(held.job.key) {
                request.state = State::Waiting;
                return Some(held.job);
            }
        }
        None
    }
}

/// A wall clock that is this close to the time has reached it.
const CLOCK_GRAIN: Duration = Duration::from_millis(1);

/// `now + wait`, or a hundred years from now where there is no such instant.
fn after(now: Instant, wait: Duration) -> Instant {
    let far = Duration::from_secs(100 * 365 * 86_400);
    now.checked_add(wait.min(far)).unwrap_or(now)
}
