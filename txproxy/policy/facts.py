"""What users' functions and balancing policies are told about a request."""

from __future__ import annotations

from txproxy.wire.fields import FieldView
from txproxy.wire.messages import RequestHead


class RequestFacts:
    """A request as ``choose`` functions and balancing policies see it. Text is Latin-1, so that no byte is lost.

    Text is made when it is asked for, so that whoever asks for nothing pays for nothing.

    :param head: the request's head, as it was parsed; shared by many requests, so read it only.
    :param client: address of the client: the peer, or what a trusted peer says.
    :param scheme: ``http`` or ``https``.
    :param listener: name of the listener that it came to.
    """

    __slots__ = ("_headers", "client", "head", "listener", "scheme")

    def __init__(self, head: RequestHead, client: str, scheme: str, listener: str) -> None:
        self.head = head
        self.client = client
        self.scheme = scheme
        self.listener = listener
        self._headers: FieldView | None = None

    @property
    def method(self) -> str:
        """The method, in the client's spelling."""
        return self.head.method.decode("latin-1")

    @property
    def target(self) -> str:
        """Origin-form or ``*``, query included."""
        return self.head.target.decode("latin-1")

    @property
    def path(self) -> str:
        """The normal form of the path."""
        return self.head.path.decode("latin-1")

    @property
    def host(self) -> str:
        """Lower case, without a port."""
        return self.head.hostname.decode("latin-1")

    @property
    def headers(self) -> FieldView:
        """The fields as a mapping of text that takes names in any case."""
        headers = self._headers
        if headers is None:
            headers = self._headers = FieldView(self.head.fields)
        return headers

    def __repr__(self) -> str:
        return f"<RequestFacts {self.method} {self.target!r} host={self.host!r} of {self.client}>"


NO_FACTS = RequestFacts(RequestHead(b"", b"", 1, [], {}), "", "", "")
"""For policies that read nothing of the request."""
