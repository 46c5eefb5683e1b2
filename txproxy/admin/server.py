"""The connections of the admin interface: HTTP by twisted.web, with bounds on all that comes."""

from __future__ import annotations

from io import BytesIO
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web import http

from txproxy.admin.guard import Guard, Refusal
from txproxy.admin.resources import Answer, Api, problem
from txproxy.config.model import AdminSettings
from txproxy.observe.log import Logger

log = Logger()

MOST_BODY_BYTES = 64 * 1024
MOST_CONNECTIONS = 64
_MOST_FIELDS = 64
_IDLE_S = 30.0
_REQUEST_S = 10.0
"""From a request's first byte to its last."""
_ANSWER_S = 60.0
_LINGER_S = 2.0
"""How long who sends too much has, to read why it is refused."""
_QUIET_S = 10.0
"""Between two lines of the log about wrong tokens."""

_ALWAYS = (
    (b"Server", b"txproxy"),
    (b"Cache-Control", b"no-store"),
    (b"X-Content-Type-Options", b"nosniff"),
    (b"X-Frame-Options", b"DENY"),
    (b"Referrer-Policy", b"no-referrer"),
    (b"Cross-Origin-Resource-Policy", b"same-origin"),
)


class AdminRequest(http.Request):
    """One request, judged before it is carried out."""

    channel: Any
    content: Any

    def gotLength(self, length: int | None) -> None:  # noqa: N802 - Twisted's name
        """See ``http.Request``."""
        self.content = BytesIO()
        if length is not None and length > MOST_BODY_BYTES:
            self.channel.refuse_body()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802 - Twisted's name
        """See ``http.Request``."""
        if self.content.tell() + len(data) > MOST_BODY_BYTES:
            self.channel.refuse_body()
        else:
            self.content.write(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:  # noqa: N802 - Twisted's name
        """See ``http.Request``; forms mean nothing here."""
        self.content.seek(0)
        self.method, self.uri, self.clientproto = command, path, version
        self.path = path.partition(b"?")[0]
        self.process()

    def process(self) -> None:
        """Judge the request, and carry it out."""
        site: AdminSite = self.channel.factory
        path = self.path
        refusal = site.guard.judge(self)
        asked = site.api.find(self.method, path)
        if refusal is None and isinstance(asked, Refusal):
            refusal = site.guard.judge_caller(self) or asked
        if refusal is None and not isinstance(asked, Refusal):
            if not asked[0].is_open:
                refusal = site.guard.judge_caller(self)
            if refusal is None and asked[0].changes:
                refusal = site.guard.judge_change(self)
        if refusal is not None or isinstance(asked, Refusal):
            assert refusal is not None
            site.refused(self, refusal)
            self.answer(problem(*refusal))
            return
        call, found = asked
        accept = b", ".join(self.requestHeaders.getRawHeaders(b"Accept") or []).decode("latin-1")
        if call.changes:
            log.info("admin: {method} {path}", method=self.method.decode("latin-1"), path=path.decode("latin-1")[:500])
        done = site.api.carry_out(call, found, self.content.read(), accept)
        patience = site.reactor.callLater(_ANSWER_S, done.cancel)
        done.addErrback(self._broken)
        done.addCallback(self._settle, patience)

    def _broken(self, failure: Failure) -> Answer:
        if failure.check(CancelledError):
            return problem(504, f"this has not ended within {_ANSWER_S:g} s")
        log.failure("what was asked of the admin interface has failed", failure)
        return problem(500, "this has failed; the log says why")

    def _settle(self, answer: Answer, patience: Any) -> None:
        if patience.active():
            patience.cancel()
        self.answer(answer)

    def answer(self, answer: Answer) -> None:
        """Send an answer, unless whoever asked is gone."""
        if self.channel is None:
            return
        self.setResponseCode(answer.status)
        for name, value in (*_ALWAYS, *answer.fields):
            self.responseHeaders.addRawHeader(name, value)
        self.responseHeaders.setRawHeaders(b"Content-Type", [answer.content_type])
        self.responseHeaders.setRawHeaders(b"Content-Length", [b"%d" % len(answer.body)])
        self.responseHeaders.setRawHeaders(b"Date", [http.datetimeToString()])
        if self.channel.factory.is_closing:
            self.channel.persistent = 0
            self.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        self.write(answer.body)
        self.finish()


class AdminChannel(http.HTTPChannel):
    """One connection."""

    requestFactory = AdminRequest  # noqa: N815 - Twisted's name
    maxHeaders = _MOST_FIELDS  # noqa: N815
    abortTimeout = 5  # noqa: N815
    factory: AdminSite
    transport: Any

    def __init__(self) -> None:
        super().__init__()
        self._deadline: Any = None
        self._is_refused = False

    @property
    def is_busy(self) -> bool:
        """Whether a request is being answered; one that has not come wholly does not count."""
        return bool(self._handlingRequest)

    def connectionMade(self) -> None:
        """See ``Protocol``."""
        super().connectionMade()
        self.factory.channels[self] = None

    def dataReceived(self, data: bytes) -> None:
        """See ``Protocol``."""
        if self._is_refused:
            return
        self._expect()
        super().dataReceived(data)
        if self._buffer:
            self._expect()  # The beginning of the next request came with the end of this one.

    def lineReceived(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """See ``LineReceiver``."""
        if not self._is_refused:
            self._expect()
            super().lineReceived(line)

    def _expect(self) -> None:
        if self._deadline is None and not self._handlingRequest:
            self._deadline = self.factory.reactor.callLater(_REQUEST_S, self._give_up)

    def _give_up(self) -> None:
        self._deadline = None
        self.transport.abortConnection()

    def allContentReceived(self) -> None:  # noqa: N802 - Twisted's name
        """See ``HTTPChannel``."""
        self._forget_deadline()
        if not self._is_refused:
            super().allContentReceived()

    def _send100Continue(self) -> None:  # noqa: N802 - Twisted's name
        if not self._is_refused:
            super()._send100Continue()

    def refuse_body(self) -> None:
        """Say that a body is too large, and take no more of it."""
        if self._is_refused:
            return
        self._is_refused = True
        self._forget_deadline()
        body = problem(413, f"a body has at most {MOST_BODY_BYTES // 1024} KiB").body
        fields = (*_ALWAYS, (b"Content-Type", b"application/json"), (b"Connection", b"close"))
        lines = b"".join(b"%b: %b\r\n" % field for field in fields)
        head = b"HTTP/1.1 413 Request Entity Too Large\r\n%bContent-Length: %d\r\n\r\n" % (lines, len(body))
        self.transport.write(head + body)
        # To close at once would be a reset, and what was said might never be read.
        self.transport.unregisterProducer()
        self.transport.loseWriteConnection()
        self._deadline = self.factory.reactor.callLater(_LINGER_S, self._give_up)

    def _forget_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def timeoutConnection(self) -> None:  # noqa: N802 - Twisted's name
        """See ``TimeoutMixin``; without a line in the log."""
        self._abortingCall = self.callLater(self.abortTimeout, self.forceAbortClient)
        self.loseConnection()

    def forceAbortClient(self) -> None:  # noqa: N802 - Twisted's name
        """See ``HTTPChannel``; without a line in the log."""
        self._abortingCall = None
        self.transport.abortConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """See ``Protocol``."""
        self._forget_deadline()
        self.factory.channels.pop(self, None)
        super().connectionLost(reason)
        self.factory.has_lost_one()


class AdminSite(http.HTTPFactory):
    """Makes connections, and holds what they share.

    :param api: what can be asked.
    :param guard: who may ask.
    :param reactor: provides IReactorTime.
    """

    protocol = AdminChannel  # type: ignore[assignment]
    noisy = False
    reactor: Any

    def __init__(self, api: Api, guard: Guard, reactor: Any) -> None:
        super().__init__(timeout=_IDLE_S, reactor=reactor)
        self.api = api
        self.guard = guard
        self.channels: dict[AdminChannel, None] = {}
        """The oldest first."""
        self.is_closing = False
        """Each connection ends with the answer that it is waiting for."""
        self._when_empty: Deferred[None] | None = None
        self._quiet_until = 0.0

    def startFactory(self) -> None:
        """Twisted's log of requests is not kept."""

    def stopFactory(self) -> None:
        """See ``startFactory``."""

    def log(self, request: http.Request) -> None:
        """See ``startFactory``."""

    def buildProtocol(self, addr: Any) -> Any:
        """See ``Factory``; in a crowd, whoever has been idle longest gives place."""
        if len(self.channels) >= MOST_CONNECTIONS:
            idle = next((each for each in self.channels if not each.is_busy), None)
            if idle is None:
                return None
            self.channels.pop(idle)
            idle.transport.abortConnection()
        return super().buildProtocol(addr)

    def refused(self, request: http.Request, refusal: Refusal) -> None:
        """Take note of a request that was refused; of wrong tokens the log has a line now and then."""
        if refusal.status == 401 and self.reactor.seconds() >= self._quiet_until:
            self._quiet_until = self.reactor.seconds() + _QUIET_S
            log.warn("admin: {peer} is refused: {error}", peer=request.getClientAddress(), error=refusal.error)

    def change(self, settings: AdminSettings) -> None:
        """Judge by other settings from here on, also on connections that there are."""
        self.guard = Guard(settings)

    def close(self) -> Deferred[None]:
        """End all connections, those that wait for an answer when they have it.

        :return: fires when there are none.
        """
        self.is_closing = True
        self._when_empty = Deferred()
        for channel in list(self.channels):
            if not channel.is_busy:
                channel.loseConnection()
        self.has_lost_one()
        return self._when_empty

    def cut(self) -> None:
        """End all connections at once."""
        for channel in list(self.channels):
            channel.transport.abortConnection()

    def has_lost_one(self) -> None:
        """Take note that a connection has ended."""
        if self._when_empty is not None and not self.channels and not self._when_empty.called:
            self._when_empty.callback(None)
