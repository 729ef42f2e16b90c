//! Stories of messages whose channel is lost while their tasks run.

use std::time::Duration;

use celeriac::amqp::method::basic;
use celeriac::amqp::{Properties, ReplyCode};
use celeriac::broker::faults::{Action, Trigger};

use crate::Cell;
use crate::scene::{PATIENCE, scene, until};

pub(crate) fn cells() -> Vec<Cell> {
    vec![
        Cell::new(
            "t2_3_a_406_closes_one_channel_and_nothing_runs_twice",
            timed_out,
        ),
        Cell::new("t2_5_an_overdue_task_is_no_business_of_other_queues", apart),
        Cell::new("t2_4_tasks_that_may_be_overdue_are_named", warned),
        Cell::new("t2_2_what_waits_is_handed_back_in_time", overdue),
        Cell::new("t7_1_a_hundred_late_tasks_and_lost_connections", hundred),
        Cell::new("t7_1_an_acknowledgement_is_lost", lost_ack),
        Cell::new(
            "t10_4_a_result_is_published_until_it_is_confirmed",
            unconfirmed,
        ),
        Cell::new("t7_2_late_tasks_may_be_cancelled", cancelled),
    ]
}

/// As above, where long tasks have a channel of their own: the first acknowledgement is theirs.
fn apart() {
    let options = [
        "-Q",
        "celery,long",
        "--long-tasks",
        "long",
        "--prefetch-multiplier",
        "1",
    ];
    let mut scene = scene(&options);
    let action = Action::CloseChannel(ReplyCode::PreconditionFailed);
    scene.fault(Trigger::Method(basic::Ack::ID), action);
    let running = scene.send("f.late", 3000);
    scene.wait_begin(&running);
    let long = scene.send_on("long", "f.late", 1000);
    scene.wait_begin(&long);
    let others = [running, scene.send("f.late", 0), scene.send("f.late", 0)];
    scene.wait_faults();
    for name in others.iter().chain([&long]) {
        scene.wait_end(name, PATIENCE);
    }
    scene.wait_settled();
    scene.ran_once(&others);
    until("what was overdue is delivered again", PATIENCE, || {
        scene.logged(&format!("[{long}] was delivered again")) == 1
    });
    scene.ran_once(&[long]);
    let received = |name: &str| scene.logged(&format!("[{name}] received"));
    let again = |name: &str| scene.logged(&format!("[{name}] was delivered again"));
    for name in &others {
        assert_eq!((received(name), again(name)), (1, 0), "it came once");
    }
    assert_eq!(scene.count("channels_closed"), 1.0);
    scene.stop();
}

/// RabbitMQ closes the channel when an acknowledgement has not come in time: here at the first one that comes.
fn timed_out() {
    let mut scene = scene(&["-c", "2"]);
    let names: Vec<String> = [500, 2000, 100, 100]
        .into_iter()
        .map(|milliseconds| scene.send("f.late", milliseconds))
        .collect();
    scene.wait_begin(&names[1]);
    let action = Action::CloseChannel(ReplyCode::PreconditionFailed);
    scene.fault(Trigger::Method(basic::Ack::ID), action);
    scene.wait_faults();
    scene.wait_settled();
    for name in &names {
        scene.wait_end(name, PATIENCE);
    }
    scene.ran_once(&names);
    let log = scene.log();
    let mut lines = log
        .lines()
        .filter(|line| line.contains("Not acknowledged by then"));
    let line = lines.next().expect("the reason, and whom it concerns");
    assert!(line.contains("(406)") && line.contains(&names[1]), "{line}");
    assert_eq!(lines.next(), None, "once");
    assert_eq!(scene.logged("Connection to broker lost"), 0);
    assert_eq!(
        scene.count("channels_closed"),
        1.0,
        "remote control was not reopened"
    );
    scene.stop();
}

fn warned() {
    let mut with = scene(&["--consumer-timeout", "60"]);
    assert_eq!(
        with.logged("2 tasks are acknowledged late and may run longer"),
        1
    );
    with.stop();
    let without = scene(&["--consumer-timeout", "60", "--time-limit", "30"]);
    assert_eq!(
        without.logged("are acknowledged late and may run longer"),
        0
    );
}

/// The broker waits five seconds; one child is busy for eight.
fn overdue() {
    let mut scene = scene(&["-c", "1", "--consumer-timeout", "5"]);
    let long = scene.send("f.early", 6000);
    scene.wait_begin(&long);
    let waits = scene.send("f.late", 0);
    scene.wait_log("handed back before the broker closes the channel", 1);
    assert_eq!(scene.noted("end", &long), 0, "in time");
    scene.wait_end(&waits, PATIENCE);
    scene.wait_settled();
    scene.ran_once(&[long, waits]);
    scene.stop();
}

fn hundred() {
    let mut scene = scene(&["-c", "4"]);
    let names: Vec<String> = (0..100).map(|_| scene.send("f.late", 60)).collect();
    let retried: Vec<String> = (0..5).map(|_| scene.send("f.retry", 20)).collect();
    for number in [10, 30, 50, 70] {
        scene.wait_begin(&names[number]);
        scene.drop_connections();
    }
    for name in &names {
        scene.wait_end(name, Duration::from_secs(30));
    }
    for name in retried {
        for run in 0..2 {
            scene.wait_end(&format!("{name}.{run}"), PATIENCE);
        }
    }
    scene.wait_settled();
    scene.ran_once(&names);
    assert_eq!(scene.logged("unknown delivery tag"), 0);
    let stall = scene.count("loop_stall_seconds_max");
    assert!(
        stall < 1.0,
        "T11.1: {stall} s; 0.05 on a machine that has nothing else to do"
    );
    scene.stop();
}

/// The task has ended and said so; the broker was gone before it heard.
fn lost_ack() {
    for task in ["f.early", "f.late"] {
        let mut scene = scene(&[]);
        scene.fault(Trigger::Method(basic::Ack::ID), Action::Drop);
        let name = scene.send(task, 0);
        scene.wait_faults();
        scene.wait_log("delivered again", 1);
        scene.wait_settled();
        scene.ran_once(&[name]);
        scene.stop();
    }
}

/// The broker is gone with the result.
fn unconfirmed() {
    let mut scene = scene(&[]);
    let address = scene.brokers[0].address();
    scene.client_of(address).declare("replies");
    let asked = Properties {
        reply_to: Some("replies".into()),
        ..Properties::default()
    };
    let name = scene.send_to(0, "f.late", 500, &asked);
    scene.wait_begin(&name);
    scene.fault(Trigger::Method(basic::Publish::ID), Action::Drop);
    scene.wait_faults();
    scene.wait_settled();
    scene.ran_once(&[name]);
    let client = scene.client_of(address);
    let (messages, _) = client.count("replies");
    assert_eq!(messages, 1, "once confirmed it is not sent again");
    scene.stop();
}

fn cancelled() {
    let mut scene = scene(&["--on-connection-loss", "cancel"]);
    let late = scene.send("f.late", 4000);
    let early = scene.send("f.early", 4000);
    scene.wait_begin(&late);
    scene.wait_begin(&early);
    scene.drop_connections();
    scene.wait_log("is cancelled: the connection was lost", 1);
    scene.wait_end(&late, PATIENCE);
    assert_eq!(scene.noted("begin", &late), 2, "it was begun anew");
    scene.wait_end(&early, PATIENCE);
    scene.ran_once(&[early]);
    scene.wait_settled();
    let log = scene.log();
    assert!(!log.contains("panicked"), "{log}");
}
