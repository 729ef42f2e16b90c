"""A pytest plugin for Celery's integration suite: its session worker, a thread of Celery's, becomes a celeriac process.

`$SUITE_LOG` names the file that the worker's log goes to.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from rabbitmq import stop_with_parent

HERE = pathlib.Path(__file__).resolve().parent
#: What the suite's configuration says, and its worker has to know.
SETTINGS = ("broker_url", "result_backend", "result_extended", "task_create_missing_queues")

#: Tests that look inside the process of the worker, where they expect to be themselves.
EXCLUDED = {
    "test_stats": "expects its own process id",
    "test_hello_stamps_received_revoked_ids_locally": "reads worker.state.revoked",
    "test_task_failed": "reads the worker's log records with caplog",
    "test_task_success": "reads the worker's log records with caplog",
    "test_send_task_without_ignore_result_uses_task_ignore_result": "reads worker.state.successful_requests",
    "test_send_task_without_ignore_result_stores_result": "reads worker.state.successful_requests",
    "test_retry_preserves_ignore_result_false": "reads worker.state.successful_requests",
    "test_retry_preserves_ignore_result_true": "reads worker.state.successful_requests",
    "test_revoked_by_headers_simple_canvas": "clears worker.state.revoked_stamps between its parts",
    "test_revoked_by_headers_complex_canvas": "clears worker.state.revoked_stamps between its parts",
    "test_replaced_task_nesting_level_0": "connects a receiver to task_received while the worker runs",
    "test_replaced_task_nesting_level_1": "connects a receiver to task_received while the worker runs",
    "test_replaced_task_nesting_chain": "connects a receiver to task_received while the worker runs",
    "test_each_instance_receives": "connects a receiver to task_received while the worker runs",
    "test_disconnect_leaves_other_instance_connected": "connects a receiver to task_received while the worker runs",
    "test_other_instance_receives_after_garbage_collection": "connects a receiver to task_received while the worker runs",
}


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    from celery.contrib.testing import worker

    worker.start_worker = start_worker


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        reason = EXCLUDED.get(item.originalname)
        if reason:
            item.add_marker(pytest.mark.skip(reason=f"inside the worker: {reason}"))


@contextlib.contextmanager
def start_worker(app: Any, concurrency: int = 1, **_: Any) -> Iterator[None]:
    """In the place of Celery's: the same worker, by the command line."""
    from celery.contrib.testing.tasks import ping
    from celery.utils.nodenames import anon_nodename

    node = anon_nodename()  # by which the suite knows the worker
    environment = os.environ | {
        "SUITE_CONFIG": json.dumps({name: app.conf[name] for name in SETTINGS}),
        "PYTHONPATH": os.pathsep.join([str(HERE), os.getcwd()]),
        "C_FORCE_ROOT": "1",
    }
    command = [
        os.environ["CELERIAC_BIN"], "--python", sys.executable, "-A", "session_app", "worker", "-c", str(concurrency),
        "-l", "INFO", "--without-heartbeat", "--without-mingle", "--without-gossip", "-n", node,
        # A task that expires while it waits is told of at once, and not when a child would be free for it. So
        # `test_expired` goes on while the tasks before it still wait; more than Celery's four have to fit.
        "--prefetch-multiplier", "16"]
    path = pathlib.Path(os.environ["SUITE_LOG"])
    with open(path, "wb") as log:
        process = subprocess.Popen(
            command, env=environment, stdout=log, stderr=log, start_new_session=True, preexec_fn=stop_with_parent)
    try:
        deadline = time.monotonic() + 60
        while f"{node} ready.".encode() not in path.read_bytes():
            assert process.poll() is None and time.monotonic() < deadline, path.read_text()
            time.sleep(0.02)
        assert ping.delay().get(timeout=10) == "pong"
        yield None
        process.terminate()
        assert process.wait(20) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
