"""Soft shutdown, restart, and what stands in the file system while a worker runs."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import subprocess
import time
import uuid

import pytest
from celery.exceptions import TaskRevokedError, TimeoutError, WorkerLostError

from harness import TIMEOUT, Client, Process, Raw, Worker, celeriac_binary, elapsed, wait_until
from test_shutdown import busy


@pytest.mark.celeriac("Celery has the setting, not the option, and always waits to the end")
def test_t6_4_a_soft_shutdown_ends_with_the_last_task(make_worker, client: Client) -> None:
    worker = make_worker(loglevel="DEBUG", arguments=["--soft-shutdown-timeout", "30"])
    running, _ = busy(worker, client, 1.5, 0)
    worker.send_signal(signal.SIGQUIT)
    with elapsed() as since:
        assert worker.wait() == 0
        assert since() < 6
    assert [result.get(timeout=TIMEOUT) for result in running] == [1.5, 1.5]
    assert "Initiating Soft Shutdown, terminating in 30 seconds" in worker.log


@pytest.mark.celeriac("Celery has the setting, not the option")
def test_t6_3_a_soft_shutdown_is_cold_when_its_time_is_up(make_worker, client: Client, raw: Raw, queue: str) -> None:
    worker = make_worker(loglevel="DEBUG", arguments=["--soft-shutdown-timeout", "1"])
    busy(worker, client, 60, 2)
    worker.send_signal(signal.SIGQUIT)
    with elapsed() as since:
        assert worker.wait() == 0
        assert 1 <= since() < 5
    assert "worker: Cold shutdown (MainProcess)" in worker.output
    wait_until(lambda: raw.ready(queue) == 2, "the reserved messages back in the queue")


@pytest.mark.parametrize("task", ["life.cleans", "life.late_cleans"])
def test_t6_3_a_python_task_may_clean_up_when_the_time_is_up(
    app_worker, client: Client, raw: Raw, queue: str, tmp_path: pathlib.Path, task: str
) -> None:
    """It is ended by an exception, SystemExit; a late one is delivered again, of an early one the caller hears RETRY."""
    worker = app_worker(loglevel="DEBUG", arguments=["--", "worker.soft_shutdown_timeout=1"])
    path, states = tmp_path / "cleaned", []
    result = client.send(task, (str(path),))
    worker.child_running(result.id)
    with elapsed() as since:
        worker.send_signal(signal.SIGQUIT)
        assert worker.wait(20) == 0
    assert since() >= 1
    assert path.read_text() == "SystemExit(-241)\n"
    late = task == "life.late_cleans"
    wait_until(lambda: raw.ready(queue) == late, "the late message back in the queue")
    with pytest.raises(TimeoutError):
        result.get(timeout=1, on_message=lambda meta: states.append(meta["status"]))
    assert states == ([] if late else ["RETRY"])
    assert re.search(r"Initiating Soft Shutdown, terminating in 1(\.0)? seconds", worker.log)


def test_t6_7_hup_finishes_and_begins_anew_in_the_same_process(life_worker, client: Client, scale) -> None:
    worker = life_worker(loglevel="DEBUG")
    running = [client.send("life.sleep", (1.5,)) for _ in range(2)]
    for result in running:
        worker.child_running(result.id)
    files = len(worker.main.open_files())
    restarts = scale(3, 1000)
    for times in range(2, restarts + 2):
        worker.send_signal(signal.SIGHUP)
        worker.wait_log(r"ready\.", times=times)
    assert [result.get(timeout=TIMEOUT) for result in running] == [1.5, 1.5]
    assert worker.output.count("Restarting celery worker (") == restarts
    assert client.call("life.add", 2, 3) == 5
    wait_until(lambda: len(worker.pool()) == 2, "two children")
    assert len(worker.main.open_files()) <= files, "no file left behind"
    wait_until(lambda: not zombies_of(worker.main.pid), "all of its former lives reaped")
    assert worker.stop() == 0


def test_usr1_says_what_everybody_is_doing(make_worker, client: Client) -> None:
    worker = make_worker(loglevel="DEBUG")
    (result, _), _ = busy(worker, client, 2, 0)
    worker.send_signal(signal.SIGUSR1)
    worker.wait_log(rf"demo\.sleep\[{result.id}\] Running" if worker.kind == "celeriac" else "MainThread")
    assert result.get(timeout=TIMEOUT) == 2
    assert worker.alive()


def test_a_pid_file_is_there_as_long_as_the_worker_is(make_worker, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "worker.pid"
    path.write_text("999999999\n")  # stale
    worker = make_worker(arguments=["--pidfile", str(path)])
    assert int(path.read_text()) == worker.main.pid
    second = make_worker(arguments=["--pidfile", str(path)], ready=False)
    assert second.wait() == 73
    assert "already exists" in second.log
    assert int(path.read_text()) == worker.main.pid
    assert worker.stop() == 0
    assert not path.exists()


def checked(record: dict[str, object]) -> str:
    """A line of celeriac's state file."""
    text = json.dumps(record, separators=(",", ":"))
    total = 0x811C9DC5
    for octet in text.encode():
        total = (total ^ octet) * 0x01000193 & 0xFFFFFFFF
    return f"{total:08x} {text}\n"


