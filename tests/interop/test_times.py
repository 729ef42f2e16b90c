"""Tasks that wait for their time, and tasks whose time has passed."""

from __future__ import annotations

import datetime
import re

import pytest
from celery.exceptions import TaskRevokedError

from harness import TIMEOUT, Client, Raw, Worker, elapsed, task_body, task_headers, wait_until

UTC = datetime.timezone.utc


def now() -> datetime.datetime:
    return datetime.datetime.now(UTC)


def seconds(number: float) -> datetime.timedelta:
    return datetime.timedelta(seconds=number)


def test_a_countdown_is_kept_and_stops_nobody(worker: Worker, client: Client) -> None:
    with elapsed() as since:
        waiting = client.send("demo.add", (2, 3), countdown=1.5)
        assert client.call("demo.add", 1, 1) == 2
        assert since() < 1.4
        assert waiting.get(timeout=TIMEOUT) == 5
        assert 1.45 < since() < 2.6


@pytest.mark.parametrize(
    "eta",
    [
        lambda: now() + seconds(1),
        lambda: (now() + seconds(1)).astimezone(datetime.timezone(datetime.timedelta(hours=5, minutes=30))),
        lambda: (now() + seconds(1)).replace(tzinfo=None),
    ],
    ids=["utc", "offset", "naive is UTC"],
)
def test_an_eta(worker: Worker, client: Client, eta) -> None:
    with elapsed() as since:
        assert client.send("demo.add", (2, 3), eta=eta()).get(timeout=TIMEOUT) == 5
        assert 0.9 < since() < 2.2


@pytest.mark.parametrize("text", ["20200102T030405Z", "2020-01-02 03:04:05", "2020-01-02T03:04:05,123+0530", "2020-01-02"])
def test_a_past_eta_in_any_spelling_runs_at_once(worker: Worker, raw: Raw, queue: str, text: str) -> None:
    headers = task_headers(eta=text)
    raw.publish(queue, task_body(), headers)
    worker.wait_log(rf"demo\.add\[{headers['id']}\] succeeded in", timeout=3)


def test_tasks_start_in_the_order_of_their_times(worker: Worker, client: Client) -> None:
    base = now() + seconds(0.5)
    moments = {0.9: "last", 0.0: "first", 0.45: "middle"}
    sent = [client.send("demo.echo", (word,), eta=base + seconds(late)) for late, word in moments.items()]
    for result in sent:
        result.get(timeout=TIMEOUT)
    worker.wait_log("succeeded", times=3)
    ended = re.findall(r"succeeded in \S+: '(\w+)'", worker.log)
    assert ended == ["first", "middle", "last"]


def test_waiting_tasks_do_not_fill_the_prefetch_window(worker: Worker, client: Client) -> None:
    """Two children prefetch eight messages; thirty that wait must not keep the next from being delivered."""
    waiting = [client.send("demo.add", (number, 0), countdown=2.5) for number in range(30)]
    assert client.send("demo.add", (2, 3)).get(timeout=2) == 5
    assert [result.get(timeout=TIMEOUT) for result in waiting] == list(range(30))


def test_an_expired_task_is_discarded_and_the_client_hears(
    worker: Worker, client: Client, raw: Raw, queue: str
) -> None:
    result = client.app.AsyncResult("expired-1")
    client.app.backend.on_task_call(client.app.producer_pool.acquire(), "expired-1")
    headers = task_headers(identity="expired-1", expires=(now() - seconds(60)).isoformat())
    raw.publish(queue, task_body(), headers, reply_to=client.app.thread_oid, correlation_id="expired-1")
    with pytest.raises(TaskRevokedError, match="expired"):
        result.get(timeout=TIMEOUT)
    assert result.state == "REVOKED"
    worker.wait_log(r"Discarding revoked task: demo\.add\[expired-1\]")
    wait_until(lambda: raw.counts(queue) == (0, 0), "the message acknowledged")
    assert raw.ready(f"dead.{queue}") == 0
    assert "demo.add[expired-1] succeeded" not in worker.log


def test_a_task_that_expires_while_it_waits_is_discarded(worker: Worker, raw: Raw, queue: str) -> None:
    headers = task_headers(eta=(now() + seconds(1)).isoformat(), expires=(now() + seconds(0.5)).isoformat())
    raw.publish(queue, task_body(), headers)
    worker.wait_log(rf"Discarding revoked task: demo\.add\[{headers['id']}\]")
    assert "succeeded" not in worker.log


def test_a_task_that_has_not_expired_runs(worker: Worker, client: Client) -> None:
    assert client.send("demo.add", (2, 3), expires=60).get(timeout=TIMEOUT) == 5
    assert client.send("demo.add", (2, 3), expires=now() + seconds(60), countdown=0.2).get(timeout=TIMEOUT) == 5


@pytest.mark.parametrize("eta", ["9999-12-31T23:59:59+00:00", "9999-12-31T23:59:59-14:00"])
def test_an_eta_at_the_end_of_time_harms_nobody(worker: Worker, client: Client, raw: Raw, queue: str, eta: str) -> None:
    raw.publish(queue, task_body(), task_headers(eta=eta))
    assert client.call("demo.add", 2, 3) == 5
    assert worker.stop() == 0
