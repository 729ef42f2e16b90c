"""Soft shutdown, restart, and what stands in the file system while a worker runs."""

from __future__ import annotations

import pathlib
import signal

import pytest

from harness import TIMEOUT, Client, Raw, Worker, elapsed, wait_until

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


def test_t6_7_hup_finishes_and_begins_anew_in_the_same_process(make_worker, client: Client) -> None:
    worker = make_worker(loglevel="DEBUG")
    running, _ = busy(worker, client, 1.5, 0)
    files = len(worker.main.open_files())
    for times in range(2, 5):
        worker.send_signal(signal.SIGHUP)
        worker.wait_log(r"ready\.", times=times)
    assert [result.get(timeout=TIMEOUT) for result in running] == [1.5, 1.5]
    assert worker.output.count("Restarting celery worker (") == 3
    assert client.call("demo.add", 2, 3) == 5
    wait_until(lambda: len(worker.pool()) == 2, "two children")
    assert len(worker.main.open_files()) <= files, "no file left behind"
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
