//! One fault after the other, drawn by chance, under load. Afterwards every task has run once.

use std::time::Duration;

use celeriac::amqp::ReplyCode;
use celeriac::amqp::method::{basic, channel, connection, queue};
use celeriac::broker::faults::{Action, Fault, Trigger};
use celeriac::util::random::Random;

use crate::Cell;
use crate::scene::{PATIENCE, QUEUE, brisk_and_curious};

pub(crate) fn cells(whole: bool, seed: u64) -> Vec<Cell> {
    let (storms, blows) = if whole { (20, 30) } else { (2, 6) };
    let storm = |number: u64| {
        let seed = seed * 1000 + number;
        Cell::new(format!("t7_1_storm_{seed}"), move || storm(seed, blows))
    };
    (0..storms).map(storm).collect()
}

fn storm(seed: u64, blows: u32) {
    let mut random = Random::new(seed);
    let mut scene = brisk_and_curious();
    let mut names = Vec::new();
    for _ in 0..blows {
        for _ in 0..random.below(6) {
            let task = ["f.early", "f.late"][random.below(2) as usize];
            names.push(scene.send(task, random.below(400)));
        }
        scene.brokers[0].with(blow(&mut random));
        // Long enough for some to run, and some not.
        std::thread::sleep(Duration::from_millis(random.below(900)));
        scene.brokers[0].with(|broker, _| broker.faults().clear());
    }
    for name in &names {
        scene.wait_end(name, 2 * PATIENCE);
    }
    scene.wait_settled();
    scene.ran_once(&names);
    scene.serves(PATIENCE);
    scene.stop();
}

/// What happens to the broker now.
fn blow(
    random: &mut Random,
) -> impl FnOnce(&mut celeriac::broker::Broker, &mut celeriac::hub::Hub<celeriac::broker::Broker>)
+ Send
+ use<> {
    let kind = random.below(6);
    let moments = [
        connection::Open::ID,
        channel::Open::ID,
        queue::Declare::ID,
        basic::Consume::ID,
        basic::Ack::ID,
    ];
    let moment = moments[random.below(5) as usize];
    let actions = [
        Action::Drop,
        Action::CutFrame,
        Action::CloseConnection(ReplyCode::InternalError),
        Action::Stall(Duration::from_millis(200)),
    ];
    let action = actions[random.below(4) as usize].clone();
    move |broker, hub| match kind {
        0 => broker.drop_connections(),
        1 => broker.close_connections(hub, "on purpose"),
        2 => broker.stall(hub, Duration::from_millis(700)),
        3 => drop(broker.cancel_consumers(hub, "/", QUEUE)),
        4 => drop(broker.forget_consumers(hub, "/", QUEUE)),
        _ => {
            broker
                .faults()
                .add(Fault::once(Trigger::Method(moment), action));
            broker.drop_connections();
        }
    }
}
