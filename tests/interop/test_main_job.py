"""The main job: a task that a Celery client sends runs in a child, and the client gets what came of it."""

from __future__ import annotations

import datetime
import json
import math
import uuid

import pytest
from celery.exceptions import NotRegistered

from harness import TIMEOUT, Client, Raw, Worker, task_body, task_headers, wait_until


@pytest.mark.parametrize("args, kwargs", [((2, 3), {}), ((), {"x": 2, "y": 3}), ((2,), {"y": 3})])
def test_arguments_by_position_by_name_and_mixed(worker: Worker, client: Client, args: tuple, kwargs: dict) -> None:
    assert client.send("demo.add", args, kwargs).get(timeout=5) == 5


@pytest.mark.parametrize(
    "args, kwargs, text",
    [
        ((2,), {}, "missing 1 required positional argument: 'y'"),
        ((), {}, "missing 2 required positional arguments: 'x' and 'y'"),
        ((1, 2, 3), {}, "takes 2 positional arguments but 3 were given"),
        ((1, 2), {"z": 3}, "got an unexpected keyword argument 'z'"),
        ((1, 2), {"x": 3}, "got multiple values for argument 'x'"),
    ],
)
def test_wrong_arguments_fail_as_python_words_it(
    worker: Worker, client: Client, args: tuple, kwargs: dict, text: str
) -> None:
    result = client.send("demo.add", args, kwargs)
    with pytest.raises(Exception) as raised:
        result.get(timeout=TIMEOUT)
    assert type(raised.value).__name__ == "TypeError"
    assert text in str(raised.value)
    assert client.call("demo.add", 2, 3) == 5


def test_a_failure_reaches_the_client_with_type_message_and_traceback(worker: Worker, client: Client) -> None:
    result = client.send("demo.fail", ("no such luck: żółw",))
    with pytest.raises(Exception, match="no such luck: żółw") as raised:
        result.get(timeout=5)
    assert type(raised.value).__name__ == "ValueError"
    assert result.state == "FAILURE"
    assert result.traceback.startswith("Traceback (most recent call last):")
    assert "no such luck: żółw" in result.traceback
    worker.wait_log(rf"ERROR/\S+ Task demo\.fail\[{result.id}\] raised unexpected: ValueError\('no such luck: żółw'\)")


def test_a_retried_task_ends_with_its_value(worker: Worker, client: Client) -> None:
    result = client.send("demo.retry", (2, 0.1))
    assert result.get(timeout=TIMEOUT) == 2
    worker.wait_log(rf"Task demo\.retry\[{result.id}\] retry: Retry in 0\.1s", times=2)
    worker.wait_log(rf"Task demo\.retry\[{result.id}\] received", times=3)
    worker.wait_log(rf"Task demo\.retry\[{result.id}\] succeeded in ")


def test_what_is_logged_of_a_task(worker: Worker, client: Client) -> None:
    result = client.send("demo.echo", ("a 'quoted' word",))
    result.get(timeout=TIMEOUT)
    stamp = r"^\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3}: INFO/"
    worker.wait_log(rf"{stamp}MainProcess\] Task demo\.echo\[{result.id}\] received$")
    worker.wait_log(
        rf"{stamp}ForkPoolWorker-\d+\] Task demo\.echo\[{result.id}\] succeeded in \d[\d.e-]*s: 'a \\'quoted\\' word'$"
    )


@pytest.mark.parametrize(
    "value",
    [
        None,
        True,
        0,
        -1,
        2**53 + 1,
        2**63 - 1,
        -(2**63),
        2**64 - 1,
        1.5,
        -0.0,
        1e308,
        5e-324,
        0.1 + 0.2,
        "",
        "żółw 日本語 🎉 \x00 \x1f \" \\ \u2028",
        [],
        {},
        {"": {"日本": [1, [2, {"x": None}]]}, "b": [[], {}]},
        list(range(2000)),
    ],
    ids=lambda value: repr(value)[:24].encode("ascii", "replace").decode(),
)
def test_values_come_back_unchanged(standing: Client, value: object) -> None:
    back = standing.call("demo.echo", value)
    assert back == value
    assert type(back) is type(value)
    if isinstance(value, float):
        assert math.copysign(1, back) == math.copysign(1, value)


