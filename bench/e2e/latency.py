"""How long a task takes from its publication to its start, when the worker is idle.

celeriac and Celery with the same Python app, and a bare consumer in C (librabbitmq, `consumer.c`), are idle side by
side on one broker, and get a message each in turn. What the consumer needs is the broker's and the machine's share.
Run through `apps.sh`, which builds what is compared.
"""

from __future__ import annotations

import argparse
import pathlib
import random
import statistics
import sys
import tempfile
import time

from drain import Program, describe, python_app
from bench_app import clock
from harness import Raw, task_body, task_headers, wait_until
from rabbitmq import RabbitMQ

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ("consumer in C", "celeriac-python", "celery")


class Runner:
    """One of those that are compared: its queue, and the moment it notes."""

    def __init__(self, name: str, broker: RabbitMQ, raw: Raw, options: argparse.Namespace, directory: str) -> None:
        self.raw, self.queue = raw, name.replace(" ", "-")
        path = pathlib.Path(directory) / self.queue
        path.write_bytes(bytes(8))
        self.moment = clock(str(path))
        raw.declare(self.queue)
        if name == NAMES[0]:
            self.program = Program([options.consumer, "127.0.0.1", str(broker.port), self.queue, path])
        else:
            self.program = python_app(
                name, broker.url, self.queue, None, options.concurrency, environment={"BENCH_CLOCK": str(path)}
            )

    def once(self, timeout: float = 10) -> float:
        """Microseconds from publication to start."""
        self.moment[0] = 0
        headers = task_headers("bench.begin", argsrepr="()", ignore_result=True)
        published = time.monotonic_ns()
        self.raw.publish(self.queue, task_body([]), headers, correlation_id=headers["id"], delivery_mode=2)
        deadline = time.monotonic() + timeout
        while not self.moment[0]:
            if time.monotonic() > deadline:
                raise SystemExit(f"{self.queue}: the task did not start within {timeout:g} s")
            time.sleep(0.001)
        return (self.moment[0] - published) / 1000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=500, help="messages for each")
    parser.add_argument("--pause", type=float, default=0.02, help="seconds between two messages, at most")
    parser.add_argument("--concurrency", type=int, default=2, help="children of each worker")
    parser.add_argument("--consumer", required=True, help="the program made of consumer.c")
    options = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(prefix="celeriac-latency-") as directory, RabbitMQ() as broker:
        raw = Raw(broker, broker.url)
        runners = {name: Runner(name, broker, raw, options, directory) for name in NAMES}
        try:
            for runner in runners.values():
                for _ in range(2 * options.concurrency + 20):
                    runner.once(60)
            wait_until(lambda: all(raw.ready(one.queue) == 0 for one in runners.values()), "empty queues")
            times = {name: [] for name in NAMES}
            for _ in range(options.rounds):
                for name in random.sample(NAMES, len(NAMES)):
                    time.sleep(options.pause * (1 + random.random()) / 2)
                    times[name].append(runners[name].once())
        finally:
            for runner in runners.values():
                runner.program.close()
        raw.close()
    report(times)


def report(times: dict[str, list[float]]) -> None:
    print(f"\n{'from publication to start, µs':<32}{'median':>10}{'90 %':>10}{'less the consumer':>20}")
    bare = statistics.median(times[NAMES[0]])
    for name, each in times.items():
        median, tail = statistics.median(each), statistics.quantiles(each, n=10)[-1]
        print(f"{name:<32}{median:>10.0f}{tail:>10.0f}{median - bare:>20.0f}")
    ours, theirs = (statistics.median(times[name]) - bare for name in NAMES[1:])
    print(f"celeriac / celery, less the consumer: {ours / theirs:.2f}")


if __name__ == "__main__":
    sys.exit(main())
