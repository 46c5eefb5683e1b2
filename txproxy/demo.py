"""Sample backends, so that one command shows a proxy at work."""

from __future__ import annotations

import sys
from typing import Any

from twisted.application.service import Service
from twisted.internet.task import LoopingCall
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

from txproxy.observe.log import Logger

log = Logger()

_BACKENDS = 3
_TICKS = 10


class _Page(Resource):
    """Says which backend answers, and what it was asked."""

    isLeaf = True

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def render(self, request: Any) -> Any:
        """Answer any method on any path; ``/events`` sends an event each second."""
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        if request.path == b"/events":
            return self._events(request)
        lines = [f"backend {self._name}", "", f"{request.method.decode()} {request.uri.decode('latin-1')}"]
        for name, values in sorted(request.requestHeaders.getAllRawHeaders()):
            lines += [f"{name.decode('latin-1')}: {value.decode('latin-1')}" for value in values]
        body = request.content.read()
        if body:
            lines += ["", f"{len(body)} bytes of content"]
        return ("\n".join(lines) + "\n").encode("latin-1")

    def _events(self, request: Any) -> Any:
        request.setHeader(b"Content-Type", b"text/event-stream")
        count = iter(range(1, _TICKS + 1))

        def tick() -> None:
            number = next(count, None)
            if number is None:
                loop.stop()
                request.finish()
            else:
                request.write(f"data: event {number} of {_TICKS} from backend {self._name}\n\n".encode())

        loop = LoopingCall(tick)
        request.notifyFinish().addErrback(lambda _: loop.stop() if loop.running else None)
        loop.start(1)
        return NOT_DONE_YET


class _QuietSite(Site):
    """Logs nothing: the log shows what the proxy says."""

    noisy = False

    def log(self, request: Any) -> None:
        """Leave the request to the proxy's access log."""


class Demo:
    """Backends on free ports of the loopback address.

    :param reactor: the one to run on.
    """

    def __init__(self, reactor: Any) -> None:
        self._ports = []
        for number in range(_BACKENDS):
            site = _QuietSite(_Page(chr(ord("a") + number)))
            self._ports.append(reactor.listenTCP(0, site, interface="127.0.0.1"))
        self.addresses = [f"127.0.0.1:{port.getHost().port}" for port in self._ports]

    def around(self, service: Any) -> Any:
        """Return a service that stops the sample backends after the proxy."""
        return _DemoService(service, self._ports)

    def show(self, service: Any) -> None:
        """Say what to try, once the proxy listens."""
        service.when_listening = _say_what_to_try


def _say_what_to_try(url: str) -> None:
    print(
        f"\n{_BACKENDS} sample backends are behind {url}. Try:\n"
        f"  curl {url}/            a page; again and again, each backend in turn\n"
        f"  curl -v {url}/         what the proxy adds to the reply\n"
        f"  curl -N {url}/events   an event each second, as it comes\n"
        f"  curl -d hello {url}/   a body\n"
        "Ctrl-C stops.\n",
        file=sys.__stdout__,
        flush=True,
    )


class _DemoService(Service):
    name = "txproxy"
    log_file: Any = None

    def __init__(self, proxy: Any, ports: list[Any]) -> None:
        self._proxy = proxy
        self._ports = ports
        self.config = proxy.config
        self.cut_short = proxy.cut_short
        self.reload = proxy.reload
        self.sockets, self.own_files, self.hand_over = proxy.sockets, proxy.own_files, proxy.hand_over
        self.upgrade: Any = None
        self.notifier: Any = None
        self.when_bound: Any = None
        self.when_ready: Any = None

    def reopen_logs(self) -> None:
        """Open the proxy's logs anew."""
        self._proxy.log_file = self.log_file
        self._proxy.reopen_logs()

    def privilegedStartService(self) -> None:
        """Bind the proxy's port."""
        self._proxy.privilegedStartService()
        if self.when_bound is not None:
            self.when_bound()

    def startService(self) -> None:
        """Begin to serve."""
        super().startService()
        self._proxy.startService()
        if self.when_ready is not None:
            self.when_ready()

    def stopService(self) -> Any:
        """Stop the proxy, then what stands behind it."""
        super().stopService()
        return self._proxy.stopService().addCallback(lambda _: [port.stopListening() for port in self._ports] and None)
