"""A Python app's worker and its processes: who outlives whom, and what an operator is told."""

from __future__ import annotations

import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import uuid

import pytest

from conftest import HERE, story_environment
from harness import Process, celeriac_binary, wait_until


class PythonWorker:
    """celeriac with the plain app, and a client of it."""

    def __init__(
        self, broker, redis_url, folder: pathlib.Path, *options: str, app: str = "plain", ready: pathlib.Path | None = None,
        **variables: str,
    ) -> None:
        self.folder = folder
        self.environment = story_environment(
            STORY_BROKER=broker.url, STORY_BACKEND=redis_url, STORY_FOLDER=str(folder),
            STORY_QUEUE=f"life.{uuid.uuid4().hex[:8]}", **variables)
        self.path = folder / "worker.log"
        command = [str(celeriac_binary()), "--python", sys.executable, "-A", app, "worker", "-l", "INFO", "-n", "w@test"]
        with open(self.path, "wb") as log:
            self.popen = subprocess.Popen(
                [*command, "-c", "1", *options], env=self.environment, cwd=HERE, stdout=log, stderr=log,
                start_new_session=True)
        self.main = Process(self.popen.pid)
        log, self.path = self.path, ready or self.path  # an app may write its log elsewhere
        wait_until(lambda: self.path.exists() or not self.main.alive(), "the log", 30)
        self.wait_log("w@test ready.")
        self.path = log

    @property
    def log(self) -> str:
        return self.path.read_text(errors="replace")

    def wait_log(self, text: str, times: int = 1) -> None:
        wait_until(lambda: self.log.count(text) >= times or not self.main.alive(), f"{text!r} in the log", 30)
        assert self.log.count(text) >= times, self.log[-3000:]

    def client(self, code: str) -> str:
        """The last line that `code` prints, which has the app's tasks at hand."""
        done = subprocess.run(
            [sys.executable, "-c", f"from plain import *\n{code}"], env=self.environment, cwd=HERE,
            capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-2000:] + self.log[-2000:]
        return done.stdout.strip().splitlines()[-1]

    def zygote(self) -> Process:
        return min(self.main.children(), key=lambda child: child.pid)

    def stop(self) -> int:
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(30)

    def close(self) -> None:
        if self.popen.poll() is None:
            self.popen.kill()
            self.popen.wait()


@pytest.fixture
def start(broker, redis_url, tmp_path):
    started = []

    def begin(*options: str, **variables: str) -> PythonWorker:  # and `app`
        started.append(PythonWorker(broker, redis_url, tmp_path, *options, **variables))
        return started[-1]

    yield begin
    for worker in started:
        worker.close()


def test_a_lost_zygote_has_a_successor_while_tasks_go_on(start):
    worker = start()
    path = worker.folder / "go"
    task_id = worker.client(f"print(started.delay({str(path)!r}).id)")
    wait_until(lambda: f"[{task_id}] received" in worker.log, "the task to be received")
    zygote = worker.zygote()
    os.kill(zygote.pid, signal.SIGKILL)
    worker.wait_log("pool: another zygote has taken over")
    path.touch()
    assert worker.client(f"print(app.AsyncResult({task_id!r}).get(timeout=20))") == "seen"
    # Its child is the last of the old zygote's; the next one is made by the new.
    worker.client("killed.delay().get(timeout=20, propagate=False); print(0)")
    assert worker.client("print(add.delay(1, 2).get(timeout=20))") == "3"
    assert worker.stop() == 0


def test_a_result_waits_for_the_next_zygote(start):
    """A child is lost while there is no zygote, and so nobody who could make a clerk to store that."""
    worker = start()
    task_id = worker.client(f"print(started.delay({str(worker.folder / 'never')!r}).id)")
    wait_until(lambda: f"[{task_id}] received" in worker.log, "the task to be received")
    zygote = worker.zygote()
    children = [child for child in worker.main.children() if child.pid != zygote.pid]
    wait_until(lambda: "STARTED" in worker.client(f"print(app.AsyncResult({task_id!r}).state)"), "the task to start")
    os.kill(zygote.pid, signal.SIGKILL)
    for child in children:
        os.kill(child.pid, signal.SIGKILL)
    error = worker.client(f"r = app.AsyncResult({task_id!r}); r.get(timeout=20, propagate=False); print(repr(r.result))")
    assert error.startswith("WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL)"), error
    assert worker.client("print(add.delay(1, 2).get(timeout=20))") == "3"
    assert worker.stop() == 0


