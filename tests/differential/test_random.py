"""The same random operations against RabbitMQ and against our broker: replies, error codes and texts, counts, and the
order of messages in every queue must agree. Nothing here depends on time.

    python -m pytest tests/differential                         # 30 stories
    CELERIAC_SEEDS=500 python -m pytest tests/differential       # more
    CELERIAC_SEED=17 python -m pytest tests/differential -s      # one of them, step by step

What differs on purpose, and is therefore not asked for here: a prefetch count without `global` takes effect at once
(RabbitMQ: for consumers to come); `recover` without requeue is 540 in both; a nack for a full queue is not `multiple`;
unknown methods and malformed tables are answered with a reason (tests/broker/refusals.rs has that list).
"""

from __future__ import annotations

import os
import random
import re
import socket
import time
from collections.abc import Iterator
from typing import Any

import amqp
import pytest
from amqp.exceptions import AMQPError, MessageNacked

from brokers import Celeriac, RabbitMQ

SEEDS = [int(os.environ["CELERIAC_SEED"])] if "CELERIAC_SEED" in os.environ else range(int(os.environ.get("CELERIAC_SEEDS", 30)))
STEPS = 60
#: How long deliveries that the other broker has made already may take.
PATIENCE = 3.0

QUEUES = ["qa", "qb", "qc"]
EXCHANGES = ["ea", "eb", "ec"]
KEYS = ["a", "b", "a.b", "a.b.c", "*.b", "a.#", "#", "*", ""]
HEADERS = [{}, {"k": 1}, {"k": 2, "l": "x"}]

#: Arguments of queues. Priorities and limits are what they look like; the rest must be refused or ignored alike.
ARGUMENTS: list[dict[str, Any]] = [
    {},
    {},
    {},
    {"x-max-priority": 3},
    {"x-max-length": 2},
    {"x-max-length": 2, "x-overflow": "reject-publish"},
    {"x-max-length-bytes": 12},
    {"x-dead-letter-exchange": "ea"},
    {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "qc"},
    {"x-max-length": 1, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "qb"},
    {"x-queue-type": "classic"},
    {"x-max-priority": 300},
    {"x-max-length": "two"},
    {"x-expires": 0},
    {"x-unknown": 1},
    {"x-overflow": "nonsense"},
    {"x-dead-letter-routing-key": "lonely"},
]


