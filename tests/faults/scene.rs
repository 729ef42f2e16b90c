//! Brokers, a worker process, a client, and the ledger of what ran.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use celeriac::amqp::connection::State;
use celeriac::amqp::table::TableBuf;
use celeriac::amqp::{Event, Properties};
use celeriac::broker::faults::{Action, Fault, Trigger};
use celeriac::broker::harness::TestBroker;
use celeriac::broker::{QueueOverview, Settings};
use celeriac::client::{Control, Stats};
use celeriac::message::moment;
use celeriac::sys::process::Pid;
use celeriac::sys::signal::{self, Signal};

use crate::client::Client;
use crate::served::LEDGER;

/// How long anything may take that has no limit of its own.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);

/// The queue that the worker serves.
pub(crate) const QUEUE: &str = "celery";

static SCENES: AtomicU32 = AtomicU32::new(0);

/// See the module page. Nothing of it is left when it is dropped.
pub(crate) struct Scene {
    pub(crate) brokers: Vec<TestBroker>,
    worker: Child,
    directory: PathBuf,
    client: Option<(SocketAddr, Client)>,
    published: u32,
}

/// What to set up.
pub(crate) struct Set<'a> {
    pub(crate) brokers: Vec<TestBroker>,
    /// Behind each URL.
    pub(crate) query: &'a str,
    /// Of the worker.
    pub(crate) options: &'a [&'a str],
}

impl Set<'_> {
    pub(crate) fn new(settings: &Settings, count: usize) -> Self {
        let start = |_| TestBroker::start(settings.clone()).expect("a broker");
        Self {
            brokers: (0..count).map(start).collect(),
            query: "",
            options: &[],
        }
    }

    /// Starts the worker, which may not come up.
    pub(crate) fn start(self) -> Scene {
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        let name = format!("celeriac-faults-{}-{number}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        fs::create_dir_all(&directory).expect("a directory");
        let url = |broker: &TestBroker| format!("{}{}", broker.url(), self.query);
        let urls: Vec<String> = self.brokers.iter().map(url).collect();
        let log = File::create(directory.join("log")).expect("a log");
        let worker = Command::new(std::env::current_exe().expect("this program"))
            .args(["worker", "-n", "w@test", "-c", "2", "-l", "debug"])
            .args(["-b", &urls.join(";"), "--result-backend", "rpc://"])
            .args(self.options)
            .env_clear()
            .env(LEDGER, directory.join("ledger"))
            .env("RUST_BACKTRACE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("a worker");
        Scene {
            brokers: self.brokers,
            worker,
            directory,
            client: None,
            published: 0,
        }
    }

    /// Starts the worker and waits until it is ready.
    pub(crate) fn ready(self) -> Scene {
        let scene = self.start();
        scene.wait_log("ready.", 1);
        scene
    }
}

/// Brokers that agree on heartbeats every second.
pub(crate) fn brisk(count: usize) -> Set<'static> {
    let settings = Settings {
        heartbeat: 1,
        ..Settings::default()
    };
    Set::new(&settings, count)
}

/// One of them, and a worker, which is ready, that asks whether there is something when nothing has come for so long.
pub(crate) fn brisk_and_curious() -> Scene {
    let options = &["--ask-after-silence", "2"];
    Set {
        options,
        ..brisk(1)
    }
    .ready()
}

/// A scene of one broker, the worker ready.
pub(crate) fn scene(options: &[&str]) -> Scene {
    let set = Set::new(&Settings::default(), 1);
    Set { options, ..set }.ready()
}

/// Whether a connection stands, as far as its client has heard.
fn lives(client: &mut Client) -> bool {
    client.exchange();
    while client.connection.poll_event().is_some() {}
    client.connection.state() == State::Open
}

