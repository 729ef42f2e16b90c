"""Fixtures of the stories: one RabbitMQ a session, queues and processes of their own for each test.

Options: ``--worker celery`` runs the same stories against Celery's own worker, which shows whether a story tells
the truth about Celery; stories about what celeriac does on purpose otherwise are marked ``celeriac``.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from harness import ROOT, Client, EmbeddedBroker, Raw, Worker, celeriac_binary
from rabbitmq import RabbitMQ


# Seconds that no test may exceed; a file may have its own limits.
TEST_LIMIT = 150
LONG_TEST_LIMIT = 3600


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="as often, or for as long, as each promise says: an hour instead of minutes")
    parser.addoption("--worker", choices=["celeriac", "celery"], default="celeriac", help="the worker under test")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "celeriac(why): a deliberate deviation from Celery, or a promise beyond it")
    # A run that is told to end still stops its broker and its workers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if config.getoption("--worker") == "celeriac":
        celeriac_binary()  # a missing build is one clear error, not a hundred


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--worker") == "celery":
        for item in items:
            mark = item.get_closest_marker("celeriac")
            if mark:
                item.add_marker(pytest.mark.skip(reason=f"celeriac only: {mark.args[0]}"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """A test that hangs is a failure of that test, not of the run."""
    if item.config.getoption("--long"):
        limit = getattr(item.module, "LONG_TEST_LIMIT", LONG_TEST_LIMIT)
    else:
        limit = getattr(item.module, "TEST_LIMIT", TEST_LIMIT)

    def too_long(*_: object) -> None:
        raise AssertionError(f"{item.name} took longer than {limit} s")

    previous = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(limit)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, previous)


@pytest.fixture(scope="session")
def broker() -> Iterator[RabbitMQ]:
    """The session's broker. A test that disturbs it starts one of its own."""
    with RabbitMQ() as running:
        prepare(running)
        yield running


@pytest.fixture(scope="session")
def second_broker() -> Iterator[RabbitMQ]:
    """A broker that the tests may stop. It waits four seconds for an acknowledgement."""
    with RabbitMQ("[{rabbit, [{consumer_timeout, 4000}, {channel_tick_interval, 500}]}]") as running:
        prepare(running)
        yield running


@pytest.fixture
def fragile(second_broker: RabbitMQ) -> RabbitMQ:
    """That broker, up."""
    if second_broker.process is None:
        second_broker.start()
    return second_broker


@pytest.fixture
def own_broker() -> Iterator[EmbeddedBroker]:
    """A broker of the test's own, which it may stop or end."""
    with EmbeddedBroker() as running:
        yield running


def prepare(broker: RabbitMQ, vhost: str = "/") -> None:
    """What is rejected from a task queue of the tests goes to the exchange `dead`."""
    policy = json.dumps({"dead-letter-exchange": "dead"})
    broker.control("set_policy", "-p", vhost, "--apply-to", "queues", "dead", r"^t\.", policy)


@pytest.fixture
def kind(request: pytest.FixtureRequest) -> str:
    """`celeriac` or `celery`."""
    return request.config.getoption("--worker")


@pytest.fixture
def scale(request: pytest.FixtureRequest) -> Callable[[int, int], int]:
    """The first of two numbers, or with `--long` the second: how often, how many, how long."""
    return lambda short, long: long if request.config.getoption("--long") else short


@pytest.fixture
def queue() -> str:
    """A queue name of the test's own."""
    return f"t.{uuid.uuid4().hex[:12]}"


@pytest.fixture
def make_worker(kind: str, broker: RabbitMQ, queue: str, tmp_path: pathlib.Path) -> Iterator[Callable[..., Worker]]:
    """Starts workers on the test's queue, and ends them with the test. See `Worker` for the options."""
    workers: list[Worker] = []

    def make(url: str | None = None, *, ready: bool = True, on: str | None = None, **options: Any) -> Worker:
        worker = Worker(kind, url or broker.url, on or queue, tmp_path, **options)
        workers.append(worker)
        return worker.wait_ready() if ready else worker

    yield make
    for worker in workers:
        worker.close()


@pytest.fixture
def app_worker(make_worker: Callable[..., Worker], kind: str) -> Callable[..., Worker]:
    """Starts workers of the Python app `life_app`."""
    program = [sys.executable, "-m", "celery"] if kind == "celery" else [str(celeriac_binary()), "--python", sys.executable]
    command = [*program, "-A", "life_app"]
    return lambda **options: make_worker(command=command, urls_in_environment=True, **options)


@pytest.fixture(scope="session")
def life_program() -> pathlib.Path:
    """The same tasks in Rust, built unless it is."""
    built = subprocess.run(
        ["cargo", "build", "--quiet", "--offline", "--example", "life"], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    assert built.returncode == 0, built.stderr
    return pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/examples/life"


@pytest.fixture(params=["python", "rust"])
def life_worker(request: pytest.FixtureRequest, kind: str, make_worker: Callable[..., Worker]) -> Callable[..., Worker]:
    """Starts workers of the tasks of `life_app`, in Python, or of the same in Rust; `life_worker.kind` says which."""
    if request.param == "python":
        start = request.getfixturevalue("app_worker")
    elif kind == "celery":
        pytest.skip("Celery has no tasks in Rust")
    else:
        program = str(request.getfixturevalue("life_program"))

        def start(**options: Any) -> Worker:
            return make_worker(command=[program], urls_in_environment=True, **options)

    start.kind = request.param
    return start


@pytest.fixture
def worker(make_worker: Callable[..., Worker]) -> Worker:
    """A worker of two children, ready, on the test's queue."""
    return make_worker()


@pytest.fixture
def client(broker: RabbitMQ, queue: str) -> Iterator[Client]:
    """A Celery client that sends to the test's queue."""
    made = Client(broker.url, queue)
    yield made
    made.close()


@pytest.fixture
def raw(broker: RabbitMQ, queue: str) -> Iterator[Raw]:
    """Raw access to the broker; the test's queue and its dead-letter queue are declared."""
    made = Raw(broker, broker.url)
    made.declare(queue)
    yield made
    made.close()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A failure shows the log of every worker in it."""
    outcome = yield
    report = outcome.get_result()
    if report.when == "call" and report.failed:
        directory = getattr(item, "funcargs", {}).get("tmp_path")
        for log in sorted(directory.glob("*.log")) if directory else []:
            report.sections.append((f"worker's log ({log.name})", log.read_text(errors="replace")[-6000:]))
