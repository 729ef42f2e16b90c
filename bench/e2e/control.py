"""What remote control and events cost, and whether they leave anything behind.

    bench/e2e/control.sh            all of it
    bench/e2e/control.sh cli        a probe by command line: `celeriac inspect ping -d NODE` beside Celery's
    bench/e2e/control.sh busy       ping while every slot is busy and 100,000 messages wait
    bench/e2e/control.sh events     throughput with and without -E, five interleaved pairs
    bench/e2e/control.sh many       200 workers of one child each on one embedded broker
    bench/e2e/control.sh storm      10,000 inspect calls, half of them killed: what remains
    bench/e2e/control.sh scrape     /metrics with 1000 tasks, and what a probe costs
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import random
import re
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid
from collections.abc import Iterator

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests/interop"))

import amqp  # noqa: E402

from harness import Process, Worker, celeriac_binary, clean_environment, task_body, task_headers, wait_until  # noqa: E402
from rabbitmq import RabbitMQ, free_port  # noqa: E402


@contextlib.contextmanager
def worker(broker: RabbitMQ, folder: pathlib.Path, **options) -> Iterator[Worker]:
    made = Worker("celeriac", broker.url, f"bench.{uuid.uuid4().hex[:8]}", folder, **options)
    try:
        yield made.wait_ready(60)
    finally:
        made.close()


@contextlib.contextmanager
def channel_of(broker: RabbitMQ) -> Iterator[amqp.Channel]:
    connection = amqp.Connection(host=f"127.0.0.1:{broker.port}", userid="guest", password="guest")
    connection.connect()
    with contextlib.closing(connection):
        yield connection.channel()


def fill(channel: amqp.Channel, queue: str, count: int, name: str = "demo.noop", args: tuple = ()) -> None:
    """So many tasks in a queue."""
    channel.exchange_declare(queue, "direct", durable=True, auto_delete=False)
    channel.queue_declare(queue, durable=True, auto_delete=False)
    channel.queue_bind(queue, queue, queue)
    for _ in range(count):
        headers = task_headers(name, ignore_result=True)
        message = amqp.Message(task_body(args), content_type="application/json", content_encoding="utf-8", application_headers=headers)
        channel.basic_publish(message, routing_key=queue)


def timed(command: list[str], times: int) -> tuple[float, float]:
    """Median wall and mean processor milliseconds."""
    walls, before = [], resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(times):
        begin = time.perf_counter()
        subprocess.run(command, env=clean_environment(), check=True, stdout=subprocess.DEVNULL)
        walls.append(time.perf_counter() - begin)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return statistics.median(walls) * 1000, used / times * 1000


def cli(broker: RabbitMQ, folder: pathlib.Path) -> None:
    """Done-when: `celeriac inspect ping -d NODE` takes under 20 ms."""
    with worker(broker, folder) as node:
        ours = [str(celeriac_binary()), "-b", broker.url, "inspect", "ping", "-d", node.name]
        theirs = [sys.executable, "-m", "celery", "-b", broker.url, "inspect", "ping", "-d", node.name]
        for name, command, times in (("celeriac", ours, 40), ("celery", theirs, 5)):
            wall, used = timed(command, times)
            print(f"cli     {name:9} inspect ping -d NODE: {wall:7.1f} ms wall, {used:6.1f} ms processor")


def busy(broker: RabbitMQ, folder: pathlib.Path) -> None:
    """T9.4: p99 under 20 ms with all slots busy and 100,000 messages queued."""
    with worker(broker, folder, concurrency=4) as node, channel_of(broker) as channel:
        fill(channel, node.queue, 4, "demo.sleep", (600,))
        wait_until(lambda: len(node.pool()) == 4, "four children")
        fill(channel, node.queue, 100_000)
        client = uuid.uuid4().hex
        replies = f"{client}.reply.celery.pidbox"
        channel.exchange_declare("reply.celery.pidbox", "direct", durable=False, auto_delete=False)
        channel.queue_declare(replies, durable=False, exclusive=True, auto_delete=True)
        channel.queue_bind(replies, "reply.celery.pidbox", client)
        came = []
        channel.basic_consume(replies, no_ack=True, callback=came.append)
        times = []
        for number in range(1000):
            request = {"method": "ping", "arguments": {}, "destination": [node.name], "pattern": None, "matcher": None, "ticket": str(number),
                       "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": client}}
            message = amqp.Message(json.dumps(request), content_type="application/json", content_encoding="utf-8")
            begin = time.perf_counter()
            channel.basic_publish(message, "celery.pidbox", "")
            while not came:
                channel.connection.drain_events(timeout=5)
            times.append((time.perf_counter() - begin) * 1000)
            came.clear()
        times.sort()
        print(f"busy    1000 pings: median {times[500]:.2f} ms, p99 {times[990]:.2f} ms, longest {times[-1]:.2f} ms")
        os.killpg(node.popen.pid, signal.SIGKILL)


def events(broker: RabbitMQ, folder: pathlib.Path, tasks: int = 20_000, pairs: int = 5) -> None:
    """T18.1: throughput with -E within 10 % of without."""
    rates: dict[str, list[float]] = {"without": [], "with -E": []}
    costs: dict[str, list[tuple[float, float]]] = {name: [] for name in rates}
    brokers = [Process(broker.process.pid), *Process(broker.process.pid).descendants()]
    served = lambda: sum(one.cpu_seconds() for one in brokers if one.alive())  # noqa: E731
    with channel_of(broker) as channel:
        for _ in range(pairs):
            for name in rates:
                queue = f"bench.{uuid.uuid4().hex[:8]}"
                fill(channel, queue, tasks)
                options = {"arguments": ["-E"] if name == "with -E" else [], "loglevel": "WARNING", "concurrency": 2}
                made = Worker("celeriac", broker.url, queue, folder, **options)
                ready = lambda: channel.queue_declare(queue, passive=True).message_count  # noqa: E731
                wait_until(lambda: ready() < tasks, "it begins", 30)
                begin, left, before = time.perf_counter(), ready(), (made.main.cpu_seconds(), served())
                while ready() > 0:
                    time.sleep(0.002)
                rates[name].append(left / (time.perf_counter() - begin))
                used = (made.main.cpu_seconds() - before[0], served() - before[1])
                costs[name].append(tuple(seconds / left * 1e6 for seconds in used))
                made.close()
                channel.queue_delete(queue)
    for name, all_of_it in rates.items():
        main, served_by = (statistics.median(cost) for cost in zip(*costs[name]))
        print(f"events  {name:8} {statistics.median(all_of_it):7.0f} tasks/s   {[round(rate) for rate in all_of_it]}   "
              f"a task costs main {main:.1f} us, the broker {served_by:.1f} us")
    ratio = statistics.median(rates["with -E"]) / statistics.median(rates["without"])
    print(f"events  ratio {ratio:.3f}")


def many(_: RabbitMQ, folder: pathlib.Path, count: int = 200) -> None:
    """T16.2: all consume within 10 s of the last start, with O(n) control messages."""
    port = free_port()
    command = [str(celeriac_binary()), "broker", "--listen", f"127.0.0.1:{port}", "-q"]
    environment = clean_environment()
    broker = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"amqp://guest:guest@127.0.0.1:{port}//"
    workers, log = [], open(folder / "many.log", "wb")
    try:
        wait_until(lambda: not socket.socket().connect_ex(("127.0.0.1", port)), "the broker")
        connection = amqp.Connection(host=f"127.0.0.1:{port}", userid="guest", password="guest")
        connection.connect()
        channel = connection.channel()
        channel.exchange_declare("celery.pidbox", "fanout", durable=False, auto_delete=False)
        spy = channel.queue_declare("", exclusive=True).queue
        channel.queue_bind(spy, "celery.pidbox", "")
        begin = time.perf_counter()
        for number in range(count):
            options = ["worker", "--demo", "-c", "1", "-b", url, "-n", f"w{number}@many", "-l", "INFO"]
            workers.append(subprocess.Popen([command[0], *options], env=environment, stdout=subprocess.DEVNULL, stderr=log, start_new_session=True))
        last = time.perf_counter()
        consumers = lambda: channel.queue_declare("celery", passive=True).consumer_count  # noqa: E731
        wait_until(lambda: exists(connection) and consumers() == count, "all consume", 80)
        done = time.perf_counter()
        time.sleep(1.5)  # what is said at the start has been said
        requests = channel.queue_declare(spy, passive=True).message_count
        text = (folder / "many.log").read_text(errors="replace")
        told = [int(number) for number in re.findall(r"mingle: sync with (\d+) nodes", text)]
        print(f"many    {count} workers started in {last - begin:.1f} s; all consume {done - last:.1f} s after the last start")
        print(f"many    {requests} requests, {sum(told)} replies to greetings (at most {max(told, default=0)} to one)")
    finally:
        for one in workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
        for one in workers:
            one.wait()
        broker.kill()
        broker.wait()
        log.close()


def exists(connection: amqp.Connection) -> bool:
    """Whether the task queue is there by now."""
    probe = connection.channel()
    try:
        probe.queue_declare("celery", passive=True)
    except amqp.exceptions.NotFound:
        return False
    probe.close()
    return True


def storm(broker: RabbitMQ, folder: pathlib.Path, calls: int = 10_000, at_once: int = 6) -> None:
    """T17.1: after 10,000 inspect calls, half of them killed, no queue or binding of theirs remains."""
    with worker(broker, folder) as node:
        command = [str(celeriac_binary()), "-b", broker.url, "inspect", "ping", "-d", node.name]
        chance, running, started, killed = random.Random(1), [], 0, set()
        begin = time.perf_counter()
        while started < calls or running:
            while started < calls and len(running) < at_once:
                doomed = started % 2 == 0
                one = subprocess.Popen(command, env=clean_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                running.append((one, time.perf_counter() + chance.uniform(0, 0.02) if doomed else None))
                started += 1
            now = time.perf_counter()
            for one, end in running:
                if end is not None and now >= end and one.poll() is None:
                    one.kill()
                    killed.add(one.pid)
            running = [pair for pair in running if pair[0].poll() is None]
            time.sleep(0.0005)
        took = time.perf_counter() - begin
        wait_until(lambda: ".reply." not in broker.control("list_queues", "name"), "their queues are gone", 30)
        bound = [line for line in broker.control("list_bindings").splitlines() if ".reply." in line]
        print(f"storm   {started} calls in {took:.0f} s, {len(killed)} killed: {len(bound)} queues or bindings of theirs remain")


def scrape(broker: RabbitMQ, folder: pathlib.Path) -> None:
    """T27.1 and T9.1: a scrape with 1000 tasks, and a probe."""
    port = free_port()
    with worker(broker, folder, arguments=["--http", str(port)]) as node, channel_of(broker) as channel:
        for number in range(1000):
            fill(channel, node.queue, 1, f"task.number.{number}") if number == 0 else publish_unknown(channel, node.queue, number)
        address = f"http://127.0.0.1:{port}/metrics"
        read = lambda: urllib.request.urlopen(address).read().decode()  # noqa: E731
        wait_until(lambda: read().count("celeriac_tasks_failed_total{") >= 1000, "all are counted", 30)
        before, times = node.main.cpu_seconds(), []
        for _ in range(200):
            begin = time.perf_counter()
            text = read()
            times.append((time.perf_counter() - begin) * 1000)
        used = (node.main.cpu_seconds() - before) / 200 * 1000
        print(f"scrape  {len(text) // 1024} KiB of 1000 tasks: median {statistics.median(times):.2f} ms, {used:.2f} ms of main's processor time")
        wall, used = timed([str(celeriac_binary()), "health", "--http", str(port)], 50)
        print(f"scrape  celeriac health: {wall:.1f} ms wall, {used:.1f} ms processor")


def publish_unknown(channel: amqp.Channel, queue: str, number: int) -> None:
    headers = task_headers(f"task.number.{number}", ignore_result=True)
    message = amqp.Message(task_body(()), content_type="application/json", content_encoding="utf-8", application_headers=headers)
    channel.basic_publish(message, routing_key=queue)


PARTS = {"cli": cli, "busy": busy, "events": events, "many": many, "storm": storm, "scrape": scrape}


def main() -> None:
    wanted = sys.argv[1:] or list(PARTS)
    if any(name not in PARTS for name in wanted):
        print(__doc__)
        sys.exit(2)
    with RabbitMQ() as broker, tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            PARTS[name](broker, pathlib.Path(folder))


if __name__ == "__main__":
    main()
