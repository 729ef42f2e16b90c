//! The Hub as a stranger uses it: inside another event loop, and with descriptors of one's own.
#![allow(clippy::disallowed_methods)]

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::time::{Duration, Instant};

use celeriac::hub::{Hub, Interest, Mode, Next};
use polling::{Event, Events, PollMode, Poller};

/// A consumer of its own kind: lines of text from a socket. Any type with a descriptor is a source.
struct Lines {
    socket: UnixStream,
}

impl AsFd for Lines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The program's state: what has been read so far, and what is complete.
#[derive(Default)]
struct Program {
    partial: String,
    lines: Vec<String>,
    beats: usize,
}

impl Program {
    /// Reads a little at a time, and says so: everybody else has a turn in between.
    fn read(&mut self, mut socket: &UnixStream) -> Next {
        let mut buffer = [0; 4];
        match socket.read(&mut buffer) {
            Ok(0) => Next::Remove,
            Ok(n) => {
                self.partial
                    .push_str(&String::from_utf8_lossy(&buffer[..n]));
                while let Some((line, rest)) = self.partial.split_once('\n') {
                    self.lines.push(line.to_owned());
                    self.partial = rest.to_owned();
                }
                Next::Again
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Next::Wait,
            Err(error) => panic!("{error}"),
        }
    }
}

/// A Hub that reads lines from the other end of the returned socket.
fn reading_hub() -> (Hub<Program>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("a nonblocking socket");
    let lines = Rc::new(Lines { socket: ours });
    let mut hub = Hub::new().expect("a Hub");
    hub.add(
        lines.clone(),
        Interest::READ,
        Mode::Drain,
        move |program: &mut Program, _, _| program.read(&lines.socket),
    )
    .expect("a registration");
    (hub, theirs)
}

#[test]
fn a_consumer_with_its_own_descriptor_reads_in_small_steps_to_the_end() {
    let (mut hub, mut peer) = reading_hub();
    let mut program = Program::default();
    peer.write_all(b"one\ntwo and more\nthr").unwrap();
    peer.write_all(b"ee\n").unwrap();
    drop(peer);
    hub.run(&mut program).unwrap();
    assert_eq!(program.lines, ["one", "two and more", "three"]);
}

/// The recipe of the module page: watch the Hub's descriptor, sleep until its next deadline at most,
/// then give it a turn that does not sleep.
#[test]
fn a_hub_lives_inside_a_foreign_loop() {
    let (mut hub, mut peer) = reading_hub();
    let mut program = Program::default();
    let beat = hub.call_repeatedly(Duration::from_millis(5), |program: &mut Program, _| {
        program.beats += 1;
    });
    hub.call_after(Duration::from_millis(20), move |_, hub| {
        hub.cancel(beat);
        peer.write_all(b"late\n").unwrap(); // and hangs up
    });

    let foreign = Poller::new().unwrap();
    // SAFETY: the Hub outlives the poller's last wait.
    #[allow(unsafe_code)]
    unsafe { foreign.add_with_mode(&hub.as_fd(), Event::readable(7), PollMode::Level) }.unwrap();
    let (mut events, mut wake_ups) = (Events::new(), 0);
    while !hub.is_idle() {
        let deadline = hub.next_deadline();
        let wait = deadline.map(|at| at.saturating_duration_since(Instant::now()));
        events.clear();
        foreign.wait(&mut events, wait).unwrap();
        hub.tick(&mut program, Some(Duration::ZERO)).unwrap();
        wake_ups += 1;
    }
    assert_eq!(program.lines, ["late"]);
    assert!((1..=4).contains(&program.beats), "{} beats", program.beats);
    assert!(wake_ups < 50, "{wake_ups} wake-ups for a handful of events");
}

#[test]
fn a_hub_lives_inside_a_hub() {
    /// The outer program has an inner one.
    struct Outer {
        hub: Hub<Program>,
        program: Program,
    }
    let (hub, mut peer) = reading_hub();
    let descriptor = hub.as_fd().try_clone_to_owned().unwrap();
    let mut outer_hub = Hub::new().unwrap();
    outer_hub
        .add_reader(descriptor, |outer: &mut Outer, _, _| {
            outer
                .hub
                .tick(&mut outer.program, Some(Duration::ZERO))
                .unwrap();
            Next::Wait
        })
        .unwrap();
    let mut outer = Outer {
        hub,
        program: Program::default(),
    };
    peer.write_all(b"x\n").unwrap();
    while outer.program.lines.is_empty() {
        outer_hub
            .tick(&mut outer, Some(Duration::from_secs(10)))
            .unwrap();
    }
    assert_eq!(outer.program.lines, ["x"]);
    assert_eq!(outer_hub.counters().handlers, 1);
}
