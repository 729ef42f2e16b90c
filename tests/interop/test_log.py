"""The log as JSON (T27.2): the same lines from main, native and Python children; and nobody waits for its reader."""

from __future__ import annotations

import json
import pathlib
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from harness import Client, Worker, celeriac_binary, clean_environment, wait_until
from rabbitmq import free_port
from test_health import Endpoint

pytestmark = pytest.mark.celeriac("Celery has no such option")

APP = [str(celeriac_binary()), "--python", sys.executable, "-A", "log_app"]
OF_A_TASK = {"task_id", "name", "root_id", "retries"}
OF_A_LINE = ["timestamp", "level", "process", "pid", "logger", "message"]


@pytest.fixture(params=["native", "python"])
def json_worker(request: pytest.FixtureRequest, make_worker: Callable[..., Worker]) -> Callable[..., Worker]:
    """Starts a worker that logs JSON, with children of either kind."""

    def make(*arguments: str, **options: Any) -> Worker:
        if request.param == "python":
            options |= {"command": APP, "urls_in_environment": True}
        worker = make_worker(arguments=["--log-format", "json", *arguments], ready=False, **options)
        worker.wait_log(r'"message": "\S+ ready\."', timeout=30)
        return worker

    return make


def lines(text: str) -> list[dict[str, Any]]:
    """Every line, each of which must be an object with what all have in common."""
    found = [json.loads(line) for line in text.splitlines()]
    for line in found:
        assert list(line)[: len(OF_A_LINE)] == OF_A_LINE, line
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}[+-]\d\d:\d\d", line["timestamp"]), line
        assert OF_A_TASK <= line.keys() or not OF_A_TASK & line.keys(), line
    return found


def test_t27_2_every_line_is_an_object_and_every_line_of_a_task_has_its_fields(json_worker, client: Client) -> None:
    worker = json_worker("-E", loglevel="DEBUG", concurrency=1)
    client.call("demo.add", 2, 3)
    failed = client.send("demo.fail", ("demo failure",), root_id="the-root")
    with pytest.raises(Exception, match="demo failure"):
        failed.get(timeout=10)
    retried = client.send("demo.retry", (2,), {"countdown": 0})
    assert retried.get(timeout=10) == 2
    unknown = client.send("no.such.task")
    with pytest.raises(Exception, match="no.such.task"):
        unknown.get(timeout=10)
    revoked = client.send("demo.add", (1, 1), countdown=60)
    wait_until(lambda: f"Task demo.add[{revoked.id}] received" in worker.log, "it is there")
    revoked.revoke()
    wait_until(lambda: f"Discarding revoked task: demo.add[{revoked.id}]" in worker.log, "it is revoked")

    found = lines(worker.log)
    about = {line["process"] for line in found}
    assert {"MainProcess", "ForkPoolWorker-1"} <= about
    assert all("\n" not in line["message"].strip() for line in found if line.get("task_id") == failed.id)
    for task, name, root, tries in [
        (failed.id, "demo.fail", "the-root", [0]),
        (retried.id, "demo.retry", retried.id, [0, 1, 2]),
        (unknown.id, "no.such.task", unknown.id, [0]),
        (revoked.id, "demo.add", revoked.id, [0]),
    ]:
        said = [line for line in found if task in line["message"]]
        # Who revokes an id need not know what task it is of.
        mentioned = [line for line in said if not re.search("flagged as revoked|revoked in backend", line["message"])]
        assert mentioned, task
        for line in mentioned:
            assert (line.get("task_id"), line["name"], line["root_id"]) == (task, name, root), line
        assert sorted({line["retries"] for line in mentioned}) == tries
    error = [line for line in found if line.get("task_id") == failed.id and line["level"] == "ERROR"]
    assert len(error) == 1, "one line for one failure"
    assert error[0]["message"] == f"Task demo.fail[{failed.id}] raised unexpected: ValueError('demo failure')"
    assert error[0]["traceback"].startswith("Traceback (most recent call last):\n")
    assert error[0]["traceback"].rstrip().endswith("ValueError: demo failure")
    outcomes = [line["message"] for line in found if "succeeded in" in line["message"]]
    assert len(outcomes) == 2

    worker.send_signal(signal.SIGUSR1)
    if worker.command[1] != "--python":  # whose stacks Python itself writes
        wait_until(lambda: "is idle" in worker.log, "what USR1 asks for")
        lines(worker.log)
    assert worker.stop() == 0


