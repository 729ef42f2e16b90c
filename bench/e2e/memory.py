"""What a worker with all its processes weighs: the same Django-size app under celeriac and under Celery.

Each runs tasks until every child has done its share, and then the proportional set size (PSS, where a page that n
processes share counts 1/n in each) of its whole tree is summed up.
"""

from __future__ import annotations

import argparse
import pathlib
import re
import tempfile
import time

from drain import describe, python_app
from harness import Process, Raw, task_body, task_headers
from rabbitmq import RabbitMQ

NAMES = ("celeriac-python", "celery")


def proportional_kib(process: Process) -> int:
    text = (process.proc / "smaps_rollup").read_text()
    return int(re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)[1])


def title(process: Process) -> str:
    return (process.proc / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:60].strip()


def publish(raw: Raw, queue: str, count: int) -> None:
    for number in range(count):
        headers = task_headers("bench.page", ignore_result=True)
        raw.publish(queue, task_body([number]), headers, correlation_id=headers["id"], delivery_mode=2)


def run(name: str, broker: RabbitMQ, raw: Raw, options: argparse.Namespace, directory: str) -> dict[str, int]:
    """KiB of each process of the tree, by what it is."""
    path = pathlib.Path(directory) / name
    path.write_bytes(bytes(8 * options.concurrency))
    raw.declare(name)
    environment = {"BENCH_COUNTS": str(path)}
    program = python_app(name, broker.url, name, None, options.concurrency, app="django_app", environment=environment)
    try:
        deadline = time.monotonic() + options.timeout
        while min(counts := memoryview(path.read_bytes()).cast("q")) < options.tasks:
            if time.monotonic() > deadline or not program.main.alive():
                raise SystemExit(f"{name}: {list(counts)} tasks were run in {options.timeout:g} s")
            if raw.ready(name) < 1000:
                publish(raw, name, 1000)
            time.sleep(0.05)
        family: list[Process] = [program.main, *program.main.descendants()]
        return {f"{process.pid} {title(process)}": proportional_kib(process) for process in family}
    finally:
        program.close()
        raw.channel.queue_delete(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1000, help="how many tasks each child runs, at least")
    parser.add_argument("--concurrency", type=int, default=8, help="children of each worker")
    parser.add_argument("--timeout", type=float, default=300, help="seconds for one worker")
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(prefix="celeriac-memory-") as directory, RabbitMQ() as broker:
        raw = Raw(broker, broker.url)
        weights = {name: run(name, broker, raw, options, directory) for name in NAMES}
        raw.close()
    for name, processes in weights.items():
        print(f"\n{name}: {sum(processes.values()) / 1024:.1f} MiB in {len(processes)} processes")
        for process, kib in processes.items():
            print(f"{kib / 1024:>8.1f}  {process}")
    ours, theirs = (sum(weights[name].values()) for name in NAMES)
    print(f"\nceleriac / celery: {ours / theirs:.2f}")


if __name__ == "__main__":
    main()
