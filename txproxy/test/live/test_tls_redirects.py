"""From http to https: redirects, and what tells browsers to stay."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .client import Client
from .helpers import get
from .peers import Backend, ProxyProcess, raw_exchange
from .replies import Reply
from .test_forwarding import seen
from .tls_client import https_get, trusting
from .tls_front import Front, front, listener, section
from .tls_identities import Issuer


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A listener for https, one that leads there, one that leads to another port, and one for http as it is."""
    directory = tmp_path_factory.mktemp("redirects")
    root = Issuer()
    leaf = root.leaf("a.example")
    with Backend() as backend:
        config = front(
            backend.address,
            listener("main", 'tls = "main"'),
            listener("web"),
            listener("redirect", "redirect_https = true"),
            listener("redirect-8443", "redirect_https = true\nhttps_port = 8443"),
            section("main", [leaf.save(directory, "a")]),
            route='hsts = "max-age=63072000"',
        )
        with ProxyProcess(config) as proxy:
            yield Front(proxy, backend, root, {"a": leaf}, directory)
            assert backend.violations == []


def _location(reply: Reply) -> str | None:
    assert reply.status == 308, reply
    return reply.value("Location")


def test_http_is_redirected(shop: Front) -> None:
    """T9: 308 to the same host, path and query over https, whatever the method; no backend is asked."""
    port = shop.port("redirect")
    before = len(shop.backend.requests)
    assert _location(get(port, "/p?q=1&r=%20/x;y", host="h.example")) == "https://h.example/p?q=1&r=%20/x;y"
    assert _location(get(port, "/", host="h.example:8080")) == "https://h.example/"
    assert _location(get(port, "/p", host="[::1]:80")) == "https://[::1]/p"
    for method in ("HEAD", "DELETE"):
        assert _location(get(port, "/p", method=method, host="h.example")) == "https://h.example/p"
    assert _location(get(port, "/p", method="POST", body=b"x" * 1000, host="h.example")) == "https://h.example/p"
    assert _location(get(port, "http://other.example/p?q", host="h.example")) == "https://other.example/p?q"
    assert _location(get(shop.port("redirect-8443"), "/p?q", host="h.example:80")) == "https://h.example:8443/p?q"
    with Client(port) as client:
        assert [client.request(f"/{n}", host="h").status for n in range(3)] == [308] * 3, "keep-alive"
    assert raw_exchange(port, b"GET / HTTP/1.1\r\nHost: h\r\nHost: i\r\n\r\n").statuses == [400]
    assert len(shop.backend.requests) == before


def test_acme_challenges_are_not_redirected(shop: Front) -> None:
    """T9: what an authority asks for over http to give out certificates reaches the backend (RFC 8555 section 8.3)."""
    port = shop.port("redirect")
    reply = get(port, "/.well-known/acme-challenge/token_1", host="h.example")
    assert seen(reply)["target"] == "/.well-known/acme-challenge/token_1"
    for near in ("/.well-known/acme-challengeX", "/x/.well-known/acme-challenge/y", "/.well-known/other"):
        assert get(port, near, host="h.example").status == 308, near


def test_hsts_is_for_https_only(shop: Front) -> None:
    """T9: Strict-Transport-Security is sent over https and never over http (RFC 6797 section 7.2)."""
    name = "Strict-Transport-Security"
    assert https_get(shop.port("main"), context=trusting(shop.root.pem)).value(name) == "max-age=63072000"
    assert get(shop.port("web")).values(name) == []
    assert get(shop.port("redirect")).values(name) == []
    assert get(shop.port("redirect"), "/.well-known/acme-challenge/x").values(name) == []
