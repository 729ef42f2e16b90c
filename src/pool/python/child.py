"""A child of the pool: Celery's own pool worker over main's pipes.

The loop around the jobs, the signals, the process's name and its start and end are billiard's and the installed
Celery's, so that whatever hooks into them (monitoring agents patch the worker's loop to flush at its end) finds them
where it expects them. Only its two queues are ours: they speak the records of `src/message/record`, and run what
needs nothing of that loop.
"""

import faulthandler
import json
import os
import signal
import struct
import sys
import time

import celeriac_log
from billiard.context import ForkProcess
from billiard.einfo import ExceptionInfo, ExceptionWithTraceback
from billiard.pool import ACK, DEATH, READY, TASK
from celery import VERSION, signals
from celery.app import trace
from celery.app.task import Context, Task
from celery.apps.worker import install_rdb_handler
from celery.concurrency import asynpool
from celery.concurrency.prefork import process_destructor, process_initializer
from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded
from celery.utils.log import get_logger
from celery.utils.serialization import get_pickled_exception
from kombu.compression import decompress
from kombu.serialization import loads, prepare_accept_content, registry
from kombu.utils import json as kombu_json
from kombu.utils.encoding import safe_repr

from celeriac_zygote import NEWEST

HEADER = struct.Struct(">2sBBII")
JOB, STOP, UP, STARTED, DONE = 1, 2, 3, 4, 5
READ_SIZE = 64 * 1024
JSON = "application/json"
logger = get_logger("celery.worker.request")
to_json = json.JSONEncoder(separators=(",", ":")).encode
text_to_json = json.encoder.encode_basestring_ascii
scan_json = json.JSONDecoder().scan_once
#: What `kombu.utils.json.loads` does with text, without making a decoder each time.
scan_body = json.JSONDecoder(object_hook=getattr(kombu_json, "object_hook", None)).scan_once

#: What a repr or a traceback is cut to, so that no record is refused for its length.
LONGEST_TEXT = 1024 * 1024


def reads_as_kombu(texts):
    """Whether `scan_body` is indeed what this version of kombu does."""
    try:
        return all(repr(scan_body(text, 0)[0]) == repr(kombu_json.loads(text)) for text in texts)
    except Exception:
        return False


#: By the type of their contents, and empty if another kombu keeps them elsewhere: then it is asked each time.
decoders = getattr(registry, "_decoders", {}) if reads_as_kombu([
    '[[1, 2.5, "\u00e9", null, true, NaN, 1e999, 123456789012345678901234567890], {"a": {"b": []}}, {"chord": null}]',
    '[{"__type__": "datetime", "__value__": "2026-11-26T12:00:00.000001+00:00"}]',
    '[{"__type__": "uuid", "__value__": {"hex": "ba1d2b2bd6ee4b6e9a0a6e2a1e0b5c2d", "version": 4}}]',
    '[{"__type__": "bytes", "__value__": "eA=="}, {"__type__": "decimal", "__value__": "1.10"}, {"__type__": "no such"}]',
]) else {}


def live(host, worker, number, slots, jobs, results):
    """The life of child `number`; does not return."""
    os.set_blocking(jobs, True)
    os.set_blocking(results, True)
    outbox = Outbox(results, worker.app)
    pool_worker = Worker(
        Inbox(jobs, outbox), outbox,
        initializer=process_initializer, initargs=(worker.app, worker.hostname),
        on_exit=process_destructor,
        sigprotection=False,
    )
    process = ForkProcess(target=pool_worker, daemon=True)
    process.name = f"{'Spawn' if host.get('spawned') else 'Fork'}PoolWorker-{number}"
    process.index = slots.take()
    reset_signals()
    remember_custom_headers()
    os._exit(process._bootstrap())


class Worker(asynpool.Worker):
    """Celery's pool worker, but for the ends of its pipes that its parent would have."""

    def after_fork(self):
        # Main asks what we are doing; also while the app's own start of a child takes its time.
        faulthandler.register(signal.SIGRTMIN + 1, file=2, all_threads=True)
        super().after_fork()
        install_rdb_handler()  # Celery's children have that of its main
        signal.signal(signal.SIGUSR1, soft_limit.reached)

    def contribute_to_object(self, obj):
        obj.inqW_fd = obj.synqW_fd = None
        return obj


