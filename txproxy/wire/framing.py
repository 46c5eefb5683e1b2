"""How long a message is (RFC 9112 section 6): one answer, or none at all.

Two readings of one message's length are how requests are smuggled, so whatever can be read in two ways is refused,
also where the RFC would let a recipient choose.
"""

from __future__ import annotations

from txproxy.errors import BadReply, BadRequest, ExpectationFailed, ProxyError, UnsupportedCoding
from txproxy.wire.grammar import split_list
from txproxy.wire.messages import ReplyHead, RequestHead

_MAX_DIGITS = 18
"""Lengths of more digits pass 2**63 and what any peer can count."""

KEEP_ALIVE = [b"keep-alive"]
"""What browsers and most backends say in Connection; nobody changes it."""

_CODINGS = frozenset((b"gzip", b"x-gzip", b"deflate", b"compress", b"x-compress", b"identity", b"br", b"zstd"))


def set_request_framing(request: RequestHead) -> None:
    """Decide the length of a request's body and whether the connection persists (RFC 9112 sections 6.3, 9.3).

    :raises BadRequest: if the length is malformed or ambiguous.
    :raises UnsupportedCoding: for codings besides chunked, in an otherwise valid list.
    """
    known = request.known
    coding = known.get(b"transfer-encoding")
    length = known.get(b"content-length")
    if coding is not None:
        if length is not None:
            raise BadRequest("Content-Length together with Transfer-Encoding")
        if request.minor == 0:
            raise BadRequest("Transfer-Encoding in HTTP/1.0")
        if coding.lower() != b"chunked":
            _refuse_coding(coding)
        request.chunked = True
    elif length is not None:
        request.content_length = parse_content_length(length, BadRequest)
    connection = known.get(b"connection")
    if connection is not None:
        request.options = options = KEEP_ALIVE if connection == b"keep-alive" else split_list(connection)
        request.keep_alive = b"close" not in options and (request.minor >= 1 or b"keep-alive" in options)


def set_expectation(request: RequestHead) -> None:
    """Decide whether a client waits for our word before it sends its body; its length must be known already.

    :raises ExpectationFailed: for an expectation besides 100-continue (RFC 9110 section 10.1.1).
    """
    if request.minor == 0:
        return  # RFC 9110 section 10.1.1: an expectation of an HTTP/1.0 client is ignored.
    if split_list(request.known[b"expect"]) != [b"100-continue"]:
        raise ExpectationFailed("an expectation besides 100-continue")
    # A client that sends no body waits for nothing (the same section).
    request.expects_continue = request.has_body


def _refuse_coding(value: bytes) -> None:
    codings = [part.strip(b" \t").lower() for part in value.split(b",")]
    names = [coding.partition(b";")[0].strip(b" \t") for coding in codings]
    if codings.count(b"chunked") == 1 and codings[-1] == b"chunked" and set(names[:-1]) <= _CODINGS:
        raise UnsupportedCoding(f"transfer codings {value[:60]!r}")
    raise BadRequest(f"transfer codings {value[:60]!r}")


def parse_content_length(value: bytes, error: type[ProxyError]) -> int:
    """Read a Content-Length: digits only, for ``int`` would take signs, underscores and spaces too.

    :raises error: if it is anything else, or too large to count.
    """
    if not value.isdigit():
        raise error(f"Content-Length {value[:30]!r}")
    digits = value.lstrip(b"0")
    if len(digits) > _MAX_DIGITS:
        raise error("Content-Length is too large")
    return int(digits or b"0")


def has_no_body(status: int, method: bytes) -> bool:
    """Return whether a reply can have no body, whatever its fields say (RFC 9110 section 6.4.1).

    :param method: of the request that is answered.
    """
    return method == b"HEAD" or status < 200 or status == 204 or status == 304


def set_reply_framing(reply: ReplyHead, method: bytes) -> None:
    """Decide the length of a reply's body and whether the backend's connection persists (RFC 9112 section 6.3).

    :param method: of the request that is answered.
    :raises BadReply: if the length is malformed or ambiguous, even where no body can follow.
    """
    known = reply.known
    coding = known.get(b"transfer-encoding")
    length = known.get(b"content-length")
    if coding is not None and (length is not None or reply.minor == 0 or coding.lower() != b"chunked"):
        raise BadReply("Transfer-Encoding that is not simply chunked")
    size = None if length is None else parse_content_length(length, BadReply)
    connection = known.get(b"connection")
    if connection is not None:
        reply.options = options = KEEP_ALIVE if connection == b"keep-alive" else split_list(connection)
        reply.keep_alive = b"close" not in options and (reply.minor >= 1 or b"keep-alive" in options)
    if has_no_body(reply.status, method):
        reply.content_length = 0
    elif coding is not None:
        reply.chunked = True
    elif size is not None:
        reply.content_length = size
    else:
        reply.until_close = True
        reply.keep_alive = False
