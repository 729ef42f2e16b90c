"""A RabbitMQ of one's own: private ports, private directories, nothing of the system's touched.

As a module: ``with RabbitMQ() as broker: broker.url``. As a program (for use by hand)::

    python tests/interop/rabbitmq.py            # starts one, prints its URL, stops it at Ctrl+C
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.parse

START_DEADLINE = 90.0
STOP_DEADLINE = 30.0


PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


def stop_with_parent() -> None:
    """Run in the broker's process before its program: a test run that is killed leaves no broker behind."""
    _libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def scripts_directory() -> pathlib.Path:
    """Where the broker's own scripts are.

    Debian's wrappers in /usr/sbin change to the user `rabbitmq` and to the system's directories, so they are passed by.
    """
    for candidate in sorted(glob.glob("/usr/lib/rabbitmq/lib/rabbitmq_server-*/sbin"), reverse=True):
        return pathlib.Path(candidate)
    found = shutil.which("rabbitmq-server")
    if found is None:
        raise RuntimeError("no rabbitmq-server here: tests/setup.sh installs it")
    return pathlib.Path(found).resolve().parent


class RabbitMQ:
    """One broker process. ``stop`` and ``start`` may alternate: the port and the data stay."""

    def __init__(self, advanced: str = "[]") -> None:
        """`advanced` is what `advanced.config` holds, an Erlang term without its full stop."""
        self.home = pathlib.Path(tempfile.mkdtemp(prefix="celeriac-rabbitmq-"))
        self.port = free_port()
        self.epmd_port = free_port()
        self.node = f"celeriac-{self.port}@localhost"
        self.process: subprocess.Popen[bytes] | None = None
        self._log = None
        scripts = scripts_directory()
        self._server = str(scripts / "rabbitmq-server")
        self._control = str(scripts / "rabbitmqctl")
        self._environment = self._make_environment(free_port(), advanced)

    def _make_environment(self, distribution_port: int, advanced: str) -> dict[str, str]:
        config = self.home / "rabbitmq.conf"
        config.write_text(
            f"listeners.tcp.1 = 127.0.0.1:{self.port}\n"
            # So that a broker on a nearly full disk still takes messages.
            "disk_free_limit.absolute = 50MB\n"
            "log.file.level = info\n"
        )
        (self.home / "advanced.config").write_text(f"{advanced}.\n")
        (self.home / "enabled_plugins").write_text("[].\n")
        (self.home / "env.conf").write_text("")
        environment = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("RABBITMQ_", "ERL_", "CELERY_"))
        }
        environment.update(
            HOME=str(self.home),  # the Erlang cookie is there
            LC_ALL="C.UTF-8",
            ERL_EPMD_PORT=str(self.epmd_port),
            ERL_EPMD_ADDRESS="127.0.0.1",
            RABBITMQ_NODENAME=self.node,
            RABBITMQ_NODE_IP_ADDRESS="127.0.0.1",
            RABBITMQ_NODE_PORT=str(self.port),
            RABBITMQ_DIST_PORT=str(distribution_port),
            RABBITMQ_CONF_ENV_FILE=str(self.home / "env.conf"),
            RABBITMQ_CONFIG_FILE=str(config),
            RABBITMQ_ADVANCED_CONFIG_FILE=str(self.home / "advanced.config"),
            RABBITMQ_ENABLED_PLUGINS_FILE=str(self.home / "enabled_plugins"),
            RABBITMQ_MNESIA_BASE=str(self.home / "mnesia"),
            RABBITMQ_LOG_BASE=str(self.home / "log"),
            RABBITMQ_PID_FILE=str(self.home / "pid"),
            RABBITMQ_GENERATED_CONFIG_DIR=str(self.home / "config"),
            RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=(
                "-kernel inet_dist_use_interface {127,0,0,1}"
                # Idle schedulers sleep at once: the machine's cores belong to what is being tested.
                " +sbwt none +sbwtdcpu none +sbwtdio none"
            ),
        )
        return environment

    # ---- life -------------------------------------------------------------------------------------------------

    def start(self) -> "RabbitMQ":
        """Start it and wait until it takes connections."""
        self._log = open(self.home / "console.log", "ab")
        self.process = subprocess.Popen(
            [self._server],
            env=self._environment,
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
            preexec_fn=stop_with_parent,
        )
        deadline = time.monotonic() + START_DEADLINE
        while not self._answers():
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = (self.home / "console.log").read_text(errors="replace")[-4000:]
                self.kill()
                raise RuntimeError(f"RabbitMQ did not start:\n{text}")
            time.sleep(0.1)
        return self

    def _answers(self) -> bool:
        """Whether an AMQP handshake begins: the server's first frame is connection.start."""
        with contextlib.suppress(OSError):
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as peer:
                peer.settimeout(5)
                peer.sendall(b"AMQP\x00\x00\x09\x01")
                return peer.recv(1) == b"\x01"
        return False

    def stop(self) -> None:
        """Stop the broker, in good order: its durable queues and persistent messages stay on disk."""
        if self.process is None:
            return
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_DEADLINE)
        except subprocess.TimeoutExpired:
            self.kill()
        self._forget()

    def kill(self) -> None:
        """End the broker and all it started, at once."""
        if self.process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self._forget()

    def freeze(self) -> None:
        """Stop it in its tracks: its sockets stay open, and nothing answers."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on after `freeze`."""
        os.killpg(self.process.pid, signal.SIGCONT)

    def _forget(self) -> None:
        self.process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def close(self) -> None:
        """Stop it, its epmd too, and remove its directory."""
        self.stop()
        epmd = shutil.which("epmd") or next(iter(glob.glob("/usr/lib/erlang/erts-*/bin/epmd")), None)
        if epmd:
            subprocess.run([epmd, "-kill"], env=self._environment, capture_output=True, timeout=10, check=False)
        shutil.rmtree(self.home, ignore_errors=True)

    def __enter__(self) -> "RabbitMQ":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close()

    # ---- use --------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Of the default virtual host."""
        return self.url_of()

    def url_of(self, vhost: str = "/", user: str = "guest", password: str = "guest") -> str:
        path = "/" if vhost == "/" else "/" + urllib.parse.quote(vhost, safe="")
        return f"amqp://{user}:{password}@127.0.0.1:{self.port}{path}"

    def user(self, name: str) -> str:
        """Adds a user who may do anything: the URL by which they log in. Their connections can be told from others."""
        self.control("add_user", name, "secret")
        self.control("set_permissions", name, ".*", ".*", ".*")
        return self.url_of(user=name, password="secret")

    def control(self, *arguments: str) -> str:
        """`rabbitmqctl ARGUMENTS`: its output. About a second each: use sparingly."""
        done = subprocess.run(
            [self._control, "--quiet", *arguments],
            env=self._environment,
            cwd=self.home,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if done.returncode != 0:
            raise RuntimeError(f"rabbitmqctl {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout


def main() -> None:
    with RabbitMQ() as broker:
        print(broker.url, flush=True)
        signal.signal(signal.SIGTERM, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with contextlib.suppress(KeyboardInterrupt):
            signal.pause()


if __name__ == "__main__":
    main()