class SoftLimit:
    """Raises SoftTimeLimitExceeded in the body of the task and nowhere else.

    Not in the tracer around it, which stores results, and not in the loop that waits for jobs, where it would end the
    process. The body is what the tracer calls as `fun`. Main sends the signal only while it knows of no answer, and
    takes back what it gave ahead first, so there is no body but the right one. A signal that comes before the body begins
    is kept for that moment, which the interpreter tells a profiler of.
    """

    def __init__(self):
        self.running = False
        self.pending = False
        self.profiler = None

    def reached(self, number, frame):
        inner = None
        while frame is not None:
            if inner is not None and is_body(inner, frame):
                raise SoftTimeLimitExceeded()
            inner, frame = frame.f_code, frame.f_back
        # A body that has ended does not begin again.
        if self.running and not self.pending:
            self.pending, self.profiler = True, sys.getprofile()
            sys.setprofile(self.called)

    def called(self, frame, event, argument):
        if event == "call" and frame.f_back is not None and is_body(frame.f_code, frame.f_back):
            self.forget()
            raise SoftTimeLimitExceeded()

    def forget(self):
        if self.pending:
            self.pending = False
            sys.setprofile(self.profiler)

    def begin(self):
        self.running = True

    def end(self):
        self.running = False
        self.forget()


soft_limit = SoftLimit()


def is_body(code, caller):
    """Whether this is the code of a task, called by the tracer in the frame `caller`."""
    if caller.f_code.co_name != "trace_task" or caller.f_globals.get("__name__") != trace.__name__:
        return False
    function = caller.f_locals.get("fun")
    if isinstance(function, Task):
        function = type(function).__call__
    return code is getattr(function, "__code__", None)


