"""Time limits, rate of replacement, and tasks that kill their children again and again."""

from __future__ import annotations

import os
import signal

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.exceptions import WorkerLostError

from harness import TIMEOUT, Client, Raw, Worker, elapsed, wait_until


def test_t12_1_a_hard_limit_kills_the_child_and_no_other(life_worker, client: Client, raw: Raw, queue: str) -> None:
    worker = life_worker(loglevel="DEBUG")
    other = client.send("life.sleep", (2.5,))
    worker.child_running(other.id)
    with elapsed() as since:
        doomed = client.send("life.sleep", (60,), time_limit=1)
        victim = worker.child_running(doomed.id)
        with pytest.raises(TimeLimitExceeded) as raised:
            doomed.get(timeout=TIMEOUT)
        assert 1 <= since() < 2.5
    assert str(raised.value.args) == "(1,)"
    worker.wait_log(rf"ERROR/MainProcess\] Hard time limit \(1s\) exceeded for life\.sleep\[{doomed.id}\]")
    wait_until(lambda: not victim.alive(), "the child gone")
    assert other.get(timeout=TIMEOUT) == 2.5
    wait_until(lambda: len(worker.pool()) >= 2, "two children, and Python's clerk")
    wait_until(lambda: raw.counts(queue) == (0, 0), "every message settled")


@pytest.mark.parametrize("soft", [{}, {"soft_time_limit": 0.5}])
def test_t12_2_a_stopped_child_is_killed_at_its_hard_limit(life_worker, client: Client, soft: dict[str, float]) -> None:
    worker = life_worker(loglevel="DEBUG")
    doomed = client.send("life.sleep", (60,), time_limit=1, **soft)
    os.kill(worker.child_running(doomed.id).pid, signal.SIGSTOP)
    with elapsed() as since, pytest.raises(TimeLimitExceeded):
        doomed.get(timeout=TIMEOUT)
    assert since() < 3
    wait_until(lambda: len(worker.pool()) >= 2, "two children, and Python's clerk")


def test_t12_1_a_soft_limit_is_told_to_the_task(make_worker, client: Client) -> None:
    worker = make_worker()
    with elapsed() as since, pytest.raises(SoftTimeLimitExceeded):
        client.send("demo.sleep", (60,), soft_time_limit=1, time_limit=30).get(timeout=TIMEOUT)
    assert since() < 3
    worker.wait_log(r"WARNING/MainProcess\] Soft time limit \(1s\) exceeded for demo\.sleep\[")
    assert client.call("demo.add", 2, 3) == 5


def test_limits_of_the_command_line_are_the_last_resort(make_worker, client: Client) -> None:
    make_worker(arguments=["--time-limit", "1"])
    longer = client.send("demo.sleep", (2,), time_limit=30)
    with pytest.raises(TimeLimitExceeded):
        client.call("demo.sleep", 60)
    assert longer.get(timeout=TIMEOUT) == 2


def test_a_task_that_ends_at_its_limit_has_one_end(make_worker, client: Client, raw: Raw, queue: str) -> None:
    """T12.2: whichever comes first, the client hears one thing and the message is settled once."""
    worker = make_worker(concurrency=4)
    results = [client.send("demo.sleep", (0.29 + 0.002 * step,), time_limit=0.3) for step in range(20)]
    for result in results:
        try:
            result.get(timeout=TIMEOUT)
        except TimeLimitExceeded:
            pass
    wait_until(lambda: raw.counts(queue) == (0, 0), "every message settled")
    assert client.call("demo.add", 2, 3) == 5
    assert worker.alive()


@pytest.mark.parametrize("most", [1, 3])
def test_t14_a_child_is_replaced_after_so_many_tasks(make_worker, client: Client, most: int) -> None:
    worker = make_worker(arguments=["--max-tasks-per-child", str(most)], loglevel="DEBUG")
    results = [client.send("demo.add", (number, 1)) for number in range(12)]
    assert [result.get(timeout=TIMEOUT) for result in results] == list(range(1, 13))
    children = {worker.child_running(result.id).pid for result in results}
    assert len(children) >= 12 / most
    wait_until(lambda: len(worker.pool()) == 2, "two children")