/// Waits for a condition.
#[track_caller]
pub(crate) fn until(what: &str, patience: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {patience:?}: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

impl Scene {
    // ---- the broker -------------------------------------------------------------------------------------------------

    /// The first broker does this once, when the method comes.
    pub(crate) fn fault(&self, trigger: Trigger, action: Action) {
        let fault = Fault::once(trigger, action);
        self.brokers[0].with(move |broker, _| broker.faults().add(fault));
    }

    /// Closes every connection to every broker without a word.
    pub(crate) fn drop_connections(&self) {
        for broker in &self.brokers {
            broker.with(|broker, _| broker.drop_connections());
        }
    }

    /// Waits until every fault has happened.
    #[track_caller]
    pub(crate) fn wait_faults(&self) {
        until("every fault has happened", PATIENCE, || {
            self.brokers[0].with(|broker, _| broker.faults().are_used_up())
        });
    }

    /// What there is to see of the worker's queue on the first broker.
    pub(crate) fn overview(&self) -> Option<QueueOverview> {
        let queues = self.brokers[0].with(|broker, _| broker.queues());
        queues.into_iter().find(|queue| queue.name == QUEUE)
    }

    /// Waits until the broker has heard the fate of every message.
    #[track_caller]
    pub(crate) fn wait_settled(&self) {
        until("every message is settled", PATIENCE, || {
            self.overview().is_some_and(|queue| queue.messages() == 0)
        });
    }

    // ---- messages ---------------------------------------------------------------------------------------------------

    /// Sends a task to the first broker, confirmed. Gives its name in the ledger.
    #[track_caller]
    pub(crate) fn send(&mut self, task: &str, milliseconds: u64) -> String {
        self.send_to(0, task, milliseconds, &Properties::default())
    }

    /// The same, to a queue that the worker has declared.
    #[track_caller]
    pub(crate) fn send_on(&mut self, queue: &str, task: &str, milliseconds: u64) -> String {
        self.publish(0, queue, (task, milliseconds), &Properties::default(), None)
    }

    /// The same, not to be run before this moment.
    #[track_caller]
    pub(crate) fn send_later(&mut self, task: &str, eta: SystemTime) -> String {
        self.publish(0, QUEUE, (task, 0), &Properties::default(), Some(eta))
    }

    #[track_caller]
    pub(crate) fn send_to(
        &mut self,
        broker: usize,
        task: &str,
        milliseconds: u64,
        properties: &Properties<'_>,
    ) -> String {
        self.publish(broker, QUEUE, (task, milliseconds), properties, None)
    }

    #[track_caller]
    fn publish(
        &mut self,
        broker: usize,
        queue: &str,
        (task, milliseconds): (&str, u64),
        properties: &Properties<'_>,
        eta: Option<SystemTime>,
    ) -> String {
        self.published += 1;
        let name = format!("n{}", self.published);
        let mut headers = TableBuf::new();
        headers.insert("task", task).unwrap();
        headers.insert("id", name.as_str()).unwrap();
        if let Some(eta) = eta {
            headers.insert("eta", moment::format(eta).as_str()).unwrap();
        }
        let properties = Properties {
            content_type: Some("application/json".into()),
            content_encoding: Some("utf-8".into()),
            delivery_mode: Some(2),
            headers: Some(headers.as_table()),
            ..*properties
        };
        let body = format!(r#"[["{name}", {milliseconds}], {{}}, {{}}]"#);
        let address = self.brokers[broker].address();
        for _ in 0..2 {
            let client = self.client_of(address);
            client.publish_with(queue, &properties, &body);
            let confirmed = client.wait(|event| match event {
                Event::Confirm { acked, .. } => Some(*acked),
                Event::Closed(_) => Some(false),
                _ => None,
            });
            if confirmed {
                return name;
            }
            self.client = None;
        }
        panic!("{name} is not confirmed");
    }

    /// Sends what comes next on another connection.
    pub(crate) fn reconnect(&mut self) {
        self.client = None;
    }

    /// A connection to this broker, before a fault may hit its making.
    pub(crate) fn client_of(&mut self, address: SocketAddr) -> &mut Client {
        let usable =
            |(known, client): &mut (SocketAddr, Client)| *known == address && lives(client);
        if !self.client.as_mut().is_some_and(usable) {
            let mut client = Client::connect(address);
            client.declare(QUEUE);
            client.confirms();
            self.client = Some((address, client));
        }
        &mut self.client.as_mut().expect("just made").1
    }

    /// Sends a late task and waits until it has run; to the first broker.
    #[track_caller]
    pub(crate) fn serves(&mut self, patience: Duration) {
        let name = self.send("f.late", 0);
        self.wait_end(&name, patience);
    }

    // ---- the worker -------------------------------------------------------------------------------------------------

    pub(crate) fn pid(&self) -> Pid {
        Pid::new(self.worker.id().try_into().unwrap()).expect("a pid")
    }

    pub(crate) fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.directory.join("log")).unwrap()).into_owned()
    }

    /// How many lines contain a text.
    pub(crate) fn logged(&self, text: &str) -> usize {
        let log = self.log();
        log.lines().filter(|line| line.contains(text)).count()
    }

    #[track_caller]
    pub(crate) fn wait_log(&self, text: &str, times: usize) {
        until(&format!("{text:?} in the log"), PATIENCE, || {
            self.logged(text) >= times
        });
    }

    /// What the worker says of itself.
    #[track_caller]
    pub(crate) fn stats(&self) -> Stats {
        let mut control = Control::connect(&self.brokers[0].url())
            .expect("a connection")
            .limit(1)
            .timeout(PATIENCE);
        let stats = control.inspect().stats().expect("an answer");
        stats
            .into_values()
            .next()
            .expect("a worker")
            .expect("stats")
    }

    /// A count of the worker's.
    #[track_caller]
    pub(crate) fn count(&self, name: &str) -> f64 {
        let consumer = &self.stats().more["connections"];
        consumer[name].as_f64().expect("a number")
    }

    /// Whether it has ended, and how.
    pub(crate) fn status(&mut self) -> Option<Option<i32>> {
        let status = self.worker.try_wait().expect("asked");
        status.map(|status| status.code())
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait_exit(&mut self, patience: Duration) -> Option<i32> {
        until("the worker's end", patience, || self.status().is_some());
        self.status().flatten()
    }

    /// Asks it to stop, and sees that it does so in good order.
    #[track_caller]
    pub(crate) fn stop(&mut self) {
        signal::kill(self.pid(), Signal::SIGTERM).expect("it lives");
        assert_eq!(self.wait_exit(PATIENCE), Some(0));
        self.check();
    }

    // ---- the ledger -------------------------------------------------------------------------------------------------

    /// Lines as they were written: begin or end, and of what.
    fn ledger(&self) -> Vec<(String, String)> {
        let text = fs::read_to_string(self.directory.join("ledger")).unwrap_or_default();
        let pair = |line: &str| {
            let (what, name) = line.split_once(' ').expect("two words");
            (what.to_owned(), name.to_owned())
        };
        text.lines().map(pair).collect()
    }

    /// How often this is in the ledger.
    pub(crate) fn noted(&self, what: &str, name: &str) -> usize {
        let ledger = self.ledger();
        ledger
            .iter()
            .filter(|(is, of)| is == what && of == name)
            .count()
    }

    #[track_caller]
    pub(crate) fn wait_begin(&self, name: &str) {
        until(&format!("{name} begins"), PATIENCE, || {
            self.noted("begin", name) > 0
        });
    }

    #[track_caller]
    pub(crate) fn wait_end(&self, name: &str, patience: Duration) {
        until(&format!("{name} ends"), patience, || {
            self.noted("end", name) > 0
        });
    }

    /// Each of these has run once, from begin to end.
    #[track_caller]
    pub(crate) fn ran_once(&self, names: &[String]) {
        for name in names {
            let times = (self.noted("begin", name), self.noted("end", name));
            assert_eq!(times, (1, 1), "{name}");
        }
    }

    /// What must hold everywhere: nothing ran twice at once, and nobody panicked.
    #[track_caller]
    pub(crate) fn check(&self) {
        let mut running: BTreeMap<String, i32> = BTreeMap::new();
        for (what, name) in self.ledger() {
            let count = running.entry(name.clone()).or_default();
            *count += if what == "begin" { 1 } else { -1 };
            assert!(*count <= 1, "{name} runs twice at once");
        }
        let log = self.log();
        assert!(!log.contains("panicked"), "{log}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines.len().saturating_sub(60);
            eprintln!("--- the worker's log ---\n{}", lines[last..].join("\n"));
        }
        let _ = self.worker.kill(); // its children go with it
        let _ = self.worker.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}
