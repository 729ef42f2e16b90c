"""The demonstration tasks of `celeriac worker --demo`, in Python: what the stories run against with `--worker celery`."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery import Celery, Task
from celery.signals import task_prerun
from celery.utils.log import get_logger

app = Celery("demo")
app.conf.update(broker_connection_retry_on_startup=True, worker_cancel_long_running_tasks_on_connection_loss=False)


@task_prerun.connect
def say_where(task_id: str, task: Task, **_: Any) -> None:
    """Celery means to log this line in main at DEBUG, but decides before the level is set. The stories need the pid."""
    get_logger("demo").debug("Task accepted: %s[%s] pid:%s", task.name, task_id, os.getpid())


@app.task(name="demo.add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="demo.mul")
def mul(x: int, y: int) -> int:
    return x * y


@app.task(name="demo.echo")
def echo(value: Any) -> Any:
    return value


@app.task(name="demo.sleep")
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(name="demo.noop")
def noop() -> None:
    return None


@app.task(name="demo.fail")
def fail(message: str = "demo failure") -> None:
    raise ValueError(message)


@app.task(name="demo.retry", bind=True)
def retry(self: Task, times: int = 1, countdown: float = 0.1) -> int:
    if self.request.retries < times:
        raise self.retry(countdown=countdown, max_retries=None)
    return self.request.retries


@app.task(name="demo.crash")
def crash() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
