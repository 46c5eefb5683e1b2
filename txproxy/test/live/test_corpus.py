"""Gunicorn's corpus of valid and invalid requests through the running proxy, beside nginx and HAProxy."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from .corpus import CorpusCase, CorpusMissing, load, with_hosts
from .peers import (
    Backend,
    BackendConnection,
    Client,
    NotHttp,
    PeerProxy,
    ProxyProcess,
    Reply,
    continuing,
    haproxy,
    http_reply,
    judge,
    nginx,
    pieces_of,
    wait_for,
)

REFUSED = {
    "valid/005": "a fragment never stands in a request (RFC 9112 section 3.2); 400",
    "valid/025": "gzip is not decoded here, so the list is 501 and not passed on as plain chunked",
    "valid/025_line": "the same in one line",
    "valid/029": "identity before chunked is a list as any other; 501",
    "valid/030": "the same",
    "valid/rfc9112_smuggle_gzip_chunked_01": "as 025",
    "valid/rfc9112_smuggle_te_identity_chunked_01": "as 029",
    "valid/028": "valid only with strip_header_spaces: whitespace before the colon is 400 (RFC 9112 section 5.1)",
    "valid/compat_obs_fold": "valid only with permit_obsolete_folding: a folded line is 400 (RFC 9112 section 5.2)",
    "valid/compat_obs_fold_huge": "the same",
    "valid/099": "its body is less than half of its Content-Length: 408 when the rest does not come",
    "valid/pp_01": "valid only with proxy_protocol; this listener does not have it",
    "valid/pp_02": "the same",
    "valid/pp_04": "the same, version 2",
    "valid/pp_05": "the same, version 2",
    "valid/rfc9112_target_absolute_userinfo_01": "userinfo in an http URI is an error (RFC 9110 section 4.2.4)",
    "valid/rfc9112_target_authority_connect_01": "CONNECT is 405 unless a route allows it",
    "valid/rfc9112_target_authority_ipv6_01": "the same",
}
"""Cases that the corpus calls valid and that txproxy refuses, each with its reason."""

TAKEN = {
    "invalid/003c": "-bl is a token, so it is a method (RFC 9110 section 9.1)",
    "invalid/010": "over a limit that gunicorn's test sets, not over ours",
    "invalid/011": "the same",
    "invalid/012": "the same",
    "invalid/017": "the same",
    "invalid/006": "a line of 4 KiB is within our limit",
    "invalid/007": "a field of 8 KiB is within our limit",
    "invalid/008": "fields of 12 KiB are within our limits",
    "invalid/009": "a hundred fields are within our limit",
    "invalid/limit_header_default_01": "a field of 8 KiB is within our limit",
    "invalid/019": "what a client says of its scheme is replaced, so it cannot contradict itself",
    "invalid/040": "names with an underscore are dropped",
    "invalid/chunked_07": "the same",
    "invalid/041": "Content-Type twice is for the application to judge; nothing is framed or routed by it",
    "invalid/chunked_09": "a space behind a chunk size is bad whitespace that cannot be read in two ways",
    "invalid/rfc9112_leading_crlf_02": "two empty lines before a request are skipped (RFC 9112 section 2.2)",
    "invalid/rfc9110_trailer_forbidden_cl_01": "a forbidden trailer is dropped (RFC 9110 section 6.5.1)",
    "invalid/rfc9110_trailer_forbidden_host_01": "the same",
    "invalid/rfc9110_trailer_forbidden_te_01": "the same",
    "invalid/rfc9112_target_non_ascii_01": "a target's bytes beyond ASCII go on in escapes",
    "invalid/rfc9112_target_non_ascii_02": "the same",
}
"""Cases that the corpus calls invalid and that reach the backend, as one clean request, each with its reason."""

_PATIENCE_S = 15
"""What neither ends nor answers by then counts as refused; the proxies' own deadlines are a few seconds."""

_CONFIG = """
[[listener]]
name = "web"
address = "127.0.0.1:0"
header_timeout_s = 2
body_timeout_s = 2
keepalive_timeout_s = 2
max_request_line_bytes = 8300
max_field_bytes = 16384
[[route]]
name = "all"
cluster = "origin"
[cluster.origin]
backends = [{{ address = "{address}" }}]
"""


@pytest.fixture(scope="module")
def corpus() -> list[CorpusCase]:
    """All cases, or a skip that says why there are none."""
    try:
        return load()
    except CorpusMissing as reason:
        print(f"the corpus cannot be had: {reason}")
        pytest.skip(f"the corpus cannot be had: {reason}")


@pytest.fixture(scope="module")
def strict() -> Iterator[Backend]:
    """A backend that judges and records; it answers valid requests only."""
    with Backend(on_head=continuing) as backend:
        yield backend


@pytest.fixture(scope="module")
def proxy(strict: Backend) -> Iterator[ProxyProcess]:
    """The proxy in front of it."""
    with ProxyProcess(_CONFIG.format(address=strict.address)) as process:
        yield process