def reset_signals():
    """Takes back what the zygote ignores, for Celery's initializer to find what it finds in its own children."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def remember_custom_headers():
    """Spares Celery a search for headers of the user's own among some sixty names, for each task anew.

    Which ones they are depends on nothing but the names in the request, in the versions that we know.
    """
    if VERSION[:2] > NEWEST:
        return
    search = Context._get_custom_headers
    known = {}

    def custom_headers(self, *args, **kwargs):
        names = (*args[0], *kwargs) if len(args) == 1 and type(args[0]) is dict else None
        if names is None or known.get(names, True):
            found = search(self, *args, **kwargs)
            if names is not None and len(known) < 1000:
                known[names] = bool(found)
            return found
        return None

    Context._get_custom_headers = custom_headers


class Records:
    """Reads records from a pipe, as a rule each with one call."""

    def __init__(self, fd):
        self.fd = fd
        self.buffer = b""

    def read(self):
        """The next record as (kind, head, body), with the head still text."""
        buffer = self.buffer or os.read(self.fd, READ_SIZE)
        if len(buffer) < HEADER.size:
            buffer = self.more(buffer, HEADER.size)
        _, kind, _, head, body = HEADER.unpack_from(buffer)
        middle = HEADER.size + head
        end = middle + body
        if len(buffer) < end:
            buffer = self.more(buffer, end)
        self.buffer = buffer[end:]
        return kind, buffer[HEADER.size:middle], buffer[middle:end]

    def more(self, buffer, count):
        """The buffer, read on until it has that many octets."""
        parts, missing = [buffer], count - len(buffer)
        while missing > 0:
            part = os.read(self.fd, max(missing, READ_SIZE))
            if not part:
                raise EOFError
            parts.append(part)
            missing -= len(part)
        return b"".join(parts)


class Inbox:
    """The queue of jobs, as billiard's worker sees it.

    It sees few: a job that simply succeeds is run and answered for on the way, as all that billiard's loop does for
    it would take longer than many a task. The loop's part are exceptions, and the end.
    """

    def __init__(self, fd, outbox):
        self.records = Records(fd)
        self.outbox = outbox
        # billiard polls this before it waits. Of a queue without it, it cannot bear any exception: also not that of TERM.
        self._reader = self

    def poll(self, timeout):
        return True

    def get(self, timeout=None):
        read, outbox = self.records.read, self.outbox
        while True:
            kind, head, body = read()
            if kind != JOB:
                return None  # to billiard the word to leave
            job = load_head(head)
            try:
                outcome = outbox.run(job, body)
            except BaseException as exc:
                return self.seen(job, again, exc)
            failed, value, _ = outcome
            if failed:
                return self.seen(job, same, outcome)
            outbox.succeeded(value)

    @staticmethod
    def seen(job, fun, outcome):
        """The job as one that billiard has yet to run."""
        return TASK, (job["job"], None, fun, (outcome,), {})


def same(outcome):
    return outcome


def again(exc):
    raise exc


def load_head(text):
    """The head of a record. Values that JSON lacks are written as kombu writes them."""
    if b'"__type__"' in text:
        return kombu_json.loads(text)
    return scan_json(text.decode(), 0)[0]


class Outbox:
    """The queue of answers, as billiard's worker sees it; it also runs the jobs, as it must know of both."""

    def __init__(self, fd, app):
        self.fd = fd
        self.app = app
        self.accept = prepare_accept_content(app.conf.accept_content)
        self.job = self.payload = self.status = None
        self.begun = 0.0

    # What billiard's worker says.

    def put(self, message):
        kind, arguments = message
        if kind == READY:
            _, _, (in_order, value), _ = arguments
            self.ready(in_order, value)
        elif kind == asynpool.WORKER_UP:
            self.write(UP, to_json({"pid": os.getpid()}))
        elif kind == DEATH:
            leave(arguments[1] if self.status is None else self.status)
        elif kind != ACK:
            raise ValueError(f"no such message: {kind}")

    def ready(self, in_order, value):
        """The job is done: by its tracer, or in disorder, with an exception that got past it."""
        soft_limit.end()
        if in_order:
            _, value, _ = value  # one that succeeded does not come by here
        exc = unwrapped(value.exception)
        if not in_order:
            if isinstance(exc, (SystemExit, KeyboardInterrupt)):
                # The process ends now, and main sees how. Of a status billiard only knows if `sys.exit` was called.
                self.status = exc.code if isinstance(exc, SystemExit) else 128 + signal.SIGINT
                return
            self.failed_outside(exc, value)
        self.failed(exc, value)

    def failed(self, exc, einfo):
        if isinstance(exc, Retry):
            self.done("retry", exception=safe_repr(exc.exc), traceback=einfo.traceback)
        elif isinstance(exc, Reject):
            if not exc.requeue:
                self.rejected_for_good(exc, einfo)
            self.done("rejected", exception=safe_repr(exc), traceback=einfo.traceback, requeue=bool(exc.requeue))
        elif isinstance(exc, Ignore):
            self.done("undecodable" if isinstance(exc, Undecodable) else "ignored")
        else:
            exception = safe_repr(get_pickled_exception(exc))
            self.done("failure", exception=exception, traceback=einfo.traceback)

    def succeeded(self, result):
        """As `done`, in haste."""
        soft_limit.end()
        runtime = time.monotonic() - self.begun
        result = ',"result":' + text_to_json(readable(result)) if result is not None else ""
        head = f'{{"job":{self.job["job"]},"outcome":"success","runtime":{runtime}{result}}}'
        self.write(DONE, head)
        celeriac_log.job = None

    def done(self, outcome, requeue=False, **texts):
        head = {"job": self.job["job"], "outcome": outcome, "runtime": time.monotonic() - self.begun}
        if requeue:
            head["requeue"] = True
        for name, text in texts.items():
            if text is not None:
                head[name] = readable(text)
        self.write(DONE, to_json(head))
        celeriac_log.job = None

    def write(self, kind, head):
        head = head.encode()
        data = HEADER.pack(b"CL", kind, 0, len(head), 0) + head
        try:
            while data:
                data = data[os.write(self.fd, data):]
        except OSError:
            os._exit(0)  # main is gone

    # Running a job.

    def run(self, job, body):
        """Runs one job with Celery's tracer; what comes back is what Celery's own children give back."""
        self.job, self.begun = job, time.monotonic()
        celeriac_log.job = job
        soft_limit.begin()
        request = request_of(job)
        try:
            self.payload = payload = decoded(job, body, self.accept)
        except Exception as exc:
            return 1, undecodable(job, body, exc), 0.0
        if "options" in job:
            self.write(STARTED, to_json({"job": job["job"]}))
        tracer = trace.fast_trace_task if self.app.use_fast_trace_task else trace.trace_task_ret
        return tracer(job["task"], job["id"], request, payload, None, None)

    # What Celery's main does with outcomes that its children do not settle themselves.

    def failed_outside(self, exc, einfo):
        """An exception got past the tracer, so nothing has been stored."""
        self.settle_failure(exc, einfo)
        logger.error("Task handler raised error: %r", exc, exc_info=getattr(einfo, "exc_info", None))

    def rejected_for_good(self, exc, einfo):
        """A rejected task that will never run again has failed, says Celery since 5.7."""
        if VERSION >= (5, 7):
            self.settle_failure(exc, einfo)

    def settle_failure(self, exc, einfo):
        task = self.app.tasks[self.job["task"]]
        args, kwargs, embed = self.payload
        request = Context({**request_of(self.job), **(embed or {}), "args": args, "kwargs": kwargs})
        ignored = self.job["headers"].get("ignore_result")
        store = not (task.ignore_result if ignored is None else ignored) or task.store_errors_even_if_ignored
        try:
            task.backend.mark_as_failure(self.job["id"], exc, request=request, store_result=store)
        except Exception:
            logger.exception("The failure of %s is not stored", self.job["id"])
        task.request_stack.push(request)
        try:
            signals.task_failure.send(
                sender=task, task_id=self.job["id"], exception=exc, args=request.args, kwargs=request.kwargs,
                traceback=einfo.traceback, einfo=einfo)
        finally:
            task.request_stack.pop()


