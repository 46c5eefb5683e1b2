"""The server of one member of a farm: HTTP/1.1 that behaves as it is told and writes down every request that it reads.

Run as a script, on the standard library alone so that it starts fast: ``farm_server.py NAME PORT RECORD BEHAVIOUR``.
A line of JSON on standard input changes the behaviour; each is answered by a line with what the server counts.
It ends when standard input does, so that none outlives the test that started it.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import struct
import sys
import time
from typing import Any
from urllib.parse import parse_qsl

DEFAULTS: dict[str, Any] = {
    "status": 200,
    "delay_s": 0.0,
    "action": "answer",
    "fields": "",
    "health_status": 200,
    "health_body": "ok",
    "health_delay_s": 0.0,
    "health_action": "answer",
    "health_fields": "",
}
"""How a server behaves: the reply's status, the time before it and further fields; ``health_...`` for checks.

An action is ``answer``, ``close`` or ``reset`` instead of a reply, ``silent`` for none at all, or ``cut`` in mid-head.
A request's query may override ``status``, ``delay_s`` and ``action`` for itself.
"""

HEALTH_PATH = "/health"
_BY_QUERY = {"status": int, "delay_s": float, "action": str}


class Server:
    """What the connections of one server share.

    :param name: sent in the field X-Backend and as the reply's body.
    :param record: descriptor of the file that gets a line for each request.
    """

    def __init__(self, name: str, record: int, behaviour: dict[str, Any]) -> None:
        self.name = name
        self.behaviour = behaviour
        self.counts = {"accepted": 0, "open": 0, "most_open": 0, "active": 0, "most_active": 0}
        self._record = record

    def count(self, what: str, by: int) -> None:
        """Count something up or down and remember the most."""
        self.counts[what] += by
        most = f"most_{what}"
        self.counts[most] = max(self.counts[most], self.counts[what])

    def write_down(self, request: Request, connection: int) -> None:
        """Add a line at once, unbuffered: it holds whatever becomes of this process."""
        line = [
            time.monotonic(),
            request.fields.get("x-id", ""),
            request.method,
            request.target,
            connection,
            request.fields,
        ]
        os.write(self._record, json.dumps(line).encode() + b"\n")

    def told(self, line: str) -> str:
        """Take an order; return the answer."""
        self.behaviour.update(json.loads(line))
        return json.dumps(self.counts)


class Request:
    """A request's head.

    :raises ValueError: if it is none.
    """

    def __init__(self, head: bytes) -> None:
        first, *lines = head.decode("latin-1").split("\r\n")
        self.method, self.target, _ = first.split(" ")
        self.fields: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            self.fields[name.lower()] = value.strip()

    @property
    def is_check(self) -> bool:
        """Whether it is a health check."""
        return self.target.partition("?")[0] == HEALTH_PATH

    def settings(self, behaviour: dict[str, Any]) -> dict[str, Any]:
        """Return how it is to be answered."""
        if self.is_check:
            return {name: behaviour[f"health_{name}"] for name in ("status", "delay_s", "action", "fields", "body")}
        found = {name: behaviour[name] for name in ("status", "delay_s", "action", "fields")} | {"body": ""}
        query = self.target.partition("?")[2]
        return found | {name: _BY_QUERY[name](value) for name, value in parse_qsl(query) if name in _BY_QUERY}


class Connection(asyncio.Protocol):
    """Answers the requests of one connection, one after another."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._buffer = b""
        self._request: Request | None = None
        self._is_busy = False
        self._number = 0
        self._transport: Any = None

    def connection_made(self, transport: Any) -> None:
        """See asyncio.Protocol."""
        self._transport = transport
        self._number = self._server.counts["accepted"]
        self._server.counts["accepted"] += 1
        self._server.count("open", 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._server.count("open", -1)
        if self._is_busy:
            self._server.count("active", -1)
            self._is_busy = False
        self._transport = None

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._buffer += data
        self._advance()

    def _advance(self) -> None:
        if self._transport is None or self._is_busy:
            return
        if self._request is None:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            if not end:
                return
            self._buffer, self._request = rest, Request(head)
            self._server.write_down(self._request, self._number)
        size = self._body_size(self._request)
        if size is None:
            return
        self._buffer = self._buffer[size:]
        self._is_busy = True
        self._server.count("active", 1)
        settings = self._request.settings(self._server.behaviour)
        if settings["delay_s"] > 0:
            asyncio.get_running_loop().call_later(settings["delay_s"], self._answer, settings)
        else:
            self._answer(settings)

    def _body_size(self, request: Request) -> int | None:
        """Return how many bytes the body has on the wire; None as long as it is not complete."""
        if "transfer-encoding" in request.fields:
            # The proxy writes no trailers for the clients of these tests.
            end = 0 if self._buffer.startswith(b"0\r\n\r\n") else self._buffer.find(b"\r\n0\r\n\r\n") + 2
            return end + 5 if end != 1 else None
        length = int(request.fields.get("content-length", "0"))
        return length if len(self._buffer) >= length else None

    def _answer(self, settings: dict[str, Any]) -> None:
        request, transport = self._request, self._transport
        if transport is None or request is None:
            return
        action = settings["action"]
        if action == "silent":
            return
        self._request, self._is_busy = None, False
        self._server.count("active", -1)
        if action == "close":
            transport.close()
        elif action == "reset":
            reset = struct.pack("ii", 1, 0)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            transport.abort()
        elif action == "cut":
            transport.write(b"HTTP/1.1 200 OK\r\nContent-Le")
            transport.close()
        else:
            closes = request.fields.get("connection", "").lower() == "close"
            fields = settings["fields"] + ("Connection: close\r\n" if closes else "")
            body = (settings["body"] or self._server.name).encode()
            head = (
                f"HTTP/1.1 {settings['status']} Told\r\nX-Backend: {self._server.name}\r\n"
                f"Content-Length: {len(body)}\r\n{fields}\r\n"
            )
            transport.write(head.encode("latin-1") + (b"" if request.method == "HEAD" else body))
            if closes:
                transport.close()
            else:
                self._advance()


async def serve(name: str, port: int, record: int, behaviour: dict[str, Any]) -> None:
    """Serve until standard input ends."""
    loop = asyncio.get_running_loop()
    server = Server(name, record, behaviour)
    ended = asyncio.Event()
    pending = b""

    def orders() -> None:
        nonlocal pending
        data = os.read(0, 65536)
        if not data:
            loop.remove_reader(0)
            ended.set()
        *lines, pending = (pending + data).split(b"\n")
        for line in lines:
            print(server.told(line.decode()), flush=True)

    listener = socket.socket()
    # The parent keeps the port bound without listening, so that nothing else gets it while this server is dead.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    await loop.create_server(lambda: Connection(server), sock=listener, backlog=1024)
    loop.add_reader(0, orders)
    print("ready", flush=True)
    await ended.wait()


def main() -> None:
    """Serve as the command line says."""
    name, port, path, behaviour = sys.argv[1:]
    record = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    asyncio.run(serve(name, int(port), record, DEFAULTS | json.loads(behaviour)))


if __name__ == "__main__":
    main()
