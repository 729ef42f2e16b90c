"""The demonstration tasks with exchanges and queues of the app's own for remote control and events."""

from __future__ import annotations

from demo_app import app

SETTINGS = {
    "control_exchange": "ops",
    "control_queue_ttl": 7.0,
    "control_queue_expires": 20.0,
    "control_queue_exclusive": False,
    "control_queue_durable": True,
    "event_exchange": "opsev",
    "event_queue_prefix": "opsq",
    "event_queue_ttl": 9.0,
    "event_queue_expires": 30.0,
    "event_queue_exclusive": False,
    "event_queue_durable": True,
}
app.conf.update(SETTINGS)
