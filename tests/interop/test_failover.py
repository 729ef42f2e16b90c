"""Several RabbitMQ nodes behind one list of URLs; they are restarted in turn. Two of them once, or three with ``--long``, twice."""

from __future__ import annotations

import contextlib
import re
import time
from concurrent.futures import ThreadPoolExecutor

from harness import TIMEOUT, Client, Worker, wait_until
from rabbitmq import RabbitMQ

TEST_LIMIT = 300

# Seconds, of tries that come after a loss (`link/retry.rs`).
PAUSE = 0.5

COMPLAINT = r"(?:WARNING|ERROR)/MainProcess\].*"


def connected(worker: Worker) -> list[int]:
    """The ports that it has connected to, in turn."""
    return [int(port) for port in re.findall(r"Connected to amqp://guest:\*\*@127\.0\.0\.1:(\d+)//", worker.log)]


def complaints(worker: Worker) -> list[str]:
    return re.findall(COMPLAINT, worker.log)


def served(worker: Worker, node: RabbitMQ, queue: str) -> None:
    """A task that is sent to this node runs, and its result comes back."""
    client = Client(node.url, queue)
    try:
        assert client.call("demo.add", 2, 3) == 5
    finally:
        client.close()


def test_t22_nodes_are_restarted_in_turn(make_worker, queue: str, scale) -> None:
    """T22: one line for each loss and each attempt; the next node serves within the pause between two attempts."""
    with contextlib.ExitStack() as stack:
        nodes = [RabbitMQ() for _ in range(scale(2, 3))]
        together = stack.enter_context(ThreadPoolExecutor(len(nodes)))  # a broker ends with the thread that has started it
        for node in nodes:
            stack.callback(node.close)
        list(together.map(RabbitMQ.start, nodes))
        worker = make_worker(";".join(node.url for node in nodes))
        served(worker, nodes[0], queue)
        turns = len(nodes) * scale(1, 2)
        for turn in range(turns):
            node, following = nodes[turn % len(nodes)], nodes[(turn + 1) % len(nodes)]
            before = len(complaints(worker))
            # In good order, or not.
            node.stop() if turn % 2 == 0 else node.kill()
            gone = time.monotonic()
            wait_until(lambda: len(connected(worker)) == turn + 2, "another connection")
            assert time.monotonic() - gone < PAUSE + 1, "the outage, and a second for a busy machine"
            assert connected(worker)[-1] == following.port
            served(worker, following, queue)
            new = complaints(worker)[before:]
            assert len(new) == 2, f"a line for the connection that consumes, one for that which publishes: {new}"
            if turn + 1 < turns:
                node.start()

        # All are gone, and one comes back: the worker tries them all, and each try is a line.
        before = len(complaints(worker))
        for node in nodes:
            node.kill()
        gone = time.monotonic()
        nodes[0].start()
        wait_until(lambda: connected(worker)[-1] == nodes[0].port and len(connected(worker)) > turns + 1, "it is found")
        away = time.monotonic() - gone
        served(worker, nodes[0], queue)
        tries = len(nodes) * (away / (PAUSE * 0.75) + 2)
        assert len(complaints(worker)) - before <= tries + 4, complaints(worker)[before:]
        assert worker.stop(TIMEOUT) == 0
