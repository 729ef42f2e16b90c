"""What an app brings that this worker does not run, or does otherwise: sentences that say so, and what to do.

They are logged at the start, and printed by `celeriac -A proj check`.
"""

import logging

from celery import VERSION, VERSION_BANNER
from celery.utils.log import ColorFormatter

from celeriac_zygote import NEWEST, shown

#: Formatters that add nothing to their format.
PLAIN_FORMATTERS = logging.Formatter.format, ColorFormatter.format

#: Settings that nobody here looks at, and what follows from that. Those at their default are not mentioned.
UNUSED = {
    "broker_heartbeat_checkrate": "heartbeats are looked after three times in each",
    "broker_transport_options": "main's own connections take none of them; those of tasks do",
    "control_exchange": "the mailboxes of workers are at celery.pidbox",
    "control_queue_durable": "a mailbox goes with its worker",
    "control_queue_exclusive": "a mailbox belongs to its worker's connection",
    "control_queue_expires": "a mailbox expires after 10 seconds",
    "control_queue_ttl": "requests in a mailbox expire after 300 seconds",
    "event_exchange": "events go to celeryev",
    "event_queue_durable": "the queue for events goes with its worker",
    "event_queue_exclusive": "the queue for events belongs to its worker's connection",
    "event_queue_expires": "the queue for events expires after a minute",
    "event_queue_prefix": "the queue for events is named celeryev and a number",
    "event_queue_ttl": "events of other workers expire after 5 seconds",
    "event_serializer": "events are JSON",
    "worker_agent": "there is no agent",
    "worker_autoscaler": "--autoscale has as many children as there are tasks for",
    "worker_consumer": "the consumer is celeriac's",
    "worker_enable_prefetch_count_reduction": "after a lost connection the prefetch count is what it was",
    "worker_enable_soft_shutdown_on_idle": "a worker without tasks has nothing to wait for",
    "worker_disable_prefetch": "only with Redis as the broker, as in Celery",
    "worker_lost_wait": "a lost child is noticed at once",
    "worker_pool_putlocks": "jobs wait in main until a child is free",
    "worker_timer": "main has a timer of its own",
}


def of(worker):
    """The sentences, those about tasks first."""
    app = worker.app
    if VERSION[:2] > NEWEST:
        yield f"Celery {VERSION_BANNER} is newer than {shown(NEWEST)}, the last that celeriac was tested with"
    yield from about_tasks(app)
    for kind in "worker", "consumer":
        for step in sorted(str(getattr(step, "name", step)) for step in app.steps[kind]):
            yield f"bootstep {step} of the {kind} blueprint is not run: use a signal such as worker_ready instead"
    for option in app.user_options.get("worker", ()):
        yield f"option {getattr(option, 'name', option)} of the worker is accepted, and given to no bootstep"
    yield from about_settings(app)
    yield from about_logging(worker)
    for queue in app.amqp.queues.consume_from.values():
        arguments = queue.queue_arguments or {}
        if queue.no_ack:
            yield f"queue {queue.name} has no_ack: its messages are acknowledged all the same"
        if arguments.get("x-queue-type") == "quorum":
            yield (f"queue {queue.name} is a quorum queue: tasks with an ETA that Celery's client leaves to the broker "
                   "(native delayed delivery) need one Celery worker that binds it to celery_delayed_delivery")


def log_handler():
    """The root logger's first handler that writes to a file or a terminal."""
    handlers = logging.getLogger().handlers
    return next((one for one in handlers if isinstance(one, logging.StreamHandler)), None)


def about_logging(worker):
    handler = log_handler()
    formatter = getattr(handler, "formatter", None) or logging.Formatter()
    if worker._custom_logging:
        yield ("logging is set up by a receiver of setup_logging: it is that of children and the clerk; main writes its own "
               f"lines to {getattr(handler, 'baseFilename', 'stderr')}, and to no other handler")
    name = type(formatter).__name__
    if type(formatter).__module__ == "celeriac_log":
        return  # JSON was asked for
    if type(formatter._style) is not logging.PercentStyle:
        yield f"the log's formatter {name} is not of the style %(...)s: main's own lines have Celery's form"
    elif type(formatter).format not in PLAIN_FORMATTERS:
        yield f"the log's formatter {name} does more than its format says: main's own lines have the format alone"


def about_tasks(app):
    from celery.app.task import Task

    for name, one in sorted(app.tasks.items()):
        for attribute in "Request", "Strategy":
            if getattr(one, attribute, None) != getattr(Task, attribute):
                yield (f"task {name} has a {attribute} of its own ({getattr(one, attribute)}): messages are handled "
                       "as by Celery's default; use the task's hooks (before_start, on_failure, ...) instead")
        if not getattr(one, "send_events", True):
            yield f"task {name} has send_events = False: with -E events are sent about it all the same"


def about_settings(app):
    from celery.app import defaults

    known = {name: option.default for name, option in defaults.flatten(defaults.NAMESPACES)}
    for name, instead in UNUSED.items():
        value = app.conf.get(name)
        if name in known and value not in (known[name], None):
            shown = ", ".join(map(str, value)) if isinstance(value, dict) else repr(value)  # values may be secret
            yield f"setting {name} ({shown}) is not used: {instead}"
    order = app.conf.broker_failover_strategy
    if order not in (None, "round-robin", "shuffle", "priority"):
        shown = getattr(order, "__qualname__", None) or repr(order)
        yield (f"setting broker_failover_strategy ({shown}) is not used: the URLs are tried in the order in which they are "
               "listed, from the one after the one that was lost; --failover has other orders")
    accept = set(app.conf.accept_content or ())
    if accept and not accept & {"json", "application/json"}:
        yield "setting accept_content has no json: the worker's events and its answers to remote control are JSON"
