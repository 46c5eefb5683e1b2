"""The table of malformed messages through the running proxy, judged at the client and at the backend."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest

from ..malformed import REPLIES, REQUESTS, ReplyCase, RequestCase
from .peers import (
    Backend,
    BackendConnection,
    Client,
    JudgedRequest,
    ProxyProcess,
    config_for,
    continuing,
    echo,
    http_reply,
    judge,
    never,
    pieces_of,
    wait_for,
)

_LONG_INPUT_BYTES = 4096
"""What is longer is sent in pieces of this size, not byte by byte, which would only test the test's patience."""

_CONFIG = """
[[listener]]
name = "plain"
address = "127.0.0.1:0"
[[listener]]
name = "hasty"
address = "127.0.0.1:0"
header_timeout_s = 2
body_timeout_s = 2
[[route]]
name = "all"
cluster = "origin"
[cluster.origin]
backends = [{{ address = "{address}" }}]
"""

_numbers = count()


@dataclass
class Bench:
    """A proxy between this test and a backend whose replies a test may script."""

    backend: Backend
    proxy: ProxyProcess
    scripts: dict[str, ReplyCase] = field(default_factory=dict)

    def probe(self) -> str:
        """Send a normal request on a connection of its own, and return its target.

        What the backend was sent before it has read then: it is not found among what belongs to the next case.
        """
        target = f"/probe/{next(_numbers)}"
        with Client(self.proxy.ports["plain"]) as client:
            assert client.request(target, "POST", "probe.example", b"probe").status == 200
        wait_for(lambda: self.backend.has_read_all, "the backend to have read all")
        return target


@pytest.fixture(scope="module")
def bench() -> Iterator[Bench]:
    """One proxy and one backend for all cases: none of them may leave anything behind for the next."""
    scripts: dict[str, ReplyCase] = {}
    usual = echo()

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        case = scripts.get(request.target.decode("latin-1"))
        if case is None:
            usual(connection, request)
            return
        connection.send(case.raw)
        if case.ends:
            connection.close()

    with Backend(answer, on_head=continuing) as backend:
        with ProxyProcess(_CONFIG.format(address=backend.address)) as proxy:
            yield Bench(backend, proxy, scripts)
        assert backend.violations == []


def _pieces(raw: bytes, how: str) -> list[bytes]:
    if how == "whole":
        return [raw]
    if len(raw) > _LONG_INPUT_BYTES:
        return pieces_of(raw, range(_LONG_INPUT_BYTES, len(raw), _LONG_INPUT_BYTES))
    return pieces_of(raw, "bytes")


def _send(client: Client, case: RequestCase, how: str, backend: Backend, mark: list[int]) -> None:
    start = case.raw[: case.pause_at]
    if start:
        client.send(start)
        wait_for(lambda: any(b"hello" in data for _, data in backend.since(mark)), "the first chunk at the backend")
    for piece in _pieces(case.raw[case.pause_at :], how):
        if not client.send(piece):
            break
    if case.half_close:
        client.half_close()


def _check_client(case: RequestCase, client: Client) -> None:
    client.methods = [case.method] if case.upstream == "one clean request" else []
    if case.closes:
        assert client.read_until_closed(), f"not closed; received {bytes(client.received[:300])!r}"
    else:
        client.read_until(lambda: len(client.exchanged().replies) >= case.replies)
    replies = client.exchanged().replies
    statuses = [reply.status for reply in replies]
    assert len(replies) == case.replies, f"{case.reason}: {statuses}"
    assert statuses[:-1] == [200] * (case.replies - 1)
    assert statuses[-1] in case.statuses, f"{case.reason}: {statuses}"
    assert all(reply.complete for reply in replies)
    options = (replies[-1].value("connection") or "").lower()
    if case.closes:
        assert "close" in options, f"{replies[-1]} does not say that it closes"
    elif case.closes is False:
        assert "close" not in options, f"{replies[-1]} says that it closes"
        client.send(b"GET /probe/again HTTP/1.1\r\nHost: probe.example\r\n\r\n")
        client.methods.append("GET")
        client.read_until(lambda: len(client.exchanged().replies) >= case.replies + 1)
        assert client.exchanged().statuses[-1] == 200, "the connection cannot be used again"


def _seen(backend: Backend, mark: list[int]) -> tuple[list[JudgedRequest], list[tuple[BackendConnection, bytes]]]:
    """Return the complete requests since a mark that are no probes, and the connections that end within a message."""
    requests: list[JudgedRequest] = []
    unfinished: list[tuple[BackendConnection, bytes]] = []
    for connection, data in backend.since(mark):
        judged = judge(data)
        assert judged.violations == [], judged.violations
        requests += [request for request in judged.requests if not request.target.startswith(b"/probe/")]
        if judged.tail != "clean":
            unfinished.append((connection, data))
    return requests, unfinished


def _check_backend(case: RequestCase, backend: Backend, mark: list[int]) -> None:
    requests, unfinished = _seen(backend, mark)
    received = b"".join(data for _, data in backend.since(mark))
    if case.upstream == "one clean request":
        assert len(requests) == 1, f"{case.reason}: {requests}"
        assert unfinished == []
        assert case.delivered is None or requests[0].body == case.delivered
    else:
        assert requests == [], f"{case.reason}: the backend saw a complete request: {requests}"
        assert case.upstream == "aborted" or unfinished == [], f"the backend saw {unfinished}"
    for connection, data in unfinished:
        assert not data.endswith(b"\n0\r\n\r\n")
        wait_for(connection.gone.is_set, "the end of the backend's connection")
    for piece in case.forwarded:
        assert piece in received, f"{piece!r} not in {received!r}"
    for piece in case.withheld:
        assert piece not in received, f"{piece!r} in {received!r}"


