"""The settings `broker_*` of a Python app: each is seen to hold."""

from __future__ import annotations

import json
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable

import pytest

from harness import TIMEOUT, EmbeddedBroker, Worker, celeriac_binary, clean_environment, elapsed
from rabbitmq import free_port

AGAIN = r"Trying again in"


@pytest.fixture
def app_with(app_worker) -> Callable[..., Worker]:
    """Starts a worker of an app with some settings, which may not come up."""

    def make(url: str, ready: bool = False, **settings: object) -> Worker:
        return app_worker(url=url, ready=ready, environment={"LIFE_CONF": json.dumps(settings)})

    return make


def deserted() -> str:
    return f"amqp://guest:guest@127.0.0.1:{free_port()}//"


def test_broker_connection_retry_on_startup(app_with) -> None:
    """T22, T23: who wants a supervisor to restart the worker has it end."""
    worker = app_with(deserted(), broker_connection_retry_on_startup=False)
    assert worker.wait(30) == 1
    assert not re.search(AGAIN, worker.log)


def test_broker_connection_retry(app_with, own_broker: EmbeddedBroker) -> None:
    worker = app_with(own_broker.url, ready=True, broker_connection_retry=False)
    own_broker.popen.kill()
    assert worker.wait(30) == 1
    assert not re.search(AGAIN, worker.log)


def test_broker_connection_max_retries(app_with) -> None:
    worker = app_with(deserted(), broker_connection_max_retries=1)
    assert worker.wait(30) == 1
    assert re.findall(rf"{AGAIN} .*", worker.log) == ["Trying again in 2.00 seconds... (1/1)"]


@pytest.mark.celeriac("Celery's lines are the same but for the limit, which it calls None")
def test_broker_connection_max_retries_none(app_with) -> None:
    worker = app_with(deserted(), broker_connection_max_retries=None)
    worker.wait_log(rf"{AGAIN} 2\.00 seconds\.\.\. \(1\)", 30)


def test_broker_connection_timeout(app_with) -> None:
    """A port whose queue is full takes no more connections, and refuses none."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full, socket.socket() as first:
        first.connect(full.getsockname())
        worker = app_with(f"amqp://guest:guest@127.0.0.1:{full.getsockname()[1]}//", broker_connection_timeout=1)
        with elapsed() as since:
            worker.wait_log(r"Cannot connect to .*timed out", 30)
            assert since() < 4, "Celery's own default, and no time for the app to start"


@pytest.mark.celeriac("it takes Celery one more heartbeat")
def test_broker_heartbeat(app_with, own_broker: EmbeddedBroker) -> None:
    worker = app_with(own_broker.url, ready=True, broker_heartbeat=1)
    own_broker.popen.send_signal(signal.SIGSTOP)
    try:
        with elapsed() as since:
            worker.wait_log("Connection to broker lost")
            assert since() < 4, "two heartbeats, and two seconds for a busy machine"
    finally:
        own_broker.popen.send_signal(signal.SIGCONT)


def test_broker_login_method(app_with) -> None:
    mechanisms, locales = b"PLAIN AMQPLAIN", b"en_US"
    start = struct.pack(">HHBBI", 10, 10, 0, 9, 0)
    start += struct.pack(">I", len(mechanisms)) + mechanisms + struct.pack(">I", len(locales)) + locales
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(30)
        app_with(f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}//", broker_login_method="AMQPLAIN")
        peer, _ = server.accept()
        with peer:
            peer.settimeout(TIMEOUT)
            assert peer.recv(8) == b"AMQP\0\0\x09\x01"
            peer.sendall(struct.pack(">BHI", 1, 0, len(start)) + start + b"\xce")
            assert b"\x08AMQPLAIN" in peer.recv(4096), "the answer's mechanism"


@pytest.mark.celeriac("what main does not do is said")
def test_what_is_not_used_is_said(tmp_path: pathlib.Path) -> None:
    (tmp_path / "proj.py").write_text(
        "from celery import Celery\n"
        "def nearest(hosts):\n    while True:\n        yield from hosts\n"
        "app = Celery('proj', broker='amqp://127.0.0.1')\n"
        "app.conf.update(broker_failover_strategy=nearest, broker_heartbeat_checkrate=7)\n"
    )
    command = [str(celeriac_binary()), "--python", sys.executable, "-A", "proj", "check"]
    said = subprocess.run(command, cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, timeout=60, check=False).stdout
    assert "setting broker_failover_strategy (nearest) is not used: the URLs are tried in the order" in said
    assert "setting broker_heartbeat_checkrate (7) is not used" in said
