"""A check by a request: the status of its reply, and a text in its body."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from txproxy.errors import BadReply, ProxyError
from txproxy.upstream.checks.probe import Check
from txproxy.upstream.checks.probe_socket import Conversation
from txproxy.upstream.tools import MOST_INTERIM_REPLIES
from txproxy.wire.bodies import ChunkedReader, LengthReader, UntilCloseReader
from txproxy.wire.fields import Field, FieldTokenizer
from txproxy.wire.grammar import is_field_value, is_token
from txproxy.wire.h1 import parse_reply_head
from txproxy.wire.heads import HeadGatherer
from txproxy.wire.limits import REPLY_LIMITS

_MOST_BODY_BYTES = 65536
"""What is read of a body at most; a page that tells a server's health is shorter."""
_OURS = frozenset((b"host", b"connection", b"content-length", b"transfer-encoding", b"te", b"trailer", b"upgrade"))
"""Fields that say where the message ends, how the connection is used, or for whom the request is."""


class Expectation(NamedTuple):
    """What the reply must be."""

    statuses: tuple[tuple[int, int], ...]
    """Ranges, both ends included."""
    text: bytes = b""
    """Somewhere in the body; empty: any body will do."""

    def accepts(self, status: int) -> bool:
        """Return whether a status is one of a healthy backend."""
        return any(first <= status <= last for first, last in self.statuses)


def status_range(text: str) -> tuple[int, int]:
    """Return the ends of a range of statuses, both included: of ``200-399`` or ``204``."""
    first, _, last = text.partition("-")
    return int(first), int(last or first)


def check_fields(headers: Mapping[str, str]) -> list[Field]:
    """Return the fields that the request of a check has beside those that every request has.

    :param headers: further fields, or others instead of User-Agent and Accept.
    :raises ValueError: a field is malformed, or one that may not be set.
    """
    fields = {b"user-agent": (b"User-Agent", b"txproxy-health"), b"accept": (b"Accept", b"*/*")}
    for name_text, value_text in headers.items():
        name, value = name_text.encode(), value_text.encode()
        if name.lower() in _OURS or not is_token(name) or not is_field_value(value):
            raise ValueError(f"a health check cannot send the field {name_text!r} with {value_text!r}")
        fields[name.lower()] = (name, value)
    return list(fields.values())


def write_check_request(path: str, host: bytes, headers: Mapping[str, str]) -> bytes:
    """Return the request of a check.

    :param path: path and query.
    :param host: what Host says.
    :param headers: see ``check_fields``, also for what is raised.
    """
    lines = [b"GET %b HTTP/1.1" % path.encode(), b"Host: " + host]
    lines += [b"%b: %b" % field for field in check_fields(headers)]
    return b"\r\n".join((*lines, b"Connection: close\r\n\r\n"))


class BodyJudge:
    """Looks for a text in a body as it comes.

    :param text: empty: any body will do, and only the first of it is read.
    """

    def __init__(self, text: bytes) -> None:
        self._text = text
        self._read_bytes = 0
        self._tail = b""
        """The end of the content so far, which may be the beginning of the text."""

    def verdict(self, content: bytes, is_last: bool) -> str | None:
        """Read on.

        :return: nothing if the body will do, why not, or None if that is not known yet.
        """
        text = self._text
        if text:
            window = self._tail + content[: _MOST_BODY_BYTES - self._read_bytes]
            if text in window:
                return ""
            self._tail = window[-len(text) + 1 :] if len(text) > 1 else b""
        self._read_bytes += len(content)
        if not is_last and self._read_bytes < _MOST_BODY_BYTES:
            return None
        if not text:
            return ""
        shown = repr(text.decode(errors="replace"))
        if is_last:
            return f"the body does not contain {shown}"
        return f"the first {_MOST_BODY_BYTES >> 10} KiB of the body do not contain {shown}"


class HttpConversation(Conversation):
    """Sends one request and judges the reply.

    :param check: what it is for.
    :param request: the whole of it.
    :param expectation: of the reply.
    :param tokenizer: for the reply's fields.
    """

    def __init__(self, check: Check, request: bytes, expectation: Expectation, tokenizer: FieldTokenizer) -> None:
        super().__init__(check)
        self._request = request
        self._expectation = expectation
        self._tokenizer = tokenizer
        self._gatherer = HeadGatherer(REPLY_LIMITS, BadReply, BadReply, BadReply)
        self._interim_replies = 0
        self._reader: LengthReader | ChunkedReader | UntilCloseReader | None = None
        self._judge = BodyJudge(expectation.text)

    def opened(self) -> None:
        """Send the request."""
        if self.has_spoken:
            self._refuse("it spoke before it was asked")
            return
        self.check.waits_for = "reply"
        if getattr(self.transport, "ssl", None) is not None:
            # What the backend has against us is taken in first: a write that fails would destroy it.
            self.transport.has_unread_or_closed()
        self.transport.write(self._request)

    def received(self, data: bytes) -> None:
        """Read the reply."""
        try:
            if self._reader is None:
                self._read_head(data)
            else:
                self._read_body(self._reader, data)
        except ProxyError as error:
            self._refuse(f"malformed reply: {error}")

    def closed(self, cleanly: bool) -> None:
        """The reply may end with the connection."""
        if self._reader is None:
            self.check.fail("closed before its reply" if cleanly else "connection lost before its reply")
        elif cleanly and self._reader.end():
            self._pronounce(self._judge.verdict(b"", True), True)
        else:
            self.check.fail("the reply was cut")

    def _read_head(self, data: bytes) -> None:
        while (found := self._gatherer.feed(data)) is not None:
            head, data = found
            reply = parse_reply_head(head, self._tokenizer, b"GET")
            if reply.status == 101:
                raise BadReply("101 that nobody asked for")
            if reply.status >= 200:
                break
            self._interim_replies += 1
            if self._interim_replies > MOST_INTERIM_REPLIES:
                raise BadReply("interim replies without end")
            self._gatherer = HeadGatherer(REPLY_LIMITS, BadReply, BadReply, BadReply)
        else:
            return
        if not self._expectation.accepts(reply.status):
            self._refuse(f"status {reply.status}")
            return
        self.check.waits_for = "complete reply"
        if reply.chunked:
            self._reader = ChunkedReader(BadReply)
        elif reply.content_length is not None:
            self._reader = LengthReader(reply.content_length)
        else:
            self._reader = UntilCloseReader()
        self._read_body(self._reader, data)

    def _read_body(self, reader: LengthReader | ChunkedReader | UntilCloseReader, data: bytes) -> None:
        content = reader.feed(data) if not reader.done else b""
        self._pronounce(self._judge.verdict(content, reader.done), reader.done)

    def _pronounce(self, verdict: str | None, is_complete: bool) -> None:
        if verdict is not None:
            self.ends_cleanly = is_complete
            if verdict:
                self.check.fail(verdict)
            else:
                self.check.succeed()

    def _refuse(self, reason: str) -> None:
        self.ends_cleanly = False
        self.check.fail(reason)
