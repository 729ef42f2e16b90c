"""What is done with an app's tasks, and what can be seen of it from outside: plain values, to be compared.

A scenario takes the `Stage` and returns what a user would see. Nothing in it may differ from one worker to another.
"""

from __future__ import annotations

import datetime
import pathlib
import re
import time
import uuid
from collections.abc import Callable
from typing import Any

import celery.exceptions
from celery import chain, chord, group
from celery.result import AsyncResult

PATIENCE = 20.0
ALL: dict[str, Callable[["Stage"], Any]] = {}


def scenario(play: Callable[["Stage"], Any]) -> Callable[["Stage"], Any]:
    ALL[play.__name__] = play
    return play


class Stage:
    """An app, the folder its tasks leave notes in, and whether its backend can do chords."""

    def __init__(self, app: Any, module: Any, folder: pathlib.Path, backend: str) -> None:
        self.app, self.tasks, self.folder, self.backend = app, module, folder, backend
        self.rpc = backend.startswith("rpc")

    def outcome(self, result: AsyncResult) -> Any:
        """State and value of a result, once it is ready."""
        if isinstance(result, AsyncResult):
            result.parent = None  # whose failure `get` would raise in the place of this one's, were it known already
        try:
            value = result.get(timeout=PATIENCE)
        except Exception as exc:
            # Of a group, what raised is one member's failure: the others may be a moment behind.
            self.wait(lambda: isinstance(exc, celery.exceptions.TimeoutError) or result.ready(), "the state")
            return [type(exc).__name__, clean(repr(exc)), states(result)]
        return [value, states(result)]

    def run(self, task: Any, *args: Any, **options: Any) -> Any:
        return self.outcome(task.apply_async(args, **options))

    def notes(self, name: str, lines: int) -> list[str]:
        """The notes of a name, once there are so many."""
        path = self.folder / name
        self.wait(lambda: path.exists() and len(path.read_text().splitlines()) >= lines, f"{lines} notes of {name}")
        return [clean(line) for line in path.read_text().splitlines()]

    def wait(self, condition: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (value := condition()):
            assert time.monotonic() < deadline, f"waited in vain for {what}"
            time.sleep(0.02)
        return value

    def path(self) -> str:
        return str(self.folder / uuid.uuid4().hex)


def states(result: Any) -> Any:
    """The state of a result, or those of a group's."""
    return result.state if isinstance(result, AsyncResult) else [states(one) for one in result]


def clean(text: str) -> str:
    """Without what differs from one run to the next."""
    text = re.sub(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "<id>", text)
    text = re.sub(r" at 0x[0-9a-f]+", "", text)
    text = re.sub(r" Job: \d+\.", ".", text).replace("..", ".")
    return re.sub(r"\d+\.\d{3,}s?", "<time>", text)


@scenario
def plain_calls(stage):
    tasks = stage.tasks
    return [
        stage.run(tasks.add, 2, 3), stage.run(tasks.add, "a", "b"), stage.outcome(tasks.add.delay(x=1, y=2)),
        stage.run(tasks.add, [1], [None, {"a": 1.5}]), stage.run(tasks.add, "\u00e9\u4e2d", "\U0001f96c"),
        stage.outcome(stage.app.send_task("plain.add", (1,))), stage.run(tasks.whoami),
    ]


@scenario
def failures(stage):
    tasks = stage.tasks
    seen = [
        stage.run(tasks.fail, 42), stage.run(tasks.expected), stage.run(tasks.unpicklable_exception),
        stage.run(tasks.unserializable_result),
    ]
    result = tasks.fail.delay(1)
    stage.outcome(result)
    return seen + [[line.strip() for line in result.traceback.splitlines() if "raise Odd" in line], result.state]


@scenario
def retries(stage):
    tasks = stage.tasks
    return [stage.run(tasks.flaky, 0), stage.run(tasks.flaky, 2), stage.run(tasks.flaky, 9), stage.run(tasks.automatic)]


@scenario
def early_endings(stage):
    tasks = stage.tasks
    result = tasks.progress.delay()
    seen = []
    if not stage.rpc:  # whose states are read once
        stage.wait(lambda: result.state == "PROGRESS", "the state PROGRESS")
        seen = [result.state, result.info]
    quiet = tasks.ignored.delay()
    stage.run(tasks.add, 1, 1)
    return seen + [quiet.state, stage.run(tasks.rejected), stage.run(tasks.rejected_once)]


@scenario
def what_a_task_knows(stage):
    task = stage.tasks.request
    return [
        stage.run(task, 1, "two", kwargs={"three": 3}),
        stage.run(task, headers={"custom": {"a": [1, None, True, 2.5, "x"]}}, shadow="other", priority=3),
        stage.run(task, expires=3600, time_limit=100, soft_time_limit=90, argsrepr="(secret)"),
        stage.run(task, 1, serializer="pickle", compression="zlib", delivery_mode=1),
    ]


@scenario
def signatures(stage):
    add = stage.tasks.add
    seen = [
        stage.outcome(chain(add.s(1, 2), add.s(3), add.s(4))()),
        stage.outcome(group(add.s(i, i) for i in range(4))()) if not stage.rpc else None,
        stage.outcome(add.starmap([(1, 2), (3, 4)]).delay()),
        stage.run(stage.tasks.replaced, 5), stage.run(stage.tasks.family),
    ]
    path = uuid.uuid4().hex
    seen.append(stage.run(add, 1, 2, link=stage.tasks.no_result.si(path)))
    return seen + [stage.notes(path, 1)]


@scenario
def chords(stage):
    if stage.rpc:
        return None
    add, total, fail = stage.tasks.add, stage.tasks.total, stage.tasks.fail
    return [
        stage.outcome(chord((add.s(i, i) for i in range(5)), total.s())()),
        stage.outcome(chord([add.s(1, 1), fail.s(3)], total.s())()),
        stage.outcome((group(add.s(1, 1), add.s(2, 2)) | total.s() | add.s(10))()),
        stage.outcome(chord([add.s(1, 1), stage.tasks.killed.s()], total.s())()),
        stage.outcome(chord([stage.tasks.flaky.s(1), add.s(2, 2)], total.s())()),
        # Before 5.7 nobody is told of a rejected part.
        stage.outcome(chord([add.s(1, 1), stage.tasks.rejected.s()], total.s())()) if celery.VERSION >= (5, 7) else None,
    ]


@scenario
def hooks_and_signals(stage):
    seen = []
    for how, lines in ("well", 7), ("fail", 7), ("retry", 13):
        result = stage.tasks.hooked.delay(how)
        seen.append([stage.outcome(result), stage.notes(result.id, lines)])
    return seen


@scenario
def errbacks(stage):
    result = stage.tasks.fail.apply_async((7,), link_error=stage.tasks.errback.s())
    other = stage.tasks.killed.apply_async(link_error=stage.tasks.errback.s())
    return [
        stage.outcome(result), stage.notes(f"errback-{result.id}", 1),
        stage.outcome(other), stage.notes(f"errback-{other.id}", 1),
    ]


@scenario
def lost_children(stage):
    tasks = stage.tasks
    late = tasks.killed_late.delay()
    return [
        stage.run(tasks.killed), stage.run(tasks.killed_once, stage.path()), stage.outcome(late),
        stage.notes(late.id, 2),
        # Before 5.6 the message of such a task was run again and again.
        stage.run(tasks.leave, 3) if celery.VERSION >= (5, 7) else None, stage.run(tasks.add, 1, 1),
    ]


@scenario
def a_started_task(stage):
    if stage.rpc:
        return None
    path = stage.path()
    result = stage.tasks.started.delay(path)
    stage.wait(lambda: result.state == "STARTED", "the state STARTED")
    seen = [result.state, sorted(result.info)]
    open(path, "w").close()
    return seen + [stage.outcome(result)]


@scenario
def messages_that_do_not_run(stage):
    add = stage.tasks.add
    expired = add.apply_async((1, 1), expires=datetime.datetime(2000, 1, 1))
    return [stage.outcome(expired), stage.outcome(stage.app.send_task("no.such.task"))]


@scenario
def later(stage):
    before = time.monotonic()
    seen = stage.run(stage.tasks.add, 1, 2, countdown=0.5)
    return [seen, time.monotonic() - before >= 0.5]


@scenario
def results_nobody_keeps(stage):
    path = uuid.uuid4().hex
    result = stage.tasks.no_result.delay(path)
    seen = stage.notes(path, 1)
    quiet = stage.tasks.add.apply_async((1, 1), ignore_result=True)
    stage.run(stage.tasks.add, 1, 1)
    return [seen, result.state, quiet.state]


@scenario
def a_large_message(stage):
    size = 2_000_000
    seen = stage.run(stage.tasks.large, size)
    return [len(seen[0]), seen[1], stage.run(stage.tasks.request, "y" * size)[1]]


@scenario
def what_is_stored(stage):
    """The meta as the backend has it, extended, for those that can be asked."""
    if stage.rpc:
        return None
    result = stage.tasks.add.delay(2, 3)
    stage.outcome(result)
    failed = stage.tasks.fail.delay(1)
    stage.outcome(failed)
    seen = []
    for one in result, failed:
        meta = dict(one._get_task_meta())
        for name in "task_id", "date_done", "traceback", "parent_id", "group_id":
            meta[name] = bool(meta.get(name))
        seen.append({name: clean(repr(value)) for name, value in sorted(meta.items())})
    return seen