class Side:
    """One broker, seen through two connections with a channel each."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.clients = [Client(port), Client(port)]

    def apply(self, operation: tuple[Any, ...]) -> Any:
        client, name, *arguments = operation
        return self.clients[client].apply(name, *arguments)

    def deliveries(self) -> list[dict[str, list[tuple[Any, ...]]]]:
        """What each consumer of each client was given so far. Queues are independent, so their messages may mix."""
        for client in self.clients:
            client.drain()
        return [client.taken for client in self.clients]

    def clean(self) -> None:
        for client in self.clients:
            client.connection.collect()
        time.sleep(0.05)
        client = Client(self.port)
        for queue in [*QUEUES, "missing"]:
            client.apply("queue_delete", queue, {})
        for exchange in [*EXCHANGES, "missing"]:
            client.apply("exchange_delete", exchange, {})
        for queue in QUEUES:
            client.apply("queue_delete", queue, {})
        client.connection.close()


class Client:
    """A connection with a channel in confirm mode, which collects what it is given."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.connect()

    def connect(self) -> None:
        self.connection = amqp.Connection(f"127.0.0.1:{self.port}", confirm_publish=True, connect_timeout=10)
        self.connection.connect()
        self.channel = self.connection.channel()
        self.channel.events["basic_return"].add(self.on_return)
        self.renew()

    def renew(self) -> None:
        """What a new channel has: nothing."""
        self.taken: dict[str, list[tuple[Any, ...]]] = {}
        #: Bodies and delivery tags.
        self.held: list[tuple[str, int]] = []
        self.returned: list[Any] = []
        self.consuming: set[str] = set()

    def on_return(self, error: Any, exchange: str, key: str, message: Any) -> None:
        self.returned.append((error.reply_code, error.reply_text, exchange, key, message.body))

    def on_message(self, message: Any) -> None:
        info = message.delivery_info
        tag = info["consumer_tag"]
        told = info["redelivered"], info["exchange"], info["routing_key"], message.body, headers(message)
        self.taken.setdefault(tag, []).append(told)
        if not tag.endswith("-noack"):
            self.held.append((message.body, info["delivery_tag"]))

    def on_cancel(self, tag: str) -> None:
        self.taken.setdefault(tag, []).append(("cancelled",))
        self.consuming.discard(tag)

    def drain(self) -> None:
        while True:
            try:
                self.connection.drain_events(timeout=0.003)
            except (TimeoutError, socket.timeout):
                return

    def apply(self, name: str, *arguments: Any) -> Any:
        try:
            return getattr(self, name)(*arguments)
        except MessageNacked:
            return "nacked"
        except AMQPError as error:
            outcome = type(error).__name__, error.reply_code, error.reply_text
            if self.connection.connected and self.channel.is_open:
                self.renew()
                self.channel.confirm_select()
            else:
                self.connection.collect()
                time.sleep(0.2)  # until the broker has noticed
                self.connect()
            return outcome

    # ---- operations: what they return is compared --------------------------------------------------------------

    def exchange_declare(self, name: str, kind: str, flags: dict[str, bool]) -> Any:
        return self.channel.exchange_declare(name, kind, **flags)

    def exchange_delete(self, name: str, flags: dict[str, bool]) -> Any:
        return self.channel.exchange_delete(name, **flags)

    def exchange_bind(self, destination: str, source: str, key: str) -> Any:
        return self.channel.exchange_bind(destination, source, key)

    def exchange_unbind(self, destination: str, source: str, key: str) -> Any:
        return self.channel.exchange_unbind(destination, source, key)

    def queue_declare(self, name: str, flags: dict[str, bool], arguments: dict[str, Any]) -> Any:
        return tuple(self.channel.queue_declare(name, arguments=arguments, **flags))

    def queue_delete(self, name: str, flags: dict[str, bool]) -> Any:
        return self.channel.queue_delete(name, **flags)

    def queue_bind(self, name: str, exchange: str, key: str, arguments: dict[str, Any]) -> Any:
        return self.channel.queue_bind(name, exchange, key, arguments=arguments)

    def queue_unbind(self, name: str, exchange: str, key: str, arguments: dict[str, Any]) -> Any:
        return self.channel.queue_unbind(name, exchange, key, arguments=arguments)

    def queue_purge(self, name: str) -> Any:
        return self.channel.queue_purge(name)

    def publish(self, exchange: str, key: str, body: str, properties: dict[str, Any], mandatory: bool) -> Any:
        self.returned = []
        message = amqp.Message(body, **properties)
        self.channel.basic_publish(message, exchange, key, mandatory=mandatory)
        return self.returned

    def get(self, queue: str, no_ack: bool) -> Any:
        message = self.channel.basic_get(queue, no_ack)
        if message is None:
            return None
        info = message.delivery_info
        if not no_ack:
            self.held.append((message.body, info["delivery_tag"]))
        return info["redelivered"], info["exchange"], info["routing_key"], info["message_count"], message.body, headers(message)

    def consume(self, queue: str, no_ack: bool) -> Any:
        tag = f"{queue}-noack" if no_ack else queue
        self.channel.basic_consume(queue, tag, no_ack=no_ack, callback=self.on_message, on_cancel=self.on_cancel)
        self.consuming.add(tag)
        return tag

    def cancel(self, tag: str) -> Any:
        self.consuming.discard(tag)
        return self.channel.basic_cancel(tag)

    def qos(self, count: int) -> Any:
        return self.channel.basic_qos(0, count, True)

    def settle(self, how: str, place: int, multiple: bool, requeue: bool) -> Any:
        if not self.held:
            return None
        if multiple:  # all of them, whatever order they came in
            tag = max(tag for _, tag in self.held)
            self.held = []
        else:
            self.held.sort()
            _, tag = self.held.pop(place % len(self.held))
        if how == "ack":
            self.channel.basic_ack(tag, multiple)
        elif multiple:
            self.channel.send_method(amqp.spec.Basic.Nack, "Lbb", (tag, multiple, requeue))
        else:
            self.channel.basic_reject(tag, requeue)
        return self.channel.flow(True)  # its answer comes behind whatever went wrong

    def recover(self) -> Any:
        self.held = []
        self.channel.basic_recover(True)
        return self.channel.flow(True)

    def settle_nonsense(self, tag: int) -> Any:
        self.channel.basic_ack(tag)
        return self.channel.flow(True)


