//! `sys` where it forks, reaps, signals and passes descriptors on.
//!
//! Without the test harness, which would run each test on a thread: a process with threads does not
//! fork. The tests run one after the other; an argument runs those whose names contain it.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use celeriac::sys::fd::{SharedFd, close_all_except, open_fds};
use celeriac::sys::pipe::{MAX_FDS, pipe, receive_with_fds, send_with_fds, socket_pair};
use celeriac::sys::process::{self, Exit, Fork, Pid};
use celeriac::sys::signal::{self, Signal, SignalFd};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};

const TESTS: &[(&str, fn())] = &[
    ("a_title_shows_in_ps_and_stays_with_its_process", titles),
    (
        "a_child_has_the_signal_state_of_a_fresh_program",
        signal_state,
    ),
    (
        "signals_arrive_through_a_descriptor",
        signals_through_a_descriptor,
    ),
    ("a_process_with_threads_does_not_fork", no_fork_with_threads),
    ("every_way_to_end_is_told", exits),
    ("an_orphan_comes_to_the_subreaper", orphans),
    ("a_child_dies_with_its_parent", dies_with_parent),
    (
        "a_child_keeps_only_the_descriptors_it_asks_for",
        closed_descriptors,
    ),
    (
        "a_child_leads_a_session_of_its_own_without_input",
        session_and_input,
    ),
    ("a_group_is_signalled_together", groups),
    ("descriptors_travel_and_never_leak", descriptors_travel),
];

fn main() {
    let filter = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    for (name, test) in TESTS {
        if filter
            .as_ref()
            .is_none_or(|filter| name.contains(filter.as_str()))
        {
            test(); // a panic ends the program, after telling where
            println!("test {name} ... ok");
        }
    }
}

/// Runs `body` in a child, which ends with its answer or, when it panics, with 101.
fn child(body: impl FnOnce() -> i32) -> Pid {
    match process::fork().expect("a single thread") {
        Fork::Parent(pid) => pid,
        Fork::Child => process::exit_now(catch_unwind(AssertUnwindSafe(body)).unwrap_or(101)),
    }
}

/// Runs `body` in a child and waits for it to end well.
#[track_caller]
fn in_child(body: impl FnOnce()) {
    let pid = child(|| {
        body();
        0
    });
    assert_eq!(process::wait_for(pid).expect("our child"), Exit::Code(0));
}

