"""A fleet of both kinds on one queue and one result backend, as while a site moves from one to the other."""

from __future__ import annotations

import signal
import subprocess
import sys

from conftest import HERE, story_environment
from harness import celeriac_binary, wait_until

# The parts of a chord are counted down in the backend by whichever worker runs them, and a retry goes to either.
BATCH = """
from celery import chord
from plain import add, flaky, total
chords = [chord([flaky.s(1), *(add.s(n, part) for part in range(4))], total.s())() for n in range(15)]
chains = [(add.s(n, 1) | flaky.si(2) | add.s(n))() for n in range(15)]
print([one.get(timeout=40) for one in chords], [one.get(timeout=40) for one in chains])
"""


def test_chords_and_retries_on_a_mixed_fleet(broker, redis_url, tmp_path):
    environment = story_environment(
        STORY_BROKER=broker.url, STORY_BACKEND=redis_url, STORY_FOLDER=str(tmp_path), STORY_QUEUE="fleet")
    programs = {
        "celery": [sys.executable, "-m", "celery"],
        "celeriac": [str(celeriac_binary()), "--python", sys.executable],
    }
    logs = {name: tmp_path / f"{name}.log" for name in programs}
    fleet = {}
    try:
        for name, program in programs.items():
            with open(logs[name], "wb") as log:
                command = [*program, "-A", "plain", "worker", "-l", "INFO", "-c", "2", "-n", f"{name}@fleet"]
                fleet[name] = subprocess.Popen(
                    command, env=environment, cwd=HERE, stdout=log, stderr=log, start_new_session=True)
        for name, path in logs.items():
            wait_until(lambda: f"{name}@fleet ready." in path.read_text(), f"{name} to be ready", 60)
        client = subprocess.run(
            [sys.executable, "-c", BATCH], env=environment, cwd=HERE, capture_output=True, text=True, timeout=90,
            check=False)
        assert client.returncode == 0, client.stderr[-3000:]
        assert client.stdout.strip() == f"{[1 + 4 * n + 6 for n in range(15)]} {[n + 2 for n in range(15)]}"
        taken = {name: path.read_text().count("] received") for name, path in logs.items()}
        assert min(taken.values()) > 10, taken
        for worker in fleet.values():
            worker.send_signal(signal.SIGTERM)
        assert {name: worker.wait(30) for name, worker in fleet.items()} == {"celery": 0, "celeriac": 0}
    finally:
        for worker in fleet.values():
            if worker.poll() is None:
                worker.kill()
                worker.wait()
