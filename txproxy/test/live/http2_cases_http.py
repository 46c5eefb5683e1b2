"""Requests and replies on streams, and their compression, beyond h2spec: RFC 9113 section 8 and RFC 7541."""

from __future__ import annotations

import json
from typing import Any

from .http2_bytes import (
    Code,
    Setting,
    block_of,
    continuation,
    data,
    headers,
    indexed,
    integer,
    literal,
    push_promise,
    rst_stream,
    settings,
    string,
    table_size,
)
from .http2_case import Case, Run, connection_error, in_turn, reply, sends, served_as_before, stream_error
from .http2_cases_generic import NO_WINDOW
from .http2_frames import FrameClient, Part, head
from .http2_judge import Http2Reply
from .http2_servers import WIDE_FIELDS

STREAM_CLOSED, UNDECODABLE = Code.STREAM_CLOSED, connection_error(Code.COMPRESSION)
_ECHO = head(1, method=b"POST", path=b"/echo", ended=False)
_ENTRY = literal(b"x-kept", b"yes", 0x40)
"""A field that becomes the first entry of the dynamic table, at index 62."""
_FIRST = 62
_OF_HTTP1 = (b"connection", b"keep-alive", b"proxy-connection", b"upgrade", b"x-hop", b"transfer-encoding")


def echoed(reply: Http2Reply) -> dict[str, Any]:
    """Return what the backend saw, as its echo says: ``fields`` and ``trailers`` among others."""
    shown = reply.value(b"x-echo")
    assert shown is not None, reply.fields
    seen: dict[str, Any] = json.loads(shown)
    return seen


def seen_values(reply: Http2Reply, name: str) -> list[str]:
    """Return the values of a field that the backend saw."""
    return [value for spelled, value in echoed(reply)["fields"] if spelled.lower() == name]


def _arrives(*fields: tuple[bytes, bytes], **expected: list[str]) -> Run:
    """These fields reach the backend as it is said of it, with ``_`` for ``-``."""

    def run(client: FrameClient) -> None:
        client.send(head(1, *fields, path=b"/echo"))
        seen = client.expect_reply(1)
        for name, values in expected.items():
            assert seen_values(seen, name.replace("_", "-")) == values, echoed(seen)

    return run


def _field_at(stream: int, index: int, expected: str = "yes") -> Run:
    """The field at an index is what the backend sees as X-Kept."""

    def run(client: FrameClient) -> None:
        client.send(head(stream, path=b"/echo", after=indexed(index)))
        seen = client.expect_reply(stream)
        assert seen_values(seen, "x-kept") == [expected], echoed(seen)

    return run


def _interim(client: FrameClient) -> None:
    client.send(head(1, path=b"/103"))
    (first,) = client.expect_reply(1).interim
    assert dict(first) == dict(first) | {b":status": b"103", b"link": b"</a.css>; rel=preload"}


def _continue(client: FrameClient) -> None:
    client.send(head(1, (b"expect", b"100-continue"), (b"content-length", b"5"), method=b"POST", path=b"/echo",
                     ended=False))  # fmt: skip
    client.expect_headers(1)
    (first,) = client.judge.streams[1].interim
    assert dict(first)[b":status"] == b"100"
    client.send(data(1, b"hello", ended=True))
    client.expect_reply(1, 200, b"hello")


def _trailers_of_reply(client: FrameClient) -> None:
    client.send(head(1, (b"te", b"trailers"), path=b"/trailers"))
    got = client.expect_reply(1, 200, b"hello")
    assert got.trailers == [(b"x-sum", b"5")], got.trailers


def _trailers_of_request(client: FrameClient) -> None:
    trailers = block_of([(b"x-sum", b"5"), (b"x-cut", b"1" * 100)])
    client.send(_ECHO, data(1, b"hello"), headers(1, trailers[:9], complete=False), continuation(1, trailers[9:]))
    got = client.expect_reply(1, 200, b"hello")
    seen = [(name.lower(), value) for name, value in echoed(got)["trailers"]]
    assert seen == [("x-sum", "5"), ("x-cut", "1" * 100)], echoed(got)


