"""Messages that no task can be made of: refused, with a log line that names what is wrong, and the worker goes on.

Celery acknowledges what it cannot decode, and rejects without requeue (so to a dead-letter exchange, if there is one)
what it can decode but not run. Some of these messages end Celery's own worker; those cases are marked.
"""

from __future__ import annotations

import json
import pathlib
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from harness import TIMEOUT, Client, Raw, Worker, task_body, task_headers, wait_until

ACKED, REJECTED = "acknowledged", "rejected"


@dataclass
class Case:
    name: str
    log: str
    fate: str
    headers: dict[str, Any] | None = field(default_factory=task_headers)
    body: str | bytes = field(default_factory=task_body)
    properties: dict[str, Any] = field(default_factory=dict)
    # Why Celery's own worker does otherwise, if it does.
    deviates: str | None = None


def without(name: str) -> dict[str, Any]:
    headers = task_headers()
    del headers[name]
    return headers


IN_CHILD = "finds out in the child, where it is too late to refuse"
POISON = "ends Celery's worker"
UNKNOWN = r"WARNING/MainProcess\] Received and deleted unknown message\.  Wrong destination\?!\?"
INVALID = r"ERROR/MainProcess\] Received invalid task message: "
UNDECODABLE = r"CRITICAL/MainProcess\] Can't decode message body: "
V1 = {"task": "demo.add", "id": "v1", "args": [2, 3], "kwargs": {}}

CASES = [
    # ---- the body is no text, no JSON ----
    Case("body is not JSON", UNDECODABLE, ACKED, body="{nope"),
    Case("body is cut short", UNDECODABLE, ACKED, body=task_body()[:-5]),
    Case("body has something behind it", UNDECODABLE, ACKED, body=task_body() + "]"),
    Case("body is not UTF-8", UNDECODABLE, ACKED, body=b'[["\xff\xfe"], {}, {}]'),
    Case("body is nested without end", UNDECODABLE, ACKED, body="[" * 20_000, deviates="Python's recursion limit is its own"),
    Case("body is not JSON, no headers", UNDECODABLE, ACKED, headers=None, body="{nope"),
    # ---- the body has the wrong shape ----
    Case("body is empty", INVALID, REJECTED, body="", deviates=POISON),
    Case("body is an object", INVALID, REJECTED, body="{}", deviates=POISON),
    Case("body is a string", INVALID, REJECTED, body='"text"', deviates=POISON),
    Case("body is null", INVALID, REJECTED, body="null", deviates=POISON),
    Case("body is a number", INVALID, REJECTED, body="5", deviates=POISON),
    Case("body is an empty list", INVALID, REJECTED, body="[]", deviates=POISON),
    Case("body has two elements", INVALID, REJECTED, body="[[2, 3], {}]", deviates=POISON),
    Case("body has four elements", INVALID, REJECTED, body="[[2, 3], {}, {}, {}]", deviates=POISON),
    Case("args are a number", INVALID + ".*arg(s|uments)", REJECTED, body=task_body(5), deviates=IN_CHILD),
    Case("args are an object", INVALID + ".*arg(s|uments)", REJECTED, body=task_body({"x": 1}), deviates=IN_CHILD),
    Case("kwargs are a list", INVALID + ".*(?i:kwargs|keyword)", REJECTED, body=task_body(kwargs=[1]), deviates=IN_CHILD),
    Case("kwargs are a string", INVALID + ".*(?i:kwargs|keyword)", REJECTED, body=task_body(kwargs="x"), deviates=IN_CHILD),
    # ---- headers ----
    Case("no task name, body a list", UNKNOWN, REJECTED, headers=without("task")),
    Case("no headers, body a list", UNKNOWN, REJECTED, headers=None),
    Case("no headers, body an object without task", UNKNOWN, REJECTED, headers=None, body='{"id": "x", "args": []}'),
    Case("no headers, body null", UNKNOWN, REJECTED, headers=None, body="null"),
    Case("no id", INVALID + ".*id", REJECTED, headers=without("id"), deviates=POISON),
    Case("id is a number", INVALID + ".*id", REJECTED, headers=task_headers() | {"id": 5}, deviates="runs it"),
    Case("id is a table", INVALID + ".*id", REJECTED, headers=task_headers() | {"id": {"a": 1}}, deviates=POISON),
    Case("id is null", INVALID + ".*id", REJECTED, headers=task_headers() | {"id": None}, deviates="runs it"),
    Case("task is a number", INVALID + ".*task", REJECTED, headers=task_headers() | {"task": 5}, deviates="unregistered"),
    Case("task is a table", INVALID + ".*task", REJECTED, headers=task_headers() | {"task": {"a": 1}}, deviates=POISON),
    Case("task is a list", INVALID + ".*task", REJECTED, headers=task_headers() | {"task": ["a"]}, deviates=POISON),
    Case("eta is a word", INVALID + ".*(?i:eta)", REJECTED, headers=task_headers(eta="tomorrow")),
    Case("eta is a table", INVALID + ".*(?i:eta)", REJECTED, headers=task_headers(eta={"a": 1})),
    Case("expires is a word", INVALID + ".*(?i:expires)", REJECTED, headers=task_headers(expires="tomorrow")),
    Case("timelimit is a word", INVALID + ".*timelimit", REJECTED, headers=task_headers(timelimit="soon"), deviates=POISON),
    Case("timelimit has one element", INVALID + ".*timelimit", REJECTED, headers=task_headers(timelimit=[1]), deviates=POISON),
    Case("timelimit is of words", INVALID + ".*timelimit", REJECTED, headers=task_headers(timelimit=["a", "b"]), deviates=POISON),
    # ---- content ----
    Case(
        "content type unknown",
        r"application/x-nope",
        REJECTED,
        properties={"content_type": "application/x-nope"},
    ),
    Case("content type not accepted", r"pickle|application/x-python-serialize", REJECTED, properties={"content_type": "application/x-python-serialize"}),
    # ---- protocol 1 ----
    Case("protocol 1, kwargs are a list", INVALID + ".*(?i:kwargs|keyword|mapping)", REJECTED, headers=None, body=json.dumps(V1 | {"kwargs": [1]})),
    Case("protocol 1, eta is a word", INVALID + ".*(?i:eta)", REJECTED, headers=None, body=json.dumps(V1 | {"eta": "tomorrow"})),
    Case("protocol 1, task is a number", r"5", REJECTED, headers=None, body=json.dumps(V1 | {"task": 5})),
    Case("protocol 1, task is a list", r"task", REJECTED, headers=None, body=json.dumps(V1 | {"task": ["a"]}), deviates=POISON),
    Case("protocol 1, unregistered", r"Received unregistered task of type 'nobody\.knows'", REJECTED, headers=None, body=json.dumps(V1 | {"task": "nobody.knows"})),
]