@pytest.mark.parametrize("how", ["whole", "bytes"])
@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case.id)
def test_malformedRequestHasItsVerdict(bench: Bench, case: RequestCase, how: str) -> None:
    """Every request of the table gets its status, closes or not, and the backend sees what it may (HF8, D4, D5)."""
    mark = bench.backend.mark()
    with Client(bench.proxy.ports["hasty" if case.hasty else "plain"]) as client:
        _send(client, case, how, bench.backend, mark)
        _check_client(case, client)
    bench.probe()
    _check_backend(case, bench.backend, mark)
    bench.proxy.assert_no_bugs()


@pytest.mark.parametrize("case", REPLIES, ids=lambda case: case.id)
def test_malformedReplyHasItsVerdict(bench: Bench, case: ReplyCase) -> None:
    """Every reply of the table reaches the client as it should, and never stays in a pool to meet the next (D3)."""
    target = f"/reply/{case.id}"
    bench.scripts[target] = case
    mark = bench.backend.mark()
    version = f"HTTP/1.{case.minor}"
    with Client(bench.proxy.ports["plain"]) as client:
        client.send(f"{case.method} {target} {version}\r\nHost: a.example\r\n\r\n".encode())
        client.methods = [case.method]
        client.read_until(lambda: client.exchanged().replies)
        (reply,) = client.exchanged().replies
        received = bytes(client.received)
    if case.may_cut and reply.status == 200:
        assert client.closed
        assert not reply.complete, f"{case.reason}: a cut reply looks complete: {reply} {reply.body!r}"
    else:
        assert reply.status in case.statuses, f"{case.reason}: {reply}"
        assert reply.complete
    assert tuple(interim.status for interim in reply.interim) == case.interim
    assert case.reply_body is None or reply.body == case.reply_body
    for piece in case.withheld:
        assert piece not in received, f"{piece!r} in {received!r}"
    users = [connection for connection, data in bench.backend.since(mark) if target.encode() in data]
    assert users, "the backend was not asked"
    if not case.reusable:
        for connection in users:
            wait_for(connection.gone.is_set, "the end of the backend's connection")
    mark = bench.backend.mark()
    probe = bench.probe()
    (answered,) = [connection for connection, data in bench.backend.since(mark) if probe.encode() in data]
    assert case.reusable or answered not in users
    bench.proxy.assert_no_bugs()


def test_everyMalformedRequestIsLoggedOnce(bench: Bench) -> None:
    """A refused request makes exactly one line with its status and end reason, and nobody forges a line (O1)."""
    cases = [case for case in REQUESTS if case.upstream == "nothing" and len(case.raw) <= _LONG_INPUT_BYTES]
    probe = bench.probe()
    wait_for(lambda: any(line["target"] == probe for line in bench.proxy.access_lines()), "the line of the probe")
    before = len(bench.proxy.access_lines())
    for case in cases:
        with Client(bench.proxy.ports["plain"]) as client:
            client.send(case.raw)
            assert client.read_until_closed()
    lines = bench.proxy.access_lines(before + len(cases))[before:]
    assert [line["status"] for line in lines] == [next(iter(case.statuses)) for case in cases]
    assert {line["end"] for line in lines} <= {"bad-request", "bad-coding", "bad-version", "method-refused",
                                               "uri-too-long", "headers-too-large", "bad-expectation"}  # fmt: skip


def test_aBodyAfterARefusalIsNoRequest() -> None:
    """A backend refuses at the head; the body that comes all the same is never taken for a request (case 60)."""

    def refuse(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(http_reply(403, b"no", reason="Forbidden"))

    late = b"GET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
    head = b"POST /refused HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n"
    with Backend(never(), on_head=refuse) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        with Client(proxy.port) as client:
            client.send(head % len(late))
            assert client.reply("POST").status == 403
            client.send(late)
            client.read_until_closed()
            assert client.exchanged().statuses == [403]
        assert [request.target for request in backend.requests] in ([], [b"/refused"])
        assert backend.violations == []


def test_aMillionTinyChunksCostLittleMemory(bench: Bench) -> None:
    """A million chunks of one byte arrive whole, and the proxy grows by less than 8 MiB (case 35)."""
    target, rounds, per_round = "/many", 100, 10_000
    before = bench.proxy.rss_bytes()
    mark = len(bench.backend.requests)
    with Client(bench.proxy.ports["plain"]) as client:
        client.send(f"POST {target} HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        peak = before
        for _ in range(rounds):
            assert client.send(b"1\r\nx\r\n" * per_round)
            peak = max(peak, bench.proxy.rss_bytes())
        client.send(b"0\r\n\r\n")
        reply = client.reply("POST")
    assert reply.status == 200
    assert len(reply.body) == rounds * per_round
    assert len(bench.backend.requests) > mark
    assert peak - before < 8 << 20, f"grew by {(peak - before) >> 10} KiB"
