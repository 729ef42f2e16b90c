#!/usr/bin/env python3
"""Runs the integration tests of tasks and of `inspect` that come with Celery's source package against a celeriac worker:

    python tests/suites/celery_tasks.py [-k EXPRESSION ...]              # pytest's arguments
    python tests/suites/celery_tasks.py --worker celery                  # against Celery's, to see what passes at all

The suite starts one worker for all its tests, in a thread; here it is a celeriac process (`session_worker.py`, which
also lists the tests that cannot apply to one). RabbitMQ and Redis are private to the run.
"""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
from run import Suite, environment, source
from brokers import RabbitMQ, binary  # in a folder that `run` has put on the path, as the next
from rabbitmq import free_port, stop_with_parent

#: Of 76 tests 57 pass, 16 look inside the worker, 3 are skipped by Celery itself.
SUITE = Suite("celery", "5.7.0", ("t/integration/test_inspect.py", "t/integration/test_tasks.py"), 57)
REQUIREMENTS = ["celery[redis]==5.7.0", "pydantic==2.12.4", "pytest==8.4.2", "pytest-timeout==2.4.0"]


def main() -> int:
    arguments = sys.argv[1:]
    stock = arguments[:2] == ["--worker", "celery"]
    if stock:
        arguments = arguments[2:]
    python = environment("celery-venv", REQUIREMENTS)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="celeriac-suite-"))
    port = free_port()
    redis = [shutil.which("redis-server") or "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    server = subprocess.Popen(redis, stdout=subprocess.DEVNULL, preexec_fn=stop_with_parent)
    try:
        with RabbitMQ() as broker:
            variables = {
                **os.environ, "PYTHONUNBUFFERED": "1",
                "TEST_BROKER": broker.url.replace("amqp:", "pyamqp:"), "TEST_BACKEND": f"redis://127.0.0.1:{port}/0",
                "REDIS_HOST": "127.0.0.1", "REDIS_PORT": str(port), "CELERIAC_BIN": str(binary()),
                "SUITE_LOG": str(folder / "worker.log"), "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent / "interop")]),
            }
            plugins = ["-p", "celery.contrib.pytest", *([] if stock else ["-p", "session_worker"])]
            command = [python, "-m", "pytest", *plugins, "-q", "-rs", "-p", "no:cacheprovider", "-W", "ignore"]
            began = time.monotonic()
            status, output = run([*command, "--timeout=90", *SUITE.arguments, *arguments], source(SUITE, python), variables)
    finally:
        server.terminate()
        server.wait(10)
    print(f"{time.monotonic() - began:.0f} s", flush=True)
    passed = re.search(r"(\d+) passed", output)
    whole = bool(arguments) or stock or (passed is not None and int(passed[1]) == SUITE.tests)
    log = folder / "worker.log"
    if status != 0 and log.exists():
        print(log.read_text(errors="replace")[-4000:])
    shutil.rmtree(folder, ignore_errors=True)
    return int(status != 0 or not whole)


def run(command: list[str], folder: pathlib.Path, variables: dict[str, str]) -> tuple[int, str]:
    """Runs a command and shows what it prints; its status and its output."""
    lines = []
    with subprocess.Popen(command, cwd=folder, env=variables, text=True, stdout=subprocess.PIPE) as running:
        for line in running.stdout:
            print(line, end="", flush=True)
            lines.append(line)
    return running.returncode, "".join(lines)


if __name__ == "__main__":
    sys.exit(main())
