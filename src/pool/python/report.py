"""What main must know of the app: one JSON object, of plain values only."""

import json
import logging
import os
import pickle
import sys
import time
import zlib

import celeriac_differences

#: Settings that main consults.
SETTINGS = """
    enable_utc broker_transport_options broker_use_ssl broker_login_method broker_failover_strategy broker_connection_timeout
    broker_connection_retry broker_connection_retry_on_startup broker_connection_max_retries
    broker_channel_error_retry broker_heartbeat broker_heartbeat_checkrate broker_native_delayed_delivery_queue_type
    control_exchange control_queue_ttl control_queue_expires control_queue_exclusive control_queue_durable
    event_exchange event_serializer event_queue_prefix event_queue_ttl event_queue_expires event_queue_exclusive
    event_queue_durable
    result_expires result_persistent
    task_serializer task_default_queue task_default_queue_type task_default_exchange task_default_exchange_type
    task_default_routing_key task_create_missing_queues task_create_missing_queue_type
    task_create_missing_queue_exchange_type task_queue_max_priority task_default_rate_limit
    task_default_delivery_mode
    worker_cancel_long_running_tasks_on_connection_loss worker_deduplicate_successful_tasks
    worker_detect_quorum_queues worker_disable_prefetch worker_disable_rate_limits
    worker_enable_prefetch_count_reduction worker_enable_remote_control worker_enable_soft_shutdown_on_idle
    worker_soft_shutdown_timeout worker_eta_task_limit
    worker_pool_restarts worker_proc_alive_timeout
""".split()

#: Attributes of a task that main consults.
FLAGS = """
    acks_late reject_on_worker_lost retry_on_worker_lost ignore_result store_errors_even_if_ignored track_started
    send_events
""".split()
ACKS = "acks_on_failure acks_on_timeout".split()
NUMBERS = "max_retries default_retry_delay time_limit soft_time_limit resultrepr_maxsize".split()

#: Arguments of Celery's worker, as Celery has resolved them, that are numbers, yes or no, and text.
WORKER_NUMBERS = """
    concurrency loglevel prefetch_multiplier time_limit soft_time_limit max_tasks_per_child max_memory_per_child
""".split()
WORKER_FLAGS = "task_events redirect_stdouts quiet no_color".split()
WORKER_TEXTS = """
    logfile optimization pool_start_method statedb pidfile schedule_filename scheduler redirect_stdouts_level
""".split()

#: The same of those that Celery hands on without looking at them.
OPTION_FLAGS = "without_gossip without_mingle without_heartbeat beat".split()

#: Signals that Celery's main process sends, and that the clerk sends in its place.
SIGNALS = """
    worker_ready worker_shutting_down worker_shutdown heartbeat_sent task_received
    task_revoked task_rejected task_unknown task_failure task_retry
""".split()


def send(fd, report):
    with os.fdopen(fd, "w") as pipe:
        json.dump(report, pipe)


def of(worker):
    """The report on an app, made from Celery's own worker object."""
    from celery import VERSION_BANNER, __version__

    app = worker.app
    read, write = app.connection_for_read(), app.connection_for_write()
    return {
        "celery": {"version": __version__, "banner": VERSION_BANNER},
        "node": worker.hostname,
        "banner": worker.banner,
        "directory": os.getcwd(),
        "user": os.getuid(),
        "group": os.getgid(),
        "log": log(worker),
        "colour": bool(app.log.supports_color(False if worker.no_color else None, worker.logfile)),
        "pool": getattr(worker.pool_cls, "__module__", str(worker.pool_cls)).rpartition(".")[2],
        "worker": {
            **{name: number(getattr(worker, name, None)) for name in WORKER_NUMBERS},
            **{name: bool(getattr(worker, name, False)) for name in WORKER_FLAGS},
            **{name: text(getattr(worker, name, None)) for name in WORKER_TEXTS},
            **{name: bool(worker.kwargs.get(name)) for name in OPTION_FLAGS},
            "heartbeat_interval": number(worker.kwargs.get("heartbeat_interval")),
            "autoscale": list(worker.autoscale) if worker.autoscale else None,
            "custom_logging": bool(worker._custom_logging),
        },
        "settings": {name: plain(app.conf.get(name)) for name in SETTINGS},
        "accept": accept(app),
        "timezone": str(app.timezone),
        "zone": os.environ.get("TZ"),
        "broker": {
            "transport": read.transport_cls if isinstance(read.transport_cls, str) else read.transport.driver_type,
            "read": urls(read),
            "write": urls(write),
        },
        "results": {"uri": app.backend.as_uri(), "persistent": bool(getattr(app.backend, "persistent", False))},
        "queues": [queue(one) for one in app.amqp.queues.consume_from.values()],
        "declared": [queue(one) for _, one in sorted(app.amqp.queues.items())],
        "tasks": {name: task(one) for name, one in app.tasks.items()},
        "receivers": receivers(app),
        "control": control_commands(),
        "differences": list(celeriac_differences.of(worker)),
        "shelve": shelve(worker),
        **settings_as_text(app),
    }


def shelve(worker):
    """What a state file that Celery has written holds; main reads none but its own, and takes this over."""
    import dbm
    import shelve

    from celery.utils.nodenames import node_format

    if not worker.statedb:
        return None
    path = node_format(worker.statedb, worker.hostname)
    if not dbm.whichdb(path):
        return None  # there is none, or one of main's
    files = [path + suffix for suffix in ("", ".db", ".dat", ".dir", ".bak", ".pag") if os.path.exists(path + suffix)]
    revoked, clock = (), 0
    try:
        with shelve.open(path, "r") as saved:
            clock = int(saved.get("clock") or 0)
            if saved.get("zrevoked"):
                revoked = pickle.loads(zlib.decompress(saved["zrevoked"]))
            else:
                revoked = saved.get("revoked") or ()
        revoked = [str(one) for one in revoked]
    except Exception as exc:
        sys.exit(f"Error: statedb: {path} cannot be read ({exc!r}): name another file, or move this one away")
    return {"files": [os.path.abspath(file) for file in files], "revoked": revoked, "clock": clock}


