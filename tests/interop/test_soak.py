"""Main's memory: small at the start, and no larger after whatever has passed through it."""

from __future__ import annotations

import contextlib
import socket
import threading

import pytest

from harness import Client, Raw, task_headers, wait_until

pytestmark = pytest.mark.celeriac("Celery's main process grows")

# Ten thousand reconnections take three hours: a connection that did not last a second is not replaced at once.
LONG_TEST_LIMIT = 8 * 3600

# The method connection.open-ok, from its class and number to the end of its frame.
OPEN_OK = b"\x00\x0a\x00\x29\x00\xce"


@pytest.mark.parametrize("children", ["make_worker", "app_worker"])
def test_t13_3_main_is_small_at_the_start(request: pytest.FixtureRequest, children: str) -> None:
    """However large the app is: main does not have it."""
    worker = request.getfixturevalue(children)()
    assert worker.main.resident_kib() < 15 * 1024


def test_t13_1_main_does_not_grow(
    request: pytest.FixtureRequest, make_worker, broker, client: Client, raw: Raw, queue: str, scale
) -> None:
    """Tasks that do nothing, tasks that fail with a long traceback, commands, and lost connections; with events on."""
    relay = Relay(broker.port)
    request.addfinalizer(relay.close)
    worker = make_worker(f"amqp://127.0.0.1:{relay.server.getsockname()[1]}//", loglevel="CRITICAL", arguments=["-E"], ready=False)
    wait_until(lambda: client.app.control.ping(destination=[worker.name], timeout=1, limit=1), "an answer")
    parts, early = scale(10, 100), 0
    noops, failures, commands, losses = scale(8000, 10**7), scale(400, 10**5), scale(100, 10**5), scale(10, 10**4)
    for part in range(parts):
        publish(raw, queue, "demo.noop", noops // parts, "[]")
        publish(raw, queue, "demo.fail", failures // parts, '["' + "so it goes " * 500 + '"]')
        for _ in range(commands // parts):
            client.app.control.broadcast("query_task", {"ids": ["nobody"]}, destination=[worker.name])
        for _ in range(losses // parts):
            relay.cut()
        wait_until(lambda: raw.counts(queue) == (0, 0), "all done", 3600)
        wait_until(lambda: client.app.control.ping(destination=[worker.name], timeout=1, limit=1), "an answer")
        if part == parts // 10 - 1:
            early = worker.main.resident_kib()
    grown = worker.main.resident_kib() - early
    print(f"{early} KiB at a tenth of the way, {grown} KiB more at its end")
    assert grown < 5 * 1024


def publish(raw: Raw, queue: str, name: str, count: int, args: str) -> None:
    """Messages that ask for no result, each with an id of its own."""
    for _ in range(count):
        raw.publish(queue, f"[{args}, {{}}, {{}}]", task_headers(name, ignore_result=True), delivery_mode=1)


class Relay:
    """A way to the broker that can be cut: every connection through it ends at once."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.server = socket.create_server(("127.0.0.1", 0))
        self.ends: list[socket.socket] = []
        self.opened = 0
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near = self.server.accept()[0]
                far = socket.create_connection(("127.0.0.1", self.port))
                self.ends += [near, far]
                for source, target in (near, far), (far, near):
                    threading.Thread(target=self.carry, args=(source, target), daemon=True).start()

    def carry(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                target.sendall(data)
                self.opened += OPEN_OK in data
        for end in source, target:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def cut(self) -> None:
        """Cuts the two connections of a worker, and waits until it has two again. One that does not come so far counts as a
        failure, after which a worker takes its time."""
        opened = self.opened
        ends, self.ends = self.ends, []  # others may come while these are cut
        for end in ends:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        wait_until(lambda: self.opened >= opened + 2, "two connections again", 30)

    def close(self) -> None:
        self.server.close()
