"""What is forwarded, and how it is changed on its way."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from .helpers import get
from .peers import Backend, Client, ProxyProcess, config_for, fixed, raw, raw_exchange, unused_port
from .replies import Reply


def seen(reply: Reply) -> dict[str, Any]:
    """Return what the echoing backend was sent."""
    assert reply.status == 200, reply
    found: dict[str, Any] = json.loads(reply.value("X-Echo") or "")
    found["names"] = [name.lower() for name, _ in found["fields"]]
    found["values"] = {}
    for name, value in found["fields"]:
        found["values"].setdefault(name.lower(), []).append(value)
    return found


def test_hop_by_hop_fields_of_a_request_stay_here(proxy: ProxyProcess) -> None:
    """HF3: Connection, what it names, Keep-Alive, Proxy-*, TE: nothing of them reaches the backend."""
    reply = raw_exchange(
        proxy.port,
        b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close, X-Foo\r\nX-Foo: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Proxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\nTE: gzip\r\nUpgrade: h2c\r\nX-Kept: 2\r\n\r\n",
    ).reply
    names = seen(reply)["names"]
    gone = {"connection", "x-foo", "keep-alive", "proxy-authorization", "proxy-connection", "te", "upgrade"}
    assert not gone & set(names), names
    assert "x-kept" in names
    assert reply.value("Connection") == "close"


def test_te_trailers_is_passed_on(proxy: ProxyProcess) -> None:
    """HF3: TE: trailers may go on, then with Connection: TE (RFC 9110 section 10.1.4)."""
    values = seen(get(proxy.port, fields="TE: trailers, gzip;q=0.5\r\nConnection: TE\r\n"))["values"]
    assert values.get("te") == ["trailers"], values
    assert [value.lower() for value in values.get("connection", [])] == ["te"], values


def test_connection_cannot_name_away_what_we_set(proxy: ProxyProcess) -> None:
    """HF3: a client cannot have Host, the forwarding fields or the framing removed by naming them in Connection."""
    names = "Host, Content-Length, X-Forwarded-For, Via, X-Request-Id, X-Forwarded-Proto"
    found = seen(get(proxy.port, method="POST", body=b"abc", fields=f"Connection: {names}\r\n"))
    for name in ("host", "content-length", "x-forwarded-for", "via", "x-request-id", "x-forwarded-proto"):
        assert found["names"].count(name) == 1, (name, found)


def test_hop_by_hop_fields_of_a_reply_stay_here() -> None:
    """HF3: the same on the way back."""
    fields = (
        "Connection: X-Bar, keep-alive\r\nX-Bar: 1\r\nKeep-Alive: timeout=9\r\nProxy-Authenticate: Basic\r\n"
        'Proxy-Connection: keep-alive\r\nProxy-Authentication-Info: rspauth="x"\r\nUpgrade: h2c\r\nTE: x\r\nX-Kept: 2\r\n'
    )
    with Backend(fixed(fields=fields)) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        reply = get(proxy.port)
    names = {name.lower() for name, _ in reply.fields}
    unwanted = b"x-bar keep-alive proxy-authenticate proxy-connection proxy-authentication-info upgrade te connection"
    assert not names & set(unwanted.split()), names
    assert reply.value("X-Kept") == "2"
    assert reply.body == b"ok"


FORGED = (
    "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Host: evil.example\r\nX-Forwarded-Port: 1\r\n"
)


def test_forwarding_fields_of_strangers_are_replaced(proxy: ProxyProcess) -> None:
    """HF4: from a peer that is not trusted only what the proxy itself has seen goes on."""
    values = seen(get(proxy.port, host="shop.example", fields=FORGED + "Forwarded: for=1.1.1.1\r\n"))["values"]
    assert values["x-forwarded-for"] == ["127.0.0.1"]
    assert values["x-forwarded-proto"] == ["http"]
    assert values["x-forwarded-host"] == ["shop.example"]
    assert values["x-forwarded-port"] == [str(proxy.port)]
    assert values.get("forwarded", []) == []
    (line,) = proxy.access_lines(1)
    assert line["client"] == "127.0.0.1"


def test_forwarding_fields_of_trusted_peers_are_kept(backend: Backend) -> None:
    """HF5: behind a trusted peer the client is the last address that is not trusted, in the log and upstream."""
    config = config_for(backend.address, more='[proxy]\ntrusted_proxies = ["127.0.0.0/8", "10.0.0.0/8"]')
    with ProxyProcess(config) as proxy:
        fields = "X-Forwarded-For: 6.6.6.6, 203.0.113.9, 10.1.1.1\r\nX-Forwarded-Proto: https\r\n"
        values = seen(get(proxy.port, fields=fields + "X-Request-Id: from-the-edge-1\r\n"))["values"]
        (line,) = proxy.access_lines(1)
    chain = [part.strip() for part in ",".join(values["x-forwarded-for"]).split(",")]
    assert chain == ["6.6.6.6", "203.0.113.9", "10.1.1.1", "127.0.0.1"]
    assert values["x-forwarded-proto"] == ["https"]
    assert values["x-request-id"] == ["from-the-edge-1"]
    assert line["client"] == "203.0.113.9"
    assert line["request_id"] == "from-the-edge-1"


def test_forwarded_is_sent_when_asked_for(backend: Backend) -> None:
    """HF4: ``forwarded = true`` adds RFC 7239's field."""
    with ProxyProcess(config_for(backend.address, route="forwarded = true")) as proxy:
        (value,) = seen(get(proxy.port, host="shop.example", fields="Forwarded: for=6.6.6.6\r\n"))["values"][
            "forwarded"
        ]
    assert "6.6.6.6" not in value
    parts = dict(part.strip().split("=", 1) for part in value.lower().split(";"))
    assert parts["for"].strip('"') == "127.0.0.1"
    assert parts["host"].strip('"') == "shop.example"
    assert parts["proto"] == "http"


