"""The clerk: a Python process that keeps the books for main.

It is told by notes what has happened, and does what Celery's main process would have done in Python, with Celery's
own `Request` wherever there is one: results of tasks whose child is gone, hooks, the receivers of signals.
What the app's code raises is logged; what it hangs on main ends by ending this process.
"""

import base64
import inspect
import json
import os
import signal

import celeriac_log
from billiard import util as billiard_util
from billiard.einfo import ExceptionInfo
from celery import signals, states
from celery.exceptions import InvalidTaskError, NotRegistered, WorkerLostError
from celery.utils.log import get_logger
from celery.worker import strategy
from celery.worker.control import Panel
from celery.worker.request import Request as CeleryRequest
from kombu.compression import decompress
from kombu.message import Message
from kombu.serialization import dumps as encode, loads, prepare_accept_content, registry
from kombu.utils.json import dumps

from celeriac_child import HEADER, UP, Records, decoded, load_head, received
from celeriac_consumer import Consumer

NOTE, REPLY = 6, 7
logger = get_logger("celery.worker")


def live(host, worker, number, slots, notes, replies):
    """Reads notes and answers each, until main closes its end."""
    os.set_blocking(notes, True)
    os.set_blocking(replies, True)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    billiard_util._run_after_forkers()  # as in any child: connections of the process before are not ours
    write(replies, UP, {"pid": os.getpid()})
    clerk, records = Clerk(worker), Records(notes)
    while True:
        try:
            _, head, body = records.read()
        except EOFError:
            os._exit(0)
        note = load_head(head)
        reply = {"note": note["note"]}
        try:
            reply.update(clerk.see_to(note, body))
        except BaseException as exc:
            logger.error("The clerk could not see to it that %s: %r", note, exc, exc_info=True)
        celeriac_log.job = None
        write(replies, REPLY, reply)


def write(fd, kind, head):
    head = json.dumps(head, separators=(",", ":")).encode()
    data = memoryview(HEADER.pack(b"CL", kind, 0, len(head), 0) + head)
    try:
        while data:
            data = data[os.write(fd, data):]
    except OSError:
        os._exit(0)  # main is gone


