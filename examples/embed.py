"""The proxy inside another Twisted application, beside a service of its own: ``python examples/embed.py``."""

from __future__ import annotations

import sys
from typing import Any

from twisted.application.internet import StreamServerEndpointService
from twisted.application.service import IService, MultiService
from twisted.internet.endpoints import serverFromString
from twisted.logger import globalLogBeginner, textFileLogObserver
from twisted.web.resource import Resource
from twisted.web.server import Site

from txproxy import build
from txproxy.config.load import load_text

CONFIG = """
[[listener]]
name = "front"
address = "127.0.0.1:8080"

[[route]]
name = "hello"
cluster = "hello"

[cluster.hello]
backends = [{ address = "127.0.0.1:8081" }]
"""


class Hello(Resource):
    """What the application itself serves, behind the proxy."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:  # noqa: N802 - named by twisted.web
        """Greet."""
        return b"hello from behind the proxy\n"


def make_application(reactor: Any, config: str = CONFIG, backend: str = "tcp:8081:interface=127.0.0.1") -> IService:
    """Return both services as one.

    The proxy is ``both.getServiceNamed("txproxy")``: while it runs, its ``clusters["hello"]`` drains, adds and removes
    backends and tells their state.
    """
    both = MultiService()
    StreamServerEndpointService(serverFromString(reactor, backend), Site(Hello())).setServiceParent(both)
    build(load_text(config), reactor).setServiceParent(both)
    return both


def main() -> None:
    """Serve until Ctrl-C."""
    from twisted.internet import reactor

    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    application: Any = make_application(reactor)
    application.privilegedStartService()
    application.startService()
    running: Any = reactor
    running.addSystemEventTrigger("before", "shutdown", application.stopService)
    running.run()


if __name__ == "__main__":
    main()
