"""Clusters with ``protocol = "h2"`` before servers that are not ours: Node, nginx, HAProxy, and txproxy itself."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .helpers import MIB, at_once, get
from .http2_client import INTERNAL_ERROR, Http2Client, Stream
from .http2_front import cluster, echoed
from .nghttpd_server import NghttpdServer
from .node_server import NodeServer
from .peers import Backend, Client, PeerProxy, ProxyProcess, config_for, wait_for
from .tls_front import needed
from .tls_identities import Issuer

H2 = 'protocol = "h2"'


def state(proxy: ProxyProcess, where: str = "") -> dict[str, int]:
    """Return what a Node server counts."""
    found: dict[str, int] = json.loads(get(proxy.port, f"{where}/state").body)
    return found


def told(stream: Stream) -> dict[str, Any]:
    """Return the fields that a Node server was sent."""
    found: dict[str, Any] = json.loads(stream.value("x-echo") or "{}")["headers"]
    return found


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    """In front of a Node server; under ``/tls`` of one with TLS; under ``/narrow`` of one with small limits."""
    directory = tmp_path_factory.mktemp("h2")
    root = Issuer()
    (directory / "ca.pem").write_bytes(root.pem)
    with (
        NodeServer() as plain,
        NodeServer(leaf=root.leaf("a.example")) as secure,
        NodeServer({"maxConcurrentStreams": 5, "initialWindowSize": 1000, "headerTableSize": 0}) as narrow,
    ):
        trust = f'tls = {{ enabled = true, server_name = "a.example", ca = "{directory / "ca.pem"}" }}'
        config = config_for(
            plain.address,
            cluster=H2,
            more=cluster("tls", secure.address, "/tls/", f"{H2}\n{trust}", 'strip_prefix = "/tls"')
            + cluster("narrow", narrow.address, "/narrow/", H2, 'strip_prefix = "/narrow"'),
        )
        with ProxyProcess(config) as one:
            yield one


@pytest.mark.parametrize("where", ["", "/tls", "/narrow"])
def test_all_kinds_of_exchanges(proxy: ProxyProcess, where: str) -> None:
    """Fields, contents, trailers and interim replies to and from a server that speaks HTTP/2 only, from clients of both."""
    body = random.Random(1).randbytes(300_000)
    with Http2Client(proxy.port) as client:
        echoed = client.request(f"{where}/echo?q=%20", "PUT", body=body, fields=[(b"te", b"trailers"), (b"x-a", b"1")])
        assert (echoed.status, bytes(echoed.body)) == (200, body)
        fields = told(echoed)
        assert (fields[":path"], fields[":method"], fields[":authority"]) == ("/echo?q=%20", "PUT", "a.example")
        assert fields[":scheme"] == ("https" if where == "/tls" else "http")
        assert (fields["te"], fields["x-a"], fields["via"]) == ("trailers", "1", "2.0 txproxy")
        assert (fields["x-forwarded-for"], fields["x-forwarded-proto"]) == ("127.0.0.1", "http")
        assert not {"connection", "transfer-encoding", "host"} & set(fields), fields
        assert echoed.value("via") == "2.0 txproxy"
        trailed = client.request(f"{where}/trailers")
        assert (bytes(trailed.body), dict(trailed.trailers)) == (b"hello", {b"x-sum": b"5", b"x-last": b"yes"})
        early = client.request(f"{where}/early")
        assert [dict(each)[b":status"] for each in early.interim] == [b"103"] and early.body == b"late"
        assert client.request(f"{where}/empty").status == 204
        head = client.request(f"{where}/bytes/70000", "HEAD")
        assert (head.value("content-length"), len(head.body)) == ("70000", 0)
        up = client.open(f"{where}/up", "POST", ended=False, fields=[(b"trailer", b"x-t")])
        client.send_body(up, b"content", ended=False)
        client.send_trailers(up, [(b"x-t", b"7")])
        client.finish(up)
        assert up.body.startswith(b"content") and json.loads(up.body[7:])["x-t"] == "7"
        cookies = client.request(f"{where}/echo", fields=[(b"cookie", b"a=1"), (b"cookie", b"b=2")])
        assert told(cookies)["cookie"] == "a=1; b=2"
    with Client(proxy.port) as old:
        reply = old.request(
            f"{where}/echo", "POST", body=body, fields="Connection: X-Gone\r\nX-Gone: 1\r\nTE: gzip\r\n"
        )
        assert reply.body == body
        fields = json.loads(reply.value("x-echo") or "")["headers"]
        assert fields["via"] == "1.1 txproxy" and not {"x-gone", "te", "connection", "host"} & set(fields), fields
    # A reply that began before its request was complete has ended that connection.
    with Client(proxy.port) as old:
        trailed_reply = old.request(f"{where}/trailers", fields="TE: trailers\r\nConnection: TE\r\n")
        assert (trailed_reply.body, dict(trailed_reply.trailers)) == (b"hello", {b"x-sum": b"5", b"x-last": b"yes"})
        early_reply = old.request(f"{where}/early")
        assert [each.status for each in early_reply.interim] == [103]
        assert old.request(f"{where}/bytes/70000", "HEAD").value("content-length") == "70000"
        assert old.request(f"{where}/bytes/70000").body == b"a" * 70000


@pytest.mark.parametrize("where", ["", "/narrow"])
def test_many_streams_on_few_connections(proxy: ProxyProcess, where: str) -> None:
    """P1 on HTTP/2: requests share connections, never more at once than the server allows; each gets its own reply."""
    before = state(proxy, where)["sessions"]

    def load(letter: str) -> None:
        with Http2Client(proxy.port) as client:
            asked = [(client.open(f"{where}/bytes/{size}", fields=[(b"x-letter", letter.encode())]), size)
                     for size in range(0, 60_000, 1500)]  # fmt: skip
            client.finish(*[stream for stream, _ in asked])
            assert all(bytes(stream.body) == letter.encode() * size for stream, size in asked)

    at_once([lambda one=letter: load(one) for letter in "abcd"])
    for _ in range(20):
        assert get(proxy.port, f"{where}/bytes/10").body == b"a" * 10
    after = state(proxy, where)
    if where:
        assert after["most"] <= 5 * after["sessions"], after
    else:
        assert after["sessions"] - before <= 4, f"{after} for 160 streams at once, and a hundred fit on a connection"


def test_how_streams_fail(proxy: ProxyProcess) -> None:
    """A refused stream is tried again; a reset before a reply is 502, within one a reset; a connection's end is the same."""
    with Http2Client(proxy.port) as client:
        for number in range(3):
            refused = client.request(f"/refuse?{number}", "POST", body=b"content")
            assert (refused.status, bytes(refused.body)) == (200, b"content"), "REFUSED_STREAM: nothing was done"
        failed = client.request("/fail", "POST", body=b"x")
        assert failed.status == 502
        half = client.request("/half")
        assert half.reset == INTERNAL_ERROR and not half.ended and len(half.body) == 50, half
        cut, other = client.open("/cut"), client.open("/bytes/10")
        client.finish(cut, other)
        assert cut.reset is not None and not cut.ended
        assert client.request("/bytes/10").status == 200
    wait_for(lambda: {line["target"] for line in proxy.access_lines()} >= {"/fail", "/half", "/cut"}, "the lines")
    lines = {line["target"]: line for line in proxy.access_lines()}
    assert (lines["/half"]["end"], lines["/half"]["bytes_out"]) == ("reply-cut", 50)
    assert (lines["/cut"]["end"], lines["/fail"]["end"]) == ("reply-cut", "bad-reply")