class Clerk:
    def __init__(self, worker):
        self.worker = worker
        self.app = worker.app
        self.accept = prepare_accept_content(self.app.conf.accept_content)
        self.consumer = Consumer(worker)
        self.heart = Heart()

    def see_to(self, note, record):
        """Does what the note asks for; returns what main is to know: what is to become of the task's message, if that
        is settled here, or a command's answer."""
        done = getattr(self, note["about"])(note, record)
        return done if isinstance(done, dict) else {"verdict": done} if done else {}

    # Tasks.

    def lost(self, note, record):
        request = self.request(record)
        if note["last"]:
            request.task.reject_on_worker_lost = request.task.retry_on_worker_lost = False  # in this process
        try:
            raise WorkerLostError(note["text"])
        except WorkerLostError:
            request.on_failure(ExceptionInfo())
        return "reject" if note["last"] else request.verdict

    def timed_out(self, note, record):
        request = self.request(record)
        limit = note["limit"]
        request.on_timeout(False, int(limit) if limit == int(limit) else limit)  # mostly it was given as an integer
        return request.verdict

    def revoked(self, note, record):
        request, reason = self.request(record), note["reason"]
        number = note["signal"] and signal.Signals(note["signal"])
        request._announce_revoked(reason, reason == "terminated", number, reason == "expired")
        # What becomes of the message is main's to say.

    def cancelled(self, note, record):
        request = self.request(record)
        if "emit_retry" in inspect.signature(request._announce_cancelled).parameters:
            request._announce_cancelled(emit_retry=True)
        else:
            request._announce_cancelled()

    def received(self, note, record):
        signals.task_received.send(sender=self.consumer, request=self.request(record))

    def unregistered(self, note, record):
        message, job, _ = self.message(record)
        exc = NotRegistered(job["task"])
        stub = Unregistered(job, message.headers, message.properties)
        self.app.backend.mark_as_failure(job["id"], exc, request=stub)
        signals.task_unknown.send(
            sender=self.consumer, message=message, exc=KeyError(job["task"]), name=job["task"], id=job["id"])

    def refused(self, note, record):
        message, _, _ = self.message(record)
        exc = InvalidTaskError(note["reason"]) if note["reason"] is not None else None
        signals.task_rejected.send(sender=self.consumer, message=message, exc=exc)

    def request(self, record):
        message, job, body = self.message(record)
        try:
            args, kwargs, embed = decoded(job, body, self.accept)
        except Exception:  # what cannot be decoded has no arguments
            args, kwargs, embed = (), {}, {}
        return Request(
            message, hostname=job["hostname"], app=self.app, task=self.app.tasks[job["task"]],
            body=(args, kwargs, embed or {}), headers=message.headers, decoded=True)

    def message(self, record):
        """The message in a Job record, as kombu has it, the head of that record, and its body as it came."""
        _, _, _, head_length, body_length = HEADER.unpack_from(record)
        end = HEADER.size + head_length
        job = celeriac_log.job = load_head(record[HEADER.size:end])
        properties = dict(job["properties"], application_headers=job["headers"])
        body = record[end:end + body_length]
        return Message(
            body=received(body, properties),
            content_type=properties.get("content_type"), content_encoding=properties.get("content_encoding"),
            delivery_info=job["delivery_info"], properties=properties, headers=job["headers"],
        ), job, body

    def decode(self, note, record):
        """A message of protocol 1 that main cannot read, as one of protocol 2 with the body that it has then."""
        message, job, body = self.message(record)
        properties = job["properties"]
        try:
            compression = message.headers.get("compression")
            payload = loads(
                decompress(body, compression) if compression else received(body, properties),
                properties.get("content_type"), properties.get("content_encoding"), accept=self.accept)
        except Exception as exc:
            return {"answer": dumps({"error": repr(exc)})}
        if not isinstance(payload, dict) or "task" not in payload:
            return {"answer": "{}"}
        convert = strategy.hybrid_to_proto2 if "args" in payload else strategy.proto1_to_proto2
        contents, headers, _, _ = convert(message, payload)
        serializer = registry.type_to_name[properties["content_type"]]
        content_type, content_encoding, body = encode(tuple(contents), serializer=serializer)
        body = body if isinstance(body, bytes) else body.encode()
        headers = {name: value for name, value in headers.items() if name != "compression"}
        return {"answer": dumps({
            "headers": headers, "content_type": content_type, "content_encoding": content_encoding,
            "body": base64.b64encode(body).decode()})}

    def flagged(self, note, record):
        """As Celery since 5.7: a task that another worker has begun, or that has ended, keeps its state."""
        for task_id in note["ids"]:
            try:
                state = self.app.backend.get_state(task_id)
                if state in (states.PENDING, states.RECEIVED, states.RETRY, states.REJECTED):
                    self.app.backend.mark_as_revoked(task_id, reason="revoked", store_result=True)
            except Exception as exc:
                logger.warning("Failed to mark task %s as revoked in backend: %s", task_id, exc)

    # Remote control.

    def command(self, note, _):
        """A command of the app's own, with a state that has what Celery's has."""
        method, orders = note["method"], self.consumer.orders
        try:
            state = self.consumer.command_state(json.loads(note["state"]))
            handler = self.pool_restart if method == "pool_restart" else Panel.data[method]
            answer = dumps(handler(state, **json.loads(note["arguments"])))
        except Exception as exc:
            logger.error("pidbox command error: %r", exc, exc_info=True)
            answer = dumps({"error": repr(exc)})
        return {"answer": answer, "orders": [(name, dumps(arguments)) for name, arguments in orders]}

    def pool_restart(self, state, modules, **how):
        """Main does it, if these modules can be imported at all."""
        if not self.app.conf.worker_pool_restarts:
            raise ValueError("Pool restarts not enabled")
        for module in modules:
            self.app.loader.import_task_module(module)
        self.consumer.order("pool_restart", **how)
        return {"ok": "reload started"}

    # Signals.

    def signal(self, note, record):
        name = note["signal"]
        arguments = {}
        if name == "worker_shutting_down":
            sender = self.worker.hostname
            arguments = dict(zip(("sig", "how", "exitcode"), note["shutting_down"]))
        elif name == "worker_shutdown":
            sender = self.worker
            self.app.loader.shutdown_worker()
        elif name == "heartbeat_sent":
            sender = self.heart
        else:
            sender = self.consumer
        getattr(signals, name).send(sender=sender, **arguments)


class Request(CeleryRequest):
    """Celery's request, whose acknowledgement is a word to main."""

    verdict = None

    def __init__(self, message, **kwargs):
        super().__init__(message, on_ack=self.noted_ack, on_reject=self.noted_reject, **kwargs)

    def noted_ack(self, logger, connection_errors):
        self.verdict = "ack"

    def noted_reject(self, logger, connection_errors, requeue):
        self.verdict = "requeue" if requeue else "reject"


class Unregistered:
    """What a backend wants to know of the request of a task that nobody knows, as Celery's consumer gives it."""

    chord = None
    errbacks = None

    def __init__(self, job, headers, properties):
        self.name = job["task"]
        self.id = job["id"]
        self.root_id = headers.get("root_id")
        self.correlation_id = properties.get("correlation_id")
        self.reply_to = properties.get("reply_to")


class Heart:
    """The sender of `heartbeat_sent`."""