def settings_as_text(app):
    """What `inspect conf` and `inspect report` answer. What kombu thinks of the URLs while it hides their passwords
    nobody needs to know."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return {
            "conf": configuration(app, False),
            "conf_with_defaults": configuration(app, True),
            "bug_report": app.bugreport(),
        }
    finally:
        logging.disable(before)


def configuration(app, with_defaults):
    """As text: a setting may be infinite, which JSON does not know and Python writes."""
    from types import SimpleNamespace

    from celery.worker import control
    from kombu.utils.json import dumps

    return dumps(control.conf(SimpleNamespace(app=app), with_defaults=with_defaults))


def log(worker):
    """How the log is written, for main to write its own lines alike: as the root logger's first handler does."""
    handler = celeriac_differences.log_handler()
    formatter = getattr(handler, "formatter", None)
    style = getattr(formatter, "_style", None)
    known = {"level": None, "file": None, "format": None, "datefmt": None, "utc": False}
    if type(style) is logging.PercentStyle:
        known.update(
            format=formatter._fmt, datefmt=formatter.datefmt,
            utc=getattr(formatter.converter, "__func__", formatter.converter) is time.gmtime)
    if worker._custom_logging:  # else both are Celery's, and among the worker's arguments
        known.update(level=logging.getLogger("celery").getEffectiveLevel(), file=getattr(handler, "baseFilename", None))
    return known


def accept(app):
    """The MIME types that tasks may come in, those of the app's own serializers among them."""
    from kombu.serialization import prepare_accept_content, registry

    types = prepare_accept_content(app.conf.accept_content)
    if types is None:  # what is not forbidden
        types = set(registry.type_to_name) - getattr(registry, "_disabled_content_types", set())
    return sorted(types)


def plain(value):
    """The value as JSON has it; what JSON has not becomes its repr."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return str(value) if isinstance(value, str) else value
    if isinstance(value, dict) or hasattr(value, "items"):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    if hasattr(value, "total_seconds"):
        return value.total_seconds()
    return repr(value)


def text(value):
    return None if value in (None, "") else str(value)


def urls(connection):
    """The URLs of a connection, passwords included, in the order in which they are tried."""
    own = connection.as_uri(include_password=True)
    if connection.heartbeat:
        own += f"?heartbeat={connection.heartbeat:g}"  # the one parameter that kombu takes from a URL and does not give back
    return list(connection.alt or ()) or [own]


def exchange(one):
    return {
        "name": one.name,
        "type": str(one.type or "direct"),
        "durable": bool(one.durable),
        "auto_delete": bool(one.auto_delete),
        "passive": bool(one.passive),
        "no_declare": bool(one.no_declare),
        "arguments": plain(one.arguments) or {},
    }


def queue(one):
    """A queue as kombu would declare and consume it."""
    arguments = dict(one.queue_arguments or {})
    limits = {
        "x-expires": (one.expires, 1000), "x-message-ttl": (one.message_ttl, 1000),
        "x-max-length": (one.max_length, 1), "x-max-length-bytes": (one.max_length_bytes, 1),
        "x-max-priority": (one.max_priority, 1),
    }
    arguments.update({name: int(value * unit) for name, (value, unit) in limits.items() if value is not None})
    return {
        "name": one.name,
        "exchange": exchange(one.exchange),
        "routing_key": one.routing_key or "",
        "durable": bool(one.durable),
        "exclusive": bool(one.exclusive),
        "auto_delete": bool(one.auto_delete),
        "no_ack": bool(one.no_ack),
        "no_declare": bool(one.no_declare),
        "arguments": plain(arguments),
        "binding_arguments": plain(one.binding_arguments) or {},
        "consumer_arguments": plain(one.consumer_arguments) or {},
        "bindings": [
            {
                "exchange": exchange(each.exchange),
                "routing_key": each.routing_key or "",
                "arguments": plain(each.arguments) or {},
            }
            for each in one.bindings or ()
        ],
    }


def task(one):
    """The options of a task, each of the type that main expects, whatever the app has made of it."""
    either = getattr(one, "acks_on_failure_or_timeout", None)
    either = True if either is None else bool(either)
    return {
        **{name: bool(getattr(one, name, False)) for name in FLAGS},
        **{name: either if getattr(one, name, None) is None else bool(getattr(one, name)) for name in ACKS},
        **{name: number(getattr(one, name, None)) for name in NUMBERS},
        "rate_limit": None if one.rate_limit in (None, "") else str(one.rate_limit),
    }


def number(value):
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None


def receivers(app):
    """The signals that somebody listens to. A loader has a hook of its own for the last one."""
    from celery import signals
    from celery.loaders.base import BaseLoader

    names = {name for name in SIGNALS if getattr(signals, name).receivers}
    if type(app.loader).on_worker_shutdown is not BaseLoader.on_worker_shutdown:
        names.add("worker_shutdown")
    return sorted(names)


def control_commands():
    """The commands that are not Celery's own, by name, with their kind."""
    from celery.worker import control

    return {
        name: getattr(control.Panel.meta.get(name), "type", "alias")
        for name, handler in control.Panel.data.items()
        if not handler.__module__.startswith("celery.")
    }
