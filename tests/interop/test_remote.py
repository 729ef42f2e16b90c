"""`celeriac status`, `inspect`, `control`, `events` and `purge`, beside Celery's own commands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import time

import pytest

from harness import Client, Raw, Worker, celeriac_binary, clean_environment, wait_until
from rabbitmq import free_port

pytestmark = pytest.mark.celeriac("the command is celeriac's")


def run(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments], env=clean_environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
    )


@pytest.fixture
def both(broker):
    """Runs a command with celeriac and with Celery, at the same broker."""

    def run_both(*arguments: str) -> tuple[subprocess.CompletedProcess[str], subprocess.CompletedProcess[str]]:
        ours = run([str(celeriac_binary()), "-b", broker.url], *arguments)
        theirs = run([sys.executable, "-m", "celery", "-b", broker.url], *arguments)
        return ours, theirs

    return run_both


@pytest.fixture(scope="module", params=["celeriac", "celery"])
def node(request, broker, tmp_path_factory):
    """A worker of ours, and one of Celery's."""
    kind = request.param
    worker = Worker(kind, broker.url, f"remote.{kind}", tmp_path_factory.mktemp("remote"))
    yield worker.wait_ready()
    worker.close()


def without_program(text: str) -> str:
    return text.replace("celeriac ", "celery ").replace("'celeriac", "'celery")


@pytest.mark.parametrize(
    "arguments",
    [
        ("inspect", "ping"), ("-q", "inspect", "ping"), ("inspect", "ping", "-j"), ("inspect", "active"), ("inspect", "registered"),
        ("inspect", "active_queues"), ("inspect", "query_task", "a", "b"), ("inspect", "revoked"), ("inspect", "conf"),
        ("inspect", "report"), ("inspect", "objgraph"), ("status",), ("-q", "status"),
        ("control", "heartbeat"), ("control", "rate_limit", "demo.add", "5/m"), ("control", "rate_limit"), ("control", "add_consumer", "{queue}"),
        ("control", "revoke"), ("control", "-j", "disable_events"), ("control", "autoscale", "3", "1"), ("control", "time_limit", "demo.add", "1", "2"),
    ],
)
def test_both_commands_print_the_same_of_both_workers(node: Worker, both, arguments: tuple[str, ...]) -> None:
    arguments = tuple(argument.format(queue=node.queue) for argument in arguments)
    ours, theirs = both(*arguments, "-d", node.name)
    printed = theirs.stdout.replace("}\n    \n", "}\n")  # where pygments is installed, Celery adds a line
    assert (ours.stdout, ours.returncode) == (printed, theirs.returncode), ours.stderr


@pytest.mark.parametrize(
    "arguments", [("inspect", "--list"), ("control", "--list"), ("inspect", "nosuch"), ("control", "rate_limit", "a", "b", "c"), ("inspect",), ("control",)],
)
def test_lists_and_usage_errors_are_celerys(both, arguments: tuple[str, ...]) -> None:
    ours, theirs = both(*arguments)
    assert ours.returncode == theirs.returncode
    assert ours.stdout == theirs.stdout
    assert without_program(ours.stderr).splitlines()[2:] == theirs.stderr.splitlines()[2:]


def test_nobody_answers(both) -> None:
    ours, theirs = both("inspect", "ping", "-d", "nobody@nowhere", "-t", "0.3")
    assert (ours.stdout, ours.stderr, ours.returncode) == (theirs.stdout, theirs.stderr, theirs.returncode)
    assert ours.returncode == 69


def test_inspect_ends_when_all_have_answered(make_worker, broker, queue: str) -> None:
    names = {make_worker().name, make_worker(on=f"{queue}.b").name}
    command = [str(celeriac_binary()), "-b", broker.url, "inspect", "ping", "-j", "-t", "5"]
    told = wait_until(lambda: names <= set(json.loads(run(command).stdout or "{}")), "both answer", 15)
    assert told
    begin = time.monotonic()
    run(command)
    assert time.monotonic() - begin < 2
    begin = time.monotonic()
    assert run([*command, "-d", min(names)]).returncode == 0
    assert time.monotonic() - begin < 1


