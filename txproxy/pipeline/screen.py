"""What a route does not let pass, before a backend is looked for."""

from __future__ import annotations

from txproxy.errors import BadRequest, BodyTooLarge, LoopDetected, MethodRefused
from txproxy.exchange import Exchange, Reply
from txproxy.wire.forwarding import LAST_VIA_ENTRIES, via_count

_MADE_UP_BY_THE_LAST = (b"TRACE", b"OPTIONS")


class Screen:
    """Refuses CONNECT, dot segments, bodies that are declared too large, circles, and what is meant for us.

    :param via_name: our name in Via.
    :param allow_dot_segments: let targets with dot segments pass.
    :param max_body_bytes: 0 for no limit; what has no declared length is counted as it comes.
    :param allow_connect: let CONNECT pass; a backend decides on it.
    """

    goes_by_head = True

    def __init__(
        self, via_name: bytes, allow_dot_segments: bool, max_body_bytes: int, allow_connect: bool = False
    ) -> None:
        self._via_name = via_name
        self._allow_dot_segments = allow_dot_segments
        self._max_body_bytes = max_body_bytes
        self._allow_connect = allow_connect

    def on_request(self, exchange: Exchange) -> Reply | None:
        """Refuse by raising, answer what only we may answer, or let it pass."""
        request = exchange.request
        assert request is not None
        if request.suspicious and not self._allow_dot_segments:
            raise BadRequest("dot segments, a fragment, or a broken escape in the target")
        if request.method == b"CONNECT":
            if not self._allow_connect:
                raise MethodRefused("CONNECT")
            if request.has_body:
                # RFC 9110 section 9.3.6: it means nothing, and a backend could take it for the beginning of a tunnel.
                raise BadRequest("CONNECT with content")
        known = request.known
        if len(known) == 1 and b"host" in known:
            return None
        if self._max_body_bytes and (request.content_length or 0) > self._max_body_bytes:
            raise BodyTooLarge(f"Content-Length {request.content_length}")
        if b"via" in known and via_count(request, self._via_name) >= LAST_VIA_ENTRIES:
            raise LoopDetected("Via names us too often")
        if b"max-forwards" in known and request.method in _MADE_UP_BY_THE_LAST and known[b"max-forwards"].isdigit():
            return self._answer_as_last(exchange)
        return None

    def _answer_as_last(self, exchange: Exchange) -> Reply | None:
        """Answer in the origin's place if the request may go no further (RFC 9110 section 7.6.2)."""
        request = exchange.request
        assert request is not None
        if int(request.known[b"max-forwards"][:9]):
            return None
        if request.method == b"TRACE":
            # Sending a request back with its cookies is how TRACE was abused; a recipient may refuse it.
            raise MethodRefused("TRACE that ends here")
        return Reply(200)
