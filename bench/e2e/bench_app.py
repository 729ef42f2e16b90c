"""The app that celeriac and Celery's own worker run side by side: tasks that cost nothing."""

from __future__ import annotations

import os

from celery import Celery

app = Celery("bench", broker=os.environ["BENCH_BROKER"], backend=os.environ.get("BENCH_RESULTS"))
app.conf.update(broker_connection_retry_on_startup=True)


@app.task(name="demo.noop")
def noop() -> None:
    return None
