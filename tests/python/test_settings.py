"""Settings, wherever they come from: a worker of either kind does the same with them."""

from __future__ import annotations

import json
import pathlib
import re
import signal
import subprocess
import sys
from typing import Any

import pytest

from conftest import HERE, story_environment
from harness import celeriac_binary, wait_until
from test_life import start  # noqa: F401 - the fixture

#: What is set, where: the app's module, options, variables of the environment.
CASES: dict[str, tuple[list[str], dict[str, str]]] = {
    "old names": (["-A", "plainest", "--config", "old_names", "worker"], {}),
    "the environment": (["worker"], {
        "CELERY_APP": "plainest", "CELERY_BROKER_URL": "BROKER", "CELERY_RESULT_BACKEND": "rpc://",
        "CELERY_WORKER_CONCURRENCY": "3", "CELERY_WORKER_PREFETCH_MULTIPLIER": "5", "CELERY_WORKER_QUEUES": "one,two",
        "CELERY_WORKER_TIME_LIMIT": "9.5", "CELERY_WORKER_MAX_TASKS_PER_CHILD": "11"}),
    "the command line before the app": (
        ["-b", "BROKER", "-A", "plain", "worker", "-c", "2", "--prefetch-multiplier", "3", "--soft-time-limit", "5",
         "--autoscale", "4,2", "-X", "old", "-Q", "one,two", "--max-tasks-per-child", "5"], {
        "STORY_CONF": json.dumps({
            "worker_concurrency": 7, "worker_prefetch_multiplier": 9, "broker_url": "amqp://127.0.0.1:1//",
            "worker_max_tasks_per_child": 99, "task_create_missing_queues": True, "worker_log_format": "ours %(message)s"})}),
    "settings on the command line": (
        ["-A", "plainest", "-b", "BROKER", "worker", "--", "worker.prefetch_multiplier=6", ".concurrency=3",
         "task.default_queue=named", "task_queue_max_priority=(int)5", ".max_tasks_per_child=13"], {}),
    "the app": (["-A", "plain", "worker"], {"STORY_CONF": json.dumps({
        "worker_concurrency": 3, "worker_prefetch_multiplier": 0, "worker_max_tasks_per_child": 8,
        "worker_max_memory_per_child": 900000, "task_time_limit": 70, "task_soft_time_limit": 60,
        "task_default_queue": "mine", "task_default_exchange": "ex", "task_default_exchange_type": "topic",
        "task_default_routing_key": "a.b", "worker_direct": True, "task_queue_max_priority": 4})}),
}


def seen(kind: str, case: str, broker: Any, folder: pathlib.Path) -> dict[str, Any]:
    """What a worker says of itself."""
    from celery import Celery

    options, variables = CASES[case]
    node = f"{list(CASES).index(case)}@set"
    folder.mkdir()
    defaults = {"STORY_BROKER": broker.url, "STORY_BACKEND": "rpc://", "STORY_FOLDER": str(folder)}
    environment = story_environment(**defaults | {name: broker.url if value == "BROKER" else value for name, value in variables.items()})
    program = [str(celeriac_binary()), "--python", sys.executable] if kind == "celeriac" else [sys.executable, "-m", "celery"]
    words = [broker.url if word == "BROKER" else word for word in options]
    place = words.index("worker") + 1
    words[place:place] = ["-n", node, "-l", "INFO"]
    log = folder / "worker.log"
    with open(log, "wb") as file:
        worker = subprocess.Popen(
            [*program, *words], env=environment, cwd=HERE, stdout=file, stderr=file, start_new_session=True)
    app = Celery("asker", broker=broker.url, set_as_current=False)
    try:
        wait_until(lambda: f"{node} ready." in log.read_text() or worker.poll() is not None, f"{kind} to be ready", 60)
        assert worker.poll() is None, log.read_text()
        asked = wait_until(lambda: app.control.inspect([node], timeout=5).stats(), "its answer")[node]
        queues = app.control.inspect([node], timeout=5).active_queues()[node]
        text = log.read_text()
        return {
            "pool": {name: asked["pool"].get(name) for name in ("max-concurrency", "max-tasks-per-child", "timeouts")},
            "prefetch": asked["prefetch_count"], "autoscaler": asked.get("autoscaler", {}).get("max"),
            "port": asked["broker"]["port"],
            "queues": sorted([
                one["name"], one["exchange"]["name"], one["exchange"]["type"], one["routing_key"],
                one["queue_arguments"] or one["max_priority"] and {"x-max-priority": one["max_priority"]},
            ] for one in queues),
            "banner": re.findall(r"^.*\.> (?:concurrency|task events|results): .*$", text, re.MULTILINE),
            "ready": re.search(rf"^.*{node} ready\.$", re.sub(r"\d{4}-\S+ [\d:,]+", "<time>", text), re.MULTILINE)[0],
        }
    finally:
        app.close()
        worker.send_signal(signal.SIGTERM)
        try:
            worker.wait(20)
        finally:
            worker.kill()
            worker.wait()


