"""``twisted.web.proxy`` as a peer: its ReverseProxyResource as the documentation shows it, with an access log.

It speaks HTTP/1.0 to the backend on a new connection for every request and has no setting for anything else.
Called with three arguments: the port to listen on, the backend's port and the file of the access log.
"""

from __future__ import annotations

import sys
from typing import Any, TextIO

from twisted.internet import reactor
from twisted.web import proxy, server


class PlainLogSite(server.Site):
    """A site whose access log is one growing file, like the other proxies'; the stock one rotates at 1 MB."""

    def _openLogFile(self, path: str | bytes) -> TextIO:  # noqa: N802
        return open(path, "a", 1, newline="\n")


def main() -> None:
    """Serve until a signal comes."""
    # The reactor's interfaces are only known at run time, and these two classes carry no types.
    loop: Any = reactor
    resource: Any = proxy.ReverseProxyResource
    factory: Any = PlainLogSite
    port, backend, log = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    # Held clients are idle for minutes; the default would close them after one.
    site = factory(resource("127.0.0.1", backend, b""), logPath=log, timeout=3600)
    loop.listenTCP(port, site, backlog=4096, interface="127.0.0.1")
    loop.run()


if __name__ == "__main__":
    main()
