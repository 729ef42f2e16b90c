"""Every signal in every state: the documented status within the documented time, and what becomes of the tasks."""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
import shutil
import signal
import site
import stat
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator

import pytest
from celery.exceptions import TimeoutError

from harness import TIMEOUT, Client, EmbeddedBroker, Raw, Worker, celeriac_binary, elapsed, wait_until
from test_shutdown import busy

pytestmark = pytest.mark.celeriac("Celery's times are its own")
APP = [str(celeriac_binary()), "--python", sys.executable, "-A", "life_app"]

# Seconds until the end: a running task takes one; a stopped child is killed five after it was asked to end; results
# that the broker does not take are waited for as long. The rest is for a machine that has other things to do.
TIMES = {"idle": 4, "busy": 6, "saturated": 6, "stopped": 9, "broker gone": 12}


class Case:
    """A worker of its own in some state."""

    def __init__(self, make_worker: Callable[..., Worker], broker: EmbeddedBroker, state: str, task: str, **options) -> None:
        self.broker, self.state = broker, state
        if task.startswith("life"):
            options |= {"command": APP, "urls_in_environment": True}
        self.worker = make_worker(broker.url, on=f"t.{uuid.uuid4().hex[:12]}", loglevel="DEBUG", **options)
        self.client = Client(broker.url, self.worker.queue)
        if state == "idle":
            return
        self.running = self.client.send(task, (1,))
        self.child = self.worker.child_running(self.running.id)
        if state == "saturated":
            for _ in range(8):
                self.client.send(task, (0.1,))
            self.worker.wait_log(r"received", times=8)
        if state == "stopped":
            os.kill(self.child.pid, signal.SIGSTOP)
        if state == "broker gone":
            broker.popen.kill()
            self.worker.wait_log("Connection to broker lost")

    def send(self, number: int) -> None:
        self.worker.send_signal(number)
        if self.state == "stopped" and number != signal.SIGQUIT:
            wait_until(lambda: re.search("Warm shutdown|Restarting", self.worker.output), "the signal seen")
            assert self.worker.alive(), "a stopped child is waited for"
            self.go_on()

    def go_on(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.child.pid, signal.SIGCONT)

    def close(self) -> None:
        if self.state == "stopped":
            self.go_on()
        self.client.close()


@pytest.fixture
def case(make_worker, own_broker: EmbeddedBroker) -> Iterator[Callable[..., Case]]:
    with contextlib.ExitStack() as stack:
        def make(state: str, task: str, **options) -> Case:
            made = Case(make_worker, own_broker, state, task, **options)
            stack.callback(made.close)
            return made

        yield make


STATUSES = [(signal.SIGTERM, 0), (signal.SIGINT, 1), (signal.SIGQUIT, 0)]


@pytest.mark.parametrize("state", TIMES)
@pytest.mark.parametrize("number, status", STATUSES)
def test_t6_5_every_signal_in_every_state_ends_in_time(case, number: int, status: int, state: str) -> None:
    one = case(state, "demo.sleep")
    with elapsed() as since:
        one.send(number)
        assert one.worker.wait(20) == status
    assert since() < TIMES[state]


@pytest.mark.parametrize("state", ["busy", "stopped"])
@pytest.mark.parametrize("number, status", STATUSES[::2])
def test_t6_5_the_same_of_python_children(case, number: int, status: int, state: str) -> None:
    one = case(state, "life.sleep")
    with elapsed() as since:
        one.send(number)
        assert one.worker.wait(20) == status
    assert since() < TIMES[state] + 1
    assert "Traceback" not in one.worker.log, "the other child, which is idle, ends in silence"


@pytest.mark.parametrize("state", TIMES)
def test_t6_7_hup_in_every_state_begins_anew(case, state: str) -> None:
    one = case(state, "demo.sleep")
    starts = one.worker.output.count("[config]")
    with elapsed() as since:
        one.send(signal.SIGHUP)
        wait_until(lambda: one.worker.output.count("[config]") > starts, "the next start", 20)
    assert since() < TIMES[state]
    if state != "broker gone":
        one.worker.wait_log(r"ready\.", times=2)
        assert one.client.call("demo.add", 2, 3) == 5
    wait_until(lambda: signal.SIGTERM in one.worker.main.signal_set("SigBlk"), "it reads its signals")
    assert one.worker.stop() == 0


@pytest.mark.parametrize("task", ["demo.sleep", "life.sleep"])
def test_t6_1_a_group_wide_term_kills_no_task(case, task: str) -> None:
    """As `kill -TERM -<pgid>`, or an init that passes it on to everybody and more than once."""
    one = case("busy", task)
    for _ in range(3):
        os.killpg(one.worker.main.pid, signal.SIGTERM)
    assert one.worker.wait() == 0
    assert one.running.get(timeout=TIMEOUT) == 1


def test_t6_2_t6_6_a_worker_that_leaves_goes_on_with_everything_else(
    make_worker, broker, client: Client, raw: Raw, queue: str
) -> None:
    """Reserved tasks go back at once; AMQP's heartbeats, remote control and results flow; and it says what it waits for."""
    worker = make_worker(broker.url + "?heartbeat=2", loglevel="DEBUG")
    (first, second), _ = busy(worker, client, 11, 3)
    worker.send_signal(signal.SIGTERM)
    wait_until(lambda: raw.ready(queue) == 3, "the reserved messages back in the queue", 2)
    (pong,) = client.app.control.ping(destination=[worker.name], timeout=TIMEOUT, limit=1)
    assert pong == {worker.name: {"ok": "pong"}}
    line = worker.wait_log(r"Waiting for 2 tasks: demo\.sleep\[(\S+)\] in \d+ for 1\d s, demo\.sleep\[(\S+)\] in \d+ for", 12)
    assert set(line.groups()) == {first.id, second.id}
    assert worker.wait() == 0
    assert [first.get(timeout=TIMEOUT), second.get(timeout=TIMEOUT)] == [11, 11]
    assert "lost" not in worker.log, "a broker hears nothing for four seconds and closes the connection"


