"""Connections, streams and frames: the 77 cases of h2spec's http2 group in sections 3 to 7 of RFC 7540."""

from __future__ import annotations

from .http2_bytes import (
    ACK,
    FRAME_LIMIT,
    WINDOW_LIMIT,
    Code,
    Kind,
    Setting,
    block_of,
    continuation,
    data,
    frame,
    goaway,
    headers,
    ping,
    priority,
    priority_fields,
    rst_stream,
    settings,
    window_update,
)
from .http2_case import Case, Run, alive, begins, closed, connection_error, in_turn, send, sends, stream_error
from .http2_cases_generic import NO_WINDOW, server_preface
from .http2_frames import FrameClient, Part, head

PROTOCOL, FRAME_SIZE, STREAM_CLOSED = Code.PROTOCOL, Code.FRAME_SIZE, Code.STREAM_CLOSED
FLOW_CONTROL, COMPRESSION = Code.FLOW_CONTROL, Code.COMPRESSION

_POST = head(1, method=b"POST", ended=False)
_OPEN = head(1, ended=False)
_MORE = block_of([(b"x-dummy0", b"x" * 4000)])
"""A block that goes on."""
_UNKNOWN = frame(Kind.UNKNOWN, 0, 0, bytes(8))
_DATA = data(1, b"test", ended=True)

_failed = connection_error(PROTOCOL)


def _after_the_reply(*parts: Part, then: Run) -> Run:
    return in_turn(send(head(1)), lambda client: client.expect_end(1), send(*parts), then)


def _invalid_preface(client: FrameClient) -> None:
    client.send_raw(b"INVALID CONNECTION PREFACE\r\n\r\n")
    # Nobody has agreed on HTTP/2: what comes need not be frames.
    assert client.transport.read_until_closed(client.timeout_s), "the connection stays open"


def _largest_data(over: int, then: Run) -> Run:
    def run(client: FrameClient) -> None:
        limit = client.judge.settings.get(Setting.MAX_FRAME_SIZE, FRAME_LIMIT)
        assert limit + over < 1 << 24, "no frame exceeds what the server takes"
        client.send(_POST, data(1, b"x" * (limit + over), ended=True))
        then(client)

    return run


def _too_many_streams(client: FrameClient) -> None:
    limit = client.judge.settings[Setting.MAX_CONCURRENT_STREAMS]
    last = 2 * limit + 1
    client.send(NO_WINDOW, *(head(stream) for stream in range(1, last + 2, 2)))
    client.expect_stream_error(last, PROTOCOL, Code.REFUSED_STREAM)


def _bad_ping_says_goaway(client: FrameClient) -> None:
    client.send(frame(Kind.PING, 0, 3, bytes(8)))
    client.expect("GOAWAY", lambda it: it.kind == Kind.GOAWAY)


def _answered(client: FrameClient) -> None:
    client.expect_answered_ping()


def _one_byte_comes(client: FrameClient) -> None:
    client.expect_data(1, 1)


def _no_answer_to_an_answer(client: FrameClient) -> None:
    client.send(ping(b"invalid\0", ack=True), ping(b"h2spec\0\0"))
    found = client.expect("PING", lambda it: it.kind == Kind.PING)
    assert found.has(ACK) and found.payload == b"h2spec\0\0", client.story()


def _stream_window_overflows(client: FrameClient) -> None:
    client.send(_OPEN, window_update(1, WINDOW_LIMIT), window_update(1, WINDOW_LIMIT))
    found = client.expect("RST_STREAM on 1", lambda it: it.is_a(Kind.RST_STREAM, 1))
    assert found.code == FLOW_CONTROL, client.story()


def _window_becomes_negative(client: FrameClient) -> None:
    client.change((Setting.INITIAL_WINDOW_SIZE, 3))
    client.send(head(1))
    client.expect_data(1, 3)
    client.change((Setting.INITIAL_WINDOW_SIZE, 2))
    client.send(window_update(1, 2))
    client.expect_data(1, 1)


def _begun(*rest: Part) -> Run:
    return sends(head(1, complete=False), *rest, then=_failed)


