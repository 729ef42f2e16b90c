//! The machine that takes steps up and down.
//!
//! The steps are a stack: going up starts the next one, going down stops the topmost, and one may
//! be waiting at a time. What the owner wishes for is only noted; [`advance`] asks
//! [`Blueprint::next_call`] what to do, does it, and tells [`Blueprint::note`] the answer, until
//! there is nothing more to do for now. Between the two the step is out of the blueprint and the
//! blueprint is back in its context, so a step may use all of it.

use std::error::Error;
use std::fmt;

use log::{debug, error};

use crate::hub::Hub;

use super::graph::{BlueprintError, Graph};
use super::step::{Progress, Step, StepError};

/// How far a blueprint is. Displays as Celery's `human_state` does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Not everything is started: not yet, or not again.
    Initializing,
    /// Every step is started.
    Running,
    /// On the way down, for good or because a step could not start.
    Closing,
    /// Nothing is started any more. Celery calls this `terminating`.
    Stopped,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Initializing => "initializing",
            Self::Running => "running",
            Self::Closing => "closing",
            Self::Stopped => "terminating",
        })
    }
}

/// A step could not start. Everything that had started is stopped again by the time this is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// The blueprint's name.
    pub blueprint: &'static str,
    /// The step's name.
    pub step: &'static str,
    /// What it said.
    pub error: StepError,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: {} cannot start: {}",
            self.blueprint, self.step, self.error
        )
    }
}

impl Error for StartError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.error)
    }
}

/// Steps in boot order, and how far up they are. See the [module page](super).
pub struct Blueprint<C> {
    name: &'static str,
    graph: Graph,
    /// In boot order. A place is empty only while its step is being called.
    steps: Vec<Option<Box<dyn Step<C>>>>,
    /// Whether the steps that are not included have been taken out of `steps`.
    sifted: bool,
    aim: Aim,
    /// `steps[..level]` have been started, or begun to.
    level: usize,
    /// Whether the topmost of them answered `Pending` and is to be asked again.
    waiting: bool,
    /// Whether the aim changed during the call that is out, so that its `Pending` means nothing.
    revised: bool,
    /// `steps[..closed]` know that this stop is for good.
    closed: usize,
    /// `steps[..reached]` have been started at some time since the last shutdown.
    reached: usize,
    /// Why the way up failed, until the owner is told at the bottom of the way down.
    failure: Option<StartError>,
}

/// Where the steps are going.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aim {
    /// Nowhere yet.
    Rest,
    Up,
    Down(Way),
}

/// Why and how the steps go down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// To go up again.
    Restart,
    /// Because a step could not start.
    Unwind,
    /// For good, in order.
    Stop,
    /// For good, fast.
    Terminate,
    /// After a stop, to let go of what it left open.
    Shutdown,
}

/// What to call on the step at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Start,
    PollStart,
    Close,
    Stop,
    Terminate,
    Shutdown,
    PollStop,
}

impl Way {
    fn call(self) -> Call {
        match self {
            Self::Restart | Self::Unwind | Self::Stop => Call::Stop,
            Self::Terminate => Call::Terminate,
            Self::Shutdown => Call::Shutdown,
        }
    }

    fn is_final(self) -> bool {
        matches!(self, Self::Stop | Self::Terminate)
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Restart => "restarting",
            Self::Unwind | Self::Stop => "stopping",
            Self::Terminate => "terminating",
            Self::Shutdown => "shutdown",
        })
    }
}

