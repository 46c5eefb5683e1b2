"""Connections to backends: shared, limited, waited for in order, and replaced when they are dead."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter

import pytest

from .helpers import at_once, clients_of, get, wait_until_read
from .judge import JudgedRequest
from .peers import (
    DEADLINE_S,
    Backend,
    BackendConnection,
    Client,
    Handler,
    ProxyProcess,
    config_for,
    echo,
    http_reply,
    wait_for,
)


class Gauge:
    """A handler that holds each request until it is let go, and knows how many were held at once.

    The reply's body is the number of the request in the order of arrival.
    """

    def __init__(self) -> None:
        self.held: list[bytes] = []
        """Targets in the order in which they came."""
        self.now = 0
        self.most = 0
        self._go_on = threading.Semaphore(0)
        self._lock = threading.Lock()

    def __call__(self, connection: BackendConnection, request: JudgedRequest) -> None:
        with self._lock:
            self.held.append(request.target)
            self.now += 1
            self.most = max(self.most, self.now)
        self._go_on.acquire(timeout=3 * DEADLINE_S)
        with self._lock:
            self.now -= 1
        connection.send(http_reply(body=request.target))

    def let_go(self, count: int = 1) -> None:
        """Answer so many requests."""
        self._go_on.release(count)


def limited_to(count: int) -> str:
    return f"pool.max_connections = {count}\npool.queue_timeout_s = 60"


def test_one_connection_serves_many_requests(proxy: ProxyProcess, backend: Backend) -> None:
    """P1, D8: 100 requests one after another, each of a client of its own, use one upstream connection."""
    for number in range(100):
        assert get(proxy.port, f"/{number}").status == 200
    assert len(backend.connections) == 1
    assert len(backend.requests) == 100


def test_most_requests_reuse_a_connection(proxy: ProxyProcess, backend: Backend) -> None:
    """D14: under a steady load of several clients more than 80 % of the requests reuse a connection."""

    def load() -> None:
        with Client(proxy.port) as client:
            for _ in range(100):
                assert client.request("/", "POST", body=b"x").status == 200

    at_once([load] * 8)
    assert len(backend.requests) == 800
    assert len(backend.connections) <= 0.2 * 800


def closing_after_reply(handler: Handler) -> Handler:
    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        handler(connection, request)
        connection.close()

    return answer


@pytest.mark.parametrize("noticed", [True, False])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_a_backend_may_close_idle_connections(noticed: bool, method: str) -> None:
    """P2: the request after a close that nobody announced succeeds, on a new connection; what is noticed is not tried."""
    with (
        Backend(closing_after_reply(echo())) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
        Client(proxy.port) as client,
    ):
        for number in range(20):
            reply = client.request(f"/{number}", method, body=b"once" if method == "POST" else None)
            assert reply.status == 200, number
            if noticed or method == "POST":
                wait_for(lambda: not backend.open_connections, "the proxy to see that the connection has ended")
        sent = Counter(request.target for request in backend.requests)
    assert list(sent) == [b"/%d" % number for number in range(20)]
    # A GET may cross the close on its way, and is then sent a second time; the backend answered one of them.
    assert max(sent.values()) <= (2 if method == "GET" and not noticed else 1)


def test_a_backend_may_reset_idle_connections() -> None:
    """P2: the same for a reset."""

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        echo()(connection, request)
        threading.Timer(0.05, connection.reset).start()

    with (
        Backend(answer) as backend,
        ProxyProcess(config_for(backend.address)) as proxy,
        Client(proxy.port) as client,
    ):
        for number in range(10):
            assert client.request(f"/{number}").status == 200
            time.sleep(0.03 * (number % 4))


def test_bytes_on_an_idle_connection_discard_it() -> None:
    """P2: a reply to nothing is nobody's reply, whether it comes with another or later."""
    forged = http_reply(body=b"forged")

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        own = http_reply(body=request.target)
        if request.target.startswith(b"/with"):
            connection.send(own + forged)
        else:
            connection.send(own)
            time.sleep(0.05)
            connection.send(forged)

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        for number in range(10):
            target = f"/{'with' if number % 2 else 'later'}{number}"
            assert get(proxy.port, target).body == target.encode()
            wait_for(lambda: not backend.open_connections, "the connection to be discarded")
        lines = proxy.access_lines(10)
    assert {line["end"] for line in lines} == {"ok"}
    assert len(backend.connections) == 10


def test_the_limit_of_connections_holds_and_the_queue_is_fair() -> None:
    """P3, D8: with max_connections = 2 the backend never sees more than 2 of 10 requests, and the others wait in order."""
    gauge = Gauge()
    with (
        Backend(gauge) as backend,
        ProxyProcess(config_for(backend.address, cluster=limited_to(2))) as proxy,
        clients_of(proxy.port, 10) as clients,
    ):
        for number, client in enumerate(clients):
            client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            wait_until_read(client)
            if number < 2:
                wait_for(lambda n=number: len(gauge.held) > n, "the first requests at the backend")
        for done in range(1, 11):
            wait_for(lambda n=done: len(gauge.held) >= min(10, n + 1), "the next request at the backend")
            gauge.let_go()
        bodies = [client.reply().body for client in clients]
        lines = proxy.access_lines(10)
    assert bodies == [b"/%d" % number for number in range(10)]
    assert gauge.most == 2
    assert gauge.held == bodies
    assert len(backend.connections) == 2
    waited = {line["target"]: line["queue_ms"] for line in lines}
    assert waited["/0"] < waited["/9"]