def _lenient(connection: BackendConnection) -> None:
    """Answer whatever looks like a head, so that a reference proxy's own verdict is all that is seen."""
    data = b""
    with contextlib.suppress(OSError):
        while b"\r\n\r\n" not in data:
            piece = connection.socket.recv(1 << 16)
            if not piece:
                return
            data += piece
        connection.socket.sendall(http_reply(fields="Connection: close\r\n"))
        connection.socket.shutdown(socket.SHUT_WR)
        while connection.socket.recv(1 << 16):
            pass


def _ask(port: int, data: bytes, case: CorpusCase, split: str | None = None) -> list[Reply]:
    """Send a case's bytes and return the replies, waiting no longer than the case itself needs."""
    wanted = len(case.expected) or 1
    with Client(port) as client:
        client.methods = [method for method, _ in case.expected]
        for piece in pieces_of(data, split):
            if not client.send(piece):
                break
        ends_open = case.valid or case.name in TAKEN
        client.read_until(lambda: ends_open and len(client.exchanged().replies) >= wanted, _PATIENCE_S)
        return client.exchanged().replies


def _accepts(replies: list[Reply]) -> bool:
    return bool(replies) and all(reply.status == 200 for reply in replies)


def _unsafe(case: CorpusCase, data: bytes, split: str | None, proxy: ProxyProcess, strict: Backend) -> str | None:
    """Return what is unsafe about the way a case went through, or None."""
    mark = strict.mark()
    try:
        replies = _ask(proxy.port, data, case, split)
    except NotHttp as error:
        return f"the client got no valid reply: {error}"
    if not replies:
        return "no reply at all"
    with Client(proxy.port) as client:
        if client.request("/probe").status != 200:
            return "the next client is not served"
    requests = []
    for connection, received in strict.since(mark):
        judged = judge(received)
        if judged.violations:
            return f"illegal bytes went on: {judged.violations}"
        requests += [request for request in judged.requests if request.target != b"/probe"]
        if judged.tail != "clean":
            wait_for(connection.gone.is_set, f"the end of a message that was cut: {case.name}")
    answered = sum(reply.complete for reply in replies)
    if len(requests) > answered:
        return f"{len(requests)} requests at the backend, {answered} replies"
    most = int(case.name in TAKEN) if not case.valid else 0 if case.name in REFUSED else len(case.expected)
    if len(requests) > most:
        return f"{len(requests)} requests at the backend, {most} in the input"
    for request, (method, body) in zip(requests, case.expected, strict=False):
        if case.name != "valid/031compat" and request.method != method.encode():
            return f"method {request.method!r} in place of {method}"
        if body is not None and request.body != body:
            return f"body {request.body!r} in place of {body!r}"
    return None


def test_theCorpusHasNoUnsafeOutcome(corpus: list[CorpusCase], proxy: ProxyProcess, strict: Backend) -> None:
    """No case makes illegal bytes, a completed cut message, or more requests than replies or than the input holds."""
    assert len(corpus) >= 135
    unsafe = {}
    for case in corpus:
        for data in {case.data, with_hosts(case)}:
            for split in (None, "bytes") if len(data) <= 4096 else (None,):
                found = _unsafe(case, data, split, proxy, strict)
                if found is not None:
                    unsafe[case.name, data is case.data, split] = found
    print(f"{len(corpus)} cases, {len(unsafe)} unsafe outcomes")
    proxy.assert_no_bugs()
    assert unsafe == {}


def test_whatPeersAcceptIsAccepted(corpus: list[CorpusCase], proxy: ProxyProcess) -> None:
    """Every valid case that nginx or HAProxy accepts is accepted, but for those that are refused on purpose."""
    refused, needless = {}, set(REFUSED)
    with Backend(on_connect=_lenient) as backend, contextlib.ExitStack() as stack:
        peers: dict[str, PeerProxy] = {}
        for name, start in (("nginx", nginx), ("haproxy", haproxy)):
            peer = start(backend.address)
            if peer is not None:
                peers[name] = stack.enter_context(peer)
        for case in (case for case in corpus if case.valid):
            data = with_hosts(case)
            if _accepts(_ask(proxy.port, data, case)):
                assert case.name not in REFUSED, f"{case.name} is accepted by now"
                continue
            accepting = [name for name, peer in peers.items() if _accepts(_peer_replies(peer, data, case))]
            refused[case.name] = accepting
            needless.discard(case.name)
    print(f"peers: {', '.join(peers) or 'none'}; refused here, accepted there: {refused}")
    assert {name: peers_ for name, peers_ in refused.items() if peers_ and name not in REFUSED} == {}
    assert needless == set(), "no such cases"


def test_whatTheCorpusCallsValidIsAcceptedOnItsOwnMerits(corpus: list[CorpusCase], proxy: ProxyProcess) -> None:
    """Whatever peers say, every valid case gets 200 once it has a Host, or is refused for a stated reason."""
    valid = [case for case in corpus if case.valid]
    refused = {case.name for case in valid if not _accepts(_ask(proxy.port, with_hosts(case), case))}
    assert refused == set(REFUSED)


def _peer_replies(peer: PeerProxy, data: bytes, case: CorpusCase) -> list[Reply]:
    try:
        return _ask(peer.port, data, case)
    except (NotHttp, OSError):
        return []
