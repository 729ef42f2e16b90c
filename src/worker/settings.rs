//! What a worker is told before it starts.

use std::num::NonZeroU32;

use crate::amqp::table::TableBuf;
use crate::link::BrokerUrl;

/// The settings of one worker, resolved: command line, environment and app have been consulted.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The node's name (`-n`), for example `celery@host`.
    pub node_name: String,
    /// The brokers to consume from (`broker_read_url`), alternates in order.
    pub read_urls: Vec<BrokerUrl>,
    /// The brokers to publish to (`broker_write_url`).
    pub write_urls: Vec<BrokerUrl>,
    /// Where results go (`--result-backend`).
    pub results: ResultBackend,
    /// How many children (`-c`).
    pub concurrency: usize,
    /// Messages taken ahead for each child (`worker_prefetch_multiplier`); 0 is no limit.
    pub prefetch_multiplier: u32,
    /// After how many tasks a child is replaced (`--max-tasks-per-child`).
    pub max_tasks_per_child: Option<NonZeroU32>,
    /// The queues consumed (`-Q`).
    pub queues: Vec<Queue>,
    /// `REMAP_SIGTERM=SIGQUIT` is in the environment: TERM is a cold shutdown.
    pub remap_sigterm: bool,
}

impl Settings {
    /// How many unsettled messages the broker may give out; 0 is no limit, and so is what `basic.qos`
    /// cannot say.
    pub fn prefetch_count(&self) -> u16 {
        let count = self
            .concurrency
            .max(1)
            .saturating_mul(self.prefetch_multiplier as usize);
        u16::try_from(count).unwrap_or(0)
    }
}

/// Where results go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResultBackend {
    /// `rpc://`: a message to the caller's reply queue.
    Rpc,
    /// Nowhere (`disabled://`).
    Disabled,
}

/// A queue with the exchange it is bound to, as Celery declares both.
#[derive(Clone, Debug)]
pub struct Queue {
    /// The queue's name.
    pub name: String,
    /// The exchange's name; empty for the default exchange, which is neither declared nor bound.
    pub exchange: String,
    /// The exchange's type.
    pub exchange_type: String,
    /// The binding's routing key.
    pub routing_key: String,
    /// `x-queue-type` and its like.
    pub arguments: TableBuf,
}

impl Queue {
    /// A durable queue on a direct exchange of its own name, as Celery makes of a bare name.
    pub fn named(name: impl Into<String>) -> Self {
        let name = name.into();
        Self {
            exchange: name.clone(),
            exchange_type: "direct".into(),
            routing_key: name.clone(),
            arguments: TableBuf::new(),
            name,
        }
    }
}
