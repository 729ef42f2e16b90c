"""Celery's remote debugger in tasks, and a monitoring agent: what they hook into is where they look for it."""

from __future__ import annotations

import gzip
import http.server
import json
import os
import re
import signal
import socket
import threading

import pytest

from harness import wait_until
from rabbitmq import free_port
from test_life import start  # noqa: F401 - the fixture


class Telnet:
    """A debugger's session."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=20)
        self.text = ""

    def wait(self, text: str) -> None:
        while text not in self.text:
            part = self.socket.recv(4096)
            assert part, f"waited in vain for {text!r}: {self.text}"
            self.text += part.decode()
        self.text = self.text.partition(text)[2]

    def say(self, line: str) -> None:
        self.socket.sendall(f"{line}\r\n".encode())


def session(worker) -> Telnet:
    """The debugger's session that the log tells of."""
    found = wait_until(
        lambda: re.search(r"Remote Debugger:(\d+): Waiting for client", worker.log), "the debugger's port", 20)
    assert f"Remote Debugger:{found[1]}: Ready to connect: telnet 127.0.0.1 {found[1]}" in worker.log
    return Telnet(int(found[1]))


def test_a_telnet_session_changes_a_variable(start):  # noqa: F811
    with socket.create_server(("127.0.0.1", 0)) as taken:  # the first that child number 1 will try
        first = taken.getsockname()[1]
        worker = start(CELERY_RDB_HOST="127.0.0.1", CELERY_RDB_PORT=str(first - 1))
        task_id = worker.client("print(debugged.delay(1).id)")
        telnet = session(worker)
        assert telnet.port > first
    telnet.wait("(Pdb) ")
    telnet.say("p answer")
    telnet.wait("1")
    telnet.wait("(Pdb) ")
    telnet.say("!answer = 42")
    telnet.wait("(Pdb) ")
    telnet.say("continue")
    assert worker.client(f"print(app.AsyncResult({task_id!r}).get(timeout=20))") == "42"
    worker.wait_log("Now in session with 127.0.0.1:")
    worker.wait_log("Session with 127.0.0.1:")
    assert worker.stop() == 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_a_signal_opens_a_session(start, method):  # noqa: F811
    worker = start("--pool-start-method", method, CELERY_RDBSIG="1", CELERY_RDB_PORT=str(free_port()))
    path = worker.folder / "go"
    task_id = worker.client(f"print(started.delay({str(path)!r}).id)")
    wait_until(lambda: "STARTED" in worker.client(f"print(app.AsyncResult({task_id!r}).state)"), "the task to start")
    (child,) = [child for child in worker.main.children() if child.pid != worker.zygote().pid]
    os.kill(child.pid, signal.SIGUSR2)
    telnet = session(worker)
    telnet.wait("(Pdb) ")
    path.touch()
    telnet.say("continue")
    assert worker.client(f"print(app.AsyncResult({task_id!r}).get(timeout=20))") == "seen"
    assert worker.stop() == 0


class Sentry(http.server.ThreadingHTTPServer):
    """A server that agents report to: it keeps the events of the envelopes that come."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Envelopes)
        self.events: list[dict] = []
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Envelopes(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        self.server.events += [json.loads(line) for line in body.splitlines() if line.startswith(b'{"') and b'"exception"' in line]
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_sentry_loses_nothing_at_the_end_of_a_child(start, method):  # noqa: F811
    """Its thread reports when it comes to it; a child that ends flushes it first."""
    with Sentry() as sentry:
        dsn = f"http://key@127.0.0.1:{sentry.server_address[1]}/1"
        worker = start("--pool-start-method", method, "--max-tasks-per-child", "1", STORY_SENTRY=dsn)
        worker.client("[fail.delay(n).get(timeout=30, propagate=False) for n in range(4)]; print(0)")
        assert worker.stop() == 0
        codes = [event["exception"]["values"][-1]["value"] for event in sentry.events]
        assert sorted(codes) == [f"({n}, 'so it goes')" for n in range(4)], codes
        assert {event["transaction"] for event in sentry.events} == {"plain.fail"}
        sentry.shutdown()
