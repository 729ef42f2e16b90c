//! A link against brokers that answer, refuse, crash, stall and say nothing. Sockets are real; time
//! is not.

#[path = "link/broker.rs"]
mod broker;
#[path = "link/driver.rs"]
mod driver;

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use broker::Script;
use celeriac::amqp::connection::State;
use celeriac::amqp::method::{basic, connection};
use celeriac::amqp::props::Properties;
use celeriac::link::{Link, Retry, RetryPolicy, Settings, Turn};
use driver::{Driver, Seen, urls};
use nix::sys::socket::{Backlog, listen};

const SECOND: Duration = Duration::from_secs(1);

/// An address where nobody listens.
fn deserted() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address")
}

fn later(seconds: u64, attempt: u32, limit: u32) -> Retry {
    Retry::Later {
        pause: Duration::from_secs(seconds),
        attempt,
        limit: Some(limit),
    }
}

/// A try that failed.
fn failed(reason: &str, permanent: bool, retry: Retry) -> Seen {
    Seen::Lost {
        reason: reason.into(),
        permanent,
        was_up: false,
        retry,
    }
}

fn refused(retry: Retry) -> Seen {
    failed("[Errno 111] Connection refused", false, retry)
}

/// Opens channel 1.
#[track_caller]
fn open_channel(driver: &mut Driver) {
    driver
        .link
        .connection()
        .expect("a connection")
        .open_channel()
        .expect("a channel");
    driver.run_until_seen(|seen| *seen == Seen::ChannelOpen);
    driver.seen.clear();
}

#[test]
fn logs_in_as_the_url_says() {
    let mut driver = Driver::with_brokers(1);
    assert!(driver.link.registration().is_none() && driver.link.deadline().is_none());
    driver.link.connect(driver.now);
    driver.run_until(|driver| driver.link.is_up());

    let url = format!("amqp://bob:**@{}/v", driver.brokers[0].address());
    assert_eq!(driver.seen, [Seen::Connecting(url), Seen::Up(1)]);
    assert_eq!(driver.brokers[0].login, b"\0bob\0secret");
    assert_eq!(driver.brokers[0].vhost, "v");
    assert_eq!(driver.link.epoch(), 1);
}

#[test]
fn the_password_is_not_shown() {
    let mut driver = Driver::with_brokers(1);
    driver.link.connect(driver.now);
    let secret = format!("{:?}", b"secret")
        .trim_matches(['[', ']'])
        .to_owned();
    driver.run_until(|driver| {
        let shown = format!("{:?} {:?}", driver.link, driver.seen);
        assert!(
            !shown.contains("secret") && !shown.contains(&secret),
            "{shown}"
        );
        driver.link.is_up()
    });
}

#[test]
fn every_byte_may_come_alone() {
    let mut driver = Driver::with_brokers(1);
    driver.brokers[0].script.write_at_most = 1;
    driver.come_up();
    open_channel(&mut driver);
    driver.brokers[0].deliver(1, b"body");
    driver.run_until_seen(|seen| *seen == Seen::Message(4));
}

#[test]
fn retries_until_somebody_listens() {
    let address = deserted();
    let mut driver = Driver::new(Settings::new(urls(&[address]), "test"));
    driver.link.connect(driver.now);
    driver.run_until_seen(|seen| *seen == refused(later(2, 1, 100)));
    assert!(driver.link.registration().is_none());
    assert_eq!(driver.expire(), 2 * SECOND);
    driver.run_until_seen(|seen| *seen == refused(later(4, 2, 100)));

    driver.listen(address);
    assert_eq!(driver.expire(), 4 * SECOND);
    driver.run_until(|driver| driver.link.is_up());
}

