//! `celeriac broker` and `celeriac dev` as a user has them.

use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

use celeriac::sys::process::Pid;
use celeriac::sys::signal::{Signal, kill};

/// A running command, which is ended with the test at the latest.
struct Running(Child);

impl Running {
    fn start(arguments: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_celeriac"))
            .args(arguments)
            .env_remove("CELERY_BROKER_URL")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the command");
        Self(child)
    }

    /// Lines of its output until one that contains `last`.
    fn lines_until(&mut self, last: &str) -> Vec<String> {
        let output = self.0.stdout.as_mut().expect("piped");
        let mut lines = Vec::new();
        for line in BufReader::new(ByOctet(output)).lines() {
            lines.push(line.expect("text"));
            if lines.last().is_some_and(|line| line.contains(last)) {
                return lines;
            }
        }
        panic!("no {last:?} in {lines:?}");
    }

    /// Its exit code after a signal, and whatever it still said on stderr.
    fn stop(mut self, signal: Signal) -> (Option<i32>, String) {
        let pid = Pid::new(self.0.id().cast_signed()).expect("a pid");
        kill(pid, signal).expect("it runs");
        let code = self.0.wait().expect("its end").code();
        let mut said = String::new();
        let errors = self.0.stderr.as_mut().expect("piped");
        errors.read_to_string(&mut said).expect("text");
        (code, said)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads no further than it must, so that another reader may go on.
struct ByOctet<R>(R);

impl<R: Read> Read for ByOctet<R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(&mut buffer[..1])
    }
}

fn shell(command: &str) -> (bool, String) {
    let output = Command::new("sh")
        .args(["-c", command])
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.success(), text + &errors)
}

#[test]
fn the_broker_says_what_it_is_and_shows_its_queues() {
    let mut broker = Running::start(&["broker", "--listen", "127.0.0.1:0"]);
    let line = broker.lines_until("amqp://").remove(0);
    assert!(
        line.contains("in memory") && line.contains("RabbitMQ"),
        "{line}"
    );
    let url = line
        .split(' ')
        .find(|word| word.starts_with("amqp://"))
        .expect("a URL");
    let celeriac = env!("CARGO_BIN_EXE_celeriac");
    let (sent, said) = shell(&format!("{celeriac} -b {url} call demo.add -a '[1, 2]'"));
    assert!(sent, "{said}");
    let (shown, table) = shell(&format!("{celeriac} -b {url} broker queues"));
    assert!(shown, "{table}");
    let row: Vec<&str> = table
        .lines()
        .nth(1)
        .expect("a queue")
        .split_whitespace()
        .collect();
    assert_eq!(row[..6], ["/", "celery", "1", "1", "0", "0"], "{table}");
    assert_eq!(broker.stop(Signal::SIGTERM), (Some(0), String::new()));
}

/// A broker, a worker, and three commands that work as they are printed.
#[test]
fn the_first_run_works_as_it_says() {
    let mut dev = Running::start(&["dev", "--port", "0", "-c", "1", "-l", "warning"]);
    let lines = dev.lines_until("Ctrl-C");
    assert!(
        lines
            .iter()
            .any(|line| line.contains("export CELERY_BROKER_URL=amqp://"))
    );
    let commands: Vec<&String> = lines
        .iter()
        .filter(|line| line.contains(" -b amqp://"))
        .collect();
    assert_eq!(commands.len(), 3, "{lines:?}");
    for (command, answer) in commands.into_iter().zip(["5\n", "hello", "celery"]) {
        let (done, said) = shell(command);
        assert!(done && said.contains(answer), "{command}: {said}");
    }
    let (code, said) = dev.stop(Signal::SIGINT);
    assert_eq!(code, Some(0), "{said}");
}

#[test]
fn a_port_that_is_taken_is_an_error_only_if_it_was_asked_for() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let mut dev = Running::start(&["dev", "--port", &port]);
    assert_eq!(dev.0.wait().expect("its end").code(), Some(1));
}
