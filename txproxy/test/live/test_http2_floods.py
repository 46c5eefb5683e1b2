"""Floods of HTTP/2: they end in GOAWAY, memory stays flat, and who is on another connection notices nothing (H5)."""

from __future__ import annotations

import contextlib
import select
from collections.abc import Iterator

import pytest

from .client import DEADLINE_S, wait_for
from .helpers import settled, tcp_buffers_bytes
from .http2_attacks import BLOCKS, RESETS, USELESS, Attack
from .http2_bytes import PREFACE, Code, Kind, Setting, block_of, data, headers, ping, rst_stream, settings
from .http2_frames import FrameClient, head, request_fields
from .http2_servers import WIDE_HEAD_BYTES, Http2Front, http2_front

MIB = 1 << 20
GROWTH_BYTES = 4 * MIB
"""Of the proxy's memory, once it has seen an attack of the same kind."""
MOST_REQUESTS = 250
"""That a backend may see of 10,000 rounds of opening and resetting."""


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Http2Front]:
    """One proxy for all floods: none of them may leave anything behind for the next."""
    with http2_front(tmp_path_factory.mktemp("floods")) as one:
        yield one


class Bystander:
    """Somebody else's connection, on which requests go on."""

    def __init__(self, client: FrameClient) -> None:
        self.client = client
        client.handshake((Setting.INITIAL_WINDOW_SIZE, 1 << 20))
        self._stream = -1

    def is_served(self) -> None:
        """Make a request and wait for the reply."""
        self._stream += 2
        self.client.send(head(self._stream))
        self.client.expect_reply(self._stream, 200, b"conformance\n")


def _suffers(front: Http2Front, attack: Attack, bystander: Bystander) -> int:
    """Carry out an attack, look at how it ends, and return the most memory that the proxy had meanwhile."""
    peak = 0
    with front.connect() as client:
        client.handshake()
        for batch in attack.made():
            is_taken = client.send_raw(batch)
            peak = max(peak, front.proxy.rss_bytes())
            bystander.is_served()
            if not is_taken:
                break
        if attack.may_live and not client.transport.closed:
            client.send(ping(b"survived"))
        last = client.expect(
            "an end", lambda it: it.kind == Kind.GOAWAY or (it.kind == Kind.PING and it.payload == b"survived")
        )
        if last.kind == Kind.GOAWAY:
            assert last.code in attack.codes, client.story()
            client.expect_closed()
        peak = max(peak, front.proxy.rss_bytes())
        bystander.is_served()
    return peak


@pytest.mark.parametrize("attack", [*RESETS, *USELESS, *BLOCKS], ids=lambda attack: attack.id)
def test_floodEnds(front: Http2Front, attack: Attack) -> None:
    """H5: GOAWAY with ENHANCE_YOUR_CALM or the error's own code; memory flat; others are served meanwhile and after."""
    seen = len(front.backend.requests)
    with front.connect() as other:
        bystander = Bystander(other)
        _suffers(front, attack, bystander)
        before = front.proxy.rss_bytes()
        peak = max(_suffers(front, attack, bystander) for _ in range(3))
    assert peak - before < GROWTH_BYTES, f"grew by {(peak - before) >> 10} KiB"
    flooded = [request for request in front.backend.requests[seen:] if request.target in (b"/flood", b"/never")]
    assert len(flooded) <= 4 * MOST_REQUESTS, f"the backend saw {len(flooded)} requests"
    front.assert_no_bugs()


# A client that reads nothing


def _push(client: FrameClient, batch: bytes, patience_s: float = 0.2) -> bool:
    """Send without reading; return False if the server takes no more, or has closed."""
    socket, view = client.transport.socket, memoryview(batch)
    socket.setblocking(False)
    while view:
        _, writable, _ = select.select([], [socket], [], patience_s)
        if not writable:
            return False
        try:
            view = view[socket.send(view) :]
        except BlockingIOError:
            continue
        except OSError:
            return False
    return True


