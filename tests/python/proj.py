"""The app of the captures: what a worker of Celery's answered when it served this is in `captures/control.jsonl`."""

import os
import time

from celery import Celery, Task
from celery.exceptions import Ignore, Reject
from celery.worker.control import control_command, inspect_command

app = Celery("proj", broker=os.environ["STORY_BROKER"], backend=os.environ["STORY_BACKEND"], include=["proj"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_pool_restarts=os.environ.get("STORY_RESTARTS") == "1",
    result_expires=3600,
    task_send_sent_event=False,
    task_track_started=False,
    worker_disable_prefetch=False,
)


@app.task
def add(x, y):
    return x + y


@app.task
def sleep(seconds, note=None):
    time.sleep(seconds)


@app.task
def fail(text="boom"):
    raise ValueError(text)


@app.task(bind=True, max_retries=2, default_retry_delay=1)
def flaky(self: Task):
    raise self.retry()


@app.task
def ign():
    raise Ignore()


@app.task
def rej():
    raise Reject("nope", requeue=False)


@app.task(acks_late=True)
def late():
    return "late"


@app.task(rate_limit="10/m")
def limited():
    return "limited"


@inspect_command(alias="cpf", args=[("scale", int)])
def current_prefetch(state, scale=1):
    return {"scaled": 2 * scale, "tset": len(state.tset()), "host": state.hostname, "keys": sorted(state)}


@control_command(visible=False)
def hidden(state):
    return "raw string"


@control_command()
def odd_one(state):
    raise LookupError("as it happens")


@control_command(args=[("queue", str)])
def listen(state, queue):
    state.consumer.add_task_queue(queue)
    assert ConnectionError in state.consumer.connection_errors or state.consumer.connection_errors
    return {"ok": f"{state.consumer.hostname} {state.app.main}"}