def test_t27_2_whatever_a_python_task_says(make_worker, client: Client) -> None:
    worker = make_worker(command=APP, urls_in_environment=True, arguments=["--log-format=json"], concurrency=1, ready=False)
    talk = client.send("log.talk")
    talk.get(timeout=30)
    die = client.send("log.die")
    with pytest.raises(Exception, match="Worker exited prematurely"):
        die.get(timeout=10)
    worker.stop()
    found = lines(worker.log)
    said = {line["message"]: line for line in found if line.get("task_id") == talk.id}
    assert said["by the task's logger, in\ntwo lines"]["order"] == 5
    assert said["by the task's logger, in\ntwo lines"]["thing"] == "{1, 2}"
    assert said["by another logger: \\ud800"]["logger"] == "elsewhere"
    assert said["by print"]["logger"] == said["by stderr"]["logger"] == "celery.redirected"
    assert said["caught"]["traceback"].endswith("ZeroDivisionError: division by zero")
    assert "by a thread" in said, "a thread of the task's"
    last = [line["message"] for line in found if line.get("task_id") == die.id]
    assert "about to die" in last
    assert any("WorkerLostError" in line for line in last), "the clerk's line too"


@pytest.mark.parametrize(("variable", "words"), [("OWN_LOGGING", "own set-up: "), ("LAST_WORD", "last word: ")])
def test_an_app_that_sets_its_log_up_itself_does_so(make_worker, client: Client, variable: str, words: str) -> None:
    worker = make_worker(
        command=APP, urls_in_environment=True, arguments=["--log-format", "json"], environment={variable: "1"}, ready=False
    )
    client.send("log.talk").get(timeout=30)
    wait_until(lambda: f"{words}by another logger" in worker.log, "in its own words")
    main = [json.loads(line) for line in worker.log.splitlines() if "MainProcess" in line]
    assert any(line["message"].endswith("ready.") for line in main), "main's lines are main's"


def test_spawned_children_and_files_of_their_own(make_worker, client: Client, tmp_path: pathlib.Path) -> None:
    worker = make_worker(
        command=APP, urls_in_environment=True, ready=False, concurrency=1,
        arguments=["--log-format", "json", "--logfile", str(tmp_path / "worker%I.log")],
    )
    talk = client.send("log.talk")
    talk.get(timeout=30)
    worker.stop()
    main, child = ((tmp_path / f"worker{index}.log").read_text() for index in ("", "-1"))
    assert any(line.get("task_id") == talk.id for line in lines(main))
    assert any(line["message"] == "caught" and line["task_id"] == talk.id for line in lines(child))


@pytest.mark.parametrize("children", ["native", "python"])
@pytest.mark.parametrize("form", ["json", "text"])
def test_t27_2_a_log_that_nobody_reads_stops_nobody(
    broker, client: Client, queue: str, children: str, form: str, tmp_path: pathlib.Path
) -> None:
    """The pipe is full, main drops lines and counts them, children wait a second once, and all tasks succeed."""
    if (children, form) == ("python", "text"):
        pytest.skip("in text the lines of Python's children are Celery's own handler's, which waits")
    endpoint = Endpoint(free_port())
    program = APP if children == "python" else [str(celeriac_binary())]
    command = [*program, "worker", "-n", f"{queue}@test", "-Q", queue, "-c", "1", "-l", "DEBUG", "--prefetch-multiplier", "100"]
    command += ["--log-format", form, "--http", str(endpoint.port), *([] if children == "python" else ["--demo"])]
    environment = clean_environment(CELERY_BROKER_URL=broker.url, CELERY_RESULT_BACKEND="rpc://")
    worker = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
    try:
        wait_until(lambda: endpoint_status(endpoint) == 200, "it is ready", timeout=30)
        padding = "x" * 100  # in names, which a line about a task has often
        for _ in range(1500):
            client.send("no.such.task." + padding, ignore_result=True)
        assert client.send("demo.add", (2, 3)).get(timeout=30) == 5
        results = [client.send("demo.noop") for _ in range(100)]
        for result in results:
            result.get(timeout=30)
        assert client.app.control.ping([f"{queue}@test"], timeout=5)
        assert endpoint.metrics()["celeriac_log_lines_dropped_total"] > 0
        worker.send_signal(signal.SIGTERM)
        with open(tmp_path / "read", "w+b") as file:
            reader = subprocess.Popen(["cat"], stdin=worker.stderr, stdout=file)
            assert (worker.wait(10), reader.wait(10)) == (0, 0)
        read = (tmp_path / "read").read_text()
        if form == "json":
            lines(read)
        assert "lines of this log were dropped: nobody read them" in read
    finally:
        worker.kill()
        worker.wait()
        worker.stderr.close()


def endpoint_status(endpoint: Endpoint) -> int:
    try:
        return endpoint.status("/readyz")
    except OSError:
        return 0
