"""The parts of a story: a worker process, a Celery client, raw messages, and waiting for a condition."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import amqp
import celery
from celery.result import AsyncResult

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT = float(os.environ.get("CELERIAC_TEST_TIMEOUT", "10"))

T = TypeVar("T")


def wait_until(condition: Callable[[], T], what: str, timeout: float = TIMEOUT) -> T:
    """The condition's first true value; an assertion error that says `what` when the deadline passes."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout:g} s: {what}; the last value was {value!r}")
        time.sleep(0.02)


def celeriac_binary() -> pathlib.Path:
    """`$CELERIAC_BIN`, else the newest of the release and the debug build."""
    named = os.environ.get("CELERIAC_BIN")
    if named:
        return pathlib.Path(named)
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    built = [path for path in (target / "release/celeriac", target / "debug/celeriac") if path.exists()]
    if not built:
        raise RuntimeError("no celeriac binary: `cargo build --release` first, or set CELERIAC_BIN")
    return max(built, key=lambda path: path.stat().st_mtime)


def clean_environment(**extra: str) -> dict[str, str]:
    """This process's environment without any Celery setting."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CELERY_", "BROKER_", "RESULT_", "RUST_LOG"))
    }
    return kept | {"PYTHONPATH": str(HERE), "PYTHONUNBUFFERED": "1", "RUST_BACKTRACE": "1"} | extra


class Process:
    """What /proc says about one process; most answers are only meaningful while it lives."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.proc = pathlib.Path(f"/proc/{pid}")

    def __repr__(self) -> str:
        return f"<process {self.pid}>"

    def _stat(self) -> list[str]:
        """Fields of /proc/PID/stat from the third (the state) on."""
        return (self.proc / "stat").read_text().rpartition(")")[2].split()

    def alive(self) -> bool:
        """There, and not a zombie."""
        try:
            return self._stat()[0] not in "ZX"
        except OSError:
            return False

    def parent(self) -> int:
        return int(self._stat()[1])

    def session(self) -> int:
        return int(self._stat()[3])

    def cpu_seconds(self) -> float:
        user, system = self._stat()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def status(self, name: str) -> str:
        """A line of /proc/PID/status."""
        text = (self.proc / "status").read_text()
        return re.search(rf"^{name}:\s*(.*)$", text, re.MULTILINE)[1]

    def signal_set(self, name: str) -> set[int]:
        """`SigBlk`, `SigIgn` or `SigCgt` as signal numbers."""
        bits = int(self.status(name), 16)
        return {number for number in range(1, 65) if bits >> (number - 1) & 1}

    def wake_ups(self) -> int:
        """How often its threads went to sleep of their own accord."""
        total = 0
        for task in (self.proc / "task").iterdir():
            text = (task / "status").read_text()
            total += int(re.search(r"^voluntary_ctxt_switches:\s*(\d+)", text, re.MULTILINE)[1])
        return total

    def resident_kib(self) -> int:
        return int(self.status("VmRSS").split()[0])

    def open_files(self) -> dict[int, str]:
        """Descriptor to what it is open on."""
        found = {}
        for entry in (self.proc / "fd").iterdir():
            with contextlib.suppress(OSError):
                found[int(entry.name)] = os.readlink(entry)
        return found

    def children(self) -> list["Process"]:
        """Its live children."""
        found = []
        for entry in pathlib.Path("/proc").iterdir():
            if entry.name.isdigit():
                child = Process(int(entry.name))
                with contextlib.suppress(OSError):
                    if child.parent() == self.pid and child.alive():
                        found.append(child)
        return found

    def descendants(self) -> list["Process"]:
        found = []
        for child in self.children():
            found += [child, *child.descendants()]
        return found


