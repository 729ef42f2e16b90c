//! Laws of the publishing connection.

use std::time::Duration;

use super::*;
use crate::amqp::table::TableBuf;
use crate::link;
use crate::message::properties::MessageProperties;
use crate::sys::clock;
use crate::worker::Settings;

fn producer(now: Instant) -> Producer {
    let link = Link::new(link::Settings::new(vec![], "test"), 1, now);
    Producer::new(
        link,
        Dispatcher::new(&Settings::of_tests()),
        Patience::new(None),
    )
}

fn publication() -> Publication {
    Publication {
        exchange: String::new(),
        routing_key: "q".into(),
        mandatory: false,
        properties: MessageProperties::default(),
        headers: TableBuf::new(),
        body: vec![],
        request: None,
    }
}

/// A deadline that has passed and stays would keep the Hub from ever sleeping.
#[test]
fn what_cannot_leave_is_not_waited_for() {
    let now = clock::now();
    let later = now + Duration::from_millis(2);
    let stops: [fn(&mut Producer); 2] = [
        |producer| producer.blocked = true,
        |producer| producer.channel = Channel::None,
    ];
    for stop in stops {
        let mut producer = producer(now);
        producer.channel = Channel::Ready(1);
        producer.publish(publication());
        assert!(producer.gather.is_due(1, 1, now), "something has just left");
        assert_eq!(producer.flush(true, now), Turn::Wait);
        assert!(producer.deadline().is_some(), "a busy worker gathers");
        stop(&mut producer);
        assert_eq!(producer.flush(true, later), Turn::Wait);
        assert_eq!(producer.deadline(), None);
        assert_eq!(producer.backlog(), 1, "it waits for better times");
    }
}

/// T13.1: what waits for the broker is bounded, by number and by size.
#[test]
fn too_many_or_too_large_results_are_too_much() {
    let mut producer = producer(clock::now());
    for _ in 0..CONGESTED {
        assert!(!producer.is_congested());
        producer.publish(publication());
    }
    assert!(producer.is_congested());

    let mut producer = self::producer(clock::now());
    let large = || Publication {
        body: vec![0; CONGESTED_OCTETS / 4],
        ..publication()
    };
    for _ in 0..4 {
        assert!(!producer.is_congested());
        producer.publish(large());
    }
    assert!(producer.is_congested());
    let given_up = producer.outbox.give_up().unwrap();
    producer.settled.push((given_up, Fate::Refused));
    assert!(producer.poll_settled().is_some());
    assert!(!producer.is_congested(), "there is room again");
}
