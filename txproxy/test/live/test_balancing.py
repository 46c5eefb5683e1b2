"""Balancing: who gets which request, told by what real backend processes have read."""

from __future__ import annotations

import itertools
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from .farm import Farm
from .helpers import at_once, clients_of, wait_until_read
from .load import Load
from .peers import Backend, Client, ProxyProcess, config_for, wait_for
from .replies import Reply
from .test_pool import Gauge

BELIEVED = '[proxy]\ntrusted_proxies = ["127.0.0.0/8"]'
SOME_BALANCERS = ("round_robin", "least_connections", "ip_hash", "random", "p2c", "ewma", "ring_hash")


def served_by(reply: Reply) -> str:
    """Return the name of the farm's member that answered."""
    assert reply.status == 200, reply
    return reply.body.decode()


def order_of(client: Client, count: int, **more: str) -> str:
    """Make so many requests one after another; return the letters of those that answered."""
    return "".join(served_by(client.request(**more)) for _ in range(count))  # type: ignore[arg-type]


# Shares.


def test_shares_are_exact_and_smooth() -> None:
    """B1: with weights 3:1 400 requests are 300 and 100, and nobody gets more than three in a row."""
    with Farm(2) as farm, ProxyProcess(farm.config(backends=("weight = 3", ""))) as proxy, Client(proxy.port) as client:
        order = order_of(client, 400)
        assert [len(member.requests()) for member in farm] == [300, 100]
    assert Counter(order) == {"a": 300, "b": 100}
    assert max(len(list(run)) for _, run in itertools.groupby(order)) <= 3


def test_random_keeps_to_weights() -> None:
    """``random`` gives shares by weight on the average: for 3:1 that is 300 of 400, give or take seven deviations."""
    config = ('balance = "random"', ("weight = 3", ""))
    with Farm(2) as farm, ProxyProcess(farm.config(config[0], backends=config[1])) as proxy, Client(proxy.port) as one:
        order = order_of(one, 400)
    assert 240 <= order.count("a") <= 360
    assert any(len(list(run)) > 3 for _, run in itertools.groupby(order)), "that is no random order"


@contextmanager
def gauges(count: int, cluster: str) -> Iterator[tuple[ProxyProcess, list[Gauge]]]:
    """Start the proxy in front of so many backends that hold what they get."""
    held = [Gauge() for _ in range(count)]
    with ExitStack() as stack:
        servers = [stack.enter_context(Backend(one)) for one in held]
        config = config_for(*(server.address for server in servers), cluster=cluster)
        yield stack.enter_context(ProxyProcess(config)), held


def start_requests(clients: list[Client], held: list[Gauge], first: int = 0) -> None:
    """Send a request with each, one after another, so that each is held by a backend before the next one goes out.

    :param first: number of the first client; their targets are their numbers.
    """
    for number, client in enumerate(clients, first):
        client.send(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % number)
        wait_for(lambda n=number: any(b"/%d" % n in one.held for one in held), "the request at a backend")


def finish_requests(clients: list[Client], gauge: Gauge, count: int) -> None:
    """Let a backend answer what it holds, and wait until the clients have the replies."""
    assert gauge.now == count
    held = gauge.held[-count:]
    gauge.let_go(count)
    for target in held:
        assert clients[int(target[1:])].reply().status == 200


def test_who_works_least_is_next() -> None:
    """B2: one backend holds ten slow requests, the other is idle: the next ten go there."""
    with gauges(2, 'balance = "least_connections"') as (proxy, held), clients_of(proxy.port, 30) as clients:
        start_requests(clients[:20], held)
        finish_requests(clients, held[1], 10)
        assert [one.now for one in held] == [10, 0]
        start_requests(clients[20:], held, 20)
        assert [len(one.held) for one in held] == [10, 20]
        for one in held:
            finish_requests(clients, one, 10)


def test_the_idle_one_is_next() -> None:
    """D7: of three backends with 0, 5 and 10 requests under way the one with none is next."""
    with gauges(3, 'balance = "least_connections"') as (proxy, held), clients_of(proxy.port, 25) as clients:
        start_requests(clients[:15], held)
        finish_requests(clients, held[0], 5)
        start_requests(clients[15:20], held, 15)
        assert [one.now for one in held] == [5, 5, 5]
        finish_requests(clients, held[0], 5)
        assert [one.now for one in held] == [0, 5, 5]
        start_requests(clients[20:], held, 20)
        assert [one.now for one in held] == [5, 5, 5]
        for one in held:
            one.let_go(20)


