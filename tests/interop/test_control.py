"""Remote control: Celery's own `app.control` against the worker."""

from __future__ import annotations

import json
import os
import signal
import time
import uuid
from typing import Any

import amqp
import pytest

from harness import Client, Raw, Worker, wait_until


def one(worker: Worker, client: Client, command: str, **arguments: Any) -> Any:
    """What the worker answers to one command."""
    replies = client.app.control.broadcast(command, arguments=arguments, destination=[worker.name], reply=True, timeout=5)
    assert len(replies) == 1, replies
    return replies[0][worker.name]


def types(value: Any) -> Any:
    """The shape of a value: keys and types."""
    if isinstance(value, dict):
        return {key: types(item) for key, item in value.items()}
    if isinstance(value, list):
        return [types(item) for item in value[:1]]
    return type(value).__name__


def test_what_an_idle_worker_tells(worker: Worker, client: Client) -> None:
    assert one(worker, client, "ping") == {"ok": "pong"}
    for command in ("active", "reserved", "scheduled", "revoked", "dump_active", "dump_reserved", "dump_schedule", "dump_revoked"):
        assert one(worker, client, command) == [], command
    assert set(one(worker, client, "clock")) == {"clock"}
    registered = one(worker, client, "registered")
    assert registered == sorted(f"demo.{name}" for name in "add mul echo sleep noop fail retry crash".split())
    shown = one(worker, client, "dump_tasks", taskinfoitems=["max_retries", "acks_late", "nosuch"])
    assert shown[0] == "demo.add [max_retries=3 acks_late=False]"
    assert one(worker, client, "report")["ok"]


def test_the_queues_read_as_kombus(worker: Worker, client: Client, queue: str) -> None:
    expected = client.app.amqp.queues[queue].as_dict(recurse=True)
    assert one(worker, client, "active_queues") == [expected]


def test_stats_have_the_keys_and_types_of_celerys(worker: Worker, client: Client) -> None:
    client.call("demo.add", 2, 3)
    stats = one(worker, client, "stats")
    assert list(stats) == ["total", "pid", "clock", "uptime", "pool", "broker", "prefetch_count", "rusage", "connections", "children"]
    assert stats["total"] == {"demo.add": 1}
    assert stats["pid"] == worker.main.pid
    assert isinstance(stats["clock"], str)
    pool = stats["pool"]
    assert list(pool) == ["implementation", "max-concurrency", "processes", "max-tasks-per-child", "put-guarded-by-semaphore", "timeouts", "writes"]
    assert sorted(pool["processes"]) == sorted(child.pid for child in worker.pool())
    assert types(pool["writes"]) == {
        "total": "int", "avg": "str", "all": "str", "raw": "str", "strategy": "str", "inqueues": {"total": "int", "active": "int"},
    }
    assert (stats["broker"]["hostname"], stats["broker"]["userid"], stats["broker"]["transport"]) == ("127.0.0.1", "guest", "amqp")
    assert "password" not in stats["broker"]
    assert stats["prefetch_count"] == 8
    assert stats.pop("connections")["connections_lost"] == 0, "what Celery has not"
    assert stats.pop("children") == {"degraded": False, "failed_starts": 0, "strays": 0}, "nor this"
    assert types(stats["rusage"]) == {
        name: "float" if name in ("utime", "stime") else "int"
        for name in "utime stime maxrss ixrss idrss isrss minflt majflt nswap inblock oublock msgsnd msgrcv nsignals nvcsw nivcsw".split()
    }


def test_a_busy_worker_tells_of_its_tasks(worker: Worker, client: Client, queue: str) -> None:
    running = [client.send("demo.sleep", (30,)) for _ in range(2)]
    waiting = client.send("demo.sleep", (31,))
    later = client.send("demo.add", (2, 3), countdown=60, priority=3)
    wait_until(lambda: len(one(worker, client, "active")) == 2, "two tasks run")
    active = {info["id"]: info for info in one(worker, client, "active")}
    assert set(active) == {result.id for result in running}
    info = active[running[0].id]
    assert list(info) == ["id", "name", "args", "kwargs", "type", "hostname", "time_start", "acknowledged", "delivery_info", "worker_pid"]
    assert info["worker_pid"] in {child.pid for child in worker.pool()}
    assert abs(info["time_start"] - time.time()) < 30
    assert (info["name"], info["type"], info["args"], info["kwargs"], info["hostname"], info["acknowledged"]) == (
        "demo.sleep", "demo.sleep", [30], {}, worker.name, True,
    )
    assert info["delivery_info"] == {"exchange": "", "routing_key": queue, "priority": 0, "redelivered": False}
    safe = one(worker, client, "active", safe=True)
    assert {info["args"] for info in safe} == {"(30,)"} and {info["kwargs"] for info in safe} == {"{}"}

    [reserved] = wait_until(lambda: one(worker, client, "reserved"), "a task waits")
    assert (reserved["id"], reserved["args"], reserved["time_start"], reserved["worker_pid"], reserved["acknowledged"]) == (
        waiting.id, [31], None, None, False,
    )
    [scheduled] = wait_until(lambda: one(worker, client, "scheduled"), "a task is held")
    assert list(scheduled) == ["eta", "priority", "request"]
    assert scheduled["priority"] == 6 and scheduled["eta"].endswith("+00:00")
    assert (scheduled["request"]["id"], scheduled["request"]["delivery_info"]["priority"]) == (later.id, 3)

    told = one(worker, client, "query_task", ids=[running[0].id, waiting.id, later.id, "nope"])
    assert {identity: state for identity, (state, _) in told.items()} == {
        running[0].id: "active", waiting.id: "reserved", later.id: "scheduled",
    }
    assert set(one(worker, client, "query_task", ids=waiting.id)) == {waiting.id}
    for child in worker.pool():
        os.kill(child.pid, signal.SIGKILL)


