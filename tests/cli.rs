//! The command line as a user meets it, without a broker: texts and exit codes.

use std::ffi::OsStr;
use std::process::{Command, Output, Stdio};

/// Runs the command with an environment of its own, so that nobody's variables decide a test.
fn celeriac<S: AsRef<OsStr>>(arguments: &[S], variables: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_celeriac"))
        .args(arguments)
        .env_clear()
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("the command starts")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// The command refuses the line with exactly this text.
#[track_caller]
fn refused(arguments: &[&str], text: &str) {
    let output = celeriac(arguments, &[]);
    assert_eq!(stderr(&output), text);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(2), String::new())
    );
}

const CALL: &str =
    "Usage: celeriac call [OPTIONS] NAME\nTry 'celeriac call --help' for help.\n\nError: ";
const WORKER: &str =
    "Usage: celeriac worker [OPTIONS]\nTry 'celeriac worker --help' for help.\n\nError: ";
const ANY: &str =
    "Usage: celeriac [OPTIONS] [COMMAND] [ARGS]...\nTry 'celeriac --help' for help.\n\nError: ";

/// The texts and codes captured from Celery 5.7.0.
#[test]
fn a_call_that_makes_no_sense_is_refused_in_celerys_words() {
    for (arguments, reason) in [
        (&["call"][..], "Missing argument 'NAME'."),
        (
            &["call", "proj.add", "-a", "{\"a\":1}"],
            "Invalid value for '-a' / '--args': {\"a\":1} was not an array",
        ),
        (
            &["call", "proj.add", "-a", "x"],
            "Invalid value for '-a' / '--args': Expecting value: line 1 column 1 (char 0)",
        ),
        (
            &["call", "proj.add", "--kwargs", "[]"],
            "Invalid value for '-k' / '--kwargs': [] was not an object",
        ),
        (
            &["call", "proj.add", "--eta", "tomorrow"],
            "Invalid value for '--eta': 'tomorrow' is not a date and time in ISO 8601.",
        ),
        (
            &["call", "proj.add", "--countdown", "soon"],
            "Invalid value for '--countdown': 'soon' is not a valid float.",
        ),
        (
            &["call", "proj.add", "--serializer", "pickle"],
            "Invalid value for '--serializer': 'pickle' is not one of json.",
        ),
        (
            &["call", "proj.add", "more"],
            "Got unexpected extra argument (more)",
        ),
        (&["call", "proj.add", "--nope"], "No such option '--nope'."),
        (
            &["call", "proj.add", "--queue"],
            "Option '--queue' requires an argument.",
        ),
    ] {
        refused(arguments, &format!("{CALL}{reason}\n"));
    }
}

#[test]
fn a_worker_that_makes_no_sense_is_refused() {
    for (arguments, reason) in [
        (
            &["worker", "-c", "many"][..],
            "Invalid value for '-c' / '--concurrency': 'many' is not a valid integer.",
        ),
        (
            &["worker", "-l", "loud"],
            "Invalid value for '-l' / '--loglevel': 'loud' is not one of 'DEBUG', 'INFO', 'WARNING', 'ERROR', 'CRITICAL', 'FATAL'.",
        ),
        (
            &["worker", "-P", "gevent"],
            "Invalid value for '-P' / '--pool': 'gevent' is not one of prefork.",
        ),
        (
            &["worker"],
            "There are no tasks to serve: give --demo, or register tasks on celeriac::app::App.",
        ),
    ] {
        refused(arguments, &format!("{WORKER}{reason}\n"));
    }
}

#[test]
fn an_unknown_command_comes_with_a_guess() {
    refused(
        &["wroker"],
        &format!(
            "{ANY}No such command 'wroker'.\n\nDid you mean one of these?\n    broker, worker\n"
        ),
    );
    refused(&["qqq"], &format!("{ANY}No such command 'qqq'.\n"));
}

#[test]
fn an_app_is_given_to_its_interpreter_wherever_it_is_named() {
    for arguments in [
        &["-A", "proj", "worker", "--python", "/no/python"][..],
        &["worker", "--python=/no/python", "-A", "proj"],
        &["--python", "/no/python", "inspect", "--app=proj", "active"],
    ] {
        let output = celeriac(arguments, &[]);
        assert_eq!(output.status.code(), Some(1));
        let reason = "Error: cannot run the interpreter /no/python: ";
        assert!(stderr(&output).starts_with(reason), "{}", stderr(&output));
    }
    let output = celeriac(&["-A", "proj", "worker"], &[]);
    assert!(stderr(&output).starts_with("Error: found no Python interpreter; "));
    let output = celeriac(&["worker"], &[("CELERY_APP", "proj")]);
    assert!(stderr(&output).starts_with("Error: found no Python interpreter; "));
}

#[test]
fn pools_of_threads_are_refused_with_a_word_of_advice() {
    for pool in ["threads", "gevent", "eventlet"] {
        let output = celeriac(&["-A", "proj", "worker", "-P", pool], &[]);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output).contains("use -P prefork"),
            "{}",
            stderr(&output)
        );
    }
}

#[test]
fn help_goes_to_stdout_and_has_examples() {
    for arguments in [
        &["--help"][..],
        &["worker", "--help"],
        &["call", "--help"],
        &[],
    ] {
        let output = celeriac(arguments, &[]);
        assert_eq!(
            (output.status.code(), stderr(&output)),
            (Some(0), String::new())
        );
        assert!(
            stdout(&output).contains("Examples:\n"),
            "{}",
            stdout(&output)
        );
    }
    let version = format!("{} (celeriac)\n", env!("CARGO_PKG_VERSION"));
    assert_eq!(stdout(&celeriac(&["--version"], &[])), version);
}

