//! Removed is removed: from anywhere, at any moment, whoever has the slot or the number by then.
//! And what a panic leaves behind.

use std::io::Write;

use celeriac::hub::{Interest, Mode};

use super::*;

/// Two pipes with a byte in each, so that one wait reports both, the first one first.
struct Both {
    readers: [Rc<PipeReader>; 2],
    _writers: [PipeWriter; 2],
}

impl Both {
    fn new() -> Self {
        let [(first, mut to_first), (second, mut to_second)] = [line(), line()];
        to_first.write_all(b"a").expect("room");
        to_second.write_all(b"a").expect("room");
        Self {
            readers: [first, second],
            _writers: [to_first, to_second],
        }
    }
}

#[test]
fn a_neighbour_removed_in_the_same_turn_is_not_called() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let pipes = Both::new();
    // Whichever comes first removes the other.
    for (own, other) in [(0, 1), (1, 0)] {
        let key = hub.add_reader(
            pipes.readers[own].clone(),
            move |world: &mut World, hub, _| {
                world.seen.push("called");
                assert!(hub.remove(world.keys[other]).is_some());
                Next::Wait
            },
        );
        world.keys.push(key.unwrap());
    }
    assert_eq!(turn(&mut hub, &mut world), ["called"]);
    assert_eq!(hub.counters().stale, 1);
}

/// T4.2: what was reported of a source that has gone is counted and reaches nobody.
#[test]
fn a_stale_report_never_reaches_a_newcomer_in_the_same_slot_with_the_same_number() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let Both {
        readers: [first, second],
        _writers,
    } = Both::new();
    hub.add_reader(first, |world: &mut World, hub, _| {
        world.seen.push("first");
        drop(hub.remove(world.keys[0]).expect("the neighbour is there"));
        // The number is free: this pipe takes it (unless a test beside this one was faster), and its
        // registration takes the slot.
        let newcomer = hub.add_reader(silent(), |world: &mut World, _, _| {
            world.seen.push("newcomer");
            Next::Wait
        });
        world.keys.push(newcomer.unwrap());
        Next::Remove
    })
    .unwrap();
    world
        .keys
        .push(note_only_hub_owns(&mut hub, second, "second"));
    assert_eq!(turn(&mut hub, &mut world), ["first"]);
    assert_eq!(turn(&mut hub, &mut world), [""; 0]);
    assert_eq!(hub.counters().stale, 1);
    let slots = world
        .keys
        .iter()
        .map(|key| key.to_string().split('.').next().map(str::to_owned));
    assert!(
        slots
            .clone()
            .all(|slot| slot == slots.clone().next().unwrap()),
        "{:?}",
        world.keys
    );
}

/// The reading end of an open, silent pipe.
fn silent() -> PipeReader {
    let (reader, writer) = pipe().expect("a pipe");
    std::mem::forget(writer);
    reader
}

/// As `note`, for a source that closes when the Hub drops it.
fn note_only_hub_owns(hub: &mut TestHub, reader: Rc<PipeReader>, name: &'static str) -> Key {
    let handler = move |world: &mut World, _: &mut TestHub, _| {
        world.seen.push(name);
        Next::Wait
    };
    hub.add_reader(reader, handler).expect("a registration")
}

#[test]
fn a_handler_may_remove_itself_in_either_way() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let pipes = Both::new();
    hub.add_reader(pipes.readers[0].clone(), |world: &mut World, _, _| {
        world.seen.push("by answer");
        Next::Remove
    })
    .unwrap();
    let key = hub.add_reader(pipes.readers[1].clone(), |world: &mut World, hub, _| {
        world.seen.push("by key");
        assert!(hub.remove(world.keys[0]).is_some());
        assert!(hub.remove(world.keys[0]).is_none(), "it is gone at once");
        Next::Again
    });
    world.keys.push(key.unwrap());
    assert_eq!(turn(&mut hub, &mut world), ["by answer", "by key"]);
    assert!(hub.is_idle());
    assert_eq!(turn(&mut hub, &mut world), [""; 0]);
}

#[test]
fn a_handler_may_register_itself_anew() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (reader, mut writer) = line();
    let key = hub.add_reader(reader.clone(), move |world: &mut World, hub, _| {
        world.seen.push("old");
        hub.remove(world.keys[0]);
        note(hub, &reader, "new");
        Next::Wait
    });
    world.keys.push(key.unwrap());
    writer.write_all(b"a").unwrap();
    assert_eq!(turn(&mut hub, &mut world), ["old"]);
    assert_eq!(turn(&mut hub, &mut world), ["new"]);
    assert_eq!(turn(&mut hub, &mut world), [""; 0]);
}

