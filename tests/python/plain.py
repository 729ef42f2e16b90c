"""A plain app with tasks of every kind, as people write them. It knows nothing of celeriac.

Environment: `STORY_BROKER`, `STORY_BACKEND`, `STORY_FOLDER` (where tasks leave notes), `STORY_QUEUE`.
"""

import json
import logging.config
import os
import pathlib
import signal
import sys
import time

from celery import Celery, Task, signals
from celery.exceptions import Ignore, Reject
from celery.utils.log import get_task_logger
from kombu import serialization

app = Celery("plain", broker=os.environ["STORY_BROKER"], backend=os.environ["STORY_BACKEND"])
app.conf.update(
    accept_content=os.environ.get("STORY_ACCEPT", "json,pickle").split(","),
    result_extended=True,
    broker_connection_retry_on_startup=True,
    task_default_queue=os.environ.get("STORY_QUEUE", "celery"),
    task_send_sent_event=False,
    beat_schedule={"often": {"task": "plain.no_result", "schedule": 0.2, "args": ("beat",)}},
)
app.conf.update(json.loads(os.environ.get("STORY_CONF", "{}")))
if os.environ.get("STORY_LOGGING"):

    @signals.setup_logging.connect
    def own_logging(**_):
        logging.config.dictConfig({
            "version": 1, "disable_existing_loggers": False,
            "formatters": {"own": {"format": "%(levelname)s own %(process)d %(message)s"}},
            "handlers": {"file": {"class": "logging.FileHandler", "filename": os.environ["STORY_LOGGING"], "formatter": "own"}},
            "root": {"level": "INFO", "handlers": ["file"]},
        })
serialization.register(  # one of the app's own
    "hexed", lambda value: serialization.dumps(value, "json")[2].encode().hex(),
    lambda text: serialization.loads(bytes.fromhex(text), "application/json", "utf-8"),
    content_type="application/x-hexed", content_encoding="utf-8")
FOLDER = pathlib.Path(os.environ["STORY_FOLDER"])
logger = get_task_logger(__name__)


def note(name, text):
    """Adds a line to a file that the story reads."""
    with open(FOLDER / name, "a") as notes:
        notes.write(f"{text}\n")


class Odd(Exception):
    """An exception with more than a message."""

    def __init__(self, code, why):
        super().__init__(code, why)
        self.code, self.why = code, why


class Unpicklable(Exception):
    def __init__(self, one, *, two):
        super().__init__(one)
        self.handle = open(os.devnull)
        self.two = two


class Hooked(Task):
    """A custom task class: every hook leaves a note."""

    abstract = True

    def __call__(self, *args, **kwargs):
        note(self.request.id, "called")
        return super().__call__(*args, **kwargs)

    def before_start(self, task_id, args, kwargs):
        note(task_id, f"before_start {args} {kwargs}")

    def on_success(self, retval, task_id, args, kwargs):
        note(task_id, f"on_success {retval} {args} {kwargs}")

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        note(task_id, f"on_failure {exc!r} {args} {kwargs} {type(einfo).__name__}")

    def on_retry(self, exc, task_id, args, kwargs, einfo):
        note(task_id, f"on_retry {exc!r} {args} {kwargs} {type(einfo).__name__}")

    def after_return(self, status, retval, task_id, args, kwargs, einfo):
        note(task_id, f"after_return {status} {retval!r} {args} {kwargs}")


@app.task
def add(x, y):
    return x + y


@app.task
def total(numbers):
    return sum(numbers)


@app.task
def fail(code):
    raise Odd(code, "so it goes")


@app.task(throws=(KeyError,))
def expected():
    raise KeyError("expected")


@app.task
def unpicklable_exception():
    raise Unpicklable(1, two=2)


@app.task
def unserializable_result():
    return object.__new__(type("Local", (), {"__repr__": lambda self: "<local>"}))


@app.task(bind=True, max_retries=3)
def flaky(self, times):
    if self.request.retries < times:
        raise self.retry(exc=ValueError(f"attempt {self.request.retries}"), countdown=0.4)
    return self.request.retries


@app.task(autoretry_for=(ZeroDivisionError,), retry_kwargs={"max_retries": 2, "countdown": 0.4})
def automatic():
    return 1 / 0


@app.task
def ignored():
    raise Ignore()


@app.task(bind=True)
def progress(self):
    self.update_state(state="PROGRESS", meta={"done": 7})
    raise Ignore()


@app.task(acks_late=True)
def rejected():
    raise Reject("never again", requeue=False)


@app.task(bind=True, acks_late=True)
def rejected_once(self):
    if not self.request.delivery_info["redelivered"]:
        raise Reject("not now", requeue=True)
    return "at last"


