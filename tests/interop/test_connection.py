"""The broker comes, goes, refuses and is silent."""

from __future__ import annotations

import contextlib
import re
import signal
import socket
from collections.abc import Iterator

import pytest

from harness import TIMEOUT, Client, Raw, Worker, elapsed, task_body, task_headers, wait_until
from rabbitmq import RabbitMQ, free_port


def test_a_restart_of_the_broker(make_worker, fragile: RabbitMQ, queue: str) -> None:
    worker = make_worker(fragile.url)
    before = Client(fragile.url, queue)
    assert before.call("demo.add", 2, 3) == 5
    before.close()
    children = {child.pid for child in worker.pool()}

    fragile.stop()
    worker.wait_log(r"WARNING/MainProcess\] consumer: Connection to broker lost\. Trying to re-establish the connection\.\.\.")
    worker.wait_log(
        r"ERROR/MainProcess\] consumer: Cannot connect to amqp://guest:\*\*@127\.0\.0\.1:\d+//: .*\n"
        r"Trying again in \d+\.\d\d seconds\.\.\. \(1/\d+\)"
    )
    fragile.start()
    worker.wait_log(r"Connected to amqp://guest:\*\*@127\.0\.0\.1:\d+//", times=2, timeout=20)

    after = Client(fragile.url, queue)
    try:
        assert after.call("demo.add", 2, 3) == 5
        assert {child.pid for child in worker.pool()} == children, "the children did not notice"
    finally:
        after.close()


def test_what_was_sent_while_the_worker_was_away_is_served(make_worker, fragile: RabbitMQ, queue: str) -> None:
    client = Client(fragile.url, queue)
    try:
        client.app.conf.task_always_eager = False
        waiting = client.send("demo.add", (2, 3))
        make_worker(fragile.url)
        assert waiting.get(timeout=TIMEOUT) == 5
    finally:
        client.close()


def test_a_task_runs_on_while_the_connection_is_lost(make_worker, broker: RabbitMQ, client: Client, queue: str) -> None:
    """T7.1: only the worker's connections are closed; the client keeps its own, and gets its result over the new one."""
    worker = make_worker(broker.user(queue), loglevel="DEBUG")
    running = client.send("demo.sleep", (2,))
    child = worker.child_running(running.id)
    broker.control("close_all_user_connections", queue, "by the test")
    worker.wait_log(r"Connection to broker lost")
    worker.wait_log(r"Connected to ", times=2)
    assert running.get(timeout=TIMEOUT) == 2
    assert child.alive()
    assert client.call("demo.add", 2, 3) == 5


@pytest.mark.parametrize("countdown", [None, 4])
def test_what_has_not_begun_when_the_connection_is_lost_runs_once(
    make_worker, broker: RabbitMQ, client: Client, queue: str, countdown: float | None
) -> None:
    """The broker delivers it again: whether it waited for a child or for its time."""
    worker = make_worker(broker.user(queue), loglevel="DEBUG", concurrency=1)
    running = client.send("demo.sleep", (4,))
    worker.wait_log(rf"{running.id}\] received")
    waiting = client.send("demo.noop", countdown=countdown)
    worker.wait_log(rf"{waiting.id}\] received")
    broker.control("close_all_user_connections", queue, "by the test")
    worker.wait_log(rf"{waiting.id}\] received", times=2)
    assert waiting.get(timeout=TIMEOUT) is None
    assert client.call("demo.add", 2, 3) == 5, "and whatever stood in line behind it"
    assert len(re.findall(rf"demo\.noop\[{waiting.id}\] succeeded", worker.log)) == 1


def test_the_queue_is_deleted_under_the_worker(
    worker: Worker, client: Client, raw: Raw, broker: RabbitMQ, queue: str
) -> None:
    """T1.4: the broker cancels the consumer; the worker declares the queue again and consumes from it."""
    assert client.call("demo.add", 2, 3) == 5
    raw.channel.queue_delete(queue)
    wait_until(lambda: queue in broker.control("list_queues", "name").splitlines(), "the queue declared again")
    assert client.call("demo.add", 2, 3) == 5


@pytest.mark.celeriac("Celery ends")
def test_t23_a_queue_that_is_there_with_other_arguments(make_worker, broker: RabbitMQ, client: Client, raw: Raw, queue: str) -> None:
    """It is consumed as it is, the others too; and when it is gone it is declared again."""
    other = f"{queue}.other"
    raw.channel.queue_delete(queue)
    raw.channel.queue_declare(queue, durable=True, auto_delete=False, arguments={"x-max-length": 100})
    worker = make_worker(arguments=["-Q", f"{queue},{other}"])
    assert client.send("demo.add", (2, 3), queue=other).get(timeout=TIMEOUT) == 5
    sent = client.app.send_task("demo.add", (2, 4), exchange="", routing_key=queue, queue=other)
    raw.publish(queue, task_body(), task_headers(identity="as-it-is", ignore_result=True))
    worker.wait_log(r"demo\.add\[as-it-is\] succeeded")
    assert sent.get(timeout=TIMEOUT) == 6
    assert len(re.findall(rf"{queue} is there, but not as it would be declared", worker.log)) == 1
    assert len(re.findall(r"the broker closed the channel", worker.log)) == 1

    raw.channel.queue_delete(queue)
    wait_until(lambda: queue in broker.control("list_queues", "name").splitlines(), "the queue declared again")
    assert client.call("demo.add", 2, 3) == 5


