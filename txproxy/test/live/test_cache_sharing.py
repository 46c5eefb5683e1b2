"""Many clients that want the same at once: one fetch for all, and nobody is held back by another."""

from __future__ import annotations

import hashlib
import random
import threading
import time
from collections.abc import Iterator
from functools import partial

import pytest

from .cache_front import FRESH, Answer, Cached, Held, begun, cached, ends, facts
from .helpers import MIB, at_once, clients_of, settled, wait_until_read
from .judge import JudgedRequest
from .peers import DEADLINE_S, BackendConnection, Client, http_reply, wait_for
from .replies import Reply
from .test_streaming import KERNEL_BYTES, Peak, chunk

CROWD = 100
LARGE = random.Random(7).randbytes(10 * MIB)
LONG = LARGE * 2
LAST_CHUNK = b"0\r\n\r\n"
LONG_REPLY = (
    f"HTTP/1.1 200 OK\r\n{FRESH}Transfer-Encoding: chunked\r\n\r\n".encode()
    + b"".join(chunk(LONG[start : start + MIB]) for start in range(0, len(LONG), MIB))
    + LAST_CHUNK
)


@pytest.fixture(scope="module")
def site() -> Iterator[Cached]:
    """One proxy for all tests of this module; each has targets of its own."""
    with cached(
        more="[cache]\nmax_object_bytes = 16777216\nlock_timeout_s = 60", cluster="pool = { max_connections = 300 }"
    ) as site:
        yield site


def sent_to(site: Cached, clients: list[Client], target: str) -> None:
    """Send the same request by all clients, and wait until the proxy has read them all."""
    for client in clients:
        begun(client, target)
    for client in clients:
        wait_until_read(client)


def replies_of(clients: list[Client]) -> list[Reply]:
    return [client.reply() for client in clients]


def test_a_crowd_on_one_cold_object(site: Cached) -> None:
    """K3: 100 at once, while the backend has said nothing: one fetch, 100 identical bodies, 99 of them collapsed."""
    body = random.Random(1).randbytes(200_000)
    held = Held(http_reply(body=body, fields=FRESH))
    site.origin.says("/crowd", held)
    with clients_of(site.port, CROWD) as clients:
        sent_to(site, clients, "/crowd")
        held.go_on.set()
        replies = replies_of(clients)
    assert {(reply.status, reply.body == body) for reply in replies} == {(200, True)}
    assert sum("collapsed" in facts(reply) for reply in replies) == CROWD - 1
    assert site.origin.count("/crowd") == 1
    assert site.word("/crowd") == "HIT"


def test_a_crowd_in_mid_body(site: Cached) -> None:
    """K3: who comes while the body comes gets what has come at once, and the rest as it comes."""
    body = random.Random(2).randbytes(100_000)
    reply = http_reply(body=body, fields=FRESH)
    held = Held(reply, len(reply) - 30_000)
    site.origin.says("/mid", held)
    with clients_of(site.port, CROWD) as clients:
        begun(clients[0], "/mid")
        assert clients[0].read_until(lambda: len(clients[0].received) > 70_000)
        for client in clients[1:]:
            begun(client, "/mid")
        for client in clients[1:]:
            assert ends(client, body[69_900:70_000])
        held.go_on.set()
        assert {reply.body == body for reply in replies_of(clients)} == {True}
    assert site.origin.count("/mid") == 1


def test_a_slow_client_holds_nobody_back(site: Cached) -> None:
    """K3: 10 MiB for 11 clients at once, one of which reads nothing: the others have all of it, and it gets it later."""
    held = Held(http_reply(body=LARGE, fields=FRESH))
    site.origin.says("/large", held)
    with Client(site.port, receive_buffer=4096) as slow, clients_of(site.port, 10) as clients:
        # The slow one is the first, whose request goes to the backend.
        sent_to(site, [slow, *clients], "/large")
        held.go_on.set()
        replies = at_once([client.reply for client in clients])
        assert {reply.body == LARGE for reply in replies} == {True}
        assert not slow.received
        assert slow.reply().body == LARGE
    assert site.origin.count("/large") == 1


