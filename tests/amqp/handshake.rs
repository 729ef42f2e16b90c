//! From the first octet to an open connection, and the ways in which that fails.

use celeriac::amqp::connection::{CloseReason, ConnectionError, Event, Options, State, Tune};
use celeriac::amqp::frame::PROTOCOL_HEADER;
use celeriac::amqp::method::{Method, MethodId, connection};
use celeriac::amqp::sasl::Mechanism;
use celeriac::amqp::table::{TableBuf, Value};

use crate::pair::{Pair, TUNE, methods, server_properties, start};

#[test]
fn a_handshake_goes_step_by_step() {
    let mut properties = TableBuf::new();
    properties.insert("node", "w@demo").expect("short");
    let mut pair = Pair::new(Options {
        user: "bob".into(),
        password: "secret".into(),
        virtual_host: "shop".into(),
        connection_name: Some("consumer".into()),
        properties,
        ..Options::default()
    });
    assert_eq!(pair.sent(), PROTOCOL_HEADER);
    assert_eq!(pair.client.state(), State::Starting);

    let theirs = server_properties();
    pair.server_sends(0, start(&theirs.as_table(), b"AMQPLAIN PLAIN"));
    pair.expect_no_event();
    let sent = pair.sent();
    let [(0, Method::ConnectionStartOk(start_ok))] = methods(&sent)[..] else {
        panic!("start-ok is to be sent")
    };
    assert_eq!(start_ok.mechanism, "PLAIN");
    assert_eq!(start_ok.response, b"\0bob\0secret");
    assert_eq!(start_ok.locale, "en_US");
    let text = |key| {
        start_ok
            .client_properties
            .find(key)
            .ok()
            .flatten()
            .and_then(|v| v.as_str())
    };
    assert_eq!(text("product"), Some("celeriac"));
    assert_eq!(text("version"), Some(env!("CARGO_PKG_VERSION")));
    assert_eq!(text("connection_name"), Some("consumer"));
    assert_eq!(text("node"), Some("w@demo"));
    let capabilities = start_ok.client_properties.find("capabilities");
    let capabilities = capabilities
        .ok()
        .flatten()
        .and_then(|v| v.as_table())
        .expect("a table");
    for capability in ["authentication_failure_close", "consumer_cancel_notify"] {
        assert_eq!(capabilities.find(capability), Ok(Some(Value::Bool(true))));
    }

    assert_eq!(pair.client.state(), State::Authenticating);
    pair.server_sends(0, TUNE);
    pair.expect_no_event();
    let Tune {
        channel_max,
        frame_max,
        heartbeat,
    } = TUNE;
    pair.expect_sent(&[
        (
            0,
            connection::TuneOk {
                channel_max,
                frame_max,
                heartbeat,
            }
            .into(),
        ),
        (
            0,
            connection::Open {
                virtual_host: "shop".into(),
            }
            .into(),
        ),
    ]);

    pair.server_sends(0, connection::OpenOk {});
    pair.expect_event(&Event::Open {
        server: theirs.as_table(),
        tune: TUNE,
    });
    assert_eq!(pair.client.state(), State::Open);
    assert_eq!(pair.client.negotiated(), TUNE);
    assert_eq!(pair.client.server_properties(), theirs.as_table());
}

#[test]
fn credentials_are_never_shown() {
    let options = Options {
        password: "hunter2".into(),
        ..Options::default()
    };
    assert!(!format!("{options:?}").contains("hunter2"));
    let mut pair = Pair::new(options);
    pair.server_sends(0, start(&server_properties().as_table(), b"PLAIN"));
    pair.expect_no_event();
    let shown = format!("{:?}", pair.client);
    let octets = format!("{:?}", b"hunter2");
    assert!(!shown.contains("hunter2") && !shown.contains(octets.trim_matches(['[', ']'])));
}

#[test]
fn a_refused_login_is_reported_with_the_servers_words() {
    let mut pair = Pair::new(Options::default());
    pair.server_sends(0, start(&server_properties().as_table(), b"PLAIN"));
    pair.expect_no_event();
    pair.sent();
    let text = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN.";
    let reply_text = text.into();
    pair.server_sends(
        0,
        connection::Close {
            reply_code: 403,
            reply_text,
            ..Default::default()
        },
    );
    let method = MethodId {
        class: 0,
        method: 0,
    };
    let reason = CloseReason::Server {
        code: 403,
        text: text.into(),
        method,
    };
    assert_eq!(pair.expect_closed(), reason);
    pair.expect_sent(&[(0, connection::CloseOk {}.into())]);
}