def test_the_second_url_of_a_list_is_used_when_the_first_is_refused(make_worker, broker: RabbitMQ, client: Client) -> None:
    dead = f"amqp://guest:guest@127.0.0.1:{free_port()}//"
    worker = make_worker(f"{dead};{broker.url}")
    worker.wait_log(r"Cannot connect to .*\n?Will retry using next failover\.")
    assert client.call("demo.add", 2, 3) == 5


@pytest.mark.celeriac("Celery's children take the first URL only, and lose the result")
def test_the_second_url_of_a_list_is_used_when_the_first_is_silent(make_worker, broker: RabbitMQ, client: Client) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        make_worker(f"amqp://guest:guest@127.0.0.1:{port}//;{broker.url}")
        assert client.call("demo.add", 2, 3) == 5


def test_a_broker_that_is_not_there_yet(make_worker, kind: str) -> None:
    """The worker waits, says so, and hears a TERM while it waits."""
    port = free_port()
    worker = make_worker(f"amqp://guest:guest@127.0.0.1:{port}//", ready=False)
    worker.wait_log(
        rf"ERROR/MainProcess\] consumer: Cannot connect to amqp://guest:\*\*@127\.0\.0\.1:{port}//: .*\n"
        r"Trying again in \d+\.\d\d seconds\.\.\. \(1/\d+\)",
        timeout=20,
    )
    with elapsed() as since:
        assert worker.stop() == 0
        if kind == "celeriac":
            assert since() < 1


def test_a_wrong_password_is_said_and_ends_the_worker(make_worker, broker: RabbitMQ) -> None:
    worker = make_worker(broker.url_of(user="nobody", password="wr0ng-passw0rd"), ready=False)
    assert worker.wait(30) == 1
    assert re.search(r"ACCESS_REFUSED|403", worker.log)
    assert "wr0ng-passw0rd" not in worker.log + worker.output


@pytest.mark.celeriac("Celery tries on without a pause")
def test_t23_a_wrong_vhost_is_said_and_ends_the_worker(make_worker, broker: RabbitMQ) -> None:
    worker = make_worker(broker.url_of(vhost="not there"), ready=False)
    assert worker.wait(30) == 1
    assert len(re.findall(r"^\[.*not there", worker.log, re.MULTILINE)) == 1


def test_a_vhost_of_any_name(make_worker, broker: RabbitMQ, queue: str) -> None:
    vhost = "a b/ż"
    broker.control("add_vhost", vhost)
    broker.control("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
    url = broker.url_of(vhost=vhost)
    make_worker(url)
    client = Client(url, queue)
    try:
        assert client.call("demo.add", 2, 3) == 5
    finally:
        client.close()


@contextlib.contextmanager
def greeted(make_worker, greeting: bytes) -> Iterator[Worker]:
    """A worker whose broker says this to both its connections, and hangs up."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(TIMEOUT)
        worker = make_worker(f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}//", ready=False)
        for _ in range(2):
            peer, _ = server.accept()
            with peer, contextlib.suppress(OSError):
                peer.recv(8)
                peer.sendall(greeting)
        yield worker


@pytest.mark.celeriac("robust against what is not a broker at all")
@pytest.mark.parametrize("greeting", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 4096, b""], ids=["http", "noise", "nothing"])
def test_something_else_answers_on_the_port(make_worker, greeting: bytes) -> None:
    with greeted(make_worker, greeting) as worker:
        worker.wait_log(r"Cannot connect to ", timeout=20)
        assert worker.alive()
        worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0


@pytest.mark.celeriac("Celery tries on for ever")
def test_t23_a_server_of_another_protocol_ends_the_worker(make_worker) -> None:
    with greeted(make_worker, b"AMQP\x00\x00\x08\x00") as worker:
        assert worker.wait() == 1
        assert "Unrecoverable error" in worker.log


def test_a_worker_leaves_no_connection_behind(make_worker, broker: RabbitMQ, queue: str, kind: str) -> None:
    worker = make_worker(broker.user(queue))

    def connections() -> int:
        return broker.control("list_connections", "user", "--no-table-headers").split().count(queue)

    def complaints() -> int:
        logs = (broker.home / "log").glob("*.log")
        return sum(log.read_text(errors="replace").count("unexpectedly closed TCP connection") for log in logs)

    wait_until(lambda: connections() > 0, "a connection of the worker's")
    before = complaints()
    assert worker.stop() == 0
    wait_until(lambda: connections() == 0, "no connection of the worker's")
    assert kind == "celery" or complaints() == before, "each was closed in order"
