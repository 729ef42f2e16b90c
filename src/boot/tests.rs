use proptest::prelude::*;

use super::*;
use crate::hub::Hub;

/// What a test looks at: every call in order, and the answers that are still to be given.
struct Context {
    blueprint: Blueprint<Self>,
    calls: Vec<String>,
    /// `(call, answer)`, each used once; whatever is not listed here is done at once.
    answers: Vec<(&'static str, Result<Progress, StepError>)>,
}

struct Named {
    name: &'static str,
    requires: &'static [&'static str],
    last: bool,
    included: bool,
}

fn step(name: &'static str, requires: &'static [&'static str]) -> Named {
    Named {
        name,
        requires,
        last: false,
        included: true,
    }
}

fn last(name: &'static str) -> Named {
    Named {
        last: true,
        ..step(name, &[])
    }
}

impl Named {
    fn called(&self, cx: &mut Context, what: &str) -> Result<Progress, StepError> {
        let call = format!("{what} {}", self.name);
        let answer = cx
            .answers
            .iter()
            .position(|(expected, _)| *expected == call);
        cx.calls.push(call);
        answer.map_or(Ok(Progress::Done), |at| cx.answers.remove(at).1)
    }
}

impl Step<Context> for Named {
    fn name(&self) -> &'static str {
        self.name
    }
    fn requires(&self) -> &'static [&'static str] {
        self.requires
    }
    fn last(&self) -> bool {
        self.last
    }
    fn conditional(&self) -> bool {
        ["Autoscaler", "Beat"].contains(&self.name)
    }
    fn include_if(&self, _: &Context) -> bool {
        self.included
    }
    fn start(&mut self, cx: &mut Context, _: &mut Hub<Context>) -> Result<Progress, StepError> {
        self.called(cx, "start")
    }
    fn poll_start(
        &mut self,
        cx: &mut Context,
        _: &mut Hub<Context>,
    ) -> Result<Progress, StepError> {
        self.called(cx, "poll_start")
    }
    fn close(&mut self, cx: &mut Context, _: &mut Hub<Context>) -> Result<(), StepError> {
        self.called(cx, "close").map(drop)
    }
    fn stop(&mut self, cx: &mut Context, _: &mut Hub<Context>) -> Result<Progress, StepError> {
        self.called(cx, "stop")
    }
    fn terminate(&mut self, cx: &mut Context, _: &mut Hub<Context>) -> Result<Progress, StepError> {
        self.called(cx, "terminate")
    }
    fn shutdown(&mut self, cx: &mut Context, _: &mut Hub<Context>) -> Result<Progress, StepError> {
        self.called(cx, "shutdown")
    }
    fn poll_stop(&mut self, cx: &mut Context, _: &mut Hub<Context>) -> Result<Progress, StepError> {
        self.called(cx, "poll_stop")
    }
}

fn blueprint(steps: Vec<Named>) -> Result<Blueprint<Context>, BlueprintError> {
    let steps = steps
        .into_iter()
        .map(|step| Box::new(step) as Box<dyn Step<Context>>);
    Blueprint::new("Worker", steps.collect())
}

fn order(steps: Vec<Named>) -> Vec<&'static str> {
    blueprint(steps).unwrap().order()
}

fn error(steps: Vec<Named>) -> String {
    blueprint(steps).unwrap_err().to_string()
}

/// A blueprint of Timer, Hub and Pool, and the means to drive it.
struct Bench {
    cx: Context,
    hub: Hub<Context>,
}

impl Bench {
    fn new() -> Self {
        Self::with(vec![
            step("Timer", &[]),
            step("Hub", &["Timer"]),
            step("Pool", &["Hub"]),
        ])
    }

    fn with(steps: Vec<Named>) -> Self {
        let blueprint = blueprint(steps).unwrap();
        let cx = Context {
            blueprint,
            calls: Vec::new(),
            answers: Vec::new(),
        };
        Self {
            cx,
            hub: Hub::new().unwrap(),
        }
    }

    fn answer(&mut self, call: &'static str, answer: Result<Progress, StepError>) {
        self.cx.answers.push((call, answer));
    }

    /// Wishes, advances, and tells the outcome and the calls that were made.
    fn wish(
        &mut self,
        wish: fn(&mut Blueprint<Context>),
    ) -> (Result<State, StartError>, Vec<String>) {
        wish(&mut self.cx.blueprint);
        let outcome = advance(&mut self.cx, &mut self.hub, |cx| &mut cx.blueprint);
        (outcome, std::mem::take(&mut self.cx.calls))
    }