def test_a_slow_client_holds_a_hit_for_itself_only(site: Cached) -> None:
    """A stored body is given to each client as it reads: memory does not grow by what slow ones do not take."""
    site.origin.says("/stored", Answer(LARGE))
    assert site.get("/stored").body == LARGE
    peak = Peak(site.proxy)
    with clients_of(site.port, 50) as slow:
        sent_to(site, slow, "/stored")
        assert site.get("/stored").body == LARGE
        assert peak.growth < 50 * MIB
        assert hashlib.sha256(slow[0].reply().body).digest() == hashlib.sha256(LARGE).digest()


def test_what_is_not_stored_goes_at_the_pace_of_its_client(site: Cached) -> None:
    """A reply that may not be stored is passed on under flow control: neither memory nor the backend runs ahead."""
    sent = 0

    def endless(connection: BackendConnection, request: JudgedRequest) -> None:
        nonlocal sent
        connection.send(b"HTTP/1.1 200 OK\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = chunk(LARGE[: MIB // 4])
        while not connection.gone.is_set() and sent < 2 * KERNEL_BYTES:
            connection.send(piece)
            sent += len(piece)

    site.origin.says("/endless", endless)
    peak = Peak(site.proxy)
    with Client(site.port, receive_buffer=4096) as client:
        begun(client, "/endless")
        assert client.read_until(lambda: len(client.received) > 10_000)
        assert 0 < settled(lambda: sent) < KERNEL_BYTES
        assert peak.growth < 8 * MIB


def test_what_turns_out_too_long_is_not_kept(site: Cached) -> None:
    """A body without a length that exceeds max_object_bytes goes to all who read it already, and is not stored."""
    held = Held(LONG_REPLY)
    site.origin.says("/long", held)
    with clients_of(site.port, 5) as clients:
        sent_to(site, clients, "/long")
        held.go_on.set()
        assert all(at_once([partial(ends, client, LAST_CHUNK) for client in clients]))
        assert {reply.body == LONG for reply in replies_of(clients)} == {True}
    assert site.get("/long", "Cache-Control: only-if-cached\r\n").status == 504


def test_a_client_that_takes_nothing_of_what_is_not_kept() -> None:
    """K3: if the body turns out too long to be stored, a slow client holds up nobody, and has it whole in the end."""
    with cached(more="[cache]\nmax_object_bytes = 1048576") as site:
        held = Held(LONG_REPLY)
        site.origin.says("/long", held)
        with Client(site.port, receive_buffer=4096) as slow, clients_of(site.port, 4) as clients:
            sent_to(site, [slow, *clients], "/long")
            held.go_on.set()
            assert all(at_once([partial(ends, client, LAST_CHUNK) for client in clients])), "held back"
            assert {reply.body == LONG for reply in replies_of(clients)} == {True}
            assert ends(slow, LAST_CHUNK)
            assert slow.reply().body == LONG


class Gathering:
    """Answers once so many requests are waiting at the same time; the first one at once."""

    def __init__(self, size: int, fields: str) -> None:
        self._fields = fields
        self._lock = threading.Lock()
        self._left = size
        self._all = threading.Event()
        self.first = threading.Event()
        """Lets the first one go."""

    def __call__(self, connection: BackendConnection, request: JudgedRequest) -> None:
        with self._lock:
            self._left -= 1
            number = self._left
            if not number:
                self._all.set()
        # The wait ends in any case, but what then comes is not what the test wants.
        gathered = (self._all if self.first.is_set() else self.first).wait(DEADLINE_S)
        connection.send(http_reply(body=b"%d" % number if gathered else b"alone", fields=self._fields))


@pytest.mark.parametrize("fields", ["Cache-Control: no-store\r\n", f"{FRESH}Set-Cookie: a=b\r\n"])
def test_what_cannot_be_shared_goes_in_parallel(site: Cached, fields: str) -> None:
    """K3: if it turns out not storable, the 99 who waited go on in parallel, each with a reply of its own."""
    target = f"/parallel-{len(fields)}"
    gathering = Gathering(CROWD, fields)
    site.origin.says(target, gathering)
    with clients_of(site.port, CROWD) as clients:
        sent_to(site, clients, target)
        assert site.origin.count(target) == 1
        gathering.first.set()
        replies = replies_of(clients)
    assert sorted(int(reply.body) for reply in replies) == [*range(CROWD)]
    assert site.origin.count(target) == CROWD
    # From now on nobody waits: all are at the backend before the first one is answered.
    gathering = Gathering(CROWD, fields)
    gathering.first.set()
    site.origin.says(target, gathering)
    with clients_of(site.port, CROWD) as clients:
        sent_to(site, clients, target)
        replies = replies_of(clients)
    assert sorted(int(reply.body) for reply in replies) == [*range(CROWD)]
    assert site.origin.count(target) == 2 * CROWD


def test_variants_are_not_mixed(site: Cached) -> None:
    """Who waited for a reply of another language does not get it, but one of its own."""
    go_on = threading.Event()

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        go_on.wait(DEADLINE_S)
        language = request.value(b"accept-language") or b""
        connection.send(http_reply(body=language, fields=f"{FRESH}Vary: Accept-Language\r\n"))

    site.origin.says("/tongues", answer)
    wanted = [b"en", b"fr", b"de", b"it"] * 10
    with clients_of(site.port, len(wanted)) as clients:
        for client, language in zip(clients, wanted, strict=True):
            begun(client, "/tongues", f"Accept-Language: {language.decode()}\r\n")
        for client in clients:
            wait_until_read(client)
        go_on.set()
        assert [reply.body for reply in replies_of(clients)] == wanted
    assert 4 <= site.origin.count("/tongues") <= 8


def test_clients_that_leave_harm_nobody(site: Cached) -> None:
    """The first client, whose request goes to the backend, leaves in mid-body; the others get it, and it is stored."""
    body = random.Random(3).randbytes(100_000)
    reply = http_reply(body=body, fields=FRESH)
    held = Held(reply, 50_000)
    site.origin.says("/left", held)
    with Client(site.port) as first, clients_of(site.port, 5) as others:
        begun(first, "/left")
        assert first.read_until(lambda: len(first.received) > 10_000)
        sent_to(site, others, "/left")
        first.reset()
        others[0].reset()
        held.go_on.set()
        assert {reply.body == body for reply in replies_of(others[1:])} == {True}
    assert site.origin.count("/left") == 1
    assert site.word("/left") == "HIT"


def test_followers_do_not_wait_for_ever() -> None:
    """lock_timeout_s: who has waited so long for a reply to another goes to the backend for itself."""
    with cached(more="[cache]\nlock_timeout_s = 0.3") as site:
        site.origin.says("/slow", lambda connection, request: None, Answer(b"quick"))
        with clients_of(site.port, 6) as clients:
            began_s = time.monotonic()
            begun(clients[0], "/slow")
            site.origin.wait_for_requests("/slow", 1)
            sent_to(site, clients[1:], "/slow")
            assert {reply.body for reply in replies_of(clients[1:])} == {b"quick"}
            assert time.monotonic() - began_s >= 0.3
            assert 2 <= site.origin.count("/slow") <= 6
            assert not clients[0].received


def test_a_fetch_that_fails(site: Cached) -> None:
    """All who wait for a head get an error of ours, none waits for another's try, and the next request is served."""
    gone = threading.Event()

    def leave(connection: BackendConnection, request: JudgedRequest) -> None:
        gone.wait(DEADLINE_S)
        connection.reset()

    site.origin.says("/failing", leave)
    with clients_of(site.port, 20) as clients:
        sent_to(site, clients, "/failing")
        assert site.origin.count("/failing") == 1
        gone.set()
        assert {reply.status for reply in replies_of(clients)} == {502}
    # It may be the first one's own request that the backend does not bear: each may try for itself, and once more.
    assert site.origin.count("/failing") <= 40
    site.origin.says("/failing", Answer(b"well"))
    assert site.get("/failing").body == b"well"
    wait_for(lambda: site.word("/failing") == "HIT", "a hit")


def test_a_backend_that_is_silent_is_asked_once_for_all() -> None:
    """A timeout is the same for all who wait: 504, after one request."""
    with cached(cluster="timeouts = { first_byte_s = 0.5 }", more="[cache]\nlock_timeout_s = 20") as site:
        site.origin.says("/silent", lambda connection, request: None)
        with clients_of(site.port, 20) as clients:
            sent_to(site, clients, "/silent")
            assert {reply.status for reply in replies_of(clients)} == {504}
        assert site.origin.count("/silent") <= 2
