"""Connections, streams and windows beyond h2spec: further rules of RFC 9113 sections 3 to 7."""

from __future__ import annotations

from .http2_bytes import (
    END_HEADERS,
    END_STREAM,
    FRAME_LIMIT,
    PADDED,
    PREFACE,
    PRIORITIZED,
    WINDOW_BYTES,
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
    push_promise,
    rst_stream,
    settings,
    window_update,
)
from .http2_case import (
    Case,
    Run,
    alive,
    closed,
    connection_error,
    in_turn,
    reply,
    send,
    sends,
    served_as_before,
    stream_error,
)
from .http2_cases_generic import NO_WINDOW, cut_block
from .http2_frames import FrameClient, Part, head, request_fields
from .http2_servers import BIG_BYTES

PROTOCOL, FRAME_SIZE, STREAM_CLOSED, FLOW_CONTROL = (
    Code.PROTOCOL,
    Code.FRAME_SIZE,
    Code.STREAM_CLOSED,
    Code.FLOW_CONTROL,
)
_POST = head(1, method=b"POST", ended=False)
_OPEN = head(1, ended=False)
_UPPER = (b"X-UPPER", b"1")
"""A field that makes a request malformed."""
_TRAILER = block_of([(b"x-test", b"ok")])
_failed = connection_error(PROTOCOL)
_too_long = connection_error(FRAME_SIZE)


def _stays(*parts: Part) -> Run:
    """Nothing comes of these; the connection works as before."""
    return in_turn(send(*parts), alive, served_as_before(101))


def _not_http2(first: Part) -> Run:
    """What begins so is no HTTP/2: GOAWAY may be left out (section 3.4)."""

    def run(client: FrameClient) -> None:
        client.send_raw(PREFACE)
        client.send(first)
        client.expect_closed()
        codes = [each.code for each in client.frames if each.kind == Kind.GOAWAY]
        assert codes in ([], [PROTOCOL]), client.story()

    return run


def _raw(data: bytes) -> Run:
    return lambda client: client.send_raw(data)


def _byte_by_byte(client: FrameClient) -> None:
    for byte in PREFACE:
        client.send_raw(bytes([byte]))
    block = block_of(request_fields(client.scheme, method=b"POST", path=b"/echo"))
    post = headers(1, block, ended=False, complete=False) + continuation(1, block_of([(b"x-one", b"1")]))
    for byte in settings() + post + data(1, b"hello", pad=3) + headers(1, _TRAILER):
        client.send(bytes([byte]))
    client.expect_reply(1, 200, b"hello")


def _invalid_after(preface: bytes) -> Run:
    def run(client: FrameClient) -> None:
        client.send_raw(preface)
        assert client.transport.read_until_closed(client.timeout_s), "the connection stays open"

    return run


def _ignored_in_flight(client: FrameClient) -> None:
    client.send(
        head(1, _UPPER, method=b"POST", ended=False), data(1, b"x" * 100), window_update(1, 5), headers(1, _TRAILER)
    )
    client.expect_stream_error(1, PROTOCOL)
    client.send(window_update(1, 5), rst_stream(1))
    client.expect_served(3)


def _refused_streams(client: FrameClient) -> None:
    limit = client.judge.settings[Setting.MAX_CONCURRENT_STREAMS]
    last = 2 * limit + 1
    client.send(NO_WINDOW, *(head(stream) for stream in range(1, last + 2, 2)))
    client.expect_stream_error(last, Code.REFUSED_STREAM)
    client.change((Setting.INITIAL_WINDOW_SIZE, WINDOW_BYTES))
    for stream in range(1, last, 2):
        client.expect_reply(stream)
    client.expect_served(last + 2)


def _goaway_names_the_last_stream(client: FrameClient) -> None:
    client.send(head(1), head(7))
    client.expect_reply(1)
    client.expect_reply(7)
    client.send(ping(bytes(7)))
    assert client.expect_goaway(FRAME_SIZE).last_stream == 7, client.story()
    client.expect_closed()


def _goaway_twice(client: FrameClient) -> None:
    # The judge compares the streams that both name.
    client.send(head(1, path=b"/never"), goaway(0), head(3), ping(bytes(7)))
    client.expect("GOAWAY for the PING", lambda it: it.kind == Kind.GOAWAY and it.code == FRAME_SIZE)
    client.expect_closed()


def _each_setting_is_acknowledged(client: FrameClient) -> None:
    client.send(*(settings((Setting.INITIAL_WINDOW_SIZE, size)) for size in range(10)), settings())
    for _ in range(11):
        client.expect_settings_ack()
    client.expect_ping_ack()