def _unread(one: bytes, count: int, every: int, block: bytes) -> Iterator[bytes]:
    """Return batches in which a request follows each so many frames: to a server's budgets that looks useful."""
    stream = -1
    for _ in range(count):
        stream += 2
        yield one * every + headers(stream, block)


_PADDED = (b"x-padding", b"p" * 400)
"""So that what is sent is more than the system holds on its way."""
_HEAD = block_of(request_fields(b"http", _PADDED, method=b"HEAD"))
_REFUSED = block_of(request_fields(b"http", _PADDED, (b"expect", b"what"), method=b"HEAD"))
_HINTED = block_of(request_fields(b"http", _PADDED, path=b"/103"))


@pytest.mark.parametrize(
    "frame, every, block",
    [
        pytest.param(ping(), 20, _HEAD, id="ping"),
        pytest.param(ping(), 3, _HEAD, id="ping-within-budget"),
        pytest.param(settings(), 3, _HEAD, id="settings-within-budget"),
        pytest.param(b"", 0, _HEAD, id="replies-to-head"),
        pytest.param(b"", 0, _REFUSED, id="replies-of-our-own"),
        pytest.param(b"", 0, _HINTED, id="interim-replies"),
    ],
)
def test_unreadAnswersDoNotPileUp(front: Http2Front, frame: bytes, every: int, block: bytes) -> None:
    """H5: a client that reads nothing gets no more answers than fit on the way: memory flat, others served."""

    def attack() -> int:
        peak = 0
        with front.connect(receive_buffer=4096) as client:
            client.handshake()
            batches = _unread(frame, 40_000, every, block)
            for number, batch in enumerate(batches):
                if not _push(client, batch):
                    break
                if number % 500 == 0:
                    peak = max(peak, front.proxy.rss_bytes())
                    bystander.is_served()
            settled(lambda: int(front.proxy.cpu_seconds() * 100), 0.3)
            peak = max(peak, front.proxy.rss_bytes())
            bystander.is_served()
        return peak

    with front.connect() as other:
        bystander = Bystander(other)
        attack()
        before = front.proxy.rss_bytes()
        peak = attack()
    assert peak - before < GROWTH_BYTES, f"grew by {(peak - before) >> 10} KiB"
    front.assert_no_bugs()


def test_unreadHeadsDoNotPileUp(front: Http2Front) -> None:
    """H5: heads are under no window; a client that asks for large ones, in turn, and reads none gets no more of them."""
    together = 50
    # HPACK leaves seven bits of each byte of these heads.
    kernel_holds = tcp_buffers_bytes()["wmem"] * 8 // 7 // WIDE_HEAD_BYTES
    rounds = 40 + kernel_holds // together
    block = block_of(request_fields(b"http", method=b"HEAD", path=b"/wide"))

    def asked() -> int:
        return len([request for request in front.backend.requests if request.target == b"/wide"])

    def attack() -> int:
        with front.connect(receive_buffer=4096) as client:
            client.handshake()
            for number in range(rounds):
                before, first = asked(), 2 * together * number + 1
                batch = b"".join(headers(stream, block) for stream in range(first, first + 2 * together, 2))
                if not _push(client, batch):
                    break
                try:
                    wait_for(lambda before=before: asked() >= before + together, "the requests", 0.4)
                except AssertionError:
                    break  # The proxy reads no further.
            settled(lambda: int(front.proxy.cpu_seconds() * 100), 0.3)
            peak = front.proxy.rss_bytes()
            bystander.is_served()
        return peak

    with front.connect() as other:
        bystander = Bystander(other)
        attack()
        before, first = front.proxy.rss_bytes(), asked()
        peak = attack()
    # What the kernel holds has been answered, and two batches were asked for before anybody could know of the rest.
    most = kernel_holds + 2 * together
    assert asked() - first <= most, "the proxy goes on reading requests"
    # Those of these batches that wait are held as they came, as they were read and as they go out.
    assert peak - before < GROWTH_BYTES + 3 * 2 * together * WIDE_HEAD_BYTES, f"grew by {(peak - before) >> 10} KiB"
    front.assert_no_bugs()


