//! Arbitrary graphs, steps and wishes against the laws of a blueprint.

use std::sync::LazyLock;

use crate::hub::Hub;

use super::{Blueprint, BlueprintError, Progress, State, Step, StepError, advance};

const NAMES: [&str; 6] = ["a", "b", "c", "d", "e", "f"];

/// Every set of names, so that an arbitrary one is a static slice as [`Step::requires`] wants it.
static SUBSETS: LazyLock<Vec<Vec<&'static str>>> = LazyLock::new(|| {
    let subset = |bits: usize| {
        (0..NAMES.len())
            .filter(move |i| bits >> i & 1 == 1)
            .map(|i| NAMES[i])
    };
    (0..1 << NAMES.len())
        .map(|bits| subset(bits).collect())
        .collect()
});

/// Reads `data` as steps and then as what happens to them, and checks:
///
/// - the order holds every requirement, or the error is true;
/// - a step starts when all it requires is up and stops when nothing that requires it is;
/// - each start that answered `Ok` is stopped exactly once;
/// - `Running` means all up, `Stopped` means none up, and a wish to stop is always fulfilled.
#[doc(hidden)]
pub fn fuzz_blueprint(data: &[u8]) {
    let mut script = Script(data.to_vec());
    let count = usize::from(script.next()) % (NAMES.len() + 1);
    let steps: Vec<Probe> = (0..count)
        .map(|index| Probe::new(index, &mut script))
        .collect();
    let listed: Vec<Probe> = steps.clone();
    let boxed = steps
        .into_iter()
        .map(|step| Box::new(step) as Box<dyn Step<Context>>)
        .collect();
    let blueprint = match Blueprint::new("Fuzz", boxed) {
        Ok(blueprint) => blueprint,
        Err(error) => return check_error(&error, &listed),
    };
    let order = blueprint.order();
    let place = |name| {
        order
            .iter()
            .position(|&other| other == name)
            .expect("every step is there")
    };
    for step in &listed {
        assert!(
            step.requires()
                .iter()
                .all(|&name| place(name) < place(step.name()))
        );
        assert!(!step.last || place(step.name()) + 1 == count);
    }

    let mut context = Context {
        blueprint,
        script,
        listed,
        life: [Life::Down; NAMES.len()],
    };
    let mut hub = Hub::new().expect("a poller");
    while !context.script.0.is_empty() {
        context.wish();
        context.advance(&mut hub);
    }
    context.blueprint.stop();
    while context.advance(&mut hub) != State::Stopped {}
}

fn check_error(error: &BlueprintError, listed: &[Probe]) {
    let requires = |name: &str, other: &str| {
        let step = listed
            .iter()
            .find(|step| step.name() == name)
            .expect("errors name real steps");
        step.last || step.requires().contains(&other)
    };
    match error {
        BlueprintError::Cycle { path } => {
            let next = path.iter().cycle().skip(1);
            assert!(!path.is_empty() && path.iter().zip(next).all(|(a, b)| requires(a, b)));
        }
        BlueprintError::Unknown {
            step,
            requires: name,
        } => {
            assert!(requires(step, name) && listed.iter().all(|step| step.name() != *name));
        }
        BlueprintError::TwoLast {
            steps: [one, other],
        } => assert_ne!(one, other),
        BlueprintError::Duplicate { step } => panic!("{step} is listed once"),
    }
}

/// What happens, a byte at a time; zeroes, which do no more mischief, when it is used up.
struct Script(Vec<u8>);

impl Script {
    fn next(&mut self) -> u8 {
        self.0.pop().unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    Down,
    Starting,
    Up,
    Stopping,
}

struct Context {
    blueprint: Blueprint<Self>,
    script: Script,
    /// Copies of the steps, in listed order.
    listed: Vec<Probe>,
    life: [Life; NAMES.len()],
}

impl Context {
    fn wish(&mut self) {
        match self.script.next() % 8 {
            1 | 2 => self.blueprint.start(),
            3 => self.blueprint.stop(),
            4 => self.blueprint.terminate(),
            5 => self.blueprint.restart(),
            6 => self.blueprint.shutdown(),
            _ => {}
        }
    }

    fn advance(&mut self, hub: &mut Hub<Self>) -> State {
        let answer = advance(self, hub, |context| &mut context.blueprint);
        let state = answer.unwrap_or(State::Stopped);
        assert_eq!(state, self.blueprint.state());
        for step in &self.listed {
            match state {
                State::Running => assert!(!step.included || self.life[step.index] == Life::Up),
                State::Stopped => assert_eq!(self.life[step.index], Life::Down),
                State::Initializing | State::Closing => {}
            }
            assert!(step.included || self.life[step.index] == Life::Down);
        }
        state
    }

