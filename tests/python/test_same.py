"""The same app under Celery and under celeriac: whatever a client can see is the same.

Each scenario of `scenarios.py` is played once with either worker, on a broker, a queue and a result backend of its
own, by a client process of its own; what it returns must be equal.
"""

from __future__ import annotations

import json
import pathlib
import signal
import subprocess
import sys

import pytest

from conftest import HERE, story_environment
from harness import celeriac_binary, wait_until
import scenarios
import scenarios_django
import scenarios_stranger

APPS = {"plain": "plain", "django": "shop", "stranger": "stranger"}
SCENARIOS = {"plain": scenarios.ALL, "django": scenarios_django.ALL, "stranger": scenarios_stranger.ALL}
BACKENDS = ["rpc", "redis", "database"]
PAIRS = [(app, backend) for app in ("plain", "django") for backend in BACKENDS] + [("stranger", "redis"), ("stranger", "file")]
#: What is played of the app `stranger` without `--whole`.
SHORT = ["every_field_of_a_request", "links", "odd_endings", "options_of_tasks", "serializers_and_compressions"]
CLIENT_FAILED = "the client failed"


class Play:
    """Scenarios of an app with one kind of worker: all of them, or those of some names."""

    def __init__(
        self, kind: str, app: str, broker: str, backend: str, folder: pathlib.Path, *names: str,
        python: str = sys.executable,
    ) -> None:
        folder.mkdir()
        queue = f"same.{app}.{backend.partition(':')[0]}"  # which tasks can see, so both have the same
        environment = story_environment(
            STORY_BROKER=broker, STORY_BACKEND=backend, STORY_FOLDER=str(folder), STORY_QUEUE=queue)
        if app == "django":
            migrate = [python, "-m", "django", "migrate", "--run-syncdb", "-v0", "--settings", "shop.settings"]
            subprocess.run(migrate, env=environment, cwd=HERE, check=True)
        program = [str(celeriac_binary()), "--python", python] if kind == "celeriac" else [python, "-m", "celery"]
        options = ["-A", APPS[app], "worker", "-l", "INFO", "-c", "2", "-n", "same@test"]
        self.log = folder / "worker.log"
        with open(self.log, "wb") as log:
            worker = subprocess.Popen(
                [*program, *options], env=environment, cwd=HERE, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_until(
                lambda: b"same@test ready." in self.log.read_bytes() or worker.poll() is not None, f"{kind} to be ready", 60)
            assert worker.poll() is None, self.log.read_text()[-3000:]
            client = subprocess.run(
                [python, __file__, app, backend, str(folder), *names], env=environment, cwd=HERE,
                capture_output=True, text=True, timeout=240, check=False)
            assert client.returncode == 0, f"{CLIENT_FAILED}:\n{client.stderr[-4000:]}"
            self.seen = json.loads(client.stdout)
            worker.send_signal(signal.SIGTERM)
            self.status = worker.wait(30)
        finally:
            if worker.poll() is None:
                worker.kill()
                worker.wait()


@pytest.fixture(scope="module", params=PAIRS, ids=lambda pair: f"{pair[0]}-{pair[1]}")
def plays(request, broker, redis_url, tmp_path_factory):
    app, backend = request.param
    whole = request.config.getoption("--whole")
    if backend == "file" and not whole:
        pytest.skip("with --whole")
    names = SHORT if app == "stranger" and not whole else ()
    folder = tmp_path_factory.mktemp("same")
    urls = {"rpc": "rpc://", "redis": redis_url}
    made = {}
    for kind in "celery", "celeriac":
        (folder / f"{kind}.files").mkdir()
        urls |= {"database": f"db+sqlite:///{folder}/{kind}.sqlite", "file": f"file://{folder}/{kind}.files"}
        url = urls[backend]
        made[kind] = Play(kind, app, broker.url, url, folder / kind, *names)
    return made


def test_every_scenario_ends_the_same(plays):
    compare(**plays)


def compare(celery, celeriac):
    broken = {name: seen for name, seen in celery.seen.items() if CLIENT_FAILED in str(seen)}
    assert not broken, f"a story that is wrong about Celery; its log: {celery.log}"
    found = list(differences(celeriac.seen, celery.seen))
    assert not found, f"celeriac's log: {celeriac.log}, celery's: {celery.log}\n" + "\n".join(found)


def differences(ours, theirs, path=""):
    """Where two plain values differ, one line each."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        for name in ours:
            yield from differences(ours[name], theirs[name], f"{path}.{name}")
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for index, pair in enumerate(zip(ours, theirs)):
            yield from differences(*pair, f"{path}[{index}]")
    elif ours != theirs:
        yield f"{path}: celeriac {ours!r}, celery {theirs!r}"


def test_the_worker_leaves_in_order(plays):
    assert {kind: play.status for kind, play in plays.items()} == {"celery": 0, "celeriac": 0}


def main() -> None:
    """The client: plays every scenario and prints what it has seen."""
    import gc
    import importlib
    import traceback

    # A result that is collected unsubscribes; if that happens while redis-py subscribes, before 6.0, it waits for ever.
    gc.disable()
    app, backend, folder, *names = sys.argv[1:]
    if app == "django":
        import django
        from shop import celery_app

        django.setup()
        tasks = importlib.import_module("shop.orders.tasks")
    else:
        tasks = importlib.import_module(APPS[app])
        celery_app = tasks.app
    stage = scenarios.Stage(celery_app, tasks, pathlib.Path(folder), backend)
    seen = {}
    for name in names or SCENARIOS[app]:
        try:
            seen[name] = SCENARIOS[app][name](stage)
        except Exception:
            seen[name] = [CLIENT_FAILED, traceback.format_exc(limit=3)]
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