/// Waits, up to a deadline that no healthy test meets, until `fd` can be read or has ended.
#[track_caller]
fn await_readable(fd: impl AsFd) {
    let mut fds = [PollFd::new(fd.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut fds, PollTimeout::from(10_000_u16)).expect("poll");
    assert_eq!(ready, 1, "nothing came in 10 seconds");
}

fn signal_state() {
    // Signals 32 and 33 belong to the C library, which lets nobody see or change them.
    const LIBRARY: u64 = 0b11 << 31;
    let fields = |status: &str| -> BTreeMap<String, u64> {
        let lines = status.lines().filter_map(|line| line.split_once(":\t"));
        let wanted = lines.filter(|(name, _)| ["SigBlk", "SigIgn", "SigCgt"].contains(name));
        let number = |text| u64::from_str_radix(text, 16).expect("a mask") & !LIBRARY;
        wanted
            .map(|(name, mask)| (name.to_owned(), number(mask)))
            .collect()
    };
    let own = move || fields(&fs::read_to_string("/proc/self/status").expect("procfs"));
    let clean = BTreeMap::from(["SigBlk", "SigIgn", "SigCgt"].map(|name| (name.to_owned(), 0)));

    let _signals = SignalFd::new(&[Signal::SIGTERM, Signal::SIGCHLD]).expect("signalfd");
    // Else the test could not fail: Rust ignores SIGPIPE and catches SIGSEGV.
    assert!(own().values().all(|&mask| mask != 0), "{:x?}", own());
    assert_eq!(
        signal::mask().expect("a mask"),
        [Signal::SIGTERM, Signal::SIGCHLD]
    );

    in_child(|| {
        signal::restore_defaults().expect("restored");
        assert_eq!(own(), clean);
        assert_eq!(signal::mask().expect("a mask"), []);
        in_child(|| assert_eq!(own(), clean));
    });

    let mut command = Command::new("cat");
    command.arg("/proc/self/status").stdout(Stdio::piped());
    let output = process::spawn(&mut command)
        .expect("cat")
        .wait_with_output()
        .expect("output");
    assert_eq!(fields(&String::from_utf8_lossy(&output.stdout)), clean);
    let _ = signal::restore_defaults(); // for the tests that follow
}

fn signals_through_a_descriptor() {
    in_child(|| {
        let signals = SignalFd::new(&[Signal::SIGTERM, Signal::SIGUSR1]).expect("signalfd");
        assert_eq!(signals.read().expect("read"), None);
        for signal in [Signal::SIGTERM, Signal::SIGUSR1, Signal::SIGTERM] {
            signal::kill(process::current(), signal).expect("kill");
        }
        await_readable(&signals);
        let mut seen = [signals.read(), signals.read()].map(|signal| signal.expect("read"));
        seen.sort();
        assert_eq!(
            seen,
            [Some(Signal::SIGUSR1), Some(Signal::SIGTERM)],
            "each kind once"
        );
        assert_eq!(signals.read().expect("read"), None);
    });
}

fn no_fork_with_threads() {
    let (end, ended) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || ended.recv());
        let error = process::fork().expect_err("two threads");
        assert_eq!(
            error.to_string(),
            "a process of 2 threads cannot fork safely"
        );
        drop(end);
    });
    // A thread is joined a moment before the kernel stops counting it.
    while process::thread_count().expect("procfs") > 1 {
        thread::yield_now();
    }
    in_child(|| {});
}

fn exits() {
    let died = SignalFd::new(&[Signal::SIGCHLD]).expect("signalfd");
    assert_eq!(process::reap().expect("reap"), None, "no children yet");

    // The child restores its signals, says so, and waits to be killed.
    let killed_by = |number: i32| {
        let (read, write) = pipe().expect("pipe");
        let pid = child(move || {
            signal::restore_defaults().expect("restored");
            SharedFd::new(write).write(b".").expect("write");
            nix::unistd::pause();
            1
        });
        await_readable(&read);
        let kill = format!("kill -{number} {pid}");
        let mut shell = process::spawn(Command::new("sh").args(["-c", &kill])).expect("sh");
        assert!(shell.wait().expect("wait").success());
        (pid, Exit::Signal(number))
    };
    let mut expected: BTreeMap<Pid, Exit> = [9, 15, 37].map(killed_by).into();
    expected.extend([0, 1, 255].map(|code| (child(move || code), Exit::Code(code))));

    let mut seen = BTreeMap::new();
    while seen.len() < expected.len() {
        await_readable(&died);
        assert_eq!(died.read().expect("read"), Some(Signal::SIGCHLD));
        while let Some((pid, exit)) = process::reap().expect("reap") {
            assert_eq!(seen.insert(pid, exit), None, "each child ends once");
        }
    }
    assert_eq!(seen, expected);
    assert_eq!(process::reap().expect("reap"), None);
    let gone = expected.keys().next().copied().expect("six of them");
    assert!(process::wait_for(gone).is_err());
    let _ = signal::restore_defaults();
}

fn orphans() {
    in_child(|| {
        process::become_subreaper().expect("subreaper");
        let reaper = process::current();
        let middle = child(|| {
            let middle = Some(process::current());
            child(move || {
                // Nobody announces an adoption. Without one this loop would have no end.
                while process::parent() == middle {
                    thread::yield_now();
                }
                if process::parent() == Some(reaper) {
                    7
                } else {
                    8
                }
            });
            0
        });
        assert_eq!(
            process::wait_for(middle).expect("the middle one"),
            Exit::Code(0)
        );
        assert_eq!(reap_one(), Exit::Code(7));
        assert_eq!(process::reap().expect("reap"), None);
    });
}

