//! The kernel, as the rest of the crate sees it: time, file descriptors, pipes, processes, signals.
//!
//! This folder is the only one that may say `unsafe`, the only one that forks and the only one that
//! reads a clock. Everything in it is a thin, safe wrapper that owns what it opens; policy lives above.
//!
//! Invariants:
//!
//! - every descriptor made here is close-on-exec;
//! - no function here blocks, except [`process::wait_for`], [`wait::Waiter::wait`] and what [`lines`] has for children and
//!   for the end, which say so;
//! - a [`process::Pid`] names exactly one process, so no call can reach "everybody" by accident.
//!
//! What a worker needs and only Linux has (signalfd, sub-reapers, `close_range`) is compiled there
//! only; the Hub, the codec and the client commands build without it.

pub mod clock;
pub mod fd;
pub mod lines;
#[cfg(target_os = "linux")]
pub mod pipe;
pub mod process;
pub mod signal;
pub mod tcp;
pub mod wait;

/// Calls `f` again for as long as a signal interrupts it.
fn retry<T>(mut f: impl FnMut() -> nix::Result<T>) -> std::io::Result<T> {
    loop {
        match f() {
            Err(nix::Error::EINTR) => {}
            other => return other.map_err(Into::into),
        }
    }
}