def test_a_cut_reply_for_an_old_client(proxy: ProxyProcess) -> None:
    """To an HTTP/1.1 client the same is a connection that closes without a clean end."""
    with Client(proxy.port) as old:
        reply = old.request("/half")
        assert (reply.status, reply.ended, len(reply.body)) == (200, "truncated", 50)


def test_a_server_that_leaves(proxy: ProxyProcess) -> None:
    """GOAWAY of a backend: no request is lost or fails, and the next ones go by a new connection."""
    with Http2Client(proxy.port) as client:
        for turn in range(5):
            streams = [client.open(f"/leave?{turn}"), *[client.open("/bytes/3000") for _ in range(10)]]
            client.finish(*streams)
            assert [stream.status for stream in streams] == [200] * 11
            assert all(stream.ended for stream in streams)


def test_a_client_that_leaves(proxy: ProxyProcess) -> None:
    """HF20: RST_STREAM CANCEL reaches the server; its connection and all else on it goes on."""
    before = state(proxy)
    with Http2Client(proxy.port) as client:
        streams = [client.open("/never") for _ in range(4)]
        wait_for(lambda: state(proxy)["open"] >= 4, "the requests")
        for stream in streams[:2]:
            client.cancel(stream)
        wait_for(lambda: state(proxy)["aborted"] - before["aborted"] == 2, "the resets")
        assert client.request("/bytes/10").status == 200
    wait_for(lambda: state(proxy)["aborted"] - before["aborted"] == 4, "the resets")
    assert state(proxy)["sessions"] == before["sessions"]


