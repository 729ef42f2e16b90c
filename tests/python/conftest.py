"""Fixtures of the stories about Python apps. RabbitMQ, workers and waiting are those of `tests/interop`."""

from __future__ import annotations

import os
import pathlib
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "interop")]

from harness import celeriac_binary  # noqa: E402
from rabbitmq import RabbitMQ, free_port  # noqa: E402


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--versions", default="5.3", help="which older Celerys to compare with, such as 5.3,5.4,5.5,5.6")
    parser.addoption("--whole", action="store_true", help="the long forms of stories: minutes more")


def pytest_configure(config: pytest.Config) -> None:
    celeriac_binary()  # a missing build is one clear error


@pytest.fixture(scope="session")
def broker() -> Iterator[RabbitMQ]:
    with RabbitMQ() as running:
        yield running


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of one's own; skips without `redis-server`."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("no redis-server here: tests/setup.sh installs it")
    port, folder = free_port(), tmp_path_factory.mktemp("redis")
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen([program, *options], stdout=subprocess.DEVNULL)
    import redis
    client = redis.Redis(port=port)
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
            break
        except redis.ConnectionError:
            assert time.monotonic() < deadline, "Redis did not start"
            time.sleep(0.05)
    yield f"redis://127.0.0.1:{port}/0"
    server.terminate()
    server.wait(10)


def story_environment(**variables: str) -> dict[str, str]:
    """The environment of an app: nothing of Celery's but what is given."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("CELERY_", "BROKER_", "RESULT_", "STORY_", "DJANGO_"))
    }
    return kept | {"PYTHONPATH": str(HERE), "C_FORCE_ROOT": "1"} | variables