/// How the next child ends. Not for one that may live on: this loop would have no end.
fn reap_one() -> Exit {
    loop {
        match process::reap().expect("reap") {
            Some((_, exit)) => return exit,
            None => thread::yield_now(),
        }
    }
}

fn dies_with_parent() {
    in_child(|| {
        process::become_subreaper().expect("subreaper");
        let (read, write) = pipe().expect("pipe");
        let write = SharedFd::new(write);
        let middle = child(|| {
            let this = process::current();
            child(move || {
                process::die_with_parent(Signal::SIGKILL).expect("prctl");
                assert_eq!(process::parent(), Some(this));
                write.write(b".").expect("write");
                nix::unistd::pause();
                1
            });
            await_readable(&read);
            0
        });
        assert_eq!(
            process::wait_for(middle).expect("the middle one"),
            Exit::Code(0)
        );
        assert_eq!(reap_one(), Exit::Signal(9));
    });
}

fn closed_descriptors() {
    let fds: Vec<(OwnedFd, OwnedFd)> = (0..5).map(|_| pipe().expect("pipe")).collect();
    let keep: Vec<RawFd> = [&fds[1].0, &fds[3].1].map(AsRawFd::as_raw_fd).into();
    let before = open_fds().expect("open files");
    let pid = child(|| {
        close_all_except(&keep).expect("closed");
        let expected: Vec<RawFd> = [0, 1, 2].into_iter().chain(keep.iter().copied()).collect();
        i32::from(open_fds().expect("open files") != expected)
    });
    assert_eq!(process::wait_for(pid).expect("our child"), Exit::Code(0));
    assert_eq!(
        open_fds().expect("open files"),
        before,
        "those of the parent are its own"
    );
}

fn session_and_input() {
    in_child(|| {
        process::new_session().expect("a session");
        assert_eq!(
            nix::unistd::getsid(None).expect("getsid"),
            process::current().into()
        );
        assert!(process::new_session().is_err(), "it leads one already");
        process::redirect_stdin_to_null().expect("redirected");
        assert_eq!(io::stdin().read(&mut [0; 8]).expect("read"), 0);
    });
}

fn groups() {
    let (read, write) = pipe().expect("pipe");
    let write = SharedFd::new(write);
    let leader = child(|| {
        process::new_session().expect("a session");
        child(|| {
            write.write(b".").expect("write");
            nix::unistd::pause();
            1
        });
        nix::unistd::pause();
        1
    });
    await_readable(&read);
    signal::kill_group(leader, Signal::SIGKILL).expect("kill");
    assert_eq!(
        process::wait_for(leader).expect("our child"),
        Exit::Signal(9)
    );
    drop(write);
    let read = SharedFd::new(read);
    read.read(&mut [0; 8]).expect("the byte");
    await_readable(&read);
    assert_eq!(
        read.read(&mut [0; 8]).expect("the end"),
        0,
        "the grandchild's end is closed too"
    );
}

