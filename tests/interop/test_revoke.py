"""Revoking and terminating: at once where a task waits, and never the wrong one where it runs."""

from __future__ import annotations

import pathlib
import types
import uuid

import pytest
from billiard.exceptions import TimeLimitExceeded
from celery.exceptions import TaskRevokedError
from celery.utils.collections import LimitedSet
from celery.worker.state import Persistent

from harness import TIMEOUT, Client, Raw, Worker, elapsed, wait_until
from test_events import Monitor


def revoke(client: Client, worker: Worker, identity: str, **options) -> None:
    """Revokes, and waits until the worker knows."""
    (answer,) = client.app.control.revoke(identity, destination=[worker.name], reply=True, timeout=TIMEOUT, **options)
    assert "ok" in answer[worker.name]


@pytest.mark.celeriac("Celery discards it when its turn comes")
def test_t15_5_what_waits_is_discarded_at_once(life_worker, client: Client, raw: Raw, queue: str) -> None:
    """Reserved or held: acknowledged, REVOKED, and an event, while what runs goes on."""
    worker = life_worker(concurrency=1, loglevel="DEBUG", arguments=["-E"])
    monitor = Monitor(client, worker.name)
    try:
        running = client.send("life.sleep", (3,))
        worker.child_running(running.id)
        waiting = client.send("life.add", (2, 3)), client.send("life.late_sleep", (0,)), client.send("life.add", (2, 3), countdown=60)
        for result in waiting:
            worker.wait_log(rf"\[{result.id}\] received")
            revoke(client, worker, result.id)
            with pytest.raises(TaskRevokedError, match="revoked"):
                result.get(timeout=TIMEOUT)
            assert monitor.story(result.id, "task-revoked") == ["received", "revoked"]
            event = monitor.of_task(result.id)[-1]
            assert (event["terminated"], event["signum"], event["expired"]) == (False, None, False)
        wait_until(lambda: raw.counts(queue) == (0, 0), "acknowledged, as is the task that runs")
        assert not running.ready(), "at once"
        assert running.get(timeout=TIMEOUT) == 3
        wait_until(lambda: raw.counts(queue) == (0, 0), "every message settled")
    finally:
        monitor.close()


def test_a_running_task_is_left_alone_by_a_plain_revoke(make_worker, client: Client) -> None:
    worker = make_worker(loglevel="DEBUG")
    running = client.send("demo.sleep", (1.5,))
    worker.child_running(running.id)
    revoke(client, worker, running.id)
    assert running.get(timeout=TIMEOUT) == 1.5


@pytest.mark.parametrize("signal, number", [("TERM", 15), ("KILL", 9), ("SIGUSR2", 12)])
def test_terminate_ends_a_running_task(make_worker, client: Client, raw: Raw, queue: str, signal: str, number: int) -> None:
    worker = make_worker(loglevel="DEBUG")
    other, doomed = client.send("demo.sleep", (2,)), client.send("demo.sleep", (60,))
    victim = worker.child_running(doomed.id)
    revoke(client, worker, doomed.id, terminate=True, signal=signal)
    with pytest.raises(TaskRevokedError, match="terminated"):
        doomed.get(timeout=TIMEOUT)
    wait_until(lambda: not victim.alive(), "its end")
    worker.wait_log(rf"Terminating {doomed.id} \({number}\)")
    assert other.get(timeout=TIMEOUT) == 2
    wait_until(lambda: len(worker.pool()) == 2, "two children")
    wait_until(lambda: raw.counts(queue) == (0, 0), "every message settled")


@pytest.mark.celeriac("Celery kills whatever the child runs by then")
@pytest.mark.parametrize("task", ["demo.sleep", "life.sleep"])
def test_t15_1_terminate_never_hits_another_task(
    request: pytest.FixtureRequest, client: Client, raw: Raw, queue: str, scale, task: str
) -> None:
    worker = request.getfixturevalue("make_worker" if task.startswith("demo") else "app_worker")()
    results = [client.send(task, (0.002,)) for _ in range(scale(300, 20_000))]
    doomed = {result.id for result in results[::4]}
    for identity in doomed:
        client.app.control.revoke(identity, terminate=True, signal="KILL", destination=[worker.name])
    for result in results:
        if result.id in doomed:
            try:
                assert result.get(timeout=120) == 0.002
            except TaskRevokedError:
                pass
        else:
            assert result.get(timeout=120) == 0.002, "only what was revoked may be hit"
    wait_until(lambda: raw.counts(queue) == (0, 0), "every message settled", 20)


