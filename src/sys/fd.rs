//! File descriptors: a handle that two owners may share, and what a fresh child must close.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};

use super::retry;

/// A shared handle on one open file, which closes with the last handle.
///
/// A component reads and writes its file; the event loop's slot holds the same file, so that it
/// cannot be closed while it is still registered. This is the one shared owner of the house.
///
/// Reads and writes are those of the kernel: on a nonblocking file they answer
/// [`WouldBlock`](io::ErrorKind::WouldBlock), and a read of `0` bytes is the end of the file.
///
/// ```
/// # #[cfg(target_os = "linux")] {
/// use celeriac::sys::{fd::SharedFd, pipe};
///
/// let (read, write) = pipe::pipe()?;
/// let (read, write) = (SharedFd::new(read), SharedFd::new(write));
/// write.write(b"hello")?;
/// assert_eq!(read.pending()?, 5);
/// # }
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct SharedFd(Rc<OwnedFd>);

impl SharedFd {
    /// Takes over `fd`: a file, a socket, a pipe end.
    pub fn new(fd: impl Into<OwnedFd>) -> Self {
        Self(Rc::new(fd.into()))
    }

    /// Reads once into `buffer`; `0` means the end of the file (or an empty `buffer`).
    pub fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        retry(|| nix::unistd::read(self, buffer))
    }

    /// Writes once; the answer may be less than all of `bytes`.
    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        retry(|| nix::unistd::write(self, bytes))
    }

    /// Writes once from several slices; the answer may be less than all of them.
    pub fn write_vectored(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        retry(|| nix::sys::uio::writev(self, slices))
    }

    /// How many bytes can be read right now without waiting (`FIONREAD`).
    ///
    /// # Errors
    /// When the kernel does not count for this kind of file.
    #[allow(unsafe_code)]
    pub fn pending(&self) -> io::Result<usize> {
        let mut count: libc::c_int = 0;
        // SAFETY: FIONREAD stores one c_int at the address it is given, which lives past the call.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), libc::FIONREAD, &raw mut count) };
        nix::Error::result(result)?;
        Ok(usize::try_from(count).unwrap_or(0))
    }
}

impl AsFd for SharedFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Switches `O_NONBLOCK` on or off. The flag belongs to the open file: every duplicate of the
/// descriptor, in every process, sees it.
pub fn set_nonblocking(fd: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = OFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFL)?);
    flags.set(OFlag::O_NONBLOCK, on);
    fcntl(&fd, FcntlArg::F_SETFL(flags))?;
    Ok(())
}

/// Switches whether a program that this process executes inherits `fd` (the reverse of
/// close-on-exec).
pub fn set_inheritable(fd: impl AsFd, on: bool) -> io::Result<()> {
    let mut flags = FdFlag::from_bits_retain(fcntl(&fd, FcntlArg::F_GETFD)?);
    flags.set(FdFlag::FD_CLOEXEC, !on);
    fcntl(&fd, FcntlArg::F_SETFD(flags))?;
    Ok(())
}

/// The reading end of a pipe once more, as an open file of its own: nonblocking and close-on-exec, whatever the
/// other one is. What either reads is gone for the other.
///
/// # Errors
/// Where there is no `/proc`.
#[cfg(target_os = "linux")]
pub fn open_again(pipe: impl AsFd) -> io::Result<OwnedFd> {
    open_once_more(pipe, OFlag::O_RDONLY)
}

/// The same of a writing end, or of a terminal.
///
/// # Errors
/// As [`open_again`], and where the file belongs to somebody else.
pub fn open_again_for_writing(file: impl AsFd) -> io::Result<OwnedFd> {
    open_once_more(file, OFlag::O_WRONLY | OFlag::O_NOCTTY)
}

fn open_once_more(file: impl AsFd, how: OFlag) -> io::Result<OwnedFd> {
    use nix::sys::stat::Mode;

    let path = format!("/proc/self/fd/{}", file.as_fd().as_raw_fd());
    let flags = how | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(path.as_str(), flags, Mode::empty())?)
}

/// Every descriptor this process has open, in rising order, from `/proc/self/fd`.
#[cfg(target_os = "linux")]
pub fn open_fds() -> io::Result<Vec<RawFd>> {
    use nix::dir::Dir;
    use nix::sys::stat::Mode;

    let flags = OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let mut directory = Dir::open("/proc/self/fd", flags, Mode::empty())?;
    let own = directory.as_raw_fd(); // open only while we look
    let mut fds = Vec::new();
    for entry in directory.iter() {
        let number: Option<RawFd> = entry?
            .file_name()
            .to_str()
            .ok()
            .and_then(|name| name.parse().ok());
        fds.extend(number.filter(|&fd| fd != own));
    }
    fds.sort_unstable();
    Ok(fds)
}