#[test]
fn a_configuration_that_makes_no_sense_ends_with_one() {
    for (arguments, variables, reason) in [
        (
            &["worker", "--demo", "-b", "redis://host"][..],
            &[][..],
            "broker: ",
        ),
        (
            &["worker", "--demo"],
            &[("CELERY_BROKER_URL", "redis://host")],
            "broker: ",
        ),
        (
            &["worker", "--demo", "-n", "a@%z"],
            &[],
            "unknown format `%z`",
        ),
        (
            &["worker", "--demo"],
            &[("CELERY_WORKER_HOSTNAME", "a@%y")],
            "unknown format `%y`",
        ),
        (
            &["worker", "--demo", "--result-backend", "ftp://host"],
            &[],
            "result backend: ",
        ),
        (
            &["worker", "--demo", "-f", "/no/such/directory/log"],
            &[],
            "cannot log to /no/such",
        ),
        (
            &["call", "demo.noop", "-b", "redis://host"],
            &[],
            "broker: ",
        ),
    ] {
        let output = celeriac(arguments, variables);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(
            stderr(&output).contains(reason),
            "{arguments:?}: {}",
            stderr(&output)
        );
    }
}

/// Nothing listens on port 1. The variables stand in Celery's order, the strongest last.
#[test]
fn an_unreachable_broker_is_named_without_its_password() {
    let variables = [
        (
            "CELERY_BROKER_URL",
            "amqp://guest:s3cret@127.0.0.1:1/setting",
        ),
        ("CELERY_BROKER", "amqp://guest:s3cret@127.0.0.1:1/auto"),
        ("BROKER_URL", "amqp://guest:s3cret@127.0.0.1:1/explicit"),
    ];
    for (count, vhost) in [(1, "setting"), (2, "auto"), (3, "explicit")] {
        let output = celeriac(&["call", "demo.noop"], &variables[..count]);
        let text = stderr(&output);
        assert_eq!(output.status.code(), Some(69), "{text}");
        assert!(
            text.contains(&format!("amqp://guest:**@127.0.0.1:1/{vhost}: ")),
            "{text}"
        );
        assert!(!text.contains("s3cret"), "{text}");
    }
    let option = ["call", "demo.noop", "-b", "amqp://127.0.0.1:1/option"];
    let output = celeriac(&option, &variables);
    assert!(
        stderr(&output).contains("127.0.0.1:1/option"),
        "{}",
        stderr(&output)
    );
}

/// As Celery's: what follows the command is not in the usage.
#[test]
fn a_command_that_nobody_knows_is_named_with_those_that_are_known() {
    let output = celeriac(&["inspect", "nosuch"], &[]);
    let usage =
        "Usage: celeriac inspect [OPTIONS] COMMAND\nTry 'celeriac inspect --help' for help.\n\n";
    let text = stderr(&output);
    assert_eq!(output.status.code(), Some(2));
    assert!(text.starts_with(usage), "{text}");
    assert!(text.contains("Command nosuch not recognized. Available inspect commands: active,"));
}

#[test]
fn bindings_are_listed_as_the_management_plugin_tells_them() {
    let server = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let place = server.local_addr().unwrap().to_string();
    let plugin = std::thread::spawn(move || {
        for _ in 0..2 {
            let (mut socket, _) = server.accept().unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut octet = [0];
                std::io::Read::read_exact(&mut socket, &mut octet).unwrap();
                head.push(octet[0]);
            }
            let head = String::from_utf8(head).unwrap();
            assert!(
                head.starts_with("GET /api/bindings/a%2Fb HTTP/1.0\r\n"),
                "{head}"
            );
            assert!(head.contains("Authorization: Basic dTpw\r\n"), "u:p");
            let body = r#"[{"source": "mail", "destination": "mail", "routing_key": "k", "arguments": {}}]"#;
            std::io::Write::write_all(
                &mut socket,
                format!("HTTP/1.0 200 OK\r\n\r\n{body}").as_bytes(),
            )
            .unwrap();
        }
    });
    let broker = "amqp://u:p@127.0.0.1:1/a%2Fb";
    let list = ["-b", broker, "list", "bindings", "--management", &place];
    let output = celeriac(&list, &[]);
    assert_eq!(
        stdout(&output),
        "Queue                        Exchange                     Routing Key\n\
         ----------------             ----------------             ----------------\n\
         mail                         mail                         k\n"
    );
    let output = celeriac(&[&list[..], &["--json"]].concat(), &[]);
    assert_eq!(
        stdout(&output),
        "[{\"queue\": \"mail\", \"exchange\": \"mail\", \"routing_key\": \"k\"}]\n"
    );
    plugin.join().unwrap();

    let output = celeriac(&list, &[]);
    assert_eq!(output.status.code(), Some(1), "it has gone");
    assert!(
        stderr(&output).contains("management plugin at"),
        "{}",
        stderr(&output)
    );
    let output = celeriac(&["list"], &[]);
    assert_eq!(
        (output.status.code(), stdout(&output)),
        (Some(2), String::new())
    );
    assert!(stderr(&output).contains("bindings"), "{}", stderr(&output));
}

#[test]
fn a_result_that_is_kept_nowhere_is_said_to_be() {
    for (arguments, reason) in [
        (
            &["result", "an-id"][..],
            "rpc:// sends results to who called, and keeps none",
        ),
        (
            &["celeryctl", "-t", "tasks.add", "an-id"],
            "rpc:// sends results",
        ),
        (
            &["--result-backend", "redis://", "result", "an-id"],
            "Name the app with -A",
        ),
    ] {
        let output = celeriac(arguments, &[]);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}");
        assert!(stderr(&output).contains(reason), "{}", stderr(&output));
    }
}
