//! What a broker does to its clients when it is told to.

use std::time::Duration;

use celeriac::amqp::connection::Options;
use celeriac::amqp::method::{basic, queue};
use celeriac::amqp::{Event, ReplyCode};
use celeriac::broker::Settings;
use celeriac::broker::faults::{Action, Fault, Trigger};
use celeriac::broker::harness::TestBroker;

use crate::client::{Client, Said, options};

fn broker_with(trigger: Trigger, action: Action) -> TestBroker {
    let broker = TestBroker::start(Settings::default()).expect("a broker");
    let fault = Fault::once(trigger, action);
    broker.with(move |broker, _| broker.faults().add(fault));
    broker
}

fn on_declare(action: Action) -> (TestBroker, Client) {
    let broker = broker_with(Trigger::Method(queue::Declare::ID), action);
    let mut client = Client::connect(broker.address());
    client.start(1, declare());
    (broker, client)
}

fn declare<'a>() -> queue::Declare<'a> {
    queue::Declare {
        queue: "q".into(),
        ..Default::default()
    }
}

#[test]
fn a_connection_is_closed_with_any_code() {
    let (_broker, mut client) = on_declare(Action::CloseConnection(ReplyCode::ResourceError));
    assert_eq!(
        client.next(),
        Said::Closed("closed by the server: 506 RESOURCE_ERROR - on purpose".into())
    );
}

#[test]
fn a_channel_is_closed_with_any_code_and_the_next_time_is_fine() {
    let (_broker, mut client) = on_declare(Action::CloseChannel(ReplyCode::ResourceLocked));
    let text = "RESOURCE_LOCKED - on purpose";
    assert_eq!(client.next(), Said::ChannelClosed(405, text.into()));
    assert_eq!(client.open_channel(), 1);
    assert_eq!(client.call(declare()), Said::Declared("q".into(), 0, 0));
}

#[test]
fn a_socket_is_dropped_without_a_word() {
    let (_broker, mut client) = on_declare(Action::Drop);
    assert!(client.is_closed().expect("an end").starts_with("dropped"));
}

#[test]
fn an_answer_ends_in_the_middle_of_a_frame() {
    let (_broker, mut client) = on_declare(Action::CutFrame);
    assert!(client.is_closed().expect("an end").starts_with("dropped"));
}

#[test]
fn a_method_is_ignored() {
    let (_broker, mut client) = on_declare(Action::Ignore);
    assert!(client.all().is_empty());
    client.publish("q", "the connection lives");
    assert!(client.all().is_empty());
}

#[test]
fn a_black_hole_takes_everything() {
    let (_broker, mut client) = on_declare(Action::Blackhole);
    for _ in 0..100 {
        client.start(1, declare());
    }
    assert!(client.all().is_empty());
}

#[test]
fn a_stall_ends() {
    let pause = Duration::from_millis(200);
    let (_broker, mut client) = on_declare(Action::Stall(pause));
    let (time, said) = client.time_until_next();
    assert_eq!(said, Said::Declared("q".into(), 0, 0));
    assert!(time > pause / 2, "{time:?}");
}

#[test]
fn one_octet_at_a_time_is_enough() {
    let broker = TestBroker::start(Settings::default()).expect("a broker");
    broker.with(|broker, _| broker.faults().write_at_most = Some(1));
    let mut client = Client::connect(broker.address());
    client.declare("q");
    client.publish("q", "drop by drop");
    assert_eq!(client.get("q").expect("a message").body, "drop by drop");
}

#[test]
fn heartbeats_may_be_missing() {
    let broker = TestBroker::start(Settings::default()).expect("a broker");
    broker.with(|broker, _| broker.faults().no_heartbeats = true);
    let with_heartbeat = Options {
        heartbeat: 1,
        ..options()
    };
    let mut client = Client::reach(broker.address(), with_heartbeat);
    client.wait(|event| matches!(event, Event::Open { .. }).then_some(()));
    let end = client.is_closed().expect("an end");
    assert!(end.starts_with("heartbeats missed"), "{end}");
}

#[test]
fn global_limits_may_be_refused() {
    let action = Action::CloseConnection(ReplyCode::NotImplemented);
    let broker = broker_with(Trigger::GlobalQos, action);
    let mut client = Client::connect(broker.address());
    client.prefetch(1, false);
    client.start(
        1,
        basic::Qos {
            prefetch_count: 1,
            global: true,
            prefetch_size: 0,
        },
    );
    assert!(client.is_closed().expect("an end").contains("540"));
}

#[test]
fn an_operator_cancels_redelivers_and_closes() {
    let broker = TestBroker::start(Settings::default()).expect("a broker");
    let mut client = Client::connect(broker.address());
    client.declare("q");
    client.consume("q", "c");
    client.publish("q", "again");
    assert!(!client.message().redelivered);
    assert_eq!(broker.with(|broker, _| broker.redeliver("/")), 1);
    assert!(client.message().redelivered);
    assert!(broker.with(|broker, hub| broker.cancel_consumers(hub, "/", "q")));
    assert_eq!(client.next(), Said::Cancelled("c".into()));
    broker.with(|broker, hub| broker.close_connections(hub, "so long"));
    let text = "closed by the server: 320 CONNECTION_FORCED - so long";
    assert_eq!(client.next(), Said::Closed(text.into()));
}

#[test]
fn a_broker_comes_back_where_it_was() {
    let broker = TestBroker::start(Settings::default()).expect("a broker");
    let address = broker.address();
    let mut client = Client::connect(address);
    client.declare("q");
    drop(broker);
    assert!(client.is_closed().is_some());
    let broker = TestBroker::start_at(Settings::default(), address).expect("the same address");
    let mut client = Client::connect(broker.address());
    let get = basic::Get {
        queue: "q".into(),
        no_ack: true,
    };
    let said = client.call(get);
    assert!(
        matches!(said, Said::ChannelClosed(404, _)),
        "it was in memory: {said:?}"
    );
}
