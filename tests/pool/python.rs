//! A Python app in the pool. Told only where there is a Python with Celery: that of `tests/setup.sh`, or of
//! `CELERIAC_VENV`.

use std::collections::HashMap;
use std::env;
use std::fs;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use celeriac::message::headers::Headers;
use celeriac::message::record::{Done, Outcome};
use celeriac::pool::python::{self, Host, Report, StartError};
use celeriac::pool::{Finish, JobKey, PoolSettings};
use celeriac::sys::process::{self, Exit, Pid};
use celeriac::sys::signal::Signal;

use crate::driver::{Driver, freeze, settings};

stories![
    a_python_task_runs,
    python_tasks_end_in_their_own_ways,
    t14_4_a_python_child_lives_and_leaves_as_celerys_do,
    a_python_child_ends_with_its_task,
    t3_3_a_python_child_dies_after_every_prefix_of_its_answer,
    t4_5_a_python_job_that_is_not_taken_goes_to_another_child,
    t14_2_python_children_are_replaced_after_their_share_of_jobs,
    an_app_that_cannot_be_loaded,
    the_report_tells_what_main_must_know,
];

/// A story's app, its folder, and the pool over it.
struct Story {
    driver: Driver,
    report: Report,
    folder: PathBuf,
}

/// The interpreter to tell the stories with, if there is one.
fn interpreter() -> Option<PathBuf> {
    let venv = env::var_os("CELERIAC_VENV")
        .map(PathBuf::from)
        .or_else(|| {
            let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
            let cache =
                cache.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cache")))?;
            Some(cache.join("celeriac/venv-celery-5.7.0"))
        })?;
    let python = venv.join("bin/python");
    let celery = Command::new(&python).args(["-c", "import celery"]).output();
    if celery.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    println!("(skipped: no Python with Celery; tests/setup.sh installs one)");
    None
}

fn host(folder: &PathBuf, arguments: &[&str]) -> Option<Host> {
    let interpreter = interpreter()?;
    fs::create_dir_all(folder).unwrap();
    fs::write(folder.join("stories.py"), include_str!("app.py")).unwrap();
    env::set_current_dir(folder).unwrap();
    Some(Host {
        interpreter,
        directory: folder.clone(),
        arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
        json_log: false,
    })
}

fn folder(name: &str) -> PathBuf {
    env::temp_dir().join(format!("celeriac-{name}-{}", process::current()))
}

impl Story {
    fn begin(name: &str, settings: PoolSettings) -> Option<Self> {
        let folder = folder(name);
        let mut host = host(&folder, &["-A", "stories", "worker", "-l", "ERROR"])?;
        // The app finds its folder by a variable, and a process with other threads must not set one.
        host.interpreter = wrapped(&folder, &host.interpreter);
        let (zygote, report) = python::start(&host).unwrap();
        Some(Self {
            driver: Driver::over(zygote, settings),
            report,
            folder,
        })
    }

