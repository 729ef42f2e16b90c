"""Heartbeats are for those who listen (T16.3). RabbitMQ's tracer sees what is published without listening itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median

import amqp
import pytest

from harness import Client, Raw, wait_until
from test_events import Monitor

pytestmark = pytest.mark.celeriac("Celery sends each heartbeat")

EVERY = 0.2


class Published:
    """When heartbeats of a node were published."""

    def __init__(self, raw: Raw) -> None:
        self.at: list[float] = []
        self.node = ""
        self.connection = raw.connection
        queue = raw.channel.queue_declare(exclusive=True).queue
        raw.channel.queue_bind(queue, "amq.rabbitmq.trace", "publish.celeryev")
        raw.channel.basic_consume(queue, no_ack=True, callback=self.see)

    def see(self, message: amqp.Message) -> None:
        body = message.body if isinstance(message.body, str) else message.body.decode()
        if '"worker-heartbeat"' in body and f'"{self.node}"' in body:
            self.at.append(time.monotonic())

    def wait(self, more: int, timeout: float = 20) -> list[float]:
        """The pauses before so many more of them."""
        enough, end = len(self.at) + more + 1, time.monotonic() + timeout
        while len(self.at) < enough:
            assert time.monotonic() < end, f"{len(self.at)} heartbeats of {enough}"
            try:
                self.connection.drain_events(timeout=0.2)
            except TimeoutError:
                pass
        last = self.at[-more - 1 :]
        return [after - before for before, after in zip(last, last[1:])]


@pytest.fixture(scope="module")
def traced(broker) -> Iterator[None]:
    broker.control("trace_on")
    yield
    broker.control("trace_off")


@pytest.fixture
def published(traced: None, raw: Raw) -> Published:
    return Published(raw)


def test_t16_3_heartbeats_are_for_those_who_listen(make_worker, client: Client, published: Published) -> None:
    options = ["--without-gossip", "--without-mingle", "--heartbeat-interval", str(EVERY)]
    worker = make_worker(arguments=options)
    published.node = worker.name
    pauses = published.wait(7)
    assert max(pauses) > 4 * EVERY, "nobody listens: four of five are left out"

    monitor = Monitor(client, worker.name)
    monitor.wait("worker-heartbeat", 1, timeout=EVERY + 2)
    assert monitor.of("worker-heartbeat")[0]["freq"] == 5, "the answer to the monitor's own question"
    assert median(published.wait(11)) < 3 * EVERY, "and from then on every beat"
    monitor.close()
    published.wait(5)
    assert min(published.wait(1)) > 4 * EVERY, "it has gone"


@pytest.mark.parametrize("extra", [["-E", "--without-gossip"], []])
def test_t16_3_who_is_watched_or_has_peers_sends_each(make_worker, published: Published, extra: list[str]) -> None:
    worker = make_worker(arguments=["--heartbeat-interval", str(EVERY), *extra])
    published.node = worker.name
    assert median(published.wait(11)) < 3 * EVERY


def test_t16_3_a_listener_that_asks_nothing_is_found(make_worker, raw: Raw) -> None:
    worker = make_worker(arguments=["--without-gossip", "--heartbeat-interval", str(EVERY)])
    queue = raw.channel.queue_declare(exclusive=True).queue
    raw.channel.queue_bind(queue, "celeryev", "worker.heartbeat")
    wait_until(lambda: raw.channel.basic_get(queue, no_ack=True), "a heartbeat", 5 * EVERY + 3)
    assert worker.alive()