@pytest.fixture(scope="module")
def standing(request: pytest.FixtureRequest, broker, tmp_path_factory: pytest.TempPathFactory):
    """A client whose worker stays for the whole module."""
    queue = f"t.{uuid.uuid4().hex[:12]}"
    worker = Worker(request.config.getoption("--worker"), broker.url, queue, tmp_path_factory.mktemp("standing"))
    client = Client(broker.url, queue)
    try:
        worker.wait_ready()
        yield client
    finally:
        client.close()
        worker.close()


def test_an_integer_beyond_64_bits_is_kept_or_named(worker: Worker, client: Client) -> None:
    """Python's integers have no limit. A native task may refuse one, but never serves another number."""
    result = client.send("demo.echo", (2**70,))
    try:
        assert result.get(timeout=TIMEOUT) == 2**70
    except AssertionError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever type the client made of it
        assert str(2**70) in str(error)
    assert client.call("demo.add", 2, 3) == 5


@pytest.mark.celeriac("Python reads these; a native task must say what it cannot read")
@pytest.mark.parametrize(
    "token, args", [("NaN", "[NaN]"), ("Infinity", "[-Infinity]"), ("d800", r'["\ud800"]'), ("d800", r'[{"\ud800": 1}]')]
)
def test_json_that_only_python_reads_fails_the_task_and_is_named(
    worker: Worker, client: Client, raw: Raw, queue: str, token: str, args: str
) -> None:
    meta = reply_to(raw, queue, task_headers("demo.echo"), f"[{args}, {{}}, {{}}]")
    assert meta["status"] == "FAILURE"
    assert token in json.dumps(meta["result"]["exc_message"])
    assert client.call("demo.add", 2, 3) == 5


def reply_to(raw: Raw, queue: str, headers: dict, body: str, **properties: object) -> dict:
    """Publish a task by hand, and read the result message by hand."""
    replies = raw.channel.queue_declare("", exclusive=True).queue
    raw.publish(queue, body, headers, reply_to=replies, correlation_id=headers.get("id"), **properties)
    message = wait_until(lambda: raw.take(replies), "a result")
    return json.loads(message.body)


def test_the_result_message_byte_for_field(worker: Worker, raw: Raw, queue: str) -> None:
    replies = raw.channel.queue_declare("", exclusive=True).queue
    headers = task_headers(group="a-group", parent_id="a-parent")
    raw.publish(queue, task_body(), headers, reply_to=replies, correlation_id="corr")
    message = wait_until(lambda: raw.take(replies), "a result")
    assert message.properties["content_type"] == "application/json"
    assert message.properties["content_encoding"] == "utf-8"
    assert message.properties["correlation_id"] == "corr"
    assert message.properties["delivery_mode"] == 1
    assert message.properties.get("priority", 0) == 0
    meta = json.loads(message.body)
    done = datetime.datetime.fromisoformat(meta.pop("date_done"))
    assert abs((datetime.datetime.now(datetime.timezone.utc) - done).total_seconds()) < 60
    assert meta == {
        "status": "SUCCESS",
        "result": 5,
        "traceback": None,
        "children": [],
        "group_id": "a-group",
        "parent_id": "a-parent",
        "task_id": headers["id"],
    }


def test_a_failure_message(worker: Worker, raw: Raw, queue: str) -> None:
    meta = reply_to(raw, queue, task_headers("demo.fail"), task_body(["boom"]))
    assert meta["status"] == "FAILURE"
    assert meta["result"]["exc_type"] == "ValueError"
    assert meta["result"]["exc_message"] == ["boom"]
    assert "exc_module" in meta["result"]
    assert meta["date_done"]


def test_an_ignored_result_is_not_sent(worker: Worker, raw: Raw, queue: str) -> None:
    replies = raw.channel.queue_declare("", exclusive=True).queue
    raw.publish(queue, task_body(), task_headers(ignore_result=True), reply_to=replies)
    raw.publish(queue, task_body(["boom"]), task_headers("demo.fail", ignore_result=True), reply_to=replies)
    worker.wait_log("succeeded in")
    worker.wait_log("raised unexpected")
    raw.publish(queue, task_body(), task_headers(identity="the-last"), reply_to=replies)
    message = wait_until(lambda: raw.take(replies), "a result")
    assert json.loads(message.body)["task_id"] == "the-last"


