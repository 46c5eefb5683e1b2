"""What a connection to a backend carries by HTTP/2: its streams, whose turn it is, and when to look at which.

As a producer it stands for the clients of all its streams: when the backend reads too slowly, content waits in the
streams, and whoever waits is served in turn, a frame each.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from txproxy.errors import InternalError
from txproxy.observe.log import Logger
from txproxy.policy.deadlines import NEVER
from txproxy.upstream.http2_limits import BackendFloods, make_engine
from txproxy.upstream.http2_stream import Http2Stream
from txproxy.upstream.tools import UpstreamTimeouts, UpstreamTools

log = Logger()

_MUCH_FRAMES = 4
"""Of content: what is given to the transport in one piece, so that it can say that it is too much."""


@implementer(IPushProducer)
class CarryingConnection(Protocol):
    """The streams of a connection, their deadlines and their flow control.

    :param backend: told of places that are free again (``release``), of changes (``changed``) and the end (``lost``).
    :param timeouts: of its exchanges.
    :param tools: shared by all.
    :param scheme: what requests on it say: ``http`` or ``https``.
    """

    transport: Any

    def __init__(self, backend: Any, timeouts: UpstreamTimeouts, tools: UpstreamTools, scheme: bytes = b"http") -> None:
        self.backend = backend
        self.timeouts = timeouts
        self.scheme = scheme
        self.clock = tools.clock
        self.now = 0.0
        """When the last bytes came, in seconds."""
        self.reads = 0
        """How often bytes have come: whoever remembers it can tell whether the backend has been silent since."""
        self.content_sent = 0
        """Bytes of requests' content, so far, in all streams."""
        self._floods = BackendFloods()
        self.engine = make_engine(self._floods)
        self._deadlines = tools.deadlines
        self._carried: dict[int, Http2Stream] = {}
        self._waiting: dict[Http2Stream, None] = {}
        """Streams with content that may not be sent yet; the one whose turn it is first."""
        self._fresh: dict[Http2Stream, None] = {}
        """Streams with something to be passed on when everything that has come together is read."""
        self._is_open = False
        self._busy = False
        self.is_full = False
        """The backend reads too slowly: the transport has as much as it may hold."""
        self.unread_when_full = 0
        """Bytes that the backend had not taken from us when that began."""
        self.has_idled = False
        """The backend may have closed it meanwhile, and the news may be on its way."""
        self._idle_until = NEVER
        """When it has been idle, or silent before its greeting, for too long."""
        self.is_reusable = False
        """The backend takes further requests on it."""
        self.in_pool = False
        """The pool knows it, and must be told when it is gone."""
        self.stale_at = NEVER
        self.deadline = self.look_at = NEVER

    # What Twisted calls.

    def pauseProducing(self) -> None:
        """The backend reads too slowly: content has to wait."""
        self.is_full = True
        self.unread_when_full = self.unread()

    def resumeProducing(self) -> None:
        """The backend has caught up."""
        self.is_full = False
        self._pump()
        self.flush()

    def stopProducing(self) -> None:
        """The transport is lost; ``connectionLost`` says the rest."""

    # What streams ask.

    @property
    def may_open(self) -> bool:
        """Whether a stream can be opened: the connection is open still."""
        return self._is_open and self.engine.may_open

    def open(self, stream: Http2Stream, head: bytes, ended: bool) -> None:
        """Open a stream.

        :param head: header block of its request.
        :param ended: that has no body.
        """
        self._floods.request_came()
        stream.id = self.engine.open_stream(head, ended)
        self._carried[stream.id] = stream

    def wait(self, stream: Http2Stream) -> None:
        """Let a stream have its turn when something may be sent."""
        self._waiting[stream] = None

    def wait_no_more(self, stream: Http2Stream) -> None:
        """Let a stream have no turn."""
        self._waiting.pop(stream, None)

    def pass_on_soon(self, stream: Http2Stream) -> None:
        """Have a stream's ``pass_on`` called when everything that has come together is read."""
        self._fresh[stream] = None

    def watch(self, deadline: float) -> None:
        """Look at all streams then, or earlier."""
        if deadline < self.deadline:
            self.deadline = deadline
            if deadline < self.look_at:
                self._deadlines.watch(self)

    def read_clock(self) -> None:
        """Bring ``now`` up to date."""
        self.now = self.clock()

    def unread(self) -> int:
        """Return how many bytes the backend has not taken from us."""
        ask = getattr(self.transport, "unread_bytes", None)
        return self._queued() if ask is None else int(ask())

    def flush(self) -> None:
        """Send what is ready, unless more of it is about to come."""
        if not self._busy and self._is_open:
            data = self.engine.take()
            if data:
                self.transport.write(data)

    # What is to be done with them.

    def _guarded(self, stream: Http2Stream, handler: Any, *arguments: Any) -> Any:
        """Have a stream do something; if that raises, the others must not suffer."""
        try:
            return handler(*arguments)
        except Exception:
            log.failure("an exchange with {name} failed", name=self.backend.name)
            stream.fail(InternalError(logged=True))
            return None

    def _pump(self) -> None:
        """Let all who wait send a frame each, again and again, while the backend takes it."""
        waiting, idle_turns, sent = self._waiting, 0, 0
        while idle_turns < len(waiting) and not self.is_full and self._is_open:
            stream = next(iter(waiting))
            del waiting[stream]
            waiting[stream] = None  # Its next turn comes after all others'.
            if not self._guarded(stream, stream.send_waiting):
                idle_turns += 1
                continue
            idle_turns = 0
            sent += 1
            if sent % _MUCH_FRAMES == 0:
                self.flush()

    def _plan(self) -> None:
        """Look again when the first of all deadlines has come."""
        if self._is_open:
            first = min([stream.deadline for stream in self._carried.values()], default=NEVER)
            # What is leaving has no age any more.
            age = self.stale_at if self.is_reusable else NEVER
            self.deadline = NEVER
            self.watch(min(first, self._idle_until, age))

    def _queued(self) -> int:
        return getattr(self.transport, "queued_bytes", 0)