/// Does everything that can be done now towards what the blueprint's owner last wished for.
///
/// `blueprint` says where in the context it is. Call this after a wish, and on any event for as long
/// as the answer is [`State::Initializing`] or [`State::Closing`]: a pending step is asked once per
/// call. Called by a step from within a call, it does nothing. A step whose `start` wishes for a
/// restart each time it is called keeps `advance` from returning.
///
/// # Errors
/// The first error of a step on the way up, once everything is down again. The blueprint may be
/// started anew after that.
pub fn advance<C>(
    cx: &mut C,
    hub: &mut Hub<C>,
    blueprint: fn(&mut C) -> &mut Blueprint<C>,
) -> Result<State, StartError> {
    if blueprint(cx).is_calling() {
        return Ok(blueprint(cx).state());
    }
    sift(cx, blueprint);
    let mut may_poll = true;
    while let Some((call, place)) = blueprint(cx).next_call(may_poll) {
        let Some(mut step) = blueprint(cx).lend(call, place) else {
            break;
        };
        let answer = match call {
            Call::Start => step.start(cx, hub),
            Call::PollStart => step.poll_start(cx, hub),
            Call::Close => step.close(cx, hub).map(|()| Progress::Done),
            Call::Stop => step.stop(cx, hub),
            Call::Terminate => step.terminate(cx, hub),
            Call::Shutdown => step.shutdown(cx, hub),
            Call::PollStop => step.poll_stop(cx, hub),
        };
        may_poll = answer != Ok(Progress::Pending);
        blueprint(cx).note(call, place, step, answer);
    }
    let blueprint = blueprint(cx);
    match blueprint.level {
        0 => blueprint
            .failure
            .take()
            .map_or_else(|| Ok(blueprint.state()), Err),
        _ => Ok(blueprint.state()),
    }
}

/// Takes out the steps that do not want to be included; once, before the first of them starts.
fn sift<C>(cx: &mut C, blueprint: fn(&mut C) -> &mut Blueprint<C>) {
    if blueprint(cx).sifted || blueprint(cx).aim == Aim::Rest {
        return;
    }
    let mut steps = std::mem::take(&mut blueprint(cx).steps);
    steps.retain(|step| step.as_ref().is_some_and(|step| step.include_if(cx)));
    let blueprint = blueprint(cx);
    (blueprint.steps, blueprint.sifted) = (steps, true);
}

impl<C> Blueprint<C> {
    /// Orders `steps`. `name` stands in the log and in errors (`Worker`).
    ///
    /// # Errors
    /// When the steps do not make a graph in which each can start after what it requires.
    pub fn new(name: &'static str, steps: Vec<Box<dyn Step<C>>>) -> Result<Self, BlueprintError> {
        debug!("| {name}: Preparing bootsteps.");
        debug!("| {name}: Building graph...");
        let (graph, order) = Graph::of(&steps)?;
        let mut listed: Vec<_> = steps.into_iter().map(Some).collect();
        let steps = order.iter().map(|&place| listed[place].take()).collect();
        let blueprint = Self {
            name,
            graph,
            steps,
            sifted: false,
            aim: Aim::Rest,
            level: 0,
            waiting: false,
            revised: false,
            closed: 0,
            reached: 0,
            failure: None,
        };
        debug!(
            "| {name}: New boot order: {{{}}}",
            blueprint.order().join(", ")
        );
        Ok(blueprint)
    }

    /// Wishes for every step to be started. Ignored unless nothing is.
    pub fn start(&mut self) {
        if self.aim == Aim::Rest || self.state() == State::Stopped {
            self.aim = Aim::Up;
        }
    }

    /// Wishes for every step to be stopped, in reverse, and then started again. The steps
    /// themselves live on. Ignored on the way down for good, and before the first start.
    pub fn restart(&mut self) {
        if self.aim == Aim::Up {
            self.descend(Way::Restart);
        }
    }

    /// Wishes for every started step to be stopped, in reverse and for good.
    pub fn stop(&mut self) {
        if !matches!(self.aim, Aim::Down(Way::Terminate | Way::Shutdown)) {
            self.descend(Way::Stop);
        }
    }

    /// As [`stop`](Self::stop), but fast. Also speeds up a stop that is under way.
    pub fn terminate(&mut self) {
        if self.aim != Aim::Down(Way::Shutdown) {
            self.descend(Way::Terminate);
        }
    }

    /// Wishes for every step that has ever been started to let go of what its stop left open, in
    /// reverse. Ignored unless the blueprint is stopped.
    pub fn shutdown(&mut self) {
        if self.state() == State::Stopped {
            self.level = std::mem::take(&mut self.reached);
            self.descend(Way::Shutdown);
        }
    }

    /// How far it is.
    pub fn state(&self) -> State {
        let top = self.sifted && self.level == self.steps.len() && !self.waiting;
        match self.aim {
            Aim::Up if top => State::Running,
            Aim::Rest | Aim::Up | Aim::Down(Way::Restart) => State::Initializing,
            Aim::Down(_) if self.level > 0 => State::Closing,
            Aim::Down(_) => State::Stopped,
        }
    }