#[test]
fn removing_one_direction_in_the_same_turn_does_not_lose_the_other() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let (ours, mut theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let ours = Rc::new(ours);
    let say = |name: &'static str| {
        move |world: &mut World, hub: &mut TestHub, _| {
            world.seen.push(name);
            if let Some(key) = world.keys.pop() {
                hub.remove(key);
            }
            Next::Wait
        }
    };
    // The reader comes first and removes the writer; or the other way round.
    for interests in [
        [Interest::READ, Interest::WRITE],
        [Interest::WRITE, Interest::READ],
    ] {
        theirs.write_all(b"a").unwrap();
        let remover = hub
            .add(ours.clone(), interests[0], Mode::Drain, say("remover"))
            .unwrap();
        let other = hub
            .add(ours.clone(), interests[1], Mode::Drain, say("other"))
            .unwrap();
        world.keys = vec![remover]; // it removes itself
        assert_eq!(turn(&mut hub, &mut world), ["remover", "other"]);
        hub.remove(other);
    }
}

#[test]
fn a_removed_source_comes_back_open_and_a_dropped_hub_closes_its_own() {
    let mut hub = TestHub::new().unwrap();
    let [(returned, mut to_returned), (kept, mut to_kept)] = [line(), line()];
    let key = note_only_hub_owns(&mut hub, returned, "returned");
    note_only_hub_owns(&mut hub, kept, "kept");
    let source = hub.remove(key).expect("it is registered");
    drop(hub);
    assert!(to_returned.write_all(b"a").is_ok());
    assert_eq!(
        to_kept.write_all(b"a").unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
    drop(source);
    assert_eq!(
        to_returned.write_all(b"a").unwrap_err().kind(),
        io::ErrorKind::BrokenPipe
    );
}

#[test]
fn a_panicking_handler_loses_its_registration_and_nobody_else_anything() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let pipes = Both::new();
    hub.add_reader(pipes.readers[0].clone(), |world: &mut World, _, _| {
        world.seen.push("panics");
        panic!("a handler's own business (expected in this test)");
    })
    .unwrap();
    note(&mut hub, &pipes.readers[1], "neighbour");
    panicking_turn(&mut hub, &mut world);
    assert_eq!(world.seen(), ["panics"]);
    // What had been reported is not forgotten.
    assert_eq!(turn(&mut hub, &mut world), ["neighbour"]);
    assert_eq!(turn(&mut hub, &mut world), [""; 0]);
    note(&mut hub, &pipes.readers[0], "successor");
    assert_eq!(turn(&mut hub, &mut world), ["successor"]);
}

#[test]
fn a_panicking_timer_callback_or_hook_is_gone_and_the_others_go_on() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let now = Instant::now();
    hub.call_at_deadline(now, 0, |_, _| {
        panic!("a timer's own business (expected in this test)")
    });
    hub.call_at_deadline(now, 1, |world, _| world.seen.push("timer"));
    panicking_turn(&mut hub, &mut world);
    assert_eq!(turn(&mut hub, &mut world), ["timer"]);

    hub.call_soon(|_, _| panic!("a callback's own business (expected in this test)"));
    hub.call_soon(|world, _| world.seen.push("callback"));
    panicking_turn(&mut hub, &mut world);
    assert_eq!(turn(&mut hub, &mut world), ["callback"]);

    let millisecond = Duration::from_millis(1);
    hub.call_repeatedly(millisecond, |_, _| {
        panic!("its own business (expected in this test)")
    });
    let turn_to_panic = catch_unwind(AssertUnwindSafe(|| hub.run(&mut world)));
    assert!(turn_to_panic.is_err());
    assert!(hub.is_idle(), "it does not panic again");

    hub.before_poll(|_, _| panic!("a hook's own business (expected in this test)"));
    hub.before_poll(|world, _| world.seen.push("hook"));
    panicking_turn(&mut hub, &mut world);
    assert_eq!(turn(&mut hub, &mut world), ["hook"]);
}

#[test]
fn a_turn_within_a_turn_calls_everybody_but_the_one_that_started_it() {
    let (mut hub, mut world) = (TestHub::new().unwrap(), World::default());
    let pipes = Both::new();
    hub.add_reader(pipes.readers[0].clone(), |world: &mut World, hub, _| {
        world.seen.push("outer");
        hub.tick(world, Some(Duration::ZERO)).unwrap();
        Next::Remove
    })
    .unwrap();
    note(&mut hub, &pipes.readers[1], "inner");
    assert_eq!(turn(&mut hub, &mut world), ["outer", "inner"]);
}
