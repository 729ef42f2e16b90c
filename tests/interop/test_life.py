"""The life of Python tasks under Rust's main: every end settles the message once, and says one thing."""

from __future__ import annotations

import datetime
import os
import pathlib
import re
import signal
import time

import pytest
from billiard.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from celery.exceptions import WorkerLostError

from harness import TIMEOUT, Client, Process, Raw, elapsed, wait_until
from test_events import Monitor


# Ends that there are in one language only.
ELSEWHERE = {"rust": {"life.nowhere", "life.hungry", "life.deaf"}, "python": {"life.panics"}}


def unsettled(raw: Raw, queue: str) -> tuple[int, int]:
    return raw.counts(queue)


ENDS = [
    # task, args, state (None: none that a client would see), dead-lettered
    ("life.add", (2, 3), "SUCCESS", 0),
    ("life.late_sleep", (0.01,), "SUCCESS", 0),
    ("life.late_fail", (), "FAILURE", 0),
    ("life.unacked_fail", (), "FAILURE", 1),
    ("life.reject", (False,), "FAILURE", 1),
    ("life.ignore", (), None, 0),
    ("life.leaves", (), "FAILURE", 0),
    ("life.panics", (), "FAILURE", 0),
    ("life.retry", (), "SUCCESS", 0),
    ("life.nowhere", (), "FAILURE", 0),
    ("life.hungry", (), "FAILURE", 0),
]


def test_t3_3_every_end_settles_its_message_once(life_worker, client: Client, raw: Raw, queue: str) -> None:
    worker = life_worker()
    for name, args, state, dead in ENDS:
        if name in ELSEWHERE[life_worker.kind] or (worker.kind, name) == ("celery", "life.hungry"):
            continue  # Celery's main raises it, and never settles the message
        before = raw.ready(f"dead.{queue}")
        result = client.send(name, args)
        if state is not None:
            result.get(timeout=TIMEOUT, propagate=False)
            assert result.state == state, name
        else:
            worker.wait_log(rf"Task {name}\[{result.id}\] received")
        wait_until(lambda: raw.ready(f"dead.{queue}") == before + dead, f"{name} dead-lettered {dead} times")
    assert client.call("life.add", 2, 3) == 5
    wait_until(lambda: unsettled(raw, queue) == (0, 0), "all settled")


@pytest.mark.celeriac("Celery hands such a task back for ever")
def test_t3_1_a_task_that_kills_its_child_is_handed_back_so_often(
    life_worker, client: Client, raw: Raw, queue: str, tmp_path: pathlib.Path
) -> None:
    worker = life_worker()
    path = tmp_path / "runs"
    result = client.send("life.grim", (str(path),))
    with pytest.raises(WorkerLostError, match="SIGKILL"):
        result.get(timeout=TIMEOUT)
    assert path.read_text().split() == [result.id] * 3
    wait_until(lambda: unsettled(raw, queue) == (0, 0), "settled")
    assert raw.ready(f"dead.{queue}") == 1
    worker.wait_log(r"has lost its child too often")
    assert client.call("life.add", 2, 3) == 5


BODIES = [
    # task, args, whether the soft limit ends it
    ("life.sleep", (60,), True),
    ("life.spin", (60,), True),
    ("life.stubborn", (), False),
    ("life.deaf", (), False),
    ("life.clogged", (), True),
]


def test_t12_1_t12_2_limits_end_any_body(life_worker, client: Client, raw: Raw, queue: str) -> None:
    """Every body with a hard limit, a soft one, and both; all at once, one child each."""
    worker = life_worker(concurrency=5)
    # A native task looks at its soft limit itself: a write that does not end does not.
    bodies = [
        (name, args, ends and (life_worker.kind, name) != ("rust", "life.clogged"))
        for name, args, ends in BODIES
        if name not in ELSEWHERE[life_worker.kind]
    ]
    soft, hard = {"soft_time_limit": 0.5}, {"time_limit": 1}
    with elapsed() as since:
        sent = [(client.send(name, args, **hard), TimeLimitExceeded) for name, args, _ in bodies]
        for result, error in sent:
            with pytest.raises(error):
                result.get(timeout=TIMEOUT)
        assert since() < 4, "all ended, a second after their limit at most, and what a busy machine adds"
    wait_until(lambda: len(worker.pool()) >= 5, "five children", 3)
    sent = [(client.send(name, args, **soft, **hard), SoftTimeLimitExceeded if ends else TimeLimitExceeded) for name, args, ends in bodies]
    sent += [(client.send(name, args, **soft), SoftTimeLimitExceeded) for name, args, ends in bodies if ends]
    for result, error in sent:
        with pytest.raises(error):
            result.get(timeout=TIMEOUT)
    assert client.send("life.catches", (60,), **soft).get(timeout=TIMEOUT) == "caught"
    worker.wait_log(r"Soft time limit \(0\.5s\) exceeded for life\.spin\[")
    wait_until(lambda: unsettled(raw, queue) == (0, 0), "settled")
    assert client.call("life.add", 2, 3) == 5


