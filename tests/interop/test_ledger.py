"""Bounded, seeded runs of trouble, with a ledger: nothing confirmed is lost, nothing runs twice at once, a task is
repeated only where at-least-once allows it, and every delivery is settled exactly once."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import re
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from harness import Client, Worker, wait_until
from rabbitmq import RabbitMQ

pytestmark = pytest.mark.celeriac("Celery runs such tasks twice at once, and hands some back for ever")

EARLY, LATE, FAILS = "life.early_ledger", "life.ledger", "life.failing_ledger"


class Ledger:
    """What was sent, which children were killed, and what the tasks have written down of their runs."""

    def __init__(self, broker: RabbitMQ, worker: Worker, folder: pathlib.Path, seed: int) -> None:
        self.broker, self.worker, self.folder = broker, worker, folder
        self.chance = random.Random(seed)
        self.sent: dict[str, str] = {}
        self.killed: set[int] = set()
        self.losses = 0

    def send(self, count: int, seconds: float) -> None:
        """Publishes mixed tasks; the broker has confirmed each."""
        client = Client(self.broker.url, self.worker.queue)
        client.app.conf.broker_transport_options = {"confirm_publish": True}
        for _ in range(count):
            name = self.chance.choices([LATE, EARLY, FAILS], [6, 3, 1])[0]
            result = client.send(name, (str(self.folder), self.chance.uniform(0, seconds)), ignore_result=True)
            self.sent[result.id] = name
        client.close()

    def runs(self, identity: str) -> list[tuple[str, int]]:
        """What a task has written: `begin` and `end`, and in which process."""
        try:
            words = (self.folder / identity).read_text().split()
        except FileNotFoundError:
            return []
        return list(zip(words[::2], map(int, words[1::2]), strict=True))

    def open(self) -> list[str]:
        """The tasks that still have to end. An early one need not, if its child was killed under it."""
        return [identity for identity, name in self.sent.items() if not self.is_over(identity, name)]

    def is_over(self, identity: str, name: str) -> bool:
        runs = self.runs(identity)
        if any(word == "end" for word, _ in runs):
            return True
        if name != EARLY:
            return False
        return (runs[-1][1] if runs else self.given_to(identity)) in self.killed

    def given_to(self, identity: str) -> int | None:
        """The last child that was given a task."""
        pids = re.findall(rf"Task accepted: \S+\[{identity}\] pid:(\d+)", self.worker.log)
        return int(pids[-1]) if pids else None

    def kill_a_child(self) -> None:
        victims = self.worker.pool()
        if victims:
            victim = self.chance.choice(victims).pid
            self.killed.add(victim)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)

    def check(self) -> None:
        """The books are balanced."""
        assert not self.open(), f"lost: {[(one, self.sent[one], self.runs(one)) for one in self.open()][:5]}"
        assert not list(self.folder.glob("*.twice")), "ran twice at once"
        for identity, name in self.sent.items():
            runs = self.runs(identity)
            for (word, pid), following in zip(runs, runs[1:], strict=False):
                if word == "begin" and following[0] == "begin":
                    assert pid in self.killed, f"{name}[{identity}] was begun again though {pid} was not killed"
                if word == "end":
                    # It may have been killed before it could say so.
                    assert self.losses or pid in self.killed, f"{name}[{identity}] was run again though it had ended, and no connection was lost"

        def settled() -> bool:
            listing = self.broker.control("list_queues", "name", "messages", "--no-table-headers")
            return f"{self.worker.queue}\t0" in listing.splitlines()

        wait_until(settled, "every delivery settled", 20)
        # One settled twice, the broker answers with a closed channel.
        assert "PRECONDITION_FAILED" not in self.worker.log
        assert self.worker.alive()
        assert self.worker.stop() == 0


@pytest.fixture(scope="module")
def unquiet() -> Iterator[RabbitMQ]:
    """The broker of this file, which its tests end and start."""
    with RabbitMQ() as running:
        yield running


@pytest.fixture
def ledger(unquiet: RabbitMQ, life_worker, tmp_path: pathlib.Path, queue: str) -> Callable[[int], Ledger]:
    """Books for a seed, and the worker they are about."""
    def open_books(seed: int) -> Ledger:
        worker = life_worker(url=unquiet.url, on=queue, concurrency=4, loglevel="DEBUG", arguments=["--max-worker-lost", "0"])
        return Ledger(unquiet, worker, tmp_path, seed)

    return open_books


def test_t3_4_mixed_tasks_children_killed_connections_lost_the_broker_restarted(ledger, scale) -> None:
    books = ledger(1)
    rounds = scale(3, 100)
    for turn in range(rounds):
        books.send(60, 0.2)
        trouble = turn % 3
        half = len(books.open()) / 2
        deadline = time.monotonic() + 60
        while len(books.open()) > half and time.monotonic() < deadline:
            books.kill_a_child()
            time.sleep(books.chance.uniform(0.05, 0.4))
        books.losses += trouble > 0
        if trouble == 1:
            books.broker.control("close_all_connections", "trouble")
        if trouble == 2:
            books.broker.kill() if books.chance.random() < 0.5 else books.broker.stop()
            books.kill_a_child()
            books.broker.start()
    deadline = time.monotonic() + 60
    while books.open() and time.monotonic() < deadline:
        time.sleep(0.2)
    books.check()


def test_t3_4_t4_6_a_child_killed_every_tenth_of_a_second(ledger, scale) -> None:
    """Main neither grows, nor keeps files, nor spins."""
    books = ledger(2)
    books.send(50, 0.05)
    wait_until(lambda: not books.open(), "the first tasks", 30)
    main = books.worker.main
    memory, files, wake_ups, cpu = main.resident_kib(), len(main.open_files()), main.wake_ups(), main.cpu_seconds()
    begin, seconds = time.monotonic(), scale(5, 300)
    while time.monotonic() < begin + seconds:
        if len(books.open()) < 20:
            books.send(20, 0.1)
        books.kill_a_child()
        time.sleep(0.1)
    spent = time.monotonic() - begin
    wake_ups, cpu = main.wake_ups() - wake_ups, main.cpu_seconds() - cpu
    deadline = time.monotonic() + 60
    while books.open() and time.monotonic() < deadline:
        time.sleep(0.2)
    wait_until(lambda: len(main.open_files()) <= files + 4, "no file left behind (a clerk has two, and main two of it)")
    assert main.resident_kib() < memory + 5 * 1024
    assert wake_ups / spent < 2000 and cpu / spent < 0.5, f"{wake_ups / spent:.0f} wake-ups and {cpu / spent:.2f} s of work a second"
    assert len(re.findall("exited with 'signal 9", books.worker.log)) > seconds, "there was trouble"
    books.check()
