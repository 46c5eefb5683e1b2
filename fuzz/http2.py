"""What must hold for any bytes of HTTP/2: frames, header blocks, and the fields of heads."""

from __future__ import annotations

import hpack
from hpack import HPACKError

from fuzz.checks import pieces_of, require
from txproxy.errors import BadReply
from txproxy.test.wire.http2.engine_case import FIELDS, block_of, data, headers
from txproxy.test.wire.http2.heads_case import HOP, LIMITS, PSEUDO, TRUSTED_HOP, decoded
from txproxy.test.wire.judging import judge_reply, judge_request
from txproxy.test.wire.reading import forwarded, reply_of, request_of
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import write_reply_head
from txproxy.wire.http2.compression import HeadDecoder
from txproxy.wire.http2.engine import Engine, EngineSettings
from txproxy.wire.http2.events import Event
from txproxy.wire.http2.floods import Floods
from txproxy.wire.http2.frames import PREFACE, header
from txproxy.wire.http2.replies import parse_reply, write_reply
from txproxy.wire.http2.requests import parse_request_fields, write_request
from txproxy.wire.messages import RequestHead

_SETTINGS = header(0, 4, 0, 0)
_FIELD_END, _NAME_END = b"\x1e", b"\x1f"
_MOST_LIST_BYTES = 131072


def frames(data: bytes) -> None:
    """What a client sends means the same however it comes, and never leaves the engine by an exception."""
    whole = _events_of([PREFACE + _SETTINGS + data])
    require(_events_of([PREFACE + _SETTINGS, *pieces_of(data)]) == whole, "pieces make no difference")


def _events_of(pieces: list[bytes]) -> tuple[list[Event], bytes]:
    engine = Engine(False, EngineSettings(), Floods(100))
    engine.start()
    events: list[Event] = []
    for piece in pieces:
        events += engine.receive(piece, 0.0)
    return events, engine.take()


def header_blocks(data: bytes) -> None:
    """Blocks are read as hpack reads them, up to the first that is broken."""
    ours, theirs = HeadDecoder(_MOST_LIST_BYTES), hpack.Decoder(_MOST_LIST_BYTES)
    # One that comes again may be remembered, if it depends on nothing that stands in the table.
    for block in (data, data, *pieces_of(data), data):
        expected = _read(theirs, block)
        require(_read(ours, block) == expected, "a block means what it means to hpack")
        if expected is None:
            return


def _read(decoder: hpack.Decoder, block: bytes) -> list[Field] | None:
    try:
        return [(bytes(name), bytes(value)) for name, value in decoder.decode(block, raw=True)]
    except (HPACKError, IndexError):
        return None


def http2_requests(data: bytes) -> None:
    """What is taken as a request means the same when it was sent on by either version of HTTP."""
    for ended in (True, False):
        request = parse_request_fields(fields_of(data), ended, LIMITS)
        require(request.chunked + (request.content_length is not None) == (not ended), "a body has one length")
        for hop in (HOP, TRUSTED_HOP):
            if request.method != b"CONNECT":
                _goes_on(request, hop)


def _goes_on(request: RequestHead, hop: object) -> None:
    sent = forwarded(request, hop)  # type: ignore[arg-type]
    judge_request(sent)
    _same(request, request_of(sent))
    block = write_request(request, request.target, None, hop, b"id-1")  # type: ignore[arg-type]
    _same(request, parse_request_fields(decoded(block), not request.has_body, LIMITS))


def _same(before: RequestHead, again: RequestHead) -> None:
    require(again.method == before.method, "the method goes on")
    require(again.target == before.target, "the target goes on")
    require(again.host == before.host, "the host goes on")
    require((again.content_length, again.chunked) == (before.content_length, before.chunked), "the length goes on")


def http2_replies(data: bytes) -> None:
    """What is taken as a reply means the same when it was sent on by either version of HTTP."""
    for ended in (True, False):
        try:
            reply = parse_reply(fields_of(data), ended, b"GET")
        except BadReply:
            continue
        coding = b"" if reply.content_length is not None or reply.status < 200 else b"\r\nTransfer-Encoding: chunked"
        sent = write_reply_head(reply, coding + b"\r\n\r\n")
        judge_reply(sent)
        require(reply_of(sent).status == reply.status, "the status goes on")
        again = parse_reply(decoded(write_reply(reply, [], b"")), ended, b"GET")
        require((again.status, again.content_length) == (reply.status, reply.content_length), "the length goes on")


def fields_of(data: bytes) -> list[Field]:
    """Return the fields that a text stands for: each ends with 1E, its name with 1F, in hex."""
    return [(name, value) for name, _, value in (line.partition(_NAME_END) for line in data.split(_FIELD_END))]


def _text_of(fields: list[Field]) -> bytes:
    return _FIELD_END.join(name + _NAME_END + value for name, value in fields)


def seeds() -> dict[str, list[bytes]]:
    """Return inputs to begin with, by the name of their check."""
    pseudo = list(PSEUDO.items())
    lists: list[list[Field]] = [
        pseudo,
        [*pseudo, (b"cookie", b"a=b"), (b"x", b"y"), (b"cookie", b"c=d"), (b"te", b"trailers")],
        [*pseudo, (b"host", b"a.example"), (b"content-length", b"5"), (b"expect", b"100-continue")],
        [(b":method", b"OPTIONS"), (b":scheme", b"http"), (b":path", b"*"), (b"host", b"[::1]:80")],
        [(b":method", b"CONNECT"), (b":authority", b"a:443")],
    ]
    replies: list[list[Field]] = [
        [(b":status", b"200"), (b"content-length", b"5"), (b"set-cookie", b"a=b")],
        [(b":status", b"103"), (b"link", b"</a>")],
        [(b":status", b"304"), (b"etag", b'"x"'), (b"via", b"1.1 a")],
    ]
    blocks = [block_of(fields) for fields in lists + replies]
    first = headers(1, block_of(FIELDS))
    return {
        "frames": [
            first + data(1, b"hello", True),
            headers(1, ended=True) + headers(3, whole=False) + header(1, 9, 4, 3) + b"\x82",
            first + header(8, 6, 0, 0) + b"12345678" + header(4, 3, 0, 1) + b"\0\0\0\x08",
            first + header(4, 8, 0, 1) + b"\0\0\x10\0" + header(6, 4, 0, 0) + b"\0\x04\0\0\0\x10",
            first + data(1, b"padded", pad=3) + headers(1, block_of([(b"x-sum", b"1")]), ended=True),
            first + header(8, 7, 0, 0) + b"\0\0\0\0\0\0\0\0" + header(5, 2, 0, 1) + b"\0\0\0\x01\x10",
        ],
        "header_blocks": [*blocks, b"".join(blocks[:2]), b"\x3f\xe1\x1f" + blocks[0]],
        "http2_requests": [_text_of(fields) for fields in lists],
        "http2_replies": [_text_of(fields) for fields in replies],
    }
