"""An app that listens to every signal, and notes what each brings, in which order, in which kind of process."""

import os
import re
import signal
import sys
import time

from celery import Celery, signals
from celery.exceptions import Reject
from celery.signals import Signal

app = Celery("listening", broker=os.environ["STORY_BROKER"], backend=os.environ["STORY_BACKEND"])
app.conf.update(
    task_default_queue=os.environ["STORY_QUEUE"], broker_connection_retry_on_startup=True, task_send_sent_event=False)
NOTES = os.path.join(os.environ["STORY_FOLDER"], "signals")

SIGNALS = {name: one for name, one in vars(signals).items() if isinstance(one, Signal) and one.receivers is not None}
for quiet in "heartbeat_sent", "setup_logging":  # one comes when it comes, the other changes something
    del SIGNALS[quiet]


def shown(value):
    """A plain value as it is; of anything else, of a long text and of a large number the name of its type."""
    if value is None or isinstance(value, (bool, int, str)):
        text = re.sub(r"[0-9a-f]{8}-[0-9a-f-]{27}", "<id>", repr(value))
        text = re.sub(r"\d{4}-\d\d-\d\dT[\d:.+]+", "<time>", text)
        return re.sub(r"\d{3,}", "<number>", text) if len(text) < 100 else type(value).__name__
    if isinstance(value, (list, tuple, dict)) and len(repr(value)) < 60:
        return repr(value)
    return type(value).__name__


def listen(name, one):
    @one.connect(weak=False)
    def noted(signal=None, sender=None, **brought):
        from multiprocessing import current_process

        where = "child" if "PoolWorker" in current_process().name else "main"
        brought = " ".join(f"{key}={shown(value)}" for key, value in sorted(brought.items()))
        with open(NOTES, "a") as notes:
            notes.write(f"{where} {name} from {shown(sender)}: {brought}\n")


if "worker" in sys.argv:
    for name, one in SIGNALS.items():
        listen(name, one)


@app.task
def add(x, y):
    return x + y


@app.task
def fail():
    raise ValueError("as it happens")


@app.task(bind=True, max_retries=1)
def again(self):
    raise self.retry(exc=KeyError("again"), countdown=0.2)


@app.task(acks_late=True)
def reject():
    raise Reject("never", requeue=False)


@app.task
def leave():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(time_limit=0.5)
def long():
    time.sleep(30)


@app.task
def sleep(path):
    open(path, "w").close()
    time.sleep(30)


def main():
    """The client: one thing after the other, so that the order is determined."""
    folder = os.environ["STORY_FOLDER"]

    def end(result):
        result.get(timeout=30, propagate=False)
        time.sleep(0.2)

    def send(body, headers, serializer="json"):
        queue = app.conf.task_default_queue
        with app.connection_for_write() as connection, connection.Producer() as producer:
            producer.publish(body, exchange=queue, routing_key=queue, headers=headers, serializer=serializer)

    end(add.delay(1, y=2))
    end(fail.delay())
    end(again.delay())
    end(app.send_task("nobody.knows"))
    end(add.apply_async((1, 1), expires=-5))
    end(reject.delay())
    send([1], {})
    send([[1, 2], {}, {}], {"task": "listening.add", "id": "odd", "root_id": "odd", "parent_id": None, "eta": "sometime"})
    end(leave.delay())
    end(long.delay())
    running = sleep.delay(os.path.join(folder, "sleeps"))
    while not os.path.exists(os.path.join(folder, "sleeps")):
        time.sleep(0.02)
    app.control.revoke(running.id, terminate=True)
    end(running)
    app.control.revoke("revoked-before", reply=True, timeout=1)
    end(add.apply_async((1, 1), task_id="revoked-before"))
    end(add.delay(0, 0))


if __name__ == "__main__":
    main()