@pytest.mark.parametrize(
    "head",
    [
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +5\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 5\r\n\r\nabcde",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\nHost: a\n\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n folded\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    ],
)
def test_ambiguous_requests_are_refused(shared: tuple[Backend, ProxyProcess], head: bytes) -> None:
    """HF8: 400 and close; the backend is sent nothing, and what follows is not taken for a request."""
    backend, proxy = shared
    mark = backend.mark()
    exchanged = raw_exchange(proxy.port, head + b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n")
    assert exchanged.statuses == [400]
    assert backend.since(mark) == []


def test_a_bad_chunk_aborts_the_backend(shared: tuple[Backend, ProxyProcess]) -> None:
    """HF8: an error in the body ends the upstream connection, which is neither completed nor used again."""
    backend, proxy = shared
    exchanged = raw_exchange(
        proxy.port,
        b"POST /bad HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n0x1\r\nf\r\n0\r\n\r\n",
    )
    assert exchanged.statuses in ([400], [])
    assert b"/bad" not in [request.target for request in backend.requests]
    assert get(proxy.port, "/after").status == 200
    on = [connection for connection in backend.connections if b"POST /bad " in connection.received]
    assert all(b"/after" not in connection.received for connection in on)


@pytest.fixture(scope="module")
def shared() -> Any:
    """One backend and one proxy for tests that leave nothing behind."""
    with Backend() as backend, ProxyProcess(config_for(backend.address)) as proxy:
        yield backend, proxy


def test_host_is_kept_or_set(backend: Backend) -> None:
    """HF9: host = keep, backend, literal; X-Forwarded-Host holds what the client sent."""
    config = (
        '[[listener]]\nname = "web"\naddress = "127.0.0.1:0"\n'
        '[[route]]\nname = "keep"\npath = "/keep"\ncluster = "c"\n'
        '[[route]]\nname = "backend"\npath = "/backend"\ncluster = "c"\nhost = "backend"\n'
        '[[route]]\nname = "literal"\npath = "/literal"\ncluster = "c"\nhost = "literal:inner.example:99"\n'
        f'[cluster.c]\nbackends = [{{ address = "{backend.address}" }}]\n'
    )
    with ProxyProcess(config) as proxy:
        hosts = {}
        for path in ("keep", "backend", "literal"):
            values = seen(get(proxy.port, f"/{path}", host="Shop.example:8080"))["values"]
            assert values["x-forwarded-host"] == ["Shop.example:8080"]
            (hosts[path],) = values["host"]
    assert hosts == {"keep": "Shop.example:8080", "backend": backend.address, "literal": "inner.example:99"}


def test_prefixes_are_stripped_and_the_rest_is_untouched() -> None:
    """HF10: strip_prefix byte for byte, longest prefix first, hosts before paths; no match is ours to answer."""
    config = (
        '[[listener]]\nname = "web"\naddress = "127.0.0.1:0"\n'
        '[[route]]\nname = "api"\npath = "/api"\nstrip_prefix = "/api"\ncluster = "c"\n'
        '[[route]]\nname = "deep"\npath = "/api/deep/"\ncluster = "c"\n'
        '[[route]]\nname = "exact"\npath = "=/one"\ncluster = "c"\n'
        '[[route]]\nname = "host"\nhosts = ["*.wild.example"]\ncluster = "c"\n'
        '[[route]]\nname = "post"\npath = "/posts"\nmethods = ["POST"]\ncluster = "c"\n'
        '[[route]]\nname = "canary"\npath = "/canary"\nheaders = { "X-Canary" = "1" }\ncluster = "c"\n'
    )
    with (
        Backend() as backend,
        ProxyProcess(config + f'[cluster.c]\nbackends = [{{ address = "{backend.address}" }}]\n') as proxy,
    ):
        asked = [
            ("/api/v1/x?q=1", "/v1/x?q=1", "api"),
            ("/api/%7Euser/a%2Bb;c=d?x=%2F&y=a%20b", "/%7Euser/a%2Bb;c=d?x=%2F&y=a%20b", "api"),
            ("/api", "/", "api"),
            ("/api?x", "/?x", "api"),
            ("/api/deep/x", "/api/deep/x", "deep"),
            ("/one?y", "/one?y", "exact"),
        ]
        for target, upstream, _ in asked:
            assert seen(get(proxy.port, target))["target"] == upstream
        assert seen(get(proxy.port, "/x", host="a.wild.example"))["target"] == "/x"
        assert seen(get(proxy.port, "/posts", method="POST", body=b""))["target"] == "/posts"
        assert seen(get(proxy.port, "/canary", fields="X-Canary: 1\r\n"))["target"] == "/canary"
        requests = len(backend.requests)
        for target in ("/", "/one/more", "/posts", "/canary"):
            reply = get(proxy.port, target)
            assert reply.status == 404
            assert reply.value("Server") == "txproxy"
        assert len(backend.requests) == requests
        lines = proxy.access_lines(requests + 4)
    assert [line["route"] for line in lines[:6]] == [route for _, _, route in asked]
    assert [line["end"] for line in lines[-4:]] == ["no-route"] * 4


def test_repeated_fields_keep_their_order() -> None:
    """HF12: two fields of one name stay two, in order, on both ways."""
    fields = "Set-Cookie: a=1; Path=/\r\nX-Between: 1\r\nSet-Cookie: b=2\r\nset-cookie: c=3\r\n"
    with Backend(fixed(fields=fields)) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        reply = get(proxy.port, fields="X-List: 1\r\nCookie: a=1\r\nX-List: 2\r\nCookie: b=2\r\nx-list: 3\r\n")
        (request,) = backend.requests
    assert reply.values("Set-Cookie") == ["a=1; Path=/", "b=2", "c=3"]
    assert request.values(b"x-list") == [b"1", b"2", b"3"]
    assert request.values(b"cookie") == [b"a=1", b"b=2"]
    spelled = [name for name, _ in request.fields if name.lower() in (b"x-list", b"cookie")]
    assert spelled == [b"X-List", b"Cookie", b"X-List", b"Cookie", b"x-list"]


def test_via_date_and_request_id_are_added(proxy: ProxyProcess) -> None:
    """O5: the reply names the way it came, a date, and the id that the backend saw."""
    reply = get(proxy.port)
    assert reply.value("Via") == "1.1 txproxy"
    assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", reply.value("Date") or "")
    found = seen(reply)["values"]
    assert found["via"] == ["1.1 txproxy"]
    assert found["x-request-id"] == [reply.value("X-Request-Id")]


def test_replies_without_content() -> None:
    """HEAD, 204 and 304 have no body, whatever their fields say, and the connections go on."""

    def answer(connection: Any, request: Any) -> None:
        status = {b"/204": "204 No Content", b"/304": "304 Not Modified"}.get(request.target, "200 OK")
        length = "" if "204" in status else "Content-Length: 12\r\n"
        body = b"" if request.method == b"HEAD" or status[0] != "2" or "204" in status else b"x" * 12
        connection.send(f"HTTP/1.1 {status}\r\n{length}\r\n".encode() + body)

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy, Client(proxy.port) as client:
        for method, target, status, length, body in (
            ("HEAD", "/", 200, "12", b""),
            ("GET", "/204", 204, None, b""),
            ("GET", "/304", 304, "12", b""),
            ("GET", "/", 200, "12", b"x" * 12),
        ):
            reply = client.request(target, method)
            assert (reply.status, reply.value("Content-Length"), reply.body) == (status, length, body)
        assert len(backend.connections) == 1


def test_interim_replies_pass() -> None:
    """Expect: 100-continue works end to end, and 103 arrives before the reply; HTTP/1.0 gets neither."""
    early = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n"
    with (
        Backend(raw(early + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
    ):
        reply = get(proxy.port)
        assert [(one.status, one.value("Link")) for one in reply.interim] == [(103, "</a.css>; rel=preload")]
        old = raw_exchange(proxy.port, b"GET / HTTP/1.0\r\nHost: a\r\n\r\n").reply
        assert (old.status, old.body, old.interim) == (200, b"ok", [])


def test_expect_100_continue(proxy: ProxyProcess, backend: Backend) -> None:
    """A client that waits for 100 gets the backend's, and then its body goes on."""
    with Client(proxy.port) as client:
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n")
        assert client.read_until(lambda: b"100 Continue\r\n" in client.received)
        client.send(b"abc")
        reply = client.reply("POST")
    assert reply.body == b"abc"
    assert [one.status for one in reply.interim] == [100]


def test_http_1_0_clients(proxy: ProxyProcess) -> None:
    """HTTP/1.0: no Host needed, the connection ends after the reply unless keep-alive was asked for."""
    exchanged = raw_exchange(proxy.port, b"GET /old HTTP/1.0\r\n\r\n")
    found = seen(exchanged.reply)
    assert found["target"] == "/old"
    assert len(found["values"].get("host", [])) == 1
    assert found["values"]["via"] == ["1.0 txproxy"]
    assert exchanged.closed
    two = b"GET /1 HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n" + b"GET /2 HTTP/1.0\r\nHost: a\r\n\r\n"
    assert [seen(reply)["target"] for reply in raw_exchange(proxy.port, two).replies] == ["/1", "/2"]


def test_a_chunked_reply_for_http_1_0_ends_with_the_connection() -> None:
    """HTTP/1.0 knows no chunks: such a client gets the plain content, ended by the close."""
    chunked = raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n")
    with Backend(chunked) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        reply = raw_exchange(proxy.port, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").reply
    assert (reply.body, reply.ended, reply.values("Transfer-Encoding")) == (b"abcde", "close", [])


def test_pipelined_requests_are_answered_in_order(proxy: ProxyProcess) -> None:
    """Many requests in one segment, with and without bodies, get their replies in order."""
    parts = []
    for number in range(60):
        if number % 3 == 0:
            parts.append(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        elif number % 3 == 1:
            parts.append(b"POST /%d HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody" % number)
        else:
            parts.append(
                b"PUT /%d HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n" % number
            )
    replies = raw_exchange(proxy.port, b"".join(parts), replies=60).replies
    assert [seen(reply)["target"] for reply in replies] == [f"/{number}" for number in range(60)]
    assert [reply.body for reply in replies] == [b"", b"body", b"hi"] * 20


def test_unix_sockets_on_both_sides(tmp_path: Any) -> None:
    """Listeners and backends may be unix sockets: one proxy behind another, joined by one."""
    inner_path = f"{tmp_path}/inner.sock"
    with Backend() as backend:
        inner = config_for(backend.address).replace('"127.0.0.1:0"', f'"unix:{inner_path}"')
        with (
            ProxyProcess(inner),
            ProxyProcess(config_for(f"unix:{inner_path}")) as outer,
            Client(outer.port) as client,
        ):
            for number in range(5):
                reply = client.request(f"/{number}", "POST", body=b"x" * 100_000)
                assert (reply.status, len(reply.body)) == (200, 100_000)
                assert reply.values("Via") in (["1.1 txproxy", "1.1 txproxy"], ["1.1 txproxy, 1.1 txproxy"])
        assert len(backend.requests) == 5


def test_ipv6_on_both_sides() -> None:
    """D11: IPv6 listeners and backends."""
    with Backend(address="::1") as backend:
        config = config_for(backend.address).replace('"127.0.0.1:0"', '"[::1]:0"')
        with ProxyProcess(config) as proxy, Client(proxy.port, "::1") as client:
            found = seen(client.request("/six"))
            (line,) = proxy.access_lines(1)
    assert found["values"]["x-forwarded-for"] == ["::1"]
    assert line["client"] == "::1"


def test_a_dual_stack_listener(backend: Backend) -> None:
    """D11: ``[::]`` takes IPv4 clients too, and they are known by their IPv4 address."""
    config = config_for(backend.address).replace('"127.0.0.1:0"', '"[::]:0"')
    with ProxyProcess(config) as proxy:
        assert seen(get(proxy.port))["values"]["x-forwarded-for"] == ["127.0.0.1"]
        with Client(proxy.port, "::1") as client:
            assert seen(client.request("/six"))["values"]["x-forwarded-for"] == ["::1"]


def test_loops_end() -> None:
    """A request that comes through this proxy for the tenth time is refused with 508."""
    port = unused_port()
    config = config_for(f"127.0.0.1:{port}").replace('"127.0.0.1:0"', f'"127.0.0.1:{port}"')
    with ProxyProcess(config) as proxy:
        assert get(proxy.port).status == 508
        lines = proxy.access_lines(10)
    assert len(lines) == 10
    assert sum(line["end"] == "loop" for line in lines) == 1
