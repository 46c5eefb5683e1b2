"""One request with its reply: the record that travels through the stages and is logged at the end."""

from __future__ import annotations

from typing import Any

from txproxy.errors import ProxyError
from txproxy.policy.facts import RequestFacts
from txproxy.wire.client_hello import ClientHello
from txproxy.wire.fields import Field
from txproxy.wire.messages import ReplyHead, RequestHead

NOT_YET = -1.0
"""A moment that has not come."""

_TRIES = (
    "backend",
    "backends_tried",
    "choice",
    "connect_at",
    "connection_replaced",
    "leased_at",
    "replied_at",
    "resent",
    "retry_refused",
    "tries",
)
"""What an exchange says of where its reply came from, and when."""


class Exchange:
    """One request's life. Moments are in seconds of the monotonic clock; ``NOT_YET`` if they have not come.

    ``client`` is the downstream connection and ``server`` the upstream one while each takes part; a party that has
    finished is cut off by setting its place to None, so that it can touch neither side's next exchange.
    """

    __slots__ = (
        "added",
        "admitted_at",
        "attempt",
        "backend",
        "backends_tried",
        "body",
        "bytes_in",
        "bytes_out",
        "cache",
        "candidates",
        "choice",
        "client",
        "client_address",
        "cluster",
        "connect_at",
        "connection_replaced",
        "end_reason",
        "ended",
        "ended_at",
        "error",
        "forward",
        "head_sent",
        "id",
        "interim_sent",
        "leased_at",
        "peer",
        "reply",
        "replied_at",
        "request",
        "resent",
        "retry_refused",
        "route",
        "server",
        "span",
        "started_at",
        "status",
        "tried_at",
        "tries",
        "was_bad",
    )

    span: Any
    """Which part of which trace it is; not there unless a stage has said so, see ``pipeline.tracing``."""

    def __init__(self, id: bytes, request: RequestHead | None, client: Any, started_at: float) -> None:
        self.id = id
        self.request = request
        """None if the request could not even be understood."""
        self.client = client
        self.started_at = started_at
        """When the first byte of the request had come."""
        self.connect_at = NOT_YET
        """When it stopped waiting for a place: a connection was leased or began to be made."""
        self.admitted_at = NOT_YET
        """When the cluster's circuit breaker let it pass, if it has one."""
        self.tried_at = NOT_YET
        """When the last backend was chosen for it."""
        self.leased_at = NOT_YET
        """When it had a connection to a backend."""
        self.replied_at = NOT_YET
        """When the head of the reply had come."""
        self.ended_at = NOT_YET
        self.peer = ""
        """Address of the peer of the client connection."""
        self.client_address = ""
        """Address of the client: the peer, or what a trusted peer says."""
        self.route: Any = None
        self.cluster: Any = None
        self.backend: Any = None
        self.forward: Any = None
        """The stage that takes the exchange to a backend, once it has."""
        self.attempt: Any = None
        """What the forwarding stage remembers between tries."""
        self.server: Any = None
        self.body: Any = None
        """The request's body on its way; None if it has none."""
        self.reply: ReplyHead | None = None
        self.status = 0
        """Of the reply that was sent; 499 if the client left before its end."""
        self.bytes_in = 0
        """Content of the request's body that came in, without its framing."""
        self.bytes_out = 0
        """Content of the reply's body that was given to the client's transport, without its framing."""
        self.tries = 0
        """How often it was sent, or was to be sent, to a backend; an idle connection that was dead does not count."""
        self.backends_tried: tuple[Any, ...] = ()
        """One for each try."""
        self.candidates: Any = None
        """Iterator over the backends that may be tried next, in the order of the cluster's policy."""
        self.choice = ""
        """Why the first backend was chosen, if not by the policy's order."""
        self.resent = 0
        """Tries that were made although a backend may have acted on the request before."""
        self.retry_refused = ""
        """Why a failed try was not followed by another; empty if there was nothing to refuse."""
        self.connection_replaced = False
        """The request was sent again at once, on a new connection: an idle one turned out to be dead, or a backend
        that speaks HTTP/2 said that it had done nothing about it."""
        self.head_sent = False
        """The head of the final reply was given to the client's transport: no other reply can be sent."""
        self.was_bad = False
        """The backend's reply was counted as a failure of its own, by its status."""
        self.interim_sent = False
        """An interim reply was given to the client's transport."""
        self.added: tuple[Field, ...] = ()
        """Fields of ours that go to the client with the head of the reply."""
        self.cache = b""
        """What the cache has done for it, in one word, as X-Cache-Status says it; empty if it was not asked."""
        self.error: ProxyError | None = None
        self.end_reason = ""
        """Why it ended; ``ok`` if all went well."""
        self.ended = False

    @property
    def is_tunnel(self) -> bool:
        """Whether bytes go both ways by now, whatever they mean."""
        status, request = self.status, self.request
        return status == 101 or (200 <= status < 300 and request is not None and request.is_for_tunnel)

    def for_client(self, client: Any, request: RequestHead) -> Exchange:
        """Return an exchange of the same client's request that has another party for its reply.

        :param client: the party.
        :param request: what is asked for.
        """
        other = Exchange(self.id, request, client, self.started_at)
        other.peer, other.client_address = self.peer, self.client_address
        other.route, other.cluster = self.route, self.cluster
        return other

    def tell_tries(self, other: Exchange) -> None:
        """Have another exchange, which was answered by this one's reply, say where that came from."""
        for name in _TRIES:
            setattr(other, name, getattr(self, name))

    def cancel_upstream(self) -> None:
        """Take it away from whoever works on it: a backend, a queue, a stage, or the cache."""
        server, self.server = self.server, None
        attempt, self.attempt = self.attempt, None
        if self.body is not None:
            self.body.detach()
            self.body.let_go()
        if server is not None:
            server.cancel()
        if attempt is not None:
            attempt.cancel()

    def failed(self, error: ProxyError) -> None:
        """Keep what went wrong, without where: the frames that raised it hold this exchange.

        The two would stay until the garbage collector looks for cycles, and a peer can make many of them.

        :param error: what went wrong.
        """
        error.__traceback__ = error.__context__ = None
        self.error = error

    def timings(self) -> tuple[float, float, float, float, float]:
        """Return seconds spent in the queue, connecting, waiting for the reply, transferring it, and in total.

        The first four add up to the last. Whatever it did when it ended took the rest of its time; an exchange that no
        backend was sought for spent all of it on its reply.
        """
        start, connect, leased, replied, end = (
            self.started_at,
            self.connect_at,
            self.leased_at,
            self.replied_at,
            self.ended_at,
        )
        total = end - start
        if connect == NOT_YET:
            return (total, 0.0, 0.0, 0.0, total) if self.backend is not None else (0.0, 0.0, 0.0, total, total)
        if leased == NOT_YET:
            return connect - start, end - connect, 0.0, 0.0, total
        if replied == NOT_YET:
            return connect - start, leased - connect, end - leased, 0.0, total
        return connect - start, leased - connect, replied - leased, end - replied, total

    def backend_names(self) -> str:
        """Return the backends that were tried, in turn, with commas between them; empty if there is none."""
        return ",".join([backend.name for backend in self.backends_tried])

    def __repr__(self) -> str:
        state = f"ended {self.end_reason}" if self.ended else f"status {self.status}, tries {self.tries}"
        return f"<Exchange {self.id.decode('latin-1')} {state}>"