@pytest.mark.parametrize("where", ["python", "c"])
def test_nothing_outlives_main(start, where):
    worker = start()
    worker.client("killed.delay().get(timeout=20, propagate=False); print(0)")  # so that there is a clerk
    path = worker.folder / "never"
    call = {"python": f"started.delay({str(path)!r})", "c": "in_c.delay()"}[where]
    task_id = worker.client(f"print({call}.id)")
    wait_until(lambda: "STARTED" in worker.client(f"print(app.AsyncResult({task_id!r}).state)"), "the task to start")
    family = worker.main.descendants()
    assert len(family) >= 3  # zygote, clerk, child
    worker.popen.kill()
    began = time.monotonic()
    wait_until(lambda: not any(process.alive() for process in family), "the end of all processes", 2)
    assert time.monotonic() - began < 2


def test_children_are_recycled_without_an_import(start):
    worker = start("--max-tasks-per-child", "1")
    names = worker.client("print(len({whoami.delay().get(timeout=20) for _ in range(3)}), "
                          "len({add.delay(n, n).get(timeout=20) for n in range(10)}))")
    assert names == "1 10"
    assert worker.log.count("ForkPoolWorker-12]") >= 1
    assert worker.stop() == 0


def test_a_soft_limit_is_raised_in_the_task_and_a_hard_one_ends_it(start):
    worker = start()
    path = worker.folder / "never"
    code = f"r = started.apply_async(({str(path)!r},), {{options}})\ntry: r.get(timeout=20)\nexcept Exception as e: print(repr(e))"
    assert worker.client(code.format(options="soft_time_limit=0.5")).startswith("SoftTimeLimitExceeded(")
    assert worker.client(code.format(options="time_limit=0.5")) == "TimeLimitExceeded(0.5)"
    assert worker.client("print(add.delay(1, 2).get(timeout=20))") == "3"


@pytest.mark.parametrize("app", ["plain", "plain:app"])
def test_a_spawned_child_is_an_interpreter_of_its_own(start, app):
    """What the module has done at its import it has done once in the zygote and once in each child."""
    worker = start("--pool-start-method", "spawn", "--max-tasks-per-child", "2", app=app, STORY_RECEIVERS="yes")
    seen = worker.client("print([imported_by.delay().get(timeout=30) for _ in range(4)])")
    assert all(imported == running for imported, running in eval(seen)) and len({pid for _, pid in eval(seen)}) == 2
    children = [child for child in worker.main.children()]
    task_id = worker.client("r = talk.delay(); r.get(timeout=30); print(r.id)")
    worker.wait_log(f"plain.talk[{task_id}]: logged well")
    assert "WARNING/SpawnPoolWorker-3] printed" in worker.log
    assert worker.client("print(flaky.delay(1).get(timeout=30), whoami.delay().get(timeout=30))") == "1 SpawnPoolWorker"
    # The clerk is one, too: it notes the loss of a child.
    assert worker.client("r = killed_late.delay(); r.get(timeout=20, propagate=False); print(repr(r.result))").startswith(
        "WorkerLostError('Worker exited prematurely: signal 9 (SIGKILL) Job:")
    assert re.search(r"ERROR/MainProcess\] Process 'SpawnPoolWorker-\d+' pid:\d+ exited with 'signal 9", worker.log)
    notes = worker.folder / "clerk"
    wait_until(lambda: notes.exists() and notes.read_text().startswith("True\n"), "a receiver in the clerk")
    worker.popen.kill()
    wait_until(lambda: not any(child.alive() for child in children), "the end of all processes", 2)


