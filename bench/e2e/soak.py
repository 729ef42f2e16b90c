"""Main's memory over a million Python tasks: how much it grows after the first tenth of them."""

from __future__ import annotations

import argparse
import time

from drain import describe, python_app
from harness import Raw, task_body, task_headers
from rabbitmq import RabbitMQ

#: Messages that wait in the queue at most.
BACKLOG = 20_000
BATCH = 2_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=1_000_000, help="how many in all")
    parser.add_argument("--concurrency", type=int, default=2, help="children")
    options = parser.parse_args()
    print(describe())
    with RabbitMQ() as broker:
        raw = Raw(broker, broker.url)
        raw.declare("soak")
        worker = python_app("celeriac-python", broker.url, "soak", None, options.concurrency)
        try:
            soak(worker, raw, options.tasks)
        finally:
            worker.close()
            raw.close()


def soak(worker: object, raw: Raw, tasks: int) -> None:
    published, tenths, sizes, begin = 0, 0, [], time.monotonic()
    while tenths < 10:
        waiting = raw.ready("soak")
        if published - waiting >= (tenths + 1) * tasks // 10:
            tenths += 1
            sizes.append(worker.main.resident_kib())
            rate = (published - waiting) / (time.monotonic() - begin)
            print(f"{tenths * tasks // 10:>10} tasks: {sizes[-1] / 1024:.2f} MiB in main, {rate:.0f} tasks/s", flush=True)
        if not worker.main.alive():
            raise SystemExit("the worker has ended")
        if published < tasks and waiting < BACKLOG:
            for _ in range(min(BATCH, tasks - published)):
                headers = task_headers("demo.noop", argsrepr="()", ignore_result=True)
                raw.publish("soak", task_body([]), headers, correlation_id=headers["id"], delivery_mode=1)
                published += 1
        else:
            time.sleep(0.02)
    print(f"main grew by {(sizes[-1] - sizes[0]) / 1024:.2f} MiB after the first tenth")


if __name__ == "__main__":
    main()
