//! Children come and go, and so do the zygote and main.

use std::collections::HashSet;
use std::fs;
use std::num::NonZeroU32;
use std::time::Duration;

use celeriac::message::record::Outcome;
use celeriac::pool::zygote::Zygote;
use celeriac::pool::{Finish, PoolEvent, PoolSettings, native};
use celeriac::sys::process::{self, Exit, Fork, Pid};
use celeriac::sys::signal::{self, Signal, SignalFd};
use celeriac::sys::{clock, fd, pipe};

use crate::driver::{
    Driver, PATIENCE, children_of, freeze, line_of, parent_of, settings, status_of, wait_for_state,
};
use crate::tasks::Tasks;

stories![
    children_come_up_and_are_adopted,
    t4_1_a_child_has_no_file_but_its_own,
    a_child_leads_a_session_of_its_own,
    nothing_is_blocked_or_ignored_that_should_not_be,
    t3_5_t14_3_children_that_do_not_come_up,
    t3_5_children_that_exit_at_once,
    a_child_is_heard_before_the_zygote,
    a_death_is_told_before_the_zygote_is_heard,
    t14_2_a_child_is_replaced_after_its_share_of_jobs,
    the_pool_grows_and_shrinks,
    closing_waits_for_what_runs,
    terminating_ends_what_runs,
    the_zygote_dies_and_is_replaced,
    a_zygote_that_cannot_fork,
    a_zygote_that_talks_nonsense,
    main_dies,
];

fn children_come_up_and_are_adopted() {
    let mut driver = Driver::new(3);
    let pids = driver.ups(3);
    assert_eq!(pids.iter().collect::<HashSet<_>>().len(), 3);
    for pid in &pids {
        assert_eq!(parent_of(*pid), Some(process::current()));
    }
    let names: HashSet<String> = driver
        .owner
        .pool
        .children()
        .map(|child| child.name.to_string())
        .collect();
    let expected = ["ForkPoolWorker-1", "ForkPoolWorker-2", "ForkPoolWorker-3"];
    assert_eq!(names, expected.map(str::to_owned).into());
    assert_eq!(
        status_of(pids[0], "Name").unwrap().split('-').next(),
        Some("PoolWorker")
    );
}

fn facts(driver: &mut Driver, task: &str) -> String {
    let job = driver.submit(task, "");
    String::from_utf8(driver.done(job).meta.clone()).unwrap()
}

fn t4_1_a_child_has_no_file_but_its_own() {
    // What a child must not see: files that were open before the zygote was, and those of main.
    let _before = pipe::pipe().unwrap();
    let mut driver = Driver::new(2);
    driver.ups(2);
    let _after = pipe::socket_pair().unwrap();
    let facts = facts(&mut driver, "facts");
    let fds: Vec<i32> = (line_of(&facts, "Fds")
        .unwrap()
        .trim_matches(['[', ']'])
        .split(", "))
    .map(|fd| fd.parse().unwrap())
    .collect();
    assert_eq!((fds.len(), &fds[..3]), (5, &[0, 1, 2][..]), "{fds:?}");
    assert_eq!(line_of(&facts, "Stdin").unwrap(), "/dev/null");
}

fn a_child_leads_a_session_of_its_own() {
    let mut driver = Driver::new(1);
    let facts = facts(&mut driver, "facts");
    let pid = driver.ups(1)[0].to_string();
    let stat = line_of(&facts, "Stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(") ").unwrap().1.split(' ').collect();
    let (group, session, terminal) = (fields[2], fields[3], fields[4]);
    assert_eq!((group, session, terminal), (&*pid, &*pid, "0"));
}

