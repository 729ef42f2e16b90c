"""Children that use too much memory, or do not come up, and how they are replaced."""

from __future__ import annotations

import re

import pytest
from celery.exceptions import WorkerLostError

from harness import TIMEOUT, Client, Raw, elapsed, wait_until

pytestmark = pytest.mark.celeriac("Celery looks when a task has ended, and at the highest mark")
MEBIBYTE = 1024


def test_t14_1_a_child_that_is_too_large_is_replaced_without_a_gap(life_worker, client: Client) -> None:
    """It is seen while its task runs, and its successor is up before the task has ended."""
    worker = life_worker(concurrency=1, arguments=["--max-memory-per-child", str(128 * MEBIBYTE)])
    (before,) = worker.pool()
    grows = client.send("life.grows", (150, 4))
    worker.wait_log(r"exceeds its memory limit \(\d+KiB / 131072KiB\): it is replaced once its task has ended")
    after = wait_until(lambda: [child for child in worker.pool() if child.pid != before.pid], "its successor", 2)
    assert before.alive(), "the task goes on"
    assert grows.get(timeout=TIMEOUT) is None
    assert client.call("life.pid") == after[0].pid
    wait_until(lambda: not before.alive(), "the end of the first")
    assert worker.log.count("exceeds its memory limit") == 1, "the successor has its own memory"


def test_t14_1_a_child_that_is_far_too_large_is_killed(life_worker, client: Client, raw: Raw, queue: str) -> None:
    worker = life_worker(arguments=["--max-memory-kill", str(128 * MEBIBYTE)])
    with elapsed() as since, pytest.raises(WorkerLostError, match="SIGKILL"):
        client.call("life.grows", 150, 60)
    assert since() < 5
    worker.wait_log(r"exceeds its memory limit by far \(\d+KiB / 131072KiB\): it is killed")
    wait_until(lambda: len(worker.pool()) == 2 + (life_worker.kind == "python"), "two children, and Python's clerk")
    wait_until(lambda: raw.counts(queue) == (0, 0), "settled")
    assert client.call("life.add", 2, 3) == 5


def test_t14_1_a_limit_below_the_beginning_is_no_death_spiral(app_worker, client: Client) -> None:
    worker = app_worker(concurrency=1, arguments=["--max-memory-per-child", "1000"])
    worker.wait_log(r"a child begins with \d+KiB, and its memory limit is 1000KiB: the limit is taken for")
    (child,) = worker.pool()
    assert client.call("life.sleep", 2) == 2  # it is looked at twice
    assert client.call("life.pid") == child.pid
    client.call("life.grows", 50, 2)
    wait_until(lambda: [each.pid for each in worker.pool()] not in ([], [child.pid]), "another child")


def test_t14_3_t3_5_children_that_do_not_come_up_say_what_they_do(app_worker) -> None:
    worker = app_worker(ready=False, concurrency=1, environment={"LIFE_HANGS": "1", "LIFE_UP_TIMEOUT": "0.5"})
    worker.wait_log(r'File ".*life_app\.py", line \d+ in hang_at_start')
    worker.wait_log(r"CRITICAL|ERROR/MainProcess\] pool: degraded: children end, or do not come up", 30)
    attempts = re.findall(r"Timed out waiting for UP message from ForkPoolWorker-(\d+)", worker.log)
    assert attempts == [str(number) for number in range(1, len(attempts) + 1)] and 5 <= len(attempts) <= 6
    assert worker.alive()
    assert "ready." not in worker.log, "nobody is told that it works"
    assert worker.stop() == 0
