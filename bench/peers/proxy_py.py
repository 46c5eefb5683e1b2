"""proxy.py as a peer: its reverse proxy with a plugin for the one backend, as its documentation shows it.

It has one acceptor that also works on what it accepts (``--local-executor``, its default and its advice). What it
cannot do:

- It keeps no connection to a backend for other clients: its pool is "work in progress" and not used by the reverse
  proxy. A route that gives a URL has a new connection for each request; this one keeps its own for each client.
- It writes a line of the access log for each connection, when that ends, and none for each request.
- It passes requests on when all of their body is there, replies without looking at them and without flow control.

Called with four arguments: the port to listen on, the backend's port, the file of the access log, and ``true`` if it
is to add the fields that txproxy adds by default.
"""

from __future__ import annotations

import sys
import time
import uuid
from typing import Any

import proxy
from proxy.core.connection import TcpServerConnection
from proxy.http.parser import HttpParser
from proxy.http.server import ReverseProxyBasePlugin

PORT, BACKEND, LOG, FIELDS = sys.argv[1:]


class OneBackend(ReverseProxyBasePlugin):
    """Sends all that one client asks for to the backend, on one connection."""

    _connection: TcpServerConnection | None = None

    def routes(self) -> list[str]:
        """Return the pattern of all paths."""
        return [r"/"]

    def handle_route(self, request: HttpParser, pattern: Any) -> TcpServerConnection:
        """Queue the request on the client's connection to the backend."""
        del pattern
        connection = self._connection
        if connection is None:
            self._connection = connection = TcpServerConnection("127.0.0.1", int(BACKEND))
            connection.connect()
        if FIELDS == "true":
            request.add_headers(
                [
                    (b"X-Forwarded-For", self.client.addr[0].encode()),
                    (b"X-Forwarded-Proto", b"http"),
                    (b"X-Forwarded-Host", request.header(b"host")),
                    (b"X-Forwarded-Port", PORT.encode()),
                    (b"X-Request-Id", uuid.uuid4().hex.encode()),
                ]
            )
        connection.queue(memoryview(request.build()))
        return connection

    def on_access_log(self, context: dict[str, Any]) -> dict[str, Any]:
        """Close the connection to the backend: the client's has ended."""
        if self._connection is not None:
            self._connection.close()
        return context


def main() -> None:
    """Serve until a signal comes."""
    options = {
        "hostname": "127.0.0.1",
        "port": PORT,
        "num-acceptors": "1",
        "num-workers": "1",
        "backlog": "4096",
        "open-file-limit": "65536",
        "timeout": "3600",  # held clients are idle for minutes
        "log-file": LOG,
    }
    words = [f"--{name}={value}" for name, value in options.items()]
    with proxy.Proxy([*words, "--enable-reverse-proxy", "--disable-http-proxy"], plugins=[OneBackend]):
        while True:
            time.sleep(3600)


if __name__ == "__main__":
    main()
