"""What is asked of the proxy while its work is counted. Names are those of the bench."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from pathlib import Path

from bench import certificate
from bench.work.clients import Client, Fields, Http1Client, Http2Client, NewConnections, connect, connect_tls

BODY_BYTES = 1024
UPLOAD_BYTES = 4096

# The defaults, but for limits that would end connections while the clocks take their steps.
_CONFIG = """\
[proxy]
workers = 1

[log]
path = "{directory}/txproxy.log"
access = "{directory}/access.log"
{log}
[[listener]]
name = "web"
address = "127.0.0.1:0"
keepalive_requests = 1000000000
keepalive_timeout_s = 86400
{listener}
[[route]]
name = "all"
cluster = "b"
{route}
[cluster.b]
backends = [{{ address = "127.0.0.1:{backend}" }}]

[cluster.b.pool]
idle_timeout_s = 86400
max_requests = 1000000000
{more}
"""
_TLS = """
[tls.main]
certificates = [{{ chain = "{directory}/{chain}", key = "{directory}/{key}" }}]
"""
_BROWSER: Fields = [
    ("Connection", "keep-alive"),
    ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    ("Accept", "text/html,application/xhtml+xml,*/*;q=0.8"),
    ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
    ("Accept-Encoding", "gzip, deflate, br"),
    ("Cache-Control", "max-age=0"),
    ("DNT", "1"),
    ("Priority", "u=0, i"),
    ("Sec-Fetch-Dest", "document"),
    ("Sec-Fetch-Mode", "navigate"),
    ("Sec-Fetch-Site", "same-origin"),
    ("Upgrade-Insecure-Requests", "1"),
]


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of request.

    :ivar request: returns target and fields of the request with a number. Numbers have the same number of digits.
    :ivar client: makes the client of a port.
    :ivar body: of the request; none if it is empty.
    :ivar tls: whether the listener speaks TLS.
    :ivar cached: whether the proxy answers from its cache, but for the first time.
    :ivar settings: further lines of the configuration: of ``listener``, ``log``, ``route``, or ``more`` sections.
    :ivar at_once: let the proxy see nothing before all that the client sends has arrived, so that it is no matter of
        speed whether a request comes together with its connection.
    """

    name: str
    summary: str
    request: Callable[[int], tuple[str, Fields]]
    client: Callable[[int], Client]
    body: bytes = b""
    tls: bool = False
    cached: bool = False
    at_once: bool = False
    settings: Mapping[str, str] = field(default_factory=dict)

    def config(self, directory: Path, backend: int) -> str:
        """Return the configuration of the proxy; write the files that it needs.

        :param backend: its port.
        """
        own = {place: self.settings.get(place, "") for place in ("listener", "log", "route", "more")}
        if self.tls:
            certificate.write(directory)
            own["listener"] += 'tls = "main"\n'
            own["more"] += _TLS.format(directory=directory, chain=certificate.CHAIN, key=certificate.KEY)
        if self.cached:
            own["route"] += "cache = true\n"
        return _CONFIG.format(directory=directory, backend=backend, **own)


def same(_number: int) -> tuple[str, Fields]:
    """Return a head that is always the same."""
    return "/", []


def stored(_number: int) -> tuple[str, Fields]:
    """Return the same, of what the cache has."""
    return "/cached/", []


def differing(number: int) -> tuple[str, Fields]:
    """Return a head of which no two have the same path, query or cookie."""
    return f"/goods/{number}/details?run=00000001&page={number}", [("Cookie", f"session=00000001-{number}-5be1d0a7c3")]


def browser(number: int) -> tuple[str, Fields]:
    """Return a head as a browser sends it: about 600 bytes in 15 fields."""
    own = [
        ("Referer", f"http://shop.example/list/{number}"),
        ("Cookie", f"session=00000001-{number}; theme=dark"),
    ]
    return f"/shop/items/{number}?run=00000001", [*_BROWSER, *own]


def reply(cached: bool) -> bytes:
    """Return a reply of the backend: one for a whole run, which may take longer than the second of its Date."""
    more = "Cache-Control: public, max-age=864000\r\n" if cached else ""
    head = (
        f"HTTP/1.1 200 OK\r\nServer: backend\r\nDate: {formatdate(usegmt=True)}\r\nContent-Type: text/plain\r\n"
        f"Content-Length: {BODY_BYTES}\r\nConnection: keep-alive\r\n{more}\r\n"
    )
    return head.encode() + b"x" * BODY_BYTES


def _http1(port: int) -> Client:
    return Http1Client(lambda: connect(port))


def _tls(port: int) -> Client:
    return Http1Client(lambda: connect_tls(port, "http/1.1"))


def _http2(port: int) -> Client:
    return Http2Client(lambda: connect_tls(port, "h2"))


SCENARIOS: tuple[Scenario, ...] = (
    Scenario("keepalive", "a kept connection, every head the same", same, _http1),
    Scenario("differing", "no two heads share path, query or cookie", differing, _http1),
    Scenario("browser", "heads of 600 bytes in 15 fields that differ", browser, _http1),
    Scenario("post", "a body of 4 KiB in each request", same, _http1, body=b"x" * UPLOAD_BYTES),
    Scenario(
        "newconn",
        "a connection for each request",
        same,
        lambda port: NewConnections(lambda: connect(port)),
        at_once=True,
    ),
    Scenario("cachehit", "hits in the cache, every head the same", stored, _http1, cached=True),
    Scenario("tls", "as keepalive, with TLS 1.3", same, _tls, tls=True),
    Scenario("h2", "as keepalive, with HTTP/2 over TLS 1.3", same, _http2, tls=True),
    Scenario("h2differing", "as differing, with HTTP/2 over TLS 1.3", differing, _http2, tls=True),
)
