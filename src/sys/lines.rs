//! Lines of a log, written without holding up who has something else to do: nobody may be reading.
//!
//! | who | how | when nobody reads |
//! |---|---|---|
//! | main | [`Background`]: a thread writes them | at most 1 MiB waits, and the newest are dropped |
//! | a child | [`Patient`]: at once, so that nothing is lost when the child crashes | it waits a second for room, and from then on drops what there is no room for |
//!
//! A line of up to 4 KiB is written whole or not at all; a longer one as well, as long as somebody reads.
//!
//! What was dropped is counted ([`dropped`]), and there is a number to tell the log itself once somebody reads again
//! ([`untold`]).

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::FileTypeExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, Sender, SyncSender};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::sys::socket::{MsgFlags, send};

use super::{fd, retry};

/// Octets that may wait for the thread.
const LIMIT: usize = 1 << 20;
/// Octets that the thread writes with one call, if so many wait: what a full pipe takes whole or not at all, or lines
/// of other processes would come between.
const BATCH: usize = libc::PIPE_BUF;
/// How long a child waits for room, in milliseconds.
const PATIENCE: u16 = 1000;

static WAITING: AtomicUsize = AtomicUsize::new(0);
static STALLED: AtomicBool = AtomicBool::new(false);
static DROPPED: AtomicU64 = AtomicU64::new(0);
static TOLD: AtomicU64 = AtomicU64::new(0);
static THREAD: OnceLock<Sender<Message>> = OnceLock::new();

enum Message {
    Line(Vec<u8>),
    Flush(SyncSender<()>),
}

/// How many lines of this process were dropped.
pub fn dropped() -> u64 {
    DROPPED.load(Ordering::Relaxed)
}

/// How many were dropped since this was asked last; 0 while there is no use in telling, as nobody reads.
pub fn untold() -> u64 {
    let stalled = STALLED.load(Ordering::Relaxed) || WAITING.load(Ordering::Relaxed) > LIMIT / 2;
    match stalled {
        true => 0,
        false => dropped().saturating_sub(TOLD.swap(dropped(), Ordering::Relaxed)),
    }
}

/// Waits until the thread has written what it was given, but not longer than this. Whether it has.
pub fn flush(patience: Duration) -> bool {
    let Some(thread) = THREAD.get() else {
        return true;
    };
    let (done, is_done) = mpsc::sync_channel(1);
    thread.send(Message::Flush(done)).is_ok() && is_done.recv_timeout(patience).is_ok()
}

/// Hands lines to a thread of its own. One for each process.
#[derive(Clone, Debug)]
pub struct Background(Sender<Message>);

impl Background {
    /// Starts the thread, which writes to `target`. It takes no signals: those are for who called this.
    ///
    /// # Errors
    /// When there can be no thread, or is one already.
    pub fn start(target: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, lines) = mpsc::channel();
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        let thread = std::thread::Builder::new().name("log".into());
        let started = thread.spawn(move || write_out(&lines, target));
        mask.thread_set_mask()?;
        started?;
        match THREAD.set(sender.clone()) {
            Ok(()) => Ok(Self(sender)),
            Err(_) => Err(io::Error::other("there is a log already")),
        }
    }
}

impl Write for Background {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if WAITING.load(Ordering::Relaxed) + line.len() > LIMIT {
            DROPPED.fetch_add(1, Ordering::Relaxed);
            return Ok(line.len());
        }
        WAITING.fetch_add(line.len(), Ordering::Relaxed);
        if self.0.send(Message::Line(line.to_owned())).is_err() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The thread.
fn write_out(messages: &Receiver<Message>, mut target: impl Write) {
    let mut batch = Batch::default();
    while let Ok(first) = messages.recv() {
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Line(line) => {
                    if batch.text.len() + line.len() > BATCH {
                        batch.write_to(&mut target);
                    }
                    batch.text.extend_from_slice(&line);
                    batch.lines += 1;
                }
                Message::Flush(done) => {
                    batch.write_to(&mut target);
                    let _ = done.send(()); // who asked may have lost patience
                }
            }
            next = messages.try_recv().ok();
        }
        batch.write_to(&mut target);
    }
}

/// Lines that are written with one call.
#[derive(Default)]
struct Batch {
    text: Vec<u8>,
    lines: u64,
}

impl Batch {
    fn write_to(&mut self, target: &mut impl Write) {
        // A full disk is no reason to end, and a log is no place to say so.
        if target.write_all(&self.text).is_err() {
            DROPPED.fetch_add(self.lines, Ordering::Relaxed);
        }
        WAITING.fetch_sub(self.text.len(), Ordering::Relaxed);
        self.text.clear();
        self.text.shrink_to(BATCH);
        self.lines = 0;
    }
}

