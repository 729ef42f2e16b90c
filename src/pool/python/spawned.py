"""`--pool-start-method spawn`: children that are interpreters of their own, for apps that do not stand a fork.

The zygote forks as ever, so that main adopts the child; what it forks executes the interpreter at once. That imports
the app as the zygote did, and then lives as any child. Everything else about it, such as the directory, the
environment with the log's settings, and the end with main, is inherited.
"""

import json
import os
import sys
import tempfile
from types import SimpleNamespace


def begin(host, worker, number, slots, jobs, results):
    """Becomes a new interpreter; does not return."""
    for fd in (jobs, results, slots.file):
        if fd is not None:
            os.set_inheritable(fd, True)
    letter = tempfile.TemporaryFile("w+")
    json.dump({
        "sources": host["sources"],
        "boot": host["boot"],
        "argv": sys.argv,
        "child": {
            "app": app_name(host["arguments"]),
            "hostname": worker.hostname,
            "include": list(worker.app.conf.include or ()),
            "number": number, "slots": slots.file, "jobs": jobs, "results": results,
        },
    }, letter)
    letter.flush()
    letter.seek(0)
    os.dup2(letter.fileno(), 0)
    os.execv(sys.executable, [sys.executable, "-c", host["boot"]])


def app_name(arguments):
    """What names the app: `-A`, which main has put first, or the environment."""
    if arguments[:1] == ["--app"]:
        return arguments[1]
    return os.environ.get("APP") or os.environ.get("CELERY_APP")


def main(host):
    """The new interpreter; does not return."""
    child = host["child"]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for fd in (child["jobs"], child["results"], child["slots"]):
        if fd is not None:
            os.set_inheritable(fd, False)
    sys.argv = host["argv"]
    if sys.path and sys.path[0] == "":
        sys.path[0] = os.getcwd()

    import celeriac_child
    import celeriac_zygote
    from celery.app import trace
    from celery.app.utils import find_app

    app = find_app(child["app"])
    app.set_current()
    app.set_default()
    app.conf.include = child["include"]
    worker = SimpleNamespace(app=app, hostname=child["hostname"], pool_cls="celery.concurrency.prefork:TaskPool")
    app.loader.init_worker()
    trace.setup_worker_optimizations(app, worker.hostname)
    app.finalize()
    for fixup in app._fixups:  # Django's, which waits for a signal of the worker
        if hasattr(fixup, "on_worker_init"):
            fixup.on_worker_init(sender=worker)
    slots = celeriac_zygote.Slots(child["slots"])
    celeriac_child.live(host, worker, child["number"], slots, child["jobs"], child["results"])