def request_of(job):
    """The request as Celery's main hands it to its children."""
    headers = job["headers"]
    properties = job["properties"]
    properties["application_headers"] = headers
    return {
        **headers,
        "properties": properties,
        "reply_to": properties.get("reply_to"),
        "correlation_id": properties.get("correlation_id"),
        "hostname": job["hostname"],
        "delivery_info": job["delivery_info"],
    }


def decoded(job, body, accept):
    """(args, kwargs, embed) from the body of the message."""
    compression = job["headers"].get("compression")
    if compression:
        body = decompress(body, compression)
    properties = job["properties"]
    content_type = properties.get("content_type")
    if content_type == JSON and accept and JSON in accept and decoders.get(JSON) is kombu_json.loads:
        try:
            text = body.decode()
            (args, kwargs, embed), end = scan_body(text, 0)
            if end == len(text):
                return args, kwargs, embed
        except Exception:
            pass  # kombu has the right words for it
    if not compression:
        body = received(body, properties)
    args, kwargs, embed = loads(body, content_type, properties.get("content_encoding"), accept=accept)
    return args, kwargs, embed


def received(body, properties):
    """The body as Celery's client of the broker hands it on: text, if it says in which encoding."""
    try:
        return body.decode(properties["content_encoding"])
    except Exception:
        return body


def undecodable(job, body, exc):
    """A word in the log; what becomes of the message is main's to say."""

    properties = job["properties"]
    get_logger("celery.worker.consumer.consumer").critical(
        "Can't decode message body: %r [type:%r encoding:%r headers:%s]\n\nbody: %s (%sb)",
        exc, properties.get("content_type"), properties.get("content_encoding"), safe_repr(job["headers"]),
        safe_repr(body)[:1024], len(body), exc_info=True)
    try:
        raise Undecodable()
    except Undecodable:
        return ExceptionInfo()


class Undecodable(Ignore):
    """The message's body cannot be read."""


def unwrapped(exc):
    return exc.exc if isinstance(exc, ExceptionWithTraceback) else exc


def readable(text):
    """Text that any reader of JSON takes: not too long, and without halves of surrogate pairs."""
    text = str(text)[:LONGEST_TEXT]
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


def leave(status):
    """Ends the process as billiard's worker does, without the second it waits for its parent to kill it."""
    for stream in (sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()
        except Exception:
            pass
    if isinstance(status, int):
        os._exit(status & 0xff)
    os._exit(0 if status is None else 1)