def test_what_is_printed_and_logged_is_in_celerys_format(start):
    worker = start()
    task_id = worker.client("r = talk.delay(); r.get(timeout=20); print(r.id)")
    worker.wait_log(f"plain.talk[{task_id}]: logged well")
    assert "WARNING/ForkPoolWorker-1] printed" in worker.log
    assert f"INFO/ForkPoolWorker-1] Task plain.talk[{task_id}] succeeded in" in worker.log


def test_a_hook_that_hangs_costs_a_clerk_and_nothing_else(start):
    """Issue 3, "What to build" 4: it is logged, and never hurts main."""
    worker = start("--hook-timeout", "0.5")
    told = worker.client(
        "one, other = stuck_in_a_hook.delay(), killed.delay(); plain = add.delay(1, 2).get(timeout=20)\n"
        "print(plain, [repr(r.get(timeout=20, propagate=False)).partition('(')[0] for r in (one, other)])")
    assert told == "3 ['TimeLimitExceeded', 'WorkerLostError']"
    worker.wait_log("WARNING/MainProcess] clerk: it took too long; another is told what it was at")
    worker.wait_log("ERROR/MainProcess] clerk: it took too long; what it was at is given up")
    assert worker.client("print(add.delay(1, 2).get(timeout=20))") == "3"
    assert worker.stop() == 0


RAW = """
from kombu import Queue
def send(body, headers, serializer="json", **options):
    with app.connection_for_write() as connection, connection.Producer() as producer:
        queue = app.conf.task_default_queue
        producer.publish(body, exchange=queue, routing_key=queue, headers=headers, serializer=serializer, **options)
"""


def test_signals_of_main_reach_their_receivers(start, tmp_path):
    worker = start(STORY_RECEIVERS="yes")
    worker.client(RAW + "send([1], {}); send([[1, 2], {}, {}], {'task': 'plain.add'})\nprint(0)")
    task_id = worker.client("r = add.delay(1, 2); r.get(timeout=20); print(r.id)")
    for name, lines in {
        "received": [f"plain.add {task_id}"],
        "rejected": ["None NoneType", "plain.add InvalidTaskError"],
        "heartbeats": ["Heart"],
    }.items():
        path = tmp_path / name
        wait_until(lambda: path.exists() and len(path.read_text().splitlines()) >= len(lines), f"notes of {name}")
        assert path.read_text().splitlines()[:len(lines)] == lines
    assert worker.stop() == 0


def test_a_message_that_only_python_reads(start):
    """Protocol 1 in what main does not read: its task and id are in the body."""
    worker = start(STORY_ACCEPT="json,pickle,yaml,hexed")
    code = """
import time
old = {"task": "plain.add", "args": (2,), "kwargs": {"y": 3}, "retries": 0}
bare = {"task": "plain.request", "id": "bare", "expires": None}
send({"no": "task"}, {}, "pickle")
send(bare | {"args": (1, bytes([255])), "kwargs": {}, "eta": None}, {}, "pickle")
ids = []
for serializer, compression in ("pickle", None), ("pickle", "zlib"), ("yaml", None), ("yaml", "zlib"), ("hexed", None):
    ids += [f"{serializer}-{compression}-{protocol}" for protocol in (1, 2)]
    send(old | {"args": [2], "id": ids[-2]}, {}, serializer, compression=compression)
    add.apply_async((2, 3), serializer=serializer, compression=compression, task_id=ids[-1])
print([app.AsyncResult(id).get(timeout=20) for id in ids], app.AsyncResult("bare").get(timeout=20)["task"])
"""
    assert worker.client(RAW + code) == f"{[5] * 10} plain.request"
    assert "Received and deleted unknown message" in worker.log
    assert worker.stop() == 0


