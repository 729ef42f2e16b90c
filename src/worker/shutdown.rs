//! What signals ask of the worker: warm, cold, soft and hard shutdown, one step after the other.
//!
//! Pure: the signal goes in, the orders come out, and the worker carries them out. The words are
//! Celery's, since people and scripts read them.

use crate::sys::signal::Signal;

/// How far the worker is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Taking tasks.
    Running,
    /// No new tasks; those that run may finish.
    Warm,
    /// As warm, but not for long: what still runs after the soft shutdown timeout is cancelled.
    Soft,
    /// Running tasks were cancelled; their children are ending.
    Cold,
    /// As cold, and the next signal ends main at once.
    Ending,
    /// Main leaves now; its children die with it.
    Hard,
}

/// What the worker does about one signal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// Lines for standard output, in Celery's words.
    pub say: Vec<&'static str>,
    /// The phase entered by this signal, if it is a new one.
    pub enter: Option<Phase>,
}

/// The state machine over signals; see [`Shutdown::handle`].
#[derive(Debug)]
pub struct Shutdown {
    phase: Phase,
    exit_code: u8,
    interrupted: bool,
    remap_sigterm: bool,
    restart: bool,
}

const WARM: &str = "worker: Warm shutdown (MainProcess)";
const COLD: &str = "worker: Cold shutdown (MainProcess)";
const AGAIN_COLD: &str =
    "worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!";
const AGAIN_HARD: &str = "worker: Hitting Ctrl+C again will terminate all running tasks!";
const WAITING: &str = "Waiting gracefully for cold shutdown to complete...";

impl Shutdown {
    /// A running worker. With `remap_sigterm` (the environment has `REMAP_SIGTERM=SIGQUIT`) TERM acts as QUIT.
    pub fn new(remap_sigterm: bool) -> Self {
        Self {
            phase: Phase::Running,
            exit_code: 0,
            interrupted: false,
            remap_sigterm,
            restart: false,
        }
    }

    /// How far things are.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// The exit status: 1 after a first Ctrl+C, as Celery's; 0 after TERM and after a cold shutdown.
    pub fn exit_code(&self) -> u8 {
        self.exit_code
    }

    /// Whether the program is to be executed anew after all (HUP).
    pub fn restarts(&self) -> bool {
        self.restart
    }

    /// The time that was left to running tasks has passed, by the grace of a warm shutdown or by the timeout of a soft one:
    /// what still runs is cancelled.
    pub fn run_out(&mut self) -> Order {
        match self.phase {
            Phase::Warm | Phase::Soft => self.enter(Phase::Cold, vec![COLD]),
            _ => Order::default(),
        }
    }

    /// Leaves as a signal would ask, for the worker's own reasons, with `exit_code`.
    pub fn leave(&mut self, exit_code: u8) -> Order {
        self.exit_code = self.exit_code.max(exit_code);
        self.enter(Phase::Warm, vec![])
    }

    /// One TERM, INT, QUIT or HUP; any other signal asks for nothing.
    ///
    /// TERM is warm however often it comes. INT is warm, then cold, then "waiting", then hard; QUIT is
    /// cold at once, then "waiting", then hard. HUP is warm, and the program begins anew. With `patient`, because tasks
    /// run and there is a soft shutdown timeout, cold waits that long first; one more signal ends the wait.
    pub fn handle(&mut self, signal: Signal, patient: bool) -> Order {
        match signal {
            Signal::SIGHUP => {
                self.restart |= self.phase == Phase::Running;
                self.enter(Phase::Warm, vec![])
            }
            Signal::SIGTERM if !self.remap_sigterm => self.enter(Phase::Warm, vec![WARM]),
            Signal::SIGINT if self.phase < Phase::Soft && !self.interrupted => {
                self.interrupted = true;
                self.exit_code = 1;
                self.enter(Phase::Warm, vec![AGAIN_COLD, WARM])
            }
            Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTERM => {
                self.restart = false;
                self.escalate(signal, patient)
            }
            _ => Order::default(),
        }
    }

    fn escalate(&mut self, signal: Signal, patient: bool) -> Order {
        match self.phase {
            Phase::Running | Phase::Warm if patient => {
                self.exit_code = 0;
                self.enter(Phase::Soft, vec![AGAIN_HARD])
            }
            Phase::Running | Phase::Warm => {
                self.exit_code = 0;
                let verbose = signal != Signal::SIGINT;
                let say = if verbose {
                    vec![AGAIN_HARD, COLD]
                } else {
                    vec![AGAIN_HARD]
                };
                self.enter(Phase::Cold, say)
            }
            Phase::Soft | Phase::Cold if signal == Signal::SIGTERM => Order::default(),
            Phase::Soft | Phase::Cold => self.enter(Phase::Ending, vec![WAITING, COLD]),
            Phase::Ending | Phase::Hard => self.enter(Phase::Hard, vec![]),
        }
    }

