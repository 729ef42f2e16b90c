"""Events: what Celery's own receiver hears of the worker."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from harness import Client, Worker, wait_until


class Monitor:
    """Collects events as Flower does, with Celery's receiver."""

    def __init__(self, client: Client, node: str) -> None:
        self.node = node
        self.events: list[dict[str, Any]] = []
        self._client = client
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        with self._client.app.connection_for_read() as connection:
            receiver = self._client.app.events.Receiver(connection, handlers={"*": self.events.append})
            with receiver.consumer_context() as (consuming, _, _):
                self._ready.set()
                while not self._stop.is_set():
                    try:
                        consuming.drain_events(timeout=0.1)
                    except TimeoutError:
                        pass

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event["type"] == kind and event["hostname"] == self.node]

    def of_task(self, identity: str) -> list[dict[str, Any]]:
        return [event for event in list(self.events) if event.get("uuid") == identity]

    def wait(self, kind: str, times: int = 1, timeout: float = 10) -> dict[str, Any]:
        return wait_until(lambda: len(self.of(kind)) >= times and self.of(kind)[times - 1], f"{kind} {times} times", timeout)

    def story(self, identity: str, last: str) -> list[str]:
        """The types of a task's events, once the last has come."""
        wait_until(lambda: [event for event in self.of_task(identity) if event["type"] == last], f"{last} of {identity}")
        return [event["type"].removeprefix("task-") for event in self.of_task(identity)]

    def close(self) -> None:
        self._stop.set()
        self._thread.join(10)


@pytest.fixture
def watched(make_worker, client: Client, queue: str) -> Iterator[tuple[Worker, Monitor]]:
    """A worker that sends events of its tasks, and who hears them."""
    monitor = Monitor(client, f"{queue}@test")
    yield make_worker(arguments=["-E"]), monitor
    monitor.close()


COMMON = {"hostname", "utcoffset", "pid", "clock", "timestamp", "type", "local_received"}


def test_the_worker_says_that_it_is_there_and_that_it_goes(watched) -> None:
    worker, monitor = watched
    online = monitor.wait("worker-online")
    assert set(online) == COMMON | {"freq", "active", "processed", "loadavg", "sw_ident", "sw_ver", "sw_sys"}
    assert online["pid"] == worker.main.pid
    assert (online["freq"], online["active"], online["processed"]) == (2.0, 0, 0)
    monitor.wait("worker-heartbeat", 2)
    assert worker.stop() == 0
    monitor.wait("worker-offline")
    clocks = [event["clock"] for event in monitor.events if event["hostname"] == monitor.node]
    assert clocks == sorted(set(clocks))


def test_a_task_from_its_reception_to_its_success(watched, client: Client) -> None:
    worker, monitor = watched
    identity = client.send("demo.add", (2, 3), {}).id
    assert monitor.story(identity, "task-succeeded") == ["received", "started", "succeeded"]
    received, started, succeeded = monitor.of_task(identity)
    assert set(received) == COMMON | {"uuid", "name", "args", "kwargs", "root_id", "parent_id", "retries", "eta", "expires"}
    assert (received["name"], received["args"], received["kwargs"], received["root_id"], received["retries"]) == (
        "demo.add", "(2, 3)", "{}", identity, 0,
    )
    assert set(started) == COMMON | {"uuid"} and started["pid"] == worker.main.pid
    assert set(succeeded) == COMMON | {"uuid", "result", "runtime"}
    assert succeeded["result"] == "5" and isinstance(succeeded["runtime"], float)


def test_tasks_that_do_not_succeed(watched, client: Client) -> None:
    worker, monitor = watched
    failed = client.send("demo.fail", ("boom",)).id
    assert monitor.story(failed, "task-failed") == ["received", "started", "failed"]
    event = monitor.of_task(failed)[-1]
    assert event["exception"] == "ValueError('boom')" and isinstance(event["traceback"], str)

    retried = client.send("demo.retry", (1, 0.1)).id
    assert monitor.story(retried, "task-succeeded") == ["received", "started", "retried", "received", "started", "succeeded"]

    expired = client.send("demo.add", (1, 2), countdown=0.5, expires=0.1).id
    assert monitor.story(expired, "task-revoked")[-1] == "revoked"
    assert monitor.of_task(expired)[-1]["expired"] is True

    unknown = client.send("no.such.task").id
    assert monitor.story(unknown, "task-failed") == ["failed"]
    assert "NotRegistered" in monitor.of_task(unknown)[-1]["exception"]

    revoked = client.send("demo.add", (1, 2), countdown=2)
    wait_until(lambda: monitor.of_task(revoked.id), "it is received")
    client.app.control.revoke(revoked.id)
    assert monitor.story(revoked.id, "task-revoked") == ["received", "revoked"]
    event = monitor.of_task(revoked.id)[-1]
    assert (event["terminated"], event["signum"], event["expired"]) == (False, None, False)

    killed = client.send("demo.sleep", (60,)).id
    monitor.story(killed, "task-started")
    client.app.control.revoke(killed, terminate=True, signal="SIGKILL")
    assert monitor.story(killed, "task-revoked") == ["received", "started", "revoked"]
    event = monitor.of_task(killed)[-1]
    assert (event["terminated"], event["signum"]) == (True, signal.SIGKILL)


