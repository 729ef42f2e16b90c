"""The Python zygote: the app, imported once, and a mother of children.

Main starts it with the app's own interpreter. It runs the installed Celery's own command line with the user's
arguments, up to the point where Celery's worker would start its blueprint: by then the app is found and configured,
its modules are imported, queues are selected, logging is set up, and the signals `celeryd_init`, `worker_init` and
`celeryd_after_setup` were sent, all in Celery's order and by Celery's code. It then reports to main what the app
looks like, and forks children on demand; `src/pool/zygote.rs` has the protocol and the duties.

Only main talks to the broker; this process opens no connection (but that of `--purge`).
"""

import ctypes
import gc
import importlib
import os
import select
import signal
import socket
import struct
import sys
import time

OLDEST, NEWEST = (5, 3), (5, 7)

#: What the files of this folder use of Celery and billiard that is not meant for others, and may go with any version.
INTERNALS = {
    "billiard.process:BaseProcess": "_bootstrap",
    "billiard.util": "_run_after_forkers",
    "celery.app.task:Context": "_get_custom_headers",
    "celery.app.trace": "fast_trace_task setup_worker_optimizations trace_task_ret",
    "celery.apps.worker": "install_rdb_handler",
    "celery.concurrency.asynpool": "WORKER_UP Worker",
    "celery.concurrency.prefork": "process_destructor process_initializer",
    "celery.worker.control:Panel": "data meta",
    "celery.worker.request:Request": "_announce_cancelled _announce_revoked on_failure on_timeout",
    "celery.worker.state": "active_requests all_total_count requests reserved_requests total_count",
    "celery.worker.strategy": "hybrid_to_proto2 proto1_to_proto2",
}
PR_SET_PDEATHSIG = 1
EX_FAILURE = 1


def main(host):
    """Runs `celery <arguments>`; comes back from here only to end the process."""
    die_with(host["main"])
    os.set_inheritable(host["socket"], False)
    os.set_inheritable(host["report"], False)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.close(null)
    os.environ.pop("CELERY_WORKER_DETACH", None)  # main has seen to it
    # The console script is what programs look for when they ask whether they run in a worker.
    sys.argv = [os.path.join(os.path.dirname(sys.executable), "celery"), *host["arguments"]]
    check_celery()
    if sys.path and sys.path[0] == "":
        sys.path[0] = os.getcwd()  # as `python -m celery` has it

    check_internals()
    import celeriac_log
    import celery.apps.worker
    from celery.bin.celery import main as celery_main

    if host["json_log"]:
        celeriac_log.install()
    celery.apps.worker.Worker = hosted(celery.apps.worker.Worker, host)
    sys.exit(celery_main())


def check_celery():
    """Ends the process with one clear sentence when the interpreter has no Celery that we know."""
    try:
        import celery
    except ImportError as exc:
        fail(f"{sys.executable} has no Celery ({exc}). "
             "Name the interpreter of your app with --python, or activate its virtual environment.")
    found = tuple(int(part) for part in celery.__version__.split(".")[:2])
    if found < OLDEST:
        fail(f"{sys.executable} has Celery {celery.__version__}; it must be {shown(OLDEST)} or newer.")


def check_internals():
    """Ends the process if a Celery that we do not know yet has changed what we rely on: better now than in a task."""
    import celery

    for place, names in INTERNALS.items():
        module, _, owner = place.partition(":")
        try:
            found = importlib.import_module(module)
            found = getattr(found, owner) if owner else found
            missing = [name for name in names.split() if not hasattr(found, name)]
        except (AttributeError, ImportError) as exc:
            missing = [str(exc)]
        if missing:
            fail(f"Celery {celery.__version__} has no {place} {' '.join(missing)}, which celeriac uses; it knows Celery "
                 f"{shown(OLDEST)} to {shown(NEWEST)}.")


def shown(version):
    return ".".join(map(str, version))


def fail(text):
    print(f"celeriac: {text}", file=sys.stderr)
    sys.exit(EX_FAILURE)


def hosted(Worker, host):
    """Celery's worker program, without all that main does in its place."""

    class Blueprint:
        """No pool, no event loop, no consumer: those are main's."""

        def __init__(self, **kwargs):
            pass

        def apply(self, worker, **kwargs):
            pass

    class HostedWorker(Worker):
        banner = None

        def __init__(self, *args, **kwargs):
            self.kwargs = kwargs
            self.autoscale = kwargs.get("autoscale")  # set by a bootstep in Celery
            super().__init__(*args, **kwargs)

        def start(self):
            import celeriac_report

            pidfile, self.pidfile = self.pidfile, None  # main writes it
            try:
                self.on_start()
            except Exception as exc:
                from celery.utils.log import worker_logger
                worker_logger.critical("Unrecoverable error: %r", exc, exc_info=True)
                sys.exit(EX_FAILURE)
            self.pidfile = pidfile
            celeriac_report.send(host["report"], celeriac_report.of(self))
            serve(host, self)

        def emit_banner(self):
            self.banner = "".join([
                str(self.colored.cyan(" \n", self.startup_info())),
                str(self.colored.reset(self.extra_info() or "")),
            ])

        def set_process_status(self, info):
            from celery.platforms import set_process_title
            set_process_title(f"celeryd: {self.hostname}:zygote")

        def install_platform_tweaks(self, worker):
            pass

    HostedWorker.Blueprint = Blueprint
    HostedWorker.__name__ = HostedWorker.__qualname__ = "Worker"
    return HostedWorker


