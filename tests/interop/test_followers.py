"""Tasks that no child can speak for any more: what was to follow them, and those that are tried again."""

from __future__ import annotations

import os
import pathlib
import signal
from collections.abc import Callable, Iterator

import pytest
from billiard.exceptions import TimeLimitExceeded
from celery import chain
from celery.exceptions import TaskRevokedError, WorkerLostError
from celery.result import AsyncResult

from harness import TIMEOUT, Client, Raw, Worker, wait_until
from test_events import Monitor
from test_revoke import revoke


class Followed:
    """A task with an errback, first in a chain."""

    def __init__(self, client: Client, path: pathlib.Path, **options) -> None:
        sign = lambda name, *args: client.app.signature(name, args=args, queue=client.queue)
        first = sign("life.sleep", 60).set(**options).on_error(sign("life.noted", str(path)))
        self.last: AsyncResult = chain(first, sign("life.noted", str(path)), app=client.app).apply_async()
        self.first: AsyncResult = self.last.parent
        self.path = path

    def told(self) -> list[str]:
        return self.path.read_text().split() if self.path.exists() else []


def die(worker: Worker, task: Followed) -> None:
    os.kill(worker.child_running(task.first.id).pid, signal.SIGKILL)


@pytest.mark.parametrize("end, options, error", [(die, {}, WorkerLostError), (lambda *_: None, {"time_limit": 0.5}, TimeLimitExceeded)])
def test_a_task_that_main_ends_has_failed_for_those_behind_it(
    life_worker, client: Client, raw: Raw, queue: str, tmp_path: pathlib.Path,
    end: Callable[[Worker, Followed], None], options: dict[str, float], error: type[Exception],
) -> None:
    worker = life_worker(loglevel="DEBUG")
    task = Followed(client, tmp_path / "told", **options)
    end(worker, task)
    for result in task.last, task.first:
        with pytest.raises(error):
            result.get(timeout=TIMEOUT)
    wait_until(task.told, "the errback called")
    assert set(task.told()) == {task.first.id}
    if worker.kind == "celeriac":
        assert len(task.told()) == 1, "Celery reports a hard limit twice"
    wait_until(lambda: raw.counts(queue) == (0, 0), "all settled")


@pytest.mark.parametrize("terminate", [False, True])
def test_a_task_that_is_revoked_has_no_followers(
    life_worker, client: Client, raw: Raw, queue: str, tmp_path: pathlib.Path, terminate: bool
) -> None:
    worker = life_worker(loglevel="DEBUG", concurrency=1)
    if not terminate:
        before = client.send("life.sleep", (1,))
        worker.child_running(before.id)
    task = Followed(client, tmp_path / "told")
    if terminate:
        worker.child_running(task.first.id)
    else:
        worker.wait_log(rf"\[{task.first.id}\] received")
    revoke(client, worker, task.first.id, terminate=terminate)
    with pytest.raises(TaskRevokedError):
        task.first.get(timeout=TIMEOUT)
    assert client.call("life.add", 2, 3) == 5
    wait_until(lambda: raw.counts(queue) == (0, 0), "all settled")
    assert (task.told(), task.last.state) == ([], "PENDING"), "as in Celery"


@pytest.fixture
def monitor(client: Client, queue: str) -> Iterator[Monitor]:
    made = Monitor(client, f"{queue}@test")
    yield made
    made.close()


def test_a_task_may_ask_to_be_tried_again(life_worker, client: Client, monitor: Monitor, raw: Raw, queue: str, tmp_path: pathlib.Path) -> None:
    """`retry_on_worker_lost`: so often as `max_retries` says, then it has failed."""
    worker = life_worker(arguments=["-E"])
    path = tmp_path / "runs"
    states: list[str] = []
    result = client.send("life.again", (str(path), 2))
    assert result.get(timeout=TIMEOUT, on_message=lambda meta: states.append(meta["status"])) == 2
    assert path.read_text().split() == [result.id] * 3
    assert states == ["RETRY", "RETRY", "SUCCESS"]
    story = monitor.story(result.id, "task-succeeded")
    assert story == ["received", "started", "retried"] * 2 + ["received", "started", "succeeded"]
    hopeless = client.send("life.again", (str(path), 9))
    with pytest.raises(WorkerLostError):
        hopeless.get(timeout=TIMEOUT)
    assert path.read_text().split().count(hopeless.id) == 3
    assert monitor.story(hopeless.id, "task-failed") == ["received", "started", "retried"] * 2 + ["received", "started", "failed"]
    worker.wait_log(rf"Task life\.again\[{result.id}\] retry: Retry in 0s: WorkerLostError\('Worker exited prematurely: signal 9")
    wait_until(lambda: raw.counts(queue) == (0, 0), "all settled")


def test_a_task_that_is_handed_back_has_not_failed_yet(
    life_worker, client: Client, monitor: Monitor, raw: Raw, queue: str, tmp_path: pathlib.Path
) -> None:
    """`reject_on_worker_lost`: watchers hear that it was rejected, and of a failure only in the end."""
    worker = life_worker(arguments=["-E"])
    result = client.send("life.grim", (str(tmp_path / "runs"),))
    if worker.kind == "celery":
        wait_until(lambda: len(monitor.of_task(result.id)) >= 6, "two runs")
        assert {event["type"] for event in monitor.of_task(result.id)} == {"task-received", "task-started", "task-rejected"}
        return  # for ever
    story = monitor.story(result.id, "task-failed")
    assert story[:6] == ["received", "started", "rejected"] * 2 and story[6:8] == ["received", "started"]
    assert story.count("failed") == 1 and story.count("rejected") in (2, 3)
    wait_until(lambda: raw.counts(queue) == (0, 0), "all settled")