def _nothing_of_http1(client: FrameClient) -> None:
    client.send(head(1, path=b"/http1"))
    got = client.expect_reply(1, 200, b"conformance\n")
    assert not [name for name, _ in got.fields if name in _OF_HTTP1], got.fields
    assert got.value(b"x-kept") == b"1"
    assert got.value(b"x-mixed-case") == b"Yes"
    assert got.values(b"set-cookie") == [b"a=1", b"b=2"]


def _wide_reply(client: FrameClient) -> None:
    client.send(head(1, path=b"/wide"))
    got = client.expect_reply(1)
    assert len([name for name, _ in got.fields if name.startswith(b"x-wide-")]) == WIDE_FIELDS


def _early_reply(client: FrameClient) -> None:
    client.send(head(1, method=b"POST", path=b"/early-403", ended=False), data(1, b"x" * 1000))
    client.expect_reply(1, 403, b"no")
    client.send(data(1, b"x" * 1000), data(1, ended=True))
    client.expect_served(3)
    assert client.judge.streams[1].reset_by in (-1, Code.NO_ERROR), client.story()


def _many_at_once(client: FrameClient) -> None:
    streams = range(1, 200, 2)
    client.send(*(head(stream, method=b"POST", path=b"/echo", ended=False) for stream in streams))
    client.send(*(data(stream, b"%d" % stream, ended=True) for stream in reversed(streams)))
    for stream in streams:
        client.expect_reply(stream, 200, b"%d" % stream)


def _many_in_turn(client: FrameClient) -> None:
    for stream in range(1, 400, 2):
        client.send(head(stream, (b"x-number", b"%d" % stream), path=b"/echo"))
        assert seen_values(client.expect_reply(stream), "x-number") == [str(stream)]


def _failed_block_counts(client: FrameClient) -> None:
    client.send(head(1, (b"X-UPPER", b"1"), after=_ENTRY))
    client.expect_stream_error(1, Code.PROTOCOL)
    _field_at(3, _FIRST)(client)


def _refused_block_counts(client: FrameClient) -> None:
    limit = client.judge.settings[Setting.MAX_CONCURRENT_STREAMS]
    last = 2 * limit + 1
    client.send(NO_WINDOW, *(head(stream) for stream in range(1, last, 2)), head(last, after=_ENTRY))
    client.expect_stream_error(last, Code.REFUSED_STREAM)
    client.change((Setting.INITIAL_WINDOW_SIZE, 1000))
    for stream in range(1, last, 2):
        client.expect_reply(stream)
    _field_at(last + 2, _FIRST)(client)


def _trailers_count(client: FrameClient) -> None:
    client.send(_ECHO, data(1, b"a"), headers(1, _ENTRY))
    client.expect_reply(1, 200, b"a")
    _field_at(3, _FIRST)(client)


def _reset_block_counts(client: FrameClient) -> None:
    client.send(head(1, path=b"/never", after=_ENTRY), rst_stream(1))
    _field_at(3, _FIRST)(client)


def _table_shrinks(client: FrameClient) -> None:
    # The decoder of the judge fails unless the next block says that it has obeyed (RFC 9113 section 4.3.1).
    client.change((Setting.HEADER_TABLE_SIZE, 0))
    client.expect_served(1)
    client.change((Setting.HEADER_TABLE_SIZE, 4096))
    client.expect_served(3)
    client.send(settings((Setting.HEADER_TABLE_SIZE, 0)), settings((Setting.HEADER_TABLE_SIZE, 100)))
    client.expect_settings_ack()
    client.expect_settings_ack()
    client.expect_served(5)


def _evicted(client: FrameClient) -> None:
    # Four entries of 1,032 bytes fill the table; the fifth evicts the first (RFC 7541 section 4.4).
    for number in range(5):
        stream = 2 * number + 1
        client.send(head(stream, after=literal(b"x-kept", b"%d" % number * 1000, 0x40)))
        client.expect_reply(stream)
    _field_at(11, _FIRST + 2, "2" * 1000)(client)
    client.send(head(13, after=indexed(_FIRST + 3)))
    client.expect_connection_error(Code.COMPRESSION)


def _rfc_7541(*blocks: str) -> Run:
    def run(client: FrameClient) -> None:
        for number, block in enumerate(blocks):
            stream = 2 * number + 1
            client.send(headers(stream, bytes.fromhex(block)))
            client.expect_reply(stream)

    return run