#[test]
fn gives_up_when_told_to() {
    let retry = RetryPolicy {
        limit: Some(1),
        ..RetryPolicy::default()
    };
    let settings = Settings {
        retry,
        ..Settings::new(urls(&[deserted()]), "test")
    };
    let mut driver = Driver::new(settings);
    driver.link.connect(driver.now);
    for _ in 0..2 {
        driver.run_until_seen(|seen| *seen == refused(later(2, 1, 1)));
        driver.expire();
        let reason = "[Errno 111] Connection refused".to_owned();
        driver.run_until_seen(|seen| matches!(seen, Seen::GaveUp { .. }));
        assert_eq!(
            driver.seen.pop(),
            Some(Seen::GaveUp {
                reason,
                attempts: 1
            })
        );
        assert!(driver.link.deadline().is_none(), "idle");
        driver.seen.clear();
        driver.link.connect(driver.now); // starts over
    }
}

#[test]
fn the_next_url_is_tried_at_once() {
    let mut driver = Driver::with_brokers(1);
    let live = driver.brokers[0].address();
    let settings = Settings::new(urls(&[deserted(), live]), "test");
    driver.link = Link::new(settings, 1, driver.now);
    let start = driver.now;
    driver.link.connect(driver.now);
    driver.run_until(|driver| driver.link.is_up());
    assert_eq!(driver.seen[1], refused(Retry::NextUrl));
    assert_eq!((driver.seen.len(), driver.now), (4, start));
}

#[test]
fn after_a_loss_the_next_broker_has_its_turn() {
    let mut driver = Driver::with_brokers(2);
    driver.come_up();
    driver.brokers[0].drop_client();
    driver.run_until_seen(|seen| matches!(seen, Seen::Lost { .. }));
    driver.expire();
    driver.run_until_seen(|seen| *seen == Seen::Up(2));
    assert!(driver.brokers[1].heard.contains(&"connection.open".into()));
}

#[test]
fn a_lost_connection_comes_back_as_the_next_generation() {
    let mut driver = Driver::with_brokers(1);
    driver.come_up();
    let (_, first) = driver.link.registration().expect("a socket");
    driver.now += 2 * SECOND;
    for epoch in 2..5 {
        driver.brokers[0].drop_client();
        driver.run_until_seen(|seen| matches!(seen, Seen::Lost { .. }));
        assert_eq!(
            driver.seen,
            [Seen::Lost {
                reason: "Server unexpectedly closed connection (open)".into(),
                permanent: false,
                was_up: true,
                retry: Retry::AtOnce,
            }]
        );
        assert!(driver.link.connection().is_none(), "nothing is left of it");
        assert!(driver.expire() < SECOND / 10);
        driver.run_until_seen(|seen| *seen == Seen::Up(epoch));
        driver.now += 2 * SECOND;
        driver.seen.clear();
    }
    assert_ne!(driver.link.registration().expect("a socket").1, first);
}

#[test]
fn a_broker_that_hangs_up_on_everybody_is_not_spun_on() {
    let mut driver = Driver::with_brokers(1);
    driver.come_up();
    let mut pauses = Vec::new();
    for epoch in 2..6 {
        driver.brokers[0].drop_client();
        driver.run_until(|driver| !driver.link.is_up());
        driver.run_until_seen(|seen| matches!(seen, Seen::Lost { .. }));
        pauses.push(driver.expire());
        driver.run_until_seen(|seen| *seen == Seen::Up(epoch));
        driver.seen.clear();
    }
    assert!(pauses[0] < SECOND / 10, "{pauses:?}");
    for (number, pause) in (1..).zip(&pauses[1..]) {
        let full = SECOND / 2 * number;
        assert!(*pause >= full * 3 / 4 && *pause <= full, "{pauses:?}");
    }
}

#[test]
fn a_pause_ends_when_the_broker_is_known_to_be_there() {
    let address = deserted();
    let mut driver = Driver::new(Settings::new(urls(&[address]), "test"));
    driver.link.connect(driver.now);
    driver.run_until_seen(|seen| *seen == refused(later(2, 1, 100)));
    driver.listen(address);
    driver.link.hurry(driver.now);
    driver.run_until(|driver| driver.link.is_up());
    let tries = driver.seen.len();
    driver.link.hurry(driver.now); // there is no pause to end
    driver.collect();
    assert!(driver.link.is_up() && driver.seen.len() == tries);
}

