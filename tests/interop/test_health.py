"""Health and metrics of a worker: that they are there, cost little, and tell the truth."""

from __future__ import annotations

import contextlib
import http.client
import os
import pathlib
import resource
import signal
import socket
import subprocess
import time

import pytest

from harness import Client, Raw, Worker, celeriac_binary, clean_environment, wait_until
from rabbitmq import free_port

pytestmark = pytest.mark.celeriac("Celery has no such endpoint")


class Endpoint:
    def __init__(self, port: int) -> None:
        self.port = port

    def get(self, path: str, timeout: float = 5) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        with contextlib.closing(connection):
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()

    def status(self, path: str) -> int:
        return self.get(path)[0]

    def probe(self, *options: str) -> subprocess.CompletedProcess[str]:
        command = [str(celeriac_binary()), "health", "--http", str(self.port), *options]
        return subprocess.run(command, env=clean_environment(), capture_output=True, text=True, timeout=20, check=False)

    def metrics(self) -> dict[str, float]:
        text = self.get("/metrics")[1]
        assert text.endswith("# EOF\n")
        pairs = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in pairs}


@pytest.fixture
def endpoint() -> Endpoint:
    return Endpoint(free_port())


def test_a_worker_that_works(make_worker, client: Client, endpoint: Endpoint, queue: str, tmp_path: pathlib.Path) -> None:
    beat = tmp_path / "beat"
    worker: Worker = make_worker(arguments=["--http", f"127.0.0.1:{endpoint.port}", "--heartbeat-file", str(beat)])
    assert wait_until(lambda: endpoint.status("/readyz") == 200, "it is ready")
    assert endpoint.get("/livez") == (200, "ok\n")
    for options in ([], ["--live"], ["--ready"]):
        assert (endpoint.probe(*options).returncode, endpoint.probe(*options).stdout) == (0, "ok\n")
    assert endpoint.status("/else") == 404
    touched = beat.stat().st_mtime
    wait_until(lambda: beat.stat().st_mtime > touched, "T9.5: the heartbeat file is touched")

    assert client.call("demo.add", 2, 3) == 5
    with pytest.raises(Exception, match="boom"):
        client.call("demo.fail", "boom")
    metrics = wait_until(lambda: (all := endpoint.metrics()) and all.get(f'celeriac_tasks_failed_total{{task="demo.fail",queue="{queue}"}}') and all, "T27.1: it is counted")
    label = f'task="demo.add",queue="{queue}"'
    assert metrics[f"celeriac_tasks_received_total{{{label}}}"] == metrics[f"celeriac_tasks_succeeded_total{{{label}}}"] == 1
    assert metrics[f'celeriac_task_runtime_seconds_bucket{{{label},le="+Inf"}}'] == 1
    assert metrics["celeriac_task_wait_seconds_count{}"] == 2
    assert (metrics["celeriac_pool_processes"], metrics["celeriac_pool_idle"], metrics["celeriac_prefetch_count"]) == (2, 2, 8)
    assert metrics['celeriac_child_resident_bytes{child="ForkPoolWorker-1"}'] > 0
    from prometheus_client.openmetrics.parser import text_string_to_metric_families

    assert len(list(text_string_to_metric_families(endpoint.get("/metrics")[1]))) > 20
    assert worker.stop() == 0
    assert not beat.exists()
    assert endpoint.probe().returncode == 1


def test_t9_1_a_probe_costs_next_to_nothing(make_worker, endpoint: Endpoint) -> None:
    make_worker(arguments=["--http", str(endpoint.port)])
    if "debug" in str(celeriac_binary()):
        pytest.skip("a debug build shows nothing about cost")
    walls, before = [], resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(10):
        begin = time.monotonic()
        assert endpoint.probe().returncode == 0
        walls.append(time.monotonic() - begin)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime) / 10
    assert sorted(walls)[5] < 0.02 and cpu < 0.005, (walls, cpu)


def test_t9_3_children_that_are_stopped(make_worker, client: Client, endpoint: Endpoint) -> None:
    worker: Worker = make_worker(arguments=["--http", str(endpoint.port)])
    tasks = [client.send("demo.sleep", (60,)) for _ in range(2)]
    wait_until(lambda: endpoint.metrics()["celeriac_pool_busy"] == 2, "both have a task")
    children = worker.pool()
    os.kill(children[0].pid, signal.SIGSTOP)
    assert endpoint.status("/livez") == 200
    os.kill(children[1].pid, signal.SIGSTOP)
    wait_until(lambda: endpoint.status("/livez") == 503, "it does not live", 15)
    assert "stopped" in endpoint.get("/livez")[1] and endpoint.status("/readyz") == 503
    assert endpoint.probe().returncode == 1
    for child in children:
        os.kill(child.pid, signal.SIGCONT)
    wait_until(lambda: endpoint.status("/livez") == 200, "it lives again")
    for task in tasks:
        client.app.control.revoke(task.id, terminate=True, signal="SIGKILL")


