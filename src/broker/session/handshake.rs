//! From the protocol header to an open connection.

use std::time::Instant;

use super::{Capabilities, Phase};
use crate::amqp::frame::{FRAME_MIN_SIZE, PROTOCOL_HEADER};
use crate::amqp::method::{Method, MethodId, connection};
use crate::amqp::reply::ReplyCode;
use crate::amqp::sasl::Mechanism;
use crate::amqp::table::{Table, TableBuf, Value};
use crate::amqp::wire::EncodeError;
use crate::broker::engine::Engine;
use crate::broker::keys::SessionKey;
use crate::broker::refusal::Refusal;

/// The header of AMQP 0-9, with which some clients greet a 0-9-1 server.
const OLD_HEADER: [u8; 8] = *b"AMQP\x01\x01\x00\x09";

/// What the server can do, by the names clients look for.
const CAPABILITIES: [&str; 8] = [
    "publisher_confirms",
    "exchange_exchange_bindings",
    "basic.nack",
    "consumer_cancel_notify",
    "connection.blocked",
    "consumer_priorities",
    "authentication_failure_close",
    "per_consumer_qos",
];

impl Engine {
    /// Takes the protocol header; how many octets it took, or nothing when it is not complete.
    pub(in crate::broker) fn greet(&mut self, key: SessionKey, data: &[u8]) -> Option<usize> {
        let session = self.sessions.get_mut(key)?;
        let header = data.first_chunk::<8>()?;
        if *header == PROTOCOL_HEADER || *header == OLD_HEADER {
            // The table is well within its limits.
            let properties = server_properties().unwrap_or_default();
            session.send(
                0,
                connection::Start {
                    version_major: 0,
                    version_minor: 9,
                    server_properties: properties.as_table(),
                    mechanisms: b"AMQPLAIN PLAIN",
                    locales: b"en_US",
                },
            );
            session.phase = Phase::Login;
        } else {
            // The specification's way to say which protocol is spoken here.
            session.output.push(&PROTOCOL_HEADER);
            session.phase = Phase::Closed;
        }
        Some(header.len())
    }

    /// Handles a method of the connection before it is open.
    pub(in crate::broker) fn shake_hands(
        &mut self,
        key: SessionKey,
        method: &Method<'_>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(key) else {
            return Ok(());
        };
        match (session.phase, method) {
            (Phase::Login, Method::ConnectionStartOk(start)) => {
                session.capabilities = capabilities(start.client_properties);
                self.log_in(key, start)
            }
            (Phase::Tuning, Method::ConnectionTuneOk(tune)) => self.tune(key, *tune, now),
            (Phase::Opening, Method::ConnectionOpen(open)) => self.open(key, open),
            (_, Method::ConnectionClose(_)) => {
                session.send(0, connection::CloseOk {});
                session.phase = Phase::Closed;
                Ok(())
            }
            _ => {
                let why = format_args!("{} does not belong here", method.id());
                Err(Refusal::new(ReplyCode::CommandInvalid, why))
            }
        }
    }

    fn log_in(&mut self, key: SessionKey, start: &connection::StartOk<'_>) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(key) else {
            return Ok(());
        };
        let name = start.mechanism.to_str().unwrap_or_default();
        let mechanism = Mechanism::from_name(name).filter(|known| *known != Mechanism::External);
        let Some(mechanism) = mechanism else {
            let why = format_args!("unknown authentication mechanism '{name}'");
            return Err(Refusal::new(ReplyCode::CommandInvalid, why));
        };
        let user = mechanism
            .credentials(start.response)
            .and_then(|(name, password)| {
                let mut users = self.settings.users.iter();
                users.find(|user| user.name == name && user.password == password)
            });
        match user {
            Some(user) if session.local || user.name != "guest" => {
                session.user.clone_from(&user.name);
                session.phase = Phase::Tuning;
                session.send(
                    0,
                    connection::Tune {
                        channel_max: self.settings.channel_max,
                        frame_max: self.settings.frame_max,
                        heartbeat: self.settings.heartbeat,
                    },
                );
            }
            _ if session.capabilities.authentication_failure_close => {
                let refusal = Refusal::access(format_args!(
                    "Login was refused using authentication mechanism {mechanism}. For details see \
                     the broker logfile."
                ));
                session.close(
                    &refusal,
                    MethodId {
                        class: 0,
                        method: 0,
                    },
                );
            }
            // A client that does not know better is told by the closed socket, as ever.
            _ => session.phase = Phase::Closed,
        }
        Ok(())
    }

    fn tune(
        &mut self,
        key: SessionKey,
        tune: connection::TuneOk,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(key) else {
            return Ok(());
        };
        let limit = self.settings.frame_max;
        if tune.frame_max != 0 && tune.frame_max < FRAME_MIN_SIZE || tune.frame_max > limit {
            let why = format_args!(
                "negotiated frame_max = {} is not between {FRAME_MIN_SIZE} and {limit}",
                tune.frame_max
            );
            return Err(Refusal::new(ReplyCode::NotAllowed, why));
        }
        if tune.channel_max > self.settings.channel_max {
            let why = format_args!(
                "negotiated channel_max = {} is higher than {}",
                tune.channel_max, self.settings.channel_max
            );
            return Err(Refusal::new(ReplyCode::NotAllowed, why));
        }
        session.frame_max = if tune.frame_max == 0 {
            limit
        } else {
            tune.frame_max
        };
        session.channel_max = match tune.channel_max {
            0 => self.settings.channel_max,
            highest => highest,
        };
        session.heartbeat = tune.heartbeat;
        session.phase = Phase::Opening;
        self.watch_heartbeat(key, now);
        Ok(())
    }

    fn open(&mut self, key: SessionKey, open: &connection::Open<'_>) -> Result<(), Refusal> {
        let Some(session) = self.sessions.get_mut(key) else {
            return Ok(());
        };
        let wanted = open.virtual_host;
        let found = self.vhosts.iter().position(|vhost| wanted == vhost.name());
        let Some(vhost) = found else {
            let why = format_args!("vhost {wanted} not found");
            return Err(Refusal::new(ReplyCode::NotAllowed, why));
        };
        session.vhost = vhost;
        session.phase = Phase::Open;
        session.send(0, connection::OpenOk {});
        Ok(())
    }
}

fn server_properties() -> Result<TableBuf, EncodeError> {
    let mut capabilities = TableBuf::new();
    for name in CAPABILITIES {
        capabilities.insert(name, true)?;
    }
    let mut properties = TableBuf::new();
    properties.insert("capabilities", capabilities.as_table())?;
    properties.insert("product", "celeriac")?;
    properties.insert("version", env!("CARGO_PKG_VERSION"))?;
    properties.insert("platform", "Rust")?;
    properties.insert(
        "information",
        "In memory, for development and tests. For production use RabbitMQ.",
    )?;
    Ok(properties)
}

fn capabilities(client_properties: Table<'_>) -> Capabilities {
    let table = match client_properties.find("capabilities") {
        Ok(Some(Value::Table(table))) => table,
        _ => Table::default(),
    };
    let has = |name| matches!(table.find(name), Ok(Some(Value::Bool(true))));
    Capabilities {
        authentication_failure_close: has("authentication_failure_close"),
        connection_blocked: has("connection.blocked"),
        consumer_cancel_notify: has("consumer_cancel_notify"),
    }
}