@pytest.mark.parametrize("balance", ["least_connections", "p2c"])
def test_a_busy_backend_is_spared(balance: str) -> None:
    """B2: one of two backends answers nothing: what comes meanwhile goes to the other, but for a few at the start."""
    with gauges(2, f'balance = "{balance}"') as (proxy, held), clients_of(proxy.port, 40) as clients:
        held[0].let_go(1000)
        start_requests(clients, held)
        # Whoever chooses of two sees both; only while the other's reply is on its way can they be equal.
        assert len(held[1].held) <= 5
        held[1].let_go(1000)
        assert [client.reply().status for client in clients] == [200] * 40


def test_a_slow_backend_gets_less() -> None:
    """``ewma``: of two backends the one that takes much longer to answer gets far less than half."""
    with (
        Farm(2) as farm,
        ProxyProcess(farm.config('balance = "ewma"')) as proxy,
        Client(proxy.port) as client,
    ):
        farm.members[0].behave(delay_s=0.2)
        order = order_of(client, 100)
    assert order.count("a") <= 20
    assert "a" in order, "without a request nobody knows how fast it is"


def test_a_slow_past_is_forgotten() -> None:
    """``ewma``: a backend that hung and is up again gets requests soon: how slow it was before says nothing now."""
    health = "[cluster.origin.health]\ninterval_s = 0.2\ntimeout_s = 1\nfall = 1\nrise = 1\n"
    with (
        Farm(3) as farm,
        ProxyProcess(farm.config(f'balance = "ewma"\n{health}')) as proxy,
        Load(proxy.port, rate=100) as load,
    ):
        one = farm.members[0]
        wait_for(one.requests, "traffic")
        one.freeze()
        wait_for(lambda: f"{one.address}: up -> down" in proxy.error_text, "the hang to be noticed")
        one.thaw()
        wait_for(lambda: f"{one.address}: down -> up" in proxy.error_text, "the thaw to be noticed")
        back = time.monotonic()
        wait_for(lambda: len(one.requests(back)) > 10, "its traffic to return", 10)
        assert {outcome.status for outcome in load.finish()} == {200}


# Who stays where.


def asked(proxy: ProxyProcess, fields: list[str], target: str = "/") -> str:
    """Make one request with each of these field lines; return the letters of those that answered."""
    with Client(proxy.port) as client:
        return "".join(served_by(client.request(target, fields=each)) for each in fields)


def test_few_keys_move_when_a_server_goes() -> None:
    """B4: of 1,000 keys on five servers under a quarter moves when one is gone, and only those that it had.

    Another process of the proxy puts the same keys to the same servers; a server that is only down moves the same
    keys as one that is removed, and gets them back.
    """
    keys = [f"X-Key: user-{number}\r\n" for number in range(1000)]
    hashed = 'balance = "ring_hash"\nhash_key = "header:X-Key"'
    with Farm(5) as farm:
        with ProxyProcess(farm.config(hashed)) as proxy:
            before = asked(proxy, keys)
            assert asked(proxy, keys[:100]) == before[:100], "a key stays"
            farm.members[2].kill()
            down = asked(proxy, keys)
        gone = farm.members.pop(2)
        with ProxyProcess(farm.config(hashed)) as proxy:
            removed = asked(proxy, keys)
        gone.close()
    assert set(before) == set("abcde")
    for after in (down, removed):
        moved = [old for old, new in zip(before, after, strict=True) if old != new]
        assert set(moved) == {"c"}
        assert len(moved) == before.count("c") < 250
    assert down == removed


def test_what_is_hashed_stays() -> None:
    """D7: one client, or one key, one backend; many of them use all."""
    client = "X-Forwarded-For: 198.51.100.{}\r\n"
    cases = {
        "ip_hash": ('balance = "ip_hash"', client),
        "by_client": ('balance = "ring_hash"', client),
        "by_cookie": ('balance = "ring_hash"\nhash_key = "cookie:id"', "Cookie: a=1; id={}; b=2\r\n"),
        "by_header": ('balance = "ring_hash"\nhash_key = "header:X-Key"', "X-Key: {}\r\n"),
    }
    uris = 'balance = "ring_hash"\nhash_key = "uri"'
    with Farm(3) as farm:
        clusters = {name: keys for name, (keys, _) in cases.items()} | {"by_uri": uris}
        with ProxyProcess(farm.config_of(clusters, more=BELIEVED)) as proxy:
            for name, (_, line) in cases.items():
                fields = [line.format(number) for number in range(1, 51)]
                before = asked(proxy, fields, f"/{name}/")
                assert set(before) == set("abc"), name
                assert asked(proxy, fields[::-1], f"/{name}/other") == before[::-1], name
            before = "".join(asked(proxy, [""], f"/by_uri/{number}") for number in range(40))
            assert set(before) == set("abc")
            assert "".join(asked(proxy, ["X-A: b\r\n"], f"/by_uri/{number}") for number in range(40)) == before