def _then(first: Part, *rest: Part) -> Run:
    """The first request is answered, and what follows cannot be decoded."""
    return in_turn(sends(first, then=reply()), sends(*rest, then=UNDECODABLE))


def _after(encoded: bytes) -> Run:
    return sends(head(1, after=encoded), then=UNDECODABLE)


HTTP: list[Case] = [
    Case("head", "8.1", "HEAD", sends(head(1, method=b"HEAD", path=b"/big"), then=reply(1, 200, b""))),
    Case("204", "8.1", "204", sends(head(1, path=b"/204"), then=reply(1, 204, b""))),
    Case("304", "8.1", "304 with a length", sends(head(1, path=b"/304"), then=reply(1, 304, b""))),
    Case("103", "8.1", "103 before the reply", _interim),
    Case("100", "8.1", "Expect: 100-continue", _continue),
    Case("reply-trailers", "8.1", "trailers of a reply", _trailers_of_reply),
    Case("request-trailers", "8.1", "trailers of a request", _trailers_of_request),
    Case("trailers-then-data", "8.1", "DATA after trailers",
         sends(_ECHO, data(1, b"a"), headers(1, _ENTRY), data(1, b"b", ended=True),
               then=stream_error(1, STREAM_CLOSED))),
    Case("trailers-twice", "8.1", "trailers twice",
         sends(_ECHO, headers(1, _ENTRY), headers(1, _ENTRY), then=stream_error(1, STREAM_CLOSED))),
    Case("reply-fields", "8.2.2", "fields of HTTP/1 connections in a reply", _nothing_of_http1),
    Case("reply-wide", "6.10", "a reply whose head is larger than a frame", _wide_reply),
    Case("early-reply", "8.1", "a reply before the request's end", _early_reply),
    Case("at-once", "5.1.2", "a hundred requests at once", _many_at_once),
    Case("in-turn", "8.1", "two hundred requests in turn", _many_in_turn),
    Case("empty-data", "6.1", "DATA without content", sends(
        _ECHO, data(1), data(1, b"a"), data(1), data(1, ended=True), then=reply(1, 200, b"a"))),
    Case("length-right", "8.1.1", "content-length equal to all DATA", sends(
        head(1, (b"content-length", b"4"), method=b"POST", path=b"/echo", ended=False),
        data(1, b"ab", pad=9), data(1, b"cd"), headers(1, block_of([(b"x-test", b"ok")])), then=reply(1, 200, b"abcd"))),
    Case("length-0", "8.1.1", "content-length 0 with END_STREAM",
         sends(head(1, (b"content-length", b"0"), method=b"POST", path=b"/echo"), then=reply(1, 200, b""))),
    Case("te-trailers", "8.2.2", "TE: trailers", sends(head(1, (b"te", b"trailers")), then=reply())),
    Case("cookies", "8.2.3", "pieces of a Cookie are joined",
         _arrives((b"cookie", b"a=1"), (b"x-between", b"1"), (b"cookie", b"b=2"), cookie=["a=1; b=2"])),
    Case("authority", "8.3.1", ":authority becomes Host", _arrives(host=["a.example"])),
    Case("authority-and-host", "8.3.1", ":authority and the same Host",
         _arrives((b"host", b"a.example"), host=["a.example"])),
    Case("asterisk", "8.3.1", "OPTIONS of the server", sends(head(1, method=b"OPTIONS", path=b"*"), then=reply())),
    Case("push-unknown-stream", "8.4", "PUSH_PROMISE on an idle stream",
         sends(push_promise(9, 2, _ENTRY), then=connection_error(Code.PROTOCOL))),
]  # fmt: skip

