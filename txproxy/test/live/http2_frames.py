"""A client of HTTP/2 that sends any bytes on a blocking socket, and what a conformance test may expect in return."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Self

from .client import DEADLINE_S, Client
from .http2_bytes import (
    ACK,
    HEAD_BYTES,
    PREFACE,
    WINDOW_BYTES,
    Code,
    Frame,
    Kind,
    Setting,
    Splitter,
    block_of,
    headers,
    ping,
    settings,
    window_update,
)
from .http2_judge import Http2Judge, Http2Reply
from .tls_client import TlsClient

Part = bytes | Callable[["FrameClient"], bytes]
"""Bytes to be sent, or what makes them for a client."""
Fields = tuple[tuple[bytes, bytes], ...]


def request_fields(
    scheme: bytes,
    *more: tuple[bytes, bytes],
    method: bytes = b"GET",
    path: bytes = b"/",
    authority: bytes = b"a.example",
) -> Fields:
    """Return the fields of a well-formed request.

    :param more: further fields.
    """
    return (
        (b":method", method),
        (b":scheme", scheme),
        (b":path", path),
        (b":authority", authority),
        *more,
    )


class FrameClient:
    """A connection, to be used as a context manager; ``judge`` watches what the server sends.

    :param transport: a connection, with TLS or without.
    :param scheme: of the requests.
    :param strict: connection errors must come as GOAWAY, followed by a close; a stream error leaves the connection
        alive. Otherwise a connection that ends is enough for both, as it is for h2spec.
    :param timeout_s: how long each expectation waits.
    """

    def __init__(
        self, transport: Client, scheme: bytes = b"http", *, strict: bool = True, timeout_s: float = DEADLINE_S
    ) -> None:
        self.transport = transport
        self.scheme = scheme
        self.strict = strict
        self.timeout_s = timeout_s
        self.judge = Http2Judge()
        self.frames: list[Frame] = []
        """All that came."""
        self._read = self._split = 0
        self._incoming, self._outgoing = Splitter(), Splitter()
        self._pings = 0

    @classmethod
    def connect(cls, port: int, tls: ssl.SSLContext | None = None, receive_buffer: int = 0) -> Self:
        """Connect to a port of 127.0.0.1.

        :param tls: settings that offer ``h2``; None: plain.
        """
        if tls is None:
            return cls(Client(port, receive_buffer=receive_buffer))
        transport = TlsClient(port, context=tls, receive_buffer=receive_buffer)
        assert transport.tls.selected_alpn_protocol() == "h2"
        return cls(transport, b"https")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.transport.close()

    # Sending

    def send_raw(self, data: bytes) -> bool:
        """Send bytes that the judge does not look at; see ``Client.send``."""
        return self.transport.send(data, self.timeout_s)

    def send(self, *parts: Part) -> bool:
        """Send all parts at once; return False if the server went away before it took them."""
        sent = b"".join(part if isinstance(part, bytes) else part(self) for part in parts)
        for frame in self._outgoing.feed(sent):
            self.judge.sent(frame)
        return self.send_raw(sent)

    def handshake(self, *pairs: tuple[int, int]) -> None:
        """Exchange prefaces and settings.

        :param pairs: parameters of our first SETTINGS.
        """
        self.send_raw(PREFACE)
        self.send(settings(*(pairs or ((Setting.INITIAL_WINDOW_SIZE, WINDOW_BYTES),))))
        awaited = {0, ACK}
        while awaited:
            awaited.discard(self.expect("the server's SETTINGS", lambda it: it.kind == Kind.SETTINGS).flags & ACK)
        self.send(settings(ack=True))

    def change(self, *pairs: tuple[int, int]) -> None:
        """Send SETTINGS and wait until they hold."""
        self.send(settings(*pairs))
        self.expect_settings_ack()

    def credit(self, increment: int, *streams: int) -> None:
        """Widen the windows of the connection and of streams."""
        self.send(b"".join(window_update(stream, increment) for stream in (0, *streams)))

    def upload(self, stream: int, *pieces: bytes) -> None:
        """Send frames of DATA on a stream as the server's windows allow."""
        for piece in pieces:
            length = len(piece) - HEAD_BYTES
            while self.judge.our_room(stream) < length:
                if self._next(f"window for {length} bytes on {stream}") is None:
                    raise AssertionError(f"the connection ended before all was sent; {self.story()}")
            self.send(piece)

    # Receiving

    def _split_received(self) -> None:
        received = self.transport.received
        if len(received) > self._split:
            fresh = bytes(received[self._split :])
            self._split = len(received)
            for frame in self._incoming.feed(fresh):
                self.judge.received(frame)
                self.frames.append(frame)

    def next_frame(self, timeout_s: float | None = None) -> Frame | None:
        """Return the next frame; None if the connection ended.

        :raises TimeoutError: if nothing came in time.
        """

        def arrived() -> bool:
            self._split_received()
            return len(self.frames) > self._read

        if self.transport.read_until(arrived, self.timeout_s if timeout_s is None else timeout_s):
            self._read += 1
            return self.frames[self._read - 1]
        if self.transport.closed:
            return None
        raise TimeoutError

    def expect(self, what: str, matches: Callable[[Frame], bool]) -> Frame:
        """Read on until a frame matches, and return it.

        :param what: the frame, in words.
        :raises AssertionError: if it has not come in time, or the connection ended.
        """
        while (frame := self._next(what)) is not None:
            if matches(frame):
                return frame
        raise AssertionError(f"the connection ended before {what}; {self.story()}")

    def _next(self, what: str) -> Frame | None:
        try:
            return self.next_frame()
        except TimeoutError:
            raise AssertionError(f"no {what} within {self.timeout_s} s; {self.story()}") from None

    def story(self) -> str:
        """Return in words what came so far."""
        last = ", ".join(map(str, self.frames[-12:]))
        how = "reset" if self.transport.was_reset else "closed" if self.transport.closed else "open"
        return f"{len(self.frames)} frames came, the last: {last or '-'}; the connection is {how}"

    # What may be expected

    def expect_ping_ack(self, content: bytes = b"") -> Frame:
        """Send PING and read until it is answered; whatever was sent before has then been dealt with."""
        self._pings += 1
        content = content or b"ping%04d" % self._pings
        self.send(ping(content))
        return self.expect_answered_ping(content)

    def expect_answered_ping(self, content: bytes = bytes(8)) -> Frame:
        """Read until a PING that was sent is answered."""
        return self.expect(
            f"answer to PING {content!r}", lambda it: it.kind == Kind.PING and it.has(ACK) and it.payload == content
        )

    def expect_settings_ack(self) -> Frame:
        """Read until the next SETTINGS, which must be an acknowledgement."""
        found = self.expect("SETTINGS", lambda it: it.kind == Kind.SETTINGS)
        assert found.has(ACK), f"SETTINGS without ACK; {self.story()}"
        return found

    def expect_headers(self, stream: int) -> Frame:
        """Read until HEADERS on a stream."""
        return self.expect(f"HEADERS on {stream}", lambda it: it.is_a(Kind.HEADERS, stream))

    def expect_data(self, stream: int, length: int) -> Frame:
        """Read until DATA with content on a stream, which must have this length."""
        found = self.expect(f"DATA on {stream}", lambda it: it.is_a(Kind.DATA, stream) and bool(it.payload))
        assert len(found.payload) == length, f"not {length} bytes: {found}; {self.story()}"
        return found

    def expect_end(self, stream: int) -> Http2Reply:
        """Read until a stream ends, and return what came on it."""
        while not (stream in self.judge.streams and self.judge.streams[stream].is_over):
            if self._next(f"end of stream {stream}") is None:
                raise AssertionError(f"the connection ended before stream {stream}; {self.story()}")
        reply = self.judge.streams[stream]
        # A server may add a reset to a complete reply, so that we send no more (RFC 9113 section 8.1).
        assert reply.is_ended, f"stream {stream} was reset; {self.story()}"
        return reply

    def expect_reply(self, stream: int, status: int = 200, body: bytes | None = None) -> Http2Reply:
        """Read until a reply is complete, which must be this one.

        :param body: None: whatever it is.
        """
        reply = self.expect_end(stream)
        assert reply.status == status, f"{reply.fields}; {self.story()}"
        assert body is None or reply.body == body, f"{len(reply.body)} bytes: {bytes(reply.body[:200])!r}"
        return reply

    def expect_closed(self) -> None:
        """Read until the connection ends."""
        while self._next("end of the connection") is not None:
            pass

    def expect_goaway(self, *codes: Code) -> Frame:
        """Read until GOAWAY, which must have one of these codes."""
        found = self.expect("GOAWAY", lambda it: it.kind == Kind.GOAWAY)
        assert found.code in codes, f"{found}, not {_names(codes)}; {self.story()}"
        return found

    def expect_connection_error(self, *codes: Code) -> None:
        """Read until the server has failed the connection with one of these codes (RFC 9113 section 5.4.1)."""
        if not self.strict:
            self._expect_error(codes, ())
            return
        self.expect_goaway(*codes)
        self.expect_closed()
        assert not self.transport.was_reset, f"a reset may overtake GOAWAY; {self.story()}"

    def expect_stream_error(self, stream: int, *codes: Code) -> None:
        """Read until the server has failed a stream with one of these codes (RFC 9113 section 5.4.2)."""
        if not self.strict:
            self._expect_error(codes, (stream,))
            return
        found = self.expect(
            f"{_names(codes)} on {stream}",
            lambda it: it.kind == Kind.GOAWAY or it.is_a(Kind.RST_STREAM, stream),
        )
        assert found.code in codes, f"{found}, not {_names(codes)}; {self.story()}"
        if found.kind == Kind.GOAWAY:
            self.expect_closed()
        else:
            self.expect_ping_ack()

    def _expect_error(self, codes: tuple[Code, ...], streams: tuple[int, ...]) -> None:
        while (found := self._next(_names(codes))) is not None:
            if found.code in codes and (found.kind == Kind.GOAWAY or found.stream in streams):
                return

    def expect_served(self, stream: int, path: bytes = b"/") -> None:
        """Make a request on a new stream, which must be served: the connection works as before."""
        fields = request_fields(self.scheme, path=path)
        self.send(headers(stream, block_of(fields)))
        self.expect_reply(stream)


def _names(codes: tuple[Code, ...]) -> str:
    return " or ".join(code.name for code in codes)


def head(
    stream: int,
    *more: tuple[bytes, bytes],
    method: bytes = b"GET",
    path: bytes = b"/",
    ended: bool = True,
    complete: bool = True,
    before: bytes = b"",
    after: bytes = b"",
    pad: int | None = None,
    priority: bytes | None = None,
) -> Part:
    """Return HEADERS of a well-formed request.

    :param more: further fields.
    :param before: encoded, to stand at the beginning of the block; ``after``: at its end.
    """

    def made(client: FrameClient) -> bytes:
        block = before + block_of(request_fields(client.scheme, *more, method=method, path=path)) + after
        return headers(stream, block, ended=ended, complete=complete, pad=pad, priority=priority)

    return made