def test_what_makes_no_sense_is_answered(worker: Worker, client: Client) -> None:
    for command, arguments, error in [
        ("nosuch", {}, "KeyError('nosuch')"),
        ("cancel_consumer", {}, "TypeError(\"cancel_consumer() missing 1 required positional argument: 'queue'\")"),
        ("query_task", {}, "TypeError(\"query_task() missing 1 required positional argument: 'ids'\")"),
        ("report", {"x": 1}, "TypeError(\"report() got an unexpected keyword argument 'x'\")"),
        ("rate_limit", {"task_name": "demo.add", "rate_limit": "5/x"}, "KeyError('x')"),
        ("rate_limit", {"task_name": "nope", "rate_limit": "5/s"}, "unknown task"),
        ("time_limit", {"task_name": "nope", "soft": 1, "hard": 2}, "unknown task"),
        ("autoscale", {"max": 3, "min": 1}, "ValueError('Autoscale not enabled')"),
        ("pool_restart", {}, "ValueError('Pool restarts not enabled')"),
    ]:
        assert one(worker, client, command, **arguments) == {"error": error}, command
    assert one(worker, client, "ping", anything=1) == {"ok": "pong"}


@pytest.mark.celeriac("Celery reopens its mailbox after some of these, and the next request may be lost")
def test_nothing_that_comes_to_the_mailbox_is_fatal(worker: Worker, client: Client, raw: Raw) -> None:
    with raw.connection.channel() as channel:
        for body in (b"", b"{", b"[]", b"5", b'{"arguments": {}}', b'{"method": 5}', b'{"method": "ping", "reply_to": 7}', b"\xff" * 100,
                     b'{"method": "ping", "reply_to": {"exchange": "no-such-exchange", "routing_key": ""}}',
                     b'{"method": "pool_grow", "arguments": {"n": "many"}}', b'{"method": "pool_shrink", "arguments": {"n": 100}}',
                     b'{"method": "add_consumer", "arguments": {"queue": {}}}', b'{"method": "ping", "pattern": "(", "matcher": "pcre"}',
                     b'{"method": "registered", "arguments": {"taskinfoitems": 5}}'):
            channel.basic_publish(amqp.Message(body, content_type="application/json"), "celery.pidbox", "")
        channel.basic_publish(amqp.Message(b"x", content_type="application/x-python-serialize"), "celery.pidbox", "")
    assert wait_until(lambda: client.app.control.ping(destination=[worker.name], timeout=1), "an answer")
    assert client.call("demo.add", 2, 3) == 5


def test_a_reply_is_the_message_that_celery_sends(worker: Worker, raw: Raw) -> None:
    ticket, client = str(uuid.uuid4()), str(uuid.uuid4())
    with raw.connection.channel() as channel:
        channel.exchange_declare("reply.celery.pidbox", "direct", durable=False, auto_delete=False)
        name = f"{client}.reply.celery.pidbox"
        channel.queue_declare(name, durable=False, exclusive=True, auto_delete=True, arguments={"x-expires": 10000, "x-message-ttl": 300000})
        channel.queue_bind(name, "reply.celery.pidbox", client)
        request = {
            "method": "ping", "arguments": {}, "destination": [worker.name], "pattern": None, "matcher": None, "ticket": ticket,
            "reply_to": {"exchange": "reply.celery.pidbox", "routing_key": client},
        }
        properties = {"content_type": "application/json", "content_encoding": "utf-8", "application_headers": {"clock": 41}}
        channel.basic_publish(amqp.Message(json.dumps(request), **properties), "celery.pidbox", "")
        reply = wait_until(lambda: channel.basic_get(name, no_ack=True), "a reply")
    assert reply.body == json.dumps({worker.name: {"ok": "pong"}})
    assert reply.delivery_info["exchange"] == "reply.celery.pidbox"
    assert {name: reply.properties.get(name) for name in ("content_type", "content_encoding", "delivery_mode", "priority")} == {
        "content_type": "application/json", "content_encoding": "utf-8", "delivery_mode": 1, "priority": 0,
    }
    assert dict(reply.headers) == {"ticket": ticket, "clock": 43}