HPACK: list[Case] = [
    Case("c3", "RFC 7541 C.3", "the RFC's requests without Huffman coding", _rfc_7541(
        "828684410f7777772e6578616d706c652e636f6d", "828684be58086e6f2d6361636865",
        "828785bf400a637573746f6d2d6b65790c637573746f6d2d76616c7565")),
    Case("c4", "RFC 7541 C.4", "the RFC's requests with Huffman coding", _rfc_7541(
        "828684418cf1e3c2e5f23a6ba0ab90f4ff", "828684be5886a8eb10649cbf",
        "828785bf408825a849e95ba97d7f8925a849e95bb8e8b4bf")),
    Case("entry", "RFC 7541 2.3.2", "an entry of the dynamic table",
         in_turn(sends(head(1, after=_ENTRY), then=reply()), _field_at(3, _FIRST))),
    Case("entry-name", "RFC 7541 6.2.1", "a name of the dynamic table, a value of its own", in_turn(
        sends(head(1, after=_ENTRY), then=reply()),
        sends(head(3, path=b"/echo", after=integer(_FIRST, 6, 0x40) + string(b"no")), then=reply(3)),
        _field_at(5, _FIRST, "no"), _field_at(7, _FIRST + 1, "yes"))),
    Case("not-indexed", "RFC 7541 6.2.2", "literals without indexing leave the table as it was",
         _then(head(1, (b"x-kept", b"yes")), head(3, after=indexed(_FIRST)))),
    Case("never-indexed", "RFC 7541 6.2.3", "a literal that is never indexed leaves the table as it was",
         _then(head(1, after=literal(b"x-kept", b"yes", 0x10)), head(3, after=indexed(_FIRST)))),
    Case("failed-block", "4.3", "the block of a malformed request counts", _failed_block_counts),
    Case("refused-block", "4.3", "the block of a refused request counts", _refused_block_counts),
    Case("reset-block", "4.3", "the block of a request that was reset counts", _reset_block_counts),
    Case("trailer-block", "4.3", "the block of trailers counts", _trailers_count),
    Case("evicted", "RFC 7541 4.4", "old entries are evicted", _evicted),
    Case("entry-too-large", "RFC 7541 4.4", "an entry larger than the table empties it",
         in_turn(sends(head(1, after=_ENTRY), then=reply()),
                 sends(head(3, after=literal(b"x-large", b"x" * 5000, 0x40)), then=reply(3)),
                 sends(head(5, after=indexed(_FIRST)), then=UNDECODABLE))),
    Case("table-emptied", "RFC 7541 4.3", "a table of size 0 is empty",
         _then(head(1, after=_ENTRY), head(3, before=table_size(0) + table_size(4096), after=indexed(_FIRST)))),
    Case("table-stays-small", "RFC 7541 4.3", "a table of size 0 takes no entry",
         _then(head(1, before=table_size(0), after=_ENTRY), head(3, after=indexed(_FIRST)))),
    Case("table-too-large-later", "RFC 7541 6.3", "a table size over the limit in a later block",
         in_turn(sends(head(1), then=reply()),
                 sends(head(3, before=table_size(1 << 20)), then=UNDECODABLE))),
    Case("update-in-the-middle", "RFC 7541 4.2", "a table size update after a field",
         sends(head(1, before=indexed(2) + table_size(0)), then=UNDECODABLE)),
    Case("table-shrinks", "4.3.1", "SETTINGS_HEADER_TABLE_SIZE is obeyed in the next block", _table_shrinks),
    Case("cut-literal", "RFC 7541 5.2", "a block that ends within a string", _after(b"\x00\x06x-te")),
    Case("cut-integer", "RFC 7541 5.1", "a block that ends within an integer", _after(b"\x7f\x80")),
    Case("cut-value", "RFC 7541 6.2", "a block that ends before a value", _after(b"\x00\x06x-test")),
    Case("endless-integer", "RFC 7541 5.1", "an integer over all limits", _after(b"\xff" + b"\xff" * 20 + b"\x01")),
    Case("long-string", "RFC 7541 5.2", "a string longer than the block", _after(b"\x00" + integer(1 << 40, 7) + b"x")),
    Case("huffman-all-ones", "RFC 7541 5.2", "padding of a whole byte", _after(b"\x00\x06x-test\x81\xff")),
    Case("last-index", "RFC 7541 2.3.3", "the index after the static table", _after(indexed(_FIRST))),
    Case("never-indexed-name", "RFC 7541 6.2.3", "credentials, never indexed",
         sends(head(1, after=b"\x1f\x08" + string(b"Basic YTpi")), then=reply())),
    Case("empty-name", "8.2.1", "a name without letters",
         in_turn(sends(head(1, after=literal(b"", b"1")), then=stream_error(1, Code.PROTOCOL)), served_as_before(3))),
]  # fmt: skip
