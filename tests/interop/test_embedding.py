"""A task program written from the README alone, in a crate of its own, serves a Celery client."""

from __future__ import annotations

import os
import pathlib
import re
import shutil
import subprocess

import pytest

from harness import ROOT, TIMEOUT, Client

pytestmark = pytest.mark.celeriac("the library is celeriac's")


def block(language: str, start: str) -> str:
    """The README's code block of a language that begins with a line."""
    text = (ROOT / "README.md").read_text()
    for found in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        if found[1].startswith(start):
            return found[1]
    raise AssertionError(f"no {language} block that begins with {start!r} in README.md")


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The built program. It shares the project's target directory, so that only itself is compiled."""
    crate = tmp_path_factory.mktemp("readme") / "tasks"
    (crate / "src").mkdir(parents=True)
    manifest = block("toml", "[package]")
    assert 'path = "../celeriac"' in manifest
    (crate / "Cargo.toml").write_text(manifest.replace('"../celeriac"', f'"{ROOT}"'))
    (crate / "src/main.rs").write_text(block("rust", "use "))
    shutil.copy(ROOT / "Cargo.lock", crate / "Cargo.lock")
    target = os.environ.get("CARGO_TARGET_DIR", str(ROOT / "target"))
    done = subprocess.run(
        ["cargo", "build", "--quiet", "--offline"],
        cwd=crate,
        env=os.environ | {"CARGO_TARGET_DIR": target},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
    built = crate / "tasks"
    shutil.copy(pathlib.Path(target) / "debug/tasks", built)
    return built


def test_it_serves_a_celery_client(program: pathlib.Path, make_worker, client: Client) -> None:
    worker = make_worker(command=[str(program)])
    assert client.send("tasks.add", (2, 3)).get(timeout=5) == 5
    assert client.send("tasks.add", (2,), {"y": 3}).get(timeout=5) == 5
    with pytest.raises(Exception, match="missing 1 required positional argument: 'y'"):
        client.call("tasks.add", 2)
    with pytest.raises(Exception) as raised:
        client.call("tasks.divide", 1, 0)
    assert type(raised.value).__name__ == "ZeroDivisionError"
    assert client.call("tasks.divide", 7, 2) == 3.5
    assert "  . tasks.add" in worker.output
    assert worker.stop() == 0


def test_it_is_a_command_line(program: pathlib.Path, make_worker, broker, queue: str) -> None:
    make_worker(command=[str(program)])
    done = subprocess.run(
        [str(program), "call", "tasks.add", "-b", broker.url, "--queue", queue, "-a", "[2, 3]", "--wait"],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.returncode, done.stdout.splitlines()[-1:]) == (0, ["5"]), done.stderr


def test_a_panic_is_that_tasks_failure(program: pathlib.Path, make_worker, client: Client) -> None:
    worker = make_worker(command=[str(program)])
    with pytest.raises(Exception, match="celery root"):
        client.call("tasks.panic", "celery root")
    assert client.call("tasks.add", 2, 3) == 5
    assert worker.alive()