@pytest.mark.celeriac("Celery's is a shelve")
def test_t15_3_what_was_revoked_before_the_start_is_revoked(
    make_worker, client: Client, raw: Raw, queue: str, tmp_path: pathlib.Path
) -> None:
    path, revoked = tmp_path / "state", str(uuid.uuid4())
    torn = checked({"revoked": "torn", "at": time.time()})[:-10]
    path.write_text("celeriac state 1\n" + checked({"revoked": revoked, "at": time.time()}) + torn)
    worker = make_worker(arguments=["--statedb", str(path)])
    result = client.send("demo.add", (2, 3), task_id=revoked)
    with pytest.raises(TaskRevokedError):
        result.get(timeout=TIMEOUT)
    worker.wait_log(rf"Discarding revoked task: demo\.add\[{revoked}\]")
    assert client.call("demo.add", 2, 3) == 5
    wait_until(lambda: raw.counts(queue) == (0, 0), "both settled")
    assert worker.stop() == 0
    assert path.read_text().count("revoked") == 1


@pytest.mark.celeriac("Celery opens it")
def test_t15_3_a_state_file_of_celerys_is_refused(make_worker, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "state"
    path.write_bytes(b"\x13\x57\x9a\xce")
    worker = make_worker(arguments=["--statedb", str(path)], ready=False)
    assert worker.wait() == 1
    assert "is no state file of celeriac's" in worker.log
    assert path.read_bytes() == b"\x13\x57\x9a\xce"


@pytest.mark.celeriac("the harness cannot follow Celery's")
def test_a_detached_worker_goes_on_in_the_background(make_worker, client: Client, tmp_path: pathlib.Path) -> None:
    pidfile, log = tmp_path / "worker.pid", tmp_path / "worker.detached"
    starter = make_worker(arguments=["--detach", "--pidfile", str(pidfile), "-f", str(log)], ready=False)
    assert starter.wait() == 0
    pid = wait_until(lambda: pidfile.exists() and int(pidfile.read_text() or 0), "its pid file")
    main = Process(pid)
    try:
        assert client.call("demo.add", 2, 3) == 5
        assert main.session() != starter.popen.pid and main.session() != pid
        os.kill(pid, signal.SIGHUP)
        wait_until(lambda: log.read_text().count(" ready.") == 2, "the restart")
        assert int(pidfile.read_text()) == pid, "the same process"
        assert client.call("demo.add", 2, 3) == 5
    finally:
        os.kill(pid, signal.SIGTERM)
    wait_until(lambda: not main.alive(), "its end")
    assert not pidfile.exists()


@pytest.mark.celeriac("Celery's default action is to die of it")
def test_usr2_is_no_reason_to_die(worker: Worker, client: Client) -> None:
    worker.send_signal(signal.SIGUSR2)
    assert client.call("demo.add", 2, 3) == 5
    assert worker.stop() == 0


@pytest.mark.celeriac("a promise about containers")
def test_t6_5_as_process_1_it_reaps_and_stops_in_order(make_worker, client: Client, kind: str) -> None:
    unshare = ["unshare", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*unshare, "true"], capture_output=True).returncode:
        pytest.skip("no namespaces here")
    worker = make_worker(command=[*unshare, str(celeriac_binary())], arguments=["--demo"])
    (main,) = worker.main.children()
    for _ in range(3):
        with pytest.raises(WorkerLostError):
            client.call("demo.crash")
    assert client.call("demo.add", 2, 3) == 5
    assert not zombies_of(main.pid)
    os.kill(main.pid, signal.SIGTERM)
    assert worker.wait() == 0


def zombies_of(parent: int) -> list[pathlib.Path]:
    return [child for child in pathlib.Path("/proc").iterdir() if child.name.isdigit() and is_zombie_of(child, parent)]


def is_zombie_of(directory: pathlib.Path, parent: int) -> bool:
    try:
        state, of, *_ = (directory / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return False
    return state == "Z" and int(of) == parent