    /// Wishes and advances, whatever comes of it.
    fn run(&mut self, wish: fn(&mut Blueprint<Context>)) {
        let _ = self.wish(wish);
    }

    #[track_caller]
    fn expect(&mut self, wish: fn(&mut Blueprint<Context>), state: State, calls: &[&str]) {
        let (outcome, made) = self.wish(wish);
        assert_eq!(outcome, Ok(state));
        assert_eq!(made, calls);
    }
}

/// No new wish: only time has passed.
fn nothing(_: &mut Blueprint<Context>) {}

#[test]
fn the_order_is_as_listed_wherever_the_requirements_allow() {
    assert_eq!(order(vec![step("b", &[]), step("a", &[])]), ["b", "a"]);
    assert_eq!(
        order(vec![step("a", &["c"]), step("b", &[]), step("c", &[])]),
        ["b", "c", "a"]
    );
    assert_eq!(
        order(vec![last("z"), step("a", &[]), step("b", &[])]),
        ["a", "b", "z"]
    );
    assert_eq!(order(vec![]), Vec::<&str>::new());
}

#[test]
fn errors_name_what_is_wrong() {
    assert_eq!(
        error(vec![step("Pool", &["Hubb"])]),
        "unknown bootstep: Hubb (required by Pool)"
    );
    assert_eq!(
        error(vec![
            step("a", &["b"]),
            step("b", &["c"]),
            step("c", &["b"])
        ]),
        "bootsteps require each other in a circle: b -> c -> b"
    );
    assert_eq!(
        error(vec![step("a", &["z"]), last("z")]),
        "bootsteps require each other in a circle: a -> z -> a"
    );
    assert_eq!(
        error(vec![step("a", &[]), step("a", &[])]),
        "two bootsteps are named a"
    );
    assert_eq!(
        error(vec![last("y"), last("z")]),
        "bootsteps y and z both want to be the last"
    );
}

#[test]
fn steps_start_in_order_and_stop_in_reverse_after_all_are_closed() {
    let mut bench = Bench::new();
    bench.expect(nothing, State::Initializing, &[]);
    let up = ["start Timer", "start Hub", "start Pool"];
    bench.expect(Blueprint::start, State::Running, &up);
    bench.expect(Blueprint::start, State::Running, &[]);
    let down = [
        "close Timer",
        "close Hub",
        "close Pool",
        "stop Pool",
        "stop Hub",
        "stop Timer",
    ];
    bench.expect(Blueprint::stop, State::Stopped, &down);
    bench.expect(Blueprint::stop, State::Stopped, &[]);
    let out = ["shutdown Pool", "shutdown Hub", "shutdown Timer"];
    bench.expect(Blueprint::shutdown, State::Stopped, &out);
    bench.expect(Blueprint::shutdown, State::Stopped, &[]);
}

#[test]
fn a_pending_step_is_asked_once_a_turn_and_holds_up_the_next() {
    let mut bench = Bench::new();
    bench.answer("start Hub", Ok(Progress::Pending));
    bench.answer("poll_start Hub", Ok(Progress::Pending));
    bench.expect(
        Blueprint::start,
        State::Initializing,
        &["start Timer", "start Hub"],
    );
    bench.expect(nothing, State::Initializing, &["poll_start Hub"]);
    bench.expect(nothing, State::Running, &["poll_start Hub", "start Pool"]);

    bench.answer("stop Pool", Ok(Progress::Pending));
    let (outcome, calls) = bench.wish(Blueprint::stop);
    assert_eq!(
        (outcome, calls.last().unwrap().as_str()),
        (Ok(State::Closing), "stop Pool")
    );
    bench.expect(
        nothing,
        State::Stopped,
        &["poll_stop Pool", "stop Hub", "stop Timer"],
    );
}

#[test]
fn a_failed_start_unwinds_in_reverse_and_may_be_tried_again() {
    let mut bench = Bench::new();
    bench.answer("start Pool", Err(StepError::new("no children")));
    bench.answer("stop Hub", Ok(Progress::Pending));
    bench.answer("poll_stop Hub", Err(StepError::new("only logged")));
    let calls = ["start Timer", "start Hub", "start Pool", "stop Hub"];
    bench.expect(Blueprint::start, State::Closing, &calls);
    let (outcome, calls) = bench.wish(nothing);
    assert_eq!(calls, ["poll_stop Hub", "stop Timer"]);
    assert_eq!(
        outcome.unwrap_err().to_string(),
        "Worker: Pool cannot start: no children"
    );
    bench.expect(nothing, State::Stopped, &[]); // said once

    bench.expect(
        Blueprint::start,
        State::Running,
        &["start Timer", "start Hub", "start Pool"],
    );
}

