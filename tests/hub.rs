//! The Hub, behaviour by behaviour, on real pipes and sockets.
#![allow(clippy::disallowed_methods)]

#[path = "hub/calls.rs"]
mod calls;
#[path = "hub/descriptors.rs"]
mod descriptors;
#[path = "hub/oracle.rs"]
mod oracle;
#[path = "hub/removal.rs"]
mod removal;

use std::io::{self, PipeReader, PipeWriter, Read, pipe};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::{Duration, Instant};

use celeriac::hub::{Hub, Key, Next};
use celeriac::sys::fd::set_nonblocking;

/// What the tests lend to their handlers: a list of what happened, and keys to act upon.
#[derive(Default)]
struct World {
    seen: Vec<&'static str>,
    keys: Vec<Key>,
}

impl World {
    /// What has happened since the last time.
    fn seen(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.seen)
    }
}

type TestHub = Hub<World>;

/// A turn that does not sleep.
#[track_caller]
fn turn(hub: &mut TestHub, world: &mut World) -> Vec<&'static str> {
    hub.tick(world, Some(Duration::ZERO)).expect("a turn");
    world.seen()
}

/// Turns until the condition holds.
#[track_caller]
fn turn_until(hub: &mut TestHub, world: &mut World, condition: impl Fn(&World) -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition(world) {
        assert!(Instant::now() < deadline, "not within ten seconds");
        hub.tick(world, Some(Duration::from_millis(50)))
            .expect("a turn");
    }
}

/// What `run` does, but not for ever.
#[track_caller]
fn finish<C>(hub: &mut Hub<C>, cx: &mut C) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !hub.is_idle() {
        assert!(
            Instant::now() < deadline,
            "something is left after ten seconds"
        );
        hub.tick(cx, Some(Duration::from_millis(50)))
            .expect("a turn");
    }
}

/// A turn in which something panics.
#[track_caller]
fn panicking_turn(hub: &mut TestHub, world: &mut World) {
    let turn = catch_unwind(AssertUnwindSafe(|| hub.tick(world, Some(Duration::ZERO))));
    assert!(turn.is_err(), "the panic did not reach whoever called tick");
}

/// A pipe whose reading end can be shared with a Hub.
fn line() -> (Rc<PipeReader>, PipeWriter) {
    let (reader, writer) = pipe().expect("a pipe");
    set_nonblocking(&reader, true).expect("a nonblocking pipe");
    set_nonblocking(&writer, true).expect("a nonblocking pipe");
    (Rc::new(reader), writer)
}

/// Reads until there is nothing more; whether that was the end of file.
fn drain(mut reader: &PipeReader) -> bool {
    loop {
        match reader.read(&mut [0; 64]) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                return false;
            }
        }
    }
}

/// Registers a reader that notes its name and drains.
fn note(hub: &mut TestHub, reader: &Rc<PipeReader>, name: &'static str) -> Key {
    let source = reader.clone();
    let reader = reader.clone();
    let handler = move |world: &mut World, _: &mut TestHub, _| {
        world.seen.push(name);
        if drain(&reader) {
            Next::Remove
        } else {
            Next::Wait
        }
    };
    hub.add_reader(source, handler).expect("a registration")
}
