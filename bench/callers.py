"""TLS connections with one request each: ``python -m bench.callers PORT SECONDS CALLERS full|resumed``.

CALLERS processes open one connection after the other, so that as many handshakes are under way at any time. With
``resumed`` each of them keeps the latest session that it was given and offers it with its next connection, as browsers
do. A caller reads until the proxy closes, as the tickets of TLS 1.3 come after the handshake. Prints one JSON object.
"""

from __future__ import annotations

import json
import multiprocessing
import ssl
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass

from bench import tls_client
from bench.bulk import BulkError
from bench.certificate import SERVER_NAME
from bench.client import ReplyError

TIMEOUT_S = 10.0
# After so many a caller gives up: the sample is not valid anyway.
MAX_ERRORS = 10
REQUEST = f"GET / HTTP/1.1\r\nHost: {SERVER_NAME}\r\nConnection: close\r\n\r\n".encode()


@dataclass(slots=True)
class Calls:
    """What one caller or all of them did.

    :ivar done: connections with a complete handshake and a complete reply.
    :ivar resumed: those of them that went on with an earlier session.
    :ivar errors: connections that were something else.
    :ivar first_error: what the first of these was.
    """

    done: int = 0
    resumed: int = 0
    errors: int = 0
    first_error: str = ""

    def add(self, other: Calls) -> None:
        """Count what another caller did."""
        self.done += other.done
        self.resumed += other.resumed
        self.errors += other.errors
        self.first_error = self.first_error or other.first_error


def call(port: int, context: ssl.SSLContext, session: ssl.SSLSession | None) -> tuple[bool, ssl.SSLSession | None]:
    """Open a connection, ask once and read until its end.

    :param session: one to resume.
    :return: whether the session was resumed, and one for the next time.
    """
    with tls_client.connect(port, TIMEOUT_S, context=context, session=session) as sock:
        sock.sendall(REQUEST)
        tls_client.read_reply(sock)
        if sock.recv(1):
            raise ReplyError("more came than the reply")
        return bool(sock.session_reused), sock.session


def work(port: int, begins: float, ends: float, *, resume: bool) -> Calls:
    """Call from one moment of the monotonic clock to another.

    :param resume: offer the latest session with each connection.
    """
    calls, context = Calls(), tls_client.client_context()
    session: ssl.SSLSession | None = None
    time.sleep(max(0.0, begins - time.monotonic()))
    while time.monotonic() < ends and calls.errors < MAX_ERRORS:
        try:
            resumed, latest = call(port, context, session)
        except (OSError, BulkError, ReplyError) as error:
            calls.errors += 1
            calls.first_error = calls.first_error or f"{type(error).__name__}: {error}"
            continue
        calls.done += 1
        calls.resumed += resumed
        if resume:
            session = latest
    return calls


def main() -> None:
    """Call with several processes and print what they did."""
    port, seconds, callers, resume = int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3]), sys.argv[4] == "resumed"
    total = Calls()
    with ProcessPoolExecutor(callers, multiprocessing.get_context("fork")) as pool:
        # Long enough for the processes to be there.
        begins = time.monotonic() + 0.02 * callers
        ends = begins + seconds
        for future in [pool.submit(work, port, begins, ends, resume=resume) for _ in range(callers)]:
            total.add(future.result())
    print(json.dumps(asdict(total) | {"seconds": time.monotonic() - begins}))


if __name__ == "__main__":
    main()
