//! What handlers hear, in both modes, and of every kind of descriptor.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use celeriac::hub::{Interest, Mode, Next, Ready};
use nix::fcntl::{FcntlArg, fcntl};

use super::*;

fn sockets() -> (Rc<UnixStream>, UnixStream) {
    let (ours, theirs) = UnixStream::pair().expect("a pair of sockets");
    ours.set_nonblocking(true).expect("a nonblocking socket");
    (Rc::new(ours), theirs)
}

/// Registers `handler` under a name; it hears and notes, and does nothing.
fn hear(
    hub: &mut Hub<Vec<Ready>>,
    source: impl AsFd + 'static,
    interest: Interest,
    mode: Mode,
    next: Next,
) -> io::Result<Key> {
    hub.add(source, interest, mode, move |heard, _, ready| {
        heard.push(ready);
        next
    })
}

#[test]
fn a_level_handler_that_reads_too_little_is_called_in_every_turn_until_it_has_read_all() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (reader, mut writer) = line();
    let source = reader.clone();
    hub.add_reader(source, move |world, _, _| {
        let n = (&*reader).read(&mut [0; 1]).expect("a byte");
        assert_eq!(n, 1);
        world.seen.push("byte");
        Next::Wait
    })
    .unwrap();
    writer.write_all(b"abc").unwrap();
    for _ in 0..3 {
        assert_eq!(turn(&mut hub, &mut world), ["byte"]);
    }
    assert_eq!(turn(&mut hub, &mut world), [""; 0]);
}

#[test]
fn a_draining_handler_that_stops_early_is_not_called_before_something_happens() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (reader, mut writer) = line();
    hub.add(
        reader,
        Interest::READ,
        Mode::Drain,
        |world: &mut World, _, _| {
            world.seen.push("called");
            Next::Wait
        },
    )
    .unwrap();
    writer.write_all(b"a").unwrap();
    assert_eq!(turn(&mut hub, &mut world), ["called"]);
    assert_eq!(turn(&mut hub, &mut world), [""; 0]);
    writer.write_all(b"b").unwrap();
    assert_eq!(turn(&mut hub, &mut world), ["called"]);
}

#[test]
fn again_means_the_next_turn_without_a_sleep_and_with_the_same_readiness() {
    for mode in [Mode::Drain, Mode::Level] {
        let mut hub = Hub::<Vec<Ready>>::new().unwrap();
        let mut heard = Vec::new();
        let (reader, mut writer) = line();
        hear(&mut hub, reader, Interest::READ, mode, Next::Again).unwrap();
        writer.write_all(b"a").unwrap();
        for _ in 0..5 {
            // Would sleep for ever if there were nothing to do.
            assert_eq!(hub.tick(&mut heard, None).unwrap(), 1);
        }
        assert!(hub.next_deadline().unwrap() <= Instant::now());
        let readable = Ready {
            readable: true,
            ..Ready::default()
        };
        assert_eq!(heard, [readable; 5]);
    }
}

#[test]
fn who_wants_more_waits_its_turn() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (greedy, mut to_greedy) = line();
    let (modest, mut to_modest) = line();
    hub.add(
        greedy,
        Interest::READ,
        Mode::Drain,
        |world: &mut World, _, _| {
            world.seen.push("greedy");
            Next::Again
        },
    )
    .unwrap();
    note(&mut hub, &modest, "modest");
    to_greedy.write_all(b"a").unwrap();
    assert_eq!(turn(&mut hub, &mut world), ["greedy"]);
    to_modest.write_all(b"a").unwrap();
    assert_eq!(turn(&mut hub, &mut world), ["greedy", "modest"]);
}

#[test]
fn a_hang_up_is_readable_so_that_a_plain_reader_finds_the_end_of_file() {
    for mode in [Mode::Level, Mode::Drain] {
        let mut hub = Hub::<Vec<Ready>>::new().unwrap();
        let mut heard = Vec::new();
        let (reader, writer) = line();
        hear(&mut hub, reader, Interest::READ, mode, Next::Remove).unwrap();
        drop(writer);
        finish(&mut hub, &mut heard); // ends, because the handler removed itself
        let ended = Ready {
            readable: true,
            read_closed: true,
            ..Ready::default()
        };
        assert_eq!(heard, [ended]);
    }
}