@pytest.mark.celeriac("Celery raises it wherever the child is")
def test_t12_3_a_soft_limit_before_the_body_is_kept_for_it(app_worker, client: Client, tmp_path: pathlib.Path) -> None:
    worker = app_worker(concurrency=1)
    path = tmp_path / "begun"
    with pytest.raises(SoftTimeLimitExceeded):
        client.send("life.slow_to_begin", (str(path),), soft_time_limit=0.2, time_limit=30).get(timeout=TIMEOUT)
    assert not path.exists()
    assert client.send("life.slow_to_begin", (str(path),)).get(timeout=TIMEOUT) is None
    assert path.exists() and "exited with" not in worker.log


@pytest.mark.celeriac("Celery's child may be hit while it waits for the next task, and dies of it")
def test_t12_3_a_soft_limit_never_hits_another_task(app_worker, client: Client, scale) -> None:
    """Tasks that end within a millisecond of their limit, and bystanders, which have none and must not be hit."""
    worker = app_worker(concurrency=8)
    count = scale(1000, 100_000)
    for part in range(0, count, 1000):
        results = [
            client.send("life.catches", (0.02 + (step % 9 - 4) * 0.00025,), soft_time_limit=0.02, time_limit=30)
            for step in range(1000)
        ]
        bystanders = [client.send("life.catches", (0.001,)) for _ in range(100)]
        ends = [result.get(timeout=60, propagate=False) for result in results]
        # On a busy machine the limit may come before the body begins, or between two of its lines.
        assert all(end in ("caught", "slept") or isinstance(end, SoftTimeLimitExceeded) for end in ends), part
        assert {result.get(timeout=60) for result in bystanders} == {"slept"}, part
    assert "exited with" not in worker.log


@pytest.mark.celeriac("Celery may take five seconds")
def test_t3_2_an_early_task_whose_child_dies_has_failed_within_a_second(life_worker, client: Client, raw: Raw, queue: str) -> None:
    worker = life_worker(loglevel="DEBUG", arguments=["-E"])
    monitor = Monitor(client, worker.name)
    try:
        doomed = client.send("life.sleep", (60,))
        victim = worker.child_running(doomed.id)
        monitor.story(doomed.id, "task-started")
        killed = time.time()
        os.kill(victim.pid, signal.SIGKILL)
        with pytest.raises(WorkerLostError, match=r"signal 9 \(SIGKILL\)"):
            doomed.get(timeout=TIMEOUT)
        assert monitor.story(doomed.id, "task-failed")[-1] == "failed"
        # When the result was stored and the event made, whenever they have arrived here.
        stored = doomed.date_done.replace(tzinfo=datetime.timezone.utc).timestamp()
        assert killed <= stored < killed + 1
        assert killed <= monitor.of_task(doomed.id)[-1]["timestamp"] < killed + 1
        wait_until(lambda: unsettled(raw, queue) == (0, 0), "settled")
    finally:
        monitor.close()


@pytest.mark.celeriac("Celery has no file of its own for this")
def test_t3_2_usr1_has_python_children_write_their_stacks(app_worker, client: Client) -> None:
    worker = app_worker()
    result = client.send("life.sleep", (2,))
    worker.wait_log(rf"\[{result.id}\] received")

    def told() -> bool:
        worker.send_signal(signal.SIGUSR1)
        time.sleep(0.1)  # so often, until the task has begun
        return re.search(r'File ".*life_app\.py", line \d+ in sleep', worker.log) is not None

    wait_until(told, "the task's stack")
    assert result.get(timeout=TIMEOUT) == 2


@pytest.mark.celeriac("Celery's child leads no group unless it was told to")
def test_t12_4_what_a_task_has_started_ends_with_it(life_worker, client: Client, tmp_path: pathlib.Path) -> None:
    life_worker()
    path = tmp_path / "pid"
    with pytest.raises(TimeLimitExceeded):
        client.send("life.spawns", (str(path),), time_limit=1).get(timeout=TIMEOUT)
    started, daemon = (Process(int(pid)) for pid in path.read_text().split())
    wait_until(lambda: not started.alive(), "the process of the task gone", 3)
    assert daemon.alive(), "a process that leads a session of its own is not the task's any more"
    os.kill(daemon.pid, signal.SIGKILL)
