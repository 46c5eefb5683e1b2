"""What must hold for any bytes of HTTP/1: heads, bodies, targets."""

from __future__ import annotations

from fuzz.checks import pieces_of, require
from txproxy.errors import BadBody, BadReply
from txproxy.policy.addresses import TrustedPeers, parse_address
from txproxy.test.malformed import REPLIES, REQUESTS
from txproxy.test.wire.judging import judge_reply, judge_request
from txproxy.test.wire.reading import (
    HOP,
    TRUSTED_HOP,
    Read,
    forwarded,
    read_body,
    read_reply,
    read_request,
    reply_of,
    request_of,
    single_bytes,
)
from txproxy.wire.bodies import ChunkedReader, write_chunk
from txproxy.wire.fields import parse_trailers
from txproxy.wire.forwarding import RequestRules, via_count, write_last_chunk, write_reply_head
from txproxy.wire.grammar import split_authority
from txproxy.wire.target import check_target, escape_high_bytes, normal_path, plain_path, split_absolute

_RULES = (RequestRules(forwarded=True), RequestRules(allow_underscores=True), RequestRules(add=((b"X-A", b"b"),)))
_OURS = TrustedPeers(["10.0.0.0/8"])
_MOST_SINGLE_BYTES = 4096
_MOST_SEED_BYTES = 4096


def request_heads(data: bytes) -> None:
    """A request is understood in one way however it comes, and what is sent on means the same."""
    whole = read_request([data])
    _same(whole, read_request(pieces_of(data)))
    if len(data) <= _MOST_SINGLE_BYTES:
        _same(whole, read_request(single_bytes(data)))
    require(whole.head_error in (0, 400, 414, 417, 431, 501, 505), "a refused head has a status of its own")
    if whole.head is None:
        return
    start = _start_of_message(data)
    request = request_of(data[start : data.index(b"\r\n\r\n", start) + 4])
    require(not (request.chunked and request.content_length is not None), "a request has one length")
    via_count(request, b"txproxy")
    for hop in (HOP, TRUSTED_HOP):
        for host in (None, b"b.example:81"):
            plain = forwarded(request, hop, host)
            _means_the_same(data, plain, host)
            for rules in _RULES:
                judge_request(forwarded(request, hop, host, rules))
    client = _OURS.client_of("10.0.0.1", request.known.get(b"x-forwarded-for"))
    require(parse_address(client) is not None, "a client has an address")


def _start_of_message(data: bytes) -> int:
    start = 0
    while data.startswith(b"\r\n", start):
        start += 2
    return start


def _means_the_same(data: bytes, sent: bytes, host: bytes | None) -> None:
    judge_request(sent)
    start = _start_of_message(data)
    before = request_of(data[start : data.index(b"\r\n\r\n", start) + 4])
    again = request_of(sent)
    require(again.method == before.method, "the method goes on")
    require(again.target == before.target, "the target goes on")
    require((again.content_length, again.chunked) == (before.content_length, before.chunked), "the length goes on")
    require(again.host == (before.host if host is None else host), "the host goes on, or is replaced")
    require(again.path == before.path, "the path goes on")
    require(again.keep_alive, "backends are asked to keep the connection")


def reply_heads(data: bytes) -> None:
    """A reply is understood in one way however it comes, and what is sent on means the same."""
    for method in (b"GET", b"HEAD"):
        interim, whole = read_reply([data], method)
        for pieces in (pieces_of(data), single_bytes(data[:_MOST_SINGLE_BYTES])):
            if len(data) <= _MOST_SINGLE_BYTES or isinstance(pieces, list):
                other_interim, other = read_reply(pieces, method)
                require(interim == other_interim, "interim replies are the same in pieces")
                _same(whole, other)
        require(whole.head_error in (0, 502), "a refused head is the backend's fault")
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return
    try:
        reply = reply_of(data[: end + 4])
    except BadReply:
        return
    lengths = [reply.content_length is not None, reply.chunked, reply.until_close]
    require(lengths.count(True) == 1, "a reply has one length")
    coding = b"\r\nTransfer-Encoding: chunked" if reply.chunked else b""
    sent = write_reply_head(reply, coding + b"\r\nVia: 1.1 txproxy\r\n\r\n")
    judge_reply(sent)
    again = reply_of(sent)
    require((again.status, again.reason) == (reply.status, reply.reason), "status and reason go on")
    require((again.content_length, again.chunked) == (reply.content_length, reply.chunked), "the length goes on")


def chunked_bodies(data: bytes) -> None:
    """A body is the same content in any pieces, and is read back after we wrote it."""
    whole = read_body(ChunkedReader(BadBody), [data])
    _same(whole, read_body(ChunkedReader(BadBody), pieces_of(data)))
    if len(data) <= _MOST_SINGLE_BYTES:
        _same(whole, read_body(ChunkedReader(BadBody), list(single_bytes(data))))
    if whole.complete:
        require(data.endswith(whole.rest), "what follows a body is what came")
        written = (write_chunk(whole.content) if whole.content else b"") + write_last_chunk(list(whole.trailers))
        again = read_body(ChunkedReader(BadReply), [written])
        require(again.complete, "what we write ends")
        require(again.content == whole.content, "content goes on")
        require(set(again.trailers) <= set(whole.trailers), "no trailer is made up")
    if data.endswith(b"\r\n"):
        parse_trailers(data, BadBody)


def targets(data: bytes) -> None:
    """A target is refused or has one normal form, which is its own; dot segments never hide in it."""
    split_authority(data)
    target = b"/" + data
    odd = check_target(target)
    escaped = escape_high_bytes(target)
    path, dotted = normal_path(escaped)
    short = plain_path(escaped)
    require(short is None or (not odd and (short, False) == (path, dotted)), "the short way gives the same")
    require(path.startswith(b"/"), "a path begins with a slash")
    require(b"//" not in path, "slashes are merged")
    if not odd:
        require(normal_path(path) == (path, False), "a normal path is its own normal form")
    authority, origin = split_absolute(b"http://" + data)
    require(split_authority(authority) is not None, "an authority is valid")
    require(origin.startswith(b"/"), "an origin-form begins with a slash")


def _same(whole: Read, other: Read) -> None:
    """Which of several faults is seen first may differ, and how much of a broken body was read; nothing else."""
    if whole.head_error:
        require(other.head_error, "a head that is refused is refused in pieces too")
    elif whole.body_error:
        require(other.body_error == whole.body_error, "a broken body is broken in pieces too")
        require(other.head == whole.head, "its head is the same")
    else:
        require(other == whole, "pieces make no difference")


def seeds() -> dict[str, list[bytes]]:
    """Return inputs to begin with, by the name of their check, from the table of malformed messages."""
    requests = [case.raw for case in REQUESTS if len(case.raw) <= _MOST_SEED_BYTES]
    bodies = [case.body for case in REQUESTS] + [case.body for case in REPLIES]
    lines = [raw.partition(b"\r\n")[0].split(b" ") for raw in requests]
    return {
        "request_heads": requests,
        "reply_heads": [case.raw for case in REPLIES if len(case.raw) <= _MOST_SEED_BYTES],
        "chunked_bodies": [body for body in bodies if 0 < len(body) <= _MOST_SEED_BYTES],
        "targets": [words[1].removeprefix(b"/") for words in lines if len(words) > 1],
    }