#[test]
fn a_socket_dropped_while_logging_in_hints_at_the_credentials() {
    let mut pair = Pair::new(Options::default());
    pair.server_sends(0, start(&server_properties().as_table(), b"PLAIN"));
    pair.expect_no_event();
    pair.client.handle_eof();
    let reason = pair.expect_closed();
    assert_eq!(
        reason,
        CloseReason::Dropped {
            during: State::Authenticating
        }
    );
    assert!(reason.to_string().contains("credentials"));
}

#[test]
fn an_unknown_virtual_host_ends_the_handshake() {
    let mut pair = Pair::new(Options {
        virtual_host: "nope".into(),
        ..Options::default()
    });
    pair.server_sends(0, start(&server_properties().as_table(), b"PLAIN"));
    pair.server_sends(0, TUNE);
    let (reply_text, class_id, method_id) = ("NOT_ALLOWED - vhost nope not found".into(), 10, 40);
    let close = connection::Close {
        reply_code: 530,
        reply_text,
        class_id,
        method_id,
    };
    pair.server_sends(0, close);
    let CloseReason::Server {
        code: 530, method, ..
    } = pair.expect_closed()
    else {
        panic!("the server closed it")
    };
    assert_eq!(method.name(), Some("connection.open"));
}

#[test]
fn a_mechanism_the_server_lacks_is_our_error() {
    let mechanism = Some(Mechanism::External);
    let mut pair = Pair::new(Options {
        mechanism,
        ..Options::default()
    });
    pair.sent();
    pair.server_sends(0, start(&server_properties().as_table(), b"AMQPLAIN PLAIN"));
    let CloseReason::Protocol(error) = pair.expect_closed() else {
        panic!("it is our error")
    };
    assert_eq!(
        error.to_string(),
        "couldn't find EXTERNAL among the mechanisms \"AMQPLAIN PLAIN\""
    );
    // A server that has not authenticated us takes no close.
    pair.expect_nothing_sent();
}

#[test]
fn a_challenge_is_not_understood() {
    let mut pair = Pair::new(Options::default());
    pair.server_sends(0, start(&server_properties().as_table(), b"PLAIN"));
    pair.server_sends(0, connection::Secure { challenge: b"?" });
    let CloseReason::Protocol(ConnectionError::UnexpectedMethod { method, .. }) =
        pair.expect_closed()
    else {
        panic!("it is unexpected")
    };
    assert_eq!(method, connection::Secure::ID);
}

#[test]
fn another_version_is_refused_whoever_says_so() {
    let mut pair = Pair::new(Options::default());
    pair.client.handle_bytes(b"AMQP\x03\x01", pair.now);
    pair.expect_no_event();
    pair.client.handle_bytes(b"\0\0", pair.now);
    let refused = ConnectionError::VersionRefused {
        version: [3, 1, 0, 0],
    };
    assert_eq!(pair.expect_closed(), CloseReason::Protocol(refused));

    let mut pair = Pair::new(Options::default());
    pair.server_sends(
        0,
        connection::Start {
            version_major: 8,
            ..Default::default()
        },
    );
    assert!(matches!(pair.expect_closed(), CloseReason::Protocol(_)));
}

#[test]
fn nothing_but_the_handshake_comes_before_its_end() {
    let mut pair = Pair::new(Options::default());
    pair.server_sends(0, connection::OpenOk {});
    assert!(matches!(pair.expect_closed(), CloseReason::Protocol(_)));

    let mut pair = Pair::new(Options::default());
    pair.server_sends(1, celeriac::amqp::method::channel::OpenOk {});
    assert!(matches!(pair.expect_closed(), CloseReason::Protocol(_)));
}

#[test]
fn commands_before_the_end_of_the_handshake_are_refused() {
    let mut pair = Pair::new(Options::default());
    pair.client.open_channel().expect_err("it is not open");
    assert_eq!(pair.sent(), PROTOCOL_HEADER);
    pair.client.close(200, "never mind", pair.now);
    assert_eq!(pair.expect_closed(), CloseReason::Requested);
}

#[test]
fn a_virtual_host_that_has_no_encoding_is_our_error() {
    let mut pair = Pair::new(Options {
        virtual_host: "v".repeat(256),
        ..Options::default()
    });
    pair.server_sends(0, start(&server_properties().as_table(), b"PLAIN"));
    pair.server_sends(0, TUNE);
    let reason = pair.expect_closed();
    assert!(
        matches!(reason, CloseReason::Protocol(ConnectionError::Encode(_))),
        "{reason}"
    );
}