class Scene:
    """A worker that stays from case to case, as a worker in production must."""

    def __init__(self, kind: str, broker: Any, directory: pathlib.Path) -> None:
        self.kind, self.broker, self.directory = kind, broker, directory
        self.queue = f"t.{uuid.uuid4().hex[:12]}"
        self.raw = Raw(broker, broker.url)
        self.raw.declare(self.queue)
        self.client = Client(broker.url, self.queue)
        self.worker = self._start()

    def _start(self) -> Worker:
        return Worker(self.kind, self.broker.url, self.queue, self.directory).wait_ready()

    def clear(self) -> None:
        """As new: also when the last case ended the worker."""
        if not self.worker.alive():
            self.raw.channel.queue_purge(self.queue)
            self.worker = self._start()
        self.raw.channel.queue_purge(f"dead.{self.queue}")

    def close(self) -> None:
        self.client.close()
        self.worker.close()
        self.raw.close()


@pytest.fixture(scope="module")
def standing(request: pytest.FixtureRequest, broker: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    scene = Scene(request.config.getoption("--worker"), broker, tmp_path_factory.mktemp("refused"))
    yield scene
    scene.close()


@pytest.fixture
def scene(standing: Scene) -> Scene:
    standing.clear()
    return standing


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name) for case in CASES])
def test_refused(scene: Scene, kind: str, case: Case) -> None:
    if kind == "celery" and case.deviates:
        pytest.skip(f"Celery's own worker deviates: {case.deviates}")
    worker, raw, queue = scene.worker, scene.raw, scene.queue
    read_before = len(worker.log)
    raw.publish(queue, case.body, case.headers, **case.properties)
    assert scene.client.call("demo.add", 2, 3) == 5, "the worker goes on"

    wait_until(lambda: raw.counts(queue) == (0, 0), "nothing left at the broker")
    said = worker.log[read_before:]
    assert re.search(case.log, said, re.MULTILINE), f"expected /{case.log}/ in:\n{said[:3000]}"
    assert raw.ready(f"dead.{queue}") == (1 if case.fate == REJECTED else 0), f"the message is {case.fate}"
    assert worker.alive()


