"""`--pool-start-method spawn`: children and a clerk that are interpreters of their own, for apps that do not stand a fork.

The zygote forks as ever, so that main adopts the process; what it forks executes the interpreter at once. That imports
the app as the zygote did, and then lives as any child, or as the clerk. Everything else about it, such as the
directory, the environment with the log's settings, and the end with main, is inherited. As in Celery, what the app
does in receivers of `celeryd_init` and `worker_init` is done in the zygote only.
"""

import json
import os
import sys
import tempfile
from types import SimpleNamespace


#: What the zygote's worker object knows, and that of the new process is to know, too.
FACTS = "concurrency hostname logfile loglevel pidfile statedb".split()


def begin(role):
    def become(host, worker, number, slots, *ends):
        """Becomes a new interpreter; does not return."""
        for fd in (*ends, slots.file):
            if fd is not None:
                os.set_inheritable(fd, True)
        letter = tempfile.TemporaryFile("w+")
        json.dump({
            "sources": host["sources"],
            "boot": host["boot"],
            "argv": sys.argv,
            "spawned": {
                "role": role,
                "json_log": host["json_log"],
                "app": app_name(host["arguments"]),
                "facts": {name: getattr(worker, name, None) for name in FACTS},
                "include": list(worker.app.conf.include or ()),
                "number": number, "slots": slots.file, "ends": ends,
            },
        }, letter, default=str)
        letter.flush()
        letter.seek(0)
        os.dup2(letter.fileno(), 0)
        os.execv(sys.executable, [sys.executable, "-c", host["boot"]])

    return become


def app_name(arguments):
    """What names the app: `-A`, which main has put first, or the environment."""
    if arguments[:1] == ["--app"]:
        return arguments[1]
    return os.environ.get("APP") or os.environ.get("CELERY_APP")


def main(host):
    """The new interpreter; does not return."""
    spawned = host["spawned"]
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    for fd in (*spawned["ends"], spawned["slots"]):
        if fd is not None:
            os.set_inheritable(fd, False)
    sys.argv = host["argv"]
    if sys.path and sys.path[0] == "":
        sys.path[0] = os.getcwd()

    import celeriac_child
    import celeriac_clerk
    import celeriac_log
    import celeriac_zygote
    from celery.app import trace
    from celery.app.utils import find_app

    if spawned["json_log"]:
        celeriac_log.install()
    app = find_app(spawned["app"])
    app.set_current()
    app.set_default()
    app.conf.include = spawned["include"]
    worker = SimpleNamespace(app=app, pool_cls="celery.concurrency.prefork:TaskPool", **spawned["facts"])
    app.loader.init_worker()
    trace.setup_worker_optimizations(app, worker.hostname)
    app.finalize()
    for fixup in app._fixups:  # Django's, which waits for a signal of the worker
        if hasattr(fixup, "on_worker_init"):
            fixup.on_worker_init(sender=worker)
    if spawned["role"] == "clerk":
        set_up_logging(worker)
    live = {"child": celeriac_child.live, "clerk": celeriac_clerk.live}[spawned["role"]]
    live(host, worker, spawned["number"], celeriac_zygote.Slots(spawned["slots"]), *spawned["ends"])


def set_up_logging(worker):
    """As Celery's children do, by what the zygote has left in the environment."""
    variable = os.environ.get
    worker.app.log.setup(
        int(variable("CELERY_LOG_LEVEL") or 0), variable("CELERY_LOG_FILE") or None,
        bool(variable("CELERY_LOG_REDIRECT")), variable("CELERY_LOG_REDIRECT_LEVEL"), hostname=worker.hostname)
