"""The cache between other people's software: curl and HTTP/2 in front of it, nginx behind it."""

from __future__ import annotations

import gzip
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from .cache_front import FRESH, Answer, Origin, cached, facts
from .helpers import MIB, get
from .http2_front import Curled, connect, curl, section
from .moved_clock import MovedClock
from .peers import Backend, Client, PeerProxy, ProxyProcess, config_for
from .tls_client import https_get, trusting
from .tls_front import Front, front, listener, needed
from .tls_identities import Issuer

BODY = random.Random(5).randbytes(300_000)


class Shop:
    """A proxy with a cache behind listeners of each kind, and its origin."""

    def __init__(self, front: Front, origin: Origin) -> None:
        self.front = front
        self.origin = origin

    def get(self, scheme: str, version: str, target: str) -> tuple[bytes, str | None, str | None]:
        """Make a request; return the body, X-Cache-Status and Age."""
        if version == "2":
            with connect(self.front, "https" if scheme == "https" else "web") as client:
                stream = client.request(target)
                return bytes(stream.body), stream.value("X-Cache-Status"), stream.value("Age")
        if scheme == "https":
            reply = https_get(self.front.port("https"), target, context=trusting(self.front.root.pem))
        else:
            reply = get(self.front.port("web"), target)
        return reply.body, reply.value("X-Cache-Status"), reply.value("Age")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """A listener with TLS and one without, each for both versions of HTTP."""
    directory, root, origin = tmp_path_factory.mktemp("cache"), Issuer(), Origin()
    leaf = root.leaf("a.example")
    with Backend(origin) as backend:
        config = front(
            backend.address,
            listener("https", 'tls = "main"'),
            listener("web"),
            section("main", [leaf.save(directory, "main")]),
            route="cache = true",
        )
        with ProxyProcess(config) as proxy:
            yield Shop(Front(proxy, backend, root, {"main": leaf}, directory), origin)
            assert backend.violations == []