@pytest.mark.parametrize(
    "headers",
    [
        task_headers(retries="many"),
        task_headers(retries=-1),
        task_headers(retries=2**40),
        task_headers(root_id=5, parent_id={"a": 1}, group=7, group_index="x"),
        task_headers(argsrepr=5, kwargsrepr={"a": 1}, origin=None, shadow=9),
        task_headers(stamped_headers="x", stamps=[1]),
        task_headers(ignore_result="perhaps", replaced_task_nesting="x"),
        task_headers(lang=None, timelimit=None),
        {"task": "demo.add", "id": "only-two"},
    ],
    ids=lambda headers: "-".join(name for name in headers if headers[name] != task_headers("demo.add", headers["id"]).get(name, "-"))[:40] or "two",
)
def test_odd_headers_run_or_are_refused_but_never_end_the_worker(scene: Scene, kind: str, headers: dict[str, Any]) -> None:
    if kind == "celery" and headers.get("retries") == "many":
        pytest.skip("unverified in Celery")
    scene.raw.publish(scene.queue, task_body(), headers)
    assert scene.client.call("demo.add", 2, 3) == 5
    wait_until(lambda: scene.raw.counts(scene.queue) == (0, 0), "nothing left at the broker")
    assert scene.worker.alive()


def test_a_large_body_that_cannot_be_read(scene: Scene) -> None:
    """Not looked through in main, which has better to do: the task fails in its child, or the message is refused."""
    headers = task_headers()
    scene.raw.publish(scene.queue, "[" * 200_000, headers)
    scene.worker.wait_log(rf"Can't decode message body|demo\.add\[{headers['id']}\] raised unexpected: BodyError")
    assert scene.client.call("demo.add", 2, 3) == 5
    assert scene.worker.alive()


@pytest.mark.parametrize("how", ["zlib", "bzip2"])
def test_a_compressed_body_is_read_or_named(scene: Scene, how: str) -> None:
    """Celery reads it. A native task does not: it is refused with a word, or fails with one; never misread."""
    read_before = len(scene.worker.log)
    result = scene.client.send("demo.add", (2, 3), compression=how)
    said = wait_until(
        lambda: re.search(rf"demo\.add\[{result.id}\] succeeded.*|compress.*", scene.worker.log[read_before:]),
        "the task done, or its compression named",
    )
    if "succeeded" in said[0]:
        assert result.get(timeout=TIMEOUT) == 5
    assert scene.client.call("demo.add", 2, 3) == 5


def test_a_compression_that_nobody_knows_is_named(scene: Scene) -> None:
    read_before = len(scene.worker.log)
    scene.raw.publish(scene.queue, task_body(), task_headers(compression="application/x-nope"))
    assert scene.client.call("demo.add", 2, 3) == 5
    wait_until(lambda: "application/x-nope" in scene.worker.log[read_before:], "the compression named")


def test_the_content_encoding_of_json_does_not_matter(scene: Scene) -> None:
    """JSON says itself how it is encoded; Celery does not look at the property."""
    headers = task_headers()
    scene.raw.publish(scene.queue, task_body(), headers, content_encoding="ebcdic-nope")
    scene.worker.wait_log(rf"demo\.add\[{headers['id']}\] succeeded")


@pytest.mark.celeriac("Python's recursion limit decides in Celery")
def test_deep_arguments_never_end_the_worker(scene: Scene) -> None:
    deep = "[" * 20_000 + "]" * 20_000
    scene.raw.publish(scene.queue, f"[[{deep}], {{}}, {{}}]", task_headers("demo.echo"))
    assert scene.client.call("demo.add", 2, 3) == 5
    wait_until(lambda: scene.raw.counts(scene.queue) == (0, 0), "nothing left at the broker")


@pytest.mark.celeriac("some of these end Celery's worker")
def test_all_of_them_at_once(scene: Scene) -> None:
    for case in CASES:
        scene.raw.publish(scene.queue, case.body, case.headers, **case.properties)
    assert scene.client.call("demo.add", 2, 3) == 5
    wait_until(lambda: scene.raw.counts(scene.queue) == (0, 0), "nothing left at the broker")
    rejected = sum(case.fate == REJECTED for case in CASES)
    assert scene.raw.ready(f"dead.{scene.queue}") == rejected
