"""The Python app of the stories: what its tasks do is seen by the log in `CELERIAC_STORY` and by its result backend."""

import os
import sys
import threading
import time

from celery import Celery, signals
from celery.exceptions import Ignore, Reject

app = Celery("stories", broker="amqp://", backend="file://" + os.environ["CELERIAC_STORY"])
app.conf.task_track_started = True
IMPORTED_IN = os.getpid()
HOOKS = []
os.register_at_fork(
    before=lambda: HOOKS.append("before"),
    after_in_child=lambda: HOOKS.append("child"),
    after_in_parent=lambda: HOOKS.append("parent"),
)


def note(text):
    with open(os.path.join(os.environ["CELERIAC_STORY"], "notes"), "a") as notes:
        notes.write(text + "\n")


@signals.worker_process_init.connect
def process_init(sender, **kwargs):
    note(f"init {os.getpid()}")


@signals.worker_process_shutdown.connect
def process_shutdown(sender, pid, exitcode, **kwargs):
    note(f"shutdown {pid} {exitcode}")


@app.task
def add(x, y):
    return x + y


@app.task
def fail(text):
    raise ValueError(text)


@app.task(bind=True, default_retry_delay=7, max_retries=2)
def again(self):
    raise self.retry(exc=KeyError("again"))


@app.task
def ignore():
    raise Ignore()


@app.task
def reject(requeue):
    raise Reject("not now", requeue=requeue)


@app.task(bind=True)
def request(self):
    return {
        "id": self.request.id, "hostname": self.request.hostname, "headers": self.request.headers,
        "delivery_info": self.request.delivery_info, "correlation_id": self.request.correlation_id,
    }


@app.task
def facts():
    import multiprocessing
    with open("/proc/self/status") as status:
        signals_ = {line.split(":")[0]: line.split()[1] for line in status if line.startswith("Sig")}
    return {
        "pid": os.getpid(), "parent": os.getppid(), "session": os.getsid(0), "imported": IMPORTED_IN, "hooks": HOOKS,
        "name": multiprocessing.current_process().name, "signals": signals_, "threads": threading.active_count(),
        "stdin": os.readlink("/proc/self/fd/0"), "argv": sys.argv,
    }


@app.task
def prefix(count):
    """The process ends when it has written so many octets of its answer."""
    write = os.write

    def cut(fd, octets):
        write(fd, octets[:count])
        if count < len(octets):
            os._exit(0)
        os.write = write
        return len(octets)

    os.write = cut


@app.task
def leave(status):
    sys.exit(status)


@app.task
def hang():
    try:
        time.sleep(600)
    finally:
        note("cleaned up")


@app.task
def odd_text():
    raise ValueError("half a pair: \ud800")
