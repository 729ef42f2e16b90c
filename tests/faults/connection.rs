//! Stories of connections: silent brokers, silent subscriptions, failover, refused logins, a blocked publisher.

use std::thread;
use std::time::{Duration, Instant, SystemTime};

use celeriac::amqp::method::{basic, connection, queue};
use celeriac::amqp::table::TableBuf;
use celeriac::amqp::{Properties, ReplyCode};
use celeriac::broker::faults::{Action, Fault, Trigger};
use celeriac::broker::harness::TestBroker;
use celeriac::broker::{Rules, Settings};
use celeriac::client::Control;
use celeriac::sys::signal::{self, Signal};

use crate::Cell;
use crate::client::Client;
use crate::scene::{PATIENCE, QUEUE, Scene, Set, brisk, scene, until};

const SECOND: Duration = Duration::from_secs(1);

/// As long as no test waits.
const FOR_EVER: Duration = Duration::from_secs(3600);

/// What takes two heartbeats, to the millisecond in virtual time (`tests/link.rs`), on a machine that is busy.
const BUSY: Duration = Duration::from_secs(4);

const LOST: &str = "Connection to broker lost";

pub(crate) fn cells() -> Vec<Cell> {
    vec![
        Cell::new("t1_2_a_black_hole_is_left_for_the_next_address", black_hole),
        Cell::new("t1_3_two_losses_during_the_start", two_losses),
        Cell::new("t1_4_a_cancelled_consumer_comes_back", cancelled),
        Cell::new("t1_5_a_silent_subscription_is_noticed", silent),
        Cell::new("t1_1_octets_come_one_by_one", one_by_one),
        Cell::new("t1_1_the_socket_goes_in_the_middle_of_a_body", mid_body),
        Cell::new("t10_1_rabbitmq_4_3_refuses_nothing_that_we_do", rules),
        Cell::new("t10_2_a_window_grows_where_it_is_each_consumers_own", grows),
        Cell::new(
            "t11_3_a_stopped_broker_is_noticed_and_nothing_runs_twice",
            stopped,
        ),
        Cell::new("t11_4_heartbeats_go_on_while_the_worker_leaves", leaving),
        Cell::new("t11_4_heartbeats_go_on_until_it_begins_anew", anew),
        Cell::new("t21_a_blocked_publisher_stops_no_task", blocked),
        Cell::new(
            "t21_what_comes_due_while_nothing_can_be_published_waits_its_turn",
            due_while_blocked,
        ),
        Cell::new("t22_three_brokers_restart_in_turn", rolling),
        Cell::new("t22_home_is_the_first_broker", home),
        Cell::new("t23_a_refused_login_ends_a_worker_that_starts", refused),
        Cell::new(
            "t23_a_worker_may_be_told_to_end_without_a_broker",
            told_to_end,
        ),
    ]
}

fn black_hole() {
    let mut scene = brisk(2).ready();
    scene.send("f.late", 0);
    scene.wait_settled();
    let since = Instant::now();
    scene.brokers[0].with(|broker, hub| broker.stall(hub, FOR_EVER));
    scene.wait_log(LOST, 1);
    let took = since.elapsed();
    assert!(took < BUSY, "two heartbeats, not {took:?}");
    let name = scene.send_to(1, "f.late", 0, &Properties::default());
    scene.wait_end(&name, PATIENCE);
    scene.stop();
}

fn two_losses() {
    let scene = Set::new(&Settings::default(), 1).start();
    let fault = Fault {
        times: 2,
        ..Fault::once(Trigger::Method(basic::Qos::ID), Action::Drop)
    };
    scene.brokers[0].with(move |broker, _| broker.faults().add(fault));
    scene.wait_log(LOST, 2);
    scene.wait_log("ready.", 1);
    let mut scene = scene;
    scene.serves(BUSY);
    assert_eq!(scene.count("connections_lost"), 2.0);
    assert_eq!(scene.overview().unwrap().consumers, 1);
    scene.stop();
}

fn cancelled() {
    let mut scene = scene(&[]);
    scene.serves(PATIENCE);
    let since = Instant::now();
    assert!(scene.brokers[0].with(|broker, hub| broker.cancel_consumers(hub, "/", QUEUE)));
    scene.serves(PATIENCE);
    assert!(since.elapsed() < 5 * SECOND);
    assert_eq!(scene.logged("the broker cancelled"), 1);
    assert_eq!(scene.count("consumer_cancelled_total"), 1.0);
    assert_eq!(scene.logged(LOST), 0);
    scene.stop();
}