def test_a_client_that_leaves_also_leaves_the_queue() -> None:
    """P3: whoever left while waiting is not sent upstream, and those behind move up."""
    gauge = Gauge()
    with (
        Backend(gauge) as backend,
        ProxyProcess(config_for(backend.address, cluster=limited_to(1))) as proxy,
        clients_of(proxy.port, 5) as clients,
    ):
        for number, client in enumerate(clients):
            client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
            wait_until_read(client)
            if number == 0:
                wait_for(lambda: gauge.held, "the first request at the backend")
        clients[1].close()
        clients[2].reset()
        assert [line["end"] for line in proxy.access_lines(2)] == ["client-left"] * 2
        gauge.let_go(5)
        assert [clients[number].reply().body for number in (0, 3, 4)] == [b"/0", b"/3", b"/4"]
    assert gauge.held == [b"/0", b"/3", b"/4"]


def test_three_connections_for_ten() -> None:
    """D8: pool limit 3, 10 at once: 3 upstream connections, all 10 are served."""
    gauge = Gauge()
    with Backend(gauge) as backend, ProxyProcess(config_for(backend.address, cluster=limited_to(3))) as proxy:
        threading.Timer(0.5, gauge.let_go, (10,)).start()
        bodies = at_once(lambda n=number: get(proxy.port, f"/{n}").body for number in range(10))
    assert bodies == [b"/%d" % number for number in range(10)]
    assert gauge.most <= 3
    assert len(backend.connections) == 3


def test_a_backend_has_a_limit_of_its_own() -> None:
    """P3: ``max_connections`` of one backend; what it cannot take goes to the other."""
    first, second = Gauge(), Gauge()
    with Backend(first) as one, Backend(second) as two:
        config = config_for(one.address, two.address).replace(
            f'"{one.address}" }}', f'"{one.address}", max_connections = 1 }}'
        )
        with ProxyProcess(config) as proxy, clients_of(proxy.port, 6) as clients:
            for number, client in enumerate(clients):
                client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
                wait_for(lambda n=number: len(first.held) + len(second.held) > n, "the request at a backend")
            assert (first.most, second.most) == (1, 5)
            first.let_go(6)
            second.let_go(6)
            assert [client.reply().status for client in clients] == [200] * 6


def test_idle_connections_close_after_their_time() -> None:
    """D8: an idle connection is closed after idle_timeout_s, one that is in use is not."""
    with Backend() as backend, ProxyProcess(config_for(backend.address, cluster="pool.idle_timeout_s = 1")) as proxy:
        assert get(proxy.port).status == 200
        (connection,) = backend.connections
        assert connection.gone.wait(DEADLINE_S)
        assert time.monotonic() - connection.opened_at >= 0.9
        assert get(proxy.port).status == 200
    assert len(backend.connections) == 2


def test_connections_end_after_so_many_requests() -> None:
    """P1: ``max_requests`` and ``max_idle`` are kept."""
    cluster = "pool.max_requests = 5\npool.max_idle = 2"
    with Backend() as backend, ProxyProcess(config_for(backend.address, cluster=cluster)) as proxy:
        for _ in range(20):
            assert get(proxy.port).status == 200
        assert [len(connection.requests) for connection in backend.connections] == [5] * 4
        gauge = Gauge()
        backend.on_request = gauge
        with clients_of(proxy.port, 6) as clients:
            for client in clients:
                client.send(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: gauge.now == 6, "six at once")
            gauge.let_go(6)
            for client in clients:
                assert client.reply().status == 200
            wait_for(lambda: len(backend.open_connections) <= 2, "all but two idle connections to be closed")


def test_round_robin_is_even() -> None:
    """D7: 30 requests over 3 backends are 10 each, in rotation."""
    with Backend() as one, Backend() as two, Backend() as three:
        backends = [one, two, three]
        with ProxyProcess(config_for(*(backend.address for backend in backends))) as proxy:
            for _ in range(30):
                assert get(proxy.port).status == 200
            order = [line["backend"] for line in proxy.access_lines(30)]
    assert [len(backend.requests) for backend in backends] == [10] * 3
    assert order == [backend.address for backend in backends] * 10


@pytest.mark.parametrize(("weights", "count", "longest"), [((1, 2, 3), 60, 2), ((3, 1), 400, 3)])
def test_weights_are_kept_smoothly(weights: tuple[int, ...], count: int, longest: int) -> None:
    """D7, B1: requests are shared by weight exactly, without long runs on one backend."""
    with Backend() as one, Backend() as two, Backend() as three:
        backends = [one, two, three][: len(weights)]
        members = ", ".join(
            f'{{ address = "{each.address}", weight = {weight} }}'
            for each, weight in zip(backends, weights, strict=True)
        )
        config = (
            '[[listener]]\nname = "web"\naddress = "127.0.0.1:0"\n[[route]]\nname = "all"\ncluster = "origin"\n'
            f'[cluster.origin]\nbalance = "weighted_round_robin"\nbackends = [{members}]\n'
        )
        with ProxyProcess(config) as proxy, Client(proxy.port) as client:
            for _ in range(count):
                assert client.request().status == 200
            order = [line["backend"] for line in proxy.access_lines(count)]
    share = count // sum(weights)
    assert [len(backend.requests) for backend in backends] == [share * weight for weight in weights]
    assert max(len(list(run)) for _, run in itertools.groupby(order)) <= longest


def test_steady_load_reuses_connections() -> None:
    """D14: under steady load over several backends more than 80 % of requests go on a connection that is there."""
    clients, each = 12, 60

    def ask(port: int) -> None:
        with Client(port) as client:
            for number in range(each):
                assert client.request(f"/{number}").status == 200

    with (
        Backend() as first,
        Backend() as second,
        Backend() as third,
        ProxyProcess(config_for(first.address, second.address, third.address)) as proxy,
    ):
        at_once([lambda: ask(proxy.port)] * clients)
        made = sum(len(backend.connections) for backend in (first, second, third))
    assert made < 0.2 * clients * each, made