@pytest.mark.celeriac("Celery saves at a clean exit only, in a shelve")
def test_t15_3_revoked_ids_survive_a_kill(make_worker, client: Client, tmp_path: pathlib.Path) -> None:
    arguments = ["--statedb", str(tmp_path / "%n.state")]
    worker = make_worker(arguments=arguments)
    identity = str(uuid.uuid4())
    revoke(client, worker, identity)
    path = tmp_path / f"{worker.queue}.state"
    wait_until(lambda: identity in path.read_text(), "the id in the file", 2)
    worker.popen.kill()
    worker.popen.wait()
    second = make_worker(arguments=arguments)
    with pytest.raises(TaskRevokedError):
        client.send("demo.add", (2, 3), task_id=identity).get(timeout=TIMEOUT)
    assert second.stop() == 0


@pytest.mark.celeriac("Celery forgets them")
def test_t15_3_revoked_stamps_survive_a_restart(make_worker, client: Client, tmp_path: pathlib.Path) -> None:
    arguments = ["--statedb", str(tmp_path / "state")]
    worker = make_worker(arguments=arguments)
    client.app.control.revoke_by_stamped_headers({"customer": ["x"]}, destination=[worker.name], reply=True, timeout=TIMEOUT)
    wait_until(lambda: "customer" in (tmp_path / "state").read_text(), "the stamp in the file", 2)
    worker.popen.kill()
    worker.popen.wait()
    worker = make_worker(arguments=arguments)
    stamped = {"stamped_headers": ["customer"], "customer": "x"}
    with pytest.raises(TaskRevokedError):
        client.send("demo.add", (2, 3), headers=stamped | {"stamps": {"customer": "x"}}).get(timeout=TIMEOUT)
    worker.wait_log(r"Discarding revoked task: demo\.add\[\S+\] \(revoked by header: \{'customer': 'x'\}\)")


@pytest.mark.celeriac("Celery goes on with its own")
def test_t15_3_celerys_state_file_is_taken_over_once(app_worker, client: Client, tmp_path: pathlib.Path) -> None:
    path, identity = tmp_path / "state", str(uuid.uuid4())
    kept = Persistent(types.SimpleNamespace(revoked=LimitedSet(maxlen=10, expires=100), merge_revoked=lambda saved: None), str(path))
    kept.state.revoked.add(identity)
    kept.save()
    files = {file.name for file in tmp_path.glob("state*")}
    worker = app_worker(arguments=["--statedb", str(path)])
    result = client.send("life.add", (2, 3), task_id=identity)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=TIMEOUT)
    assert path.read_text().startswith("celeriac state 1\n") and identity in path.read_text()
    assert {file.name for file in tmp_path.glob("state*.celery")} == {f"{name}.celery" for name in files}
    assert worker.stop() == 0


@pytest.mark.celeriac("Celery's has no effect until the consumer restarts")
def test_a_limit_set_by_command_holds_for_the_next_task(worker: Worker, client: Client) -> None:
    client.app.control.time_limit("demo.sleep", hard=1, destination=[worker.name], reply=True, timeout=TIMEOUT)
    with pytest.raises(TimeLimitExceeded):
        client.call("demo.sleep", 60)


def test_t25_a_rate_limit_spaces_a_type_and_no_other(worker: Worker, client: Client) -> None:
    client.app.control.rate_limit("demo.noop", "4/s", destination=[worker.name], reply=True, timeout=TIMEOUT)
    with elapsed() as since:
        limited = [client.send("demo.noop") for _ in range(5)]
        assert client.call("demo.add", 2, 3) == 5
        assert since() < 1
        for result in limited:
            result.get(timeout=TIMEOUT)
        assert 1 <= since() < 3