PREFACE_AND_FORM: list[Case] = [
    Case("http2/3.5/1", "3.4", "the client's preface", server_preface, handshake=False),
    Case("http2/3.5/2", "3.4", "an invalid preface", _invalid_preface, handshake=False),
    Case("http2/4.1/1", "4.1", "an unknown type of frame", sends(_UNKNOWN, ping(), then=_answered)),
    Case("http2/4.1/2", "4.1", "an undefined flag", sends(frame(Kind.PING, 0x16, 0, bytes(8)), then=_answered)),
    Case("http2/4.1/3", "4.1", "the reserved bit", sends(frame(Kind.PING, 0x16, 1 << 31, bytes(8)), then=_answered)),
    Case("http2/4.2/1", "4.2", "DATA of 2^14 bytes", _largest_data(0, begins())),
    Case("http2/4.2/2", "4.2", "DATA over SETTINGS_MAX_FRAME_SIZE", _largest_data(1, stream_error(1, FRAME_SIZE))),
    Case("http2/4.2/3", "4.2", "HEADERS over SETTINGS_MAX_FRAME_SIZE",
         sends(head(1, *((b"x-dummy%d" % n, b"x" * 4000) for n in range(5))), then=connection_error(FRAME_SIZE))),
    Case("http2/4.3/1", "4.3", "a block that cannot be decoded",
         sends(headers(1, b"\x40"), then=connection_error(COMPRESSION))),
    Case("http2/4.3/2", "4.3", "PRIORITY within a block", _begun(priority(1), continuation(1, _MORE))),
    Case("http2/4.3/3", "4.3", "HEADERS of another stream within a block", _begun(head(3), continuation(1, _MORE))),
]  # fmt: skip

STREAMS: list[Case] = [
    Case("http2/5.1/1", "5.1", "idle: DATA", sends(_DATA, then=_failed)),
    Case("http2/5.1/2", "5.1", "idle: RST_STREAM", sends(rst_stream(1), then=_failed)),
    Case("http2/5.1/3", "5.1", "idle: WINDOW_UPDATE", sends(window_update(1, 100), then=_failed)),
    Case("http2/5.1/4", "5.1", "idle: CONTINUATION", sends(continuation(1, _MORE), then=_failed)),
    Case("http2/5.1/5", "5.1", "half-closed: DATA", sends(head(1), _DATA, then=stream_error(1, STREAM_CLOSED))),
    Case("http2/5.1/6", "5.1", "half-closed: HEADERS", sends(head(1), head(1), then=stream_error(1, STREAM_CLOSED))),
    Case("http2/5.1/7", "5.1", "half-closed: CONTINUATION",
         sends(head(1), continuation(1, _MORE), then=connection_error(STREAM_CLOSED, PROTOCOL))),
    Case("http2/5.1/8", "5.1", "reset by us: DATA",
         sends(_OPEN, rst_stream(1), _DATA, then=stream_error(1, STREAM_CLOSED))),
    Case("http2/5.1/9", "5.1", "reset by us: HEADERS",
         sends(_OPEN, rst_stream(1), head(1), then=stream_error(1, STREAM_CLOSED))),
    Case("http2/5.1/10", "5.1", "reset by us: CONTINUATION",
         sends(_OPEN, rst_stream(1), continuation(1, _MORE), then=connection_error(STREAM_CLOSED, PROTOCOL))),
    Case("http2/5.1/11", "5.1", "closed: DATA", _after_the_reply(_DATA, then=stream_error(1, STREAM_CLOSED))),
    Case("http2/5.1/12", "5.1", "closed: HEADERS", _after_the_reply(head(1), then=connection_error(STREAM_CLOSED))),
    Case("http2/5.1/13", "5.1", "closed: CONTINUATION",
         _after_the_reply(continuation(1, _MORE), then=connection_error(STREAM_CLOSED, PROTOCOL))),
    Case("http2/5.1.1/1", "5.1.1", "an even stream", sends(head(2), then=_failed)),
    Case("http2/5.1.1/2", "5.1.1", "a lower stream than before", sends(head(5), head(3), then=_failed)),
    Case("http2/5.1.2/1", "5.1.2", "more streams than are allowed", _too_many_streams),
    Case("http2/5.3.1/1", "RFC 7540 5.3.1", "HEADERS that depend on themselves",
         sends(head(1, priority=priority_fields(depends_on=1)), then=stream_error(1, PROTOCOL))),
    Case("http2/5.3.1/2", "RFC 7540 5.3.1", "PRIORITY that depends on itself",
         sends(priority(1, depends_on=1), then=stream_error(1, PROTOCOL))),
    Case("http2/5.4.1/1", "5.4.1", "an invalid PING closes", sends(frame(Kind.PING, 0, 3, bytes(8)), then=closed)),
    Case("http2/5.4.1/2", "5.4.1", "an invalid PING is answered by GOAWAY", _bad_ping_says_goaway),
    Case("http2/5.5/1", "5.5", "an unknown frame", sends(_UNKNOWN, ping(), then=_answered)),
    Case("http2/5.5/2", "5.5", "an unknown frame within a block", _begun(_UNKNOWN)),
]  # fmt: skip