#[test]
fn what_was_sent_before_a_hang_up_is_read_before_the_end_of_file() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (reader, mut writer) = line();
    let source = reader.clone();
    hub.add_reader(source, move |world, _, _| {
        match (&*reader).read(&mut [0; 4]).unwrap() {
            0 => Next::Remove,
            _ => {
                world.seen.push("data");
                Next::Wait
            }
        }
    })
    .unwrap();
    writer.write_all(b"12345678").unwrap();
    drop(writer);
    finish(&mut hub, &mut world);
    assert_eq!(world.seen(), ["data", "data"]);
}

#[test]
fn half_a_close_is_told_from_a_whole_one() {
    let mut hub = Hub::<Vec<Ready>>::new().unwrap();
    let mut heard = Vec::new();
    let (ours, theirs) = sockets();
    hear(&mut hub, ours, Interest::BOTH, Mode::Drain, Next::Wait).unwrap();
    hub.tick(&mut heard, Some(Duration::ZERO)).unwrap();
    theirs.shutdown(Shutdown::Write).unwrap();
    hub.tick(&mut heard, Some(Duration::ZERO)).unwrap();
    drop(theirs);
    hub.tick(&mut heard, Some(Duration::ZERO)).unwrap();
    let open = Ready {
        writable: true,
        ..Ready::default()
    };
    let half = Ready {
        readable: true,
        read_closed: true,
        ..open
    };
    let whole = Ready {
        write_closed: true,
        ..half
    };
    assert_eq!(heard, [open, half, whole]);
}

#[test]
fn a_broken_pipe_is_writable_so_that_a_plain_writer_finds_the_error() {
    let mut hub = Hub::<Vec<Ready>>::new().unwrap();
    let mut heard = Vec::new();
    let (reader, writer) = line();
    drop(reader);
    hear(&mut hub, writer, Interest::WRITE, Mode::Level, Next::Wait).unwrap();
    hub.tick(&mut heard, Some(Duration::ZERO)).unwrap();
    let [ready] = heard[..] else {
        panic!("{heard:?}")
    };
    assert!(ready.writable && ready.write_closed && ready.error);
    assert!(
        !ready.readable && !ready.read_closed,
        "it has no interest in reading"
    );
}

#[test]
fn regular_files_and_directories_are_refused_by_name_of_the_reason() {
    let mut hub = Hub::<Vec<Ready>>::new().unwrap();
    for path in ["Cargo.toml", "src"] {
        let file = File::open(path).unwrap();
        let error = hear(&mut hub, file, Interest::READ, Mode::Level, Next::Wait).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(
            error
                .to_string()
                .contains("is a regular file or a directory"),
            "{error}"
        );
    }
    assert!(hub.is_idle(), "nothing stays behind");
}

/// Sources that lie: their descriptor is closed, as happens with foreign libraries. The number is
/// far above what other tests open, so nobody takes it meanwhile.
fn at_a_high_number(fd: impl AsFd, number: i32) -> &'static OwnedFd {
    let duplicate = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(number)).expect("a duplicate");
    // SAFETY: the number is new and ours; leaked, it is closed by `close` alone.
    #[allow(unsafe_code)]
    let duplicate = unsafe { OwnedFd::from_raw_fd(duplicate) };
    Box::leak(Box::new(duplicate))
}

#[test]
fn a_closed_descriptor_is_an_error_when_it_is_added() {
    let mut hub = Hub::<Vec<Ready>>::new().unwrap();
    let closed = at_a_high_number(line().0, 700);
    nix::unistd::close(closed.as_raw_fd()).unwrap();
    let error = hear(&mut hub, closed, Interest::READ, Mode::Level, Next::Wait).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(libc::EBADF));
    assert!(hub.is_idle());
}

/// The kernel follows the open file, not the number: while a duplicate lives it goes on reporting.
#[test]
fn a_descriptor_closed_behind_the_hubs_back_loses_its_registration_and_does_not_spin() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (reader, mut writer) = line();
    let duplicate = at_a_high_number(&reader, 720);
    hub.add_reader(duplicate, move |world, _, _| {
        world.seen.push("closing");
        nix::unistd::close(duplicate.as_raw_fd()).unwrap();
        Next::Wait
    })
    .unwrap();
    writer.write_all(b"a").unwrap();
    assert_eq!(turn(&mut hub, &mut world), ["closing"]);
    assert!(hub.is_idle());
    writer.write_all(b"b").unwrap();
    for _ in 0..100 {
        assert_eq!(turn(&mut hub, &mut world), [""; 0]);
    }
    assert!(
        hub.counters().stale <= 1,
        "a report per write at most, and nobody is called"
    );
}