fn nothing_is_blocked_or_ignored_that_should_not_be() {
    // A main that reads its signals through a descriptor has them blocked.
    let _signals = SignalFd::new(&[Signal::SIGTERM, Signal::SIGINT, Signal::SIGUSR1]).unwrap();
    let zygote = native::start(Tasks::default()).unwrap();
    let pid = zygote.pid();
    let mut driver = Driver::over(zygote, settings(1));
    let child = facts(&mut driver, "facts");
    let grandchild = facts(&mut driver, "grandchild");
    let zygote = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();

    let bit = |signal: Signal| 1 << (signal as u32 - 1);
    let interrupt = bit(Signal::SIGINT);
    let ends = [
        Signal::SIGINT,
        Signal::SIGTERM,
        Signal::SIGHUP,
        Signal::SIGQUIT,
    ];
    let ignored = ends.into_iter().map(bit).sum();
    assert_eq!(signal_sets(&zygote), [0, ignored, 0], "zygote");
    let ignored = interrupt | bit(Signal::SIGPIPE);
    assert_eq!(signal_sets(&child), [0, ignored, 0], "child");
    assert_eq!(signal_sets(&grandchild), [0, interrupt, 0], "grandchild");
}

/// The signals a process blocks, ignores and handles, one bit each, from its status.
fn signal_sets(status: &str) -> [u64; 3] {
    let c_library = 0b11 << 31; // 32 and 33, which no program can change
    ["SigBlk", "SigIgn", "SigCgt"].map(|field| {
        let set = line_of(status, field).unwrap();
        u64::from_str_radix(&set, 16).unwrap() & !c_library
    })
}

/// A child of ours that is not the zygote, once there is one; without turning the loop.
fn first_child(zygote: Pid) -> Pid {
    let deadline = clock::now() + PATIENCE;
    loop {
        let children = children_of(process::current());
        if let Some(child) = children.into_iter().find(|pid| *pid != zygote) {
            return child;
        }
        assert!(clock::now() < deadline, "no child");
    }
}

fn a_child_is_heard_before_the_zygote() {
    let zygote = native::start(Tasks::default()).unwrap();
    let zygote_pid = zygote.pid();
    let mut driver = Driver::over(zygote, settings(1));
    let child = first_child(zygote_pid);
    let source = driver.owner.source_of_results();
    let deadline = clock::now() + PATIENCE;
    while driver.owner.ups().is_empty() {
        assert!(clock::now() < deadline, "the child does not come up");
        let _ = driver.act(|pool, now| pool.handle_ready(source, now));
    }
    assert_eq!(driver.owner.ups(), [child]);
}

fn a_death_is_told_before_the_zygote_is_heard() {
    let tasks = Tasks {
        exit_at_start: true,
        ..Tasks::default()
    };
    let zygote = native::start(tasks).unwrap();
    let zygote_pid = zygote.pid();
    let mut driver = Driver::over(zygote, settings(1));
    let child = first_child(zygote_pid);
    wait_for_state(child, "Z (zombie)");
    assert_eq!(process::reap().unwrap(), Some((child, Exit::Code(1))));
    assert!(driver.act(|pool, now| pool.handle_exit(child, Exit::Code(1), now)));
    assert_eq!(driver.exit_of(child), (Exit::Code(1), false));
}

fn t14_2_a_child_is_replaced_after_its_share_of_jobs() {
    let max_tasks_per_child = NonZeroU32::new(3);
    let mut driver = Driver::with(
        PoolSettings {
            max_tasks_per_child,
            ..settings(1)
        },
        Tasks::default(),
    );
    let mut pids = Vec::new();
    for _ in 0..10 {
        let job = driver.submit("echo", "x");
        driver.done(job);
        pids.extend(driver.owner.assigned(job));
    }
    pids.dedup();
    assert_eq!(pids.len(), 4);
    for pid in &pids[..3] {
        assert_eq!(driver.exit_of(*pid), (Exit::Code(0), true));
    }
}

fn t3_5_t14_3_children_that_do_not_come_up() {
    let up_timeout = Duration::from_millis(100);
    let tasks = Tasks {
        hang_at_start: true,
        ..Tasks::default()
    };
    let mut driver = Driver::with(
        PoolSettings {
            up_timeout,
            ..settings(1)
        },
        tasks,
    );
    let begun = clock::now();
    driver.until("three attempts", |owner| {
        (owner.count(|event| matches!(event, PoolEvent::ChildExited { .. })) >= 3).then_some(())
    });
    // Three timeouts, and the growing pauses between them.
    assert!(begun.elapsed() >= Duration::from_millis(300 + 100 + 200));
    assert!(driver.owner.pool.stats().failed_starts >= 3);
    assert!(
        driver
            .owner
            .count(|event| matches!(event, PoolEvent::ChildOverdue { .. }))
            >= 3
    );
}