# Clients that take their time


def test_whoDoesNotGoOnIsClosed(front: Http2Front) -> None:
    """Q1: what has begun and does not end is closed at its deadline, on a listener whose deadlines are a second."""
    begun = {
        "nothing": b"",
        "half a preface": PREFACE[:10],
        "no settings": PREFACE,
        "half a block": PREFACE + settings() + headers(1, b"\x82", complete=False),
        "half a frame": PREFACE + settings() + headers(1, b"\x82")[:5],
    }
    with contextlib.ExitStack() as stack:
        clients = {name: stack.enter_context(front.connect("hasty")) for name in begun}
        for name, sent in begun.items():
            clients[name].send_raw(sent)
        for name, client in clients.items():
            assert client.transport.read_until_closed(), f"the connection stays open: {name}"


def test_progressDoesNotPutOffTheDeadline(front: Http2Front) -> None:
    """Q1: a header block that comes byte by byte must be whole at its deadline, whatever its progress."""
    with front.connect("hasty") as client:
        client.handshake()
        client.send(headers(1, b"\x82", complete=False))
        block = iter(block_of(request_fields(b"http", (b"x-slow", b"s" * 100_000)))[1:])
        while not client.transport.read_until_closed(0.1):
            # Each frame is cut, so that no budget of frames ends it before the deadline does.
            client.send_raw(bytes([next(block)]))
        assert not client.judge.streams[1].fields


def test_idleConnectionSaysGoodbye(front: Http2Front) -> None:
    """Q7: a connection without streams is closed after the keep-alive timeout, by GOAWAY without an error."""
    with front.connect("hasty") as client:
        client.handshake()
        client.expect_served(1)
        client.expect_goaway(Code.NO_ERROR)
        client.expect_closed()


def test_stalledBodyIsGivenUp(front: Http2Front) -> None:
    """Q2: a body that stalls is answered by 408 or a reset; another stream of the connection is not."""
    with front.connect("hasty") as client:
        client.handshake()
        client.send(head(1, method=b"POST", path=b"/echo", ended=False), data(1, b"hel"))
        client.expect("an end of 1", lambda it: client.judge.streams[1].is_over)
        assert client.judge.streams[1].status in (0, 408), client.story()
        client.expect_served(3)
    wait_for(
        lambda: any(line["end"] == "request-timeout" for line in front.proxy.access_lines()), "its line", DEADLINE_S
    )


# Clients that do no harm


def test_busyClientsAreNoAttackers(front: Http2Front) -> None:
    """A client with many requests, some of them cancelled, with pings and window updates, is served to the end."""
    with front.connect() as client:
        client.handshake()
        stream = 1
        for number in range(400):
            client.send(head(stream))
            client.expect_reply(stream)
            client.credit(12)
            if number % 10 == 0:
                client.expect_ping_ack()
            if number % 8 == 0:
                client.send(head(stream + 2, path=b"/never"), rst_stream(stream + 2))
                stream += 2
            stream += 2
        client.expect_served(stream)
        assert not client.judge.violations, client.judge.violations


def test_smallFramesOfContentAreNoAttack(front: Http2Front) -> None:
    """A body may come in small frames, and a reply may be read in small windows."""
    with front.connect() as client:
        client.handshake()
        client.send(head(1, method=b"POST", path=b"/echo", ended=False))
        client.upload(1, *([data(1, b"abc")] * 5000), data(1, ended=True))
        client.expect_reply(1, 200, b"abc" * 5000)
        client.change((Setting.INITIAL_WINDOW_SIZE, 10))
        client.send(head(3, method=b"POST", path=b"/echo", ended=False))
        client.upload(3, data(3, b"x" * 15_000, ended=True))
        while not client.judge.streams[3].is_over:
            came = len(client.expect("DATA on 3", lambda it: it.is_a(Kind.DATA, 3)).payload)
            if came:
                client.credit(came, 3)
        assert len(client.expect_reply(3).body) == 15_000