#[test]
fn the_same_descriptor_twice_is_one_slot_with_a_handler_for_each_direction() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (ours, mut theirs) = sockets();
    let say = |name: &'static str, ready: fn(Ready) -> bool| {
        move |world: &mut World, _: &mut TestHub, told: Ready| {
            assert!(ready(told), "{name} was told {told:?}");
            world.seen.push(name);
            Next::Wait
        }
    };
    let reader = hub
        .add_reader(ours.clone(), say("read", |r| r.readable && !r.writable))
        .unwrap();
    theirs.write_all(b"a").unwrap();
    assert_eq!(turn(&mut hub, &mut world), ["read"]);
    let writer = hub
        .add_writer(ours.clone(), say("write", |r| r.writable && !r.readable))
        .unwrap();
    assert_eq!(turn(&mut hub, &mut world), ["read", "write"]);
    // Each goes alone, and the mask shrinks with it.
    assert!(hub.remove(reader).is_some());
    assert_eq!(turn(&mut hub, &mut world), ["write"]);
    let reader = hub
        .add_reader(ours.clone(), say("read", |r| r.readable && !r.writable))
        .unwrap();
    assert!(hub.remove(writer).is_some());
    assert_eq!(turn(&mut hub, &mut world), ["read"]);
    assert!(hub.remove(reader).is_some());
    assert_eq!(turn(&mut hub, &mut world), [""; 0]);
    assert!(hub.is_idle());
}

#[test]
fn a_direction_has_one_handler() {
    let mut hub = Hub::<Vec<Ready>>::new().unwrap();
    let (ours, _theirs) = sockets();
    let mut add = |interest| hear(&mut hub, ours.clone(), interest, Mode::Level, Next::Wait);
    let reader = add(Interest::READ).unwrap();
    for taken in [Interest::READ, Interest::BOTH] {
        assert_eq!(add(taken).unwrap_err().kind(), ErrorKind::AlreadyExists);
    }
    let writer = add(Interest::WRITE).unwrap();
    assert_eq!(
        add(Interest::NONE).unwrap_err().kind(),
        ErrorKind::AlreadyExists
    );
    let widened = hub.set_interest(writer, Interest::BOTH).unwrap_err();
    assert_eq!(widened.kind(), ErrorKind::AlreadyExists);
    hub.set_interest(reader, Interest::NONE).unwrap();
    hub.set_interest(writer, Interest::BOTH).unwrap();
}

#[test]
fn a_parked_registration_hears_nothing_and_then_what_it_missed() {
    for mode in [Mode::Level, Mode::Drain] {
        let mut hub = Hub::<Vec<Ready>>::new().unwrap();
        let mut heard = Vec::new();
        let (reader, mut writer) = line();
        let key = hear(&mut hub, reader, Interest::READ, mode, Next::Wait).unwrap();
        hub.set_interest(key, Interest::NONE).unwrap();
        writer.write_all(b"a").unwrap();
        drop(writer);
        assert_eq!(hub.tick(&mut heard, Some(Duration::ZERO)).unwrap(), 0);
        hub.set_interest(key, Interest::READ).unwrap();
        assert_eq!(hub.tick(&mut heard, Some(Duration::ZERO)).unwrap(), 1);
        assert!(heard[0].readable && heard[0].read_closed);
    }
}

#[test]
fn parking_also_holds_for_what_was_reported_in_the_same_turn() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (first, mut to_first) = line();
    let (second, mut to_second) = line();
    hub.add_reader(first, |world: &mut World, hub, _| {
        world.seen.push("first");
        hub.set_interest(world.keys[0], Interest::NONE).unwrap();
        Next::Remove
    })
    .unwrap();
    world.keys = vec![note(&mut hub, &second, "second")];
    to_first.write_all(b"a").unwrap();
    to_second.write_all(b"a").unwrap();
    assert_eq!(turn(&mut hub, &mut world), ["first"]);
    hub.set_interest(world.keys[0], Interest::READ).unwrap();
    assert_eq!(turn(&mut hub, &mut world), ["second"]);
}