def test_what_the_app_does_not_accept_no_child_sees(start):
    """Issue 3, "What to build" 3, of both protocols."""
    worker = start(STORY_ACCEPT="json,yaml")
    code = """
from kombu.serialization import enable_insecure_serializers
enable_insecure_serializers()
send({"task": "plain.add", "id": "one", "args": [2, 3], "kwargs": {}}, {}, "pickle")
send([[2, 3], {}, {}], {"task": "plain.add", "id": "two"}, "pickle")
send([[2, 3], {}, {}], {"task": "plain.add", "id": "three"}, "hexed")
send("- [", {"task": "plain.add", "id": "four"}, None, content_type="application/x-yaml", content_encoding="utf-8")
print(add.delay(2, 3).get(timeout=20))
"""
    assert worker.client(RAW + code) == "5"
    untrusted = "Received invalid task message: Refusing to deserialize untrusted content of type "
    worker.wait_log(untrusted + "pickle (application/x-python-serialize)", 2)
    worker.wait_log(untrusted + "application/x-hexed", 1)
    by_children = [line for line in worker.log.splitlines() if "/ForkPoolWorker" in line]
    assert len(by_children) == 2 and "Can't decode message body" in by_children[0], by_children
    assert worker.stop() == 0


def test_a_command_that_revokes_tells_the_backend(start):
    worker = start()
    code = """
app.backend.store_result("elsewhere", None, "PROGRESS")
app.control.revoke(["elsewhere", "nowhere"], reply=True, timeout=2)
import time
deadline = time.monotonic() + 10
while app.AsyncResult("nowhere").state != "REVOKED" and time.monotonic() < deadline: time.sleep(0.05)
print(app.AsyncResult("elsewhere").state, app.AsyncResult("nowhere").state)
"""
    assert worker.client(code) == "PROGRESS REVOKED"


def test_beat_runs_beside_the_worker(start, tmp_path):
    worker = start("-B", "-s", str(tmp_path / "schedule"))
    notes = tmp_path / "beat"
    wait_until(lambda: notes.exists() and notes.read_text().count("ran") >= 2, "two beats", 30)
    assert worker.stop() == 0


def test_an_agent_in_the_workers_loop_flushes_at_the_end(start, tmp_path):
    worker = start(STORY_AGENT="yes")
    assert worker.client("print(add.delay(1, 2).get(timeout=20))") == "3"
    assert worker.stop() == 0
    assert len((tmp_path / "flushed").read_text().splitlines()) == 1


def run(*words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = story_environment(STORY_BROKER="amqp://127.0.0.1:1//", STORY_BACKEND="rpc://", STORY_FOLDER="/", **variables)
    command = [str(celeriac_binary()), "--python", sys.executable, *words]
    return subprocess.run(command, env=environment, cwd=HERE, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("words, status, text", [
    (["-A", "nowhere", "worker"], 2, "The module nowhere was not found."),
    (["-A", "plain:nothing", "worker"], 2, "Unable to load celery application."),
    (["-A", "plain", "worker", "--no-such-option"], 2, "No such option"),
    (["-A", "plain", "worker", "-l", "LOUD"], 2, "Invalid value for '-l'"),
])
def test_a_wrong_command_line_is_refused_as_celery_refuses_it(words, status, text):
    ours = run(*words)
    celery = subprocess.run(
        [sys.executable, "-m", "celery", *words], cwd=HERE, capture_output=True, text=True, timeout=60, check=False,
        env=story_environment(STORY_BROKER="amqp://127.0.0.1:1//", STORY_BACKEND="rpc://", STORY_FOLDER="/"))
    assert (ours.returncode, celery.returncode) == (status, status)
    assert text in ours.stderr and text in celery.stderr


def test_check_says_what_would_act_differently():
    plain = run("-A", "plain", "check")
    assert (plain.returncode, plain.stdout.splitlines()[-1].endswith("nothing acts differently.")) == (0, True), plain
    odd = run("-A", "odd", "check")
    assert odd.returncode == 1
    for text in (
        "Strategy of its own", "send_events = False", "bootstep odd.Step", "worker_autoscaler", "option shout",
        "event_exchange ('mine')", "quorum queue",
        "broker_transport_options",
    ):
        assert text in odd.stdout, odd.stdout


def test_a_broker_behind_tls_is_refused():
    for words, variables in ((["worker"], {"STORY_CONF": '{"broker_use_ssl": true}'}), (["-b", "amqps://h", "worker"], {})):
        refused = run("-A", "plain", *words, **variables)
        assert refused.returncode == 1 and "asks for TLS, which is not" in refused.stderr, refused


def test_other_commands_are_celerys_own():
    assert "software -> celery:" in run("-A", "plain", "report").stdout
