"""What the app's own code is shown in the place of Celery's consumer, which is main.

Commands of remote control and receivers of signals get it. What it knows is what main has said with the command that
runs; what only main can do is noted in `orders`, and done when the command has ended.
"""

import os
from types import SimpleNamespace

from celery.events import EventDispatcher
from celery.utils.collections import AttributeDict
from celery.utils.functional import pass1
from celery.worker import state as worker_state
from kombu import Queue


class Consumer:
    """The sender of signals and the consumer of commands, of which they may ask what they ask Celery's consumer."""

    def __init__(self, worker):
        self.app = worker.app
        self.hostname = worker.hostname
        self.controller = worker
        self.pid = os.getppid()
        self.orders = []
        self.conninfo = self.connection = worker.app.connection_for_read()  # connects if somebody uses it
        self.connection_errors, self.channel_errors = self.conninfo.connection_errors, self.conninfo.channel_errors
        self.pool, self.qos = AsynPool(self), QoS(self)
        self.task_consumer = TaskConsumer(self)
        self.dispatcher = None
        worker.stats = lambda: self.known("stats", {})
        self.state = {}

    def known(self, name, default):
        """What main has said with the command that runs; nothing while a signal is received."""
        return self.state.get(name, default)

    def command_state(self, state):
        """The `state` of a command, and Celery's own books of requests as main's are."""
        self.state = state
        self.orders.clear()
        active, reserved = (list(map(Seen, state.get(name, ()))) for name in ("active", "reserved"))
        for known, requests in (
            (worker_state.active_requests, active),
            (worker_state.reserved_requests, active + reserved),  # to Celery an active one is reserved, too
        ):
            known.clear()
            known.update(requests)
        worker_state.requests.clear()
        worker_state.requests.update({request.id: request for request in active + reserved})
        total = self.controller.stats().get("total", {})
        worker_state.total_count.clear()
        worker_state.total_count.update(total)
        worker_state.all_total_count[0] = sum(total.values())
        return AttributeDict(app=self.app, hostname=self.hostname, consumer=self, tset=pass1)

    def order(self, method, **arguments):
        self.orders.append((method, arguments))

    # What commands do with a consumer.

    def call_soon(self, function, *args, **kwargs):
        return function(*args, **kwargs)

    def add_task_queue(self, queue, exchange=None, exchange_type=None, routing_key=None, **options):
        self.order(
            "add_consumer", queue=queue, exchange=exchange, exchange_type=exchange_type, routing_key=routing_key,
            **options)

    def cancel_task_queue(self, queue):
        self.order("cancel_consumer", queue=queue)

    def reset_connection(self):
        """Has main connect anew to the broker that it consumes from."""
        self.order("reset_connection")

    @property
    def event_dispatcher(self):
        """One over a connection of this process, in main's name."""
        if self.dispatcher is None:
            self.dispatcher = EventDispatcher(self.app.connection_for_write(), hostname=self.hostname, app=self.app)
            self.dispatcher.pid = self.pid
        return self.dispatcher

    def __repr__(self):
        return f"<Consumer: {self.hostname} (running)>"


class AsynPool:
    """Main's children."""

    def __init__(self, consumer):
        self.consumer = consumer

    def grow(self, n=1):
        self.consumer.order("pool_grow", n=n)

    def shrink(self, n=1):
        self.consumer.order("pool_shrink", n=n)

    @property
    def info(self):
        return self.consumer.controller.stats().get("pool", {})

    @property
    def num_processes(self):
        return self.info.get("max-concurrency")


class QoS:
    """Main's prefetch count."""

    def __init__(self, consumer):
        self.consumer = consumer

    @property
    def value(self):
        return self.consumer.controller.stats().get("prefetch_count")

    prev = value

    def increment_eventually(self, n=1):
        self.consumer.order("widen_prefetch", n=n)
        return self.value and self.value + max(n, 0)

    def decrement_eventually(self, n=1):
        self.consumer.order("widen_prefetch", n=-n)
        return self.value and max(self.value - n, 1)

    def set(self, pcount):
        self.consumer.order("widen_prefetch", n=pcount - self.value)
        return pcount

    def update(self):
        return self.value


class TaskConsumer:
    """What main consumes."""

    def __init__(self, consumer):
        self.consumer = consumer

    @property
    def queues(self):
        declared = self.consumer.app.amqp.queues
        names = [queue["name"] for queue in self.consumer.known("queues", ())]
        return [declared[name] if name in declared else Queue(name) for name in names]

    def consuming_from(self, queue):
        return getattr(queue, "name", queue) in [one.name for one in self.queues]


class Seen(SimpleNamespace):
    """A request that main has, as far as `inspect` tells of it."""

    def __init__(self, info):
        super().__init__(**info)
        self.seen = info

    def info(self, safe=False):
        return dict(self.seen)

    def __hash__(self):
        return hash(self.id)

    def __repr__(self):
        return f"<Request: {self.name}[{self.id}]>"
