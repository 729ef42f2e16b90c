"""RabbitMQ is killed and started again, at random moments, under load.

Three times, or fifty with ``--long``: a restart takes RabbitMQ six seconds and more, so fewer fit into a short run.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import sys
import threading
import time

import pytest

from harness import Client, Worker, celeriac_binary, wait_until
from rabbitmq import RabbitMQ

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


@pytest.mark.celeriac("Celery runs tasks twice at once, and may wait half a minute")
def test_t1_1_rabbitmq_is_killed_again_and_again(make_worker, tmp_path: pathlib.Path, queue: str, scale) -> None:
    """T1.1, T7.1: afterwards a task starts in two seconds; nothing confirmed is lost, nothing runs twice at once."""
    chance = random.Random(int(os.environ.get("CELERIAC_SEED", "1")))
    probes = f"{queue}.probe"
    confirmed: list[str] = []
    waits: list[float] = []
    with RabbitMQ() as broker:
        command = [str(celeriac_binary()), "--python", sys.executable, "-A", "life_app"]
        worker = make_worker(
            broker.url, concurrency=4, command=command, urls_in_environment=True,
            arguments=["-Q", f"{queue},{probes}"],
        )
        begin: tuple[int, int] | None = None
        for _ in range(scale(3, 50)):
            load = threading.Thread(target=publish, args=(broker.url, queue, tmp_path, chance, confirmed))
            load.start()
            time.sleep(chance.uniform(0.3, 1.5))
            broker.kill()
            load.join()
            time.sleep(chance.uniform(0, 1))
            broker.start()
            accepting = time.monotonic()
            client = Client(broker.url, probes)
            probe = client.send("life.ledger", (str(tmp_path), 0), ignore_result=True)
            wait_until(lambda: begun(tmp_path, probe.id), "a task published afterwards starts")
            waits.append(time.monotonic() - accepting)
            client.close()
            confirmed.append(probe.id)
            if begin is None:
                begin = (wait_until(lambda: files(worker, broker.port), "two connections"), worker.main.resident_kib())
        print(f"{len(confirmed)} confirmed; started {sorted(round(wait, 2) for wait in waits)} s after the broker")
        wait_until(lambda: all(ended(tmp_path, identity) for identity in confirmed), "everything confirmed has run", 60)
        assert not list(tmp_path.glob("*.twice")), "ran twice at once"
        assert max(waits) < 2, waits
        wait_until(lambda: files(worker, broker.port) == begin[0], f"{begin[0]} open files, as after the first time")
        assert worker.main.resident_kib() < begin[1] + SLACK
        assert worker.stop() == 0
