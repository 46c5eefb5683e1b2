"""A backend of 1 KiB replies for machines without nginx: ``python -m bench.fallback PORT``."""

from __future__ import annotations

import asyncio
import sys

from bench.bulk import CHUNK, content

BODY = b"x" * 1024
REPLY = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
# What the path of the scenario begins with in which no two replies have the same head.
UNLIKE = b"GET /goods/"
# What the path begins with of replies that caches keep.
KEPT = b"GET /cached"
KEPT_REPLY = REPLY.replace(b"\r\n\r\n", b"\r\nCache-Control: public, max-age=864000\r\n\r\n", 1)
# One of these is longer.
KEPT_LONG = b"GET /cached64k "
KEPT_LONG_REPLY = KEPT_REPLY.replace(b"Content-Length: 1024", b"Content-Length: 65536").replace(BODY, b"x" * 65536)
# A larger one, whose content is compared.
LARGE = b"GET /mebibyte "
LARGE_REPLY = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % CHUNK + content()
LAST_REPLY = REPLY.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n", 1)


def unlike(head: bytes) -> bytes:
    """Return a reply with fields that no other request has had."""
    target = head.split(b" ", 2)[1]
    return REPLY.replace(b"\r\n\r\n", b'\r\nETag: "%b"\r\nSet-Cookie: seen=%b\r\n\r\n' % (target, target), 1)


def like(head: bytes) -> bytes:
    """Return the reply that all requests with such a target get."""
    if head.startswith(KEPT_LONG):
        return KEPT_LONG_REPLY
    if head.startswith(KEPT):
        return KEPT_REPLY
    return LARGE_REPLY if head.startswith(LARGE) else REPLY


class Responder(asyncio.Protocol):
    """Answers every request head, without a body, with the same reply."""

    def __init__(self) -> None:
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport to answer on."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer each head that is complete."""
        *heads, self._received = (self._received + data).split(b"\r\n\r\n")
        for head in heads:
            if b" HTTP/1.0" in head.partition(b"\r\n")[0] or b"connection: close" in head.lower():
                self._transport.write(LAST_REPLY)
                self._transport.close()
                return
            self._transport.write(unlike(head) if head.startswith(UNLIKE) else like(head))


async def serve(port: int) -> None:
    """Serve on a loopback port until the process is ended."""
    server = await asyncio.get_running_loop().create_server(Responder, "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