fn titles() {
    let shown = || {
        let text = |name| fs::read_to_string(format!("/proc/self/{name}")).expect("procfs");
        (text("cmdline"), text("comm"))
    };
    let arguments: Vec<String> = std::env::args().collect();
    let (before, _) = shown();
    let long = "[celeryd: celery@host:MainProcess] -active- (worker -A proj --loglevel=INFO)";
    in_child(|| {
        process::set_title(long);
        assert_eq!(
            shown(),
            (format!("{long}\0"), "[celeryd: celer\n".to_owned())
        );
        assert!(
            std::env::args().eq(arguments.iter().cloned()),
            "the arguments stay as they were"
        );
        in_child(|| {
            process::set_title("short");
            assert_eq!(shown(), ("short\0".to_owned(), "short\n".to_owned()));
        });
        assert_eq!(shown().0, format!("{long}\0"));

        process::set_title("cut\0here");
        assert_eq!(shown().0, "cut\0");
        process::set_title(&"ä".repeat(10_000));
        assert!(
            shown()
                .0
                .trim_end_matches('\0')
                .chars()
                .all(|sign| sign == 'ä')
        );
        // The heap's end was not moved: what is allocated now is memory.
        assert_eq!(
            vec![1_u8; 64 << 20]
                .iter()
                .map(|&byte| usize::from(byte))
                .sum::<usize>(),
            64 << 20
        );
    });
    assert_eq!(shown().0, before);
}

fn descriptors_travel() {
    let (left, right) = socket_pair().expect("socket pair");
    let mut buffer = [0; 64];
    let kind = |answer: io::Result<(usize, Vec<OwnedFd>)>| answer.expect_err("an error").kind();
    assert_eq!(
        kind(receive_with_fds(&right, &mut buffer)),
        io::ErrorKind::WouldBlock
    );
    let before = open_fds().expect("open files");

    // What is sent arrives whole, and works.
    let (read, write) = pipe().expect("pipe");
    send_with_fds(&left, b"one", &[write.as_fd(), read.as_fd()]).expect("sent");
    send_with_fds(&left, b"two", &[]).expect("sent");
    drop((read, write));
    let (length, fds) = receive_with_fds(&right, &mut buffer).expect("received");
    assert_eq!(&buffer[..length], b"one");
    let [write, read] = <[OwnedFd; 2]>::try_from(fds)
        .expect("two")
        .map(SharedFd::new);
    write.write(b"through").expect("write");
    assert_eq!(read.pending().expect("pending"), 7);
    drop((read, write));
    let (length, fds) = receive_with_fds(&right, &mut buffer).expect("received");
    assert_eq!(
        (&buffer[..length], fds.len()),
        (&b"two"[..], 0),
        "messages keep their bounds"
    );

    // A message that does not fit is an error, and its descriptors are closed.
    let many = vec![left.as_fd(); MAX_FDS];
    send_with_fds(&left, &[0; 65], &many).expect("sent");
    assert_eq!(
        kind(receive_with_fds(&right, &mut buffer)),
        io::ErrorKind::InvalidData
    );
    let too_many = vec![left.as_raw_fd(); MAX_FDS + 3];
    let rights = [ControlMessage::ScmRights(&too_many)];
    let iov = [io::IoSlice::new(b"three")];
    sendmsg::<()>(left.as_raw_fd(), &iov, &rights, MsgFlags::empty(), None).expect("sent");
    assert_eq!(
        kind(receive_with_fds(&right, &mut buffer)),
        io::ErrorKind::InvalidData
    );
    assert_eq!(open_fds().expect("open files"), before);

    // What cannot be sent is not, and a full queue says so.
    for (bytes, fds) in [(&b""[..], &many[..1]), (b"x", &[left.as_fd(); MAX_FDS + 1])] {
        let error = send_with_fds(&left, bytes, fds).expect_err("refused");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
    let full = loop {
        if let Err(error) = send_with_fds(&left, &[0; 1000], &[]) {
            break error;
        }
    };
    assert_eq!(full.kind(), io::ErrorKind::WouldBlock);

    // A peer that is gone reads as the end, and is no reason to die of SIGPIPE.
    let (left, right) = socket_pair().expect("socket pair");
    drop(right);
    in_child(|| {
        signal::restore_defaults().expect("restored");
        let error = send_with_fds(&left, b"x", &[]).expect_err("nobody there");
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
    });
    let (length, fds) = receive_with_fds(&left, &mut buffer).expect("the end");
    assert_eq!((length, fds.len()), (0, 0));
}