def serve(host, worker):
    """Forks children as main asks for them, until main closes its end."""
    import celeriac_child
    import celeriac_clerk
    import celeriac_consumer
    import celeriac_spawned
    from celery import signals

    roles = {b"fork": celeriac_child.live, b"clerk": celeriac_clerk.live}
    if getattr(worker, "pool_start_method", "fork") == "spawn":
        roles = {word: celeriac_spawned.begin(role) for word, role in ((b"fork", "child"), (b"clerk", "clerk"))}
    slots, pool = Slots(), celeriac_consumer.Consumer(worker).pool
    # Whoever stops a worker by its process group or cgroup means main and the children.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_IGN)
    die_with(host["main"])  # once more: a change of user resets it
    gc.collect()
    gc.freeze()  # or the next collection of each child would copy every page it looks at
    control = socket.socket(fileno=host["socket"])
    beat = Beat(worker) if worker.kwargs.get("beat") else None
    while True:
        while beat and not select.select([control], [], [], beat.begin())[0]:
            pass  # only a look at beat was due
        request, ends = receive(control)
        if not request:
            if beat:
                beat.end()
            os._exit(0)
        word, _, number = request.partition(b" ")
        if word == b"fork":
            signals.worker_before_create_process.send(sender=pool)
        if fork(control, int(number), host["main"], tell=word == b"fork"):
            control.close()
            roles[word](host, worker, int(number), slots, *ends)  # never returns
        for end in ends:
            os.close(end)


def receive(control):
    """One packet, and the descriptors that came with it."""
    size = struct.calcsize("2i")
    packet, ancillary, _, _ = control.recvmsg(512, socket.CMSG_SPACE(size), socket.MSG_CMSG_CLOEXEC)
    ends = []
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            ends += struct.unpack(f"{len(data) // 4}i", data)
    return packet, ends


def fork(control, number, main, tell):
    """Makes a grandchild, for main to adopt, and returns True in it.

    For Python this is one fork: its hooks run once before, once after in this process, and once in the grandchild.
    The process in between runs none, as it is made by the C library alone; all it does is to tell main of the
    grandchild and to end.
    """
    python, libc = ctypes.pythonapi, ctypes.PyDLL(None, use_errno=True)  # neither lets go of the GIL
    python.PyOS_BeforeFork()
    between = libc.fork()
    if between == 0:
        parent = os.getpid()
        child = libc.fork()
        if child == 0:
            python.PyOS_AfterFork_Child()
            return adopted(parent, main)
        if child < 0:
            reply = f"failed {number} {os.strerror(ctypes.get_errno())}".encode()
        else:
            reply = f"forked {number} {child}".encode()
        if tell:
            libc.send(control.fileno(), reply, len(reply), socket.MSG_NOSIGNAL)
        libc._exit(0)
    error = ctypes.get_errno()
    python.PyOS_AfterFork_Parent()
    if between < 0:
        reason = os.strerror(error)
    else:
        _, status = os.waitpid(between, 0)
        reason = status and "the process between ended early"
    if reason and tell:
        control.send(f"failed {number} {reason}".encode())
    return False


def adopted(between, main):
    """Waits until main is the parent, and makes sure of dying with it."""
    while os.getppid() == between:
        time.sleep(0.00005)
    die_with(main)
    os.setsid()
    return True


def die_with(main):
    """Has the kernel kill this process when main dies; ends it when main is dead already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != main:
        os._exit(0)


class Beat:
    """`-B`: Celery's embedded beat, a child of this process, which dies with it and is started again if it ends."""

    #: Seconds between two looks at it.
    INTERVAL = 5.0

    def __init__(self, worker):
        self.worker = worker
        self.pid = None

    def begin(self):
        """Starts beat unless it runs; returns how long that can be relied upon."""
        if self.pid is None or os.waitpid(self.pid, os.WNOHANG)[0]:
            zygote = os.getpid()
            self.pid = os.fork()
            if self.pid == 0:
                die_with(zygote)
                self.live()
        return self.INTERVAL

    def live(self):
        from celery.beat import EmbeddedService

        service = EmbeddedService(
            self.worker.app, schedule_filename=self.worker.schedule_filename, scheduler_cls=self.worker.scheduler)
        for number in (signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, signal.SIG_DFL)
        os._exit(service._bootstrap())

    def end(self):
        if self.pid is not None:
            os.kill(self.pid, signal.SIGTERM)


class Slots:
    """The places 0..N-1 of a pool of N, which log files are numbered by (`%i`).

    A child takes the lowest place that is free by locking a byte of a file that has no name. The kernel gives it
    back when the process ends, however it ends, and nobody inherits it.
    """

    def __init__(self, file=None):
        self.file = os.memfd_create("celeriac-slots") if file is None and hasattr(os, "memfd_create") else file

    def take(self):
        import fcntl

        if self.file is None:
            return 0
        for slot in range(1 << 16):
            try:
                fcntl.lockf(self.file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, slot)
                return slot
            except OSError:
                continue
        return 0