def _pings_in_order(client: FrameClient) -> None:
    contents = [b"number%02d" % number for number in range(20)]
    client.send(*map(ping, contents))
    for content in contents:
        found = client.expect("PING", lambda it: it.kind == Kind.PING)
        assert found.payload == content, client.story()


def _ping_passes_a_stalled_reply(client: FrameClient) -> None:
    client.change((Setting.INITIAL_WINDOW_SIZE, 10))
    client.send(head(1, path=b"/big"))
    client.expect_data(1, 10)
    client.expect_ping_ack()
    client.send(rst_stream(1))
    client.expect_ping_ack()


def _finishes_after_our_goaway(client: FrameClient) -> None:
    client.change((Setting.INITIAL_WINDOW_SIZE, 1))
    client.send(head(1), goaway(0, Code.NO_ERROR, b"x" * 1000))
    client.expect_data(1, 1)
    client.send(window_update(1, 1000))
    client.expect_reply(1, 200, b"conformance\n")
    client.expect_closed()


def _large_frames_only_if_allowed(client: FrameClient) -> None:
    client.change((Setting.INITIAL_WINDOW_SIZE, 1 << 20), (Setting.MAX_FRAME_SIZE, 20_000))
    client.send(window_update(0, 1 << 20), head(1, path=b"/big"))
    # The judge looks at the size of each frame.
    assert len(client.expect_reply(1).body) == BIG_BYTES


def _full_headers(client: FrameClient) -> None:
    fields = request_fields(client.scheme, (b"x-a", b"a" * 8000), (b"x-b", b""))
    missing = FRAME_LIMIT - len(block_of(fields)) - 2
    block = block_of([*fields[:-1], (b"x-b", b"b" * missing)])
    assert len(block) == FRAME_LIMIT
    client.send(headers(1, block))
    client.expect_reply(1)


def _flags(stream: int) -> Part:
    def made(client: FrameClient) -> bytes:
        block = block_of(request_fields(client.scheme))
        return frame(Kind.HEADERS, 0xD2 | END_HEADERS, stream, block) + frame(Kind.DATA, 0xF6 | END_STREAM, stream)

    return made


def _reserved_bits(client: FrameClient) -> None:
    reserved = 1 << 31
    block = block_of(request_fields(client.scheme))
    client.send(
        head(1, path=b"/never"),
        frame(Kind.HEADERS, END_HEADERS | END_STREAM, 3 | reserved, block),
        window_update(1, 1 | reserved),
        frame(Kind.WINDOW_UPDATE, 0, reserved, b"\x80\0\0\1"),
    )
    client.expect_reply(3)
    client.expect_ping_ack()