/// Closes every descriptor except `0`, `1`, `2` and those in `keep`.
///
/// For a child right after [`fork`](super::process::fork) only: it has copies of all its parent's
/// descriptors and must not let one of them outlive the parent's. Values in this process that own
/// a closed descriptor must be neither used nor dropped afterwards, so a child that calls this
/// ends in [`exit_now`](super::process::exit_now), never by returning into its parent's frames.
#[cfg(target_os = "linux")]
pub fn close_all_except(keep: &[RawFd]) -> io::Result<()> {
    let gaps = gaps_between(keep);
    if gaps
        .iter()
        .try_for_each(|&(first, last)| close_range(first, last))
        .is_ok()
    {
        return Ok(());
    }
    // Linux before 5.9, or a sandbox that does not know the call: one by one.
    for fd in open_fds()? {
        if fd > 2 && !keep.contains(&fd) {
            close(fd);
        }
    }
    Ok(())
}

/// The ranges of descriptors to close, both ends included: everything above 2 that is not kept.
#[cfg(target_os = "linux")]
fn gaps_between(keep: &[RawFd]) -> Vec<(u32, u32)> {
    let mut kept: Vec<u32> = keep
        .iter()
        .filter_map(|&fd| u32::try_from(fd).ok())
        .collect();
    kept.sort_unstable();
    let mut gaps = Vec::new();
    let mut first = 3;
    for fd in kept.into_iter().filter(|&fd| fd > 2) {
        if fd > first {
            gaps.push((first, fd - 1));
        }
        first = first.max(fd + 1);
    }
    gaps.push((first, u32::MAX));
    gaps
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn close_range(first: u32, last: u32) -> nix::Result<()> {
    // SAFETY: takes plain numbers. That nobody uses the closed descriptors afterwards is the
    // documented duty of `close_all_except`'s caller.
    let result = unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    nix::Error::result(result).map(drop)
}

#[cfg(target_os = "linux")]
#[allow(unsafe_code)]
fn close(fd: RawFd) {
    // SAFETY: as in `close_range`. The result does not matter: the number is free either way.
    unsafe { libc::close(fd) };
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::super::pipe::pipe;
    use super::*;

    #[test]
    fn a_file_closes_with_its_last_handle() {
        let (read, write) = pipe().unwrap();
        let read = SharedFd::new(read);
        let write = SharedFd::new(write);
        let other = write.clone();
        let slices = [IoSlice::new(b"he"), IoSlice::new(b"llo")];
        assert_eq!(write.write_vectored(&slices).unwrap(), 5);
        assert_eq!(read.pending().unwrap(), 5);
        let mut buffer = [0; 8];
        assert_eq!(read.read(&mut buffer).unwrap(), 5);
        assert_eq!(&buffer[..5], b"hello");

        drop(write);
        let error = read.read(&mut buffer).unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::WouldBlock,
            "the other handle is still there"
        );
        drop(other);
        assert_eq!(read.read(&mut buffer).unwrap(), 0);
    }

    #[test]
    fn flags_are_switched_one_by_one() {
        let (read, _write) = pipe().unwrap();
        let nonblocking = |fd: &OwnedFd| fcntl(fd, FcntlArg::F_GETFL).unwrap() & libc::O_NONBLOCK;
        let inheritable = |fd: &OwnedFd| fcntl(fd, FcntlArg::F_GETFD).unwrap() == 0;
        assert!(nonblocking(&read) != 0 && !inheritable(&read));
        set_nonblocking(&read, false).unwrap();
        set_inheritable(&read, true).unwrap();
        assert!(nonblocking(&read) == 0 && inheritable(&read));
        set_nonblocking(&read, true).unwrap();
        set_inheritable(&read, false).unwrap();
        assert!(nonblocking(&read) != 0 && !inheritable(&read));
    }

    #[test]
    fn open_descriptors_are_listed_in_order() {
        let (read, write) = pipe().unwrap();
        let fds = open_fds().unwrap();
        assert!(fds.is_sorted());
        assert!(fds.contains(&read.as_raw_fd()) && fds.contains(&write.as_raw_fd()));
    }

    #[test]
    fn the_gaps_leave_out_what_is_kept_and_the_standard_three() {
        assert_eq!(gaps_between(&[]), [(3, u32::MAX)]);
        assert_eq!(gaps_between(&[3, 4]), [(5, u32::MAX)]);
        assert_eq!(
            gaps_between(&[9, 1, 5, 5, -1]),
            [(3, 4), (6, 8), (10, u32::MAX)]
        );
    }
}
