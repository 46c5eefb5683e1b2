"""What a connection to a backend waits for, and for how long; and how either side has the other wait.

As a producer a connection stands for the client's transport: when the backend reads too slowly, this connection's
transport pauses it, and it shuts the valve of the client.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol
from zope.interface import implementer

from txproxy.bridge.valve import Reason, Valve
from txproxy.exchange import Exchange
from txproxy.policy.deadlines import NEVER
from txproxy.upstream.tools import UpstreamTimeouts, UpstreamTools
from txproxy.wire.bodies import ChunkedReader, LengthReader, UntilCloseReader
from txproxy.wire.heads import HeadGatherer


@implementer(IPushProducer)
class PatientConnection(Protocol):
    """The state of a connection, its deadline and its flow control.

    :param backend: takes it back with ``release`` and ``lost``.
    :param timeouts: of its exchanges.
    :param tools: shared by all.
    """

    valve: Valve
    transport: Any

    # On the class: with more than 29 attributes CPython 3.11 gives up the compact form of an instance's, which makes
    # each access slower.
    refusal = ""
    """Why the backend did not accept us, if it said so before the first request."""

    def __init__(self, backend: Any, timeouts: UpstreamTimeouts, tools: UpstreamTools) -> None:
        self._backend = backend
        self._timeouts = timeouts
        self._clock = tools.clock
        self._deadlines = tools.deadlines
        self._parse = tools.parser.parse
        self._exchange: Exchange | None = None
        self._gatherer: HeadGatherer | None = None
        self._reader: LengthReader | ChunkedReader | UntilCloseReader | None = None
        self._held = b""
        """What came while a stage was deciding on the reply's head."""
        self._held_reader: LengthReader | ChunkedReader | UntilCloseReader | None = None
        self._request_sent = False
        self._awaits_continue = False
        """The client waits to be told to send its body."""
        self._interim_replies = 0
        self._reply_begun = False
        self._has_idled = False
        """The backend may have closed it meanwhile, and the news may be on its way."""
        self._unread_before = 0
        self.has_spoken = False
        """Bytes came that no request had asked for, before the first."""
        self._patience_s = timeouts.between_bytes_s
        self._is_full = False
        self._is_open = False
        self.is_reusable = False
        """The next request can be sent on it."""
        self.in_pool = False
        """The pool knows it, and must be told when it is gone."""
        self.requests = 0
        self.stale_at = NEVER
        self.deadline = NEVER
        self.look_at = NEVER

    def pauseProducing(self) -> None:
        """The backend reads too slowly: the client has to wait."""
        self._is_full = True
        exchange = self._exchange
        if exchange is not None and not self._request_sent:
            exchange.client.valve.shut(Reason.PEER_IS_SLOW)
            self._unread_before = self._unread()
            self._set_deadline(exchange)

    def resumeProducing(self) -> None:
        """The backend has caught up: the client may go on."""
        self._is_full = False
        exchange = self._exchange
        if exchange is not None:
            exchange.client.valve.open(Reason.PEER_IS_SLOW)
            self._set_deadline(exchange)

    def stopProducing(self) -> None:
        """The transport is lost; ``connectionLost`` says the rest."""

    def pause_reply(self) -> None:
        """The client reads too slowly: the backend has to wait, and is not blamed for it."""
        self.valve.shut(Reason.PEER_IS_SLOW)
        if self._exchange is not None:
            self._set_deadline(self._exchange)

    def resume_reply(self) -> None:
        """The client has caught up."""
        self.valve.open(Reason.PEER_IS_SLOW)
        if self._exchange is not None:
            self._set_deadline(self._exchange)

    def expect_idle(self, now: float) -> None:
        """Close after a while unless there is another exchange."""
        self._has_idled = True
        self.deadline = now + self._timeouts.idle_s
        if self.deadline < self.look_at:
            self._deadlines.watch(self)

    def _set_deadline(self, exchange: Exchange) -> None:
        """Give the backend its time if it has the next word, and none if the client has it."""
        if exchange.reply is not None:
            if self.valve.reasons:
                self.deadline = NEVER
            else:
                self._expect(self._patience_s)
        elif self._request_sent or self._is_full or self._awaits_continue:
            self._expect(self._timeouts.first_byte_s)
        else:
            self.deadline = NEVER

    def _queued(self) -> int:
        return getattr(self.transport, "queued_bytes", 0)

    def _unread(self) -> int:
        # What waits here moves only when a third of the kernel's buffer, which may hold megabytes, is free again.
        ask = getattr(self.transport, "unread_bytes", None)
        return self._queued() if ask is None else int(ask())

    def _reads_on(self) -> bool:
        before, self._unread_before = self._unread_before, self._unread()
        return self._unread_before < before

    def _expect(self, patience_s: float) -> None:
        self.deadline = self._clock() + patience_s
        if self.deadline < self.look_at:
            self._deadlines.watch(self)
