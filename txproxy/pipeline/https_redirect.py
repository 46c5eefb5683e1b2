"""Sends the clients of a plain listener to https."""

from __future__ import annotations

import re
from typing import Any

from txproxy.errors import BadRequest
from txproxy.exchange import Exchange, Reply
from txproxy.wire.grammar import split_list
from txproxy.wire.messages import RequestHead

_DEFAULT_PORT = 443
# RFC 8555 section 8.3: certificates are proved over plain http. One segment behind the prefix and nothing that any
# backend reads as more than that, for whatever matches is served without TLS.
_ACME = re.compile(rb"/\.well-known/acme-challenge/[A-Za-z0-9._~-]*")
_SLASH = b"/"


class HttpsRedirect:
    """Answers each request with the place where it is served over https (RFC 9110 section 15.4.9).

    :param router: takes what is not redirected: challenges of certificate authorities, requests that ask for no path,
        and those that came to a trusted proxy in front by https.
    :param https_port: where https is served.
    """

    def __init__(self, router: Any, https_port: int) -> None:
        self._start = router.start
        self._port = b"" if https_port == _DEFAULT_PORT else b":%d" % https_port

    def start(self, exchange: Exchange) -> None:
        """Redirect an exchange, or send it on.

        :raises BadRequest: if a request has no host.
        """
        request = exchange.request
        assert request is not None
        path = request.path
        if (
            path[:1] != _SLASH
            or not request.suspicious
            and _ACME.fullmatch(path)
            or exchange.client.hop.trusted
            and _came_by_https(request)
        ):
            self._start(exchange)
            return
        if not request.hostname:
            raise BadRequest("no host to redirect to")
        # The host has passed the grammar of authorities and the target that of targets; neither holds a byte above
        # 0x7F, a control or a space. The target is the client's own, so that no path is read in another way there.
        location = b"https://%b%b%b" % (request.hostname, self._port, request.target)
        fields = ((b"Content-Type", b"text/plain; charset=utf-8"), (b"Location", location))
        text = b"308 Permanent Redirect\nThis is served over https.\nRequest id: %b\n" % exchange.id
        exchange.client.respond(exchange, Reply(308, text, fields, "redirected"))


def _came_by_https(request: RequestHead) -> bool:
    """Return whether a proxy in front says that its client spoke https: a redirect would go round in a circle."""
    # Where several proxies have added theirs the client's is the first.
    return split_list(request.known.get(b"x-forwarded-proto", b"").lower())[:1] == [b"https"]
