"""How fast whole workers drain a queue, interleaved so that a busy moment of the machine meets all of them.

Every worker gets the same messages, the same prefetch, the same broker (private, started here), and logs nothing but
warnings. Time runs from the first delivery to the moment the queue is empty; then the broker is asked whether every
message was acknowledged. Run through `drain.sh`, which builds what is compared.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import os
import pathlib
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests/interop"))

from harness import Process, Raw, Worker, celeriac_binary, clean_environment, task_body, task_headers, wait_until  # noqa: E402
from rabbitmq import RabbitMQ, free_port  # noqa: E402

WORKERS = ("celeriac", "rusty-celery", "celeriac-python", "celery")


@dataclass
class Run:
    """What one worker did with one queue."""

    rate: float  # tasks a second
    main: float  # CPU of the main process, microseconds a task
    children: float  # CPU of its children, microseconds a task
    broker: float  # CPU of the broker, microseconds a task
    resident: int  # KiB of the main process at the end


class Program:
    """A worker that is not started as the stories start theirs."""

    def __init__(self, command: list[Any], **environment: str) -> None:
        self.popen = subprocess.Popen(command, env=clean_environment(**environment), start_new_session=True)
        self.main = Process(self.popen.pid)

    def close(self) -> None:
        family = self.main.descendants()
        self.popen.terminate()
        try:
            self.popen.wait(20)
        except subprocess.TimeoutExpired:
            for process in [self.main, *family]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
            self.popen.wait()


def start(name: str, broker: RabbitMQ, queue: str, options: argparse.Namespace, directory: pathlib.Path) -> Any:
    if name == "rusty-celery":
        program = HERE / "rusty-celery/target/release/rusty-celery-worker"
        # It wants the default virtual host spelled out.
        return Program([program, broker.url + "%2f", queue, str(options.prefetch)], RUST_LOG="warn")
    each = max(1, options.prefetch // options.concurrency)
    arguments = ["--prefetch-multiplier", str(each)]
    if name != "celeriac":
        return python_app(name, broker.url, queue, options.results, options.concurrency, *arguments)
    return Worker(
        name, broker.url, queue, directory, concurrency=options.concurrency, loglevel="WARNING", arguments=arguments
    )


def python_app(
    name: str,
    url: str,
    queue: str,
    results: str | None,
    concurrency: int,
    *arguments: str,
    app: str = "bench_app",
    environment: dict[str, str] | None = None,
) -> Program:
    """`bench_app.py`, or another app, under celeriac or under Celery, with its results kept at the URL `results`, if anywhere."""
    program = [celeriac_binary(), "--python", sys.executable] if name == "celeriac-python" else [sys.executable, "-m", "celery"]
    command = [*program, "-A", app, "worker", "-Q", queue, "-c", str(concurrency), "-l", "WARNING", *arguments]
    alone = ["-n", f"{name}@%h", "--without-mingle", "--without-gossip", "--without-heartbeat"]
    kept = {"BENCH_RESULTS": results} if results else {}
    return Program([*command, *alone], PYTHONPATH=str(HERE), BENCH_BROKER=url, **kept, **(environment or {}))


def fill(raw: Raw, queue: str, count: int, ignore_result: bool = True) -> None:
    body = task_body([])
    for _ in range(count):
        headers = task_headers("demo.noop", argsrepr="()", ignore_result=ignore_result)
        raw.publish(queue, body, headers, correlation_id=headers["id"], delivery_mode=2)
    wait_until(lambda: raw.ready(queue) == count, "the queue filled", 60)


def drain(name: str, broker: RabbitMQ, raw: Raw, options: argparse.Namespace, directory: pathlib.Path) -> Run:
    queue = f"t.{uuid.uuid4().hex[:12]}"
    raw.declare(queue)
    fill(raw, queue, options.tasks, ignore_result=not options.results)
    worker = start(name, broker, queue, options, directory)
    try:
        deadline = time.monotonic() + options.timeout
        begin = cpu = None
        while True:
            waiting, now = raw.ready(queue), time.monotonic()
            if begin is None and waiting < options.tasks:
                begin, cpu, first = now, cpu_of(worker.main, broker), options.tasks - waiting
            if waiting == 0:
                break
            if now > deadline or not worker.main.alive():
                raise SystemExit(f"{name}: {waiting} still waiting after {options.timeout:g} s, or the worker ended\n{getattr(worker, 'log', '')[-2000:]}")
            time.sleep(0.03)
        wait_until(lambda: raw.counts(queue) == (0, 0), f"every message acknowledged by {name}", 30)
        spent = [after - before for after, before in zip(cpu_of(worker.main, broker), cpu)]
        if raw.ready(f"dead.{queue}"):
            raise SystemExit(f"{name} rejected messages")
        micros = [1e6 * seconds / options.tasks for seconds in spent]
        return Run((options.tasks - first) / (now - begin), *micros, worker.main.resident_kib())
    finally:
        worker.close()
        raw.channel.queue_delete(queue)
        raw.channel.queue_delete(f"dead.{queue}")


def cpu_of(main: Process, broker: RabbitMQ) -> tuple[float, float, float]:
    """CPU seconds of the main process, of the children it has, and of the broker."""
    children = sum(child.cpu_seconds() for child in main.descendants())
    beam = sum(part.cpu_seconds() for part in Process(broker.process.pid).descendants())
    return main.cpu_seconds(), children, beam


def idle(broker: RabbitMQ, options: argparse.Namespace, directory: pathlib.Path, seconds: float = 5) -> str:
    """Wake-ups and memory of a celeriac worker that has nothing to do."""
    worker = Worker("celeriac", broker.url, f"t.{uuid.uuid4().hex[:12]}", directory, concurrency=options.concurrency)
    try:
        worker.wait_ready()
        time.sleep(1)
        before = worker.main.wake_ups()
        time.sleep(seconds)
        rate = (worker.main.wake_ups() - before) / seconds
        return f"celeriac, idle: {rate:.1f} wake-ups a second, {worker.main.resident_kib() / 1024:.1f} MiB in main"
    finally:
        worker.close()


def report(runs: dict[str, list[Run]]) -> None:
    print(f"\n{'median of ' + str(len(next(iter(runs.values())))):<16}{'tasks/s':>10}{'main µs/task':>15}{'children µs/task':>18}{'broker µs/task':>16}{'main MiB':>10}")
    for name, each in runs.items():
        rate, main, children, broker, resident = (
            statistics.median(getattr(run, field) for run in each) for field in ("rate", "main", "children", "broker", "resident")
        )
        print(f"{name:<16}{rate:>10.0f}{main:>15.1f}{children:>18.1f}{broker:>16.1f}{resident / 1024:>10.1f}")
    first, *others = runs
    for name in others:
        ratio = statistics.median(ours.rate / theirs.rate for ours, theirs in zip(runs[first], runs[name]))
        print(f"{first} / {name}: {ratio:.2f} (median of the pairs)")


@contextlib.contextmanager
def results(options: argparse.Namespace, directory: str) -> Iterator[None]:
    """A Redis, if results are to be kept; `options.results` is its URL then."""
    if not options.results:
        yield
        return
    port = free_port()
    program = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", "", "--dir", directory]
    server = subprocess.Popen(program, stdout=subprocess.DEVNULL)
    options.results = f"redis://127.0.0.1:{port}/0"
    try:
        yield
    finally:
        server.terminate()
        server.wait()


def describe() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{datetime.date.today()}, {commit.stdout.strip() or 'no commit'}, {os.cpu_count()} x {cpu}, {platform.system()} {platform.release()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=50_000, help="messages waiting in the queue")
    parser.add_argument("--pairs", type=int, default=5, help="how often each worker has its turn")
    parser.add_argument("--prefetch", type=int, default=400, help="messages a worker may hold")
    parser.add_argument("--concurrency", type=int, default=2, help="children, where a worker has some")
    parser.add_argument("--workers", default="celeriac,rusty-celery", help=f"of {', '.join(WORKERS)}")
    parser.add_argument("--results", action="store_true", help="for Python apps: results are kept, in a Redis started here")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one drain")
    options = parser.parse_args()
    names = options.workers.split(",")
    if unknown := set(names) - set(WORKERS):
        parser.error(f"unknown worker: {', '.join(sorted(unknown))}")

    print(describe())
    print(f"{options.tasks} demo.noop, prefetch {options.prefetch}, {options.concurrency} children")
    runs: dict[str, list[Run]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="celeriac-drain-") as directory, RabbitMQ() as broker, results(options, directory):
        raw = Raw(broker, broker.url)
        for turn in range(options.pairs):
            # Who goes first alternates, too.
            for name in names if turn % 2 == 0 else reversed(names):
                run = drain(name, broker, raw, options, pathlib.Path(directory))
                runs[name].append(run)
                print(f"  {turn + 1}. {name:<13}{run.rate:>8.0f} tasks/s, main {run.main:>5.1f} µs/task", flush=True)
        report(runs)
        if "celeriac" in names:
            print(idle(broker, options, pathlib.Path(directory)))
        raw.close()


if __name__ == "__main__":
    main()