#[test]
fn a_step_that_fails_while_pending_is_stopped_too() {
    let mut bench = Bench::new();
    bench.answer("start Hub", Ok(Progress::Pending));
    bench.answer("poll_start Hub", Err(StepError::new("timed out")));
    bench.run(Blueprint::start);
    let (outcome, calls) = bench.wish(nothing);
    assert_eq!(calls, ["poll_start Hub", "stop Hub", "stop Timer"]);
    assert_eq!(outcome.unwrap_err().step, "Hub");
}

#[test]
fn a_restart_stops_all_and_starts_all_but_closes_nothing() {
    let mut bench = Bench::new();
    bench.run(Blueprint::start);
    bench.answer("stop Hub", Ok(Progress::Pending));
    bench.answer("stop Pool", Err(StepError::new("only logged")));
    bench.expect(
        Blueprint::restart,
        State::Initializing,
        &["stop Pool", "stop Hub"],
    );
    let calls = [
        "poll_stop Hub",
        "stop Timer",
        "start Timer",
        "start Hub",
        "start Pool",
    ];
    bench.expect(nothing, State::Running, &calls);
}

#[test]
fn a_stop_during_a_restart_goes_on_downwards() {
    let mut bench = Bench::new();
    bench.run(Blueprint::start);
    bench.answer("stop Hub", Ok(Progress::Pending));
    bench.run(Blueprint::restart);
    let calls = ["close Timer", "close Hub", "poll_stop Hub", "stop Timer"];
    bench.expect(Blueprint::stop, State::Stopped, &calls);
}

#[test]
fn a_half_started_blueprint_stops_what_it_had_begun() {
    let mut bench = Bench::new();
    bench.answer("start Hub", Ok(Progress::Pending));
    bench.run(Blueprint::start);
    let calls = ["close Timer", "close Hub", "stop Hub", "stop Timer"];
    bench.expect(Blueprint::stop, State::Stopped, &calls);
}

#[test]
fn terminating_overtakes_a_stop_that_takes_too_long() {
    let mut bench = Bench::new();
    bench.run(Blueprint::start);
    bench.answer("stop Pool", Ok(Progress::Pending));
    bench.answer("terminate Pool", Ok(Progress::Pending));
    bench.run(Blueprint::stop);
    bench.expect(Blueprint::terminate, State::Closing, &["terminate Pool"]);
    let calls = ["poll_stop Pool", "terminate Hub", "terminate Timer"];
    bench.expect(Blueprint::stop, State::Stopped, &calls); // too late to be patient again
}

#[test]
fn steps_that_are_not_included_are_listed_but_never_called() {
    let beat = Named {
        included: false,
        ..step("Beat", &[])
    };
    let mut bench = Bench::with(vec![beat, step("Pool", &["Beat"]), last("Consumer")]);
    bench.expect(
        Blueprint::start,
        State::Running,
        &["start Pool", "start Consumer"],
    );
    assert_eq!(bench.cx.blueprint.order(), ["Beat", "Pool", "Consumer"]);
}

#[test]
fn the_drawing_is_celerys() {
    let steps = vec![
        step("Timer", &[]),
        step("Hub", &["Timer"]),
        step("StateDB", &[]),
        step("Autoscaler", &["Pool"]),
        last("Consumer"),
        step("Beat", &[]),
        step("Pool", &["Hub"]),
    ];
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort(); // Celery's order differs from run to run
        lines
    };
    let celery = include_str!("../../tests/golden/graph_bootsteps_worker.dot");
    assert_eq!(
        lines(&blueprint(steps).unwrap().graph().dot()),
        lines(celery)
    );
}

#[test]
fn connected_drawings_hang_the_inner_on_the_outer_last_step() {
    let outer = blueprint(vec![step("Pool", &[]), last("Consumer")]).unwrap();
    let inner = blueprint(vec![step("Connection", &[]), last("event loop")]).unwrap();
    let text = outer.graph().connected_with(inner.graph()).dot();
    let edges: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("->"))
        .filter_map(|line| line.trim().split_once(" ["))
        .map(|(edge, _)| edge)
        .collect();
    let expected = [
        r#""⧉Consumer" -> "Pool""#,
        r#""Connection" -> "⧉Consumer""#,
        r#""⧉event loop" -> "Connection""#,
    ];
    assert_eq!(edges, expected);
}

proptest! {
    #[test]
    fn the_laws_hold_for_any_graph_and_any_history(
        data in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        fuzz_blueprint(&data);
    }
}