    /// Goes on to `phase`, never back.
    fn enter(&mut self, phase: Phase, say: Vec<&'static str>) -> Order {
        let enter = (phase > self.phase).then_some(phase);
        self.phase = self.phase.max(phase);
        Order { say, enter }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn phases(signals: &[Signal]) -> (Vec<Phase>, u8) {
        let mut shutdown = Shutdown::new(false);
        let phases = signals
            .iter()
            .map(|signal| {
                shutdown.handle(*signal, false);
                shutdown.phase()
            })
            .collect();
        (phases, shutdown.exit_code())
    }

    #[test]
    fn term_is_warm_however_often_it_comes() {
        let (phases, code) = phases(&[Signal::SIGTERM, Signal::SIGTERM, Signal::SIGTERM]);
        assert_eq!((phases, code), (vec![Phase::Warm; 3], 0));
    }

    #[test]
    fn ctrl_c_escalates_step_by_step() {
        use Phase::*;
        assert_eq!(phases(&[Signal::SIGINT]), (vec![Warm], 1));
        let (phases, _) = phases(&[Signal::SIGINT; 5]);
        assert_eq!(phases, [Warm, Cold, Ending, Hard, Hard]);
    }

    #[test]
    fn quit_is_cold_at_once() {
        use Phase::*;
        assert_eq!(phases(&[Signal::SIGQUIT]), (vec![Cold], 0));
        assert_eq!(phases(&[Signal::SIGQUIT; 3]).0, [Cold, Ending, Hard]);
        assert_eq!(phases(&[Signal::SIGTERM, Signal::SIGQUIT]).0, [Warm, Cold]);
        assert_eq!(phases(&[Signal::SIGQUIT, Signal::SIGTERM]).0, [Cold, Cold]);
    }

    #[test]
    fn the_words_are_celerys() {
        let mut shutdown = Shutdown::new(false);
        assert_eq!(
            shutdown.handle(Signal::SIGINT, false).say,
            [AGAIN_COLD, WARM]
        );
        assert_eq!(
            shutdown.handle(Signal::SIGINT, false).say,
            [AGAIN_HARD],
            "the second is not verbose"
        );
        assert_eq!(shutdown.handle(Signal::SIGINT, false).say, [WAITING, COLD]);
        assert_eq!(
            shutdown.handle(Signal::SIGINT, false),
            Order {
                say: vec![],
                enter: Some(Phase::Hard)
            }
        );
        assert_eq!(
            Shutdown::new(false).handle(Signal::SIGCHLD, false),
            Order::default()
        );
    }

    #[test]
    fn term_acts_as_quit_where_it_is_remapped() {
        let mut shutdown = Shutdown::new(true);
        assert_eq!(
            shutdown.handle(Signal::SIGTERM, false).enter,
            Some(Phase::Cold)
        );
        assert_eq!(shutdown.handle(Signal::SIGTERM, false), Order::default());
        let mut plain = Shutdown::new(false);
        assert_eq!(plain.leave(1).enter, Some(Phase::Warm));
        assert_eq!(plain.exit_code(), 1);
    }

    #[test]
    fn soft_comes_before_cold_where_tasks_run_and_the_next_signal_ends_it() {
        use Phase::*;
        let mut shutdown = Shutdown::new(false);
        assert_eq!(shutdown.handle(Signal::SIGQUIT, true).enter, Some(Soft));
        assert_eq!(shutdown.handle(Signal::SIGTERM, true).enter, None);
        assert_eq!(shutdown.run_out().enter, Some(Cold));
        assert_eq!(shutdown.run_out(), Order::default(), "once");
        let mut hasty = Shutdown::new(false);
        hasty.handle(Signal::SIGINT, true);
        assert_eq!(hasty.phase(), Warm);
        assert_eq!(hasty.handle(Signal::SIGINT, true).enter, Some(Soft));
        assert_eq!(hasty.handle(Signal::SIGINT, true).enter, Some(Ending));
        assert_eq!(hasty.handle(Signal::SIGINT, true).enter, Some(Hard));
        assert_eq!(hasty.run_out(), Order::default());
        let mut graced = Shutdown::new(false);
        graced.handle(Signal::SIGTERM, true);
        assert_eq!(graced.run_out().enter, Some(Cold), "when its grace is over");
    }

    #[test]
    fn hup_begins_anew_unless_somebody_wants_it_cold() {
        let mut shutdown = Shutdown::new(false);
        assert_eq!(
            shutdown.handle(Signal::SIGHUP, false).enter,
            Some(Phase::Warm)
        );
        assert!(shutdown.restarts());
        shutdown.handle(Signal::SIGQUIT, false);
        assert!(!shutdown.restarts());
        let mut leaving = Shutdown::new(false);
        leaving.handle(Signal::SIGTERM, false);
        leaving.handle(Signal::SIGHUP, false);
        assert!(!leaving.restarts(), "TERM came first");
    }
}
