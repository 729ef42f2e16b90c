"""Stopping: warm by TERM or the first INT, cold by QUIT or the second INT; exit codes as Celery's."""

from __future__ import annotations

import os
import signal

import pytest

from harness import TIMEOUT, Client, Raw, Worker, elapsed, wait_until


def busy(worker: Worker, client: Client, seconds: float, reserved: int) -> tuple[list, list]:
    """Two tasks running in the two children, and some more reserved behind them."""
    running = [client.send("demo.sleep", (seconds,)) for _ in range(2)]
    for result in running:
        worker.child_running(result.id)
    waiting = [client.send("demo.noop") for _ in range(reserved)]
    for result in waiting:
        worker.wait_log(rf"Task demo\.noop\[{result.id}\] received")
    return running, waiting


@pytest.mark.parametrize("number, status", [(signal.SIGTERM, 0), (signal.SIGINT, 1)])
def test_warm_shutdown_of_an_idle_worker_is_quick(worker: Worker, number: int, status: int, kind: str) -> None:
    family = worker.main.descendants()
    with elapsed() as since:
        worker.send_signal(number)
        assert worker.wait() == status
        if kind == "celeriac":
            assert since() < 1.5
    assert not any(process.alive() for process in family)


def test_term_lets_running_tasks_end_and_hands_reserved_ones_back(
    make_worker, client: Client, raw: Raw, queue: str
) -> None:
    worker = make_worker(loglevel="DEBUG")
    running, waiting = busy(worker, client, 2, 5)
    worker.send_signal(signal.SIGTERM)
    with elapsed() as since:
        assert worker.wait() == 0
        assert since() < 6
    assert "worker: Warm shutdown (MainProcess)" in worker.output
    for result in running:
        assert result.get(timeout=TIMEOUT) == 2
    wait_until(lambda: raw.ready(queue) == len(waiting), "the reserved messages back in the queue")
    assert raw.ready(f"dead.{queue}") == 0
    # Nothing is lost: the next worker serves them.
    make_worker()
    for result in waiting:
        assert result.get(timeout=TIMEOUT) is None


@pytest.mark.celeriac("Celery has no zygote")
def test_a_stop_of_the_whole_cgroup_is_a_warm_shutdown(worker: Worker) -> None:
    """systemd sends TERM to every process of a unit; the zygote may hear of it before main does."""
    for process in worker.main.descendants():
        os.kill(process.pid, signal.SIGTERM)
    assert worker.stop() == 0
    assert "zygote" not in worker.log


@pytest.mark.celeriac("Celery has no zygote")
def test_a_zygote_that_dies_on_the_way_out_is_not_missed(make_worker, client: Client) -> None:
    worker = make_worker(loglevel="DEBUG")
    zygote = min(worker.main.children(), key=lambda process: process.pid)
    running, _ = busy(worker, client, 2, 0)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in worker.output, "the shutdown begun")
    os.kill(zygote.pid, signal.SIGKILL)
    assert worker.wait() == 0
    assert [result.get(timeout=TIMEOUT) for result in running] == [2, 2]


@pytest.mark.celeriac("Celery's broker gets them back when the connection closes, after the last running task")
def test_reserved_tasks_are_handed_back_at_once(make_worker, client: Client, raw: Raw, queue: str) -> None:
    """While nothing else happens: no child ends, no timer of the worker's is due."""
    worker = make_worker(loglevel="DEBUG")
    _, waiting = busy(worker, client, 60, 5)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: raw.ready(queue) == len(waiting), "the reserved messages back in the queue", 3)


def test_nothing_new_is_taken_during_a_warm_shutdown(make_worker, client: Client, raw: Raw, queue: str) -> None:
    worker = make_worker(loglevel="DEBUG")
    running, _ = busy(worker, client, 2, 0)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in worker.output, "the shutdown begun")
    late = client.send("demo.noop")
    assert worker.wait() == 0
    assert running[0].get(timeout=TIMEOUT) == 2
    wait_until(lambda: raw.ready(queue) == 1, "the late message still in the queue")
    assert late.state == "PENDING"


def test_a_second_term_changes_nothing(make_worker, client: Client) -> None:
    worker = make_worker(loglevel="DEBUG")
    running, _ = busy(worker, client, 2, 0)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: "Warm shutdown" in worker.output, "the shutdown begun")
    worker.send_signal(signal.SIGTERM)
    assert worker.wait() == 0
    assert [result.get(timeout=TIMEOUT) for result in running] == [2, 2]


def test_a_task_that_waits_for_its_time_goes_back(make_worker, client: Client, raw: Raw, queue: str) -> None:
    worker = make_worker()
    result = client.send("demo.add", (2, 3), countdown=60)
    worker.wait_log(rf"Task demo\.add\[{result.id}\] received")
    assert worker.stop() == 0
    wait_until(lambda: raw.ready(queue) == 1, "the message back in the queue")


def test_int_once_is_warm_and_ends_with_one(make_worker, client: Client) -> None:
    worker = make_worker(loglevel="DEBUG")
    running, _ = busy(worker, client, 1.5, 0)
    worker.send_signal(signal.SIGINT)
    assert worker.wait() == 1
    assert "worker: Hitting Ctrl+C again will initiate cold shutdown, terminating all running tasks!" in worker.output
    assert [result.get(timeout=TIMEOUT) for result in running] == [1.5, 1.5]


def test_int_twice_is_cold(make_worker, client: Client, raw: Raw, queue: str) -> None:
    worker = make_worker(loglevel="DEBUG")
    _, waiting = busy(worker, client, 60, 3)
    family = worker.main.descendants()
    worker.send_signal(signal.SIGINT)
    wait_until(lambda: "Hitting Ctrl+C again will initiate cold shutdown" in worker.output, "the first notice")
    worker.send_signal(signal.SIGINT)
    assert worker.wait() == 0
    assert "worker: Hitting Ctrl+C again will terminate all running tasks!" in worker.output
    assert not any(process.alive() for process in family)
    wait_until(lambda: raw.ready(queue) == len(waiting), "the reserved messages back in the queue")


def test_quit_is_cold(make_worker, client: Client, raw: Raw, queue: str) -> None:
    worker = make_worker(loglevel="DEBUG")
    _, waiting = busy(worker, client, 60, 3)
    family = worker.main.descendants()
    worker.send_signal(signal.SIGQUIT)
    assert worker.wait() == 0
    assert "worker: Cold shutdown (MainProcess)" in worker.output
    assert not any(process.alive() for process in family)
    wait_until(lambda: raw.ready(queue) == len(waiting), "the reserved messages back in the queue")


def test_warm_shutdown_under_load_loses_nothing(make_worker, client: Client, raw: Raw, queue: str) -> None:
    """Whatever had not begun goes back, whatever had begun is answered: the two together are all that was sent."""
    worker = make_worker()
    results = [client.send("demo.add", (number, 0)) for number in range(300)]
    worker.wait_log("succeeded", times=20)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(60) == 0  # Celery takes its time; ours is held by the test of the idle worker
    make_worker()
    assert [result.get(timeout=30) for result in results] == list(range(300))
    wait_until(lambda: raw.counts(queue) == (0, 0), "nothing left")