def test_a_server_that_speaks_no_h2(tmp_path: Path) -> None:
    """An HTTP/1.1 server behind ``protocol = "h2"``: 502, and no more than that."""
    refusal = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    with (
        Backend(on_connect=lambda connection: connection.send(refusal)) as backend,
        ProxyProcess(config_for(backend.address, cluster=H2)) as proxy,
    ):
        assert get(proxy.port).status == 502
        (line,) = proxy.access_lines(1)
    assert line["end"] in ("bad-reply", "connect-failed"), line


def test_nginx_as_a_backend(tmp_path: Path) -> None:
    """Files of nginx over HTTP/2 without TLS, with ranges and conditions; it says GOAWAY every 200 requests."""
    program = needed("nginx")
    data = random.Random(4).randbytes(5 * MIB)
    (tmp_path / "file.bin").write_bytes(data)
    tmp_path.chmod(0o755)
    configuration = f"""
        user root; daemon off; master_process off; pid DIRECTORY/pid; error_log DIRECTORY/errors;
        events {{ worker_connections 256; }}
        http {{
            access_log off; client_body_temp_path DIRECTORY/body; proxy_temp_path DIRECTORY/proxy;
            fastcgi_temp_path DIRECTORY/fastcgi; uwsgi_temp_path DIRECTORY/uwsgi; scgi_temp_path DIRECTORY/scgi;
            keepalive_requests 200;
            server {{ listen 127.0.0.1:PORT http2; root {tmp_path}; }}
        }}
    """
    with (
        PeerProxy([program, "-c"], configuration) as nginx,
        ProxyProcess(config_for(f"127.0.0.1:{nginx.port}", cluster=H2)) as proxy,
    ):

        def load() -> None:
            with Http2Client(proxy.port) as client:
                whole = client.request("/file.bin")
                assert hashlib.sha256(whole.body).digest() == hashlib.sha256(data).digest()
                part = client.request("/file.bin", fields=[(b"range", b"bytes=100-299")])
                assert (part.status, bytes(part.body)) == (206, data[100:300])
                etag = (whole.value("etag") or "").encode()
                assert client.request("/file.bin", fields=[(b"if-none-match", etag)]).status == 304
                assert client.request("/file.bin", "HEAD").value("content-length") == str(len(data))
                many = [client.open("/missing") for _ in range(80)]
                client.finish(*many)
                assert [stream.status for stream in many] == [404] * 80

        at_once([load] * 3)
        lines = proxy.access_lines(3 * 84)
    assert {line["end"] for line in lines} == {"ok"}


