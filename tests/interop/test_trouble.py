"""A RabbitMQ that stops answering, loses patience, runs out of memory, or goes; the worker serves on."""

from __future__ import annotations

import json
import os
import pathlib
import re
import signal
import sys
import time

import pytest
from kombu import Queue

from harness import TIMEOUT, Client, Raw, celeriac_binary, elapsed, wait_until
from rabbitmq import RabbitMQ

LOST = r"Connection to broker lost"


def runs(folder: pathlib.Path, identity: str) -> list[str]:
    """What a `life.ledger` task has written: `begin` and `end`, in turn."""
    path = folder / identity
    return path.read_text().split()[::2] if path.exists() else []


def ran_once(folder: pathlib.Path, *results) -> None:
    for result in results:
        wait_until(lambda: "end" in runs(folder, result.id), f"{result.id} ends", 20)
    assert [runs(folder, result.id) for result in results] == [["begin", "end"]] * len(results)
    assert not list(folder.glob("*.twice"))


@pytest.fixture
def there(fragile: RabbitMQ, queue: str):
    """A client of the fragile broker."""
    client = Client(fragile.url, queue)
    yield client
    client.close()


@pytest.fixture
def look(fragile: RabbitMQ, queue: str):
    """Raw access to the fragile broker, the queue declared."""
    raw = Raw(fragile, fragile.url)
    raw.declare(queue)
    yield raw
    raw.close()


@pytest.mark.celeriac("Celery exits with an unrecoverable error, and the tasks run again elsewhere")
def test_t2_1_a_late_task_outlives_the_brokers_patience(
    app_worker, fragile: RabbitMQ, there: Client, look: Raw, queue: str, tmp_path: pathlib.Path
) -> None:
    """T2.3 too: one channel closes, the reason is logged with the task's id, remote control answers all the while."""
    worker = app_worker(url=fragile.url, concurrency=1, arguments=["--consumer-timeout", "0"])
    ledger = str(tmp_path)
    long = there.send("life.ledger", (ledger, 7))
    wait_until(lambda: runs(tmp_path, long.id), "it begins")
    short = [there.send("life.ledger", (ledger, 0)) for _ in range(3)]
    worker.wait_log(r"the broker closed the channel: \(406\) PRECONDITION_FAILED.*Not acknowledged by then: .*" + long.id)
    assert there.app.control.ping(timeout=5, limit=1, destination=[worker.name])
    ran_once(tmp_path, long, *short)
    wait_until(lambda: look.counts(queue) == (0, 0), "settled")
    assert worker.alive()
    assert not re.search(LOST, worker.log)


@pytest.mark.celeriac("Celery has one channel for all")
def test_t2_5_an_overdue_task_is_no_business_of_other_queues(
    app_worker, fragile: RabbitMQ, there: Client, look: Raw, queue: str, tmp_path: pathlib.Path
) -> None:
    slow = f"{queue}.slow"
    worker = app_worker(
        url=fragile.url,
        arguments=["-Q", f"{queue},{slow}", "--long-tasks", slow, "--consumer-timeout", "0", "--prefetch-multiplier", "2"],
    )
    ledger = str(tmp_path)
    long = there.send("life.ledger", (ledger, 6), queue=slow)
    wait_until(lambda: runs(tmp_path, long.id), "it begins")
    others = [there.send("life.ledger", (ledger, 0.4)) for _ in range(20)]
    worker.wait_log(r"the broker closed the channel: \(406\) PRECONDITION_FAILED.*Not acknowledged by then: " + long.id + "$")
    assert not runs(tmp_path, others[-1].id), "others wait as well"
    ran_once(tmp_path, long, *others)
    worker.wait_log(rf"{long.id}\] was delivered again")
    for name in (queue, slow):
        wait_until(lambda: look.counts(name) == (0, 0), "settled")
    for other in others:
        assert len(re.findall(rf"{other.id}\] received", worker.log)) == 1
    assert len(re.findall("was delivered again", worker.log)) == 1
    assert len(re.findall(r"\(406\)", worker.log)) == 1


@pytest.mark.celeriac("Celery keeps them until the broker closes the channel")
def test_t2_2_what_waits_is_handed_back_before_the_broker_loses_patience(
    app_worker, fragile: RabbitMQ, there: Client, look: Raw, queue: str, tmp_path: pathlib.Path
) -> None:
    worker = app_worker(url=fragile.url, concurrency=1, arguments=["--consumer-timeout", "4"])
    busy = there.send("life.sleep", (7,))
    worker.wait_log(rf"{busy.id}\] received")
    waits = [there.send("life.ledger", (str(tmp_path), 0), countdown=countdown) for countdown in (None, 6)]
    ran_once(tmp_path, *waits)
    wait_until(lambda: look.counts(queue) == (0, 0), "settled")
    assert len(re.findall(r"handed back before the broker", worker.log)) >= 1
    assert "406" not in worker.log


