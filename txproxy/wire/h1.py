"""HTTP/1.1 message heads (RFC 9112): bytes to a model and back. Bodies are read in ``bodies``."""

from __future__ import annotations

import re

from txproxy.errors import (
    BadReply,
    BadRequest,
    HeadersTooLarge,
    UnsupportedVersion,
    UriTooLong,
)
from txproxy.wire import framing
from txproxy.wire.addressing import set_authority, set_target
from txproxy.wire.fields import FieldTokenizer
from txproxy.wire.grammar import is_token
from txproxy.wire.heads import check_sizes
from txproxy.wire.limits import REPLY_LIMITS, HeadLimits
from txproxy.wire.messages import ReplyHead, RequestHead

_USUAL_METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH"))
_VERSION = re.compile(rb"HTTP/([0-9])\.([0-9])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?")
_DECISIVE = frozenset((b"connection", b"content-length", b"expect", b"transfer-encoding"))
"""Fields that say what follows a request's head."""


def parse_request_head(head: bytes, tokenizer: FieldTokenizer, limits: HeadLimits) -> RequestHead:
    """Understand one request head.

    :param head: from the method to the empty line's CRLF.
    :raises BadRequest: for anything that is malformed or ambiguous (RFC 9112 sections 2 to 6).
    :raises UriTooLong: for a request line over its limit.
    :raises HeadersTooLarge: for fields over their limits.
    :raises UnsupportedVersion: for another major version.
    :raises UnsupportedCoding: for a transfer coding besides chunked.
    :raises ExpectationFailed: for an expectation besides 100-continue.
    """
    if len(head) > limits.small_bytes:
        check_sizes(head, limits, UriTooLong, HeadersTooLarge)
    line, _, section = head.partition(b"\r\n")
    method, target, minor = parse_request_line(line, limits)
    lines, known = tokenizer.tokenize(section, BadRequest)
    if len(lines) > limits.fields:
        raise HeadersTooLarge(f"more than {limits.fields} fields")
    request = RequestHead(method, target, minor, None, known, lines)
    set_target(request)
    set_authority(request)
    if not _DECISIVE.isdisjoint(known):
        framing.set_request_framing(request)
        if b"expect" in known:
            framing.set_expectation(request)
    if method == b"CONNECT":
        request.keep_alive = False  # What was sent ahead of a refusal is no request (RFC 9112 section 9.3).
    return request


def parse_request_line(line: bytes, limits: HeadLimits) -> tuple[bytes, bytes, int]:
    """Split and check a request line (RFC 9112 section 3).

    :return: method, target as it was sent, and the minor version; a minor version above 1 counts as 1.
    """
    if len(line) > limits.line_bytes:
        raise UriTooLong(f"request line of over {limits.line_bytes} bytes")
    parts = line.split(b" ")
    if len(parts) != 3:
        raise BadRequest("request line is not three words with one space between")
    method, target, version = parts
    if method not in _USUAL_METHODS and not is_token(method):
        raise BadRequest("method is not a token")
    minor = 1 if version == b"HTTP/1.1" else _minor_version(version)
    if not target:
        raise BadRequest("no target")
    return method, target, minor


def _minor_version(version: bytes) -> int:
    found = _VERSION.fullmatch(version)
    if found is None:
        raise BadRequest(f"not a version of HTTP: {version[:20]!r}")
    if found.group(1) != b"1":
        raise UnsupportedVersion(f"major version {found.group(1).decode()}")
    return min(int(found.group(2)), 1)


def parse_reply_head(head: bytes, tokenizer: FieldTokenizer, method: bytes) -> ReplyHead:
    """Understand one reply head, interim or final.

    :param head: from the version to the empty line's CRLF.
    :param method: of the request that is answered; it decides whether a body follows (RFC 9112 section 6.3).
    :raises BadReply: for anything that is malformed or ambiguous.
    """
    line_end = head.index(b"\r\n")
    if len(head) > REPLY_LIMITS.small_bytes:
        check_sizes(head, REPLY_LIMITS, BadReply, BadReply)
    found = _STATUS_LINE.fullmatch(head, 0, line_end)
    if found is None:
        raise BadReply(f"not a status line: {head[: min(line_end, 60)]!r}")
    minor, status, reason = found.groups()
    lines, known = tokenizer.tokenize(head[line_end + 2 :], BadReply)
    if len(lines) > REPLY_LIMITS.fields:
        raise BadReply(f"more than {REPLY_LIMITS.fields} fields")
    reply = ReplyHead(int(status), reason or b"", 1 if minor != b"0" else 0, None, known, lines)
    framing.set_reply_framing(reply, method)
    return reply
