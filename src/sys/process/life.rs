//! The life of a process: fork, session, parent's death, exit, reaping.

use std::fs::File;
use std::io;
use std::mem;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};

use nix::sys::prctl;
use nix::unistd::{self, ForkResult};

use super::super::retry;
use super::super::signal::{self, Signal};
use super::{Exit, Pid, thread_count};

/// Which side of a [`fork`] this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the child must not run on as if it were the parent"]
pub enum Fork {
    /// The caller, and the number of its new child.
    Parent(Pid),
    /// The new process.
    Child,
}

/// Splits this process in two.
///
/// The child inherits everything but threads: it closes what is not its own
/// ([`close_all_except`](super::super::fd::close_all_except)), calls
/// [`restore_defaults`](signal::restore_defaults), and ends in [`exit_now`].
///
/// # Errors
/// Refused when this process has more than one thread: the child would inherit whatever locks the
/// others hold at this moment (the allocator's among them), locked for ever. A thread that was just
/// joined may count for a moment longer. Else as fork(2).
#[allow(unsafe_code)]
pub fn fork() -> io::Result<Fork> {
    let threads = thread_count()?;
    if threads != 1 {
        return Err(io::Error::other(format!(
            "a process of {threads} threads cannot fork safely"
        )));
    }
    // SAFETY: only this thread exists (checked above, and nobody else could start one since), so
    // the child sees every lock and every structure in a consistent state.
    match unsafe { unistd::fork() }? {
        ForkResult::Parent { child } => {
            let pid = Pid::new(child.as_raw()).expect("fork answers the parent with a child's pid");
            Ok(Fork::Parent(pid))
        }
        ForkResult::Child => Ok(Fork::Child),
    }
}

/// Starts another program, with no signal blocked and every disposition at its default.
///
/// Use this instead of [`Command::spawn`]: a program started with the mask of a process that reads
/// its signals through a descriptor would never see them. Works with threads running.
#[allow(unsafe_code)]
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    // SAFETY: `restore_defaults` makes only async-signal-safe calls and does not allocate, which
    // is what may run between fork and exec of a process with threads.
    unsafe { command.pre_exec(signal::restore_defaults) };
    command.spawn()
}

/// As [`spawn`], and the kernel sends the program `signal` when this process dies, however it dies.
///
/// "Process" is the thread that calls this, which should be the one that lives as long as the process.
#[allow(unsafe_code)]
pub fn spawn_bound(command: &mut Command, signal: Signal) -> io::Result<Child> {
    let parent = unistd::getpid();
    let bind = move || {
        die_with_parent(signal)?;
        if unistd::getppid() == parent {
            Ok(())
        } else {
            Err(nix::Error::ESRCH.into()) // too late: the parent has died already
        }
    };
    // SAFETY: prctl and getppid are async-signal-safe, and an error made of a number allocates nothing.
    unsafe { command.pre_exec(bind) };
    spawn(command)
}

/// Ends this process at once: no destructor, no exit handler, no buffer flushed (`_exit`).
///
/// The only way out of a forked child: its copies of the parent's values must not be dropped.
#[allow(unsafe_code)]
pub fn exit_now(code: i32) -> ! {
    // SAFETY: ends the process without touching its memory.
    unsafe { libc::_exit(code) }
}

/// Takes note of one child that has ended, in whatever order they end; `None` when none has.
///
/// SIGCHLD is not counted by the kernel: after each one call this until it answers `None`. Children
/// adopted by [`become_subreaper`] are among the answers.
pub fn reap() -> io::Result<Option<(Pid, Exit)>> {
    match wait(libc::P_ALL, 0, libc::WEXITED | libc::WNOHANG) {
        Err(error) if error.raw_os_error() == Some(libc::ECHILD) => Ok(None),
        other => other,
    }
}

/// Waits until the child `pid` has ended. **Blocks**: for a child that is known to end now, such as
/// the middle process of a double fork.
///
/// # Errors
/// When `pid` is not a child of this process, or was reaped already.
pub fn wait_for(pid: Pid) -> io::Result<Exit> {
    let ended = wait(libc::P_PID, pid.raw().cast_unsigned(), libc::WEXITED)?;
    ended
        .map(|(_, exit)| exit)
        .ok_or_else(|| io::ErrorKind::NotFound.into())
}

/// waitid(2). Written on libc: nix's wrapper fails for a child killed by a real-time signal, after
/// the kernel has already forgotten that child.
#[allow(unsafe_code)]
fn wait(kind: libc::idtype_t, id: libc::id_t, flags: i32) -> io::Result<Option<(Pid, Exit)>> {
    // SAFETY: a siginfo_t is plain data for which all zeroes is a value.
    let mut info: libc::siginfo_t = unsafe { mem::zeroed() };
    retry(|| {
        // SAFETY: `info` outlives the call, which writes at most one siginfo_t.
        let result = unsafe { libc::waitid(kind, id, &raw mut info, flags) };
        nix::Error::result(result)
    })?;
    // SAFETY: waitid fills the SIGCHLD fields, or (nothing has ended) leaves our zeroes in place.
    let (pid, status) = unsafe { (info.si_pid(), info.si_status()) };
    let exit = match info.si_code {
        libc::CLD_EXITED => Exit::Code(status),
        _ => Exit::Signal(status), // CLD_KILLED or CLD_DUMPED: WEXITED asks for nothing else
    };
    Ok(Pid::new(pid).map(|pid| (pid, exit)))
}

/// From now on every orphan among this process's descendants becomes its child, to be [`reap`]ed.
pub fn become_subreaper() -> io::Result<()> {
    Ok(prctl::set_child_subreaper(true)?)
}

/// Asks the kernel to send `signal` to this process when its parent dies.
///
/// Lost over fork and over exec of a privileged program; and a parent that died *before* this call
/// sends nothing, so compare [`parent`](super::parent) afterwards. "Parent" is the thread that
/// forked, which [`fork`] makes the same thing.
pub fn die_with_parent(signal: Signal) -> io::Result<()> {
    Ok(prctl::set_pdeathsig(signal)?)
}

/// Makes this process the leader of a new session and process group, without a terminal.
///
/// # Errors
/// When it leads a process group already; a freshly forked child never does.
pub fn new_session() -> io::Result<()> {
    unistd::setsid()?;
    Ok(())
}

/// Lets standard input read as empty, so that a child cannot take what is typed for its parent.
pub fn redirect_stdin_to_null() -> io::Result<()> {
    // Rust's runtime opens descriptors 0 to 2 before `main`, so this file is never itself number 0.
    let null = File::open("/dev/null")?;
    Ok(unistd::dup2_stdin(null)?)
}
