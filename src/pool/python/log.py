"""`--log-format json`: what the app's processes log, an object a line, with the keys that main's lines have.

Celery's own set-up of the log is kept, and so are its signals: an app that connects to `setup_logging` does all of it
itself, and one that connects to `after_setup_logger` has the last word. Only what Celery would attach to a logger is
ours: the formatter, and for standard error a handler that does not wait for ever for somebody to read it.
"""

import json
import logging
import os
import select
import socket
import stat
import sys
import warnings
from datetime import datetime

from celery._state import get_current_task
from celery.app.log import Logging

#: How long a line waits for room, in milliseconds.
PATIENCE = 1000

#: What any record has; what another has beside is the program's own.
USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "task_id", "task_name"}

#: The head of the job that this process has to do with.
job = None


def install():
    def setup_handlers(self, logger, logfile, *args, **kwargs):
        if not self._is_configured(logger):
            handler = Stderr() if logfile is None else self._detect_handler(logfile)
            handler.setFormatter(Formatter())
            logger.addHandler(handler)
        return logger

    Logging.setup_handlers = setup_handlers
    early = Stderr()
    early.setFormatter(Formatter())

    def show_warning(message, category, filename, lineno, file=None, line=None):
        text = warnings.formatwarning(message, category, filename, lineno, line)
        early.emit(logging.makeLogRecord({"name": "py.warnings", "levelname": "WARNING", "msg": text}))

    warnings.showwarning = show_warning  # until Celery has the log take them


class Formatter(logging.Formatter):
    """One JSON object for each record."""

    def format(self, record):
        line = {
            "timestamp": datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "process": record.processName,
            "pid": record.process,
            "logger": record.name,
            "message": readable(record.getMessage()).rstrip(),
        }
        line.update(of_task())
        traceback = self.traceback(record)
        if traceback:
            line["traceback"] = readable(traceback)
        for name, value in vars(record).items():
            # `data` is what Celery gives the line of a failed task: once more what the line says.
            if name not in USUAL and name not in line and (name != "data" or record.name != "celery.app.trace"):
                line[name] = plain(value)
        return json.dumps(line)

    def traceback(self, record):
        parts = []
        if record.exc_info:
            # Celery says 1 where it means the exception of this moment.
            about = record.exc_info if isinstance(record.exc_info, tuple) else sys.exc_info()
            parts.append(self.formatException(about))
        elif record.exc_text:
            parts.append(record.exc_text)
        if record.stack_info:
            parts.append(self.formatStack(record.stack_info))
        return "\n".join(parts)


def of_task():
    """The fields of the task that runs, or else that the job is about."""
    task = get_current_task()
    request = task.request if task is not None else None
    if request is not None and request.id:
        return fields(request.id, task.name, request.root_id, request.retries)
    if job is None:
        return {}
    return fields(job["id"], job["task"], job["headers"].get("root_id"), job["headers"].get("retries"))


def fields(task_id, name, root_id, retries):
    return {"task_id": task_id, "name": name, "root_id": root_id or task_id, "retries": retries or 0}


def plain(value):
    """The value, or its text where JSON has none for it."""
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return readable(repr(value))
    return readable(value) if isinstance(value, str) else value


def readable(text):
    """Text that any reader of JSON takes: without halves of surrogate pairs."""
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class Stderr(logging.Handler):
    """Standard error, for as long as somebody reads it: as `Patient` in src/sys/lines.rs, which is main's side of it.

    A line waits a second for room; after that what there is no room for is dropped, until there is some again.
    """

    def __init__(self):
        super().__init__()
        self.send = self.opened()
        self.rest = b""
        self.stalled = False
        self.dropped = 0

    def opened(self):
        """What writes to it without waiting. Other processes have the same pipe, so that is opened anew."""
        self.fd = 2
        mode = os.fstat(2).st_mode
        if stat.S_ISSOCK(mode):
            self.socket = socket.socket(fileno=os.dup(2))
            return lambda data: self.socket.send(data, socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL)
        if stat.S_ISFIFO(mode) or stat.S_ISCHR(mode):
            try:
                self.fd = os.open("/proc/self/fd/2", os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY)
            except OSError:
                pass  # another user's: then it is written to as it is
        return lambda data: os.write(self.fd, data)

    def emit(self, record):
        try:
            if self.dropped and self.has_room(0):
                count, self.dropped = self.dropped, 0
                self.write(self.told(count))
            self.write(self.format(record).encode(errors="backslashreplace") + b"\n")
        except Exception:
            self.handleError(record)

    def told(self, count):
        text = f"{count} lines of this log were dropped: nobody read them"
        record = logging.makeLogRecord({"name": "celeriac", "levelname": "WARNING", "msg": text})
        return self.format(record).encode() + b"\n"

    def write(self, line):
        if self.rest:
            self.rest = self.rest[self.write_some(self.rest):]
        written = 0 if self.rest else self.write_some(line)
        if written == len(line):
            self.stalled = False
        elif written:
            self.rest = line[written:]  # it goes first, or the next line would be its end
        else:
            self.dropped += 1

    def write_some(self, data):
        written = 0
        while written < len(data):
            try:
                written += self.send(data[written:])
            except BlockingIOError:
                if not self.has_room(0 if self.stalled else PATIENCE):
                    self.stalled = True
                    break
            except OSError:
                break  # nobody will ever read it
        return written

    def has_room(self, patience):
        poller = select.poll()
        poller.register(self.fd, select.POLLOUT)
        return bool(poller.poll(patience))