CONNECTION: list[Case] = [
    Case("preface-in-bytes", "3.4", "preface and frames byte by byte", _byte_by_byte, handshake=False),
    Case("preface-at-once", "3.4", "preface, SETTINGS and a request at once",
         in_turn(_raw(PREFACE), sends(settings(), head(1), then=reply())), handshake=False),
    Case("preface-ping", "3.4", "PING instead of SETTINGS", _not_http2(ping()), handshake=False),
    Case("preface-headers", "3.4", "HEADERS instead of SETTINGS", _not_http2(head(1)), handshake=False),
    Case("preface-ack", "3.4", "an acknowledgement instead of SETTINGS", _not_http2(settings(ack=True)), handshake=False),
    Case("preface-last-byte", "3.4", "a preface with a wrong end",
         _invalid_after(PREFACE[:-1] + b"\0" + settings()), handshake=False),
    Case("preface-middle", "3.4", "a preface with a wrong middle",
         _invalid_after(PREFACE.replace(b"SM", b"SN") + settings()), handshake=False),
    Case("preface-twice", "3.4", "the preface twice",
         in_turn(_raw(PREFACE), sends(settings(), PREFACE, then=connection_error(FRAME_SIZE, PROTOCOL))), handshake=False),
    Case("unknown-on-streams", "4.1", "unknown frames on streams in all states", in_turn(
        sends(head(1), then=reply()),
        sends(head(3, ended=False), *(frame(0x55, 0xFF, stream, b"x" * FRAME_LIMIT) for stream in (1, 2, 3, 9)),
              then=alive), served_as_before(101))),
    Case("unknown-too-long", "4.2", "an unknown frame over SETTINGS_MAX_FRAME_SIZE",
         sends(frame(0x55, 0, 0, bytes(FRAME_LIMIT + 1)), then=_too_long)),
    Case("unknown-flags", "4.1", "flags that a frame does not define", in_turn(
        sends(frame(Kind.SETTINGS, 0xFE), then=FrameClient.expect_settings_ack),
        sends(_flags(1), frame(Kind.WINDOW_UPDATE, 0xFF, 0, b"\0\0\0\1"), then=reply()))),
    Case("reserved-bits", "4.1", "reserved bits", _reserved_bits),
    Case("headers-full", "4.2", "HEADERS of 2^14 bytes", _full_headers),
    Case("continuation-too-long", "4.2", "CONTINUATION over SETTINGS_MAX_FRAME_SIZE",
         sends(head(1, complete=False), continuation(1, bytes(FRAME_LIMIT + 1)), then=_too_long)),
    Case("settings-too-long", "4.2", "SETTINGS over SETTINGS_MAX_FRAME_SIZE",
         sends(settings(*([(Setting.UNKNOWN, 1)] * 2731)), then=_too_long)),
    Case("frames-allowed", "4.2", "SETTINGS_MAX_FRAME_SIZE of the client is kept", _large_frames_only_if_allowed),
    Case("block-in-bytes", "4.3", "a block cut at every one of its first bytes",
         sends(cut_block(*range(1, 20)), then=reply())),
    Case("block-empty-pieces", "6.10", "pieces of a block without content",
         sends(cut_block(0, 0, 5, 5, 5), then=reply())),
    Case("block-padded-pieces", "6.10", "padding and priority before CONTINUATION",
         sends(head(1, complete=False, pad=9), continuation(1, _TRAILER),
               head(3, complete=False, pad=0, priority=priority_fields()), continuation(3, _TRAILER),
               then=in_turn(reply(1), reply(3)))),
    *(
        Case(f"idle-even-{name}", "5.1", f"{name} on an idle stream of the server", sends(sent, then=_failed))
        for name, sent in (("data", data(2, b"test")), ("rst", rst_stream(2)), ("window", window_update(2, 1)))
    ),
    Case("skipped-data", "5.1.1", "DATA on a stream that was skipped",
         sends(head(5), data(3, b"test"), then=stream_error(3, STREAM_CLOSED, PROTOCOL))),
    Case("reused-stream", "5.1.1", "HEADERS on a lower stream that was answered", in_turn(
        sends(head(1), then=reply(1)), sends(head(3), then=reply(3)),
        sends(head(1), then=connection_error(PROTOCOL, STREAM_CLOSED)))),
    Case("far-streams", "5.1.1", "streams with gaps, up to the last",
         in_turn(*(sends(head(stream), then=reply(stream)) for stream in (7, 1001, WINDOW_LIMIT)))),
    Case("closed-window", "5.1", "WINDOW_UPDATE, RST_STREAM and PRIORITY on a closed stream",
         in_turn(sends(head(1), then=reply()), _stays(window_update(1, 1), rst_stream(1), priority(1)))),
    Case("reset-twice", "5.4.2", "a reset of a reset stream is not answered",
         _stays(_OPEN, rst_stream(1), rst_stream(1))),
    Case("reset-in-flight", "5.1", "what is in flight on a stream that the server has reset", _ignored_in_flight),
    Case("refused", "5.1.2", "refused streams may be tried again", _refused_streams),
    Case("goaway-last-stream", "5.4.1", "GOAWAY names the last stream", _goaway_names_the_last_stream),
    Case("data-pad-0", "6.1", "DATA with padding of 0 bytes, and only padding", in_turn(
        sends(head(1, method=b"POST", path=b"/echo", ended=False), data(1, b"ab", pad=0), data(1, pad=255),
              data(1, b"c", ended=True), then=reply(1, 200, b"abc")))),
    Case("data-pad-exact", "6.1", "DATA with as much padding as payload",
         sends(_POST, frame(Kind.DATA, PADDED, 1, b"\x05abcd"), then=_failed)),
    Case("data-no-pad-length", "6.1", "DATA without the length of its padding",
         sends(_POST, frame(Kind.DATA, PADDED, 1), then=connection_error(FRAME_SIZE, PROTOCOL))),
    Case("headers-no-priority", "6.2", "HEADERS shorter than their priority",
         sends(frame(Kind.HEADERS, PRIORITIZED | END_HEADERS | END_STREAM, 1, b"\0\0\0"),
               then=connection_error(FRAME_SIZE, PROTOCOL))),
    Case("headers-no-pad-length", "6.2", "HEADERS without the length of their padding",
         sends(frame(Kind.HEADERS, PADDED | END_HEADERS | END_STREAM, 1), then=connection_error(FRAME_SIZE, PROTOCOL))),
    Case("headers-all-fields", "6.2", "HEADERS with padding and priority",
         sends(head(1, pad=200, priority=priority_fields(3, 7, True)), then=reply())),
    Case("headers-empty", "8.1.1", "HEADERS without a block", sends(headers(1, b""), then=stream_error(1, PROTOCOL))),
    Case("priority-of-6", "6.3", "PRIORITY of 6 bytes",
         sends(head(1), frame(Kind.PRIORITY, 0, 1, bytes(6)), then=stream_error(1, FRAME_SIZE))),
    Case("priority-anywhere", "6.3", "PRIORITY on streams in all states",
         _stays(*(priority(stream, depends_on=stream + 8) for stream in (1, 2, 3, 999)))),
    Case("priority-update", "RFC 9218 7.1", "PRIORITY_UPDATE is an unknown frame, or understood",
         sends(frame(0x10, 0, 0, b"\0\0\0\1u=1"), head(1), then=reply())),
    Case("rst-of-5", "6.4", "RST_STREAM of 5 bytes",
         sends(head(1), frame(Kind.RST_STREAM, 0, 1, bytes(5)), then=_too_long)),
    Case("settings-of-7", "6.5", "SETTINGS of 7 bytes", sends(frame(Kind.SETTINGS, 0, 0, bytes(7)), then=_too_long)),
    Case("settings-acks", "6.5.3", "each SETTINGS is acknowledged once", _each_setting_is_acknowledged),
    Case("settings-allowed", "6.5.2", "all values that are allowed", in_turn(
        lambda client: client.change(
            (Setting.ENABLE_PUSH, 1), (Setting.ENABLE_PUSH, 0), (Setting.MAX_CONCURRENT_STREAMS, 0),
            (Setting.INITIAL_WINDOW_SIZE, WINDOW_LIMIT), (Setting.MAX_FRAME_SIZE, (1 << 24) - 1),
            (Setting.HEADER_TABLE_SIZE, (1 << 32) - 1), (Setting.MAX_HEADER_LIST_SIZE, (1 << 32) - 1),
            (8, 0), (9, 1), (0, 5), (0xFFFF, (1 << 32) - 1)),
        served_as_before(1))),
    Case("push-on-open", "8.4", "PUSH_PROMISE on an open stream",
         sends(_OPEN, push_promise(1, 2, _TRAILER), then=_failed)),
    Case("push-on-0", "6.6", "PUSH_PROMISE on stream 0", sends(push_promise(0, 2, _TRAILER), then=_failed)),
    Case("ping-of-9", "6.7", "PING of 9 bytes", sends(frame(Kind.PING, 0, 0, bytes(9)), then=_too_long)),
    Case("ping-order", "6.7", "each PING is answered by its own content", _pings_in_order),
    Case("ping-stalled", "6.7", "PING is answered while a reply stalls", _ping_passes_a_stalled_reply),
    Case("goaway-of-7", "6.8", "GOAWAY of 7 bytes", sends(frame(Kind.GOAWAY, 0, 0, bytes(7)), then=_too_long)),
    Case("goaway-in-flight", "6.8", "what was asked before our GOAWAY is answered", _finishes_after_our_goaway),
    Case("goaway-twice", "6.8", "GOAWAY twice", sends(goaway(WINDOW_LIMIT), goaway(0), then=closed)),
    Case("goaway-not-higher", "6.8", "a second GOAWAY of the server names no higher stream", _goaway_twice),
    Case("window-of-5", "6.9", "WINDOW_UPDATE of 5 bytes",
         sends(frame(Kind.WINDOW_UPDATE, 0, 0, bytes(5)), then=_too_long)),
    Case("continuation-other-stream", "6.10", "CONTINUATION of another stream",
         sends(head(1, complete=False), continuation(3, _TRAILER), then=_failed)),
    Case("continuation-twice-headers", "6.10", "HEADERS of the same stream within a block",
         sends(head(1, complete=False), head(1), then=_failed)),
    *(
        Case(f"block-then-{name}", "6.10", f"{name} within a block", sends(head(1, complete=False), sent, then=_failed))
        for name, sent in (
            ("settings", settings()), ("ping", ping()), ("rst", rst_stream(1)), ("goaway", goaway()),
            ("window", window_update(0, 1)),
        )
    ),
]  # fmt: skip
