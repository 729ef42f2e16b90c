"""A bounded, seeded run of trouble, with a ledger: nothing confirmed is lost, nothing runs twice at once."""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import signal
import sys
import time

import pytest

from harness import Client, celeriac_binary, wait_until
from rabbitmq import RabbitMQ

TASKS = 150


@pytest.mark.celeriac("Celery runs such tasks twice at once, and hands some back for ever")
@pytest.mark.parametrize("seed", [1, 2])
def test_t3_4_nothing_is_lost_and_nothing_runs_twice_at_once(make_worker, tmp_path: pathlib.Path, queue: str, seed: int) -> None:
    chance = random.Random(seed)
    with RabbitMQ() as broker, contextlib.ExitStack() as stack:
        command = [str(celeriac_binary()), "--python", sys.executable, "-A", "life_app"]
        worker = make_worker(
            broker.url, on=queue, concurrency=4, command=command, urls_in_environment=True,
            arguments=["--max-worker-lost", "0"],
        )
        client = Client(broker.url, queue)
        stack.callback(client.close)
        client.app.conf.broker_transport_options = {"confirm_publish": True}
        sent = [client.send("life.ledger", (str(tmp_path), chance.uniform(0, 0.2)), ignore_result=True).id for _ in range(TASKS)]

        def ended() -> set[str]:
            return {each for each in sent if (tmp_path / each).exists() and "end" in (tmp_path / each).read_text()}

        losses = 0
        deadline = time.monotonic() + 90
        while len(ended()) < TASKS and time.monotonic() < deadline:
            time.sleep(chance.uniform(0.05, 0.3))
            victims = worker.pool()
            if victims and chance.random() < 0.5:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(chance.choice(victims).pid, signal.SIGKILL)
            if losses < 2 and len(ended()) > TASKS * (losses + 1) / 3:
                losses += 1
                broker.control("close_all_connections", "trouble")
        assert len(ended()) == TASKS, f"lost: {sorted(set(sent) - ended())[:5]}"
        assert losses == 2
        assert not list(tmp_path.glob("*.twice")), "ran twice at once"

        def settled() -> bool:
            listing = broker.control("list_queues", "name", "messages", "--no-table-headers")
            return f"{queue}\t0" in listing.splitlines()

        wait_until(settled, "every delivery settled", 20)
        assert worker.alive()
        assert worker.stop() == 0