@pytest.mark.parametrize("case", CASES)
def test_a_worker_has_the_settings_that_celery_has(case, request, broker, tmp_path):
    """Issue 3, "What to build" 5."""
    if case not in ("old names", "the command line before the app") and not request.config.getoption("--whole"):
        pytest.skip("with --whole")
    ours, theirs = (seen(kind, case, broker, tmp_path / kind) for kind in ("celeriac", "celery"))
    assert ours == theirs


def test_no_more_tasks_wait_for_their_time_than_the_limit_says(start):  # noqa: F811
    worker = start(STORY_CONF=json.dumps({"worker_eta_task_limit": 7}))
    code = """
for _ in range(20): add.apply_async((1, 1), countdown=60)
import time
inspect, deadline = app.control.inspect(timeout=2), time.monotonic() + 20
while (held := len((inspect.scheduled() or {}).get("w@test", ()))) < 7 and time.monotonic() < deadline: time.sleep(0.05)
app.control.ping(timeout=0.5)
print(held, inspect.stats()["w@test"]["prefetch_count"], len(inspect.scheduled()["w@test"]))
"""
    assert worker.client(code) == "7 7 7"
    assert worker.stop() == 0


def test_main_writes_its_log_as_the_app_has_it(start):  # noqa: F811
    worker = start(STORY_CONF=json.dumps({
        "worker_log_format": "%(levelname)-7s|%(asctime)s|%(processName)s|%(process)d|%(message)s",
        "worker_task_log_format": "task %(task_name)s %(message)s", "worker_log_datefmt": "%H.%M %z"}))
    worker.client("talk.delay().get(timeout=20); print(0)")
    zone = r"\d\d\.\d\d [+-]\d{4}"
    main = rf"^INFO   \|{zone}\|MainProcess\|{worker.popen.pid}\|"
    assert re.search(main + r"w@test ready\.$", worker.log, re.MULTILINE), worker.log
    assert re.search(main + r"Task plain.talk\[[-0-9a-f]+\] received$", worker.log, re.MULTILINE), worker.log
    assert re.search(rf"^INFO   \|{zone}\|ForkPoolWorker-1\|\d+\|Task plain.talk", worker.log, re.MULTILINE), worker.log
    assert re.search(r"^task plain.talk logged well$", worker.log, re.MULTILINE), worker.log


def test_a_log_that_the_app_has_set_up_is_mains_as_well(start, tmp_path):  # noqa: F811
    path = tmp_path / "own.log"
    worker = start(STORY_LOGGING=str(path), ready=path)
    worker.client("add.delay(1, 1).get(timeout=20); print(0)")
    lines = path.read_text()
    assert f"INFO own {worker.popen.pid} w@test ready.\n" in lines
    assert re.search(rf"INFO own {worker.popen.pid} Task plain.add\[\S+\] received\n", lines)
    done = r"INFO own \d+ Task plain.add\[\S+\] succeeded in"
    wait_until(lambda: re.search(done, path.read_text()), "the child's line")
    assert worker.stop() == 0
