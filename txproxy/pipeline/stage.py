"""What a stage is: a small object with hooks, each optional, that the chain of a route calls in order.

``on_request(exchange)``, ``on_reply(exchange)``
    Return None to go on, a Reply to answer now, or a Deferred or coroutine of either. Raise a ProxyError to answer with
    its status; anything else that is raised becomes a 500 with a log line. So does a Reply that agrees to a tunnel, as
    2xx to CONNECT, and a changed status that agrees to one or takes that back: the sides would not mean the same.
``goes_by_head``
    Of a stage with ``on_request``: True if it looks at nothing but the request's head, and changes nothing, so that it
    need not be asked again when the same head comes once more.
``on_end(exchange)``
    Called once for each exchange that began, whatever became of it; what it returns does not matter.
"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol

from twisted.internet.defer import Deferred

from txproxy.exchange import Exchange, Reply

Verdict = Reply | None
Decision = Verdict | Deferred[Verdict] | Coroutine[Any, Any, Verdict]


class RequestStage(Protocol):
    """A stage that looks at requests."""

    def on_request(self, exchange: Exchange) -> Decision:
        """Decide on a request whose head has come."""


class ReplyStage(Protocol):
    """A stage that looks at replies."""

    def on_reply(self, exchange: Exchange) -> Decision:
        """Decide on a reply whose head has come; it stands in ``exchange.reply`` and may be changed there."""


class EndStage(Protocol):
    """A stage that looks at what has become of exchanges."""

    def on_end(self, exchange: Exchange) -> None:
        """Take note that an exchange has ended."""
