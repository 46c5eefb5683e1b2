"""Holds idle keep-alive connections: ``python -m bench.holder PORT COUNT [tls]``.

Each connection has had one request, as a real idle one has. Prints ``held N``, waits for a line (or the end) of
standard input, prints ``alive N``, the number that nobody closed meanwhile, and ends.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Sequence

from bench import tls_client
from bench.bulk import connect
from bench.client import ask

TIMEOUT_S = 30.0

# Never more at once than the load generator's connections, so that the proxy's pool does not grow for it.
BATCH = 32


def source(index: int) -> str:
    """Return one of four loopback addresses to come from, so that source ports cannot run out."""
    return f"127.0.0.{1 + index % 4}"


def rested(port: int, sources: Sequence[str], *, tls: bool) -> list[socket.socket]:
    """Return a connection from each of *sources* that has had one request."""
    if tls:
        return [tls_client.rested(port, TIMEOUT_S, source) for source in sources]
    sockets = [connect(port, TIMEOUT_S, source) for source in sources]
    ask(sockets)
    return sockets


def is_alive(sock: socket.socket) -> bool:
    """Whether the peer has neither closed the connection nor sent anything on it."""
    try:
        sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def main() -> None:
    """Hold, report, wait, report, leave."""
    port, count, tls = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] == ["tls"]
    held: list[socket.socket] = []
    while len(held) < count:
        sources = [source(len(held) + index) for index in range(min(BATCH, count - len(held)))]
        held += rested(port, sources, tls=tls)
    print(f"held {len(held)}", flush=True)
    sys.stdin.readline()
    print(f"alive {sum(map(is_alive, held))}", flush=True)
    for sock in held:
        sock.close()


if __name__ == "__main__":
    main()