fn silent() {
    let mut scene = scene(&["--ask-after-silence", "1"]);
    scene.serves(PATIENCE);
    assert!(scene.brokers[0].with(|broker, hub| broker.forget_consumers(hub, "/", QUEUE)));
    scene.serves(PATIENCE);
    assert_eq!(scene.logged("subscribing again"), 1);
    assert_eq!(scene.count("silences_broken"), 1.0);
    scene.stop();
}

fn one_by_one() {
    let set = Set::new(&Settings::default(), 1);
    set.brokers[0].with(|broker, _| broker.faults().write_at_most = Some(1));
    let mut scene = set.ready();
    scene.serves(PATIENCE);
    scene.stop();
}

/// A message of eight megabytes comes a little at a time, and its connection goes again and again before its end.
fn mid_body() {
    let mut scene = scene(&[]);
    scene.serves(PATIENCE);
    scene.brokers[0].with(|broker, _| broker.faults().write_at_most = Some(4096));
    let address = scene.brokers[0].address();
    let mut headers = TableBuf::new();
    headers.insert("task", "f.late").unwrap();
    headers.insert("id", "large").unwrap();
    let properties = Properties {
        content_type: Some("application/json".into()),
        content_encoding: Some("utf-8".into()),
        headers: Some(headers.as_table()),
        ..Properties::default()
    };
    let ballast = "x".repeat(8 << 20);
    let body = format!(r#"[["large", 0], {{}}, {{"ballast": "{ballast}"}}]"#);
    scene
        .client_of(address)
        .publish_with(QUEUE, &properties, &body);
    for losses in 1..=3 {
        until("it is under way", PATIENCE, || {
            scene.overview().unwrap().unacknowledged == 1
        });
        scene.drop_connections();
        scene.wait_log(LOST, losses);
    }
    scene.brokers[0].with(|broker, _| broker.faults().write_at_most = None);
    scene.wait_end("large", PATIENCE);
    scene.wait_settled();
    scene.ran_once(&["large".to_owned()]);
    scene.stop();
}

/// T10.3: the queues of our own are exclusive, or the broker would refuse them; Celery's clients find them by name.
fn rules() {
    let settings = Settings {
        rules: Rules::RabbitMq43,
        ..Settings::default()
    };
    let options = &["--autoscale", "2,1", "--prefetch-multiplier", "1"];
    let set = Set::new(&settings, 1);
    let mut scene = Set { options, ..set }.ready();
    scene.serves(PATIENCE);
    let eta = scene.send_later("f.late", SystemTime::now() + SECOND);
    let busy = [scene.send("f.late", 2000), scene.send("f.late", 0)];
    scene.wait_begin(&busy[1]);
    assert_eq!(scene.noted("end", &busy[0]), 0, "there are two children");
    scene.wait_end(&eta, PATIENCE);
    let url = scene.brokers[0].url();
    let mut control = Control::connect(&url)
        .expect("a connection")
        .limit(1)
        .timeout(PATIENCE);
    assert_eq!(control.inspect().ping().expect("an answer").len(), 1);
    let queues = scene.brokers[0].with(|broker, _| broker.queues());
    let mailbox = "w@test.celery.pidbox";
    assert!(
        queues.iter().any(|queue| queue.name == mailbox),
        "{queues:?}"
    );
    scene.drop_connections();
    scene.serves(PATIENCE);
    for code in ["(540)", "(541)", "(406)"] {
        assert_eq!(scene.logged(code), 0, "{code}");
    }
    scene.stop();
}

/// One child and one message at a time; then three children have to get three more.
fn grows() {
    let settings = Settings {
        rules: Rules::RabbitMq43,
        ..Settings::default()
    };
    let options = &["-c", "1", "--prefetch-multiplier", "1"];
    let set = Set::new(&settings, 1);
    let mut scene = Set { options, ..set }.ready();
    let names: Vec<String> = (0..4).map(|_| scene.send("f.late", 3000)).collect();
    scene.wait_begin(&names[0]);
    let url = scene.brokers[0].url();
    let mut control = Control::connect(&url)
        .expect("a connection")
        .limit(1)
        .timeout(PATIENCE);
    let grow = serde_json::json!({"n": 3});
    control.call("pool_grow", &grow).expect("an answer");
    for name in &names {
        scene.wait_begin(name);
    }
    assert_eq!(scene.noted("end", &names[0]), 0, "all four at once");
    scene.wait_settled();
    scene.ran_once(&names);
    assert_eq!(scene.overview().unwrap().consumers, 1, "the fresh one only");
    scene.stop();
}

fn stopped() {
    let mut scene = brisk(1).ready();
    let running = scene.send("f.late", 3000);
    scene.wait_begin(&running);
    let since = Instant::now();
    scene.brokers[0].with(|broker, hub| broker.stall(hub, 5 * SECOND));
    scene.wait_log("Connected to", 2);
    let took = since.elapsed();
    assert!(took < BUSY, "2.5 heartbeats, not {took:?}");
    scene.wait_end(&running, PATIENCE);
    scene.wait_settled();
    scene.serves(PATIENCE);
    scene.ran_once(&[running]);
    scene.stop();
}

fn leaving() {
    let mut scene = brisk(1).ready();
    let running = scene.send("f.late", 4000);
    scene.wait_begin(&running);
    signal::kill(scene.pid(), Signal::SIGTERM).expect("it lives");
    assert_eq!(scene.wait_exit(PATIENCE), Some(0));
    assert_eq!(scene.logged(LOST), 0, "four heartbeats, all kept");
    scene.wait_settled();
    scene.ran_once(&[running]);
    scene.check();
}

/// HUP: the program is executed anew once the tasks that run have ended.
fn anew() {
    let mut scene = brisk(1).ready();
    let running = scene.send("f.late", 4000);
    scene.wait_begin(&running);
    signal::kill(scene.pid(), Signal::SIGHUP).expect("it lives");
    scene.wait_log("ready.", 2);
    assert_eq!(scene.logged(LOST), 0, "four heartbeats, all kept");
    scene.serves(PATIENCE);
    scene.wait_settled();
    scene.ran_once(&[running]);
    scene.stop();
}

/// The broker is out of memory: it reads nothing from whoever publishes. Tasks come and are acknowledged, what they have
/// to say waits; and who is told to leave leaves.
fn blocked() {
    let settings = Settings {
        memory_limit: 1 << 20,
        heartbeat: 1,
        ..Settings::default()
    };
    let mut scene = Set::new(&settings, 1).ready();
    let address = scene.brokers[0].address();
    scene.client_of(address).declare("replies");
    let asked = Properties {
        reply_to: Some("replies".into()),
        ..Properties::default()
    };
    let mut early = Vec::new();
    for _ in 0..8 {
        early.push(scene.send_to(0, "f.early", 1000, &asked));
    }
    scene.wait_begin(&early[0]);
    let full = "x".repeat(2 << 20);
    scene.client_of(address).declare("full");
    scene.client_of(address).publish("full", &full);
    scene.wait_log("the broker takes no publications", 1);
    for name in &early {
        scene.wait_end(name, PATIENCE);
    }
    scene.wait_settled();
    for lost in [LOST, "producer: Connection to"] {
        assert_eq!(scene.logged(lost), 0, "heartbeats go on");
    }
    scene.ran_once(&early);
    let since = Instant::now();
    scene.stop();
    let took = since.elapsed();
    // Two seconds, and one for a busy machine.
    assert!(took < 3 * SECOND, "{took:?}");
}

/// Results wait for the broker, as many as main keeps; by then no task is begun, and none of those that come due is lost.
fn due_while_blocked() {
    let settings = Settings {
        memory_limit: 1 << 20,
        ..Settings::default()
    };
    let mut scene = Set::new(&settings, 1).ready();
    let address = scene.brokers[0].address();
    scene.client_of(address).declare("full");
    let first: Vec<String> = (0..2).map(|_| scene.send("f.early", 2000)).collect();
    scene.wait_begin(&first[1]);
    let asked = Properties {
        reply_to: Some("nobody".into()),
        ..Properties::default()
    };
    for _ in 0..10 {
        scene.send_to(0, "f.large", 8 << 20, &asked);
    }
    let full = "x".repeat(2 << 20);
    scene.client_of(address).publish("full", &full);
    let said = |scene: &Scene, wanted: &dyn Fn(&str) -> bool| {
        until("it says so", PATIENCE, || {
            signal::kill(scene.pid(), Signal::SIGUSR1).expect("it lives");
            thread::sleep(SECOND / 20);
            let log = scene.log();
            let dump = log.rsplit_once("w@test: pid").unwrap_or_default().1;
            dump.matches(" is idle").count() == 2 && wanted(dump)
        });
    };
    // The broker may take a message of each connection before it stops to read.
    said(&scene, &|dump| {
        let enough = ["; 9 ", "; 10 "];
        enough
            .iter()
            .any(|count| dump.contains(&format!("{count}messages are not confirmed")))
    });
    let later = SystemTime::now() + SECOND;
    let mut due = Vec::new();
    for _ in 0..3 {
        scene.reconnect();
        due.push(scene.send_later("f.early", later));
    }
    said(&scene, &|dump| {
        let waits = |name: &String| dump.contains(&format!("f.early[{name}] Waiting"));
        due.iter().all(waits)
    });
    assert_eq!(scene.noted("begin", &due[0]), 0);
    let purge = queue::Purge {
        queue: "full".into(),
        nowait: false,
    };
    Client::connect(address).call(purge);
    for name in &due {
        scene.wait_end(name, PATIENCE);
    }
    scene.wait_settled();
    scene.ran_once(&due);
    scene.ran_once(&first);
    scene.stop();
}

fn rolling() {
    let mut scene = Set::new(&Settings::default(), 3).ready();
    for round in 0..3 {
        let address = scene.brokers[round].address();
        let losses = scene.logged(LOST);
        let since = Instant::now();
        scene
            .brokers
            .push(TestBroker::start(Settings::default()).expect("a broker"));
        drop(scene.brokers.swap_remove(round));
        scene.wait_log("Connected to", round + 2);
        assert!(since.elapsed() < BUSY, "{:?}", since.elapsed());
        assert_eq!(scene.logged(LOST), losses + 1, "a line");
        let again = TestBroker::start_at(Settings::default(), address).expect("the same address");
        scene.brokers[round] = again;
        let next = (round + 1) % 3;
        let name = scene.send_to(next, "f.late", 0, &Properties::default());
        scene.wait_end(&name, PATIENCE);
    }
    assert_eq!(scene.logged("Cannot connect"), 0);
    scene.stop();
}

fn home() {
    let options = &["--failover", "priority"];
    let set = brisk(2);
    set.brokers[0].with(|broker, _| {
        let refuse = Action::CloseConnection(ReplyCode::InternalError);
        let fault = Fault::once(Trigger::Method(connection::Open::ID), refuse);
        broker.faults().add(Fault { times: 2, ..fault });
    });
    let mut scene = Set { options, ..set }.ready();
    let name = scene.send_to(1, "f.late", 0, &Properties::default());
    scene.wait_end(&name, PATIENCE);
    scene.brokers[1].with(|broker, hub| broker.close_connections(hub, "go home"));
    scene.serves(PATIENCE);
    scene.stop();
}

fn refused() {
    for code in [ReplyCode::AccessRefused, ReplyCode::NotAllowed] {
        let set = brisk(1);
        let fault = Fault::always(
            Trigger::Method(connection::Open::ID),
            Action::CloseConnection(code),
        );
        set.brokers[0].with(move |broker, _| broker.faults().add(fault));
        let mut scene = set.start();
        assert_eq!(scene.wait_exit(PATIENCE), Some(1));
        assert_eq!(scene.logged("Unrecoverable error"), 1);
    }
}

fn told_to_end() {
    let mut scene = scene(&["--exit-on-broker-loss", "1"]);
    scene.drop_connections();
    scene.serves(PATIENCE);
    thread::sleep(SECOND); // a loss that was made good does not count
    assert_eq!(scene.status(), None);
    scene.brokers.clear();
    let since = Instant::now();
    assert_eq!(scene.wait_exit(PATIENCE), Some(1));
    let took = since.elapsed();
    assert!(took < 6 * SECOND, "{took:?}");
    until("a reason", SECOND, || {
        scene.logged("there was no broker for 1 s") == 1
    });
}
