#!/usr/bin/env python3
"""Runs integration suites that others wrote for RabbitMQ against our broker, as they come from their packages:

    python tests/suites/run.py              # all
    python tests/suites/run.py kombu        # one
    python tests/suites/run.py --against amqp://127.0.0.1:5672    # another broker, to see what it passes

A suite is a source package from PyPI, unpacked as it is, and a pytest selection in it. Their brokers' address is given in
the variables that they read. What they need is installed into an environment of their own. Both are kept in
$XDG_CACHE_HOME/celeriac/suites.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import urllib.parse
import venv

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "differential"))
from brokers import Celeriac  # noqa: E402 - beside the differential test

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "celeriac" / "suites"
REQUIREMENTS = ["pytest==8.4.2", "amqp==5.4.2", "kombu==5.7.0"]


@dataclasses.dataclass(frozen=True)
class Suite:
    """A package, what of it to run, and how many tests that is: fewer would be a selection that rotted."""

    package: str
    version: str
    arguments: tuple[str, ...]
    tests: int


SUITES = {
    "kombu": Suite("kombu", "5.7.0", ("t/integration/test_py_amqp.py",), 51),
    "amqp": Suite("amqp", "5.4.2", ("t/integration/test_rmq.py", "-k", "plain"), 12),
}


def environment(name: str, requirements: list[str]) -> pathlib.Path:
    """The Python of an environment with what a suite needs."""
    python = CACHE / name / "bin" / "python"
    stamp = CACHE / name / "requirements"
    if not stamp.exists() or stamp.read_text() != repr(requirements):
        venv.create(CACHE / name, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *requirements], check=True)
        stamp.write_text(repr(requirements))
    return python


def source(suite: Suite, python: pathlib.Path) -> pathlib.Path:
    """The unpacked source package."""
    directory = CACHE / f"{suite.package}-{suite.version}"
    if not directory.exists():
        pip = [python, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        wanted = f"{suite.package}=={suite.version}"
        subprocess.run([*pip, "--no-binary", ":all:", "--dest", CACHE, wanted], check=True)
        with tarfile.open(directory.with_name(directory.name + ".tar.gz")) as archive:
            archive.extractall(CACHE, filter="data")
    return directory


def run(name: str, suite: Suite, host: str, port: int) -> bool:
    python = environment("venv", REQUIREMENTS)
    variables = {**os.environ, "RABBITMQ_HOST": host, "RABBITMQ_5672_TCP": str(port)}
    # Their marks for second tries need a plugin that is not installed: each test has one try.
    command = [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", *suite.arguments]
    print(f"==> {name} {suite.version}: {' '.join(suite.arguments)}", flush=True)
    done = subprocess.run(command, cwd=source(suite, python), env=variables, text=True, capture_output=True, check=False)
    print(done.stdout[-6000:] + done.stderr[-2000:], flush=True)
    passed = re.search(r"(\d+) passed", done.stdout)
    return done.returncode == 0 and passed is not None and int(passed[1]) == suite.tests


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("suites", nargs="*", choices=[*SUITES, []], help="which; all by default")
    parser.add_argument("--against", metavar="URL", help="a running broker instead of ours")
    arguments = parser.parse_args()
    chosen = arguments.suites or list(SUITES)

    def run_all(host: str, port: int) -> list[str]:
        return [name for name in chosen if not run(name, SUITES[name], host, port)]

    if arguments.against:
        url = urllib.parse.urlsplit(arguments.against)
        failed = run_all(url.hostname or "127.0.0.1", url.port or 5672)
    else:
        with Celeriac() as broker:
            failed = run_all("127.0.0.1", broker.port)
    print(f"failed: {', '.join(failed)}" if failed else "all suites passed")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
