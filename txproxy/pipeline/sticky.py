"""The stage that keeps a client at its backend, by a cookie."""

from __future__ import annotations

from txproxy.exchange import Exchange
from txproxy.wire.cookies import cookies_of


class Sticky:
    """Sets the cookie of the backend that has replied, unless the request came with it.

    Choosing the backend by the cookie is the cluster's: ``policy/sticky``.
    """

    def on_reply(self, exchange: Exchange) -> None:
        """Add a Set-Cookie field if the exchange's cluster is sticky and the client does not have the right cookie."""
        sticky = exchange.cluster.sticky
        if sticky is None or exchange.backend is None:
            return  # What a cache has stored comes from nobody.
        request, reply = exchange.request, exchange.reply
        assert request is not None and reply is not None
        value = sticky.value_for(exchange.backend.name)
        if value not in cookies_of(request.fields, sticky.cookie_name):
            # Lax: a link from elsewhere leads to the same backend, other sites' own requests carry no cookie.
            cookie = b"%b=%b; Path=/; HttpOnly; SameSite=Lax" % (sticky.cookie_name, value)
            if exchange.client.hop.scheme == b"https":
                cookie += b"; Secure"
            reply.fields.append((b"Set-Cookie", cookie))
