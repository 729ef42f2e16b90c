"""Exchanges and queues of remote control and events as the app sets them (`control_*`, `event_*`; T10.3)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from channels_app import SETTINGS
from harness import Client, celeriac_binary, clean_environment, wait_until
from rabbitmq import RabbitMQ
from test_events import Monitor

pytestmark = pytest.mark.celeriac("it is compared with Celery's own worker")

CELERY = [sys.executable, "-m", "celery", "-A", "channels_app"]
CELERIAC = [str(celeriac_binary()), "--python", sys.executable, "-A", "channels_app"]


def queues(broker: RabbitMQ, part: str) -> dict[str, tuple[str, ...]]:
    """The flags of the queues that have this in their name."""
    text = broker.control("list_queues", "--formatter", "json", "name", "durable", "auto_delete", "exclusive", "arguments")
    return {
        queue["name"]: (queue["durable"], queue["auto_delete"], bool(queue["exclusive"]), sorted(map(repr, queue["arguments"])))
        for queue in json.loads(text)
        if part in queue["name"]
    }


@pytest.fixture
def configured(client: Client) -> Client:
    client.app.conf.update(SETTINGS)
    return client


def test_t10_3_a_client_configured_alike_finds_the_worker(make_worker, configured: Client, broker, queue: str) -> None:
    celery = make_worker(command=CELERY, urls_in_environment=True, on=f"{queue}.celery")
    worker = make_worker(command=CELERIAC, urls_in_environment=True, arguments=["-E"])
    monitor = Monitor(configured, worker.name)
    assert configured.app.control.ping([worker.name], timeout=10) == [{worker.name: {"ok": "pong"}}]
    monitor.wait("worker-heartbeat")
    configured.call("demo.add", 2, 3)
    wait_until(lambda: any(event["type"] == "task-succeeded" for event in list(monitor.events)), "an event of a task")
    monitor.close()

    found = queues(broker, ".ops.pidbox")
    ours, theirs = (found[f"{node.name}.ops.pidbox"] for node in (worker, celery))
    assert ours == theirs
    assert len(set(map(repr, queues(broker, "opsq.").values()))) == 1, "gossip's queues, both workers', and the monitor's"
    assert not [name for name in queues(broker, ".celery.pidbox") if worker.name in name]
    assert client_of_default(broker, worker.name) == [], "who is configured otherwise does not hear it"

    # Our own command line, by the environment, as it has no app here.
    environment = clean_environment(CELERY_BROKER_URL=broker.url, CELERIAC_CONTROL_EXCHANGE="ops")
    command = [str(celeriac_binary()), "inspect", "ping", "-d", worker.name, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert json.loads(done.stdout) == {worker.name: {"ok": "pong"}}
    for node in (worker, celery):
        assert node.stop() == 0
    leave_nothing(configured, broker)


def client_of_default(broker, node: str) -> list[object]:
    other = Client(broker.url, "unused")
    try:
        return other.app.control.ping([node], timeout=0.5)
    finally:
        other.close()


def leave_nothing(client: Client, broker: RabbitMQ) -> None:
    """Durable queues stay until they expire; the next test is not to find them."""
    with client.app.connection_for_write() as connection:
        for name in [*queues(broker, ".ops.pidbox"), *queues(broker, "opsq.")]:
            connection.default_channel.queue_delete(name)


def test_what_contradicts_itself_is_refused_in_celerys_words(broker, tmp_path) -> None:
    (tmp_path / "odd.py").write_text("from celery import Celery\napp = Celery('odd', control_queue_durable=True)\napp.conf.control_queue_durable = True\n")
    environment = clean_environment(CELERY_BROKER_URL=broker.url) | {"PYTHONPATH": str(tmp_path)}
    command = [str(celeriac_binary()), "--python", sys.executable, "-A", "odd", "worker", "-c", "1"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "control_queue_durable and control_queue_exclusive cannot both be True" in done.stderr
