//! Every fault at every moment of a reconnect: afterwards the worker serves, without anybody's help.

use std::time::Duration;

use celeriac::amqp::ReplyCode;
use celeriac::amqp::method::{MethodId, basic, channel, confirm, connection, exchange, queue};
use celeriac::broker::faults::{Action, Trigger};
use celeriac::util::random::Random;

use crate::Cell;
use crate::scene::brisk_and_curious;

/// The methods of a reconnect, in the order in which they come.
const LOGIN: [MethodId; 3] = [
    connection::StartOk::ID,
    connection::TuneOk::ID,
    connection::Open::ID,
];
const CHANNELS: [MethodId; 7] = [
    channel::Open::ID,
    basic::Qos::ID,
    exchange::Declare::ID,
    queue::Declare::ID,
    queue::Bind::ID,
    basic::Consume::ID,
    confirm::Select::ID,
];

/// Codes that have their remedy on a channel, and two that wait for somebody to change something.
const CHANNEL_CODES: [ReplyCode; 4] = [
    ReplyCode::NotFound,
    ReplyCode::PreconditionFailed,
    ReplyCode::InternalError,
    ReplyCode::ContentTooLarge,
];
const SLOW_CHANNEL_CODES: [ReplyCode; 2] = [ReplyCode::AccessRefused, ReplyCode::ResourceLocked];

/// The codes with which a broker ends a connection.
const CONNECTION_CODES: [ReplyCode; 12] = [
    ReplyCode::ConnectionForced,
    ReplyCode::InvalidPath,
    ReplyCode::AccessRefused,
    ReplyCode::FrameError,
    ReplyCode::SyntaxError,
    ReplyCode::CommandInvalid,
    ReplyCode::ChannelError,
    ReplyCode::UnexpectedFrame,
    ReplyCode::ResourceError,
    ReplyCode::NotAllowed,
    ReplyCode::NotImplemented,
    ReplyCode::InternalError,
];

/// One worker goes through these moments, and suffers the fault of each.
fn series(steps: Vec<(MethodId, Action)>, patience: Duration) -> impl Fn() {
    move || {
        let mut scene = brisk_and_curious();
        for (moment, action) in &steps {
            scene.fault(Trigger::Method(*moment), action.clone());
            scene.drop_connections();
            scene.wait_faults();
            scene.serves(patience);
        }
        scene.wait_settled();
        scene.stop();
    }
}

/// The same fault at each of these moments.
fn each(moments: &[MethodId], action: &Action) -> Vec<(MethodId, Action)> {
    let step = |moment: &MethodId| (*moment, action.clone());
    moments.iter().map(step).collect()
}

pub(crate) fn cells(whole: bool, seed: u64) -> Vec<Cell> {
    let mut random = Random::new(seed);
    let mut any = |moments: &[MethodId]| moments[random.below(moments.len() as u64) as usize];
    let quick = Duration::from_secs(5);
    let all = [&LOGIN[..], &CHANNELS].concat();
    let forced = Action::CloseConnection(ReplyCode::ConnectionForced);
    let mut cells = vec![
        Cell::new(
            "t1_1_the_socket_goes_at_every_moment",
            series(each(&all, &Action::Drop), quick),
        ),
        Cell::new(
            "t1_1_an_answer_is_cut_in_the_middle_of_a_frame",
            series(each(&all, &Action::CutFrame), quick),
        ),
        Cell::new(
            "t1_1_the_broker_is_stopped_at_every_moment",
            series(each(&all, &forced), quick),
        ),
        Cell::new(
            "t1_1_the_broker_stalls_at_every_moment",
            series(
                each(&all, &Action::Stall(Duration::from_millis(300))),
                quick,
            ),
        ),
    ];
    let codes = CONNECTION_CODES.map(|code| (any(&CHANNELS), Action::CloseConnection(code)));
    cells.push(Cell::new(
        "t23_no_code_of_a_connection_ends_the_worker",
        series(codes.to_vec(), quick),
    ));
    // Those of the login are tried again after 2 s.
    let refused = [ReplyCode::AccessRefused, ReplyCode::NotAllowed];
    let refused = refused.map(|code| (connection::Open::ID, Action::CloseConnection(code)));
    cells.push(Cell::new(
        "t23_a_login_refused_later_is_tried_again",
        series(refused.to_vec(), quick),
    ));
    let codes = CHANNEL_CODES.map(|code| (any(&CHANNELS[1..6]), Action::CloseChannel(code)));
    cells.push(Cell::new(
        "t23_no_code_of_a_channel_ends_the_worker",
        series(codes.to_vec(), quick),
    ));
    // Heartbeats find it in 2 s, the watch over answers in 2 s.
    let lost = [Action::Blackhole, Action::Ignore].map(|action| (any(&CHANNELS), action));
    cells.push(Cell::new(
        "t1_2_a_broker_that_does_not_answer_is_left",
        series(lost.to_vec(), quick),
    ));
    if whole {
        let slow = Duration::from_secs(30);
        for action in [Action::Blackhole, Action::Ignore] {
            let name = format!("t1_1_{action:?}_at_every_moment");
            cells.push(Cell::new(name, series(each(&all, &action), slow)));
        }
        for code in CHANNEL_CODES.into_iter().chain(SLOW_CHANNEL_CODES) {
            let name = format!(
                "t23_a_channel_is_closed_with_{}_at_every_moment",
                code.number()
            );
            let action = Action::CloseChannel(code);
            cells.push(Cell::new(
                name,
                series(each(&CHANNELS[1..6], &action), slow),
            ));
        }
    }
    cells
}
