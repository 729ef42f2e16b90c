"""Flower 2.2 beside the worker: what it shows, and what its buttons do, over its HTTP API.

With `--worker celery` the same story is told of Celery's worker, and has the same end.
"""

from __future__ import annotations

import json
import pathlib
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from harness import Client, Worker, clean_environment, wait_until
from rabbitmq import free_port


class Flower:
    """A Flower of the test's own."""

    def __init__(self, url: str, directory: pathlib.Path) -> None:
        self.port = free_port()
        program = [sys.executable, "-m", "celery", "-A", "demo_app", "-b", url, "--result-backend", "rpc://", "flower"]
        options = [f"--port={self.port}", "--address=127.0.0.1", "--logging=warning"]
        self.log = directory / "flower.log"
        with open(self.log, "wb") as log:
            self.popen = subprocess.Popen(
                [*program, *options], env=clean_environment(FLOWER_UNAUTHENTICATED_API="true"), cwd=directory,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_until(self.answers, "Flower answers", 30)

    def answers(self) -> bool:
        assert self.popen.poll() is None, self.log.read_text()
        try:
            return self.get("/healthcheck")[0] == 200
        except OSError:
            return False

    def ask(self, path: str, data: bytes | None, **query: Any) -> tuple[int, str]:
        address = f"http://127.0.0.1:{self.port}{urllib.parse.quote(path)}"
        query = {name: str(value) for name, value in query.items()}
        if data is None and query:
            address += f"?{urllib.parse.urlencode(query)}"
        elif data == b"" and query:
            data = urllib.parse.urlencode(query).encode()
        try:
            with urllib.request.urlopen(urllib.request.Request(address, data=data), timeout=20) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def get(self, path: str, **query: Any) -> tuple[int, str]:
        return self.ask(path, None, **query)

    def json(self, path: str, **query: Any) -> Any:
        status, body = self.get(path, **query)
        assert status == 200, (path, body)
        return json.loads(body)

    def post(self, path: str, **query: Any) -> tuple[int, str]:
        status, body = self.ask(path, b"", **query)
        return status, json.loads(body)["message"] if body.startswith("{") else body

    def close(self) -> None:
        self.popen.terminate()
        self.popen.wait(10)


@pytest.fixture
def flower(broker, tmp_path) -> Iterator[Flower]:
    made = Flower(broker.url, tmp_path)
    yield made
    made.close()


def test_what_flower_shows_and_what_its_buttons_do(flower: Flower, make_worker, client: Client, queue: str) -> None:
    worker: Worker = make_worker(arguments=["-E"])
    name = worker.name

    def whole() -> dict | None:
        """What Flower knows of the worker: it asks each command once, at a moment when the worker may not listen yet."""
        known = flower.json("/api/workers", refresh=1).get(name, {})
        return known if all(known.get(answer) for answer in ("stats", "registered", "active_queues", "conf")) else None

    known = wait_until(whole, "it is known", 30)
    assert wait_until(lambda: flower.json("/api/workers", status=1).get(name), "it is online", 20) is True
    assert known["stats"]["pid"] == worker.main.pid and len(known["stats"]["pool"]["processes"]) == 2
    assert "demo.add" in known["registered"]
    assert [one["name"] for one in known["active_queues"]] == [queue]
    assert known["conf"]

    # Tasks.
    done, failed = client.send("demo.add", (2, 3)), client.send("demo.fail", ("boom",))
    info = wait_until(lambda: (one := task(flower, done.id)) and one["state"] == "SUCCESS" and one, "it has seen the success")
    assert (info["name"], info["args"], info["kwargs"], info["result"]) == ("demo.add", "(2, 3)", "{}", "5")
    assert isinstance(info["runtime"], float) and info["received"] <= info["started"] <= info["succeeded"]
    info = wait_until(lambda: (one := task(flower, failed.id)) and one["state"] == "FAILURE" and one, "it has seen the failure")
    assert info["exception"] == "ValueError('boom')" and "Traceback" in info["traceback"]
    assert {done.id, failed.id} <= set(flower.json("/api/tasks", workername=name))
    assert flower.json("/api/tasks", taskname="demo.add", state="SUCCESS")[done.id]["worker"] == name
    [row] = [row for row in flower.json("/workers", json=1)["data"] if row["hostname"] == name]
    assert (row["status"], row["task-succeeded"], row["task-failed"]) == (True, 1, 1)

    # Pages.
    for page in ("/workers", "/tasks", f"/worker/{name}", f"/task/{done.id}", "/broker"):
        status, body = flower.get(page)
        assert status == 200 and "<html" in body, page
    assert f'flower_worker_online{{worker="{name}"}} 1.0' in flower.get("/metrics")[1]

    # Pool and queues.
    assert flower.post(f"/api/worker/pool/grow/{name}", n=1) == (200, f"Growing '{name}' worker's pool by 1")
    wait_until(lambda: len(worker.pool()) == 3, "three children", 30)
    assert flower.post(f"/api/worker/pool/shrink/{name}", n=1) == (200, f"Shrinking '{name}' worker's pool by 1")
    wait_until(lambda: len(worker.pool()) == 2, "two children", 30)
    refused = flower.post(f"/api/worker/pool/autoscale/{name}", min=1, max=3)
    assert refused == (403, f"Failed to autoscale '{name}' worker: ValueError('Autoscale not enabled')")
    refused = flower.post(f"/api/worker/pool/restart/{name}")
    assert refused == (403, f"Failed to restart the '{name}' pool: ValueError('Pool restarts not enabled')")
    more = f"{queue}.more"
    assert flower.post(f"/api/worker/queue/add-consumer/{name}", queue=more) == (200, f"add consumer {more}")
    assert client.send("demo.add", (20, 22), queue=more).get(timeout=10) == 42
    assert flower.post(f"/api/worker/queue/cancel-consumer/{name}", queue=more) == (200, f"no longer consuming from {more}")

    # Limits, revoking, the end.
    answer = flower.post("/api/task/timeout/demo.add", workername=name, soft=30, hard=60)
    assert answer == (200, "time limits set successfully")
    answer = flower.post("/api/task/rate-limit/demo.add", workername=name, ratelimit="100/s")
    assert answer == (200, "new rate limit set successfully")
    running = client.send("demo.sleep", (60,))
    wait_until(lambda: (one := task(flower, running.id)) and one["state"] == "STARTED", "it runs")
    assert flower.post(f"/api/task/revoke/{running.id}", terminate="true", signal="SIGKILL") == (200, f"Revoked '{running.id}'")
    wait_until(lambda: (one := task(flower, running.id)) and one["state"] == "REVOKED", "it is revoked")
    assert flower.post(f"/api/worker/shutdown/{name}") == (200, "Shutting down!")
    assert worker.wait(20) == 0
    wait_until(lambda: flower.json("/api/workers", status=1).get(name) is False, "it is offline", 20)


def task(flower: Flower, identity: str) -> dict[str, Any] | None:
    status, body = flower.get(f"/api/task/info/{identity}")
    return json.loads(body) if status == 200 else None


def test_the_buttons_of_an_autoscaled_worker(flower: Flower, make_worker, kind: str) -> None:
    arguments = ["--autoscale=3,1"] + (["--pool-restarts"] if kind == "celeriac" else ["worker_pool_restarts=1"])
    worker: Worker = make_worker(arguments=arguments)
    name = worker.name
    wait_until(lambda: flower.json("/api/workers", refresh=1).get(name, {}).get("stats"), "it is known", 30)
    before = {child.pid for child in worker.pool()}
    assert flower.post(f"/api/worker/pool/restart/{name}") == (200, f"Restarting '{name}' worker's pool")
    wait_until(lambda: (now := {child.pid for child in worker.pool()}) and not now & before, "other children", 20)
    answer = flower.post(f"/api/worker/pool/autoscale/{name}", min=2, max=4)
    assert answer == (200, f"Autoscaling '{name}' worker (min=2, max=4)")
    wait_until(lambda: len(worker.pool()) == 2, "two children", 20)
    status, refused = flower.post(f"/api/worker/pool/grow/{name}", n=1)
    assert status == 403 and "not supported with autoscale" in refused
