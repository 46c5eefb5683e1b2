"""Malformed requests of HTTP/2: what the client gets, what the backend sees, what the log says; and heads over the limits."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import pytest

from .client import wait_for
from .http2_bytes import FRAME_LIMIT, Code, Kind, Setting, block_of, continuation, data, headers
from .http2_cases_http import seen_values
from .http2_cases_malformed import MALFORMED, STREAM, Malformed
from .http2_frames import FrameClient, Part, head, request_fields
from .http2_servers import Http2Front, http2_front
from .judge import judge

_numbers = count()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http2Front]:
    """One proxy for all cases: none of them may leave anything behind for the next."""
    with http2_front(tmp_path_factory.mktemp("malformed")) as one:
        yield one


def _expect_refusal(client: FrameClient, case: Malformed) -> bool:
    """Read until the request is answered by 400 or its stream is reset; return whether it was mended instead."""
    found = client.expect(
        f"an answer to {case.id}",
        lambda it: it.is_a(Kind.RST_STREAM, STREAM) or it.is_a(Kind.HEADERS, STREAM) or it.kind == Kind.GOAWAY,
    )
    if found.kind == Kind.HEADERS:
        reply = client.expect_end(STREAM)
        if reply.status == 200 and case.may_be_mended:
            assert seen_values(reply, "x-test") in (["a"], [""]), reply.fields
            return True
        assert reply.status == 400, f"{reply.fields}; {client.story()}"
    else:
        assert found.kind == Kind.RST_STREAM and found.code == Code.PROTOCOL, client.story()
    return False


def _lines_so_far(front: Http2Front) -> int:
    """Return how many lines the access log has, once it has all of what went before."""
    path = f"/marker/{next(_numbers)}"
    with front.connect() as client:
        client.handshake()
        client.expect_served(1, path.encode())
    wait_for(lambda: any(line["target"] == path for line in front.proxy.access_lines()), "the line of the marker")
    return len(front.proxy.access_lines())


def _check_backend(front: Http2Front, case: Malformed, mark: list[int]) -> None:
    complete = []
    for connection, received in front.backend.since(mark):
        judged = judge(received)
        assert judged.violations == [], judged.violations
        complete += [request for request in judged.requests if not request.target.startswith(b"/probe/")]
        if judged.tail != "clean":
            assert case.begins, f"the backend saw {received!r}"
            wait_for(connection.gone.is_set, "the end of the backend's connection")
    assert complete == [], f"the backend saw a complete request: {complete}"


@pytest.mark.parametrize("case", MALFORMED, ids=lambda case: case.id)
def test_malformedRequestIsRefused(front: Http2Front, case: Malformed) -> None:
    """The stream is reset or answered by 400, the connection goes on, no backend sees a complete request (67-72)."""
    mark, probe = front.backend.mark(), f"/probe/{next(_numbers)}"
    with front.connect() as client:
        client.handshake()
        client.send(*case.sent)
        was_mended = _expect_refusal(client, case)
        client.expect_served(3, probe.encode())
        assert not client.judge.violations, f"{client.judge.violations}; {client.story()}"
    if not was_mended:
        _check_backend(front, case, mark)
        wait_for(lambda: any(line["target"] == probe for line in front.proxy.access_lines()), "the line of the probe")
        lines = front.proxy.access_lines()
        refused = lines[[line["target"] for line in lines].index(probe) - 1]
        assert (refused["status"], refused["end"]) == (400, "bad-body" if case.begins else "bad-request"), refused
    front.assert_no_bugs()


def test_manyRefusalsInOneConnection(front: Http2Front) -> None:
    """Requests that are refused and others beside them: each gets what is due to it, each makes one line (O1)."""
    lines = _lines_so_far(front)
    with front.connect() as client:
        client.handshake()
        for stream in range(1, 80, 4):
            client.send(head(stream, (b"X-Bad", b"1")), head(stream + 2, method=b"POST", path=b"/echo", ended=False))
            client.expect_stream_error(stream, Code.PROTOCOL)
            client.send(data(stream + 2, b"good", ended=True))
            client.expect_reply(stream + 2, 200, b"good")
    logged = front.proxy.access_lines(lines + 40)[lines:]
    assert sorted(line["status"] for line in logged) == [200] * 20 + [400] * 20


def test_bodyIsNeverARequest(front: Http2Front) -> None:
    """Content that looks like HTTP/1.1 stays content, with a length and without."""
    smuggled = b"0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: a.example\r\n\r\n"
    with front.connect() as client:
        client.handshake()
        length = (b"content-length", b"%d" % len(smuggled))
        for stream, fields in ((1, ()), (3, (length,))):
            client.send(
                head(stream, *fields, method=b"POST", path=b"/echo", ended=False), data(stream, smuggled, ended=True)
            )
            client.expect_reply(stream, 200, smuggled)
    assert not [request for request in front.backend.requests if request.target == b"/smuggled"]


def test_connectIsRefused(front: Http2Front) -> None:
    """A CONNECT that is well-formed is refused by 405, as in HTTP/1.1 (RFC 9113 section 8.5)."""
    with front.connect() as client:
        client.handshake()
        client.send(headers(1, block_of([(b":method", b"CONNECT"), (b":authority", b"a.example:443")]), ended=False))
        client.expect_reply(1, 405)
        client.expect_served(3)


def test_hostWithoutAuthority(front: Http2Front) -> None:
    """A request converted from HTTP/1.1 has Host instead of :authority; both may stand there if they agree."""
    with front.connect() as client:
        client.handshake()
        fields = [field for field in request_fields(b"http", path=b"/echo") if field[0] != b":authority"]
        client.send(headers(1, block_of([*fields, (b"host", b"h.example:81")])))
        assert seen_values(client.expect_reply(1), "host") == ["h.example:81"]


def _wide(total: int) -> list[tuple[bytes, bytes]]:
    """Return fields of so many bytes in all, names and values."""
    fields = [(b"x-wide-%02d" % number, b"w" * 3991) for number in range(total // 4000)]
    return [*fields, (b"x-rest", b"w" * (total % 4000 - 6))]


def _in_frames(stream: int, fields: list[tuple[bytes, bytes]], path: bytes = b"/") -> Part:
    """Return a request whose block is spread over as many frames as it needs."""

    def made(client: FrameClient) -> bytes:
        block = block_of([*request_fields(client.scheme, path=path), *fields])
        pieces = [block[at : at + FRAME_LIMIT] for at in range(0, len(block), FRAME_LIMIT)]
        first = headers(stream, pieces[0], complete=len(pieces) == 1)
        rest = [continuation(stream, piece, piece is pieces[-1]) for piece in pieces[1:]]
        return first + b"".join(rest)

    return made


@pytest.mark.parametrize("listener", ["plain", "https"])
def test_headsHaveLimits(front: Http2Front, listener: str) -> None:
    """Q4: 33 KiB of fields, one of 17 KiB, 129 fields: 431; a 9 KiB target: 414; the connection goes on working."""
    lines, mark = _lines_so_far(front), front.backend.mark()
    refused: list[tuple[int, str, Part]] = [
        (431, "headers-too-large", _in_frames(1, _wide(33 * 1024))),
        (431, "headers-too-large", _in_frames(3, [(b"x-wide", b"w" * 17_000)])),
        (431, "headers-too-large", _in_frames(5, [(b"x-%d" % number, b"1") for number in range(129)])),
        (431, "headers-too-large", _in_frames(7, [(b"x", b"1")] * 129)),
        (414, "uri-too-long", _in_frames(9, [], b"/" + b"u" * 9216)),
    ]
    with front.connect(listener) as client:
        client.handshake()
        for number, (status, _, sent) in enumerate(refused):
            client.send(sent)
            client.expect_reply(2 * number + 1, status)
        assert front.backend.since(mark) == []
        client.send(_in_frames(21, _wide(30 * 1024)))
        client.expect_reply(21)
        client.send(_in_frames(23, [(b"x-%d" % number, b"1") for number in range(120)]))
        client.expect_reply(23)
        client.send(_in_frames(25, [], b"/" + b"u" * 8000))
        client.expect_reply(25)
        assert not client.judge.violations, client.judge.violations
    logged = front.proxy.access_lines(lines + len(refused) + 3)[lines:]
    assert [(line["status"], line["end"]) for line in logged[: len(refused)]] == [(one, end) for one, end, _ in refused]
    assert [line["status"] for line in logged[len(refused) :]] == [200] * 3


def test_headerListLimitIsAnnounced(front: Http2Front) -> None:
    """What the proxy takes of fields is what it says in SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 section 6.5.2)."""
    with front.connect() as client:
        client.handshake()
        assert client.judge.settings[Setting.MAX_HEADER_LIST_SIZE] == 32768
