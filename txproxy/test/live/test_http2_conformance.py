"""Conformance to RFC 9113 and RFC 7541, frame by frame: all that h2spec asks in strict mode, and more (H1)."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from .client import DEADLINE_S, Client
from .http2_bytes import PREFACE, Code, Setting, data, goaway, settings
from .http2_case import Case
from .http2_cases import BEYOND, H2SPEC, failures
from .http2_frames import FrameClient, head
from .http2_servers import Http2Front, conformance_backend, haproxy_http2, http2_front, nginx_http2
from .processes import PeerProxy
from .tls_client import TlsClient, trusting

LISTENERS = ["plain", "https"]
Peer = Callable[[str], PeerProxy | None]


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http2Front]:
    """One proxy for all cases: none of them may leave anything behind for the next."""
    with http2_front(tmp_path_factory.mktemp("http2")) as one:
        yield one


@pytest.fixture(scope="module")
def passed(request: pytest.FixtureRequest) -> Iterator[dict[str, set[str]]]:
    """Names of the cases that have passed, by listener; at the end it is told how many."""
    found: dict[str, set[str]] = {listener: set() for listener in LISTENERS}
    yield found
    told = [
        f"{name}: "
        + ", ".join(f"{listener} {len(names & found[listener])}" for listener in LISTENERS)
        + f" of {len(names)}"
        for name, names in (("h2spec, strict", _names(H2SPEC)), ("beyond it", _names(BEYOND)))
    ]
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print("\nconformance: " + "; ".join(told))


def _names(cases: list[Case]) -> set[str]:
    return {case.id for case in cases}


@pytest.mark.parametrize("listener", LISTENERS)
@pytest.mark.parametrize("case", [*H2SPEC, *BEYOND], ids=lambda case: case.id)
def test_conforms(front: Http2Front, passed: dict[str, set[str]], case: Case, listener: str) -> None:
    """Every case of the tables has its verdict, and the proxy sends nothing that RFC 9113 forbids (H1)."""
    with front.connect(listener) as client:
        case.judge(client)
    front.assert_no_bugs()
    passed[listener].add(case.id)


def test_tableIsWhole() -> None:
    """The table has an entry for each case of h2spec in strict mode, and no name twice."""
    assert len(H2SPEC) == 147
    assert len(_names([*H2SPEC, *BEYOND])) == len(H2SPEC) + len(BEYOND)


@pytest.mark.parametrize(
    "peer, failing",
    [
        (haproxy_http2, set()),
        (
            nginx_http2,
            # What h2spec finds in nginx too: it knows no trailers of requests, looks at idle streams loosely, and
            # answers malformed requests with 400.
            {"generic/4/4", "http2/5.1/1", "http2/5.1/2", "http2/5.1/3", "http2/8.1.2.2/1", "http2/8.1.2.3/2"},
        ),
    ],
    ids=["haproxy", "nginx"],
)
def test_tableAgreesWithH2spec(peer: Peer, failing: set[str]) -> None:
    """HAProxy, which passes all of h2spec, passes our table of it; what h2spec finds in nginx it finds as well."""
    with conformance_backend() as backend:
        server = peer(backend.address)
        if server is None:
            pytest.skip("not installed")
        with server:
            cases = [case for case in H2SPEC if not failing or case.id in failing]
            # What must fail waits for nothing; what must pass has all the time that it needs.
            timeout_s = 0.3 if failing else DEADLINE_S
            assert set(failures(server.port, cases, strict=False, timeout_s=timeout_s)) == failing


def test_olderVersionStaysOnThePlainPort(front: Http2Front) -> None:
    """A port that speaks HTTP/2 by prior knowledge speaks HTTP/1.1 as before; ``Upgrade: h2c`` changes nothing (H1)."""
    with Client(front.proxy.ports["plain"]) as client:
        assert client.request("/").version == b"HTTP/1.1"
        upgrade = "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
        reply = client.request("/echo", fields=upgrade)
        assert reply.status == 200
        assert "h2c" not in (reply.value("x-echo") or "")


@pytest.mark.parametrize("alpn", [("http/1.1",), ()], ids=["http1", "none"])
def test_withTlsOnlyAlpnChooses(front: Http2Front, alpn: tuple[str, ...]) -> None:
    """Without ``h2`` in ALPN a connection is HTTP/1.1, even for a client that then sends the preface (H1)."""
    context = trusting(front.root.pem, alpn=alpn)
    with TlsClient(front.proxy.ports["https"], context=context) as client:
        assert client.request("/").version == b"HTTP/1.1"
    with TlsClient(front.proxy.ports["https"], context=context) as client:
        client.send(PREFACE + settings())
        assert client.read_until_closed()
        assert bytes(client.received[:9]) in (b"", b"HTTP/1.1 ")


def test_withAlpnOnlyHttp2IsSpoken(front: Http2Front) -> None:
    """A connection that agreed on ``h2`` is closed if the client then speaks HTTP/1.1 (RFC 9113 section 3.2)."""
    with front.connect("https") as client:
        client.send_raw(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        assert client.transport.read_until_closed()
        assert b"HTTP/1" not in client.transport.received


def test_settingsSayWhatTheContractSays(front: Http2Front) -> None:
    """The server allows 100 streams with windows of 64 KiB each and 1 MiB in all, and never pushes."""
    with front.connect() as client:
        client.handshake()
        client.expect_ping_ack()
        assert client.judge.settings[Setting.MAX_CONCURRENT_STREAMS] == 100
        assert client.judge.settings[Setting.INITIAL_WINDOW_SIZE] == 1 << 16
        assert client.judge.settings.get(Setting.ENABLE_PUSH, 0) == 0
        assert client.judge.our_window == 1 << 20


def _overfill(client: FrameClient, stream: int, frames: int) -> None:
    client.send(head(stream, method=b"POST", path=b"/hole", ended=False))
    client.send(*([data(stream, b"x" * 16_000)] * frames))


@pytest.mark.parametrize("listener", ["plain", "https"])
def test_contentOverTheWindowIsAnError(front: Http2Front, listener: str) -> None:
    """A client that sends more than the window of a stream allows fails it (RFC 9113 section 6.9.1)."""
    with front.connect(listener) as client:
        client.handshake()
        # The backend takes nothing: what the proxy holds is the window, and what it keeps for a second try. Not much
        # more, so that what comes after the error is still read, and our close with it.
        _overfill(client, 1, 12)
        client.expect_stream_error(1, Code.FLOW_CONTROL)
    front.assert_no_bugs()


def test_refusedRequestsWereNotServed(front: Http2Front) -> None:
    """A stream over the limit is refused before the backend sees it, so that it may be tried again (section 8.7)."""
    path = b"/refused-request"
    with front.connect() as client:
        client.handshake()
        client.send(settings((Setting.INITIAL_WINDOW_SIZE, 0)), *(head(stream) for stream in range(1, 200, 2)))
        client.send(head(201, path=path))
        client.expect_stream_error(201, Code.REFUSED_STREAM)
        client.change((Setting.INITIAL_WINDOW_SIZE, 1000))
        client.expect_reply(199)
    assert not [request for request in front.backend.requests if request.target == path]


def test_goawayOfTheClientEndsItsConnectionOnly(front: Http2Front) -> None:
    """A client that says GOAWAY with nothing in flight is closed; others are not."""
    with front.connect() as other:
        other.handshake()
        with front.connect() as client:
            client.handshake()
            client.send(goaway(0, Code.INTERNAL, b"words"))
            client.expect_closed()
        other.expect_served(1)