def test_without_a_reply_queue_the_task_runs_all_the_same(worker: Worker, raw: Raw, queue: str) -> None:
    headers = task_headers()
    raw.publish(queue, task_body(), headers)
    worker.wait_log(rf"demo\.add\[{headers['id']}\] succeeded in .*: 5$")
    wait_until(lambda: raw.counts(queue) == (0, 0), "the message acknowledged")


def test_a_reply_queue_that_is_gone_harms_nobody(worker: Worker, client: Client, raw: Raw, queue: str) -> None:
    raw.publish(queue, task_body(), task_headers(), reply_to="a-queue-that-never-was", correlation_id="x")
    worker.wait_log("succeeded in")
    assert client.call("demo.add", 2, 3) == 5


def test_an_unregistered_task_is_rejected_and_the_client_hears(
    worker: Worker, client: Client, raw: Raw, queue: str
) -> None:
    result = client.send("nobody.knows", (1,))
    with pytest.raises(NotRegistered, match="nobody.knows"):
        result.get(timeout=TIMEOUT)
    worker.wait_log(r"ERROR/MainProcess\] Received unregistered task of type 'nobody\.knows'\.")
    wait_until(lambda: raw.ready(f"dead.{queue}") == 1, "the message rejected")
    assert client.call("demo.add", 2, 3) == 5
    assert worker.alive()


def test_many_at_once(worker: Worker, client: Client, raw: Raw, queue: str) -> None:
    results = [client.send("demo.add", (number, number)) for number in range(400)]
    assert [result.get(timeout=30) for result in results] == [2 * number for number in range(400)]
    wait_until(lambda: raw.counts(queue) == (0, 0), "every message acknowledged")


def test_many_clients_at_once(worker: Worker, broker, queue: str) -> None:
    clients = [Client(broker.url, queue) for _ in range(5)]
    try:
        for turn in range(10):
            results = [each.send("demo.mul", (turn, number)) for number, each in enumerate(clients)]
            assert [result.get(timeout=TIMEOUT) for result in results] == [turn * number for number in range(5)]
    finally:
        for each in clients:
            each.close()


def test_tasks_run_at_the_same_time_in_different_children(worker: Worker, client: Client) -> None:
    results = [client.send("demo.sleep", (1.0,)) for _ in range(2)]
    for result in results:
        result.get(timeout=1.8)


@pytest.mark.parametrize("mebibytes", [8, 64])
def test_a_large_argument_comes_back_and_stalls_nobody(
    worker: Worker, client: Client, mebibytes: int
) -> None:
    large = "x" * (mebibytes << 20)
    result = client.send("demo.echo", (large,))
    assert client.call("demo.add", 2, 3) == 5
    assert result.get(timeout=60) == large


def test_protocol_1(worker: Worker, client: Client) -> None:
    client.app.conf.task_protocol = 1
    assert client.call("demo.add", 2, 3) == 5
    assert client.call("demo.add", x=2, y=3) == 5
    with pytest.raises(Exception, match="boom"):
        client.call("demo.fail", "boom")
    with pytest.raises(NotRegistered):
        client.call("nobody.knows")


def test_header_values_of_every_kind_are_carried(worker: Worker, client: Client) -> None:
    odd = {
        "my-bytes": b"\xff\x00",
        "my-float": 2.5,
        "my-date": datetime.datetime(2026, 1, 2, 3, 4, 5),
        "my-table": {"a": {"b": [1, "x", None, {"c": True}]}},
        "my-long": 2**40,
        "my-null": None,
        "my-text": "x" * 50_000,
    }
    assert client.send("demo.add", (2, 3), headers=odd).get(timeout=TIMEOUT) == 5


def test_the_shadow_name_is_what_is_logged(worker: Worker, client: Client) -> None:
    result = client.send("demo.add", (2, 3), shadow="a.shadow")
    assert result.get(timeout=TIMEOUT) == 5
    worker.wait_log(rf"Task a\.shadow\[{result.id}\] received")


def test_an_id_of_the_callers_own(worker: Worker, client: Client) -> None:
    assert client.send("demo.add", (2, 3), task_id="żółw 1/2").get(timeout=TIMEOUT) == 5
