"""A Python app whose tasks end in every way there is."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

from celery import Celery, Task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.signals import task_prerun, worker_process_init
from celery.utils.log import get_logger

app = Celery("life", set_as_current=False)
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_proc_alive_timeout=float(os.environ.get("LIFE_UP_TIMEOUT", 4)),
)
app.conf.update(json.loads(os.environ.get("LIFE_CONF", "{}")))
if os.environ.get("LIFE_QUEUE_TYPE"):
    app.conf.update(
        task_default_queue_type=os.environ["LIFE_QUEUE_TYPE"],
        task_create_missing_queue_type=os.environ["LIFE_QUEUE_TYPE"],
    )


def say_where(task_id: str, task: Task, **_: object) -> None:
    """Celery means to log this line in main at DEBUG, but decides before the level is set. The stories need the pid."""
    get_logger("celery.worker.request").info("Task accepted: %s[%s] pid:%d", task.name, task_id, os.getpid())


if os.environ.get("STORY_WORKER") == "celery":
    task_prerun.connect(say_where)


@app.task(name="life.add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="life.sleep")
def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(name="life.late_sleep", acks_late=True)
def late_sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@app.task(name="life.cleans")
def cleans(path: str) -> None:
    """Has something to clean up, whatever ends it."""
    try:
        time.sleep(60)
    except BaseException as error:
        noted(repr(error), path)
        raise


@app.task(name="life.late_cleans", acks_late=True)
def late_cleans(path: str) -> None:
    cleans(path)


@app.task(name="life.spin")
def spin(seconds: float) -> float:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass
    return seconds


@app.task(name="life.stubborn")
def stubborn() -> None:
    """Does not end when it is asked to."""
    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@app.task(name="life.catches")
def catches(seconds: float) -> str:
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "caught"
    return "slept"


class Slow(Task):
    def before_start(self, *args: object) -> None:
        time.sleep(0.5)


@app.task(name="life.slow_to_begin", base=Slow)
def slow_to_begin(path: str) -> None:
    open(path, "w").close()


@app.task(name="life.grim", acks_late=True, reject_on_worker_lost=True, bind=True)
def grim(self: Task, path: str) -> None:
    with open(path, "a") as file:
        file.write(f"{self.request.id}\n")
    os.kill(os.getpid(), signal.SIGKILL)


@app.task(name="life.noted")
def noted(identity: str, path: str) -> None:
    """Writes down whom it is told of."""
    with open(path, "a") as file:
        file.write(f"{identity}\n")


@app.task(name="life.again", retry_on_worker_lost=True, max_retries=2, default_retry_delay=0, bind=True)
def again(self: Task, path: str, times: int) -> int:
    """Loses its child `times` times."""
    noted(self.request.id, path)
    if self.request.retries < times:
        os.kill(os.getpid(), signal.SIGKILL)
    return self.request.retries


@app.task(name="life.reject", acks_late=True)
def reject(requeue: bool) -> None:
    raise Reject("no", requeue=requeue)


@app.task(name="life.ignore", acks_late=True)
def ignore() -> None:
    raise Ignore()


@app.task(name="life.late_fail", acks_late=True)
def late_fail() -> None:
    raise ValueError("late")


@app.task(name="life.unacked_fail", acks_late=True, acks_on_failure_or_timeout=False)
def unacked_fail() -> None:
    raise ValueError("late")


@app.task(name="life.leaves", acks_late=True)
def leaves() -> None:
    os._exit(0)


@app.task(name="life.retry", acks_late=True, bind=True)
def retry(self: Task) -> int:
    if self.request.retries < 2:
        raise self.retry(countdown=0, max_retries=5)
    return self.request.retries


@app.task(name="life.nowhere", acks_late=True)
def nowhere() -> object:
    return object()


@app.task(name="life.hungry", acks_late=True)
def hungry() -> None:
    raise MemoryError("more")


@app.task(name="life.ledger", acks_late=True, reject_on_worker_lost=True, bind=True)
def ledger(self: Task, folder: str, seconds: float) -> None:
    write_down(self.request.id, folder, seconds)


@app.task(name="life.early_ledger", bind=True)
def early_ledger(self: Task, folder: str, seconds: float) -> None:
    write_down(self.request.id, folder, seconds)


@app.task(name="life.failing_ledger", acks_late=True, reject_on_worker_lost=True, bind=True)
def failing_ledger(self: Task, folder: str, seconds: float) -> None:
    write_down(self.request.id, folder, seconds)
    raise ValueError("as expected")


def write_down(identity: str, folder: str, seconds: float) -> None:
    """Writes down when a task runs, and whether another run of it is going on at this moment."""
    path = os.path.join(folder, identity)
    try:
        with open(path) as file:
            last = file.read().split()[-2:]
    except FileNotFoundError:
        last = []
    if last and last[0] == "begin" and os.path.exists(f"/proc/{last[1]}"):
        with open(path + ".twice", "w") as file:
            file.write(f"{last[1]} and {os.getpid()}")
    with open(path, "a") as file:
        file.write(f"begin {os.getpid()}\n")
    time.sleep(seconds)
    with open(path, "a") as file:
        file.write(f"end {os.getpid()}\n")


HOARD: list[bytearray] = []


@app.task(name="life.grows", acks_late=True)
def grows(mebibytes: int, seconds: float) -> None:
    """Uses more memory, for a while and after it."""
    HOARD.append(bytearray(b"x") * (mebibytes << 20))
    time.sleep(seconds)


@app.task(name="life.deaf")
def deaf() -> int:
    """In C, and with the interpreter's lock: no Python signal handler runs before it ends."""
    return sum(range(10**12))


@app.task(name="life.clogged")
def clogged() -> None:
    """In a write that does not end."""
    _, write = os.pipe()
    while True:
        os.write(write, bytes(1 << 16))


@app.task(name="life.pid")
def pid() -> int:
    return os.getpid()


@worker_process_init.connect
def start_child(**_: object) -> None:
    if "LIFE_HANGS" in os.environ:
        hang_at_start()


def hang_at_start() -> None:
    time.sleep(600)


@app.task(name="life.spawns")
def spawns(path: str) -> None:
    """Has two processes of its own, one of which has gone its own way, and waits for the other."""
    process = subprocess.Popen(["sleep", "60"])
    daemon = subprocess.Popen(["sleep", "60"], start_new_session=True)
    with open(path, "w") as file:
        file.write(f"{process.pid} {daemon.pid}")
    process.wait()
