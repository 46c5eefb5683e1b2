"""A server of WebSockets that is used everywhere, and echoes."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from websockets.sync.server import ServerConnection, serve


def _echo(connection: ServerConnection) -> None:
    for message in connection:
        connection.send(message)


@contextmanager
def echo_server(tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """Yield the port of a server that sends messages back.

    :param tls: its settings if it speaks TLS.
    """
    chats = ["chat.v2", "chat.v1"]
    with serve(_echo, "127.0.0.1", 0, subprotocols=chats, max_size=None, ssl=tls) as server:  # type: ignore[arg-type]
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.socket.getsockname()[1]
        server.shutdown()
        thread.join()
