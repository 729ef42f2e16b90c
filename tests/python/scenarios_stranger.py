"""What is done with the app `stranger`; see `scenarios.py`."""

from __future__ import annotations

import datetime
import decimal
import re
import time
import uuid
from typing import Any

from celery import chain, chord, group
from celery.contrib.abortable import AbortableAsyncResult

from scenarios import Stage, clean

ALL: dict[str, Any] = {}


def scenario(play: Any) -> Any:
    ALL[play.__name__] = play
    return play


@scenario
def serializers_and_compressions(stage: Stage) -> Any:
    seen = []
    for serializer in "json", "pickle", "yaml", "msgpack":
        for compression in None, "zlib", "bzip2", "gzip", "lzma":
            result = stage.tasks.echo.apply_async(
                ([1, "\u00e9", {"a": None, "b": 1.5}],), serializer=serializer, compression=compression)
            seen.append([serializer, compression, stage.outcome(result)])
    return seen


@scenario
def values_of_pythons(stage: Stage) -> Any:
    values = [
        datetime.datetime(2026, 1, 2, 3, 4, 5, 6), datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), datetime.date(2026, 1, 2),
        datetime.time(1, 2), uuid.UUID(int=5), decimal.Decimal("1.10"), b"\xff\x00", float("inf"), 2**70, "\ud800",
    ]
    seen = [stage.run(stage.tasks.kind, value) for value in values[:-1]]
    pickled = [stage.run(stage.tasks.kind, value, serializer="pickle") for value in [*values[:-1], {1, 2}, (1, 2), object]]
    return [seen, pickled, stage.run(stage.tasks.echo, values[0])[1], stage.run(stage.tasks.echo, decimal.Decimal("2"))[1]]


@scenario
def every_field_of_a_request(stage: Stage) -> Any:
    task = stage.tasks.whole_request
    calls: list[dict[str, Any]] = [
        {}, {"args": (1,), "kwargs": {"a": "b"}}, {"countdown": 0.1}, {"expires": 600}, {"headers": {"mine": {"deep": [1]}}},
        {"priority": 2, "shadow": "shown"}, {"time_limit": 50, "soft_time_limit": 40}, {"argsrepr": "<hidden>", "kwargsrepr": "<too>"},
        {"serializer": "pickle", "compression": "gzip"}, {"link": stage.tasks.echo.s(), "link_error": stage.tasks.collect.s()},
        {"ignore_result": False, "delivery_mode": "transient"}, {"stamped_headers": ["stamp"], "stamp": "value"},
        {"reply_to": "somewhere"} if not stage.rpc else {}, {"task_id": "fixed-id", "root_id": "root", "parent_id": "parent"},
    ]
    return [masked(stage.outcome(task.apply_async(**call))) for call in calls]


def masked(value: Any) -> Any:
    """Without ids, times, and what names the process."""
    if isinstance(value, dict):
        hidden = {"worker_pid", "origin", "delivery_tag"}
        return {name: masked(one) for name, one in value.items() if name not in hidden}
    if isinstance(value, list):
        return [masked(one) for one in value]
    if isinstance(value, str):
        return re.sub(r"\d{4}-\d\d-\d\dT[\d:.]+", "<time>", clean(value))
    return value


@scenario
def options_of_tasks(stage: Stage) -> Any:
    tasks = stage.tasks
    return [
        stage.run(tasks.own_options), stage.run(tasks.routed), stage.run(tasks.shared), stage.run(tasks.named), stage.notes("prerun", 1),
        stage.run(tasks.counting), stage.run(tasks.wrapped, 1), stage.run(tasks.untyped, 1, 2), stage.run(tasks.untyped),
        stage.run(tasks.soft), stage.run(tasks.inner_get),
    ]


@scenario
def retries_of_all_kinds(stage: Stage) -> Any:
    tasks = stage.tasks
    return [
        stage.run(tasks.backs_off, 1), stage.run(tasks.backs_off, 5), stage.run(tasks.not_for_keys), stage.run(tasks.annotated),
        stage.run(tasks.retry_changed, 1), stage.run(tasks.retry_gives_up),
    ]


@scenario
def odd_endings(stage: Stage) -> Any:
    tasks = stage.tasks
    return [
        stage.run(tasks.yields), stage.run(tasks.exits), stage.run(tasks.chained_exception), stage.run(tasks.fails, "\u4e2d\ud800"[:1]),
        stage.run(tasks.echo, "x" * 70_000)[1],
    ]


@scenario
def canvas_that_changes(stage: Stage) -> Any:
    tasks = stage.tasks
    add, total, echo, fails = tasks.add, tasks.total, tasks.echo, tasks.fails
    seen = [
        stage.outcome(chain(tasks.replaced_by_chain.s(1), add.s(5))()),
        stage.outcome(chain(add.s(1, 1), group(add.s(1), add.s(2)), echo.s())()),
        stage.outcome(chord([group(add.s(1, 1), add.s(2, 2)), add.s(3, 3)], echo.s())()),
        stage.outcome(chord([add.s(1, 1), chain(add.s(1, 1), add.s(2))], total.s())()),
        stage.outcome(chain(group(add.s(i, i) for i in range(3)), group(echo.s(), total.s()), echo.s())()),
        stage.outcome(chord([tasks.grows.s(1), add.s(1, 1)], total.s())()),
        stage.outcome(chord([fails.s("part"), add.s(1, 1)], total.s().on_error(tasks.collect.s()))()),
        stage.outcome(chain(add.s(1, 1), fails.si("link"), add.s(3))()),
        stage.outcome(group([])()), stage.outcome(tasks.calls_a_chord.delay()),
        stage.outcome(add.chunks(zip(range(6), range(6)), 3)()),
        stage.outcome(chain(tasks.replaced_by_group.s(3), total.s())()),
    ]
    return [seen, sorted(stage.notes("errors", 1))]


@scenario
def links(stage: Stage) -> Any:
    tasks = stage.tasks
    name = uuid.uuid4().hex
    seen = [
        stage.run(tasks.add, 1, 1, link=[tasks.after.s(name), tasks.after.s(name)]),
        stage.run(tasks.fails, link_error=[tasks.collect.s(), tasks.old_errback.s()], link=tasks.after.s(name)),
    ]
    return [seen, stage.notes(name, 2)]


@scenario
def results_kept_and_not(stage: Stage) -> Any:
    quiet, failed = stage.tasks.quiet.delay(False), stage.tasks.quiet.delay(True)
    seen = [stage.outcome(failed)]
    stage.run(stage.tasks.add, 1, 1)
    return seen + [quiet.state]


@scenario
def aborted(stage: Stage) -> Any:
    path = stage.path()
    started = stage.tasks.abortable.delay(path)
    stage.wait(lambda: __import__("os").path.exists(path), "the task to run")
    result = AbortableAsyncResult(started.id)
    result.abort()
    time.sleep(0.1)
    return [stage.outcome(started)]


@scenario
def states_of_a_tasks_own(stage: Stage) -> Any:
    path = stage.path()
    result = stage.tasks.states_of_its_own.delay(path)
    stage.wait(lambda: result.state == "HALF", "HALF")
    seen = [result.state, result.info]
    open(path, "w").close()
    stage.wait(lambda: result.state == "DONE", "DONE")
    return seen + [result.state, result.info]