    fn submit(&mut self, task: &str, id: &str, arguments: &str) -> JobKey {
        let task = format!("stories.{task}");
        let headers = format!(r#"{{"lang":"py","task":"{task}","id":"{id}","retries":0}}"#);
        let body = format!("[{arguments}, {{}}, {{}}]");
        self.driver
            .submit_message(&task, id, &Headers::Json(headers), body.as_bytes())
    }

    fn run(&mut self, task: &str, arguments: &str) -> Done {
        let job = self.submit(task, task, arguments);
        self.driver.done(job).clone()
    }

    /// The meta that the app's own backend has stored for a task.
    fn meta(&self, id: &str) -> serde_json::Value {
        let text = fs::read(self.folder.join(format!("celery-task-meta-{id}"))).unwrap();
        serde_json::from_slice(&text).unwrap()
    }

    fn notes(&self) -> String {
        fs::read_to_string(self.folder.join("notes")).unwrap_or_default()
    }

    fn end(mut self) {
        self.driver.act(|pool, now| pool.close(now));
        self.driver.closed();
        fs::remove_dir_all(&self.folder).unwrap();
    }
}

/// A program that runs `python` with the story's folder in its environment.
fn wrapped(folder: &std::path::Path, python: &std::path::Path) -> PathBuf {
    use std::os::unix::fs::PermissionsExt;
    let script = folder.join("python");
    let text = format!(
        "#!/bin/sh\nCELERIAC_STORY={} exec {} \"$@\"\n",
        folder.display(),
        python.display()
    );
    fs::write(&script, text).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script
}

fn a_python_task_runs() {
    let Some(mut story) = Story::begin("runs", settings(2)) else {
        return;
    };
    let done = story.run("add", "[2, 2]");
    assert_eq!(
        (done.outcome, done.result.as_deref(), done.store),
        (Outcome::Success, Some("4"), false)
    );
    let meta = story.meta("add");
    assert_eq!(
        (&meta["status"], &meta["result"]),
        (&"SUCCESS".into(), &4.into())
    );
    let jobs: Vec<_> = (0..200)
        .map(|number| story.submit("add", &format!("many-{number}"), &format!("[{number}, 1]")))
        .collect();
    for (number, job) in jobs.into_iter().enumerate() {
        let result = story.driver.done(job).result.clone();
        assert_eq!(result, Some((number + 1).to_string()));
    }
    story.end();
}

fn python_tasks_end_in_their_own_ways() {
    let Some(mut story) = Story::begin("ways", settings(1)) else {
        return;
    };
    let failed = story.run("fail", "[\"so it goes\"]");
    assert_eq!(failed.outcome, Outcome::Failure);
    assert_eq!(
        failed.exception.as_deref(),
        Some("ValueError('so it goes')")
    );
    assert!(failed.traceback.unwrap().contains("in fail"));
    let meta = story.meta("fail");
    assert_eq!(meta["result"]["exc_type"], "ValueError");

    let ignored = story.run("ignore", "[]");
    assert_eq!(ignored.outcome, Outcome::Ignored);
    for requeue in [true, false] {
        let rejected = story.run("reject", &format!("[{requeue}]"));
        assert_eq!(
            (rejected.outcome, rejected.requeue),
            (Outcome::Rejected, requeue)
        );
    }
    let odd = story.run("odd_text", "[]");
    assert_eq!(
        odd.exception.as_deref(),
        Some("ValueError('half a pair: \\ud800')")
    );
    story.end();
}

fn t14_4_a_python_child_lives_and_leaves_as_celerys_do() {
    let Some(mut story) = Story::begin("lives", settings(1)) else {
        return;
    };
    story.run("facts", "[]");
    let facts = story.meta("facts")["result"].clone();
    let pid = story.driver.ups(1)[0];
    assert_eq!(facts["pid"], pid.raw());
    assert_eq!(facts["parent"], process::current().raw());
    assert_eq!(facts["session"], pid.raw());
    assert_ne!(facts["imported"], facts["pid"], "the app is imported once");
    assert_eq!(facts["name"], "ForkPoolWorker-1");
    assert_eq!(facts["hooks"], serde_json::json!(["before", "child"]));
    assert_eq!(facts["threads"], 1);
    assert_eq!(facts["stdin"], "/dev/null");
    let argv = facts["argv"][0].as_str().unwrap();
    assert!(argv.ends_with("/celery"), "{argv}");
    let set = |name: &str| {
        u64::from_str_radix(facts["signals"][name].as_str().unwrap(), 16).unwrap() & !(0b11 << 31)
    };
    let bit = |signal: Signal| 1u64 << (signal as u32 - 1);
    assert_eq!(set("SigBlk"), 0);
    assert_eq!(
        set("SigIgn") & !bit(Signal::SIGXFSZ),
        bit(Signal::SIGINT) | bit(Signal::SIGPIPE)
    );
    for signal in [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGUSR1] {
        assert_ne!(set("SigCgt") & bit(signal), 0, "{signal}");
    }
    let notes = story.notes();
    assert_eq!(notes, format!("init {pid}\n"));
    story.driver.act(|pool, now| pool.close(now));
    story.driver.closed();
    assert_eq!(story.driver.exit_of(pid), (Exit::Code(0), true));
    assert_eq!(story.notes(), format!("{notes}shutdown {pid} 0\n"));
    fs::remove_dir_all(&story.folder).unwrap();
}

fn a_python_child_ends_with_its_task() {
    let Some(mut story) = Story::begin("ends", settings(1)) else {
        return;
    };
    let job = story.submit("leave", "leave", "[3]");
    assert_eq!(
        story.driver.loss(job),
        "Worker exited prematurely: exitcode 3 Job: 0."
    );
    for (number, signal, text) in [
        (1, Signal::SIGTERM, "exitcode 15"),
        (2, Signal::SIGKILL, "signal 9 (SIGKILL)"),
    ] {
        let id = format!("hang-{number}");
        let job = story.submit("hang", &id, "[]");
        let meta = story.folder.join(format!("celery-task-meta-{id}"));
        story
            .driver
            .until("the task to start", |_| meta.exists().then_some(()));
        story
            .driver
            .act(|pool, now| pool.kill_job(job, signal, now));
        assert_eq!(
            story.driver.loss(job),
            format!("Worker exited prematurely: {text} Job: {number}.")
        );
    }
    assert_eq!(story.notes().matches("cleaned up").count(), 1);
    story.end();
}

fn t3_3_a_python_child_dies_after_every_prefix_of_its_answer() {
    let Some(mut story) = Story::begin("prefix", settings(1)) else {
        return;
    };
    let mut written = 0;
    loop {
        let id = format!("prefix-{written}");
        let job = story.submit("prefix", &id, &format!("[{written}]"));
        let behind = story.submit("add", "behind", "[2, 2]");
        let whole = matches!(story.driver.finish(job), Finish::Done(_));
        if !whole {
            let number = 2 * written;
            let text = format!("Worker exited prematurely: exitcode 0 Job: {number}.");
            assert_eq!(story.driver.loss(job), text);
        }
        assert_eq!(story.driver.done(behind).result.as_deref(), Some("4"));
        if whole {
            break;
        }
        written += 1;
    }
    assert!(written > 12, "the header alone is longer");
    let mut ends = story.driver.owner.finishes.values();
    assert!(ends.all(|finishes| finishes.len() == 1));
    story.end();
}

fn t4_5_a_python_job_that_is_not_taken_goes_to_another_child() {
    let take_timeout = Duration::from_millis(500);
    let settings = PoolSettings {
        take_timeout,
        ..settings(2)
    };
    let Some(mut story) = Story::begin("taken", settings) else {
        return;
    };
    story.driver.ups(2);
    let probe = story.submit("add", "probe", "[1, 2]");
    story.driver.done(probe);
    let stopped = story.driver.owner.assigned(probe)[0];
    freeze(stopped);
    let job = story.submit("add", "job", "[2, 3]");
    story.driver.done(job);
    assert_eq!(story.meta("job")["result"], 5);
    let assigned = story.driver.owner.assigned(job);
    assert_eq!((assigned.len(), assigned[0]), (2, stopped));
    assert_eq!(story.driver.owner.finishes[&job].len(), 1);
    assert_eq!(story.driver.exit_of(stopped), (Exit::Signal(9), true));
    story.end();
}

fn t14_2_python_children_are_replaced_after_their_share_of_jobs() {
    let settings = PoolSettings {
        max_tasks_per_child: NonZeroU32::new(3),
        ..settings(2)
    };
    let Some(mut story) = Story::begin("share", settings) else {
        return;
    };
    let jobs: Vec<JobKey> = (0..12)
        .map(|number| story.submit("add", &format!("job-{number}"), "[2, 3]"))
        .collect();
    let mut shares: HashMap<Pid, u32> = HashMap::new();
    for job in jobs {
        story.driver.done(job);
        let [pid] = story.driver.owner.assigned(job)[..] else {
            panic!("given to one child");
        };
        *shares.entry(pid).or_default() += 1;
    }
    assert!(
        shares.len() >= 4 && shares.values().all(|share| *share <= 3),
        "{shares:?}"
    );
    for (pid, _) in shares.iter().filter(|(_, share)| **share == 3) {
        assert_eq!(story.driver.exit_of(*pid), (Exit::Code(0), true));
        assert!(story.notes().contains(&format!("shutdown {pid} 0\n")));
    }
    story.end();
}

fn an_app_that_cannot_be_loaded() {
    let folder = folder("unloadable");
    let cases: HashMap<&str, i32> = HashMap::from([("nowhere", 2), ("stories:nothing", 2)]);
    for (name, status) in cases {
        let Some(mut host) = host(&folder, &["-A", name, "worker"]) else {
            return;
        };
        host.interpreter = wrapped(&folder, &host.interpreter);
        match python::start(&host) {
            Err(StartError::Ended(exit)) => assert_eq!(exit, Exit::Code(status), "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    fs::remove_dir_all(folder).unwrap();
}

fn the_report_tells_what_main_must_know() {
    let Some(story) = Story::begin("report", settings(1)) else {
        return;
    };
    let report = &story.report;
    assert!(report.celery.version.starts_with("5."));
    assert!(report.node.starts_with("celery@"));
    assert_eq!(report.pool, "prefork");
    assert_eq!(report.broker.transport, "amqp");
    assert_eq!(report.broker.read, ["amqp://guest:guest@localhost:5672//"]);
    assert_eq!(
        report.settings.flag("worker_enable_remote_control"),
        Some(true)
    );
    assert_eq!(report.queues.len(), 1);
    assert_eq!(report.queues[0].name, "celery");
    assert_eq!(report.worker.loglevel, Some(40.0));
    let again = &report.tasks["stories.again"];
    assert_eq!(
        (
            again.max_retries,
            again.default_retry_delay,
            again.track_started
        ),
        (Some(2.0), Some(7.0), true)
    );
    assert!(
        report
            .banner
            .as_ref()
            .unwrap()
            .contains("> transport:   amqp://guest:**@localhost:5672//")
    );
    assert!(report.differences.is_empty(), "{:?}", report.differences);
    story.end();
}
