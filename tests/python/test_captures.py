"""Every command that was captured from a worker of Celery's, asked of ours by Celery's own `app.control`.

`captures/control.jsonl` has each request and reply of Celery 5.7.0. A text under `ok` or `error` must be equal;
of everything else the keys, their order and the types must be, and what varies is not compared.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conftest import HERE, story_environment
from harness import celeriac_binary, wait_until

NODE = "ref@lab"
CAPTURES = {one["name"]: one for one in map(json.loads, (HERE / "captures/control.jsonl").read_text().splitlines())}
#: What is deliberately otherwise, as the manual says, and what a worker answers when it is told to go.
OTHERWISE = {
    "E_disable": "disable_events disables, whatever the command line said",
    "E_disable2": "the same",
    "E_disable3": "the same",
    "E_enable2": "the state after E_disable",
    "rev_stamp_list": "no defaultdict to show",
    "rev_stamp_term_match": "shown as the headers that were given",
    "rev_stamp_term_match2": "the same",
    "scheduled_after": "a task that is revoked goes at once, not when its time has come",
    "query_after": "the same",
    "memsample": "psutil is not needed",
    "memdump": "the same",
    "election": "it needs two nodes; its own story is in test_events",
    "ping_destination_string": "kombu's client refuses to send it; the rule is tested in message::pidbox",
}


class Asked:
    """A worker of the app `proj`, and a Celery client that asks it."""

    def __init__(self, broker: Any, redis_url: str, folder: pathlib.Path, *options: str, **variables: str) -> None:
        self.environment = story_environment(STORY_BROKER=broker.url, STORY_BACKEND=redis_url, **variables)
        from celery import Celery

        self.app = Celery("asker", broker=broker.url, backend=redis_url, set_as_current=False)
        self.app.control.purge()
        self.path = folder / "worker.log"
        program = [str(celeriac_binary()), "--python", sys.executable]
        with open(self.path, "wb") as log:
            self.popen = subprocess.Popen(
                [*program, "-A", "proj", "worker", "-n", NODE, "-l", "INFO", *options],
                env=self.environment, cwd=HERE, stdout=log, stderr=log, start_new_session=True)
        self.done: set[str] = set()
        wait_until(lambda: f"{NODE} ready." in self.log or self.popen.poll() is not None, "the worker to be ready", 30)
        assert self.popen.poll() is None, self.log[-3000:]

    @property
    def log(self) -> str:
        return self.path.read_text(errors="replace")

    def send(self, name: str, identity: str, *args: Any, **options: Any) -> None:
        self.app.send_task(f"proj.{name}", args, options.pop("kwargs", {}), task_id=identity, **options)

    def ask(self, name: str) -> Any:
        """The reply to the request of a capture."""
        capture = CAPTURES[name]
        self.done.add(name)
        address = {key: capture[key] for key in ("pattern", "matcher") if key in capture}
        expected = capture["reply"]
        replies = self.app.control.broadcast(
            capture["method"], arguments=capture["arguments"], destination=capture.get("destination"), reply=True,
            timeout=5 if expected else 0.3, limit=len(expected) or None, **address)
        assert len(replies) == len(expected), (name, replies)
        return replies[0][NODE] if replies else None

    def compare(self, *names: str) -> None:
        for name in names:
            reply = self.ask(name)
            if CAPTURES[name]["reply"] and name not in OTHERWISE:
                assert_alike(reply, CAPTURES[name]["reply"][0][NODE], name)

    def one(self, method: str, **arguments: Any) -> Any:
        return self.app.control.broadcast(method, arguments=arguments, reply=True, timeout=5, limit=1)[0][NODE]

    def children(self) -> set[int]:
        return set(self.one("stats")["pool"]["processes"])

    def close(self) -> None:
        self.popen.send_signal(signal.SIGTERM)
        try:
            self.popen.wait(20)
        finally:
            if self.popen.poll() is None:
                self.popen.kill()
                self.popen.wait()
            self.app.close()


def assert_alike(ours: Any, theirs: Any, path: str) -> None:
    """The same keys in the same order, the same types; the same words of success and failure."""
    if isinstance(theirs, dict):
        if set(theirs) in ({"ok"}, {"error"}) and not path.startswith("report"):
            assert ours == theirs, path
            return
        if "stats" in path and path.count(".") == 0:
            ours.pop("connections")  # what Celery has not, at the end
            ours.pop("children")
        if path.endswith(".total"):  # of the tasks that have run
            assert isinstance(ours, dict) and all(type(count) is int for count in ours.values()), path
            return
        order = sorted if "conf" in path else list  # the order of settings is that in which the app has set them
        assert isinstance(ours, dict) and order(ours) == order(theirs), (path, sorted(set(ours) ^ set(theirs)))
        for key, value in theirs.items():
            assert_alike(ours[key], value, f"{path}.{key}")
    elif isinstance(theirs, list):
        assert isinstance(ours, list) and bool(ours) == bool(theirs), (path, ours)
        if theirs and isinstance(theirs[0], dict) and "id" in theirs[0]:  # tasks, in any order
            by_id = {task["id"]: task for task in ours}
            assert any(task["id"] in by_id for task in theirs), path
            theirs = [task for task in theirs if task["id"] in by_id]
            ours = [by_id[task["id"]] for task in theirs]
        for index, (one, other) in enumerate(zip(ours, theirs)):
            assert_alike(one, other, f"{path}[{index}]")
    else:
        assert type(ours) is type(theirs), (path, ours, theirs)


@pytest.fixture(scope="module")
def seen() -> set[str]:
    """The captures that have been compared."""
    return set()


@pytest.fixture
def start(broker, redis_url, tmp_path, seen) -> Iterator[Callable[..., Asked]]:
    started: list[Asked] = []

    def begin(*options: str, **variables: str) -> Asked:
        started.append(Asked(broker, redis_url, tmp_path, *options, **variables))
        return started[-1]

    yield begin
    for asked in started:
        asked.close()
        seen |= asked.done


def test_an_idle_worker_and_what_it_is_told(start) -> None:
    asked = start("-c", "2")
    asked.compare("active_idle", "reserved_idle", "scheduled_idle", "revoked_idle", "clock", "stats_idle", "noev_heartbeat",
                  "report", "report_with_unexpected_kwarg", "conf", "dump_conf", "conf_with_defaults", "active_queues")
    asked.compare(*(name for name in CAPTURES if name.startswith("ping") and name not in OTHERWISE), "nogossip_ping")
    asked.compare("unknown_command", "missing_arg", "objgraph", "memsample", "memdump", "heartbeat")
    asked.compare("registered", "dump_tasks", "registered_builtins", "registered_items", "query_task_noargs", "query_task_unknown")
    assert asked.ask("registered_items") == CAPTURES["registered_items"]["reply"][0][NODE]
    assert asked.ask("registered_builtins") == CAPTURES["registered_builtins"]["reply"][0][NODE]
    asked.compare("hello", "hello_old_dict", "hello_self", "revoked_after_hello")
    asked.compare("enable_events", "enable_events_again", "disable_events", "disable_events_again", "enable_events_kwarg")
    asked.compare(*(name for name in CAPTURES if name.startswith(("rate_limit", "time_limit"))))
    asked.compare("add_consumer", "add_consumer_again", "active_queues_after_add", "stats_after_add", "add_consumer_full",
                  "active_queues_after_add2", "cancel_consumer", "cancel_consumer2", "cancel_consumer_unknown", "active_queues_after_cancel")
    asked.compare("pool_grow", "stats_after_grow", "pool_shrink", "stats_after_shrink", "autoscale_disabled", "autoscale_extra",
                  "pool_restart_disabled")
    asked.compare("revoke_empty", "revoke_none", "revoke_kwargs", "revoke_terminate_unknown", "terminate_badsig",
                  "rev_stamp_none", "rev_stamp_bad", "rev_stamp_dict", "rev_stamp_list", "rev_stamp_term_nomatch")


def test_a_busy_worker(start) -> None:
    asked = start("-c", "2")
    for number in range(5):
        asked.send("sleep", f"sleep-{number}", 20, kwargs={"note": f"n{number}"}, argsrepr="(20,)", kwargsrepr=f"{{'note': 'n{number}'}}")
    asked.send("add", "eta-1", 1, 2, countdown=120, priority=3)
    asked.send("limited", "eta-lim", countdown=120)
    wait_until(lambda: len(asked.one("scheduled")) == 2 and len(asked.one("active")) == 2, "two tasks run and two are held")
    asked.compare("active", "dump_active", "active_safe", "active_safe_none", "reserved", "reserved_safe_ignored", "scheduled",
                  "dump_schedule", "stats_busy", "query_task_str")
    told = asked.ask("query_task")
    expected = CAPTURES["query_task"]["reply"][0][NODE]
    assert {name: told[name][0] for name in expected if name in told} == {name: expected[name][0] for name in told}
    asked.compare("revoke_one", "revoke_terminate_active", "terminate_cmd", "terminate_str", "revoke_intsig", "terminate_eta")
    reply = asked.ask("revoke_list")["ok"]  # a set of Python's, in any order
    assert reply in ("tasks {'eta-1', 'zzz'} flagged as revoked", "tasks {'zzz', 'eta-1'} flagged as revoked")
    wait_until(lambda: asked.one("active") == [], "all were ended")
    asked.compare("active_after_stamp", "reserved_after", "scheduled_after", "query_after", "revoked", "dump_revoked",
                  "active_idle")
    asked.send("sleep", "st-1", 30, headers={"stamped_headers": ["mark"], "stamps": {"mark": "x"}}, mark="x")
    wait_until(lambda: asked.one("active"), "it runs")
    asked.compare("active_stamped", "rev_stamp_term_match", "rev_stamp_term_match2")
    # What is otherwise the same as a capture above, at another moment.
    asked.done |= {"active_after_kill", "active_after_term"}


def test_an_autoscaled_worker(start) -> None:
    asked = start("--autoscale=4,1", STORY_RESTARTS="1")
    asked.compare("autoscale_stats", "autoscale_set", "autoscale_none", "autoscale_stats2", "autoscale_str", "autoscale_pool_grow",
                  "autoscale_pool_shrink")
    first = wait_until(asked.children, "children")
    asked.compare("pool_restart_badmod", "pool_restart")
    second = wait_until(lambda: (now := asked.children()) and not first & now and now, "other children")
    asked.compare("stats_after_restart", "pool_restart_modules", "autoscale_inverted")
    wait_until(lambda: (now := asked.children()) and not second & now, "children of another zygote", 20)
    assert asked.app.send_task("proj.add", (2, 3)).get(timeout=10) == 5


def test_a_worker_without_events_and_one_with(start) -> None:
    asked = start("--without-gossip", "--without-heartbeat", "-c", "1")
    asked.compare("noev_enable", "noev_heartbeat", "noev_stats", "noev_election", "nogossip_election")
    asked.compare("shutdown")
    assert asked.popen.wait(20) == 0
    asked = start("-E", "-c", "1", STORY_RESTARTS="1")
    first = wait_until(asked.children, "a child")
    asked.compare("E_enable", "pr_restart", "ping_after_restart")
    wait_until(lambda: (now := asked.children()) and not first & now, "another child")
    asked.compare("pr_stats")


def test_commands_of_the_apps_own_run_in_the_clerk(start) -> None:
    asked = start("-c", "1")
    told = asked.one("cpf", scale=2)
    assert told == {"scaled": 4, "tset": 1, "host": NODE, "keys": ["app", "consumer", "hostname", "tset"]}
    assert asked.one("current_prefetch") == told | {"scaled": 2}
    assert asked.one("hidden") == "raw string"
    assert asked.one("odd_one") == {"error": "LookupError('as it happens')"}
    assert asked.one("listen") == {"error": "TypeError(\"listen() missing 1 required positional argument: 'queue'\")"}
    assert asked.one("listen", queue="further") == {"ok": f"{NODE} proj"}
    wait_until(lambda: "further" in [queue["name"] for queue in asked.one("active_queues")], "main consumes it")
    assert asked.app.send_task("proj.add", (2, 3), queue="further").get(timeout=10) == 5
    assert asked.one("leave", queue="further") == {"ok": "left"}
    wait_until(lambda: len(asked.one("active_queues")) == 1, "main lets go of it")


def test_commands_of_the_apps_own_know_and_change_what_main_does(start) -> None:
    """Issue 5, "What to build" 1: what the `state` of a command answers."""
    asked = start("-c", "1", "-Q", "celery", STORY_QUEUES="yes")
    asked.send("sleep", "sleep-1", 60)
    asked.send("add", "add-1", 1, 2)
    wait_until(lambda: len(asked.one("reserved")) == 1 and asked.one("active"), "one runs and one waits")
    assert asked.one("what_it_knows") == {
        "queues": ["celery"], "active": [["proj.sleep", "sleep-1", [60]]], "reserved": ["add-1", "sleep-1"],
        "total": {"proj.sleep": 1}, "children": 1, "errors": [True, False], "app": "proj",
    }
    assert asked.one("current_prefetch_count") == {"prefetch_count": 4}
    assert asked.one("increase_prefetch_count", n=3) == {"ok": "prefetch count incremented"}
    wait_until(lambda: asked.one("current_prefetch_count") == {"prefetch_count": 7}, "the broker to be told")
    seen: list[dict] = []
    with asked.app.connection_for_read() as connection:
        receiver = asked.app.events.Receiver(connection, handlers={"worker-waved": seen.append})
        with receiver.consumer_context(wakeup=False) as (listening, _, _):
            assert asked.one("send_event") == {"ok": "sent"}
            while not seen:
                listening.drain_events(timeout=10)
    assert (seen[0]["hostname"], seen[0]["pid"], seen[0]["to"]) == (NODE, asked.popen.pid, "you")
    # A queue that is configured, and not consumed with -Q, is the configured one.
    asked.app.control.add_consumer("beside", reply=True)
    wait_until(lambda: len(asked.one("active_queues")) == 2, "main consumes it")
    queue = next(queue for queue in asked.one("active_queues") if queue["name"] == "beside")
    assert (queue["exchange"]["name"], queue["routing_key"], queue["queue_arguments"]) == (
        "aside", "a.#", {"x-max-priority": 7})
    assert asked.one("reconnect") == {"ok": "reconnecting"}
    wait_until(lambda: asked.log.count("Connected to amqp://") == 2, "another connection", 20)
    wait_until(lambda: asked.app.control.ping(timeout=0.5), "its mailbox", 20)
    assert asked.one("active")[0]["id"] == "sleep-1"
    asked.app.control.revoke("sleep-1", terminate=True, reply=True)
    assert asked.app.AsyncResult("add-1").get(timeout=20) == 3


def test_every_capture_was_compared(seen) -> None:
    """To be the last: it holds the others to the list."""
    missing = set(CAPTURES) - seen - set(OTHERWISE)
    assert not missing, sorted(missing)