def test_the_pool_grows_and_shrinks(worker: Worker, client: Client) -> None:
    assert one(worker, client, "pool_grow", n=2) == {"ok": "pool will grow"}
    wait_until(lambda: len(worker.pool()) == 4, "four children", 20)
    assert one(worker, client, "pool_shrink", n=3) == {"ok": "pool will shrink"}
    wait_until(lambda: len(worker.pool()) == 1, "one child", 20)
    assert one(worker, client, "pool_shrink") == {"error": 'ValueError("Can\'t shrink pool. All processes busy!")'}
    assert client.call("demo.add", 2, 3) == 5


def test_queues_come_and_go(worker: Worker, client: Client, broker, queue: str) -> None:
    other = f"{queue}.more"
    assert one(worker, client, "add_consumer", queue=other) == {"ok": f"add consumer {other}"}
    assert one(worker, client, "add_consumer", queue=other) == {"ok": f"add consumer {other}"}
    assert client.send("demo.add", (2, 3), queue=other).get(timeout=10) == 5
    assert [item["name"] for item in one(worker, client, "active_queues")] == [queue, other]
    full = {"queue": f"{queue}.t", "exchange": f"{queue}.ex", "exchange_type": "topic", "routing_key": "y.#"}
    assert one(worker, client, "add_consumer", **full) == {"ok": f"add consumer {queue}.t"}
    described = one(worker, client, "active_queues")[-1]
    assert (described["exchange"]["name"], described["exchange"]["type"], described["routing_key"]) == (f"{queue}.ex", "topic", "y.#")
    assert one(worker, client, "cancel_consumer", queue=other) == {"ok": f"no longer consuming from {other}"}
    assert one(worker, client, "cancel_consumer", queue="nope") == {"ok": "no longer consuming from nope"}
    result = client.send("demo.add", (2, 3), queue=other)
    assert client.call("demo.add", 1, 1) == 2
    assert not result.ready()


@pytest.mark.celeriac("Celery loses its connection over such a queue, again and again")
def test_a_queue_that_cannot_be_had_costs_nothing_but_itself(worker: Worker, client: Client, raw: Raw, queue: str) -> None:
    with raw.connection.channel() as channel:
        channel.queue_declare(f"{queue}.odd", durable=False, exclusive=False, auto_delete=False)
    assert one(worker, client, "add_consumer", queue=f"{queue}.odd") == {"ok": f"add consumer {queue}.odd"}
    worker.wait_log(rf"{queue}\.odd is not consumed: \(406\)")
    wait_until(lambda: client.call("demo.add", 2, 3) == 5, "work goes on")
    assert [item["name"] for item in one(worker, client, "active_queues")] == [queue]


def test_a_node_is_addressed_by_name_and_by_pattern(worker: Worker, client: Client) -> None:
    control = client.app.control
    ours = [{worker.name: {"ok": "pong"}}]
    assert control.ping(destination=["other@test"], timeout=0.5) == []
    assert control.broadcast("ping", reply=True, timeout=1, pattern="t.*@test", matcher="glob") == ours
    assert control.broadcast("ping", reply=True, timeout=1, pattern=r"t\.[0-9a-f]+@", matcher="pcre") == ours
    assert control.broadcast("ping", reply=True, timeout=0.5, pattern="x*", matcher="glob") == []


def test_shutdown_by_remote(worker: Worker, client: Client) -> None:
    client.app.control.shutdown(destination=[worker.name])
    assert worker.wait() == 0
    assert "Got shutdown from remote" in worker.log


def test_a_second_worker_of_the_same_name_says_so_and_ends(worker: Worker, make_worker, queue: str) -> None:
    second = make_worker(on=f"{queue}.b", arguments=["-n", worker.name], ready=False)
    assert second.wait(20) == 1
    assert "RESOURCE_LOCKED" in second.log and f"{worker.name}.celery.pidbox" in second.log
    assert worker.alive()


@pytest.mark.celeriac("Celery answers between two tasks' events, but not while it waits for a socket")
def test_ping_is_answered_while_every_child_is_busy_and_while_it_shuts_down(worker: Worker, client: Client) -> None:
    for _ in range(20):
        client.send("demo.sleep", (3,))
    wait_until(lambda: len(one(worker, client, "active")) == 2, "busy")
    begin = time.monotonic()
    assert one(worker, client, "ping") == {"ok": "pong"}
    assert time.monotonic() - begin < 1
    client.app.control.shutdown(destination=[worker.name])
    assert one(worker, client, "ping") == {"ok": "pong"}
    assert worker.wait(20) == 0


def test_celerys_inspect_sees_the_worker(worker: Worker, client: Client) -> None:
    inspect = client.app.control.inspect(destination=[worker.name], timeout=5)
    assert inspect.ping() == {worker.name: {"ok": "pong"}}
    assert worker.name in inspect.stats()
    assert inspect.hello("other@test", revoked=["a"])[worker.name]["clock"] > 0
    assert inspect.hello(worker.name) == {worker.name: None}
