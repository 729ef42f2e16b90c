"""The command line: options, environment, banner, exit codes, and `call` on both sides of the wire."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import uuid

import pytest

from harness import TIMEOUT, Client, Raw, Worker, celeriac_binary, clean_environment, wait_until

pytestmark = pytest.mark.celeriac("the command is celeriac's")


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(celeriac_binary()), *arguments],
        env=clean_environment(**environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_call_sends_what_a_celery_client_would(client: Client, broker, raw: Raw, queue: str) -> None:
    """The two messages differ in nothing but what is different by nature."""
    done = run("-b", broker.url, "call", "demo.add", "--args", "[2, 3]", "--kwargs", '{"z": "żółw"}', "--queue", queue)
    assert done.returncode == 0, done.stderr
    identity = done.stdout.strip()
    assert str(uuid.UUID(identity)) == identity
    ours = raw.take(queue)
    client.send("demo.add", (2, 3), {"z": "żółw"})
    theirs = wait_until(lambda: raw.take(queue), "Celery's message")  # which it publishes without a confirm

    assert json.loads(ours.body) == json.loads(theirs.body)
    mine, other = ours.headers, theirs.headers
    assert mine["id"] == mine["root_id"] == identity
    assert re.fullmatch(r"gen\d+@.+", mine["origin"])
    varying = {"id", "root_id", "origin", "lang", "argsrepr"}
    assert set(mine) == set(other)
    assert {name: mine[name] for name in mine if name not in varying} == {
        name: other[name] for name in other if name not in varying
    }
    assert ours.properties["correlation_id"] == identity
    for name in ("content_type", "content_encoding", "delivery_mode"):
        assert ours.properties[name] == theirs.properties[name], name


def test_call_and_wait(worker: Worker, broker, queue: str) -> None:
    base = ("call", "-b", broker.url, "--queue", queue, "--wait", "--timeout", "10")
    done = run(*base, "demo.add", "-a", "[2, 3]")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "5"), done.stderr
    failed = run(*base, "demo.fail", "-a", '["no such luck"]')
    assert failed.returncode == 1
    assert "ValueError" in failed.stdout + failed.stderr
    assert "no such luck" in failed.stdout + failed.stderr


def test_call_with_a_countdown_and_an_eta(worker: Worker, broker, queue: str) -> None:
    for option in (("--countdown", "0.5"), ("--eta", "2020-01-01T00:00:00")):
        done = run("call", "-b", broker.url, "--queue", queue, "demo.add", "-a", "[2, 3]", *option)
        assert done.returncode == 0, done.stderr
        worker.wait_log(rf"demo\.add\[{done.stdout.strip()}\] succeeded in .*: 5$")


def test_a_call_to_a_broker_that_is_not_there_says_so_and_ends(broker) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    done = run("call", "-b", f"amqp://guest:s3cret@127.0.0.1:{port}//", "demo.noop")
    assert done.returncode not in (0, 2)
    assert done.stdout == ""
    assert f"127.0.0.1:{port}" in done.stderr
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("worker", "--no-such-option"),
        ("worker", "-c", "many"),
        ("worker", "-l", "loud"),
        ("call",),
        ("call", "demo.add", "--args", "{nope"),
        ("call", "demo.add", "--args", "{}"),
        ("call", "demo.add", "--kwargs", "[]"),
        ("no-such-command",),
    ],
)
def test_a_command_line_that_makes_no_sense_is_explained_and_ends_with_two(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.strip()
    assert "panicked" not in done.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("worker", "--help"), ("call", "--help"), ("--version",)])
def test_help_and_version(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert done.returncode == 0
    assert done.stdout.strip()


def test_the_banner(worker: Worker, broker, queue: str) -> None:
    shown = worker.output
    assert re.search(rf"^ -------------- {re.escape(worker.name)} v\S+", shown, re.MULTILINE), shown
    assert re.search(rf"\.> transport:   amqp://guest:\*\*@127\.0\.0\.1:{broker.port}//", shown)
    assert re.search(r"\.> results:     rpc://", shown)
    assert re.search(r"\.> concurrency: 2 \(prefork\)", shown)
    assert re.search(r"\.> task events: OFF", shown)
    assert re.search(rf"\.> {re.escape(queue)}\s+exchange={re.escape(queue)}\(direct\) key={re.escape(queue)}", shown)
    assert re.search(r"^\[tasks\]$", shown, re.MULTILINE)
    tasks = re.findall(r"^  \. (demo\.\w+)$", shown, re.MULTILINE)
    assert tasks == sorted(f"demo.{name}" for name in "add mul echo sleep noop fail retry crash".split())
    assert "guest:guest" not in shown


def test_quiet_has_no_banner(make_worker) -> None:
    assert "-------" not in make_worker(arguments=["--quiet"]).output


def test_the_broker_from_the_environment(make_worker, client: Client) -> None:
    make_worker(urls_in_environment=True)
    assert client.call("demo.add", 2, 3) == 5


def test_a_log_file(make_worker, client: Client, tmp_path) -> None:
    log = tmp_path / "worker-%n.txt"
    worker = make_worker(arguments=["-f", str(log)], ready=False)
    assert client.call("demo.add", 2, 3) == 5
    written = tmp_path / f"worker-{worker.queue}.txt"
    wait_until(lambda: f"{worker.name} ready." in written.read_text(), "the worker's first line in the file")
    wait_until(lambda: re.search(r"Task demo\.add\[.*\] succeeded in", written.read_text()), "the task's last line")


def test_the_log_level_is_kept(make_worker, client: Client) -> None:
    worker = make_worker(loglevel="warning", ready=False)
    assert client.call("demo.add", 2, 3) == 5
    with pytest.raises(Exception):
        client.call("demo.fail", "boom")
    worker.wait_log("raised unexpected")
    assert "INFO" not in worker.log
    assert "DEBUG" not in worker.log


@pytest.mark.parametrize("given, expected", [("w1@%h", "w1@{host}"), ("plain", "celery@plain"), ("%n.x@%d%%", "{first}.x@{rest}%")])
def test_node_names(make_worker, given: str, expected: str) -> None:
    host = socket.gethostname()
    first, _, rest = host.partition(".")
    worker = make_worker(arguments=["-n", given], ready=False)
    worker.wait_log(re.escape(expected.format(host=host, first=first, rest=rest)) + r" ready\.", timeout=TIMEOUT)


def test_several_queues(make_worker, broker, queue: str) -> None:
    make_worker(on=f"{queue}.a,{queue}.b", arguments=["-n", "several"], ready=False)
    for name in ("a", "b"):
        client = Client(broker.url, f"{queue}.{name}")
        try:
            assert client.call("demo.add", 2, 3) == 5
        finally:
            client.close()
