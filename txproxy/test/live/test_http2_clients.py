"""HTTP/2 before clients that are not ours: curl, nghttp and h2load, over TLS and with prior knowledge."""

from __future__ import annotations

import hashlib
import random
import re
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .client import DEADLINE_S, wait_for
from .helpers import MIB
from .http2_front import cluster, connect, curl, echoed, h2load, nghttp, section
from .http2_origin import HANDLERS, LARGE, PIECE, count_body
from .peers import Backend, ProxyProcess, by_target, continuing, echo
from .tls_client import https_get, trusting
from .tls_front import Front, front, listener, needed, s_client
from .tls_identities import Issuer

HSTS = "max-age=63072000"
BOTH = pytest.mark.parametrize("scheme", ["https", "http"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A listener with two certificates and one without TLS; a backend that answers by path, and one that reads slowly."""
    directory = tmp_path_factory.mktemp("http2")
    root = Issuer()
    leaves = {"a": root.leaf("a.example", "more.example"), "b": root.leaf("b.example")}
    pairs = [leaf.save(directory, stem) for stem, leaf in leaves.items()]
    with (
        Backend(by_target(HANDLERS, echo()), on_head=continuing, body_limit=4 * MIB) as backend,
        Backend(
            count_body, receive_buffer=1 << 15, read_bytes=1 << 15, read_delay_s=0.01, record_limit=1 << 14
        ) as slow,
    ):
        config = front(
            backend.address,
            cluster("slow", slow.address, "/slow"),
            cluster("gone", "127.0.0.1:1", "/gone"),
            listener("https", 'tls = "main"\nkeepalive_requests = 100000'),
            listener("web", "keepalive_requests = 100000"),
            listener("https-few", 'tls = "main"\nkeepalive_requests = 10'),
            listener("redirect", "redirect_https = true"),
            section("main", pairs),
            route=f'hsts = "{HSTS}"',
        )
        with ProxyProcess(config) as proxy:
            yield Front(proxy, backend, root, leaves, directory)
            assert backend.violations == slow.violations == []


def lines_of(shop: Front, tag: str, count: int) -> list[dict[str, Any]]:
    """Return the lines of the access log whose target ends in a tag, and check that they are ``count``."""

    def found() -> list[dict[str, Any]]:
        return [line for line in shop.proxy.access_lines() if line["target"].endswith(tag)]

    wait_for(lambda: len(found()) >= count, f"{count} lines with {tag}")
    lines = found()
    assert len(lines) == count, lines
    return lines


@pytest.fixture
def tag() -> str:
    """An end of targets that no other test has."""
    return f"?{uuid.uuid4().hex}"


# Which version


@pytest.mark.parametrize(
    ("arguments", "version"),
    [([], "2.0"), (["--http2"], "2.0"), (["--http1.1"], "1.1"), (["--no-alpn"], "1.1"), (["--http1.0"], "1.0"),
     (["--tlsv1.3"], "2.0"), (["--tls-max", "1.2"], "2.0")],
)  # fmt: skip
def test_alpn_decides(shop: Front, tmp_path: Path, tag: str, arguments: list[str], version: str) -> None:
    """H1: ALPN h2,http/1.1 gives h2; http/1.1 only or none gives 1.1; the log knows."""
    got = curl(shop, tmp_path, f"https://a.example/echo{tag}", *arguments)
    # curl shows the version of the reply, which for 1.0 is 1.1 (RFC 9110 section 2.5).
    assert (got.version, got.statuses) == ({"2.0": "2", "1.0": "1.1"}.get(version, version), [200])
    (line,) = lines_of(shop, tag, 1)
    assert line["version"] == version and line["tls"]
    assert echoed(got.value("x-echo"))["values"]["via"] == [f"{line['version']} txproxy"]


def test_what_openssl_is_told(shop: Front) -> None:
    """H1: the server's choice is its own: h2 wherever the client has it too, in whatever order."""
    for offered, chosen in (("h2", "h2"), ("http/1.1,h2", "h2"), ("http/1.1", "http/1.1"), ("spdy/3,h2", "h2")):
        shown = s_client(shop.port("https"), "-servername", "a.example", "-alpn", offered)
        assert f"ALPN protocol: {chosen}\n" in shown.text, (offered, shown.text)
    assert "No ALPN negotiated" in s_client(shop.port("https"), "-servername", "a.example").text


@pytest.mark.parametrize(
    ("arguments", "version"), [(["--http2-prior-knowledge"], "2"), (["--http1.1"], "1.1"), (["--http2"], "1.1")]
)
def test_without_tls_the_client_decides(shop: Front, tmp_path: Path, arguments: list[str], version: str) -> None:
    """A preface gives h2; HTTP/1.1 on the same port stays what it is, also with an offer to upgrade, that goes nowhere."""
    got = curl(shop, tmp_path, "http://a.example/echo", *arguments)
    assert (got.version, got.statuses) == (version, [200])
    values = echoed(got.value("x-echo"))["values"]
    assert not {"upgrade", "http2-settings", "connection"} & set(values), values


# What clients do


@BOTH
def test_get_head_and_post(shop: Front, tmp_path: Path, tag: str, scheme: str) -> None:
    """Methods with and without content, of known and of unknown length; a line in the log for each."""
    url = f"{scheme}://a.example"
    data = random.Random(1).randbytes(MIB)
    (tmp_path / "data").write_bytes(data)
    got = curl(shop, tmp_path, f"{url}/small?q=%20{tag}")
    assert (got.version, got.statuses, got.body, got.value("content-length")) == ("2", [200], b"s" * 1000, "1000")
    got = curl(shop, tmp_path, f"{url}/small{tag}", "-I")
    assert (got.statuses, got.body.count(b"s" * 10), got.value("content-length")) == ([200], 0, "1000")
    got = curl(shop, tmp_path, f"{url}/echo/post{tag}", "--data-binary", f"@{tmp_path / 'data'}")
    assert (got.statuses, got.body) == ([200], data)
    assert echoed(got.value("x-echo"))["values"]["content-length"] == [str(MIB)]
    got = curl(shop, tmp_path, f"{url}/echo/put{tag}", "-T", "-", say=data)
    assert (got.statuses, got.body) == ([200], data)
    assert echoed(got.value("x-echo"))["values"]["transfer-encoding"] == ["chunked"]
    got = curl(shop, tmp_path, f"{url}/echo/nothing{tag}", "-X", "DELETE")
    values = echoed(got.value("x-echo"))["values"]
    assert not {"transfer-encoding", "content-length"} & set(values), values
    lines = lines_of(shop, tag, 5)
    assert [line["method"] for line in lines] == ["GET", "HEAD", "POST", "PUT", "DELETE"]
    assert {(line["version"], line["status"], line["end"]) for line in lines} == {("2.0", 200, "ok")}
    assert [(line["bytes_in"], line["bytes_out"]) for line in lines] == [
        (0, 1000), (0, 0), (MIB, MIB), (MIB, MIB), (0, 0)
    ]  # fmt: skip
    assert {line["host"] for line in lines} == {"a.example"} and lines[0]["target"] == f"/small?q=%20{tag}"


@BOTH
def test_replies_that_are_not_plain(shop: Front, tmp_path: Path, scheme: str) -> None:
    """Trailers, interim replies, 204, 304 and a redirect of the backend's."""
    url = f"{scheme}://a.example"
    got = curl(shop, tmp_path, f"{url}/trailers", "-T", "-", say=b"up")
    assert (got.statuses, got.body) == ([200], b"hello world")
    assert (got.value("x-sum"), got.value("x-last"), got.value("content-length")) == ("11", "yes", None)
    got = curl(shop, tmp_path, f"{url}/early")
    assert (got.statuses, got.body, got.value("link")) == ([103, 102, 200], b"late", "</a.css>; rel=preload")
    got = curl(shop, tmp_path, f"{url}/empty")
    assert (got.statuses, got.body, got.value("content-length"), got.value("x-empty")) == ([204], b"", None, "yes")
    got = curl(shop, tmp_path, f"{url}/same", "-H", 'If-None-Match: "v1"')
    assert (got.statuses, got.body, got.value("etag")) == ([304], b"", '"v1"')
    got = curl(shop, tmp_path, f"{url}/moved")
    assert (got.statuses, got.body, got.value("location")) == ([302], b"", "/echo/there")


@BOTH
def test_expect_is_answered(shop: Front, tmp_path: Path, scheme: str) -> None:
    """Expect: 100-continue end to end: the client sends its content after the backend's 100."""
    data = random.Random(2).randbytes(200_000)
    (tmp_path / "data").write_bytes(data)
    got = curl(
        shop, tmp_path, f"{scheme}://a.example/count", "-H", "Expect: 100-continue",
        "--expect100-timeout", "50", "--data-binary", f"@{tmp_path / 'data'}",
    )  # fmt: skip
    assert got.statuses == [100, 200]
    assert got.body == b"%d %b" % (len(data), hashlib.sha256(data).hexdigest().encode())


@BOTH
def test_a_large_download(shop: Front, tmp_path: Path, scheme: str) -> None:
    """64 MiB byte for byte."""
    got = curl(shop, tmp_path, f"{scheme}://a.example/large")
    assert (got.version, got.statuses, len(got.body)) == ("2", [200], LARGE)
    assert hashlib.sha256(got.body).digest() == hashlib.sha256(PIECE * (LARGE // len(PIECE))).digest()


def test_many_at_once(shop: Front, tmp_path: Path, tag: str) -> None:
    """curl -Z: a hundred transfers, all right, one after another or side by side on a connection."""
    (tmp_path / "root.pem").write_bytes(shop.root.pem)
    done = subprocess.run(  # the command line is the test's own
        [needed("curl"), "-sS", "-Z", "--parallel-max", "100", "--max-time", "60",
         "--cacert", str(tmp_path / "root.pem"), "--connect-to", f"::127.0.0.1:{shop.port('https')}",
         "-w", "%{http_version} %{num_connects}\\n", "-d", "content",
         "-o", str(tmp_path / "out-#1"), f"https://a.example/echo/[0-99]{tag}"],
        capture_output=True, timeout=3 * DEADLINE_S, check=True, text=True,
    )  # fmt: skip
    told = [line.split() for line in done.stdout.splitlines()]
    assert [version for version, _ in told] == ["2"] * 100
    assert sum(int(count) for _, count in told) < 100, "a connection for each"
    assert all((tmp_path / f"out-{number}").read_bytes() == b"content" for number in range(100))
    lines = lines_of(shop, tag, 100)
    assert {line["target"] for line in lines} == {f"/echo/{number}{tag}" for number in range(100)}


@BOTH
def test_an_upload_to_a_slow_backend(shop: Front, tmp_path: Path, scheme: str) -> None:
    """A backend that reads slowly slows the client; all arrives."""
    data = random.Random(3).randbytes(2 * MIB)
    (tmp_path / "data").write_bytes(data)
    got = curl(shop, tmp_path, f"{scheme}://a.example/slow", "-T", str(tmp_path / "data"))
    assert (got.version, got.body) == ("2", b"%d %b" % (len(data), hashlib.sha256(data).hexdigest().encode()))


# What is passed on, and what is not


@BOTH
def test_what_reaches_the_backend(shop: Front, tmp_path: Path, scheme: str) -> None:
    """HF3, HF4: an HTTP/1.1 backend gets Host from :authority, our fields and none of a connection's."""
    got = curl(
        shop, tmp_path, f"{scheme}://a.example:8443/echo/%7Efields?a=b&c", "-H", "X-Forwarded-For: 1.1.1.1",
        "-H", "X-Forwarded-Proto: gopher", "-H", "X-Forwarded-Host: evil.example", "-H", "TE: trailers",
        "-H", "Cookie: a=1; b=2", "-H", "X-UPPER: Value Kept", "-H", "Proxy-Authorization: Basic eDp5",
        "-H", "X-Twice: 1", "-H", "X-Twice: 2", "-A", "judge/1",
    )  # fmt: skip
    told = echoed(got.value("x-echo"))
    values = told["values"]
    assert told["target"] == "/echo/%7Efields?a=b&c"
    assert values["host"] == ["a.example:8443"]
    assert told["fields"][0][0].lower() == "host"
    assert values["via"] == ["2.0 txproxy"]
    assert values["x-forwarded-for"] == ["127.0.0.1"]
    assert values["x-forwarded-proto"] == [scheme]
    assert values["x-forwarded-host"] == ["a.example:8443"]
    assert values["x-forwarded-port"] == [str(shop.port("https" if scheme == "https" else "web"))]
    assert (values["cookie"], values["x-upper"], values["x-twice"]) == (["a=1; b=2"], ["Value Kept"], ["1", "2"])
    assert (values["te"], [each.lower() for each in values["connection"]]) == (["trailers"], ["te"])
    assert values["user-agent"] == ["judge/1"] and len(values["x-request-id"]) == 1
    assert not {"proxy-authorization", "upgrade", "keep-alive"} & set(values) and not [
        name for name in values if name.startswith(":")
    ]


@BOTH
def test_what_reaches_the_client(shop: Front, tmp_path: Path, scheme: str) -> None:
    """HF3, HF12: nothing of a connection's fields, Via, both Set-Cookie, and HSTS over https only."""
    got = curl(shop, tmp_path, f"{scheme}://a.example/hops")
    head = got.heads[0].lower().splitlines()
    names = [line.partition(":")[0] for line in head[1:]]
    gone = {"connection", "x-bar", "keep-alive", "proxy-connection", "upgrade", "transfer-encoding"}
    assert not gone & set(names), head
    assert [line for line in head if line.startswith("set-cookie")] == ["set-cookie: a=1; path=/", "set-cookie: b=2"]
    assert (got.value("x-kept"), got.value("x-mixed-case"), got.value("via")) == ("2", "Kept As It Is", "1.1 txproxy")
    assert names.count("date") == names.count("x-request-id") == 1
    assert got.value("strict-transport-security") == (HSTS if scheme == "https" else None)


@BOTH
def test_crumbs_of_cookies_are_joined(shop: Front, scheme: str) -> None:
    """RFC 9113 section 8.2.3: cookies that come one by one are one field for an HTTP/1.1 backend."""
    with connect(shop, "https" if scheme == "https" else "web") as client:
        crumbs = [(b"cookie", b"a=1"), (b"x-between", b"-"), (b"cookie", b"b=2"), (b"cookie", b"c=3; d=4")]
        stream = client.request("/echo", fields=crumbs)
        assert echoed(stream.value("x-echo"))["values"]["cookie"] == ["a=1; b=2; c=3; d=4"]


def test_redirects_to_https(shop: Front, tmp_path: Path) -> None:
    """T9: over h2 without TLS too; the connection goes on."""
    got = curl(shop, tmp_path, "http://a.example/p?q=1", listener="redirect")
    assert (got.version, got.statuses, got.value("location")) == ("2", [308], "https://a.example/p?q=1")
    with connect(shop, "redirect") as client:
        streams = [client.open(f"/{n}", "POST", body=b"x" * 1000) for n in range(3)]
        client.finish(*streams)
        assert [stream.value("location") for stream in streams] == [f"https://a.example/{n}" for n in range(3)]


def test_a_host_of_another_certificate_is_misdirected(shop: Front, tmp_path: Path) -> None:
    """421 for a host whose certificate would be another one, on that stream only (RFC 9113 section 9.1.2)."""
    before = len(shop.backend.requests)
    with connect(shop, "https") as client:
        hosts = ["a.example", "b.example", "more.example", "a.example"]
        streams = [client.open("/small", authority=host) for host in hosts]
        client.finish(*streams)
    assert [stream.status for stream in streams] == [200, 421, 200, 200]
    assert len(shop.backend.requests) == before + 3
    got = curl(shop, tmp_path, "https://a.example/small", "-H", "Host: b.example")
    assert (got.version, got.statuses) == ("2", [421])
    with connect(shop, "https", name="b.example") as client:
        assert client.request("/small").status == 200


def test_replies_of_our_own(shop: Front, tmp_path: Path) -> None:
    """A backend that refuses: 502 as plain text with the request's id, and the connection goes on."""
    with connect(shop, "https") as client:
        failed, good = client.open("/gone", "POST", body=b"x" * 100), client.open("/small")
        client.finish(failed, good)
        assert (failed.status, good.status, client.request("/small").status) == (502, 200, 200)
    assert failed.value("server") == "txproxy" and failed.value("content-type") == "text/plain; charset=utf-8"
    assert (failed.value("x-request-id") or "-").encode() in failed.body


def test_connections_of_both_versions_side_by_side(shop: Front) -> None:
    """HTTP/1.1 and HTTP/2 on one listener at the same time, to the same backend."""
    with connect(shop, "https") as client:
        assert client.request("/small").status == 200
        assert https_get(shop.port("https"), "/small", context=trusting(shop.root.pem)).status == 200
        assert client.request("/small").status == 200


def test_a_connection_comes_of_age(shop: Front, tmp_path: Path) -> None:
    """At keepalive_requests the connection ends as at a stop, in two steps, and no request is lost."""
    with connect(shop, "https-few") as client:
        for _ in range(10):
            assert client.request("/small").status == 200
        assert client.pump_until_closed()
        assert [code for _, code in client.goaways] == [0, 0], client.goaways
        assert client.goaways[-1][0] >= 19
    got = curl(shop, tmp_path, "https://a.example/echo/[1-35]", "-d", "x", listener="https-few")
    assert got.statuses == [200] * 35


# nghttp and h2load


def _frames(text: str, kind: str) -> list[str]:
    return re.findall(rf"recv {kind} frame <([^>]*)>", text)


@BOTH
def test_nghttp(shop: Front, tag: str, scheme: str) -> None:
    """nghttp with its tree of priorities, padding, a changed table, small windows, CONTINUATION and many requests."""
    url = f"{scheme}://127.0.0.1:{shop.port('https' if scheme == 'https' else 'web')}"
    host = "-H:authority: a.example"
    told = nghttp("-nv", "-m", "20", host, f"{url}/middle{tag}")
    assert told.count(":status: 200") == 20 and not _frames(told, "RST_STREAM") + _frames(told, "GOAWAY")
    sizes = [int(found) for found in re.findall(r"recv DATA frame <length=(\d+),", told)]
    assert sum(sizes) == 20 * 100_000 and max(sizes) <= 16_384
    assert "INITIAL_WINDOW_SIZE(0x04):65536]" in told and "MAX_CONCURRENT_STREAMS(0x03):100]" in told, told[:3000]
    for more in (["-w", "10"], ["-w", "14", "-W", "15"], ["-p", "256"], ["--no-dep"], ["-b", "200"], ["--continuation"],
                 ["-c", "0"], ["-c", "100", "-c", "8K"], ["--no-rfc7540-pri"]):  # fmt: skip
        told = nghttp("-nv", "-m", "3", host, *more, f"{url}/middle{tag}")
        assert told.count(":status: 200") == 3 and not _frames(told, "RST_STREAM") + _frames(told, "GOAWAY"), more
    lines = lines_of(shop, tag, 20 + 9 * 3)
    assert {(line["version"], line["status"], line["bytes_out"]) for line in lines} == {("2.0", 200, 100_000)}


@BOTH
def test_nghttp_uploads(shop: Front, tmp_path: Path, scheme: str) -> None:
    """Content with trailers, without a length, with an Expect, padded; a tree of trailers comes back."""
    url = f"{scheme}://127.0.0.1:{shop.port('https' if scheme == 'https' else 'web')}"
    host = "-H:authority: a.example"
    data = random.Random(5).randbytes(300_000)
    (tmp_path / "data").write_bytes(data)
    up = ["-d", str(tmp_path / "data"), host]
    told = nghttp(
        "-nv",
        *up,
        "--no-content-length",
        "--trailer",
        "x-sum: 300000",
        "--trailer",
        "x-kind: all",
        f"{url}/echo/trailed",
    )
    assert ":status: 200" in told, told[-2000:]
    (request,) = [each for each in shop.backend.requests if each.target == b"/echo/trailed" and each.trailers][-1:]
    assert (request.framing, request.body, dict(request.trailers)) == (
        "chunked", data, {b"x-sum": b"300000", b"x-kind": b"all"}
    )  # fmt: skip
    count = str(len(data)).encode() + b" " + hashlib.sha256(data).hexdigest().encode()
    for more in (["--no-content-length"], ["--expect-continue"], ["-b", "255"]):
        told = nghttp("-v", *up, *more, f"{url}/count")
        assert count.decode() in told, (more, told[-2000:])
        if more == ["--expect-continue"]:
            assert told.count(":status: 100") == 1, told[-2000:]
    told = nghttp("-nv", host, f"{url}/trailers")
    assert "x-sum: 11" in told and "x-last: yes" in told


@pytest.mark.parametrize(
    ("count", "target", "arguments"),
    [(4000, "/small", ["-c8", "-m100"]), (100, "/middle", ["-c4", "-m100", "-w16"]), (40, "/middle", ["-c2", "-m10", "-w10"]),
     (100, "/middle", ["-c4", "-m100", "-w20", "-W16"]), (500, "/count", ["-c5", "-m20", "-d"])],
)  # fmt: skip
@BOTH
def test_h2load(
    shop: Front, tmp_path: Path, tag: str, scheme: str, count: int, target: str, arguments: list[str]
) -> None:
    """A load generator with full connections and small windows: every reply is a 200, and each has its line."""
    if arguments[-1] == "-d":
        (tmp_path / "data").write_bytes(b"d" * 30_000)
        arguments = [*arguments, str(tmp_path / "data")]
    place = f"127.0.0.1:{shop.port('https' if scheme == 'https' else 'web')}"
    good, bad = h2load("-n", str(count), *arguments, f"--connect-to={place}", f"{scheme}://a.example{target}{tag}")
    assert (good, bad) == (count, 0)
    lines = lines_of(shop, tag, count)
    assert {(line["version"], line["status"], line["end"]) for line in lines} == {("2.0", 200, "ok")}


def test_nothing_is_left(shop: Front) -> None:
    """The last one here: no connection of a client is kept, and the backend's are but a pool."""
    wait_for(lambda: len(shop.backend.open_connections) <= 32, "the pool to be small")
    wait_for(lambda: shop.proxy.fd_count() < 120, "the clients' connections to be closed")