def cookie_of(reply: Reply) -> str | None:
    """Return the cookie that a reply sets, as a client sends it back; None if it sets none."""
    (line,) = reply.values("Set-Cookie") or (None,)
    return None if line is None else line.partition(";")[0]


def test_a_sticky_client_stays() -> None:
    """B6: the first reply sets a cookie, and whoever brings it stays where it was; no further reply sets one."""
    with Farm(3) as farm, ProxyProcess(farm.config('sticky = "srv"')) as proxy, Client(proxy.port) as client:
        first = client.request()
        cookie = cookie_of(first)
        assert cookie is not None
        assert re.fullmatch(r"srv=[!-~]{16,}", cookie) and ";" not in cookie
        home = served_by(first)
        (line,) = first.values("Set-Cookie")
        attributes = {part.strip().lower() for part in line.split(";")[1:]}
        assert {"path=/", "httponly", "samesite=lax"} <= attributes and "secure" not in attributes
        for member in farm:
            assert member.address not in line and str(member.port) not in line, "the cookie tells of the backends"
        for _ in range(10):
            # Among others, and in any place among a client's cookies.
            reply = client.request(fields=f"Cookie: other=1; {cookie}; more=2\r\n")
            assert (served_by(reply), cookie_of(reply)) == (home, None)
            client.request()
        homes = Counter(served_by(client.request()) for _ in range(30))
        assert set(homes) == set("abc"), "clients without the cookie are shared as ever"


def test_a_sticky_client_moves_once() -> None:
    """B6: its server is down: it is served by another one, told so by a new cookie, and stays there."""
    with Farm(3) as farm, ProxyProcess(farm.config('sticky = "srv"')) as proxy, Client(proxy.port) as client:
        reply = client.request()
        home, cookie = served_by(reply), cookie_of(reply)
        next(member for member in farm if member.name == home).kill()
        reply = client.request(fields=f"Cookie: {cookie}\r\n")
        moved, renewed = served_by(reply), cookie_of(reply)
        assert moved != home
        assert renewed is not None and renewed != cookie
        for _ in range(10):
            reply = client.request(fields=f"Cookie: {renewed}\r\n")
            assert (served_by(reply), cookie_of(reply)) == (moved, None)


def test_a_forged_cookie_is_ignored() -> None:
    """B6: a cookie that is not ours neither chooses a backend nor is an error; a good one is set in its place."""
    with Farm(3) as farm, ProxyProcess(farm.config('sticky = "srv"')) as proxy, Client(proxy.port) as client:
        cookie = cookie_of(client.request())
        assert cookie is not None
        last = "0" if cookie[-1] != "0" else "1"
        forged = [cookie[:-1] + last, cookie + "0", cookie[:-1], "srv=", "srv=a", f"srv={farm.addresses[0]}",
                  'srv="' + cookie[4:] + '"', cookie.replace("srv", "SRV"), "srv=" + "\xff" * 40, "srv=" + "x" * 4000]  # fmt: skip
        for each in forged:
            replies = [client.request(fields=f"Cookie: {each}\r\n") for _ in range(6)]
            assert Counter(map(served_by, replies)) == {"a": 2, "b": 2, "c": 2}, each
            assert all(re.fullmatch(r"srv=[0-9a-zA-Z_-]+", cookie_of(reply) or "") for reply in replies), each


# Backups.


def test_backups_serve_only_in_need() -> None:
    """B7: primaries down: backups serve. One primary back: traffic returns, and no request goes to a backup after."""
    health = "[cluster.origin.health]\ninterval_s = 0.1\ntimeout_s = 5"
    with (
        Farm(3) as farm,
        ProxyProcess(farm.config(health, backends=("", "", "backup = true"))) as proxy,
        Client(proxy.port) as client,
    ):
        one, two, backup = farm.members
        assert set(order_of(client, 20)) == {"a", "b"}
        one.kill()
        assert set(order_of(client, 20)) == {"b"}
        two.kill()
        assert set(order_of(client, 20)) == {"c"}
        one.start()
        wait_for(lambda: served_by(client.request()) == "a", "the primary's traffic to return")
        seen = len(backup.requests())
        assert set(order_of(client, 50)) == {"a"}
        assert len(backup.requests()) == seen
        two.start()
        wait_for(lambda: served_by(client.request()) == "b", "the other primary's traffic to return")
        assert set(order_of(client, 50)) == {"a", "b"}
        assert len(backup.requests()) == seen


def test_backups_without_checks() -> None:
    """B7: the same without health checks: a request that no primary takes goes to a backup, and none else does."""
    with (
        Farm(3) as farm,
        ProxyProcess(farm.config(backends=("", "", "backup = true"))) as proxy,
        Client(proxy.port) as client,
    ):
        one, two, backup = farm.members
        assert set(order_of(client, 10)) == {"a", "b"}
        one.kill()
        two.kill()
        assert order_of(client, 20) == "c" * 20
        assert len(backup.requests()) == 20