fn t3_5_children_that_exit_at_once() {
    let tasks = Tasks {
        exit_at_start: true,
        ..Tasks::default()
    };
    let mut driver = Driver::with(settings(2), tasks);
    let job = driver.submit("echo", "x");
    driver.until("several attempts", |owner| {
        (owner.pool.stats().failed_starts >= 6).then_some(())
    });
    let exits = driver.owner.count(|event| {
        matches!(
            event,
            PoolEvent::ChildExited {
                exit: Exit::Code(1),
                expected: false,
                ..
            }
        )
    });
    assert!((6..=8).contains(&exits), "{exits}");
    driver.act(|pool, now| pool.close(now));
    driver.closed();
    assert!(matches!(driver.finish(job), Finish::NotStarted));
}

fn the_pool_grows_and_shrinks() {
    let mut driver = Driver::new(1);
    driver.ups(1);
    driver.act(|pool, now| pool.resize(4, now));
    driver.ups(4);
    let busy = driver.submit("sleep", "100");
    driver.act(|pool, now| pool.resize(1, now));
    driver.done(busy);
    driver.until("surplus children to go", |owner| {
        (owner.pool.children().count() == 1).then_some(())
    });
    let exits = driver.owner.count(|event| {
        matches!(
            event,
            PoolEvent::ChildExited {
                exit: Exit::Code(0),
                expected: true,
                ..
            }
        )
    });
    assert_eq!(exits, 3);
}

fn closing_waits_for_what_runs() {
    let mut driver = Driver::new(2);
    driver.ups(2);
    let running = [driver.submit("sleep", "200"), driver.submit("sleep", "300")];
    let waiting = driver.submit("echo", "x");
    driver.act(|pool, now| pool.close(now));
    assert!(matches!(driver.finish(waiting), Finish::NotStarted));
    for job in running {
        assert_eq!(driver.done(job).outcome, Outcome::Success);
    }
    driver.closed();
    let exits = driver.owner.count(|event| {
        matches!(
            event,
            PoolEvent::ChildExited {
                exit: Exit::Code(0),
                expected: true,
                ..
            }
        )
    });
    assert_eq!(exits, 2);
}

fn terminating_ends_what_runs() {
    let stop_timeout = Duration::from_millis(300);
    let mut driver = Driver::with(
        PoolSettings {
            stop_timeout,
            ..settings(3)
        },
        Tasks::default(),
    );
    driver.ups(3);
    let running = driver.submit("block", "");
    driver.started(running);
    // One that cannot even be terminated politely.
    let pids: Vec<Pid> = driver
        .owner
        .pool
        .children()
        .filter_map(|child| child.pid)
        .collect();
    let idle = pids
        .into_iter()
        .find(|pid| ![*pid].eq(&driver.owner.assigned(running)[..]))
        .unwrap();
    freeze(idle);
    let begun = clock::now();
    driver.act(|pool, now| pool.terminate(Signal::SIGTERM, None, now));
    assert!(driver.loss(running).contains("SIGTERM"));
    driver.closed();
    assert_eq!(driver.exit_of(idle), (Exit::Signal(9), true));
    assert!(begun.elapsed() >= stop_timeout);
}