class Worker:
    """A worker process under test: celeriac with its demonstration tasks, or Celery with the same ones in Python.

    Its standard error is where it logs; `log` is that, `output` what it wrote to its standard output.
    """

    def __init__(
        self,
        kind: str,
        url: str,
        queue: str,
        directory: pathlib.Path,
        *,
        concurrency: int = 2,
        loglevel: str = "INFO",
        arguments: Iterable[str] = (),
        environment: dict[str, str] | None = None,
        command: list[str] | None = None,
        urls_in_environment: bool = False,
    ) -> None:
        self.kind = kind
        self.queue = queue
        self.name = f"{queue}@test"
        broker = [] if urls_in_environment else ["-b", url, "--result-backend", "rpc://"]
        options = ["-n", self.name, "-c", str(concurrency), "-Q", queue, "-l", loglevel, *arguments]
        if kind == "celery":
            program = [*(command or [sys.executable, "-m", "celery", "-A", "demo_app"]), *broker, "worker"]
            options = ["--without-mingle", "--without-gossip", *options]
        elif command is not None:
            program = [*command, "worker", *broker]
        else:
            program = [str(celeriac_binary()), "worker", "--demo", *broker]
        self.command = program + options
        settings = {"CELERY_BROKER_URL": url, "CELERY_RESULT_BACKEND": "rpc://"} if urls_in_environment else {}
        self._log = directory / f"{queue}.{uuid.uuid4().hex[:6]}.log"
        self._output = self._log.with_suffix(".out")
        with open(self._log, "wb") as log, open(self._output, "wb") as output:
            self.popen = subprocess.Popen(
                self.command,
                env=clean_environment(STORY_WORKER=kind, **settings, **(environment or {})),
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
                start_new_session=True,
            )
        self.main = Process(self.popen.pid)

    # ---- what it says -----------------------------------------------------------------------------------------

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_log(self, pattern: str, timeout: float = TIMEOUT, times: int = 1) -> re.Match[str]:
        """The `times`th match of a pattern in the log, waited for."""

        def matched() -> re.Match[str] | None:
            found = list(re.finditer(pattern, self.log, re.MULTILINE))
            if len(found) < times and not self.main.alive():
                raise AssertionError(f"the worker ended before it logged {pattern!r}:\n{self.log[-3000:]}")
            return found[times - 1] if len(found) >= times else None

        try:
            return wait_until(matched, f"{pattern!r} in the log", timeout)
        except AssertionError as error:
            raise AssertionError(f"{error}\n--- log ---\n{self.log[-3000:]}") from None

    def wait_ready(self, timeout: float = 30) -> "Worker":
        self.wait_log(re.escape(self.name) + r" ready\.", timeout)
        return self

    # ---- its processes ----------------------------------------------------------------------------------------

    def pool(self) -> list[Process]:
        """Its pool children: for celeriac the adopted ones, without the zygote, which is the oldest."""
        ages = {}
        for child in self.main.children():
            with contextlib.suppress(OSError):  # it has gone meanwhile
                ages[int(child._stat()[19]), child.pid] = child
        children = [ages[age] for age in sorted(ages)]
        return children if self.kind == "celery" else children[1:]

    def child_running(self, task_id: str) -> Process:
        """The child that runs a task; needs `loglevel="DEBUG"`, where accepting a task is logged with its pid."""
        return Process(int(self.wait_log(rf"Task accepted: \S+\[{task_id}\] pid:(\d+)")[1]))

    # ---- its end ----------------------------------------------------------------------------------------------

    def send_signal(self, number: int) -> None:
        self.popen.send_signal(number)

    def wait(self, timeout: float = TIMEOUT) -> int:
        """Its exit status, waited for."""
        try:
            return self.popen.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout:g} s:\n{self.log[-3000:]}") from None

    def stop(self, timeout: float = TIMEOUT) -> int:
        """A warm shutdown, as an administrator asks for one."""
        self.send_signal(signal.SIGTERM)
        return self.wait(timeout)

    def close(self) -> None:
        """Make sure that nothing of it is left."""
        if self.popen.poll() is None:
            self.popen.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.popen.wait(3)
        if self.popen.poll() is None:
            family = self.main.descendants()
            self.popen.kill()
            self.popen.wait()
            for process in family:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)

    def alive(self) -> bool:
        return self.popen.poll() is None


class EmbeddedBroker:
    """`celeriac broker` on a free port: it is there in a moment, where RabbitMQ takes seconds."""

    def __enter__(self) -> "EmbeddedBroker":
        command = [str(celeriac_binary()), "broker", "--listen", "127.0.0.1:0"]
        self.popen = subprocess.Popen(command, env=clean_environment(), stdout=subprocess.PIPE, text=True)
        self.url = f"amqp://guest:guest@{re.search(r'127[.]0[.]0[.]1:[0-9]+', self.popen.stdout.readline())[0]}//"
        return self

    def __exit__(self, *_: object) -> None:
        self.popen.kill()
        self.popen.wait()
        self.popen.stdout.close()


