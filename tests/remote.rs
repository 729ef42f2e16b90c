//! Remote control as another Rust program uses it: `client::Control` and `Inspect` against a worker with a command of
//! its own. The worker is this program, which is why it has no harness; the broker is the embedded one.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, clippy::unwrap_used)]

use std::net::TcpListener;
use std::process::{Child, Command as Process, ExitCode, Stdio};
use std::time::{Duration, Instant};

use celeriac::app::{App, Command, Context, TaskResult};
use celeriac::client::{Control, Refused};
use celeriac::hub::Hub;
use celeriac::message::pidbox::Arguments;
use celeriac::worker::Worker;
use celeriac::worker::control::{Answer, Argument, Reply};

const NODE: &str = "w@remote";

fn main() -> ExitCode {
    if std::env::args().nth(1).as_deref() == Some("worker") {
        let echo = Command::inspect("shout", shout)
            .help("Say it louder.")
            .words(&[("word", Argument::Text)])
            .required(&["word"]);
        return App::new("remote").task("nap", nap).command(echo).main();
    }
    a_program_talks_to_workers();
    println!("a_program_talks_to_workers: ok");
    ExitCode::SUCCESS
}

fn nap(_: &Context, (seconds,): (u64,)) -> TaskResult<()> {
    std::thread::sleep(Duration::from_secs(seconds));
    Ok(())
}

/// A command of the program's own.
fn shout(worker: &mut Worker, _: &mut Hub<Worker>, arguments: &Arguments<'_>) -> Answer {
    let word = arguments.find("word").and_then(|word| word.as_str());
    let node = &worker.settings.node_name;
    let word = word.unwrap_or_default().to_uppercase();
    Ok(Reply::ok(&format!("{node}: {word}")))
}

/// A process that ends with this one.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(program: &str, arguments: &[&str]) -> Running {
    let mut process = Process::new(program);
    process.args(arguments).stdout(Stdio::null());
    Running(process.spawn().unwrap())
}

/// The first value that is one, or a panic after half a minute.
fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn a_program_talks_to_workers() {
    let free = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    let (address, url) = (free.to_string(), format!("amqp://guest:guest@{free}//"));
    let celeriac = env!("CARGO_BIN_EXE_celeriac");
    let _broker = start(celeriac, &["broker", "-q", "--listen", &address]);
    let this = std::env::current_exe().unwrap();
    let this = this.to_str().unwrap();
    let options = ["worker", "-q", "-c", "1", "-n", NODE, "-b", &url];
    let mut worker = start(this, &options);

    let connect = || Control::connect(&url).ok();
    let control = eventually("a broker", connect).timeout(Duration::from_secs(10));
    let mut control = control.destination([NODE]);
    eventually("a worker", || {
        let there = connect()?.destination([NODE]).inspect().ping().ok()?;
        (there.get(NODE)? == &Ok("pong".to_owned())).then_some(())
    });

    let call = ["-b", &url, "call", "nap", "-a", "[60]"];
    assert!(
        Process::new(celeriac)
            .args(call)
            .stdout(Stdio::null())
            .status()
            .unwrap()
            .success()
    );
    let active = eventually("it runs", || {
        let mut active = control.inspect().active().unwrap().remove(NODE)?.unwrap();
        active.pop()
    });
    assert_eq!(
        (active.name.as_str(), active.hostname.as_deref()),
        ("nap", Some(NODE))
    );
    assert!(active.worker_pid.is_some() && active.time_start.is_some());
    let found = control.inspect().query_task(&[&active.id]).unwrap();
    assert_eq!(found[NODE].as_ref().unwrap()[&active.id].0, "active");

    let stats = control
        .inspect()
        .stats()
        .unwrap()
        .remove(NODE)
        .unwrap()
        .unwrap();
    assert_eq!(
        (stats.pid, stats.total["nap"]),
        (i64::from(worker.0.id()), 1)
    );
    let registered = control.inspect().registered(&["max_retries"]).unwrap();
    assert_eq!(registered[NODE], Ok(vec!["nap [max_retries=3]".to_owned()]));
    assert!(
        control.inspect().report().unwrap()[NODE]
            .as_ref()
            .unwrap()
            .contains("celeriac")
    );

    let replies = control.rate_limit("nap", "5/m").unwrap();
    assert_eq!(replies[0].ok().unwrap(), "new rate limit set successfully");
    let unknown = Refused("unknown task".to_owned());
    assert_eq!(
        control.rate_limit("other", "5/m").unwrap()[0].ok(),
        Err(unknown)
    );
    let shouted = control
        .call("shout", &serde_json::json!({"word": "hey"}))
        .unwrap();
    assert_eq!(shouted[0].ok().unwrap(), format!("{NODE}: HEY"));
    let refused = control.call("shout", &serde_json::json!({})).unwrap();
    assert!(refused[0].ok().unwrap_err().0.contains("'word'"));

    assert_eq!(
        control.terminate(&[&active.id], "KILL").unwrap()[0]
            .ok()
            .unwrap(),
        format!("terminate: {}", active.id)
    );
    control.shutdown().unwrap();
    assert!(worker.0.wait().unwrap().success());
    control.close();
    let quick = connect().unwrap().timeout(Duration::from_millis(200));
    assert!(
        quick
            .destination(["nobody@nowhere"])
            .inspect()
            .ping()
            .unwrap()
            .is_empty()
    );
}