fn the_zygote_dies_and_is_replaced() {
    let zygote = native::start(Tasks::default()).unwrap();
    let zygote_pid = zygote.pid();
    let mut driver = Driver::over(zygote, settings(2));
    driver.ups(2);
    let running = driver.submit("sleep", "300");
    driver.started(running);
    signal::kill(zygote_pid, Signal::SIGKILL).unwrap();
    driver.until("the loss to be told", |owner| {
        let lost = |event: &PoolEvent| {
            matches!(
                event,
                PoolEvent::ZygoteLost {
                    exit: Exit::Signal(9)
                }
            )
        };
        (owner.count(lost) == 1).then_some(())
    });
    assert_eq!(driver.done(running).outcome, Outcome::Success);
    let block = driver.submit("block", "");
    signal::kill(driver.started(block), Signal::SIGKILL).unwrap();
    driver.loss(block);
    let still = driver.submit("echo", "x");
    driver.done(still);
    assert_eq!(driver.owner.pool.children().count(), 1);

    let zygote = native::start(Tasks::default()).unwrap();
    driver.act(|pool, now| pool.replace_zygote(zygote, now));
    driver.ups(3);
}

/// A zygote that makes no child, but sends `reply` whenever it is asked for one.
fn zygote_that_says(reply: &'static str) -> Zygote {
    let (ours, theirs) = pipe::socket_pair().unwrap();
    fd::set_nonblocking(&theirs, false).unwrap();
    match process::fork().unwrap() {
        Fork::Parent(pid) => Zygote::new(ours, pid),
        Fork::Child => {
            drop(ours);
            let mut packet = [0; 100];
            while let Ok((1.., _)) = pipe::receive_with_fds(&theirs, &mut packet) {
                pipe::send_with_fds(&theirs, reply.as_bytes(), &[]).unwrap();
            }
            process::exit_now(0);
        }
    }
}

fn a_zygote_that_cannot_fork() {
    // Whatever the number asked for, only the first is answered.
    let mut driver = Driver::over(zygote_that_says("failed 1 no more processes"), settings(1));
    driver.until("the failure to be told", |owner| {
        owner
            .events
            .iter()
            .find(|event| matches!(event, PoolEvent::SpawnFailed { reason, .. } if reason == "no more processes"))
            .map(|_| ())
    });
    assert_eq!(driver.owner.pool.children().count(), 0);
    assert_eq!(driver.owner.pool.stats().failed_starts, 1);
    assert!(driver.owner.pool.deadline().is_some());
    driver.act(|pool, now| pool.close(now));
    driver.closed();
    assert_eq!(driver.owner.sources(), 1);
}

fn a_zygote_that_talks_nonsense() {
    let mut driver = Driver::over(zygote_that_says("spooned"), settings(2));
    driver.until("the loss to be told", |owner| {
        let lost = |event: &PoolEvent| matches!(event, PoolEvent::ZygoteLost { .. });
        (owner.count(lost) == 1).then_some(())
    });
    assert_eq!(driver.owner.pool.children().count(), 0);
    assert_eq!(driver.owner.sources(), 0);
}

fn main_dies() {
    process::become_subreaper().unwrap();
    let (told, tell) = pipe::pipe().unwrap();
    fd::set_nonblocking(&told, false).unwrap();
    let main = match process::fork().unwrap() {
        Fork::Child => {
            let zygote = native::start(Tasks::default()).unwrap();
            let mut pids = vec![zygote.pid()];
            let mut driver = Driver::over(zygote, settings(2));
            pids.extend(driver.ups(2));
            let busy = driver.submit("block", "");
            driver.started(busy);
            let text: Vec<String> = pids.iter().map(Pid::to_string).collect();
            fd::SharedFd::new(tell)
                .write(text.join(" ").as_bytes())
                .unwrap();
            loop {
                driver.turn();
            }
        }
        Fork::Parent(pid) => pid,
    };
    let mut text = [0; 100];
    let length = fd::SharedFd::new(told).read(&mut text).unwrap();
    let text = std::str::from_utf8(&text[..length]).unwrap();
    let mut left: HashSet<Pid> = text
        .split(' ')
        .map(|pid| Pid::new(pid.parse().unwrap()).unwrap())
        .collect();
    assert_eq!(left.len(), 3);

    let killed = clock::now();
    signal::kill(main, Signal::SIGKILL).unwrap();
    while !left.is_empty() {
        assert!(
            killed.elapsed() < Duration::from_secs(2),
            "still there: {left:?}"
        );
        if let Ok(Some((pid, _))) = process::reap() {
            left.remove(&pid);
        }
    }
}
