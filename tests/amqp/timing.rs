//! Heartbeats, the handshake's deadline and the orderly close, in virtual time.

use celeriac::amqp::connection::{CloseReason, Event, Options, State};
use celeriac::amqp::frame::FrameKind;
use celeriac::amqp::method::connection;

use crate::pair::{Pair, frames, server_properties, start};

const HEARTBEAT: [u8; 8] = [8, 0, 0, 0, 0, 0, 0, 0xce];

#[test]
fn a_quiet_client_speaks_after_half_an_interval() {
    let mut pair = Pair::opened(Options::default());
    assert_eq!(pair.timeout(), Some(30.0));
    pair.advance(29.9);
    pair.expect_nothing_sent();
    pair.advance(0.1);
    assert_eq!(pair.sent(), HEARTBEAT);
    assert_eq!(pair.timeout(), Some(30.0));
}

#[test]
fn any_octet_sent_puts_the_heartbeat_off() {
    let mut pair = Pair::opened(Options::default());
    pair.advance(20.0);
    pair.client.open_channel().expect("it is open");
    pair.sent();
    assert_eq!(pair.timeout(), Some(30.0));
}

#[test]
fn what_waits_to_be_sent_needs_no_heartbeat_behind_it() {
    let mut pair = Pair::opened(Options::default());
    pair.client.open_channel().expect("it is open");
    let waiting = pair.client.pending_output();
    pair.advance(30.0);
    assert_eq!(pair.client.pending_output(), waiting);
    assert_eq!(pair.timeout(), Some(30.0));
}

#[test]
fn silence_of_two_intervals_is_the_end_and_any_octet_breaks_it() {
    let mut pair = Pair::opened(Options::default());
    pair.advance(100.0);
    pair.client.handle_bytes(&HEARTBEAT[..1], pair.now);
    pair.expect_no_event();
    pair.advance(100.0);
    pair.client.handle_bytes(&HEARTBEAT[1..], pair.now);
    pair.advance(119.0);
    pair.expect_no_event();
    pair.advance(1.0);
    let CloseReason::HeartbeatLost { silence } = pair.expect_closed() else {
        panic!("the heartbeat is lost")
    };
    assert_eq!(silence.as_secs(), 120);
}

#[test]
fn a_client_that_wants_no_heartbeats_has_none() {
    let mut pair = Pair::opened(Options {
        heartbeat: 0,
        ..Options::default()
    });
    assert_eq!(pair.client.negotiated().heartbeat, 0);
    assert_eq!(pair.timeout(), None);
    pair.advance(1e6);
    pair.expect_nothing_sent();
    pair.expect_no_event();
}

#[test]
fn a_handshake_has_ten_seconds() {
    let mut pair = Pair::new(Options::default());
    assert_eq!(pair.timeout(), Some(10.0));
    pair.advance(9.0);
    pair.server_sends(0, start(&server_properties().as_table(), b"PLAIN"));
    pair.expect_no_event();
    pair.advance(1.0);
    let reason = pair.expect_closed();
    assert_eq!(
        reason,
        CloseReason::TimedOut {
            during: State::Authenticating
        }
    );
}

/// T11.4: heartbeats begin with what was tuned, not with the end of the login; and a blocked connection has them too.
#[test]
fn t11_4_a_client_speaks_while_it_logs_in_and_while_it_is_blocked() {
    let mut pair = Pair::new(Options {
        handshake_timeout: std::time::Duration::from_secs(60),
        ..Options::default()
    });
    pair.server_sends(0, start(&server_properties().as_table(), b"PLAIN"));
    let tune = connection::Tune {
        channel_max: 0,
        frame_max: 0,
        heartbeat: 10,
    };
    pair.server_sends(0, tune);
    pair.expect_no_event();
    pair.sent();
    assert_eq!(pair.client.state(), State::Opening);
    pair.advance(5.0);
    assert_eq!(pair.sent(), HEARTBEAT);

    let mut pair = Pair::opened(Options::default());
    let reason = "low on memory".into();
    pair.server_sends(0, connection::Blocked { reason });
    pair.expect_event(&Event::Blocked { reason });
    pair.advance(30.0);
    assert_eq!(pair.sent(), HEARTBEAT);
}

#[test]
fn an_orderly_close_waits_for_its_answer_and_not_forever() {
    let close = |pair: &mut Pair| {
        pair.client.close(0, "", pair.now);
        pair.expect_sent(&[(0, connection::Close::default().into())]);
        assert_eq!(pair.client.state(), State::Closing);
        pair.client.open_channel().expect_err("it is closing");
        pair.server_sends(
            0,
            connection::Blocked {
                reason: "low on memory".into(),
            },
        );
        pair.server_sends_frame(FrameKind::Body, 1, b"what was under way");
        pair.expect_no_event();
    };
    let mut pair = Pair::opened(Options::default());
    close(&mut pair);
    pair.server_sends(0, connection::CloseOk {});
    assert_eq!(pair.expect_closed(), CloseReason::Requested);

    let mut pair = Pair::opened(Options::default());
    close(&mut pair);
    pair.advance(10.0);
    assert_eq!(
        pair.expect_closed(),
        CloseReason::TimedOut {
            during: State::Closing
        }
    );
}

#[test]
fn a_server_that_closes_is_answered() {
    let mut pair = Pair::opened(Options::default());
    let reply_text = "CONNECTION_FORCED - broker forced connection closure".into();
    pair.server_sends(
        0,
        connection::Close {
            reply_code: 320,
            reply_text,
            ..Default::default()
        },
    );
    let reason = pair.expect_closed();
    assert!(
        reason
            .to_string()
            .starts_with("closed by the server: 320 CONNECTION_FORCED")
    );
    pair.expect_sent(&[(0, connection::CloseOk {}.into())]);
}

#[test]
fn what_came_before_the_end_of_the_socket_still_counts() {
    let mut pair = Pair::opened(Options::default());
    pair.server_sends(
        0,
        connection::Blocked {
            reason: "low on disk".into(),
        },
    );
    pair.server_sends(0, connection::Unblocked {});
    pair.client.handle_eof();
    pair.expect_event(&Event::Blocked {
        reason: "low on disk".into(),
    });
    pair.expect_event(&Event::Unblocked);
    assert_eq!(
        pair.expect_closed(),
        CloseReason::Dropped {
            during: State::Open
        }
    );
}

#[test]
fn a_server_that_breaks_the_protocol_is_told() {
    let broken: [(&[u8], u16); 4] = [
        (&[1, 0, 0, 0, 0, 0, 0, 0], 501),    // another last octet
        (&[9], 501),                         // no such frame
        (&[8, 0, 1, 0, 0, 0, 0, 0xce], 505), // a heartbeat of a channel
        (&[1, 0, 0, 0, 0, 0, 4, 0, 10, 9, 9, 0xce], 540), // no such method
    ];
    for (bytes, code) in broken {
        let mut pair = Pair::opened(Options::default());
        pair.client.handle_bytes(bytes, pair.now);
        assert!(matches!(pair.expect_closed(), CloseReason::Protocol(_)));
        let sent = pair.sent();
        let close = celeriac::amqp::Method::decode(frames(&sent)[0].payload);
        let Ok(celeriac::amqp::Method::ConnectionClose(close)) = close else {
            panic!("{bytes:?}: connection.close is to be sent")
        };
        assert_eq!(close.reply_code, code);
        assert!(!close.reply_text.is_empty());
    }
}