    /// An arbitrary answer, sometimes after a wish from within the call.
    fn answer(&mut self, hub: &mut Hub<Self>) -> Result<Progress, StepError> {
        if self.script.next() % 8 == 7 {
            self.wish();
            let _ = advance(self, hub, |context| &mut context.blueprint); // does nothing
        }
        match self.script.next() % 8 {
            7 => Err(StepError::new("as the script says")),
            5 | 6 => Ok(Progress::Pending),
            _ => Ok(Progress::Done),
        }
    }
}

/// A step that checks what is done to it.
#[derive(Clone)]
struct Probe {
    index: usize,
    requires: &'static [&'static str],
    last: bool,
    included: bool,
}

impl Probe {
    fn new(index: usize, script: &mut Script) -> Self {
        // Mostly requirements on earlier steps, or hardly a graph would be without a circle.
        let (mask, shape) = (usize::from(script.next()), script.next());
        let bits = if shape & 1 == 0 {
            mask & ((1 << index) - 1)
        } else {
            mask
        };
        let requires = &SUBSETS[bits % SUBSETS.len()];
        Self {
            index,
            requires,
            last: shape & 0xf0 == 0xf0,
            included: shape & 0x0e != 0x0e,
        }
    }

    /// Moves to the life that `progress` leads to.
    fn live(&self, context: &mut Context, progress: Progress, pending: Life, done: Life) {
        context.life[self.index] = match progress {
            Progress::Pending => pending,
            Progress::Done => done,
        };
    }

    fn needs(&self, other: &Self) -> bool {
        self.requires.contains(&NAMES[other.index]) || self.last && other.index != self.index
    }

    /// Any call on the way down: nothing that needs this step may still be there.
    fn down(&self, context: &mut Context, hub: &mut Hub<Context>) -> Result<Progress, StepError> {
        for other in context.listed.iter().filter(|other| other.needs(self)) {
            assert_eq!(context.life[other.index], Life::Down);
        }
        let answer = context.answer(hub);
        let progress = answer.clone().unwrap_or(Progress::Done);
        self.live(context, progress, Life::Stopping, Life::Down);
        answer
    }
}

impl Step<Context> for Probe {
    fn name(&self) -> &'static str {
        NAMES[self.index]
    }

    fn requires(&self) -> &'static [&'static str] {
        self.requires
    }

    fn last(&self) -> bool {
        self.last
    }

    fn include_if(&self, _: &Context) -> bool {
        self.included
    }

    fn start(&mut self, cx: &mut Context, hub: &mut Hub<Context>) -> Result<Progress, StepError> {
        assert_eq!(cx.life[self.index], Life::Down);
        for other in cx
            .listed
            .iter()
            .filter(|other| other.included && self.needs(other))
        {
            assert_eq!(cx.life[other.index], Life::Up);
        }
        let answer = cx.answer(hub);
        if let Ok(progress) = answer {
            self.live(cx, progress, Life::Starting, Life::Up);
        }
        answer
    }

    fn poll_start(
        &mut self,
        cx: &mut Context,
        hub: &mut Hub<Context>,
    ) -> Result<Progress, StepError> {
        assert_eq!(cx.life[self.index], Life::Starting);
        let answer = cx.answer(hub);
        if let Ok(progress) = answer {
            self.live(cx, progress, Life::Starting, Life::Up);
        }
        answer
    }

    fn close(&mut self, cx: &mut Context, hub: &mut Hub<Context>) -> Result<(), StepError> {
        assert_ne!(cx.life[self.index], Life::Down);
        cx.answer(hub).map(drop)
    }

    fn stop(&mut self, cx: &mut Context, hub: &mut Hub<Context>) -> Result<Progress, StepError> {
        assert!(matches!(cx.life[self.index], Life::Starting | Life::Up));
        self.down(cx, hub)
    }

    fn terminate(
        &mut self,
        cx: &mut Context,
        hub: &mut Hub<Context>,
    ) -> Result<Progress, StepError> {
        assert_ne!(cx.life[self.index], Life::Down);
        self.down(cx, hub)
    }

    fn shutdown(
        &mut self,
        cx: &mut Context,
        hub: &mut Hub<Context>,
    ) -> Result<Progress, StepError> {
        assert_eq!(cx.life, [Life::Down; NAMES.len()]);
        self.down(cx, hub)
    }

    fn poll_stop(
        &mut self,
        cx: &mut Context,
        hub: &mut Hub<Context>,
    ) -> Result<Progress, StepError> {
        assert_eq!(cx.life[self.index], Life::Stopping);
        self.down(cx, hub)
    }
}