    /// What it is called.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The names of all steps, those that will not be included too, in boot order.
    pub fn order(&self) -> Vec<&'static str> {
        self.graph.nodes().iter().map(|node| node.name).collect()
    }

    /// All steps and what they require.
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    fn descend(&mut self, way: Way) {
        let same_call = matches!(self.aim, Aim::Down(old) if old.call() == way.call());
        if !same_call {
            // Whatever the topmost step is waiting for, it is to be asked for something else.
            (self.waiting, self.revised) = (false, true);
        }
        self.aim = Aim::Down(way);
    }

    fn is_calling(&self) -> bool {
        self.steps.iter().any(Option::is_none)
    }

    /// What to call next, and on which step; nothing when the aim is reached, or when the step to
    /// be asked again has been asked already and `may_poll` is false.
    fn next_call(&mut self, may_poll: bool) -> Option<(Call, usize)> {
        if self.level == 0 && self.aim == Aim::Down(Way::Restart) {
            self.aim = Aim::Up;
        }
        let top = self.level.checked_sub(1);
        match self.aim {
            Aim::Rest => None,
            Aim::Up if self.waiting => top.filter(|_| may_poll).map(|top| (Call::PollStart, top)),
            Aim::Up => (self.level < self.steps.len()).then_some((Call::Start, self.level)),
            Aim::Down(way) if way.is_final() && self.closed < self.level => {
                Some((Call::Close, self.closed))
            }
            Aim::Down(_) if self.waiting => {
                top.filter(|_| may_poll).map(|top| (Call::PollStop, top))
            }
            Aim::Down(way) => top.map(|top| (way.call(), top)),
        }
    }

    /// Hands the step at `place` out for `call`.
    fn lend(&mut self, call: Call, place: usize) -> Option<Box<dyn Step<C>>> {
        let step = self.steps.get_mut(place)?.take()?;
        let (blueprint, name) = (self.name, step.name());
        match (call, self.aim) {
            (Call::Start, _) => debug!("| {blueprint}: Starting {name}"),
            (Call::Close, _) => debug!("| {blueprint}: Closing {name}..."),
            (Call::Stop | Call::Terminate | Call::Shutdown, Aim::Down(way)) => {
                debug!("| {blueprint}: {} {name}...", capitalized(way));
            }
            _ => {}
        }
        self.revised = false;
        Some(step)
    }

    /// Takes the step back and goes by what it answered.
    fn note(
        &mut self,
        call: Call,
        place: usize,
        step: Box<dyn Step<C>>,
        answer: Result<Progress, StepError>,
    ) {
        let name = step.name();
        self.steps[place] = Some(step);
        let waiting = answer == Ok(Progress::Pending) && !self.revised;
        match call {
            Call::Close => self.closed = place + 1,
            Call::Start | Call::PollStart => {
                if answer == Ok(Progress::Done) {
                    debug!("^-- substep ok");
                }
                if answer.is_ok() {
                    self.level = place + 1;
                    self.reached = self.reached.max(self.level);
                    self.closed = 0;
                    self.waiting = waiting;
                }
            }
            Call::Stop | Call::Terminate | Call::Shutdown | Call::PollStop => {
                self.waiting = waiting;
                if answer != Ok(Progress::Pending) {
                    self.level = place;
                }
            }
        }
        if let Err(error) = answer {
            self.fail(call, name, error);
        }
    }

    /// On the way up the first error turns it round; on the way down errors are only logged.
    fn fail(&mut self, call: Call, step: &'static str, error: StepError) {
        let what = match (call, self.aim) {
            (Call::Start | Call::PollStart, aim) => {
                if let Aim::Up | Aim::Down(Way::Restart) = aim {
                    self.failure = Some(StartError {
                        blueprint: self.name,
                        step,
                        error,
                    });
                    self.descend(Way::Unwind);
                    return;
                }
                "starting".to_owned() // and asked to stop meanwhile, which comes first
            }
            (Call::Close, _) => "closing".to_owned(),
            (_, Aim::Down(way)) => way.to_string(),
            (_, Aim::Rest | Aim::Up) => "stopping".to_owned(),
        };
        error!("Error on {what} {step}: {error}");
    }
}

impl<C> fmt::Debug for Blueprint<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} blueprint ({})>", self.name, self.state())
    }
}

fn capitalized(way: Way) -> String {
    let mut text = way.to_string();
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}