FRAMES: list[Case] = [
    Case("http2/6.1/1", "6.1", "DATA on stream 0", sends(data(0, b"test", ended=True), then=_failed)),
    Case("http2/6.1/2", "6.1", "DATA on a stream that is not open",
         sends(head(1, method=b"POST"), _DATA, then=stream_error(1, STREAM_CLOSED))),
    Case("http2/6.1/3", "6.1", "DATA with more padding than payload",
         sends(head(1, (b"content-length", b"4"), method=b"POST", ended=False),
               frame(Kind.DATA, 0x9, 1, b"\x06Test"), then=_failed)),
    Case("http2/6.2/1", "6.2", "HEADERS without END_HEADERS, then PRIORITY",
         _begun(priority(1), continuation(1, _MORE))),
    Case("http2/6.2/2", "6.2", "HEADERS without END_HEADERS, then HEADERS of another stream",
         _begun(head(3), continuation(1, _MORE))),
    Case("http2/6.2/3", "6.2", "HEADERS on stream 0", sends(head(0), then=_failed)),
    Case("http2/6.2/4", "6.2", "HEADERS with more padding than payload",
         sends(frame(Kind.HEADERS, 0xD, 1, b"\x06\x82\x86\x84\x01"), then=_failed)),
    Case("http2/6.3/1", "6.3", "PRIORITY on stream 0", sends(priority(0), then=_failed)),
    Case("http2/6.3/2", "6.3", "PRIORITY of 4 bytes",
         sends(head(1), frame(Kind.PRIORITY, 0, 1, b"\x80\0\0\1"), then=stream_error(1, FRAME_SIZE))),
    Case("http2/6.4/1", "6.4", "RST_STREAM on stream 0", sends(rst_stream(0), then=_failed)),
    Case("http2/6.4/2", "6.4", "RST_STREAM on an idle stream", sends(rst_stream(1), then=_failed)),
    Case("http2/6.4/3", "6.4", "RST_STREAM of 3 bytes",
         sends(head(1), frame(Kind.RST_STREAM, 0, 1, bytes(3)), then=connection_error(FRAME_SIZE))),
    Case("http2/6.5/1", "6.5", "SETTINGS with ACK and content",
         sends(frame(Kind.SETTINGS, ACK, 0, b"\0"), then=connection_error(FRAME_SIZE))),
    Case("http2/6.5/2", "6.5", "SETTINGS on a stream",
         sends(frame(Kind.SETTINGS, 0, 1, b"\0\3\0\0\0\x64"), then=_failed)),
    Case("http2/6.5/3", "6.5", "SETTINGS of 3 bytes",
         sends(frame(Kind.SETTINGS, 0, 0, b"\0\3\0"), then=connection_error(FRAME_SIZE, PROTOCOL))),
    Case("http2/6.5.2/1", "6.5.2", "ENABLE_PUSH of 2", sends(settings((Setting.ENABLE_PUSH, 2)), then=_failed)),
    Case("http2/6.5.2/2", "6.5.2", "INITIAL_WINDOW_SIZE over the limit",
         sends(settings((Setting.INITIAL_WINDOW_SIZE, 1 << 31)), then=connection_error(FLOW_CONTROL))),
    Case("http2/6.5.2/3", "6.5.2", "MAX_FRAME_SIZE under its least",
         sends(settings((Setting.MAX_FRAME_SIZE, FRAME_LIMIT - 1)), then=_failed)),
    Case("http2/6.5.2/4", "6.5.2", "MAX_FRAME_SIZE over its most",
         sends(settings((Setting.MAX_FRAME_SIZE, 1 << 24)), then=_failed)),
    Case("http2/6.5.2/5", "6.5.2", "an unknown setting",
         sends(settings((Setting.UNKNOWN, 1)), ping(), then=_answered)),
    Case("http2/6.5.3/1", "6.5.3", "two values of INITIAL_WINDOW_SIZE", in_turn(
        lambda client: client.change((Setting.INITIAL_WINDOW_SIZE, 100), (Setting.INITIAL_WINDOW_SIZE, 1)),
        send(head(1)), _one_byte_comes)),
    Case("http2/6.5.3/2", "6.5.3", "SETTINGS are acknowledged",
         sends(settings((Setting.ENABLE_PUSH, 0)), then=FrameClient.expect_settings_ack)),
    Case("http2/6.7/1", "6.7", "PING", lambda client: client.expect_ping_ack(b"h2spec\0\0")),
    Case("http2/6.7/2", "6.7", "PING with ACK", _no_answer_to_an_answer),
    Case("http2/6.7/3", "6.7", "PING on a stream", sends(frame(Kind.PING, 0, 1, bytes(8)), then=_failed)),
    Case("http2/6.7/4", "6.7", "PING of 6 bytes",
         sends(frame(Kind.PING, 0, 0, bytes(6)), then=connection_error(FRAME_SIZE))),
    Case("http2/6.8/1", "6.8", "GOAWAY on a stream", sends(frame(Kind.GOAWAY, 0, 1, bytes(8)), then=_failed)),
    Case("http2/6.9/1", "6.9", "an increment of 0", sends(window_update(0, 0), then=_failed)),
    Case("http2/6.9/2", "6.9", "an increment of 0 on a stream",
         sends(_OPEN, window_update(1, 0), then=stream_error(1, PROTOCOL))),
    Case("http2/6.9/3", "6.9", "WINDOW_UPDATE of 3 bytes",
         sends(frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\1"), then=connection_error(FRAME_SIZE))),
    Case("http2/6.9.1/1", "6.9.1", "a window of 1", in_turn(
        lambda client: client.change((Setting.INITIAL_WINDOW_SIZE, 1)), send(head(1)), _one_byte_comes)),
    Case("http2/6.9.1/2", "6.9.1", "a connection's window over the limit",
         sends(window_update(0, WINDOW_LIMIT), window_update(0, WINDOW_LIMIT),
               then=lambda client: client.expect_goaway(FLOW_CONTROL))),
    Case("http2/6.9.1/3", "6.9.1", "a stream's window over the limit", _stream_window_overflows),
    Case("http2/6.9.2/1", "6.9.2", "INITIAL_WINDOW_SIZE changes after HEADERS", in_turn(
        lambda client: client.change((Setting.INITIAL_WINDOW_SIZE, 0)), send(head(1)),
        lambda client: client.change((Setting.INITIAL_WINDOW_SIZE, 1)), _one_byte_comes)),
    Case("http2/6.9.2/2", "6.9.2", "a window that becomes negative", _window_becomes_negative),
    Case("http2/6.9.2/3", "6.9.2", "INITIAL_WINDOW_SIZE over the limit",
         sends(frame(Kind.SETTINGS, 0, 0, b"\0\4\x80\0\0\0"), then=connection_error(FLOW_CONTROL))),
    Case("http2/6.10/1", "6.10", "several CONTINUATION",
         sends(head(1, complete=False), continuation(1, _MORE, complete=False), continuation(1, _MORE), then=begins())),
    Case("http2/6.10/2", "6.10", "CONTINUATION, then DATA",
         sends(head(1, method=b"POST", ended=False, complete=False), continuation(1, _MORE, complete=False), _DATA,
               then=_failed)),
    Case("http2/6.10/3", "6.10", "CONTINUATION on stream 0", _begun(continuation(0, _MORE))),
    Case("http2/6.10/4", "6.10", "CONTINUATION after END_HEADERS of HEADERS",
         sends(head(1), continuation(1, _MORE), then=_failed)),
    Case("http2/6.10/5", "6.10", "CONTINUATION after END_HEADERS of CONTINUATION",
         _begun(continuation(1, _MORE), continuation(1, _MORE))),
    Case("http2/6.10/6", "6.10", "CONTINUATION after DATA",
         sends(head(1, method=b"POST", ended=False, complete=False), _DATA, continuation(1, _MORE, complete=False),
               continuation(0, _MORE), then=_failed)),
    Case("http2/7/1", "7", "GOAWAY with an unknown code", sends(goaway(0, 0xFF), then=closed)),
    Case("http2/7/2", "7", "RST_STREAM with an unknown code", sends(_POST, rst_stream(1, 0xFF), then=alive)),
]  # fmt: skip