/// Writes to this process's standard error at once, and waits only so long for somebody to read.
///
/// Other processes have the same pipe or terminal, so it is not switched to nonblocking but opened once more.
#[derive(Debug)]
pub struct Patient {
    target: Target,
    /// The end of a line that has left in part: it goes first, or the next line would be its end.
    rest: Vec<u8>,
}

#[derive(Debug)]
enum Target {
    /// A pipe or a terminal: opened again, nonblocking.
    Again(File),
    /// Sent to without waiting.
    Socket,
    /// A file, or what cannot be opened again.
    Plain,
}

impl Patient {
    /// Over standard error, whatever it is.
    pub fn stderr() -> Self {
        let stderr = io::stderr();
        let kind = std::fs::metadata("/proc/self/fd/2").map(|data| data.file_type());
        let target = match kind {
            Ok(kind) if kind.is_socket() => Target::Socket,
            Ok(kind) if kind.is_fifo() || kind.is_char_device() => {
                fd::open_again_for_writing(stderr.as_fd())
                    .map_or(Target::Plain, |fd| Target::Again(File::from(fd)))
            }
            _ => Target::Plain,
        };
        Self {
            target,
            rest: Vec::new(),
        }
    }

    fn fd(&self) -> BorrowedFd<'_> {
        match &self.target {
            Target::Again(file) => file.as_fd(),
            Target::Socket | Target::Plain => {
                // Standard error is never closed.
                #[allow(unsafe_code)]
                // SAFETY: 2 stays open for as long as this process lives.
                unsafe {
                    BorrowedFd::borrow_raw(libc::STDERR_FILENO)
                }
            }
        }
    }

    /// Writes all of it, or as much as there is room for within the time.
    fn write_some(&self, bytes: &[u8]) -> usize {
        let mut written = 0;
        while let Some(left) = bytes.get(written..).filter(|left| !left.is_empty()) {
            let result = match &self.target {
                Target::Socket => {
                    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
                    retry(|| send(self.fd().as_raw_fd(), left, flags))
                }
                _ => retry(|| nix::unistd::write(self.fd(), left)),
            };
            match result {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && self.has_room() => {}
                Err(_) => break,
            }
        }
        written
    }

    /// Whether room comes in time. Who has waited in vain once does not wait again.
    fn has_room(&self) -> bool {
        let patience = match STALLED.load(Ordering::Relaxed) {
            true => PollTimeout::ZERO,
            false => PollTimeout::from(PATIENCE),
        };
        let mut fds = [PollFd::new(self.fd(), PollFlags::POLLOUT)];
        let ready = poll(&mut fds, patience).is_ok_and(|ready| ready > 0);
        STALLED.store(!ready, Ordering::Relaxed);
        ready
    }
}

impl Write for Patient {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if !self.rest.is_empty() {
            let written = self.write_some(&self.rest);
            self.rest.drain(..written);
        }
        let written = match self.rest.is_empty() {
            true => self.write_some(line),
            false => 0,
        };
        if written == line.len() {
            STALLED.store(false, Ordering::Relaxed);
        } else if written == 0 {
            DROPPED.fetch_add(1, Ordering::Relaxed);
        } else {
            self.rest = line.get(written..).unwrap_or_default().to_owned();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    /// T27.2: main goes on while nobody reads; then comes what there was room for, whole, and the count of the rest.
    #[test]
    fn t27_2_who_writes_does_not_wait_and_what_is_dropped_is_counted() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut log = Background::start(writer).unwrap();
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..3000 {
            log.write_all(&line).unwrap();
        }
        assert!(dropped() > 0);
        assert_eq!(untold(), 0, "there is nobody to tell it to");
        assert!(!flush(Duration::from_millis(10)));
        let reading = std::thread::spawn(move || {
            let mut read = Vec::new();
            reader.read_to_end(&mut read).map(|_| read)
        });
        assert!(flush(Duration::from_secs(10)));
        assert_eq!(untold(), dropped());
        assert_eq!(untold(), 0, "it was told");
        assert!(Background::start(io::sink()).is_err(), "one for a process");
        drop(reading); // the thread holds the pipe for as long as the process lives
    }

    #[test]
    fn lines_go_together_up_to_what_a_pipe_takes_whole() {
        struct Calls(Vec<usize>);
        impl Write for Calls {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0.push(bytes.len());
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (sender, messages) = mpsc::channel();
        let sizes = [1500, 1500, 1500, 9000, 10];
        for size in sizes {
            sender.send(Message::Line(vec![b'x'; size])).unwrap();
        }
        drop(sender);
        WAITING.fetch_add(sizes.iter().sum(), Ordering::Relaxed);
        let mut calls = Calls(Vec::new());
        write_out(&messages, &mut calls);
        assert_eq!(calls.0, [3000, 1500, 9000, 10]);
    }
}