@pytest.mark.parametrize("task", ["demo.sleep", "life.sleep"])
def test_t6_3_grace_is_all_the_time_there_is(case, task: str) -> None:
    """A child that is stopped and a broker that does not answer cost no more than two seconds beyond it."""
    one = case("idle", task, environment={"CELERIAC_GRACE": "1"})
    running = [one.client.send(task, (60,)) for _ in range(2)]
    children = [one.worker.child_running(result.id) for result in running]
    os.kill(children[0].pid, signal.SIGSTOP)
    one.broker.popen.send_signal(signal.SIGSTOP)
    with elapsed() as since:
        one.worker.send_signal(signal.SIGTERM)
        assert one.worker.wait() == 0
    assert 1 <= since() < 4  # grace, two seconds, and what a busy machine adds
    wait_until(lambda: not any(child.alive() for child in children), "no child left", 2)


@pytest.mark.parametrize("task, late", [("demo.sleep", False), ("life.sleep", False), ("life.late_sleep", True)])
def test_t6_3_what_runs_when_grace_is_over_is_told_or_handed_back(
    request: pytest.FixtureRequest, client: Client, raw: Raw, queue: str, task: str, late: bool
) -> None:
    make = request.getfixturevalue("make_worker" if task.startswith("demo") else "app_worker")
    worker = make(loglevel="DEBUG", arguments=["--grace", "1"])
    short, long = client.send(task, (0.8,)), client.send(task, (60,))
    for result in short, long:
        worker.child_running(result.id)
    with elapsed() as since:
        worker.send_signal(signal.SIGTERM)
        assert worker.wait() == 0
    assert since() < 4
    if late:
        wait_until(lambda: raw.ready(queue) == 1, "the message back in the queue")
    else:
        states: list[str] = []
        with pytest.raises(TimeoutError):
            long.get(timeout=2, on_message=lambda meta: meta["task_id"] == long.id and states.append(meta["status"]))
        assert states == ["RETRY"], "as of a cold shutdown"
    assert short.get(timeout=TIMEOUT) == 0.8


def test_t6_4_the_soft_shutdown_of_a_python_app(app_worker, client: Client, raw: Raw, queue: str) -> None:
    """`worker_soft_shutdown_timeout`, by option: what ends in time has ended, and nobody waits longer than that."""
    worker = app_worker(loglevel="DEBUG", arguments=["--soft-shutdown-timeout", "30"])
    running = client.send("life.sleep", (1,))
    worker.child_running(running.id)
    with elapsed() as since:
        worker.send_signal(signal.SIGQUIT)
        assert worker.wait() == 0
    assert since() < 6
    assert running.get(timeout=TIMEOUT) == 1
    assert "Initiating Soft Shutdown, terminating in 30 seconds" in worker.log


def everybodys(path: pathlib.Path) -> bool:
    """Whether everybody may read what is there."""
    return all(os.stat(each).st_mode & stat.S_IXOTH for each in [path.resolve(), *path.resolve().parents])


@pytest.fixture
def open_folder() -> Iterator[pathlib.Path]:
    """A folder that is for everybody, as pytest's are not."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="celeriac-open-"))
    folder.chmod(0o777)
    yield folder
    shutil.rmtree(folder)


def of_nobody(worker: Worker) -> None:
    for process in [worker.main, *worker.main.descendants()]:
        assert process.status("Uid").split() == ["65534"] * 4, process
        assert process.status("Gid").split() == ["65534"] * 4, process
        assert process.status("Umask") == "0027", process


RIGHTS = ["--uid", "nobody", "--gid", "nogroup", "--umask", "027"]


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_worker_gives_up_its_rights(broker, queue: str, client: Client, open_folder: pathlib.Path) -> None:
    with contextlib.closing(Worker("celeriac", broker.url, queue, open_folder, arguments=RIGHTS)) as worker:
        worker.wait_ready()
        assert client.call("demo.add", 2, 3) == 5
        of_nobody(worker)
        assert worker.stop() == 0


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
def test_a_python_app_gives_up_its_rights(broker, queue: str, client: Client, open_folder: pathlib.Path) -> None:
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    found = [path for path in (sys.executable, f"/usr/bin/{version}") if pathlib.Path(path).exists() and everybodys(pathlib.Path(path))]
    if not found:
        pytest.skip(f"no {version} here that everybody may run")
    shutil.copytree(site.getsitepackages()[0], open_folder / "site", ignore=shutil.ignore_patterns("__pycache__", "pip", "setuptools"))
    shutil.copy(pathlib.Path(__file__).with_name("life_app.py"), open_folder)
    command = [str(celeriac_binary()), "--python", found[0], "-A", "life_app"]
    environment = {"PYTHONPATH": f"{open_folder}:{open_folder}/site", "C_FORCE_ROOT": "1"}
    with contextlib.closing(Worker(
        "celeriac", broker.url, queue, open_folder, arguments=RIGHTS, command=command, environment=environment, urls_in_environment=True,
    )) as worker:
        worker.wait_ready()
        assert client.call("life.add", 2, 3) == 5
        of_nobody(worker)
        assert worker.stop() == 0
