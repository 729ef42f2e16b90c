//! From the protocol header to connection.open-ok.

use super::error::ConnectionError;
use super::options::Options;
use super::{Core, State};
use crate::amqp::frame::{self, FRAME_MIN_SIZE, PROTOCOL_HEADER};
use crate::amqp::method::connection::{Open, Start, StartOk, Tune, TuneOk};
use crate::amqp::sasl::Mechanism;
use crate::amqp::table::TableBuf;
use crate::amqp::wire::EncodeError;

/// Limit on frames while none is negotiated, and when neither side names one.
pub(super) const DEFAULT_FRAME_MAX: u32 = 128 * 1024;

/// The abilities of a client that this one has; RabbitMQ acts on them.
const CAPABILITIES: [&str; 7] = [
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "exchange_exchange_bindings",
    "per_consumer_qos",
    "publisher_confirms",
];

impl Core {
    /// A server that speaks another version answers with its own protocol header and hangs up.
    pub(super) fn check_version(&self, data: &[u8]) -> Result<(), ConnectionError> {
        let Some((b"AMQP", version)) = data.split_first_chunk::<4>() else {
            return Ok(());
        };
        match version.first_chunk::<4>() {
            Some(version) if self.state == State::Starting => {
                Err(ConnectionError::VersionRefused { version: *version })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn on_start(&mut self, start: &Start<'_>) -> Result<(), ConnectionError> {
        if (start.version_major, start.version_minor) != (0, 9) {
            let version = [0, start.version_major, start.version_minor, 0];
            return Err(ConnectionError::VersionRefused { version });
        }
        let mechanism = self.options.choose_mechanism(start.mechanisms)?;
        self.server_properties = TableBuf::from(start.server_properties);
        self.login(mechanism).map_err(ConnectionError::Encode)?;
        self.state = State::Authenticating;
        Ok(())
    }

    fn login(&mut self, mechanism: Mechanism) -> Result<(), EncodeError> {
        let properties = self.options.client_properties()?;
        let start_ok = StartOk {
            client_properties: properties.as_table(),
            mechanism: mechanism.name().into(),
            response: &mechanism.response(&self.options.user, &self.options.password)?,
            locale: "en_US".into(),
        };
        frame::put_method(self.out.writer(), 0, &start_ok.into(), 0)
    }

    pub(super) fn on_tune(&mut self, server: &Tune) -> Result<(), ConnectionError> {
        self.tune = self.options.negotiate(server)?;
        let Tune {
            channel_max,
            frame_max,
            heartbeat,
        } = self.tune;
        self.heartbeat.start(heartbeat);
        let open = Open {
            virtual_host: (&self.options.virtual_host).into(),
        };
        let out = self.out.writer();
        frame::put_method(
            out,
            0,
            &TuneOk {
                channel_max,
                frame_max,
                heartbeat,
            }
            .into(),
            frame_max,
        )
        .and_then(|()| frame::put_method(out, 0, &open.into(), frame_max))
        .map_err(ConnectionError::Encode)?;
        self.state = State::Opening;
        Ok(())
    }

    pub(super) fn on_open_ok(&mut self) {
        self.state = State::Open;
        self.deadline = None;
    }

    /// What a client sends first.
    pub(super) fn greet(&mut self) {
        self.out.push(&PROTOCOL_HEADER);
    }
}

impl Options {
    fn choose_mechanism(&self, offered: &[u8]) -> Result<Mechanism, ConnectionError> {
        let wanted = match &self.mechanism {
            Some(mechanism) => std::slice::from_ref(mechanism),
            None => &Mechanism::BY_PREFERENCE,
        };
        let found = wanted
            .iter()
            .find(|mechanism| mechanism.is_offered(offered));
        found.copied().ok_or_else(|| ConnectionError::NoMechanism {
            wanted: self.mechanism,
            offered: String::from_utf8_lossy(offered).into_owned(),
        })
    }

    fn client_properties(&self) -> Result<TableBuf, EncodeError> {
        let mut capabilities = TableBuf::new();
        for capability in CAPABILITIES {
            capabilities.insert(capability, true)?;
        }
        let mut properties = TableBuf::new();
        properties.insert("product", "celeriac")?;
        properties.insert("version", env!("CARGO_PKG_VERSION"))?;
        properties.insert("capabilities", capabilities.as_table())?;
        if let Some(name) = &self.connection_name {
            properties.insert("connection_name", name)?;
        }
        for pair in self.properties.as_table() {
            // A table that was built pair by pair reads back.
            let Ok((key, value)) = pair else { break };
            properties.insert(key, value)?;
        }
        Ok(properties)
    }

    /// The lower of both limits, where zero is no limit. Unlike py-amqp, a lower frame_max of ours
    /// counts. Heartbeats are py-amqp's rule: none if we want none, else the shorter interval.
    fn negotiate(&self, server: &Tune) -> Result<Tune, ConnectionError> {
        let frame_max = lower(server.frame_max, self.frame_max).unwrap_or(DEFAULT_FRAME_MAX);
        if server.frame_max != 0 && server.frame_max < FRAME_MIN_SIZE {
            return Err(ConnectionError::FrameMaxTooSmall(server.frame_max));
        }
        let heartbeat = match self.heartbeat {
            0 => 0,
            wanted => lower(server.heartbeat, wanted).unwrap_or(wanted),
        };
        Ok(Tune {
            channel_max: lower(server.channel_max, self.channel_max).unwrap_or(u16::MAX),
            frame_max: frame_max.max(FRAME_MIN_SIZE),
            heartbeat,
        })
    }
}

/// The lower of two limits, where zero is no limit; nothing when both are zero.
fn lower<T: Ord + Default>(a: T, b: T) -> Option<T> {
    [a, b]
        .into_iter()
        .filter(|limit| *limit != T::default())
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn negotiated(ours: (u16, u32, u16), server: (u16, u32, u16)) -> (u16, u32, u16) {
        let (channel_max, frame_max, heartbeat) = ours;
        let options = Options {
            channel_max,
            frame_max,
            heartbeat,
            ..Options::default()
        };
        let (channel_max, frame_max, heartbeat) = server;
        let tune = options.negotiate(&Tune {
            channel_max,
            frame_max,
            heartbeat,
        });
        let tune = tune.expect("frames are large enough");
        (tune.channel_max, tune.frame_max, tune.heartbeat)
    }

    #[test]
    fn the_lower_limit_counts_and_zero_is_none() {
        assert_eq!(
            negotiated((0, 0, 120), (2047, 131_072, 60)),
            (2047, 131_072, 60)
        );
        assert_eq!(
            negotiated((10, 8192, 30), (2047, 131_072, 60)),
            (10, 8192, 30)
        );
        assert_eq!(
            negotiated((0, 0, 0), (0, 0, 60)),
            (u16::MAX, DEFAULT_FRAME_MAX, 0)
        );
        assert_eq!(
            negotiated((0, 1, 9), (0, 0, 0)),
            (u16::MAX, FRAME_MIN_SIZE, 9)
        );
    }

    #[test]
    fn a_server_may_not_want_frames_below_the_minimum() {
        let tune = Tune {
            channel_max: 0,
            frame_max: 100,
            heartbeat: 0,
        };
        let refused = Options::default().negotiate(&tune);
        assert_eq!(refused, Err(ConnectionError::FrameMaxTooSmall(100)));
    }

    #[test]
    fn the_configured_mechanism_is_used_alone() {
        let options = |mechanism| Options {
            mechanism,
            ..Options::default()
        };
        let choose = |wanted, offered: &[u8]| options(wanted).choose_mechanism(offered).ok();
        assert_eq!(choose(None, b"PLAIN AMQPLAIN"), Some(Mechanism::AmqPlain));
        assert_eq!(
            choose(None, b"PLAIN AMQPLAIN EXTERNAL"),
            Some(Mechanism::External)
        );
        assert_eq!(
            choose(Some(Mechanism::Plain), b"AMQPLAIN PLAIN"),
            Some(Mechanism::Plain)
        );
        assert_eq!(choose(Some(Mechanism::Plain), b"AMQPLAIN"), None);
        assert_eq!(choose(None, b"GSSAPI"), None);
    }
}