@pytest.mark.parametrize("how", ["", "tls", "--max-concurrent-streams=3", "--window-bits=9", "--padding=200"])
def test_nghttpd(how: str, tmp_path: Path) -> None:
    """nghttp2's own server, with narrow limits too: uploads come back as they were, in any number at once; trailers."""
    data = random.Random(8).randbytes(MIB)
    root = Issuer()
    (tmp_path / "ca.pem").write_bytes(root.pem)
    leaf = root.leaf("a.example") if how == "tls" else None
    trust = f'\ntls = {{ enabled = true, server_name = "a.example", ca = "{tmp_path / "ca.pem"}" }}' if leaf else ""
    arguments = [how] if how.startswith("--") else []
    with (
        NghttpdServer("--echo-upload", "--trailer=x-sum: 7", *arguments, files={"file.bin": data}, leaf=leaf) as server,
        ProxyProcess(config_for(server.address, cluster=f"{H2}\npool.max_connections = 2{trust}")) as proxy,
    ):

        def load(seed: int) -> None:
            chance = random.Random(seed)
            with Http2Client(proxy.port) as client:
                whole = client.request("/file.bin")
                assert hashlib.sha256(whole.body).digest() == hashlib.sha256(data).digest()
                assert dict(whole.trailers) == {b"x-sum": b"7"}
                assert client.request("/file.bin", "HEAD").value("content-length") == str(MIB)
                assert client.request("/missing").status == 404
                bodies = [chance.randbytes(chance.randint(1, 40_000)) for _ in range(12)]
                streams = [client.open("/", "POST", body=body) for body in bodies]
                client.finish(*streams)
                assert [bytes(stream.body) for stream in streams] == bodies
                gone = client.open("/file.bin")
                client.cancel(gone)
                assert client.request("/file.bin").body == whole.body
            with Client(proxy.port) as old:
                assert old.request("/", "PUT", body=data[:50_000]).body == data[:50_000]

        at_once([lambda seed=seed: load(seed) for seed in range(3)])
        lines = proxy.access_lines(3 * 18)
        assert {line["end"] for line in lines} <= {"ok", "client-left"}
        assert sum(line["end"] == "ok" for line in lines) >= 3 * 17


def test_replies_before_their_requests() -> None:
    """A server that replies to the head of a request, and takes no more of its body: the reply is whole."""
    with (
        NghttpdServer("--early-response", files={"file.txt": b"hello"}) as server,
        ProxyProcess(config_for(server.address, cluster=H2)) as proxy,
        Http2Client(proxy.port) as client,
    ):
        for _ in range(5):
            early = client.open("/file.txt", "POST", ended=False)
            other = client.open("/file.txt")
            client.finish(early, other)
            assert [bytes(each.body) for each in (early, other)] == [b"hello"] * 2
        assert {line["end"] for line in proxy.access_lines(10)} == {"ok"}


def test_one_client_that_does_not_read() -> None:
    """A stream that nobody reads holds up no other, of the same client or of others, and little of it is kept."""
    files = {"large": random.Random(9).randbytes(20 * MIB), "small": b"s" * MIB}
    with (
        NghttpdServer(files=files) as server,
        ProxyProcess(config_for(server.address, cluster=H2)) as proxy,
        Http2Client(proxy.port) as client,
    ):
        assert client.request("/small").body == files["small"]
        before = proxy.rss_bytes()
        stuck = [client.open("/large", is_read=False) for _ in range(5)]
        client.pump(lambda: all(len(each.body) == 65_535 for each in stuck))
        for _ in range(3):
            assert client.request("/small").body == files["small"]
            assert get(proxy.port, "/small").body == files["small"]
        assert proxy.rss_bytes() - before < 20 * MIB
        client.read(stuck[0])
        client.finish(stuck[0])
        assert bytes(stuck[0].body) == files["large"]


