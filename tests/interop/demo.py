"""The demonstration behind `tests/demo.sh`: what a reader of the README sees first. Exits 0 when all of it is true."""

from __future__ import annotations

import os
import pathlib
import signal
import sys
import tempfile
import time
from collections.abc import Callable

from harness import Client, Worker, celeriac_binary
from rabbitmq import RabbitMQ

QUEUE = "celery"


def show(code: str, outcome: object) -> None:
    print(f"  >>> {code}\n  {outcome}", flush=True)


def raised(call: Callable[[], object]) -> str:
    """What a call raises, as Python would print it."""
    try:
        return f"no exception, but {call()!r}"
    except Exception as error:  # noqa: BLE001 - whatever the task raised
        return f"{type(error).__name__}: {error}"


def demonstrate(worker: Worker, client: Client) -> list[bool]:
    """Runs it, prints it, and says of each part whether it came out right."""
    told: list[bool] = []

    print(f"\nA Celery client in Python, whose worker is {celeriac_binary().name}:")
    value = client.send("demo.add", (2, 3)).get(timeout=5)
    show("app.send_task('demo.add', (2, 3)).get()", value)
    told.append(value == 5)

    value = client.send("demo.add", (), {"x": 20, "y": 22}).get(timeout=5)
    show("app.send_task('demo.add', kwargs={'x': 20, 'y': 22}).get()", value)
    told.append(value == 42)

    text = raised(lambda: client.send("demo.fail", ("out of celery",)).get(timeout=5))
    show("app.send_task('demo.fail', ('out of celery',)).get()", text)
    told.append(text == "ValueError: out of celery")

    text = raised(lambda: client.send("demo.add", (2,)).get(timeout=5))
    show("app.send_task('demo.add', (2,)).get()", text)
    told.append(text.startswith("TypeError") and "missing 1 required positional argument: 'y'" in text)

    value = client.send("demo.retry", (2, 0.2)).get(timeout=10)
    show("app.send_task('demo.retry', (2, 0.2)).get()    # fails twice, retried twice", value)
    told.append(value == 2)

    begin = time.monotonic()
    value = client.send("demo.echo", ("later",), countdown=1).get(timeout=5)
    show("app.send_task('demo.echo', ('later',), countdown=1).get()", f"{value!r}  # {time.monotonic() - begin:.1f} s later")
    told.append(value == "later" and time.monotonic() - begin >= 0.95)

    doomed = client.send("demo.sleep", (60,))
    os.kill(worker.child_running(doomed.id).pid, signal.SIGKILL)
    text = raised(lambda: doomed.get(timeout=5))
    show("app.send_task('demo.sleep', (60,)).get()    # and somebody kills -9 the child that runs it", text)
    told.append(text.startswith("WorkerLostError"))

    begin = time.monotonic()
    results = [client.send("demo.mul", (number, number)) for number in range(1000)]
    right = [result.get(timeout=30) for result in results] == [number * number for number in range(1000)]
    show("[app.send_task('demo.mul', (n, n)) for n in range(1000)]    # and every result", f"all {'right' if right else 'WRONG'}, {time.monotonic() - begin:.1f} s, the client's own time included")
    told.append(right)

    print(f"\nThe worker: {worker.main.resident_kib() / 1024:.1f} MiB in its main process. Told to stop, it ends with status ", end="")
    status = worker.stop()
    print(status)
    told.append(status == 0)
    return told


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="celeriac-demo-") as directory:
        print("Starting a RabbitMQ of its own ...", flush=True)
        with RabbitMQ() as broker:
            worker = Worker("celeriac", broker.url, QUEUE, pathlib.Path(directory), loglevel="DEBUG")
            client = Client(broker.url, QUEUE)
            try:
                print("$ celeriac worker " + " ".join(worker.command[2:]), flush=True)
                worker.wait_ready()
                told = demonstrate(worker, client)
            finally:
                client.close()
                worker.close()
    print(f"\n{sum(told)} passed, {len(told) - sum(told)} failed")
    return 0 if all(told) else 1


if __name__ == "__main__":
    sys.exit(main())
