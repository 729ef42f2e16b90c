"""Pool children: their deaths, their replacement, and what they must not inherit."""

from __future__ import annotations

import contextlib
import os
import signal
import time

import pytest
from celery.exceptions import WorkerLostError

from harness import TIMEOUT, Client, Process, Raw, Worker, elapsed, wait_until


def test_t3_1_a_killed_child_is_reported_and_replaced_and_nothing_else_is_disturbed(
    life_worker, client: Client, kind: str
) -> None:
    worker = life_worker(loglevel="DEBUG")
    other = client.send("life.sleep", (3,))
    worker.child_running(other.id)
    doomed = client.send("life.sleep", (60,))
    victim = worker.child_running(doomed.id)
    before = {child.pid for child in worker.pool()}
    assert len(before) == 2

    os.kill(victim.pid, signal.SIGKILL)
    with elapsed() as since:
        wait_until(
            lambda: len({child.pid for child in worker.pool()} - {victim.pid}) >= 2, "another child in its place"
        )
        if kind == "celeriac":
            assert since() < 1
    with pytest.raises(WorkerLostError, match=r"Worker exited prematurely: signal 9 \(SIGKILL\) Job: \d+\."):
        doomed.get(timeout=5)
    assert client.call("life.add", 2, 3) == 5
    assert other.get(timeout=TIMEOUT) == 3
    worker.wait_log(rf"Process '\S+' pid:{victim.pid} exited with 'signal 9 \(SIGKILL\)'")
    assert worker.alive()


def test_a_task_that_crashes_its_child(worker: Worker, client: Client, raw: Raw, queue: str) -> None:
    for _ in range(3):
        with pytest.raises(WorkerLostError, match="Worker exited prematurely"):
            client.call("demo.crash")
    assert client.call("demo.add", 2, 3) == 5
    wait_until(lambda: raw.counts(queue) == (0, 0), "every message acknowledged")
    assert raw.ready(f"dead.{queue}") == 0


def test_an_idle_child_that_is_killed_is_replaced(worker: Worker, client: Client) -> None:
    wait_until(lambda: len(worker.pool()) == 2, "two children")
    for child in worker.pool():
        os.kill(child.pid, signal.SIGKILL)
    assert client.call("demo.add", 2, 3) == 5
    wait_until(lambda: len(worker.pool()) == 2, "two children again")


def test_t4_3_a_child_that_does_not_read_stalls_nobody(worker: Worker, client: Client) -> None:
    wait_until(lambda: len(worker.pool()) == 2, "two children")
    stopped = worker.pool()[0]
    os.kill(stopped.pid, signal.SIGSTOP)
    try:
        large = "x" * (8 << 20)
        results = [client.send("demo.echo", (large,)) for _ in range(3)]
        results += [client.send("demo.add", (2, 3)) for _ in range(20)]
        # At most one of them waits with the child that is stopped.
        done: set[str] = set()

        def all_but_one() -> bool:
            for result in results:
                if result.id not in done:
                    with contextlib.suppress(Exception):
                        result.get(timeout=0.05)
                        done.add(result.id)
            return len(done) >= len(results) - 1

        wait_until(all_but_one, "all but the one that the stopped child holds", 20)
    finally:
        os.kill(stopped.pid, signal.SIGCONT)
    for result in results:
        if result.id not in done:
            assert result.get(timeout=TIMEOUT) in (5, large)


def test_children_die_with_a_main_process_that_is_killed(make_worker, client: Client) -> None:
    worker = make_worker(loglevel="DEBUG")
    worker.child_running(client.send("demo.sleep", (60,)).id)
    family = worker.main.descendants()
    assert len(family) >= 2
    worker.popen.kill()
    worker.popen.wait()
    wait_until(lambda: not any(process.alive() for process in family), "no process of the worker's left", 2)


@pytest.mark.celeriac("Celery's children inherit what main had open")
def test_t4_1_a_child_has_no_descriptor_but_its_own(life_worker) -> None:
    """As long as it has run nothing: Celery in a Python child sends its results itself, on a connection of its own."""
    worker = life_worker()
    wait_until(lambda: len(worker.pool()) == 2, "two children")
    of_main = {target for number, target in worker.main.open_files().items() if number > 2}
    seen: set[str] = set()
    for child in worker.pool():
        own = {target for number, target in child.open_files().items() if number > 2}
        # Python's have a closed standard input of their own, and the numbers that tell children of one name apart.
        own -= {"/dev/null", "/memfd:celeriac-slots (deleted)"} if life_worker.kind == "python" else set()
        assert len(own) == 2, own
        assert all(target.startswith("pipe:") for target in own), own
        assert not own & seen, "shared with another child"
        # Main holds the other end of the same pipes, and nothing more of the child's.
        assert own <= of_main
        seen |= own


@pytest.mark.celeriac("Celery's children keep main's session and its signal dispositions")
def test_a_child_has_a_clean_signal_state_and_a_session_of_its_own(worker: Worker) -> None:
    wait_until(lambda: len(worker.pool()) == 2, "two children")
    for child in worker.pool():
        assert child.signal_set("SigBlk") == set(), child
        # As in any Rust program: a task that writes to a closed pipe gets an error, and is not killed.
        ignored = {number for number in child.signal_set("SigIgn") if number < 32}
        assert ignored == {signal.SIGINT, signal.SIGPIPE}, child
        assert child.session() != worker.main.session(), child


@pytest.mark.celeriac("Celery has no zygote")
def test_the_death_of_the_zygote_is_survived_or_ends_the_worker_with_a_word(worker: Worker, client: Client) -> None:
    assert client.call("demo.add", 2, 3) == 5
    children = {child.pid for child in worker.pool()}
    (zygote,) = [child for child in worker.main.children() if child.pid not in children]
    os.kill(zygote.pid, signal.SIGKILL)
    result = client.send("demo.crash")  # so that a new child is wanted
    deadline = time.monotonic() + TIMEOUT
    while worker.alive() and time.monotonic() < deadline:
        with contextlib.suppress(Exception):
            if client.send("demo.add", (2, 3)).get(timeout=1) == 5:
                break
    if worker.alive():
        assert client.call("demo.add", 2, 3) == 5
        with pytest.raises(WorkerLostError):
            result.get(timeout=TIMEOUT)
        wait_until(lambda: len(worker.pool()) == 2, "two children")
    else:
        assert worker.wait() != 0
        assert "zygote" in worker.log


@pytest.mark.parametrize("concurrency", [1, 4])
def test_concurrency_is_the_number_of_children(make_worker, client: Client, concurrency: int) -> None:
    worker = make_worker(concurrency=concurrency)
    wait_until(lambda: len(worker.pool()) == concurrency, f"{concurrency} children")
    assert client.call("demo.add", 2, 3) == 5


def test_the_process_that_is_asked_for_is_the_process_that_runs(worker: Worker) -> None:
    """No intermediate process is left behind by starting the pool."""
    wait_until(lambda: len(worker.pool()) == 2, "two children")
    assert all(Process(child.pid).alive() for child in worker.main.descendants())
    assert len(worker.main.descendants()) <= 3
