//! What more than there is room for does to clients: those who cause it wait or are refused, others notice nothing.

use celeriac::amqp::Properties;
use celeriac::amqp::table::{TableBuf, Value};
use celeriac::broker::Settings;
use celeriac::broker::harness::TestBroker;

use crate::client::{Client, Said};
use crate::{start, table};

#[test]
fn a_full_queue_may_refuse_its_publishers() {
    let broker = start();
    let mut client = Client::connect(broker.address());
    let arguments = [
        ("x-max-length", Value::I32(2)),
        ("x-overflow", Value::LongStr(b"reject-publish")),
    ];
    client.declare_with("q", &table(&arguments));
    client.confirms();
    for body in ["0", "1", "2"] {
        client.publish("q", body);
    }
    let mut told = [None; 4];
    while told[1..].contains(&None) {
        let Said::Confirm {
            number,
            multiple,
            acked,
        } = client.next()
        else {
            panic!("a confirm")
        };
        for (at, told) in told.iter_mut().enumerate().skip(1) {
            if at as u64 == number || multiple && (at as u64) < number && told.is_none() {
                *told = Some(acked);
            }
        }
    }
    assert_eq!(told[1..], [Some(true), Some(true), Some(false)]);
    assert_eq!(client.count("q").0, 2);
}

#[test]
fn publishers_wait_while_there_is_no_memory_and_consumers_do_not() {
    let settings = Settings {
        memory_limit: 100_000,
        ..Settings::default()
    };
    let broker = TestBroker::start(settings).expect("a broker");
    let mut publisher = Client::connect(broker.address());
    let mut consumer = Client::connect(broker.address());
    publisher.declare("q");
    for _ in 0..20 {
        publisher.publish("q", &"x".repeat(10_000));
    }
    assert_eq!(publisher.next(), Said::Blocked);
    assert!(consumer.count("q").0 < 20);
    let mut taken = 0;
    while taken < 20 {
        match consumer.get("q") {
            Some(got) => {
                consumer.ack(&got);
                taken += 1;
            }
            None => assert!(taken > 0),
        }
    }
    assert_eq!(publisher.next(), Said::Unblocked);
}

/// A consumer that does not read costs the broker a bounded amount of memory, and others nothing.
#[test]
fn a_slow_consumer_hurts_nobody() {
    let broker = start();
    let mut slow = Client::connect(broker.address());
    let mut quick = Client::connect(broker.address());
    slow.declare("q");
    slow.consume_with("q", "slow", true, &TableBuf::new());
    let body = "x".repeat(100_000);
    quick.confirms();
    let count = 400;
    for _ in 0..count {
        quick.publish("q", &body);
        assert!(matches!(quick.next(), Said::Confirm { acked: true, .. }));
    }
    let waiting = broker.with(|broker, _| broker.queues()[0].ready);
    assert!(waiting > count / 2, "{waiting} are kept back");
    assert_eq!(slow.bodies().len(), count, "and come when they are read");
}

#[test]
fn a_flood_does_not_starve_others() {
    let broker = start();
    let mut flood = Client::connect(broker.address());
    let mut other = Client::connect(broker.address());
    flood.declare("flood");
    other.declare("q");
    for _ in 0..20 {
        for _ in 0..500 {
            flood
                .connection
                .publish(1, "", "flood", false, &Properties::default(), &[0; 200])
                .expect("publishable");
        }
        flood.send();
        other.publish("q", "x");
        assert_eq!(other.get("q").expect("at once").body, "x");
    }
    assert_eq!(flood.count("flood").0, 10_000);
}