class Client:
    """A real Celery client that sends to one queue and reads results by `rpc://`."""

    def __init__(self, url: str, queue: str) -> None:
        self.queue = queue
        self.app = celery.Celery("client", broker=url, backend="rpc://", set_as_current=False)
        self.app.conf.update(
            task_default_queue=queue,
            broker_connection_retry_on_startup=True,
            broker_connection_timeout=4,
        )

    def send(self, name: str, args: Iterable[Any] = (), kwargs: dict[str, Any] | None = None, **options: Any) -> AsyncResult:
        return self.app.send_task(name, tuple(args), kwargs or {}, **options)

    def call(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Send and wait for the result."""
        return self.send(name, args, kwargs).get(timeout=TIMEOUT)

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.app.backend.result_consumer.stop()
        self.app.close()


class Raw:
    """Messages as no Celery client would send them, and a look at what the broker does with them."""

    def __init__(self, broker: Any, url: str, vhost: str = "/") -> None:
        self._broker = broker
        self._vhost = vhost
        user, _, rest = url.removeprefix("amqp://").partition(":")
        password, _, _ = rest.partition("@")
        self.connection = amqp.Connection(
            host=f"127.0.0.1:{broker.port}", userid=user, password=password, virtual_host=vhost
        )
        self.connection.connect()
        self.channel = self.connection.channel()

    def declare(self, queue: str) -> None:
        """A task queue as Celery declares it, and beside it one that gets what is rejected from it.

        A policy of the broker's (see `conftest.py`) names the dead-letter exchange, since the declaration must be
        exactly what a worker's is.
        """
        self.channel.exchange_declare("dead", "direct", durable=True, auto_delete=False)
        self.channel.exchange_declare(queue, "direct", durable=True, auto_delete=False)
        self.channel.queue_declare(queue, durable=True, auto_delete=False)
        self.channel.queue_bind(queue, queue, queue)
        self.channel.queue_declare(f"dead.{queue}", durable=True, auto_delete=False)
        self.channel.queue_bind(f"dead.{queue}", "dead", queue)

    def publish(
        self,
        queue: str,
        body: bytes | str,
        headers: dict[str, Any] | None = None,
        content_type: str | None = "application/json",
        content_encoding: str | None = "utf-8",
        **properties: Any,
    ) -> None:
        named = {"content_type": content_type, "content_encoding": content_encoding, "application_headers": headers}
        message = amqp.Message(
            body.encode() if isinstance(body, str) else body,
            **{name: value for name, value in named.items() if value is not None},
            **properties,
        )
        self.channel.basic_publish(message, routing_key=queue)

    def ready(self, queue: str) -> int:
        """How many messages wait in a queue."""
        return self.channel.queue_declare(queue, passive=True).message_count

    def counts(self, queue: str) -> tuple[int, int]:
        """How many messages wait in a queue, and how many are delivered but not acknowledged."""
        listing = self._broker.control(
            "list_queues", "-p", self._vhost, "name", "messages_ready", "messages_unacknowledged", "--no-table-headers"
        )
        for line in listing.splitlines():
            name, ready, unacknowledged = line.split("\t")
            if name == queue:
                return int(ready), int(unacknowledged)
        raise AssertionError(f"no queue {queue}:\n{listing}")

    def take(self, queue: str) -> Any:
        """The first message of a queue, or None."""
        message = self.channel.basic_get(queue, no_ack=True)
        return message

    def close(self) -> None:
        with contextlib.suppress(Exception):
            self.connection.close()


def task_headers(name: str | None = "demo.add", identity: str | None = None, **more: Any) -> dict[str, Any]:
    """Headers of a protocol 2 message, all nineteen as Celery's client writes them; `more` overrides."""
    identity = identity or str(uuid.uuid4())
    return {
        "lang": "py",
        "task": name,
        "id": identity,
        "shadow": None,
        "eta": None,
        "expires": None,
        "group": None,
        "group_index": None,
        "retries": 0,
        "timelimit": [None, None],
        "root_id": identity,
        "parent_id": None,
        "argsrepr": "(2, 3)",
        "kwargsrepr": "{}",
        "origin": "gen1@test",
        "ignore_result": False,
        "replaced_task_nesting": 0,
        "stamped_headers": None,
        "stamps": {},
    } | more


def task_body(args: Any = (2, 3), kwargs: Any = None, embed: Any = None) -> str:
    """A protocol 2 body."""
    default = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}
    return json.dumps([args, {} if kwargs is None else kwargs, default if embed is None else embed])


@contextlib.contextmanager
def elapsed() -> Iterator[Callable[[], float]]:
    """Seconds since the block began."""
    begin = time.monotonic()
    yield lambda: time.monotonic() - begin