def test_t9_3_children_that_die_at_once(make_worker, endpoint: Endpoint) -> None:
    worker: Worker = make_worker(arguments=["--http", str(endpoint.port)])
    deadline = time.monotonic() + 15
    while (answer := endpoint.get("/livez"))[0] == 200:
        assert time.monotonic() < deadline, "it lives without children"
        for child in worker.pool():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)
    assert "in a row" in answer[1]
    assert endpoint.metrics()['celeriac_children_ended_total{reason="lost"}'] >= 5


def test_t9_3_a_loop_that_does_not_turn(make_worker, endpoint: Endpoint) -> None:
    worker: Worker = make_worker(arguments=["--http", str(endpoint.port)])
    worker.send_signal(signal.SIGSTOP)
    try:
        probed = endpoint.probe("--timeout", "0.5")
        assert (probed.returncode, probed.stdout) == (1, "") and "does not answer" in probed.stderr
    finally:
        worker.send_signal(signal.SIGCONT)
    assert endpoint.probe().returncode == 0


def test_t9_3_a_consumer_that_the_broker_cancels(make_worker, client: Client, endpoint: Endpoint, raw: Raw, queue: str) -> None:
    """A queue that is deleted is declared and consumed again; while that cannot be, the worker is not ready, and says why."""
    worker: Worker = make_worker(arguments=["--http", f"127.0.0.1:{endpoint.port}"])
    wait_until(lambda: endpoint.status("/readyz") == 200, "it is ready")
    raw.channel.queue_delete(queue)
    worker.wait_log(r"the broker cancelled")
    assert client.call("demo.add", 2, 3) == 5
    wait_until(lambda: endpoint.status("/readyz") == 200, "it is ready again")

    worker.send_signal(signal.SIGSTOP)  # or it would be faster than we are
    raw.channel.queue_delete(queue)
    raw.channel.queue_declare(queue, durable=False, auto_delete=False)
    worker.send_signal(signal.SIGCONT)
    wait_until(lambda: endpoint.status("/readyz") == 503, "a queue that it cannot have", 15)
    assert "not consumed" in endpoint.get("/readyz")[1]
    assert endpoint.status("/livez") == 200, "a restart would not help"
    assert (endpoint.probe("--ready").returncode, endpoint.probe("--live").returncode) == (1, 0)
    raw.channel.queue_delete(queue)
    wait_until(lambda: endpoint.status("/readyz") == 200, "it has its queue", 30)
    assert client.call("demo.add", 3, 4) == 7


def test_t9_2_a_broker_that_is_away(make_worker, endpoint: Endpoint) -> None:
    port = free_port()
    command = [str(celeriac_binary()), "broker", "--listen", f"127.0.0.1:{port}", "-q"]
    broker = subprocess.Popen(command, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        make_worker(f"amqp://guest:guest@127.0.0.1:{port}//", arguments=["--http", str(endpoint.port)])
        wait_until(lambda: endpoint.status("/readyz") == 200, "it is ready")
        broker.send_signal(signal.SIGSTOP)
        wait_until(lambda: endpoint.status("/readyz") == 503, "T9.3: a broker that says nothing is noticed", 15)
        assert "not answered" in endpoint.get("/readyz")[1]
        assert endpoint.status("/livez") == 200
        broker.send_signal(signal.SIGCONT)
        wait_until(lambda: endpoint.status("/readyz") == 200, "it is ready again", 20)
    finally:
        broker.kill()
        broker.wait()
    wait_until(lambda: endpoint.status("/readyz") == 503, "a broker that is gone is noticed")
    assert endpoint.get("/livez") == (200, "ok\n")


def test_what_strangers_send_costs_little(make_worker, client: Client, endpoint: Endpoint) -> None:
    worker: Worker = make_worker(arguments=["--http", str(endpoint.port)])
    crowd = []
    for number in range(80):
        one = socket.create_connection(("127.0.0.1", endpoint.port))
        crowd.append(one)
        with contextlib.suppress(OSError):
            one.sendall([b"\x16\x03\x01" * 100, b"A" * 20000, b"DELETE / HTTP/1.1\r\n\r\n"][number % 3])
    for _ in range(80):  # these say no more, and stay
        one = socket.create_connection(("127.0.0.1", endpoint.port))
        crowd.append(one)
        with contextlib.suppress(OSError):
            one.sendall(b"GET /livez")
    assert client.call("demo.add", 2, 3) == 5
    wait_until(lambda: "connections are open" in worker.log, "there are too many of them")
    for one in crowd:
        one.close()
    wait_until(lambda: endpoint.get("/livez") == (200, "ok\n"), "it serves again")