@pytest.mark.parametrize("kind", ["celeriac", "celery"])
def test_the_events_of_a_task_as_both_print_them(kind: str, make_worker, client: Client, broker, queue: str) -> None:
    worker = make_worker(arguments=["-E"])
    commands = [[str(celeriac_binary()), "-b", broker.url, "events", "--dump"], [sys.executable, "-m", "celery", "-b", broker.url, "events", "--dump"]]
    dumps = [
        subprocess.Popen(command, env=clean_environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for command in commands
    ]
    lines: list[list[str]] = [[], []]


    threads = [threading.Thread(target=lambda d=dump, l=found: l.extend(iter(d.stdout.readline, "")), daemon=True) for dump, found in zip(dumps, lines)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: all(any("heartbeat" in line and worker.name in line for line in found) for found in lines), "both listen", 20)
        identity = client.send("demo.add", (2, 3)).id
        stories = wait_until(lambda: (s := [[line for line in found if identity in line and worker.name in line] for found in lines]) and all(len(x) == 3 for x in s) and s, "three events")
        cut = [[re.sub(r"local_received=[\d.e+]+", "local_received", line) for line in story] for story in stories]
        assert cut[0] == cut[1]
        assert lines[0][0] == lines[1][0] == "-> evdump: starting capture...\n"
    finally:
        for dump in dumps:
            dump.kill()
            dump.wait()


def test_a_dump_of_events_goes_on_when_the_broker_is_back(make_worker) -> None:
    port = free_port()
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    serve = [str(celeriac_binary()), "broker", "--listen", f"127.0.0.1:{port}", "-q"]
    lines: list[str] = []
    dump = subprocess.Popen(
        [str(celeriac_binary()), "-b", url, "events", "--dump"], env=clean_environment(), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, text=True)
    threading.Thread(target=lambda: lines.extend(iter(dump.stdout.readline, "")), daemon=True).start()
    try:
        wait_until(lambda: "Trying again in 2.00 seconds\n" in lines, "it tries again")
        with subprocess.Popen(serve, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as broker:
            worker = make_worker(url)
            wait_until(lambda: any(worker.name in line for line in lines), "it hears the worker", 20)
            broker.kill()
        wait_until(lambda: "-> Connection lost, attempting reconnect\n" in lines, "it has noticed")
        lines.clear()
        with subprocess.Popen(serve, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as broker:
            wait_until(lambda: any(worker.name in line for line in lines), "it hears the worker again", 20)
            broker.kill()
    finally:
        dump.kill()
        dump.wait()


def test_call_prints_json(worker: Worker, broker, queue: str) -> None:
    call = [str(celeriac_binary()), "-b", broker.url, "call", "--queue", queue, "--json"]
    sent = json.loads(run([*call, "demo.add", "-a", "[1, 2]"]).stdout)
    assert list(sent) == ["task_id"]
    done = run([*call, "demo.echo", "-a", '["a\\nb"]', "--wait"])
    assert (json.loads(done.stdout)["result"], done.returncode) == ("a\nb", 0)
    failed = run([*call, "demo.fail", "-a", '["boom"]', "--wait"])
    assert (json.loads(failed.stdout)["error"], failed.returncode) == ("ValueError: boom", 1)


def test_purge(client: Client, broker, raw: Raw, queue: str) -> None:
    purge = [str(celeriac_binary()), "-b", broker.url, "purge", "-Q", queue]
    for number in range(3):
        client.send("demo.add", (number, number))
    wait_until(lambda: raw.ready(queue) == 3, "three wait")
    asked = run(purge)
    assert (asked.returncode, asked.stderr) == (1, "Aborted!\n")
    assert asked.stdout.endswith("Are you sure you want to delete all tasks? [y/N]: ")
    assert run([*purge, "-f"]).stdout == "Purged 3 messages from 1 known task queue.\n"
    assert run([*purge, "-f"]).stdout == "No messages purged from 1 queue.\n"
    assert run([*purge[:-1], "no-such-queue,another", "-f"]).stdout == "No messages purged from 2 queues.\n"


def test_old_names_of_commands(worker: Worker, broker) -> None:
    command = [str(celeriac_binary()), "-b", broker.url, "inspect", "-d", worker.name]
    assert "* demo.add\n" in run([*command, "registered_tasks"]).stdout
    assert "task events" in run([*command, "disable_events"]).stdout
