"""Clients that read slowly: ``python -m bench.sippers PORT CLIENTS RATE SECONDS``.

Each client keeps one connection, asks for 1 MiB, reads RATE bytes of it in a second, and asks again when it has all of
it. They begin one after the other within the time that one reply takes, so that all parts of a reply are under way at
any moment. When all have begun, ``ready N`` is printed and a line of standard input waited for; then the replies of
SECONDS are counted, and ``done`` is printed with one JSON object; the clients stay until one more line, or its end.

What the kernel takes off the proxy's hands is kept small, or it would hold whole replies and no proxy would have to
wait: the clients' receive buffers are small, and segments as long as on Ethernet, by which the sender's buffer goes.
"""

from __future__ import annotations

import json
import socket
import sys
import time

from bench.bulk import CHUNK, connect
from bench.downloaders import Downloader, WrongReplyError
from bench.holder import source
from bench.paced import quantile

TIMEOUT_S = 30.0
SEGMENT = 1448
RECEIVE_BUFFER = 16384
OPTIONS = (
    (socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER),
    (socket.IPPROTO_TCP, socket.TCP_MAXSEG, SEGMENT),
)
ENDLESS = 1 << 30
# Of one client: its turn to read comes so often in a second.
TURNS = 16
# So many clients read between two looks at the clock.
TOGETHER = 50


class Sippers:
    """All clients together.

    :param sockets: their connections, which must not block; every one begins at another moment.
    :param rate: the bytes that each reads in a second, at most.
    """

    def __init__(self, sockets: list[socket.socket], rate: int) -> None:
        self._clients: list[Downloader | None] = [Downloader(sock) for sock in sockets]
        self._period = max(1, CHUNK * TURNS // rate)
        self._buffer = memoryview(bytearray(rate // TURNS))
        self._turn = 0
        self._due = time.monotonic()
        self.times_ns: list[int] = []
        self.errors: list[str] = []

    @property
    def period_s(self) -> float:
        """The seconds in which all clients have begun, and in which one reads a reply."""
        return self._period / TURNS

    def run(self, seconds: float) -> None:
        """Let all clients read for so long."""
        for _ in range(round(seconds * TURNS)):
            # Spread over the turn, so that reading is as even as that of a thousand machines.
            for first in range(0, len(self._clients), TOGETHER):
                wait_s = self._due + first / len(self._clients) / TURNS - time.monotonic()
                if wait_s > 0:
                    time.sleep(wait_s)
                for index in range(first, min(first + TOGETHER, len(self._clients))):
                    self._sip(index)
            self._due += 1 / TURNS
            self._turn += 1

    def rest(self) -> None:
        """Go on from now, after a while in which nobody has read."""
        self._due = time.monotonic()

    def _sip(self, index: int) -> None:
        client = self._clients[index]
        if client is None or self._turn < index % self._period:
            return
        try:
            if not client.left:
                client.begin(ENDLESS)
            elif took := client.receive(self._buffer):
                self.times_ns.append(took)
        except BlockingIOError:
            return
        except (WrongReplyError, OSError) as error:
            self.errors.append(f"{type(error).__name__}: {error}")
            self._clients[index] = None


def main() -> None:
    """Begin, report, wait, read, report."""
    port, clients, rate, seconds = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])
    sockets = [connect(port, TIMEOUT_S, source(index), OPTIONS) for index in range(clients)]
    for sock in sockets:
        sock.setblocking(False)
    sippers = Sippers(sockets, rate)
    sippers.run(1.1 * sippers.period_s)
    print(f"ready {clients - len(sippers.errors)}", flush=True)
    sys.stdin.readline()
    sippers.times_ns.clear()
    sippers.rest()
    began = time.monotonic()
    sippers.run(seconds)
    report = {
        "done": len(sippers.times_ns),
        "seconds": time.monotonic() - began,
        "errors": len(sippers.errors),
        "first_error": sippers.errors[0] if sippers.errors else "",
        "p50_ms": quantile(sippers.times_ns, 0.5) / 1e3,
    }
    print(f"done {json.dumps(report)}", flush=True)
    # The memory is read while they are all there.
    sys.stdin.readline()


if __name__ == "__main__":
    main()