@pytest.mark.celeriac("Celery runs it twice")
def test_t7_1_a_hundred_late_tasks_and_lost_connections(
    app_worker, fragile: RabbitMQ, there: Client, look: Raw, queue: str, tmp_path: pathlib.Path
) -> None:
    worker = app_worker(url=fragile.user(queue), concurrency=4)
    sent = [there.send("life.ledger", (str(tmp_path), 0.1)) for _ in range(100)]
    retried = there.send("life.retry")
    for number in (10, 50):
        wait_until(lambda: runs(tmp_path, sent[number].id), f"task {number} begins", 20)
        fragile.control("close_all_user_connections", queue, "by the test")
    ran_once(tmp_path, *sent)
    assert retried.get(timeout=TIMEOUT) == 2, "a retry has the same id, and runs"
    wait_until(lambda: look.counts(queue) == (0, 0), "settled")
    assert len(re.findall(LOST, worker.log)) == 2
    assert "unknown delivery tag" not in worker.log


@pytest.mark.celeriac("Celery's main process may end of it")
def test_t7_2_late_tasks_may_be_cancelled(
    app_worker, fragile: RabbitMQ, there: Client, queue: str, tmp_path: pathlib.Path
) -> None:
    settings = json.dumps({"worker_cancel_long_running_tasks_on_connection_loss": True})
    worker = app_worker(url=fragile.user(queue), environment={"LIFE_CONF": settings})
    late = there.send("life.ledger", (str(tmp_path), 60), ignore_result=True)
    early = there.send("life.sleep", (3,))
    wait_until(lambda: runs(tmp_path, late.id), "it begins")
    worker.wait_log(rf"{early.id}\] received")
    fragile.control("close_all_user_connections", queue, "by the test")
    worker.wait_log(rf"{late.id}\] is cancelled: the connection was lost")
    wait_until(lambda: runs(tmp_path, late.id) == ["begin", "begin"], "it runs anew", 20)
    assert early.get(timeout=TIMEOUT) == 3, "an early one goes on"
    assert worker.alive()


@pytest.mark.celeriac("Celery's main process forgets its heartbeats now and then")
def test_t11_2_heartbeats_on_a_machine_that_has_no_time(
    make_worker, life_program: pathlib.Path, fragile: RabbitMQ, there: Client, scale
) -> None:
    """T11.2: sixty-four children compute, and main has no more of the processors than any of them.

    All are niced, so that the rest of the machine goes on. The promise is for a day: `CELERIAC_SOAK=86400` seconds.
    """
    seconds = int(os.environ.get("CELERIAC_SOAK") or scale(15, 3000))
    signal.alarm(seconds + 200)
    command = ["nice", "-n", "19", str(life_program)]
    worker = make_worker(
        fragile.url + "?heartbeat=5", concurrency=64, command=command, urls_in_environment=True, loglevel="DEBUG",
        arguments=["--consumer-timeout", "0"],
    )
    for _ in range(64):
        there.send("life.spin", (seconds + 100,), ignore_result=True)
    worker.wait_log("Task accepted", times=64, timeout=60)
    time.sleep(seconds)
    assert there.app.control.ping(timeout=30, limit=1, destination=[worker.name])
    assert not re.search(rf"{LOST}|producer: Connection to", worker.log)
    missed = [log for log in (fragile.home / "log").glob("*.log") if "missed heartbeats" in log.read_text(errors="replace")]
    assert not missed
    worker.send_signal(signal.SIGKILL)  # its children go with it, in less time than it takes to find them
    worker.wait()


@pytest.mark.celeriac("Celery waits for two minutes, and runs the task twice")
def test_t11_3_a_stopped_broker_is_noticed_and_nothing_runs_twice(
    app_worker, fragile: RabbitMQ, there: Client, look: Raw, queue: str, tmp_path: pathlib.Path
) -> None:
    worker = app_worker(url=fragile.url + "?heartbeat=2")
    running = there.send("life.ledger", (str(tmp_path), 6), ignore_result=True)
    wait_until(lambda: runs(tmp_path, running.id), "it begins")
    with elapsed() as since:
        fragile.freeze()
        try:
            worker.wait_log(LOST)
            assert since() <= 6, "2.5 heartbeats, and one second for a busy machine"
        finally:
            fragile.thaw()
    worker.wait_log(r"Connected to ", times=2, timeout=15)
    assert there.call("life.add", 2, 3) == 5
    ran_once(tmp_path, running)
    wait_until(lambda: look.counts(queue) == (0, 0), "settled")