#[test]
fn a_broker_that_says_nothing_is_given_ten_seconds() {
    let mut driver = Driver::with_brokers(1);
    driver.brokers[0].script.silent = true;
    driver.link.connect(driver.now);
    driver.run_until(|driver| driver.link.connection().is_some());
    assert_eq!(driver.expire(), 10 * SECOND);
    driver.collect();
    match driver.seen.last() {
        Some(Seen::Lost {
            reason,
            permanent: false,
            was_up: false,
            retry,
        }) => {
            assert!(reason.contains("timed out"), "{reason}");
            assert_eq!(*retry, later(2, 1, 100));
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_address_that_does_not_answer_is_given_the_connect_timeout() {
    // A queue for one, and one in it: the kernel drops whatever else arrives.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listen(&listener, Backlog::new(0).expect("a length")).expect("a shorter queue");
    let address = listener.local_addr().expect("an address");
    let _first = TcpStream::connect(address).expect("room for one");

    let mut settings = Settings::new(urls(&[address]), "test");
    settings.connect_timeout = 3 * SECOND;
    let mut driver = Driver::new(settings);
    driver.link.connect(driver.now);
    assert_eq!(driver.expire(), 3 * SECOND);
    assert_eq!(
        driver.seen.last(),
        Some(&failed("timed out", false, later(2, 1, 100)))
    );
}

/// T11.1: a name lookup keeps nobody from anything else.
#[test]
fn an_unknown_host_fails_in_the_background() {
    let url = "amqp://no-such-host.invalid/".parse().expect("a URL");
    let mut driver = Driver::new(Settings::new(vec![url], "test"));
    driver.link.connect(driver.now);
    driver.run_until_seen(|seen| matches!(seen, Seen::Lost { .. }));
    match driver.seen.last() {
        Some(Seen::Lost {
            reason,
            was_up: false,
            ..
        }) => {
            assert!(!reason.contains("lookup address"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_refused_login_says_so_and_is_retried_slowly() {
    for (method, code) in [("connection.start-ok", 403), ("connection.open", 530)] {
        let mut driver = Driver::with_brokers(1);
        driver.brokers[0].script = Script {
            refuse: Some((method, code)),
            ..Script::default()
        };
        driver.link.connect(driver.now);
        driver.run_until_seen(|seen| matches!(seen, Seen::Lost { .. }));
        let text = format!("(0, 0): ({code}) REFUSED - as the script says");
        assert_eq!(
            driver.seen.last(),
            Some(&failed(&text, true, later(2, 1, 100)))
        );

        driver.brokers[0].script = Script::default();
        driver.expire();
        driver.run_until_seen(|seen| *seen == Seen::Up(2));
    }
}

#[test]
fn a_close_by_the_broker_is_answered_before_the_socket_goes() {
    let mut driver = Driver::with_brokers(1);
    driver.come_up();
    let reply_text = "CONNECTION_FORCED - shutdown".into();
    let close = connection::Close {
        reply_code: 320,
        reply_text,
        class_id: 0,
        method_id: 0,
    };
    driver.brokers[0].send(0, close);
    driver.run_until_seen(|seen| matches!(seen, Seen::Lost { .. }));
    match &driver.seen[..] {
        [
            Seen::Lost {
                reason,
                permanent: false,
                was_up: true,
                retry: Retry::AtOnce,
            },
        ] => {
            assert_eq!(reason, "(0, 0): (320) CONNECTION_FORCED - shutdown");
        }
        other => panic!("{other:?}"),
    }
    driver.run_until(|driver| {
        driver.brokers[0]
            .heard
            .contains(&"connection.close-ok".into())
    });
}

/// T1.3: what arrives late for an old generation.
#[test]
fn messages_of_a_dead_socket_are_not_handed_out() {
    let mut driver = Driver::with_brokers(1);
    driver.come_up();
    open_channel(&mut driver);
    let consume = basic::Consume {
        queue: "celery".into(),
        ..Default::default()
    };
    driver
        .link
        .connection()
        .expect("a connection")
        .call(1, consume)
        .expect("called");
    driver.run_until(|driver| driver.brokers[0].heard.contains(&"basic.consume".into()));
    driver.run_until_seen(|seen| matches!(seen, Seen::Other(_)));
    driver.seen.clear();

    driver.brokers[0].deliver(7, b"body");
    driver.finish_broker(0);
    driver.run_until_seen(|seen| matches!(seen, Seen::Lost { .. }));
    assert_eq!(driver.seen[0], Seen::Discarded(7));
    assert_eq!(driver.seen.len(), 2);
}

/// T1.2, T11.3: in virtual time.
#[test]
fn silence_for_two_heartbeats_is_the_end() {
    let mut driver = Driver::with_brokers(2);
    driver.brokers[0].script.heartbeat = 4;
    driver.come_up();
    let start = driver.now;
    while driver.link.is_up() {
        driver.expire();
    }
    let silence = driver.now - start;
    assert!(
        silence <= 8 * SECOND && silence >= 7 * SECOND,
        "{silence:?}"
    );
    match &driver.seen[..] {
        [
            Seen::Lost {
                reason,
                was_up: true,
                retry: Retry::AtOnce,
                ..
            },
        ] => {
            assert!(reason.starts_with("Too many heartbeats missed"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    driver.expire();
    driver.run_until_seen(|seen| *seen == Seen::Up(2));
}

#[test]
fn output_for_a_slow_reader_waits_without_blocking_or_loss() {
    const SIZE: usize = 24 * 1024 * 1024;
    let mut driver = Driver::with_brokers(1);
    driver.come_up();
    open_channel(&mut driver);
    let connection = driver.link.connection().expect("a connection");
    let body = vec![b'x'; SIZE];
    connection
        .publish(1, "", "celery", false, &Properties::default(), &body)
        .expect("published");

    while driver.link.flush(driver.now) == Turn::Again {}
    let left = driver
        .link
        .connection()
        .expect("a connection")
        .pending_output();
    assert!(left > SIZE / 4, "no kernel buffers all of it: {left}");
    driver.run_until(|driver| driver.brokers[0].body == SIZE);
    assert_eq!(
        driver
            .link
            .connection()
            .expect("a connection")
            .pending_output(),
        0
    );
}

#[test]
fn a_flood_comes_in_turns_and_whole() {
    const SIZE: usize = 3 * 1024 * 1024;
    let mut driver = Driver::with_brokers(1);
    driver.come_up();
    open_channel(&mut driver);
    driver.brokers[0].deliver(1, &vec![b'x'; SIZE]);
    driver.run_until_seen(|seen| *seen == Seen::Message(SIZE));
}

#[test]
fn closes_in_order() {
    let mut driver = Driver::with_brokers(1);
    driver.come_up();
    driver.link.close(driver.now);
    assert_eq!(
        driver
            .link
            .connection()
            .map(|connection| connection.state()),
        Some(State::Closing)
    );
    driver.run_until_seen(|seen| *seen == Seen::Closed);
    assert_eq!(driver.seen, [Seen::Closed]);
    assert!(driver.brokers[0].heard.contains(&"connection.close".into()));
    assert!(driver.link.registration().is_none() && driver.link.deadline().is_none());

    driver.come_up();
    assert_eq!(driver.link.epoch(), 2);
}

#[test]
fn a_broker_that_does_not_answer_a_close_is_given_a_second() {
    let mut driver = Driver::with_brokers(1);
    driver.come_up();
    driver.brokers[0].script.silent = true;
    driver.link.close(driver.now);
    assert_eq!(driver.expire(), SECOND);
    assert_eq!(driver.seen, [Seen::Closed]);
    assert!(driver.link.registration().is_none() && driver.link.deadline().is_none());
}

#[test]
fn closing_what_is_not_open_is_immediate() {
    let mut driver = Driver::with_brokers(1);
    driver.brokers[0].script.silent = true;
    driver.link.connect(driver.now);
    driver.run_until(|driver| driver.link.connection().is_some());
    driver.link.close(driver.now);
    driver.collect();
    assert_eq!(driver.seen.last(), Some(&Seen::Closed));
    assert!(driver.link.registration().is_none() && driver.link.deadline().is_none());
}