# Limits.


def test_no_backend_sees_more_than_its_limit() -> None:
    """P3: with max_connections = 2 no backend ever has more than 2 connections; the rest wait, in order."""
    cluster = "pool.max_connections = 2\npool.queue_timeout_s = 60"
    with (
        Farm(2, delay_s=0.05) as farm,
        ProxyProcess(farm.config(cluster)) as proxy,
        clients_of(proxy.port, 20) as clients,
    ):
        for number, client in enumerate(clients):
            client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-Id: %d\r\n\r\n" % number)
            wait_until_read(client)
        assert [client.reply().status for client in clients] == [200] * 20
        for member in farm:
            counts = member.counts()
            assert counts["most_open"] <= 2 and counts["most_active"] <= 2
            numbers = [int(seen.id) for seen in member.requests()]
            # Two connections may overtake each other by one.
            assert all(later > earlier - 4 for earlier, later in itertools.pairwise(numbers)), numbers


# Users' own.

SITE = """
class Sticky:
    def __init__(self):
        self.calls = 0

    def __call__(self, candidates, request, now, random):
        self.calls += 1
        assert now > 0 and 0 <= random() < 1
        return candidates[self.calls % len(candidates):] + candidates[:self.calls % len(candidates)]


def wanted(candidates, request, now, random):
    if request.path == "/boom":
        raise RuntimeError("no idea for " + request.path)
    number = int(request.headers.get("X-Want", "0"))
    for candidate in candidates[number:] + candidates[:number]:
        assert candidate.name and candidate.weight == 1 and candidate.active >= 0
        yield candidate
"""


def test_a_policy_of_the_users_own() -> None:
    """A function by its dotted name orders the backends: the first is tried, and the next one if that fails."""
    with (
        Farm(3) as farm,
        ProxyProcess(farm.config('balance = "site:wanted"'), files={"site.py": SITE}) as proxy,
        Client(proxy.port) as client,
    ):
        for number, name in enumerate("abc"):
            assert order_of(client, 5, fields=f"X-Want: {number}\r\n") == name * 5
        farm.members[1].kill()
        assert order_of(client, 2, fields="X-Want: 1\r\n") == "cc"
        lines = proxy.access_lines(17)
        assert [farm.named(line["backend"]) for line in lines[-2:]] == ["bc"] * 2


def test_a_policy_that_raises() -> None:
    """A user's policy that raises is a 500 for that request, with a line that says where; others are served."""
    with (
        Farm(2) as farm,
        ProxyProcess(farm.config('balance = "site:wanted"'), files={"site.py": SITE}) as proxy,
        Client(proxy.port) as client,
    ):
        reply = client.request("/boom")
        assert reply.status == 500 and b"no idea" not in reply.body
        assert served_by(client.request()) == "a"
        (line, _) = proxy.access_lines(2)
        assert (line["end"], line["backend"]) == ("internal", None)
        wait_for(lambda: "no idea for /boom" in proxy.error_text, "the line of the log")
        (told,) = [each for each in proxy.error_text.splitlines() if "no idea for /boom" in each]
        assert "site.py:14" in told


def test_a_policy_that_is_a_class() -> None:
    """A class is made once for its cluster, so that it may remember."""
    with (
        Farm(3) as farm,
        ProxyProcess(farm.config('balance = "site:Sticky"'), files={"site.py": SITE}) as proxy,
        Client(proxy.port) as client,
    ):
        assert order_of(client, 6) == "bcabca"


# Whatever the policy.


def test_a_dead_backend_is_passed_over() -> None:
    """R1: with any policy a dead backend fails no request, and all others get their part of its share."""
    with Farm(3) as farm:
        clusters = {name: f'balance = "{name}"' for name in SOME_BALANCERS}
        with ProxyProcess(farm.config_of(clusters, more=BELIEVED)) as proxy, Client(proxy.port) as client:
            farm.members[1].kill()
            for name in SOME_BALANCERS:
                names = {
                    served_by(
                        client.request(f"/{name}/", "POST", body=b"x", fields=f"X-Forwarded-For: 192.0.2.{n}\r\n")
                    )
                    for n in range(60)
                }
                assert names == {"a", "c"}, name


def test_many_clients_at_once() -> None:
    """Many clients at once are all served, by any policy."""
    clusters = {name: f'balance = "{name}"' for name in SOME_BALANCERS}
    with Farm(3) as farm, ProxyProcess(farm.config_of(clusters)) as proxy:

        def ask() -> int:
            with Client(proxy.port) as client:
                return sum(client.request(f"/{name}/").status == 200 for name in clusters for _ in range(5))

        assert at_once([ask] * 8) == [5 * len(clusters)] * 8