@pytest.mark.celeriac("Celery's children block with their results")
def test_t21_a_broker_without_memory_stops_no_task(make_worker, fragile: RabbitMQ, there: Client, look: Raw, queue: str) -> None:
    worker = make_worker(fragile.url + "?heartbeat=2", concurrency=1)
    sent = [there.send("demo.sleep", (0.2,)) for _ in range(20)]
    fragile.control("set_vm_memory_high_watermark", "0.0000001")
    try:
        worker.wait_log(r"the broker takes no publications: low on memory")
        wait_until(lambda: look.counts(queue) == (0, 0), "all are consumed and acknowledged")
        assert not re.search(rf"{LOST}|producer: Connection to", worker.log), "heartbeats go on"
    finally:
        fragile.control("set_vm_memory_high_watermark", "0.4")
    assert [result.get(timeout=TIMEOUT) for result in sent] == [0.2] * 20
    last = there.send("demo.sleep", (1,))
    worker.wait_log(rf"{last.id}\] received")
    fragile.control("set_vm_memory_high_watermark", "0.0000001")
    try:
        worker.wait_log(r"the broker takes no publications", times=2)
        with elapsed() as since:
            assert worker.stop() == 0
            assert since() < 3, "two seconds, and one for a busy machine"
    finally:
        fragile.control("set_vm_memory_high_watermark", "0.4")


@pytest.mark.celeriac("Celery needs global limits to be refused first")
def test_t10_1_a_quorum_queue(app_worker, fragile: RabbitMQ, there: Client, queue: str) -> None:
    """T10.1: start, consume, ETA, a larger pool and remote control, without 540; T10.2: the window grows with the pool."""
    worker = app_worker(url=fragile.url, concurrency=1, environment={"LIFE_QUEUE_TYPE": "quorum"}, arguments=["--prefetch-multiplier", "1"])
    there.app.conf.update(task_default_queue_type="quorum", task_create_missing_queue_type="quorum")
    eta = there.send("life.add", (1, 2), countdown=1)
    worker.wait_log(rf"life.add\[{eta.id}\] succeeded")
    assert there.app.control.pool_grow(2, reply=True, timeout=5, limit=1, destination=[worker.name])
    running = [there.send("life.sleep", (2,)) for _ in range(3)]
    for each in running:
        worker.wait_log(rf"{each.id}\] received")
    with elapsed() as since:
        for each in running:
            worker.wait_log(rf"life.sleep\[{each.id}\] succeeded")
        assert since() < 5.5, "side by side; one after the other they take six"
    for code in ("(540)", "(541)", "(406)"):
        assert code not in worker.log


@pytest.mark.celeriac("Celery ends, or tries again for ever")
def test_t10_1_a_quorum_queue_of_somebody_else(
    make_worker, fragile: RabbitMQ, there: Client, look: Raw, queue: str, tmp_path: pathlib.Path
) -> None:
    """T10.1: nothing that the app says tells that it is one; RabbitMQ does, by ending the connection."""
    name = f"{queue}.quorum"
    look.channel.queue_declare(name, durable=True, auto_delete=False, arguments={"x-queue-type": "quorum"})
    (tmp_path / "foreign_app.py").write_text(
        "from kombu import Queue\n"
        "from life_app import app\n"
        f"app.conf.task_queues = [Queue({name!r}, no_declare=True), Queue({queue!r})]\n"
    )
    command = [str(celeriac_binary()), "--python", sys.executable, "-A", "foreign_app"]
    both = ["-Q", f"{name},{queue}"]  # one queue alone has no limit for the channel
    worker = make_worker(fragile.url, command=command, urls_in_environment=True, arguments=both)
    there.app.amqp.queues.add(Queue(name, no_declare=True))
    assert there.send("life.add", (2, 3), queue=name).get(timeout=TIMEOUT) == 5
    worker.wait_log("a queue takes no limit for the whole channel: .*540")
    fragile.control("close_all_connections", "by the test")
    worker.wait_log("Connected to", times=3)
    assert len(re.findall(r"\(540\)", worker.log)) == 2, "one line that says it, and one for the connection"
