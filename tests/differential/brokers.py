"""The two brokers that are compared: RabbitMQ, as Debian has it, and ours. Each is private to who starts it."""

from __future__ import annotations

import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "interop"))

from rabbitmq import RabbitMQ  # noqa: E402 - beside the stories, which start it as well

__all__ = ["Celeriac", "RabbitMQ", "binary"]


def binary() -> pathlib.Path:
    """The command under test: $CELERIAC_BIN, else the release build, else the debug build."""
    candidates = [os.environ.get("CELERIAC_BIN"), ROOT / "target/release/celeriac", ROOT / "target/debug/celeriac"]
    for candidate in candidates:
        if candidate and pathlib.Path(candidate).exists():
            return pathlib.Path(candidate)
    raise SystemExit("no celeriac binary: cargo build --release")


class Celeriac:
    """One `celeriac broker` on a free port."""

    def __init__(self, *options: str) -> None:
        self.options = options
        self.process: subprocess.Popen[str] | None = None
        self.port = 0

    def __enter__(self) -> "Celeriac":
        command = [str(binary()), "broker", "--listen", "127.0.0.1:0", *self.options]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        if not found:
            raise RuntimeError(f"the broker says {line!r}")
        self.port = int(found[1])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait(10)
        self.process.stdout.close()

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def resident(self) -> int:
        """Octets of memory it has."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024