@app.task(bind=True)
def request(self, *args, **kwargs):
    known = self.request
    return {
        "args": known.args, "kwargs": known.kwargs, "task": known.task, "retries": known.retries,
        "is_eager": known.is_eager, "called_directly": known.called_directly, "lang": known.lang,
        "hostname": known.hostname, "eta": known.eta, "expires": bool(known.expires), "timelimit": known.timelimit,
        "same_correlation": known.correlation_id == known.id, "same_root": known.root_id == known.id,
        "parent": known.parent_id, "reply_to": bool(known.reply_to), "shadow": known.shadow,
        "delivery_info": known.delivery_info, "custom": known.get("custom"), "argsrepr": known.argsrepr,
        "priority": known.properties.get("priority"), "mode": known.properties.get("delivery_mode"),
        "type": known.properties.get("content_type"), "headers": sorted(known.properties["application_headers"]),
        "stamps": known.stamps, "ignore_result": known.ignore_result,
    }


@app.task(bind=True, base=Hooked, max_retries=1)
def hooked(self, how):
    if how == "fail":
        raise Odd(1, "hooked")
    if how == "retry":
        raise self.retry(exc=ValueError("hooked"), countdown=0.4)
    return how


@app.task(bind=True)
def replaced(self, x):
    raise self.replace(add.s(x, x))


@app.task(bind=True)
def family(self):
    """Calls others, who are its children."""
    return [add.delay(1, 2).id is not None, self.request.root_id == self.request.id]


@app.task(track_started=True)
def started(path):
    deadline = time.monotonic() + 20
    while not os.path.exists(path) and time.monotonic() < deadline:
        time.sleep(0.01)
    return "seen"


@app.task
def killed():
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(acks_late=True, reject_on_worker_lost=True)
def killed_once(path):
    if not os.path.exists(path):
        open(path, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return "survived"


@app.task(base=Hooked, acks_late=True)
def killed_late():
    os.kill(os.getpid(), signal.SIGKILL)


class Stuck(Task):
    abstract = True

    def on_failure(self, exc, task_id, args, kwargs, einfo):
        time.sleep(600)


@app.task(base=Stuck, time_limit=0.3)
def stuck_in_a_hook():
    time.sleep(20)


@app.task
def leave(status):
    sys.exit(status)


@app.task(ignore_result=True)
def no_result(path):
    note(path, "ran")


@app.task
def talk():
    print("printed")
    logger.info("logged %s", "well")
    return os.environ.get("CELERY_LOG_REDIRECT")


@app.task
def large(size):
    return "x" * size


@app.task
def errback(request, exc, traceback):
    note(f"errback-{request.id}", f"{request.task} {exc!r} {bool(traceback)}")


@app.task
def whoami():
    import multiprocessing
    return multiprocessing.current_process().name.rpartition("-")[0]


@app.task(track_started=True)
def in_c():
    """Minutes in a function of C's, which holds the GIL and looks at no signal."""
    return sum(range(10**11))


@app.task
def debugged(x):
    from celery.contrib import rdb

    answer = x
    rdb.set_trace()
    return answer


IMPORTED_BY = os.getpid()


@app.task
def imported_by():
    return [IMPORTED_BY, os.getpid()]


@signals.task_prerun.connect(sender=hooked)
@signals.task_postrun.connect(sender=hooked)
@signals.task_success.connect(sender=hooked)
@signals.task_failure.connect(sender=hooked)
@signals.task_retry.connect(sender=hooked)
def noted_signal(signal, sender, **kwargs):
    task_id = kwargs.get("task_id") or sender.request.id
    note(task_id, f"signal {signal.name} {sorted(set(kwargs) - {'signal'})}")


if os.environ.get("STORY_RECEIVERS"):

    @signals.task_received.connect
    def noted_received(request, **kwargs):
        note("received", f"{request.name} {request.id}")

    @signals.task_rejected.connect
    def noted_rejected(message, exc, **kwargs):
        note("rejected", f"{message.headers.get('task')} {type(exc).__name__}")

    @signals.heartbeat_sent.connect
    def noted_heartbeat(sender, **kwargs):
        note("heartbeats", type(sender).__name__)
        note("clerk", IMPORTED_BY == os.getpid())  # whether it is an interpreter of its own


if os.environ.get("STORY_SENTRY"):
    import sentry_sdk
    from sentry_sdk.integrations.celery import CeleryIntegration

    sentry_sdk.init(dsn=os.environ["STORY_SENTRY"], integrations=[CeleryIntegration()])


if os.environ.get("STORY_AGENT"):  # a monitoring agent that flushes at the end of a process, as sentry-sdk does
    from billiard.pool import Worker

    workloop = Worker.workloop

    def patched(*args, **kwargs):
        try:
            return workloop(*args, **kwargs)
        finally:
            note("flushed", os.getpid())

    Worker.workloop = patched