@pytest.mark.parametrize("first", ["1.1", "2"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_all_versions_share_what_is_stored(shop: Shop, scheme: str, first: str) -> None:
    """What a client of one version of HTTP has fetched is a hit for those of the other, small and large."""
    second = "2" if first == "1.1" else "1.1"
    for target, body in ((f"/{scheme}-{first}", b"small"), (f"/{scheme}-{first}-large", BODY)):
        shop.origin.says(target, Answer(body))
        assert shop.get(scheme, first, target)[:2] == (body, "MISS")
        for version in (second, first, second):
            found, word, age = shop.get(scheme, version, target)
            assert (found, word) == (body, "HIT") and age is not None
        assert shop.origin.count(target) == 1


def test_schemes_share_nothing(shop: Shop) -> None:
    """http and https are two URLs (RFC 9110 section 4.2.2)."""
    assert [shop.get(scheme, "1.1", "/schemes")[1] for scheme in ("http", "https") * 2] == [
        "MISS",
        "MISS",
        "HIT",
        "HIT",
    ]


def test_many_streams_of_one_connection(shop: Shop) -> None:
    """A crowd on one connection of HTTP/2: one fetch; all bodies the same, some in part."""
    shop.origin.says("/streams", Answer(BODY))
    with connect(shop.front, "https") as client:
        streams = [client.open("/streams") for _ in range(50)]
        part = client.open("/streams", fields=[(b"range", b"bytes=100-199")])
        client.finish(*streams, part)
    assert {stream.body == BODY for stream in streams} == {True}
    assert part.body in (BODY, BODY[100:200])
    assert shop.origin.count("/streams") <= 2


@pytest.mark.parametrize("version", ["--http1.0", "--http1.1", "--http2"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_curl(shop: Shop, tmp_path: Path, scheme: str, version: str) -> None:
    """curl gets misses and hits, HEAD, 304 and 206 of them, in every version."""
    target = f"/curl-{scheme}{version}"
    shop.origin.says(target, Answer(BODY, f'{FRESH}ETag: "one"\r\n'))

    def fetched(*arguments: str) -> Curled:
        return curl(shop.front, tmp_path, f"{scheme}://a.example{target}", version, *arguments)

    miss, hit = fetched(), fetched()
    assert (miss.value("X-Cache-Status"), hit.value("X-Cache-Status")) == ("MISS", "HIT")
    assert miss.body == hit.body == BODY
    head = fetched("-I")
    assert (head.value("Content-Length"), head.value("X-Cache-Status")) == (str(len(BODY)), "HIT")
    same = fetched("-H", 'If-None-Match: "one"')
    assert (same.statuses[-1], same.body) == (304, b"")
    part = fetched("-r", "1000-1999")
    assert (part.statuses[-1], part.body) == (206, BODY[1000:2000])
    assert shop.origin.count(target) == 1


def _nginx_with(root: Path, log: Path, more: str = "") -> str:
    """Return a configuration of nginx that serves files as fresh for a minute.

    :param log: where it writes for each request target, status and If-None-Match.
    """
    return f"""
        user root; daemon off; master_process off; pid DIRECTORY/pid; error_log DIRECTORY/errors;
        events {{ worker_connections 256; }}
        http {{
            log_format short "$request_uri $status $http_if_none_match"; access_log {log} short;
            client_body_temp_path DIRECTORY/body; proxy_temp_path DIRECTORY/proxy;
            fastcgi_temp_path DIRECTORY/fastcgi; uwsgi_temp_path DIRECTORY/uwsgi; scgi_temp_path DIRECTORY/scgi;
            {more}
            server {{ listen 127.0.0.1:PORT; root {root}; add_header Cache-Control max-age=60; }}
        }}
    """


def _asked(log: Path, target: str) -> list[tuple[str, str]]:
    """Return status and If-None-Match of each request for a target."""
    lines = [line.split(" ") for line in log.read_text().splitlines()]
    return [(status, condition.replace("\\x22", '"')) for each, status, condition in lines if each == target]


def test_nginx_as_a_backend(tmp_path: Path) -> None:
    """Files of nginx: stored by max-age, validated by its ETag, replaced once the file has changed, in part from here."""
    program = needed("nginx")
    (tmp_path / "file").write_bytes(BODY)
    tmp_path.chmod(0o755)
    log = tmp_path / "asked"
    configuration = _nginx_with(tmp_path, log)
    # Behind the real time, in which nginx lives: what it sends is never old.
    with PeerProxy([program, "-c"], configuration) as nginx, MovedClock(-3600) as clock:
        config = config_for(f"127.0.0.1:{nginx.port}", route="cache = true")
        with (
            ProxyProcess(config, module=clock.module, environment=clock.environment) as proxy,
            Client(proxy.port) as client,
        ):
            first = client.request("/file")
            etag = first.value("ETag")
            assert (first.body, first.value("X-Cache-Status")) == (BODY, "MISS")
            for _ in range(3):
                clock.advance(61)
                reply = client.request("/file")
                assert (reply.status, reply.body, reply.value("X-Cache-Status")) == (200, BODY, "REVALIDATED")
                assert facts(reply)["fwd-status"] == "304" and reply.value("ETag") == etag
                part = client.request("/file", fields="Range: bytes=5-9\r\n")
                assert (part.status, part.body, part.value("X-Cache-Status")) == (206, BODY[5:10], "HIT")
            (tmp_path / "file").write_bytes(BODY[: MIB // 10])
            assert client.request("/file").body == BODY
            clock.advance(61)
            reply = client.request("/file")
            assert (reply.body, reply.value("X-Cache-Status")) == (BODY[: MIB // 10], "EXPIRED")
            assert reply.value("ETag") != etag
            assert client.request("/file").value("X-Cache-Status") == "HIT"
            # nginx adds Cache-Control to what it has found only.
            assert [client.request("/missing").value("X-Cache-Status") for _ in range(2)] == ["MISS", "MISS"]
    asked = _asked(log, "/file")
    assert [status for status, _ in asked] == ["200", "304", "304", "304", "200"]
    assert [condition for _, condition in asked] == ["-", *[etag] * 4]


def test_nginx_with_gzip_as_a_backend(tmp_path: Path) -> None:
    """It makes the entity tag of what it compresses a weak one, and answers that with 304 and the strong one."""
    program = needed("nginx")
    text = b"one line of many\n" * 5000
    (tmp_path / "file").write_bytes(text)
    tmp_path.chmod(0o755)
    log = tmp_path / "asked"
    # By default nginx compresses nothing for a proxy, which it knows by Via.
    configuration = _nginx_with(tmp_path, log, "default_type text/html; gzip on; gzip_proxied any; gzip_vary on;")
    with PeerProxy([program, "-c"], configuration) as nginx, MovedClock(-3600) as clock:
        with Client(nginx.port) as client:
            weak = client.request("/file", fields="Accept-Encoding: gzip\r\n").value("ETag") or ""
            direct = client.request("/file", fields=f"Accept-Encoding: gzip\r\nIf-None-Match: {weak}\r\n")
            assert (direct.status, direct.value("ETag")) == (304, weak.removeprefix("W/")) and weak.startswith("W/")
        config = config_for(f"127.0.0.1:{nginx.port}", route="cache = true")
        with (
            ProxyProcess(config, module=clock.module, environment=clock.environment) as proxy,
            Client(proxy.port) as client,
        ):
            for words in (["MISS", "HIT"], *[["REVALIDATED", "HIT"]] * 3):
                for word in words:
                    reply = client.request("/file", fields="Accept-Encoding: gzip\r\n")
                    assert (reply.status, reply.value("X-Cache-Status")) == (200, word)
                    assert (reply.value("Content-Encoding"), reply.value("ETag")) == ("gzip", weak)
                    assert gzip.decompress(reply.body) == text
                clock.advance(61)
    assert _asked(log, "/file")[2:] == [("200", "-"), *[("304", weak)] * 3]


def test_a_cache_before_a_cache() -> None:
    """Two of ours in a row: Age goes on counting, and Cache-Status names both, the nearer to the origin first."""
    with cached() as inner:
        config = config_for(f"127.0.0.1:{inner.port}", route="cache = true", more='[proxy]\nvia_name = "outer"')
        with (
            MovedClock() as clock,
            ProxyProcess(config, module=clock.module, environment=clock.environment) as outer,
            Client(outer.port) as client,
        ):
            inner.get("/")
            inner.clock.advance(100)
            clock.advance(100)
            first = client.request("/")
            assert first.value("X-Cache-Status") == "MISS"
            clock.advance(10)
            second = client.request("/")
            assert second.value("X-Cache-Status") == "HIT"
            assert 110 <= int(second.value("Age") or "none") <= 112
            status = ", ".join(second.values("Cache-Status"))
            assert status.index("hit") < status.index("outer; hit"), status
            assert inner.origin.count("/") == 1
