"""A second plain app, of what the first has not: serializers, compressions, backoff, what a request holds, abortable
tasks, canvas that changes while it runs. It knows nothing of celeriac."""

import os
import pathlib
import time

from celery import Celery, Task, chain, chord, group, shared_task, signals
from celery.contrib.abortable import AbortableTask
from celery.exceptions import Ignore, SoftTimeLimitExceeded
from celery.utils.log import get_task_logger

app = Celery("stranger")
app.conf.update(
    broker_url=os.environ["STORY_BROKER"],
    result_backend=os.environ["STORY_BACKEND"],
    accept_content=["json", "pickle", "yaml", "msgpack"],
    result_accept_content=["json", "pickle", "yaml", "msgpack"],
    broker_connection_retry_on_startup=True,
    task_default_queue=os.environ.get("STORY_QUEUE", "celery"),
    task_send_sent_event=False,
    task_annotations={"stranger.annotated": {"max_retries": 1, "rate_limit": "100/s"}, "*": {"default_retry_delay": 0.2}},
    task_routes={"stranger.routed": {"routing_key": os.environ.get("STORY_QUEUE", "celery"), "priority": 4}},
    result_extended=True,
    timezone="Europe/Berlin",
)
FOLDER = pathlib.Path(os.environ["STORY_FOLDER"])
logger = get_task_logger(__name__)


def note(name, text):
    with open(FOLDER / name, "a") as notes:
        notes.write(f"{text}\n")


def plain(value):
    """Of a request: what JSON takes, and of the rest the type."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(one) for one in value]
    return type(value).__name__


@app.task
def add(x, y):
    return x + y


@app.task
def echo(value):
    return value


@app.task
def kind(value):
    return [type(value).__name__, repr(value)]


@app.task
def total(numbers):
    return sum(numbers)


@app.task(bind=True)
def whole_request(self, *args, **kwargs):
    return {name: plain(value) for name, value in sorted(vars(self.request).items())}


@app.task(bind=True)
def own_options(self):
    names = ("name acks_late max_retries default_retry_delay rate_limit time_limit serializer ignore_result "
             "track_started store_errors_even_if_ignored priority queue typing").split()
    return {name: plain(getattr(self, name, None)) for name in names}


@app.task(autoretry_for=(OSError,), retry_backoff=1, retry_backoff_max=1, retry_jitter=False, max_retries=2, bind=True)
def backs_off(self, fails):
    if self.request.retries < fails:
        raise OSError(f"try {self.request.retries}")
    return self.request.retries


@app.task(autoretry_for=(Exception,), dont_autoretry_for=(KeyError,), max_retries=3, default_retry_delay=0.2)
def not_for_keys():
    raise KeyError("no")


@app.task(bind=True)
def annotated(self):
    raise self.retry(exc=RuntimeError("annotated"))


@app.task(bind=True, max_retries=None)
def retry_changed(self, x):
    if x < 3:
        raise self.retry(args=(x + 1,), countdown=0.1)
    return x


@app.task(bind=True, throws=(ValueError,))
def retry_gives_up(self):
    raise self.retry(max_retries=0)


@app.task(bind=True)
def routed(self):
    return [self.request.delivery_info["routing_key"], self.request.delivery_info["priority"]]


@app.task(bind=True)
def replaced_by_group(self, n):
    raise self.replace(group(add.s(i, i) for i in range(n)))


@app.task(bind=True)
def replaced_by_chain(self, x):
    raise self.replace(chain(add.s(x, 1), add.s(10)))


@app.task(bind=True)
def grows(self, x):
    self.add_to_chord(add.s(100, x))
    return x


@app.task(bind=True)
def calls_a_chord(self):
    return chord([add.s(1, 1), add.s(2, 2)])(total.s()).id is not None


@app.task
def fails(text="failed"):
    raise ValueError(text)


@app.task(ignore_result=True, store_errors_even_if_ignored=True)
def quiet(fail):
    if fail:
        raise ValueError("quiet")


@app.task(bind=True, base=AbortableTask)
def abortable(self, path):
    open(path, "w").close()
    for _ in range(500):
        if self.is_aborted():
            return "aborted"
        time.sleep(0.02)
    return "never"


@app.task(soft_time_limit=0.3, time_limit=20)
def soft():
    try:
        time.sleep(10)
    except SoftTimeLimitExceeded:
        return "caught"


@app.task
def collect(request, exc, traceback):
    note("errors", f"{request.task} {type(exc).__name__} {bool(traceback)}")


@app.task
def old_errback(task_id):
    note("errors", f"old {len(task_id)}")


@app.task
def after(value, name):
    note(name, value)


@app.task(bind=True)
def states_of_its_own(self, path):
    self.update_state(state="HALF", meta={"half": 0.5, "when": (1, 2)})
    while not os.path.exists(path):
        time.sleep(0.01)
    self.update_state(state="DONE", meta=[1])
    raise Ignore()


@shared_task(bind=True)
def shared(self):
    return [self.name, self.app.main]


@app.task(name="strange.name")
def named():
    return "named"


@app.task(typing=False)
def untyped(a):
    return a


class Counting(Task):
    """One instance for each process."""

    abstract = True
    _made = None

    @property
    def made(self):
        if self._made is None:
            self._made = []
        return self._made


@app.task(base=Counting, bind=True)
def counting(self):
    self.made.append(1)
    return type(self).__mro__[1].__name__, len(self.made) > 0


class Wrapping(Task):
    def __call__(self, *args, **kwargs):
        return ["wrapped", self.run(*args, **kwargs)]


@app.task(base=Wrapping)
def wrapped(x):
    return x


@app.task
def yields():
    yield 1


@app.task
def exits():
    raise SystemExit(3)


class Deep(Exception):
    def __reduce__(self):
        raise TypeError("not to be pickled")


@app.task
def chained_exception():
    try:
        raise KeyError("first")
    except KeyError as exc:
        raise Deep("second") from exc


@app.task(bind=True)
def inner_get(self):
    try:
        return add.delay(1, 1).get(timeout=1)
    except RuntimeError as exc:
        return str(exc)[:40]


@signals.task_prerun.connect
def prepare(sender=None, task_id=None, **kwargs):
    if sender.name == "strange.name":
        note("prerun", sender.name)
