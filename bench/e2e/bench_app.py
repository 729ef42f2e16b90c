"""The app that celeriac and Celery's own worker run side by side: tasks that cost nothing."""

from __future__ import annotations

import mmap
import os
import time

from celery import Celery

app = Celery("bench", broker=os.environ.get("BENCH_BROKER"), backend=os.environ.get("BENCH_RESULTS"))
app.conf.update(broker_connection_retry_on_startup=True)


@app.task(name="demo.noop")
def noop() -> None:
    return None


def clock(path: str) -> memoryview:
    """One moment in nanoseconds of CLOCK_MONOTONIC, shared by all who map the file."""
    with open(path, "r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), 8)).cast("q")


if "BENCH_CLOCK" in os.environ:
    began = clock(os.environ["BENCH_CLOCK"])

    @app.task(name="bench.begin")
    def begin() -> None:
        began[0] = time.monotonic_ns()