def headers(message: Any) -> Any:
    """A message's headers, without what depends on the time."""
    found = dict(message.properties.get("application_headers") or {})
    for death in found.get("x-death", []):
        death.pop("time", None)
    return found


class Story:
    """A random sequence of operations that make sense more often than not."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.number = 0

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def queue(self) -> str:
        return self.random.choice(QUEUES) if self.chance(0.97) else "missing"

    def exchange(self) -> str:
        return self.random.choice([*EXCHANGES, "amq.topic", "amq.headers"]) if self.chance(0.95) else self.random.choice(["", "missing"])

    def flags(self, **chances: float) -> dict[str, bool]:
        return {name: self.chance(chance) for name, chance in chances.items()}

    def opening(self) -> Iterator[tuple[Any, ...]]:
        """Every story begins with some queues and exchanges."""
        for exchange in EXCHANGES:
            kind = self.random.choice(["direct", "fanout", "topic", "headers"])
            yield 0, "exchange_declare", exchange, kind, {"durable": True, "auto_delete": False}
        for queue in QUEUES:
            yield 0, "queue_declare", queue, {"durable": True, "auto_delete": False}, self.random.choice(ARGUMENTS[:11])
            for _ in range(2):
                yield 0, "queue_bind", queue, self.random.choice(EXCHANGES), self.random.choice(KEYS), {}

    def step(self, consumed: list[set[str]]) -> tuple[Any, ...]:
        client = self.random.randrange(2)
        name = self.random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        operation = getattr(self, name)(consumed[0] | consumed[1])
        # Which of several consumers gets what a limit for the whole channel leaves depends on timing in RabbitMQ, and
        # so does whether a message that comes back is there before the next is given out. So only the second client
        # has a limit, and one consumer at most, which acknowledges, and it puts nothing back.
        if name == "qos":
            client = 1
        elif name == "recover":
            client = 0
        elif name == "settle" and client == 1:
            operation = *operation[:-1], False
        elif operation[0] == "consume" and client == 1:
            if consumed[1]:
                client = 0
            else:
                operation = "consume", operation[1], False
        return client, *operation

    def exchange_declare(self, _: Any) -> tuple[Any, ...]:
        kind = self.random.choice(["direct", "fanout", "topic", "headers"])
        return "exchange_declare", self.exchange(), kind, self.flags(passive=0.3, durable=0.9, auto_delete=0.2)

    def exchange_delete(self, _: Any) -> tuple[Any, ...]:
        return "exchange_delete", self.exchange(), self.flags(if_unused=0.5)

    def exchange_bind(self, _: Any) -> tuple[Any, ...]:
        how = self.random.choice(["exchange_bind", "exchange_bind", "exchange_unbind"])
        return how, self.exchange(), self.exchange(), self.random.choice(KEYS)

    def queue_declare(self, _: Any) -> tuple[Any, ...]:
        flags = self.flags(passive=0.4, durable=0.9, auto_delete=0.1, exclusive=0.1)
        return "queue_declare", self.queue(), flags, self.random.choice(ARGUMENTS)

    def queue_delete(self, _: Any) -> tuple[Any, ...]:
        return "queue_delete", self.queue(), self.flags(if_unused=0.5, if_empty=0.5)

    def queue_bind(self, _: Any) -> tuple[Any, ...]:
        how = self.random.choice(["queue_bind", "queue_bind", "queue_unbind"])
        arguments = self.random.choice([{}, {}, {"k": 1}, {"x-match": "any", "k": 2, "l": "x"}])
        return how, self.queue(), self.exchange(), self.random.choice(KEYS), arguments

    def queue_purge(self, _: Any) -> tuple[Any, ...]:
        return "queue_purge", self.queue()

    def publish(self, _: Any) -> tuple[Any, ...]:
        self.number += 1
        exchange, key = (self.exchange(), self.random.choice(KEYS)) if self.chance(0.5) else ("", self.queue())
        properties: dict[str, Any] = {"application_headers": self.random.choice(HEADERS)}
        if self.chance(0.5):
            properties["priority"] = self.random.choice([0, 1, 2, 3, 9])
        if self.chance(0.02):
            properties["user_id"] = self.random.choice(["guest", "bob"])
        return "publish", exchange, key, f"m{self.number}", properties, self.chance(0.3)

    def get(self, _: Any) -> tuple[Any, ...]:
        return "get", self.queue(), self.chance(0.3)

    def consume(self, consumed: set[str]) -> tuple[Any, ...]:
        # Whose turn it is among several consumers depends on timing in RabbitMQ, so a queue has one at most.
        free = [queue for queue in QUEUES if queue not in consumed]
        return ("consume", self.random.choice(free), self.chance(0.3)) if free else self.get(consumed)

    def cancel(self, _: Any) -> tuple[Any, ...]:
        return "cancel", self.random.choice(QUEUES)

    def qos(self, _: Any) -> tuple[Any, ...]:
        return "qos", self.random.choice([0, 1, 2, 5])

    def settle(self, _: Any) -> tuple[Any, ...]:
        how = self.random.choice(["ack", "nack"])
        return "settle", how, self.random.randrange(8), self.chance(0.3), self.chance(0.6)

    def settle_nonsense(self, _: Any) -> tuple[Any, ...]:
        return "settle_nonsense", self.random.choice([0, 77])

    def recover(self, _: Any) -> tuple[Any, ...]:
        return ("recover",)


WEIGHTS = {
    "publish": 40, "get": 10, "settle": 14, "consume": 5, "cancel": 2, "qos": 3, "recover": 2, "settle_nonsense": 1,
    "queue_declare": 7, "queue_bind": 8, "queue_purge": 1, "queue_delete": 2,
    "exchange_declare": 4, "exchange_bind": 4, "exchange_delete": 1,
}


@pytest.fixture(scope="module")
def brokers() -> Iterator[tuple[int, int]]:
    with RabbitMQ() as theirs, Celeriac() as ours:
        yield theirs.port, ours.port


def neutral(outcome: Any) -> Any:
    """An outcome without the names that servers invent."""
    return re.sub(r"amq\.gen-[\w-]{22}", "amq.gen-*", repr(outcome))


@pytest.mark.parametrize("seed", SEEDS)
def test_story(brokers: tuple[int, int], seed: int) -> None:
    theirs, ours = sides = [Side(port) for port in brokers]
    story = Story(seed)
    told: list[str] = []

    def tell(operation: tuple[Any, ...]) -> None:
        expected, actual = (neutral(side.apply(operation)) for side in sides)
        told.append(f"{operation} -> {expected}")
        if "CELERIAC_SEED" in os.environ:
            print(told[-1])
        assert actual == expected, "\n".join([*told, f"ours: {actual}"])
        deadline = time.monotonic() + PATIENCE
        while (actual := ours.deliveries()) != (expected := theirs.deliveries()) and time.monotonic() < deadline:
            pass
        assert actual == expected, "\n".join([*told, f"ours: {actual}", f"RabbitMQ: {expected}"])

    try:
        for operation in story.opening():
            tell(operation)
        for _ in range(STEPS):
            consumed = [{tag.removesuffix("-noack") for tag in client.consuming} for client in theirs.clients]
            tell(story.step(consumed))
        for queue in QUEUES:
            tell((0, "queue_declare", queue, {"passive": True}, {}))
    finally:
        for side in sides:
            side.clean()
