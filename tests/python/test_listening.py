"""Every signal: from whom, with what, in which order, in which kind of process; the same under both workers."""

from __future__ import annotations

import concurrent.futures
import pathlib
import signal
import subprocess
import sys
from typing import Any

from conftest import HERE, story_environment
from harness import celeriac_binary, wait_until

#: What Celery's main does when it sees to an end that the child has not seen to. Celeriac's child does see to it.
REJECTED = "task_failure from reject:"


def heard(kind: str, broker: Any, redis_url: str, folder: pathlib.Path) -> dict[str, list[str]]:
    """What the receivers in main and in children have noted."""
    folder.mkdir()
    environment = story_environment(
        STORY_BROKER=broker.url, STORY_BACKEND=redis_url, STORY_FOLDER=str(folder), STORY_QUEUE=f"listening.{kind}")
    program = [str(celeriac_binary()), "--python", sys.executable] if kind == "celeriac" else [sys.executable, "-m", "celery"]
    log = folder / "worker.log"
    with open(log, "wb") as file:
        worker = subprocess.Popen(
            [*program, "-A", "listening", "worker", "-c", "1", "-l", "INFO", "-n", f"{kind}@test"],
            env=environment, cwd=HERE, stdout=file, stderr=file, start_new_session=True)
    try:
        wait_until(lambda: f"{kind}@test ready." in log.read_text() or worker.poll() is not None, f"{kind} to be ready", 60)
        client = subprocess.run(
            [sys.executable, "listening.py"], env=environment, cwd=HERE, capture_output=True, text=True, timeout=120, check=False)
        assert client.returncode == 0, client.stderr[-2000:] + log.read_text()[-2000:]
        worker.send_signal(signal.SIGTERM)
        assert worker.wait(30) == 0
    finally:
        worker.kill()
        worker.wait()
    said: dict[str, list[str]] = {"main": [], "child": []}
    for line in (folder / "signals").read_text().splitlines():
        where, _, what = line.partition(" ")
        for own, common in (f"listening.{kind}", "listening.kind"), (f"{kind}@test", "node"), (str(folder), ""):
            what = what.replace(own, common)
        said[where].append(what)
    return said


def in_order(lines: list[str]) -> list[str]:
    """Those whose place is determined. A hard time limit, which Celery's main reports twice, once."""
    kept: list[str] = []
    for line in lines:
        if "worker_before_create_process" in line or REJECTED in line:
            continue
        line = line.replace("traceback=str", "traceback=traceback")
        if not (kept and kept[-1] == line and "TimeLimitExceeded" in line):
            kept.append(line)
    return kept


def test_the_same_signals_come_from_both(broker, redis_url, tmp_path):
    with concurrent.futures.ThreadPoolExecutor() as both:
        theirs, ours = both.map(
            lambda kind: heard(kind, broker, redis_url, tmp_path / kind), ("celery", "celeriac"))
    for where in "main", "child":
        assert in_order(ours[where]) == in_order(theirs[where])
    everywhere = [one["main"] + one["child"] for one in (ours, theirs)]
    for name in "worker_before_create_process", REJECTED:
        assert {line for line in everywhere[0] if name in line} == {line for line in everywhere[1] if name in line}
    # All that a worker sends at all.
    names = {line.partition(" ")[0] for line in everywhere[0]}
    assert names >= {
        "after_setup_logger", "after_setup_task_logger", "celeryd_after_setup", "celeryd_init", "import_modules", "task_failure",
        "task_postrun", "task_prerun", "task_received", "task_rejected", "task_retry", "task_revoked", "task_success",
        "task_unknown", "worker_before_create_process", "worker_init", "worker_process_init", "worker_process_shutdown",
        "worker_ready", "worker_shutdown", "worker_shutting_down"}, names
