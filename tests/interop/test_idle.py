"""What an idle worker costs."""

from __future__ import annotations

import time

import pytest

from harness import Client, Raw, Worker, wait_until


@pytest.mark.celeriac("Celery wakes up more often and is larger")
def test_t4_6_t13_3_an_idle_worker_sleeps_and_is_small(life_worker, client: Client, raw: Raw, queue: str, scale) -> None:
    worker = life_worker()
    for _ in range(50):
        client.call("life.add", 2, 3)
    wait_until(lambda: raw.counts(queue) == (0, 0), "all are acknowledged")
    before, cpu = worker.main.wake_ups(), worker.main.cpu_seconds()
    begin = time.monotonic()
    time.sleep(scale(5, 60))
    rate = (worker.main.wake_ups() - before) / (time.monotonic() - begin)
    assert rate < 5, f"{rate:.1f} wake-ups a second"
    assert worker.main.cpu_seconds() - cpu < 0.05
    resident = worker.main.resident_kib()
    assert resident < 15 * 1024, f"{resident} KiB"


@pytest.mark.celeriac("a promise of ours")
def test_t13_1_memory_goes_back_after_a_burst(worker: Worker, client: Client) -> None:
    large = "x" * (8 << 20)
    assert client.call("demo.echo", large) == large
    for _ in range(20):
        client.call("demo.add", 2, 3)
    resident = worker.main.resident_kib()
    assert resident < 40 * 1024, f"{resident} KiB"