def test_tls_without_h2(tmp_path: Path) -> None:
    """A server that agrees to HTTP/1.1 only: 502, one line that says why, and its checks fail for the same reason."""
    program = needed("nginx")
    Issuer().leaf("a.example").save(tmp_path, "server")
    configuration = f"""
        user root; daemon off; master_process off; pid DIRECTORY/pid; error_log DIRECTORY/errors;
        events {{ worker_connections 64; }}
        http {{
            access_log off;
            server {{
                listen 127.0.0.1:PORT ssl; root {tmp_path};
                ssl_certificate {tmp_path}/server.pem; ssl_certificate_key {tmp_path}/server.key;
            }}
        }}
    """
    tls = "tls = { enabled = true, verify = false }"
    with PeerProxy([program, "-c"], configuration) as nginx:
        with ProxyProcess(config_for(f"127.0.0.1:{nginx.port}", cluster=f"{H2}\n{tls}")) as proxy:
            for _ in range(3):
                assert get(proxy.port).status == 502
            assert {line["end"] for line in proxy.access_lines(3)} == {"connect-failed"}
            said = proxy.error_text
        assert said.count("does not speak HTTP/2: it does not agree to h2 by ALPN") == 1, said
        checks = "health = { interval_s = 0.1, fall = 1 }"
        with ProxyProcess(config_for(f"127.0.0.1:{nginx.port}", cluster=f"{H2}\n{tls}\n{checks}")) as proxy:
            wait_for(lambda: "it does not agree to h2 by ALPN" in proxy.error_text, "the verdict")


def test_checks() -> None:
    """Checks of a server that speaks nothing but HTTP/2: it is up while it answers, and down when it is gone."""
    checks = 'health = { interval_s = 0.1, fall = 2, rise = 1, path = "/health", body = "well" }'
    with (
        NghttpdServer(files={"health": b"all is well"}) as server,
        ProxyProcess(config_for(server.address, cluster=f"{H2}\n{checks}\npanic = false")) as proxy,
    ):
        assert get(proxy.port, "/health").status == 200
        server.kill()
        wait_for(lambda: get(proxy.port, "/health").status == 503, "the backend to be down")


def test_haproxy_in_front_and_behind(tmp_path: Path) -> None:
    """HAProxy speaks HTTP/2 to us, we to another HAProxy, that HTTP/1.1 to the backend; the fields of all are there."""
    program = needed("haproxy")

    def between(target: str, how: str, bind: str = "") -> PeerProxy:
        return PeerProxy(
            [program, "-db", "-f"],
            "defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n"
            f"frontend web\n  bind 127.0.0.1:PORT {bind}\n  default_backend origin\n"
            f"backend origin\n  server origin {target} {how}\n",
        )

    body = random.Random(6).randbytes(MIB)
    with (
        Backend() as backend,
        between(backend.address, "", "proto h2") as behind,
        ProxyProcess(config_for(f"127.0.0.1:{behind.port}", cluster=H2)) as proxy,
        between(f"127.0.0.1:{proxy.port}", "proto h2") as first,
    ):
        with Client(first.port) as old, Http2Client(first.port) as client:
            for number in range(10):
                assert old.request(f"/{number}", "POST", body=body).body == body
            streams = [client.open(f"/new/{number}", "POST", body=body[: number * 5000]) for number in range(20)]
            client.finish(*streams)
            assert all(bytes(each.body) == body[: number * 5000] for number, each in enumerate(streams))
        lines = proxy.access_lines(30)
        assert backend.violations == []
    assert {(line["version"], line["end"]) for line in lines} == {("2.0", "ok")}


def test_one_txproxy_behind_another() -> None:
    """All versions in a row: two of us with HTTP/2 between them."""
    body = random.Random(7).randbytes(2 * MIB)
    with (
        Backend() as backend,
        ProxyProcess(config_for(backend.address)) as inner,
        ProxyProcess(config_for(f"127.0.0.1:{inner.port}", cluster=H2)) as outer,
        Http2Client(outer.port) as client,
    ):
        streams = [client.open(f"/{number}", "POST", body=body[: number * 40_000]) for number in range(30)]
        client.finish(*streams)
        assert all(bytes(each.body) == body[: number * 40_000] for number, each in enumerate(streams))
        values = echoed(streams[0].value("x-echo"))["values"]
        assert ", ".join(values["via"]) == "2.0 txproxy, 2.0 txproxy", values
        assert {line["version"] for line in inner.access_lines(30)} == {"2.0"}
        assert backend.violations == []
