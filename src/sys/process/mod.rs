//! Processes: names for them, how they end, and (on Linux) forking and reaping them.

use std::fmt;
use std::num::NonZeroU32;
use std::thread;

use super::signal;

#[cfg(target_os = "linux")]
mod daemon;
#[cfg(target_os = "linux")]
mod facts;
#[cfg(target_os = "linux")]
mod life;
#[cfg(target_os = "linux")]
mod title;

#[cfg(target_os = "linux")]
pub use daemon::{become_user, detach, set_umask, user};
#[cfg(target_os = "linux")]
pub use facts::{
    Usage, cpu_time, is_stopped, load_average, out_of_memory_kills, resident_memory, thread_count,
    usage,
};
#[cfg(target_os = "linux")]
pub use life::{
    Fork, become_subreaper, die_with_parent, exit_now, fork, new_session, reap,
    redirect_stdin_to_null, spawn, spawn_bound, wait_for,
};
#[cfg(target_os = "linux")]
pub use title::set_title;

/// The number of one process.
///
/// It is always positive: the kernel gives `0` and negative numbers to `kill` a wider meaning
/// ("my group", "everybody"), which no caller here can reach by accident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(NonZeroU32);

impl Pid {
    /// The process numbered `raw`, unless that is not the number of one process.
    pub fn new(raw: i32) -> Option<Self> {
        u32::try_from(raw).ok().and_then(NonZeroU32::new).map(Self)
    }

    /// The number, as the kernel and Celery's messages have it; always positive.
    pub fn raw(self) -> i32 {
        self.0.get().cast_signed()
    }
}

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl From<Pid> for nix::unistd::Pid {
    fn from(pid: Pid) -> Self {
        Self::from_raw(pid.raw())
    }
}

/// How a process ended. Displays as Celery words it in `Worker exited prematurely: ...`.
///
/// ```
/// use celeriac::sys::process::Exit;
///
/// assert_eq!(Exit::Code(1).to_string(), "exitcode 1");
/// assert_eq!(Exit::Signal(9).to_string(), "signal 9 (SIGKILL)");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It ended itself with this status, `0..=255`.
    Code(i32),
    /// The signal of this number killed it.
    Signal(i32),
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Code(code) => write!(f, "exitcode {code}"),
            Self::Signal(number) => match signal::name(number) {
                Some(name) => write!(f, "signal {number} ({name})"),
                None => write!(f, "signal {number}"),
            },
        }
    }
}

/// This process.
pub fn current() -> Pid {
    Pid::new(nix::unistd::getpid().as_raw()).expect("a process has a positive number")
}

/// The parent of this process, or `None` when it lives outside this process's pid namespace.
///
/// An orphan sees its sub-reaper or init here, which is how a child notices that it was adopted.
pub fn parent() -> Option<Pid> {
    Pid::new(nix::unistd::getppid().as_raw())
}

/// How many processors this process may use at once; at least one.
///
/// Celery counts the processors of the machine; this also honours the CPU affinity and the cgroup
/// quota of a container, so that the default concurrency fits what is really there.
pub fn cpu_count() -> usize {
    thread::available_parallelism().map_or(1, Into::into)
}

/// The machine's name, as `gethostname` has it; `localhost` when it has none that is text.
pub fn host_name() -> String {
    let name = nix::unistd::gethostname()
        .ok()
        .and_then(|name| name.into_string().ok());
    name.filter(|name| !name.is_empty())
        .unwrap_or_else(|| "localhost".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_process_can_be_named() {
        assert_eq!([0, -1, i32::MIN].map(Pid::new), [None; 3]);
        assert_eq!(Pid::new(17).map(Pid::raw), Some(17));
        assert_eq!(current().to_string(), std::process::id().to_string());
    }

    #[test]
    fn there_is_a_processor_and_a_name() {
        assert!(cpu_count() >= 1);
        assert!(!host_name().is_empty());
    }

    #[test]
    fn exits_read_as_billiard_words_them() {
        let cases = [
            (Exit::Code(0), "exitcode 0"),
            (Exit::Code(155), "exitcode 155"),
            (Exit::Signal(2), "signal 2 (SIGINT)"),
            (Exit::Signal(15), "signal 15 (SIGTERM)"),
            (Exit::Signal(99), "signal 99"),
        ];
        for (exit, text) in cases {
            assert_eq!(exit.to_string(), text);
        }
    }
}
