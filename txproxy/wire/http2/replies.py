"""Heads of replies in HTTP/2 (RFC 9113 section 8.3.2): fields to a model, and a model to a header block.

A model that is made here can be passed on by any version of HTTP, and one that has come by any can be written here.
"""

from __future__ import annotations

import re

from txproxy.errors import BadReply
from txproxy.wire.fields import Field
from txproxy.wire.forwarding import NO_REPLY_RULES, ReplyRules, apply_rules, forwarded_trailers, kept_reply_fields
from txproxy.wire.framing import has_no_body, parse_content_length
from txproxy.wire.http2.compression import encode_fields, encode_status, encode_unique
from txproxy.wire.http2.sections import REQUEST_ID, check_size, read_section, read_trailers, write_section
from txproxy.wire.limits import REPLY_LIMITS
from txproxy.wire.messages import ReplyHead
from txproxy.wire.reasons import reason_phrase

_STATUS = re.compile(rb"[1-5][0-9]{2}")


def parse_reply(fields: list[Field], ended: bool, method: bytes) -> ReplyHead:
    """Understand one reply head, interim or final.

    :param ended: neither content nor trailers follow it.
    :param method: of the request that is answered; it decides whether there can be content.
    :raises BadReply: for anything that is malformed (RFC 9113 sections 8.1 to 8.3), or too large.
    """
    if not fields or fields[0][0] != b":status" or _STATUS.fullmatch(fields[0][1]) is None:
        raise BadReply("no status")
    status, kept = int(fields[0][1]), fields[1:]
    known = read_section(kept, BadReply)
    check_size(kept, REPLY_LIMITS, BadReply)
    if status == 101:
        raise BadReply("101, which HTTP/2 has not")
    if status < 200 and ended:
        raise BadReply("an interim reply that ends the stream")
    reply = ReplyHead(status, reason_phrase(status), 1, kept, known)
    reply.version = b"2.0"
    _set_framing(reply, ended, method)
    return reply


def _set_framing(reply: ReplyHead, ended: bool, method: bytes) -> None:
    """Decide the length of a reply's body (RFC 9113 section 8.1.1)."""
    length = reply.known.get(b"content-length")
    size = None if length is None else parse_content_length(length, BadReply)
    if has_no_body(reply.status, method):
        reply.content_length = 0
    elif ended:
        if size:
            raise BadReply("Content-Length without content")
        reply.content_length = 0
        reply.lacks_length = size is None
    else:
        reply.content_length = size


def parse_reply_trailers(fields: list[Field]) -> list[Field]:
    """Return the trailers of a reply.

    :raises BadReply: if they are malformed, or too large.
    """
    return read_trailers(fields, BadReply)


def write_reply(reply: ReplyHead, added: list[Field], request_id: bytes, rules: ReplyRules = NO_REPLY_RULES) -> bytes:
    """Return the header block that goes to a client.

    :param added: the fields that we set, but for the request's id.
    :param request_id: empty for an interim reply, which has none.
    :param rules: the route's own changes, applied after ours.
    """
    if rules is not NO_REPLY_RULES:
        ours = [*added, (REQUEST_ID, request_id)] if request_id else added
        fields = apply_rules(kept_reply_fields(reply) + ours, rules.remove, rules.set, rules.add)
        return encode_status(reply.status) + write_section(fields)
    block = reply.block
    if block is None:
        block = reply.block = encode_status(reply.status) + write_section(kept_reply_fields(reply))
    return block + encode_fields(added) + (encode_unique(REQUEST_ID, request_id) if request_id else b"")


def write_interim(reply: ReplyHead) -> bytes:
    """Return the header block of an interim reply, which needs nothing of ours (RFC 9110 section 15.2)."""
    return write_reply(reply, [], b"")


def write_trailers(trailers: list[Field]) -> bytes:
    """Return the header block of a trailer section without the fields that may not stand there; b"" if none is left."""
    return write_section(forwarded_trailers(trailers))
