"""A check by a request in HTTP/2: what ``probe_http`` does, for backends that speak nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure

from txproxy.errors import BadReply, ProxyError
from txproxy.upstream.checks.probe import Check
from txproxy.upstream.checks.probe_http import BodyJudge, Expectation, check_fields
from txproxy.upstream.checks.probe_socket import Conversation
from txproxy.upstream.http2_limits import BackendFloods, make_engine
from txproxy.upstream.http2_stream import code_name
from txproxy.upstream.tools import MOST_INTERIM_REPLIES
from txproxy.wire.http2 import events
from txproxy.wire.http2.compression import encode_fields
from txproxy.wire.http2.replies import parse_reply, parse_reply_trailers

_MOST_EARLY_BYTES = 65536


def write_check_block(path: str, host: bytes, headers: Mapping[str, str], scheme: bytes) -> bytes:
    """Return the header block of a check's request.

    :param path: path and query.
    :param host: what :authority says.
    :param headers: see ``probe_http.check_fields``, also for what is raised.
    :param scheme: ``http`` or ``https``.
    """
    pseudo = [(b":method", b"GET"), (b":scheme", scheme), (b":authority", host), (b":path", path.encode())]
    return encode_fields([*pseudo, *check_fields(headers)])


class Http2Conversation(Conversation):
    """Sends one request and judges the reply.

    :param check: what it is for.
    :param block: header block of the request.
    :param expectation: of the reply.
    """

    def __init__(self, check: Check, block: bytes, expectation: Expectation) -> None:
        super().__init__(check)
        self._block = block
        self._expectation = expectation
        self._engine = make_engine(BackendFloods())
        self._judge = BodyJudge(expectation.text)
        self._stream_id = 0
        self._early = b""
        """What came before ``begin``: a backend may say its SETTINGS first."""
        self._interim_replies = 0
        self._has_head = False
        self._length_left: int | None = None
        """Of the reply's content; None if that was not said."""

    def dataReceived(self, data: bytes) -> None:
        """Listen; nothing that comes early is lost."""
        if self._has_begun:
            super().dataReceived(data)
        elif len(self._early) < _MOST_EARLY_BYTES:
            self._early += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Leave nothing for the garbage collector."""
        super().connectionLost(reason)
        self._engine.release()

    def opened(self) -> None:
        """Send the request; how many a backend takes need not be known for one."""
        self.check.waits_for = "reply"
        if getattr(self.transport, "ssl", None) is not None:
            # What the backend has against us is taken in first: a write that fails would destroy it.
            self.transport.has_unread_or_closed()
        self._engine.start()
        self._stream_id = self._engine.open_stream(self._block, True)
        self._flush()
        if self._early:
            self.received(self._early)

    def received(self, data: bytes) -> None:
        """Read the reply."""
        try:
            for event in self._engine.receive(data, 0.0):
                self._take(event)
                if self.check.has_ended:
                    return
        except ProxyError as error:
            self._pronounce(f"malformed reply: {error}", False)
            return
        self._flush()

    def closed(self, cleanly: bool) -> None:
        """A reply does not end with the connection."""
        if self._has_head:
            self.check.fail("the reply was cut")
        else:
            self.check.fail("closed before its reply" if cleanly else "connection lost before its reply")

    def close(self) -> None:
        """Close the connection, and say so."""
        if self._is_open and self.ends_cleanly:
            self._engine.go_away(0)
            self._flush()
        super().close()

    def _take(self, event: Any) -> None:
        if isinstance(event, events.ConnectionFailed):
            self._pronounce(f"it speaks no HTTP/2, or a wrong one: {event.words}", False)
        elif isinstance(event, events.PeerGoesAway):
            if event.last_id < self._stream_id:
                self._pronounce("it goes away", True)
        elif isinstance(event, events.HeadReceived):
            self._read_head(event)
        elif isinstance(event, events.DataReceived):
            self._engine.consumed(event.stream_id, event.credit)
            self._read_content(event.data, event.ended)
        elif isinstance(event, events.TrailersReceived):
            parse_reply_trailers(event.fields)
            self._read_content(b"", True)
        elif isinstance(event, events.StreamReset):
            self._pronounce(f"the stream was reset ({code_name(event.code)})", True)

    def _read_head(self, event: events.HeadReceived) -> None:
        reply = parse_reply(event.fields, event.ended, b"GET")
        if reply.status < 200:
            self._interim_replies += 1
            if self._interim_replies > MOST_INTERIM_REPLIES:
                raise BadReply("interim replies without end")
            return
        if not self._expectation.accepts(reply.status):
            self._pronounce(f"status {reply.status}", event.ended)
            return
        self._has_head = True
        self._length_left = reply.content_length
        self.check.waits_for = "complete reply"
        if event.ended:
            self._pronounce(self._judge.verdict(b"", True), True)

    def _read_content(self, data: bytes, ended: bool) -> None:
        left = self._length_left
        if left is not None:
            self._length_left = left = left - len(data)
            if left < 0 or ended and left:
                raise BadReply(f"{'more' if left < 0 else 'less'} content than Content-Length says")
        self._pronounce(self._judge.verdict(data, ended), ended)

    def _pronounce(self, verdict: str | None, is_complete: bool) -> None:
        """End the check, if there is a verdict: a reason, or nothing if all is well."""
        if verdict is not None:
            self.ends_cleanly = is_complete
            if verdict:
                self.check.fail(verdict)
            else:
                self.check.succeed()

    def _flush(self) -> None:
        data = self._engine.take()
        if data:
            self.transport.write(data)
