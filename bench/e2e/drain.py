"""How fast whole workers drain a queue, interleaved so that a busy moment of the machine meets all of them.

Every worker gets the same messages, the same prefetch, the same broker (private, started here), and logs nothing but
warnings. Time runs from the first delivery to the moment the queue is empty; then the broker is asked whether every
message was acknowledged. Run through `drain.sh`, which builds what is compared.
"""

from __future__ import annotations

import argparse
import datetime
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from dataclasses import dataclass
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests/interop"))

from harness import Process, Raw, Worker, clean_environment, task_body, task_headers, wait_until  # noqa: E402
from rabbitmq import RabbitMQ  # noqa: E402

WORKERS = ("celeriac", "rusty-celery", "celery")


@dataclass
class Run:
    """What one worker did with one queue."""

    rate: float  # tasks a second
    main: float  # CPU of the main process, microseconds a task
    children: float  # CPU of its children, microseconds a task
    broker: float  # CPU of the broker, microseconds a task
    resident: int  # KiB of the main process at the end


class RustyCelery:
    """A rusty-celery worker: one process, tasks run in it."""

    def __init__(self, url: str, queue: str, prefetch: int) -> None:
        program = HERE / "rusty-celery/target/release/rusty-celery-worker"
        # It wants the default virtual host spelled out.
        self.popen = subprocess.Popen([program, url + "%2f", queue, str(prefetch)], env=clean_environment(RUST_LOG="warn"))
        self.main = Process(self.popen.pid)

    def close(self) -> None:
        self.popen.kill()
        self.popen.wait()


def start(name: str, broker: RabbitMQ, queue: str, options: argparse.Namespace, directory: pathlib.Path) -> Any:
    if name == "rusty-celery":
        return RustyCelery(broker.url, queue, options.prefetch)
    each = max(1, options.prefetch // options.concurrency)
    arguments = ["--prefetch-multiplier", str(each)]
    if name == "celery":
        arguments.append("--without-heartbeat")
    return Worker(
        name,
        broker.url,
        queue,
        directory,
        concurrency=options.concurrency,
        loglevel="WARNING",
        arguments=arguments,
    )


def fill(raw: Raw, queue: str, count: int) -> None:
    body = task_body([])
    for _ in range(count):
        headers = task_headers("demo.noop", argsrepr="()", ignore_result=True)
        raw.publish(queue, body, headers, correlation_id=headers["id"], delivery_mode=2)
    wait_until(lambda: raw.ready(queue) == count, "the queue filled", 60)


def drain(name: str, broker: RabbitMQ, raw: Raw, options: argparse.Namespace, directory: pathlib.Path) -> Run:
    queue = f"t.{uuid.uuid4().hex[:12]}"
    raw.declare(queue)
    fill(raw, queue, options.tasks)
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
            time.sleep(0.01)
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
    base = runs.get("celeriac")
    for name, each in runs.items():
        if base and name != "celeriac":
            ratio = statistics.median(ours.rate / theirs.rate for ours, theirs in zip(base, each))
            print(f"celeriac / {name}: {ratio:.2f} (median of the pairs)")


def describe() -> str:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    cpu = next((line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    return f"{datetime.date.today()}, {commit.stdout.strip() or 'no commit'}, {os.cpu_count()} x {cpu}, {platform.system()} {platform.release()}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=50_000, help="messages waiting in the queue")
    parser.add_argument("--pairs", type=int, default=5, help="how often each worker has its turn")
    parser.add_argument("--prefetch", type=int, default=200, help="messages a worker may hold")
    parser.add_argument("--concurrency", type=int, default=2, help="children, where a worker has some")
    parser.add_argument("--workers", default="celeriac,rusty-celery", help=f"of {', '.join(WORKERS)}")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one drain")
    options = parser.parse_args()
    names = options.workers.split(",")
    if unknown := set(names) - set(WORKERS):
        parser.error(f"unknown worker: {', '.join(sorted(unknown))}")

    print(describe())
    print(f"{options.tasks} demo.noop, prefetch {options.prefetch}, {options.concurrency} children")
    runs: dict[str, list[Run]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory(prefix="celeriac-drain-") as directory, RabbitMQ() as broker:
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
