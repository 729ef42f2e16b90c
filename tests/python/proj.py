"""The app of the captures: what a worker of Celery's answered when it served this is in `captures/control.jsonl`."""

import os
import time

from celery import Celery, Task
from celery.exceptions import Ignore, Reject
from celery.worker import state as worker_state
from celery.worker.control import control_command, inspect_command
from kombu import Exchange, Queue

app = Celery("proj", broker=os.environ["STORY_BROKER"], backend=os.environ["STORY_BACKEND"], include=["proj"])
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_pool_restarts=os.environ.get("STORY_RESTARTS") == "1",
    result_expires=3600,
    task_send_sent_event=False,
    task_track_started=False,
    worker_disable_prefetch=False,
)
if os.environ.get("STORY_QUEUES"):
    app.conf.task_queues = [
        Queue("celery"), Queue("beside", Exchange("aside", "topic"), routing_key="a.#", max_priority=7)]



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
    return {"scaled": 2 * scale, "tset": len(state.tset([1])), "host": state.hostname, "keys": sorted(state)}


# The two of Celery's guide.


@control_command(args=[("n", int)], signature="[N=1]")
def increase_prefetch_count(state, n=1):
    state.consumer.qos.increment_eventually(n)
    return {"ok": "prefetch count incremented"}


@inspect_command()
def current_prefetch_count(state):
    return {"prefetch_count": state.consumer.qos.value}


@inspect_command()
def what_it_knows(state):
    consumer, tasks = state.consumer, state.tset(worker_state.active_requests)
    return {
        "queues": [queue.name for queue in consumer.task_consumer.queues],
        "active": [[task.name, task.id, task.info()["args"]] for task in tasks],
        "reserved": sorted(task.id for task in worker_state.reserved_requests),
        "total": dict(worker_state.total_count),
        "children": consumer.controller.stats()["pool"]["max-concurrency"],
        "errors": [OSError in consumer.connection_errors, LookupError in consumer.connection_errors],
        "app": state.app.main,
    }


@control_command()
def send_event(state):
    state.consumer.event_dispatcher.send("worker-waved", to="you")
    return {"ok": "sent"}


@control_command()
def reconnect(state):
    state.consumer.reset_connection()
    return {"ok": "reconnecting"}


@control_command(visible=False)
def hidden(state):
    return "raw string"


@control_command()
def odd_one(state):
    raise LookupError("as it happens")


@control_command(args=[("queue", str)])
def listen(state, queue):
    state.consumer.add_task_queue(queue)
    return {"ok": f"{state.consumer.hostname} {state.app.main}"}


@control_command(args=[("queue", str)])
def leave(state, queue):
    state.consumer.call_soon(state.consumer.cancel_task_queue, queue)
    return {"ok": "left"}
