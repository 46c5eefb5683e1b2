"""Replies of stages in HTTP/2: what HTTP/1 lets them say is not always allowed."""

from __future__ import annotations

from txproxy.exchange import Exchange, Reply
from txproxy.pipeline import catalogue
from txproxy.test.http2_talk import Http2Case


class _Refuses:
    def on_request(self, exchange: Exchange) -> Reply:
        """Answer with fields of a connection among others."""
        return Reply(503, b"x", ((b"Connection", b"close"), (b"Retry-After", b" 1 "), (b"Keep-Alive", b"timeout=5")))


class StageReplyTests(Http2Case):
    """What is left out."""

    def test_fieldsOfAConnection(self) -> None:
        """They would make the reply malformed (RFC 9113 section 8.2.2)."""
        self.patch(catalogue, "STAGES", (*catalogue.STAGES, lambda settings, config: _Refuses()))
        stream = self.h2(self.proxy()).asks()
        head = stream.gets_head()
        self.assertEqual((head.line, head.get(b"retry-after")), (b"HTTP/2 503", b"1"))
        self.assertEqual((head.get(b"connection"), head.get(b"keep-alive")), (None, None))
