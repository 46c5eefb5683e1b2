"""Which of several things a ClientHello asks for: by what it wants to speak, by the server's name, or the default."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from txproxy.wire.client_hello import ClientHello

T = TypeVar("T")


class HelloTable(Generic[T]):
    """Finds what clients ask for.

    :param names: by host, in lower case, exact or ``*.example.com`` (one label or more).
    :param protocols: by a protocol of ALPN.
    :param default: for whoever asks for nothing of these; None if there is nothing for them.
    """

    def __init__(self, names: Mapping[str, T], protocols: Mapping[str, T], default: T | None = None) -> None:
        self._exact = {name: found for name, found in names.items() if not name.startswith("*.")}
        self._wildcard = {name[1:]: found for name, found in names.items() if name.startswith("*.")}
        self._protocols = dict(protocols)
        self.default = default
        self.is_asked = bool(names or protocols)
        """It matters what a client says; if not, all get the default."""

    def find(self, hello: ClientHello) -> T | None:
        """Return what a client asks for, or None if there is nothing for it.

        A protocol comes before the name: it says who can understand the client at all. Of several that are known, the
        one that the client would rather speak.
        """
        for protocol in hello.protocols:
            if protocol in self._protocols:
                return self._protocols[protocol]
        name = hello.server_name
        if name in self._exact:
            return self._exact[name]
        dot = name.find(".", 1)  # A wildcard stands for one label at least.
        while dot >= 0:  # The longest suffix is the most specific.
            if name[dot:] in self._wildcard:
                return self._wildcard[name[dot:]]
            dot = name.find(".", dot + 1)
        return self.default