def test_events_of_tasks_are_enabled_and_disabled(worker: Worker, client: Client) -> None:
    control, monitor = client.app.control, Monitor(client, worker.name)
    ours = {"destination": [worker.name], "reply": True, "timeout": 5}
    try:
        client.call("demo.add", 2, 3)
        assert control.enable_events(**ours) == [{worker.name: {"ok": "task events enabled"}}]
        assert control.enable_events(**ours) == [{worker.name: {"ok": "task events already enabled"}}]
        identity = client.send("demo.add", (2, 3)).id
        monitor.story(identity, "task-succeeded")
        assert control.disable_events(**ours) == [{worker.name: {"ok": "task events disabled"}}]
        assert control.disable_events(**ours) == [{worker.name: {"ok": "task events already disabled"}}]
        client.call("demo.add", 2, 3)
        assert {event.get("uuid") for event in monitor.events if event["type"].startswith("task-")} <= {identity}
    finally:
        monitor.close()


def test_a_monitor_that_starts_learns_who_is_there(worker: Worker, client: Client) -> None:
    monitor = Monitor(client, worker.name)
    try:
        client.app.control.broadcast("heartbeat")
        event = wait_until(lambda: [event for event in monitor.of("worker-heartbeat") if event["freq"] == 5], "an answer")[0]
        assert set(event) == COMMON | {"freq", "sw_ident", "sw_ver", "sw_sys"}
    finally:
        monitor.close()


@pytest.mark.celeriac("the stories' Celery worker runs without gossip and mingle")
def test_workers_hear_of_each_other(make_worker, queue: str) -> None:
    first = make_worker(loglevel="DEBUG")
    second = make_worker(loglevel="DEBUG", on=f"{queue}.b")
    first.wait_log(rf"{queue}\.b@test joined the party")
    first.wait_log(rf"sync with {queue}\.b@test")
    second.wait_log("mingle: sync with 1 nodes")
    second.wait_log(rf"{queue}@test joined the party")
    second.stop()
    first.wait_log(rf"{queue}\.b@test left")


@pytest.mark.celeriac("the stories' Celery worker runs without mingle; and Celery waits for a second")
def test_a_worker_learns_what_is_revoked_and_does_not_wait_for_it(make_worker, client: Client, queue: str) -> None:
    first = make_worker()
    client.app.control.revoke("some-id", destination=[first.name])
    first.wait_log("Tasks flagged as revoked: some-id")
    begin = time.monotonic()
    second = make_worker(on=f"{queue}.b")
    assert time.monotonic() - begin < 1
    wait_until(lambda: client.app.control.inspect([second.name]).revoked() == {second.name: ["some-id"]}, "it knows")


@pytest.mark.celeriac("Celery's election ends workers")
def test_one_worker_wins_an_election(make_worker, client: Client, queue: str) -> None:
    workers = [make_worker(loglevel="DEBUG"), make_worker(loglevel="DEBUG", on=f"{queue}.b")]
    for worker, other in zip(workers, reversed(workers)):
        worker.wait_log(rf"{other.name} joined the party")
    action = {"task": "demo.add", "args": [20, 22], "kwargs": {}, "options": {"queue": queue}}
    client.app.control.election("an-election", "task", action)
    wait_until(lambda: all("election 'an-election'" in worker.log or "elected for" in worker.log for worker in workers), "it is decided")
    assert sum("I won the election" in worker.log for worker in workers) == 1
    workers[0].wait_log(r"demo\.add\[.*\] succeeded in .*: 42")
    assert all(worker.alive() for worker in workers)


@pytest.mark.celeriac("celeriac's own option")
def test_what_is_switched_off_is_off(make_worker, client: Client) -> None:
    worker = make_worker(loglevel="DEBUG", arguments=["--without-gossip", "--without-mingle", "--without-heartbeat"])
    answer = client.app.control.enable_events(destination=[worker.name], reply=True, timeout=5)
    assert answer == [{worker.name: {"error": "event dispatcher unavailable"}}]
    assert "mingle" not in worker.log
    assert client.call("demo.add", 2, 3) == 5
