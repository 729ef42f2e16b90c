"""How fast a broker takes messages in and gives them out again, beside RabbitMQ in the same run.

    python tests/differential/speed.py [--messages 200000] [--body 300] [--memory]

The client sends and counts prepared octets, so what is measured is the broker. Exit code 1 when ours is not faster, or
with --memory when a million messages take more than 600 MiB.
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys
import time

from brokers import Celeriac, RabbitMQ

PREFETCH = 1000
TAG = b"c"
QUEUE = b"speed"


def short(text: bytes) -> bytes:
    return bytes([len(text)]) + text


def method(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    payload = struct.pack(">HH", class_id, method_id) + arguments
    return struct.pack(">BHI", 1, channel, len(payload)) + payload + b"\xce"


def content(body: bytes, properties: bytes = b"\x10\x00\x01") -> bytes:
    """Header and body of a message on channel 1; transient by its properties."""
    header = struct.pack(">HHQ", 60, 0, len(body)) + properties
    return (
        struct.pack(">BHI", 2, 1, len(header)) + header + b"\xce" + struct.pack(">BHI", 3, 1, len(body)) + body + b"\xce"
    )


class Client:
    """A socket that has gone through the handshake and has channel 1 open."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending = b""
        self.socket.sendall(b"AMQP\x00\x00\x09\x01")
        self.expect(10, 10)
        response = b"\0guest\0guest"
        self.send(0, 10, 11, struct.pack(">I", 0) + short(b"PLAIN") + struct.pack(">I", len(response)) + response + short(b"en_US"))
        self.expect(10, 30)
        self.send(0, 10, 31, struct.pack(">HIH", 2047, 131072, 0))
        self.send(0, 10, 40, short(b"/") + short(b"") + b"\0")
        self.expect(10, 41)
        self.send(1, 20, 10, short(b""))
        self.expect(20, 11)

    def send(self, *arguments: object) -> None:
        self.socket.sendall(method(*arguments))

    def read(self, count: int) -> bytes:
        while len(self.pending) < count:
            more = self.socket.recv(1 << 16)
            if not more:
                raise EOFError("the broker has closed")
            self.pending += more
        taken, self.pending = self.pending[:count], self.pending[count:]
        return taken

    def expect(self, class_id: int, method_id: int) -> bytes:
        _, _, size = struct.unpack(">BHI", self.read(7))
        payload = self.read(size + 1)
        found = struct.unpack(">HH", payload[:4])
        if found != (class_id, method_id):
            raise RuntimeError(f"{found} instead of {(class_id, method_id)}: {payload!r}")
        return payload[4:-1]

    def declare(self) -> int:
        """Declares the queue; how many messages are ready."""
        self.send(1, 50, 10, b"\0\0" + short(QUEUE) + b"\x02" + struct.pack(">I", 0))
        return struct.unpack(">I", self.expect(50, 11)[1 + len(QUEUE):][:4])[0]


def publish(port: int, messages: int, body: int) -> float:
    """Publishes; messages a second until all are in the queue."""
    client = Client(port)
    client.declare()
    message = method(1, 60, 40, b"\0\0" + short(b"") + short(QUEUE) + b"\0") + content(b"x" * body)
    batch = message * 500
    start = time.perf_counter()
    for _ in range(messages // 500):
        client.socket.sendall(batch)
    while client.declare() < messages:
        pass
    return messages / (time.perf_counter() - start)


def drain(port: int, messages: int, body: int) -> float:
    """Consumes and acknowledges one by one; messages a second until the broker has the last acknowledgement."""
    client = Client(port)
    client.send(1, 60, 10, struct.pack(">IHB", 0, PREFETCH, 0))
    client.expect(60, 11)
    acks = b"".join(method(1, 60, 80, struct.pack(">QB", tag, 0)) for tag in range(1, messages + 1))
    ack = len(acks) // messages
    deliver = method(1, 60, 60, short(TAG) + bytes(9) + short(b"") + short(QUEUE))
    size = len(deliver) + len(content(b"x" * body))
    buffer = bytearray(1 << 20)
    start = time.perf_counter()
    client.send(1, 60, 20, b"\0\0" + short(QUEUE) + short(TAG) + b"\0" + struct.pack(">I", 0))
    client.expect(60, 21)
    octets = len(client.pending)
    acknowledged = 0
    while acknowledged < messages:
        if octets // size == acknowledged:
            octets += client.socket.recv_into(buffer)
        whole = octets // size
        if whole > acknowledged:
            client.socket.sendall(acks[acknowledged * ack:whole * ack])
            acknowledged = whole
    client.pending = b""
    client.send(1, 20, 20, b"\x01")  # the answer comes behind everything
    client.expect(20, 21)
    rate = messages / (time.perf_counter() - start)
    client.socket.close()
    left = Client(port).declare()  # what was not acknowledged would be back
    if left:
        raise RuntimeError(f"{left} messages are left")
    return rate


def measure(name: str, port: int, messages: int, body: int) -> tuple[float, float]:
    into, out = publish(port, messages, body), drain(port, messages, body)
    print(f"{name:10} {messages} messages of {body}: publish {into:9,.0f}/s, consume and ack {out:9,.0f}/s", flush=True)
    return into, out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--body", type=int, default=300)
    parser.add_argument("--memory", action="store_true", help="measure the memory of a million messages instead")
    arguments = parser.parse_args()
    if arguments.memory:
        with Celeriac() as ours:
            publish(ours.port, 1_000_000, 300)
            mebibytes = ours.resident() / (1 << 20)
        print(f"a million queued messages of 300 octets: {mebibytes:.0f} MiB resident")
        return int(mebibytes >= 600)
    with Celeriac() as ours:
        _, out = measure("celeriac", ours.port, arguments.messages, arguments.body)
    with RabbitMQ() as theirs:
        _, reference = measure("RabbitMQ", theirs.port, arguments.messages, arguments.body)
    print(f"consume and ack: {out / reference:.1f} times as fast")
    return int(out <= reference)


if __name__ == "__main__":
    sys.exit(main())
