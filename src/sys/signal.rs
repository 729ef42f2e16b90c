//! Signals: read them through a descriptor, send them, name them, and give a child a clean start.

use std::io;

use nix::sys::signal::{SigSet, killpg};

#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};

#[cfg(target_os = "linux")]
use super::fd::SharedFd;
use super::process::Pid;

/// A signal by name; converts from and into its number and its text (`SIGTERM`).
pub use nix::sys::signal::Signal;

/// Reads signals as a file becomes readable, instead of being interrupted by them (signalfd).
///
/// The signals are blocked for this thread and those it starts later, so make this before any
/// thread exists. They stay blocked after the last handle is dropped: unblocking would let a signal
/// that waits at that moment kill the process. A child inherits the mask, which is why every way
/// into a new process goes through [`restore_defaults`].
///
/// ```no_run
/// use celeriac::sys::{process, signal::{self, Signal, SignalFd}};
///
/// let signals = SignalFd::new(&[Signal::SIGUSR2])?;
/// assert_eq!(signals.read()?, None);
/// signal::kill(process::current(), Signal::SIGUSR2)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[cfg(target_os = "linux")]
#[derive(Clone, Debug)]
pub struct SignalFd(SharedFd);

#[cfg(target_os = "linux")]
impl SignalFd {
    /// Blocks `signals` and opens a nonblocking descriptor that delivers them.
    #[allow(unsafe_code)]
    pub fn new(signals: &[Signal]) -> io::Result<Self> {
        let set: SigSet = signals.iter().copied().collect();
        set.thread_block()?;
        let flags = libc::SFD_NONBLOCK | libc::SFD_CLOEXEC;
        // SAFETY: -1 asks for a new descriptor; the set outlives the call.
        let fd = unsafe { libc::signalfd(-1, set.as_ref(), flags) };
        let fd = nix::Error::result(fd)?;
        // SAFETY: the kernel just opened `fd` for us; nobody else owns it.
        Ok(Self(SharedFd::new(unsafe { OwnedFd::from_raw_fd(fd) })))
    }

    /// The next signal that has arrived; `None` when there is none. Several of the same kind that
    /// arrive before a read count as one.
    pub fn read(&self) -> io::Result<Option<Signal>> {
        let mut info = [0; size_of::<libc::signalfd_siginfo>()];
        match self.0.read(&mut info) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        let [a, b, c, d, ..] = info; // ssi_signo, the first field
        Ok(Some(Signal::try_from(i32::from_ne_bytes([a, b, c, d]))?))
    }
}

#[cfg(target_os = "linux")]
impl AsFd for SignalFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Gives this process the signal state of a fresh program: nothing blocked, every disposition the
/// default, SIGPIPE (which Rust's runtime ignores) included.
///
/// Every path into a new process calls this, after fork and before exec. It neither allocates nor
/// takes a lock.
#[allow(unsafe_code)]
pub fn restore_defaults() -> io::Result<()> {
    for number in 1..=last_signal() {
        // SAFETY: SIG_DFL installs no function of ours. Errors do not matter: SIGKILL and SIGSTOP
        // cannot be changed, nor can the two numbers that the C library keeps for itself.
        unsafe { libc::signal(number, libc::SIG_DFL) };
    }
    // Last, so that a signal which waited finds its default and not a handler of the old life.
    SigSet::empty().thread_set_mask()?;
    Ok(())
}

/// Has this process ignore `signal`, until [`restore_defaults`]; programs it executes ignore it too.
#[allow(unsafe_code)]
pub fn ignore(signal: Signal) -> io::Result<()> {
    // SAFETY: SIG_IGN installs no function of ours.
    let before = unsafe { libc::signal(signal as i32, libc::SIG_IGN) };
    if before == libc::SIG_ERR {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(target_os = "linux")]
fn last_signal() -> i32 {
    libc::SIGRTMAX()
}

#[cfg(not(target_os = "linux"))]
fn last_signal() -> i32 {
    31
}

/// The signals that are blocked for this thread.
pub fn mask() -> io::Result<Vec<Signal>> {
    Ok(SigSet::thread_get_mask()?.iter().collect())
}

/// Sends `signal` to one process.
///
/// # Errors
/// `ESRCH` when it no longer exists; `EPERM` when it is not ours to signal.
pub fn kill(pid: Pid, signal: Signal) -> io::Result<()> {
    Ok(nix::sys::signal::kill(pid.into(), signal)?)
}

/// Sends `signal` to every process of the group that `leader` leads.
///
/// # Errors
/// As [`kill`]; and `EINVAL` for process 1, whose "group" the kernel would take for everybody.
pub fn kill_group(leader: Pid, signal: Signal) -> io::Result<()> {
    if leader.raw() == 1 {
        return Err(nix::Error::EINVAL.into());
    }
    Ok(killpg(leader.into(), signal)?)
}

/// Sends the real-time signal `SIGRTMIN + offset`, which has no name, to one process.
///
/// # Errors
/// As [`kill`], and `EINVAL` beyond the last signal.
#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
pub fn kill_real_time(pid: Pid, offset: i32) -> io::Result<()> {
    // SAFETY: kill takes two numbers and touches no memory of ours.
    nix::Error::result(unsafe { libc::kill(pid.raw(), libc::SIGRTMIN() + offset) })?;
    Ok(())
}

/// The name of signal `number`, such as `SIGKILL`, or `None` when it has none.
///
/// As Python names them (of the real-time signals only the first and the last), where billiard
/// prints the alias or constant that happens to come last in the alphabet, it is the usual name:
/// `SIGINT`, not `SIG_SETMASK`.
pub fn name(number: i32) -> Option<&'static str> {
    match Signal::try_from(number) {
        Ok(signal) => Some(signal.as_str()),
        #[cfg(target_os = "linux")]
        Err(_) if number == libc::SIGRTMIN() => Some("SIGRTMIN"),
        #[cfg(target_os = "linux")]
        Err(_) if number == libc::SIGRTMAX() => Some("SIGRTMAX"),
        Err(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_ordinary_signal_has_a_name_that_reads_back() {
        for number in 1..=31 {
            let name = name(number).unwrap();
            assert_eq!(name.parse::<Signal>().unwrap() as i32, number);
        }
        assert_eq!([0, -1, 32, 65].map(name), [None; 4]);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_ends_of_the_real_time_signals_have_names_as_in_python() {
        assert_eq!(
            [34, 35, 64].map(name),
            [Some("SIGRTMIN"), None, Some("SIGRTMAX")]
        );
    }

    #[test]
    fn nobody_signals_everybody() {
        let init = Pid::new(1).unwrap();
        let error = kill_group(init, Signal::SIGCONT).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
