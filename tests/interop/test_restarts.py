"""RabbitMQ is killed and started again, at random moments, under load.

Twenty times, or fifty with ``--long``. A start takes RabbitMQ four to six seconds, so two of them, each with a worker of
its own, are killed side by side.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness import Client, Worker, celeriac_binary, wait_until
from rabbitmq import RabbitMQ

# Seconds: more than usual, for a machine that does other things meanwhile.
TEST_LIMIT = 400

# What main's memory may differ by at the end, in KiB: what allocators keep.
SLACK = 2048


def begun(folder: pathlib.Path, identity: str) -> bool:
    return (folder / identity).exists()


def ended(folder: pathlib.Path, identity: str) -> bool:
    return begun(folder, identity) and "end" in (folder / identity).read_text()


def files(worker: Worker, port: int) -> int:
    """How many files main has open, once both its connections to the broker stand; 0 before."""
    rows = [row.split() for row in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    standing = {f"socket:[{row[9]}]" for row in rows if row[2].endswith(f":{port:04X}") and row[3] == "01"}
    opened = worker.main.open_files()
    return len(opened) if sum(what in standing for what in opened.values()) == 2 else 0


def publish(url: str, queue: str, folder: pathlib.Path, chance: random.Random, confirmed: list[str]) -> None:
    """Sends tasks, each confirmed, until the broker is gone."""
    client = Client(url, queue)
    client.app.conf.broker_transport_options = {"confirm_publish": True}
    with contextlib.suppress(Exception):
        while True:
            sent = client.send("life.ledger", (str(folder), chance.uniform(0, 0.05)), ignore_result=True, retry=False)
            confirmed.append(sent.id)
            time.sleep(chance.uniform(0, 0.02))
    client.close()


class Scene:
    """A broker that is killed, a worker of it, and what has become of the tasks that the broker had confirmed."""

    def __init__(self, broker: RabbitMQ, worker: Worker, queue: str, folder: pathlib.Path, seed: str) -> None:
        self.broker, self.worker, self.queue, self.folder = broker, worker, queue, folder
        self.chance = random.Random(seed)
        self.confirmed: list[str] = []
        self.waits: list[float] = []

    def size(self) -> tuple[int, int]:
        """Files that main has open, and its memory in KiB."""
        return wait_until(lambda: files(self.worker, self.broker.port), "two connections"), self.worker.main.resident_kib()

    def kill(self) -> None:
        """Once, under load; then a task is sent to a queue that has no others, and starts."""
        target = (self.broker.url, self.queue, self.folder, self.chance, self.confirmed)
        load = threading.Thread(target=publish, args=target)
        load.start()
        time.sleep(self.chance.uniform(0.3, 1.5))
        self.broker.kill()
        load.join()
        time.sleep(self.chance.uniform(0, 1))
        self.broker.start()
        accepting = time.monotonic()
        client = Client(self.broker.url, f"{self.queue}.probe")
        probe = client.send("life.ledger", (str(self.folder), 0), ignore_result=True)
        wait_until(lambda: begun(self.folder, probe.id), "a task published afterwards starts")
        self.waits.append(time.monotonic() - accepting)
        client.close()
        self.confirmed.append(probe.id)

    def suffer(self, kills: int) -> None:
        self.kill()
        open_files, memory = self.size()
        for _ in range(kills - 1):
            self.kill()
        missing = lambda: [identity for identity in self.confirmed if not ended(self.folder, identity)]
        wait_until(lambda: not missing(), "everything confirmed has run", 60)
        assert not list(self.folder.glob("*.twice")), "ran twice at once"
        assert max(self.waits) < 2, self.waits
        wait_until(lambda: self.size()[0] == open_files, f"{open_files} open files, as after the first time")
        at_last = self.worker.main.resident_kib()
        assert at_last < memory + SLACK
        print(
            f"{kills} kills: {len(self.confirmed)} confirmed, all have run; one sent afterwards started within "
            f"{max(self.waits):.2f} s; {open_files} files; main {memory} KiB, at last {at_last}"
        )


@pytest.mark.celeriac("Celery runs tasks twice at once, and may wait half a minute")
def test_t1_1_rabbitmq_is_killed_again_and_again(make_worker, tmp_path: pathlib.Path, queue: str, scale) -> None:
    """T1.1, T7.1: afterwards a task starts in two seconds; nothing confirmed is lost, nothing runs twice at once."""
    seed = int(os.environ.get("CELERIAC_SEED", "1"))
    command = [str(celeriac_binary()), "--python", sys.executable, "-A", "life_app"]
    with contextlib.ExitStack() as stack:
        scenes = []
        for name in ("a", "b"):
            broker = stack.enter_context(RabbitMQ())
            (folder := tmp_path / name).mkdir()
            consumed = f"{queue}.{name}"
            queues = ["-Q", f"{consumed},{consumed}.probe"]
            worker = make_worker(
                broker.url, on=consumed, concurrency=4, command=command, urls_in_environment=True, arguments=queues
            )
            scenes.append(Scene(broker, worker, consumed, folder, f"{seed} {name}"))
        with ThreadPoolExecutor(len(scenes)) as side_by_side:
            list(side_by_side.map(lambda scene: scene.suffer(scale(10, 25)), scenes))
            # While the threads last: a broker ends with the one that has started it.
            assert [scene.worker.stop() for scene in scenes] == [0, 0]