class Passage(Exchange):
    """One connection of a tcp listener, whose bytes are passed through unread: an exchange without a request."""

    __slots__ = ("hello",)

    def __init__(self, id: bytes, client: Any, started_at: float) -> None:
        super().__init__(id, None, client, started_at)
        self.hello: ClientHello | None = None
        """What its ClientHello says; None if that was not looked at."""

    def stand_in(self) -> RequestHead:
        """Return what those who look at requests are shown: nothing but the name that the client has asked for."""
        head = RequestHead(b"", b"", 1, [], {})
        if self.hello is not None:
            head.host = head.hostname = self.hello.server_name.encode("ascii")
        return head


def facts_of(exchange: Exchange) -> RequestFacts:
    """Return what policies and users' functions are told about an exchange's request; its head has come."""
    client = exchange.client
    hop = client.hop
    return RequestFacts(
        exchange.stand_in() if exchange.request is None else exchange.request,  # type: ignore[attr-defined]
        exchange.client_address,
        hop.scheme.decode("ascii"),
        client.settings.name,
        client.tls,
        hop.proxied,
    )


class Reply:
    """A reply that is made here instead of by a backend.

    :param status: status code.
    :param body: what is sent as content; the connection's own rules (HEAD, 204, 304) may leave it out.
    :param fields: names and values of further fields, Content-Length and Connection excepted.
    :param reason: the machine-readable end reason of the access log.
    """

    __slots__ = ("body", "fields", "reason", "status")

    def __init__(
        self, status: int, body: bytes = b"", fields: tuple[tuple[bytes, bytes], ...] = (), reason: str = "ok"
    ) -> None:
        self.status = status
        self.body = body
        self.fields = fields
        self.reason = reason
