//! What a link is told about its broker.

use std::time::Duration;

use crate::amqp::connection::Options;
use crate::amqp::sasl::Mechanism;

use super::retry::RetryPolicy;
use super::url::BrokerUrl;

/// Where a link connects, and how patiently. What a URL says about itself wins over what is said
/// here.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The brokers, in the order to try them. They are one cluster: the next is tried when one
    /// fails, and after a loss the link goes on with the one *after* the one that was lost, which
    /// may be dead without having said so.
    pub urls: Vec<BrokerUrl>,
    /// The name that the broker's management page shows.
    pub connection_name: String,
    /// How to log in (`broker_login_method`).
    pub login_method: Mechanism,
    /// The heartbeat to ask for (`broker_heartbeat`, 120 s); zero is none. The server may shorten
    /// it.
    pub heartbeat: Duration,
    /// How long one address may take to accept, and one name to be looked up
    /// (`broker_connection_timeout`, 4 s).
    pub connect_timeout: Duration,
    /// How long the login may take once the socket is connected: 10 s, after which RabbitMQ gives
    /// up on a client too.
    pub handshake_timeout: Duration,
    /// How long the broker may take to answer our close: 1 s. A blocked broker does not answer at
    /// all.
    pub close_timeout: Duration,
    /// When to try again.
    pub retry: RetryPolicy,
}

impl Settings {
    /// The defaults of Celery, for these brokers.
    pub fn new(urls: Vec<BrokerUrl>, connection_name: impl Into<String>) -> Self {
        Self {
            urls,
            connection_name: connection_name.into(),
            login_method: Mechanism::Plain,
            heartbeat: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(4),
            handshake_timeout: Duration::from_secs(10),
            close_timeout: Duration::from_secs(1),
            retry: RetryPolicy::default(),
        }
    }

    /// What a connection to `url`, one of [`Settings::urls`], needs to know.
    pub(super) fn options(&self, url: &BrokerUrl) -> Options {
        Options {
            handshake_timeout: self.handshake_timeout,
            connection_name: Some(self.connection_name.clone()),
            ..url.options(self.heartbeat, self.login_method)
        }
    }
}
