"""Older Celerys: a short version of the comparison on each, and a clear word to one that is too old.

`--versions 5.3,5.4,5.5` says which; by default it is the oldest that is served. Each has an environment of its own in
the user's cache, made when it is first needed.
"""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import venv

import pytest

from conftest import HERE, story_environment
from harness import celeriac_binary
from test_same import Play, compare

CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "celeriac"
SHORT = [
    "plain_calls", "failures", "retries", "signatures", "what_a_task_knows", "hooks_and_signals", "lost_children",
    "chords", "messages_that_do_not_run", "later"]
TOO_OLD = "5.2"


def interpreter(version: str) -> str:
    """The Python of an environment with the last Celery of a series, such as `5.3`."""
    folder = CACHE / f"venv-celery-{version}"
    if not (folder / "complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        pip = [folder / "bin/python", "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "setuptools", "pytest==8.4.2", f"celery[redis]~={version}.0"], check=True)
        (folder / "complete").touch()
    return str(folder / "bin/python")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "version" in metafunc.fixturenames:
        metafunc.parametrize("version", metafunc.config.getoption("--versions").split(","))


def test_the_short_comparison_ends_the_same(version, broker, redis_url, tmp_path):
    python = interpreter(version)
    plays = {
        kind: Play(kind, "plain", broker.url, redis_url, tmp_path / kind, *SHORT, python=python)
        for kind in ("celery", "celeriac")
    }
    compare(**plays)
    assert {kind: play.status for kind, play in plays.items()} == {"celery": 0, "celeriac": 0}


def test_one_that_is_too_old_is_refused(tmp_path):
    (tmp_path / "celery").mkdir()
    (tmp_path / "celery" / "__init__.py").write_text('__version__ = "5.2.7"\n')
    environment = story_environment() | {"PYTHONPATH": f"{tmp_path}:{HERE}"}
    command = [str(celeriac_binary()), "--python", sys.executable, "-A", "plain", "worker"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "has Celery 5.2.7; it must be 5.3 or newer." in done.stderr, done.stderr


def test_one_without_what_we_use_of_it_is_refused_at_the_start(tmp_path):
    """Not in the middle of a task, and not silently."""
    (tmp_path / "later.py").write_text(
        "from celery import Celery\nfrom celery.worker.request import Request\ndel Request._announce_revoked\n")
    (tmp_path / "sitecustomize.py").write_text("import later\n")
    environment = story_environment() | {"PYTHONPATH": f"{tmp_path}:{HERE}"}
    command = [str(celeriac_binary()), "--python", sys.executable, "-A", "plain", "worker"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "has no celery.worker.request:Request _announce_revoked, which celeriac uses" in done.stderr, done.stderr
