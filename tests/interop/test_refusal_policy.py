"""T28: what becomes of messages that cannot be run is for the operator to say, class by class."""

from __future__ import annotations

import contextlib
import datetime
import pathlib

import pytest
from celery.exceptions import NotRegistered, TaskRevokedError

from harness import TIMEOUT, Client, Raw, task_body, task_headers, wait_until

pytestmark = pytest.mark.celeriac("Celery has one policy")
LONG_AGO = datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc)


@pytest.fixture(params=["demo", "life"])
def start(request: pytest.FixtureRequest, tmp_path: pathlib.Path):
    """Starts a worker with Rust's or with Python's children; the first word of their tasks."""
    make = request.getfixturevalue("make_worker" if request.param == "demo" else "app_worker")

    def begin(*arguments: str):
        make(arguments=arguments)
        return request.param

    return begin


def unrunnable(client: Client, raw: Raw, queue: str, app: str) -> None:
    """One expired, one undecodable in main and some in a child, one invalid, one unregistered."""
    with contextlib.suppress(TaskRevokedError):
        client.send(f"{app}.add", (2, 3), expires=LONG_AGO).get(timeout=TIMEOUT)
    raw.publish(queue, "{nope", task_headers(f"{app}.add"))
    # Main leaves to its children what is compressed, or large.
    for name in ("life.add", "life.late_sleep") if app == "life" else ():
        raw.publish(queue, "nope", task_headers(name, compression="application/x-gzip"))
    raw.publish(queue, "[" + " " * (2 << 20) + "nope", task_headers(f"{app}.add"))
    raw.publish(queue, task_body(), task_headers(f"{app}.add", eta="tomorrow"))
    with contextlib.suppress(NotRegistered):
        client.send("nobody.knows").get(timeout=TIMEOUT)
    assert client.call(f"{app}.add", 2, 3) == 5
    wait_until(lambda: raw.counts(queue) == (0, 0), "all settled")


@pytest.mark.parametrize("arguments, rejected", [
    ((), 2),
    (("--dead-letter", "expired"), 3),
    (("--dead-letter", "undecodable"), 3),
    (("--dead-letter", "expired,undecodable"), 4),
    (("--discard", "invalid"), 1),
    (("--discard", "invalid,unregistered"), 0),
])
def test_t28_a_policy_for_each_class(start, client: Client, raw: Raw, queue: str, arguments: tuple[str, ...], rejected: int) -> None:
    app = start(*arguments)
    unrunnable(client, raw, queue, app)
    rejected += (3 if app == "life" else 1) * ("undecodable" in "".join(arguments))
    wait_until(lambda: raw.ready(f"dead.{queue}") == rejected, f"{rejected} dead letters")


def test_t28_a_rolling_deploy_loses_nothing(make_worker, app_worker, client: Client, raw: Raw, queue: str) -> None:
    """Workers of yesterday hand the tasks of today back, until one of today comes."""
    old = make_worker(arguments=["--hand-back", "0.2"])
    of_today = [client.send("life.add", (number, 1)) for number in range(10)]
    of_yesterday = [client.send("demo.add", (number, 1)) for number in range(10)]
    assert [result.get(timeout=TIMEOUT) for result in of_yesterday] == list(range(1, 11))
    old.wait_log(r"WARNING/MainProcess\] Received unregistered task of type 'life\.add'\[\S+\]: it is handed back in a while", times=20)
    assert not any(result.ready() for result in of_today)
    app_worker(arguments=["-n", "new@test"], ready=False).wait_log(r"new@test ready\.", 30)
    assert [result.get(timeout=TIMEOUT) for result in of_today] == list(range(1, 11))
    assert raw.ready(f"dead.{queue}") == 0
    assert old.stop() == 0
