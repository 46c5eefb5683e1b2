"""Changes while it serves: backends are drained, maintained, weighed, added and removed, and no request is lost."""

from __future__ import annotations

import time

import pytest

from .embedded import Embedded, Refused
from .farm import Farm
from .load import Load, Outcome
from .peers import Client, wait_for
from .replies import Reply

CHECKS = "[cluster.origin.health]\ninterval_s = 0.1\ntimeout_s = 5\n"


def served_by(reply: Reply) -> str:
    """Return the name of the farm's member that answered."""
    return reply.value("X-Backend") or ""


def order_of(client: Client, count: int) -> str:
    """Make so many requests one after another; return the letters of those that answered."""
    return "".join(served_by(client.request()) for _ in range(count))


def all_served(outcomes: list[Outcome]) -> bool:
    """Return whether every request is a 200."""
    return bool(outcomes) and all(outcome.status == 200 for outcome in outcomes)


def test_draining() -> None:
    """A drained backend finishes what it has and gets nothing new, until it is to serve again; nobody notices."""
    with Farm(2, delay_s=0.05) as farm, Embedded(farm.config()) as proxy, Load(proxy.port, rate=100) as load:
        one, two = farm.members
        wait_for(lambda: one.requests() and two.requests(), "traffic")
        proxy.call("drain", one.address)
        drained = time.monotonic()
        assert proxy.status()[one.address]["state"] == "draining"
        seen = len(two.requests())
        wait_for(lambda: len(two.requests()) > seen + 50, "traffic at the other one")
        # What the kernel held for it at that moment may have been read a little later, but was sent before.
        wait_for(lambda: proxy.status()[one.address]["active"] == 0, "what is under way to end")
        wait_for(lambda: one.connections() == 0, "its idle connections to be closed")
        quiet = time.monotonic()
        proxy.call("serve", one.address)
        wait_for(lambda: one.requests(quiet), "its traffic to return")
        outcomes = load.finish()
        assert all_served(outcomes)
        sent = {outcome.id: outcome.sent_s for outcome in outcomes}
        assert [each for each in one.requests() if drained < sent[each.id] < quiet] == []
        assert proxy.log.count("up -> draining") == proxy.log.count("draining -> up") == 1


def test_draining_is_checked_and_maintenance_is_not() -> None:
    """While it is drained checks go on, in maintenance there are none; afterwards it is looked at anew."""
    with Farm(2) as farm, Embedded(farm.config(CHECKS)) as proxy, Client(proxy.port) as client:
        one, two = farm.members
        wait_for(lambda: {each["state"] for each in proxy.status().values()} == {"up"}, "both to be up")
        for order, is_checked in (("drain", True), ("maintain", False)):
            proxy.call(order, one.address)
            if not is_checked:
                wait_for(lambda: one.connections() == 0, "a check under way to end")
            checks, others = len(one.checks()), len(two.checks())
            wait_for(lambda count=others: len(two.checks()) > count + 8, "checks of the other one")
            assert (len(one.checks()) > checks) == is_checked
            assert order_of(client, 10) == "b" * 10
        one.behave(health_status=500)
        proxy.call("serve", one.address)
        wait_for(lambda: proxy.status()[one.address]["state"] == "down", "its first check")
        assert order_of(client, 10) == "b" * 10
        one.behave(health_status=200)
        wait_for(lambda: proxy.status()[one.address]["state"] == "up", "it to be up")
        assert set(order_of(client, 4)) == {"a", "b"}


def test_all_drained_is_503() -> None:
    """An order is an order: with all drained nobody is asked, panic or not; 503 with Retry-After."""
    with Farm(2) as farm, Embedded(farm.config()) as proxy, Client(proxy.port) as client:
        for member in farm:
            proxy.call("drain", member.address)
        reply = client.request()
        assert reply.status == 503 and int(reply.value("Retry-After") or 0) >= 1
        assert not [seen for member in farm for seen in member.requests()]
        proxy.call("serve", farm.members[1].address)
        assert order_of(client, 5) == "b" * 5


def test_weights() -> None:
    """B1: a new weight holds from the next request on."""
    with Farm(2) as farm, Embedded(farm.config()) as proxy, Client(proxy.port) as client:
        one, two = farm.members
        assert order_of(client, 20).count("a") == 10
        proxy.call("set_weight", one.address, 3)
        assert order_of(client, 40).count("a") == 30
        proxy.call("set_weight", two.address, 3)
        assert order_of(client, 40).count("a") == 20
        assert [each["weight"] for each in proxy.status().values()] == [3, 3]


def test_servers_come_and_go() -> None:
    """Servers are added and removed under load: all requests are served, and none by who is gone."""
    with Farm(4) as farm:
        later = farm.members[2:]
        del farm.members[2:]
        try:
            with Embedded(farm.config(CHECKS)) as proxy, Load(proxy.port, rate=200) as load:
                one, two = farm.members
                wait_for(lambda: one.requests() and two.requests(), "traffic")
                for member in later:
                    proxy.call("add", member.address, weight=2)
                    wait_for(member.requests, f"traffic at {member}")
                proxy.call("remove", one.address)
                proxy.call("remove", two.address)
                gone = time.monotonic()
                assert set(proxy.status()) == {member.address for member in later}
                seen = len(later[0].requests())
                wait_for(lambda: len(later[0].requests()) > seen + 50, "more traffic")
                wait_for(lambda: one.connections() + two.connections() == 0, "connections to them to be closed")
                outcomes = load.finish()
                assert all_served(outcomes)
                sent = {outcome.id: outcome.sent_s for outcome in outcomes}
                assert [each for member in farm for each in member.requests() if sent[each.id] > gone] == []
        finally:
            for member in later:
                member.close()


def test_a_removed_server_finishes_what_it_has() -> None:
    """A server that is removed completes its requests; without any server it is 503 until one comes."""
    with Farm(1) as farm, Embedded(farm.config()) as proxy, Client(proxy.port) as slow, Client(proxy.port) as client:
        (one,) = farm.members
        slow.send(b"GET /?delay_s=1 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(one.requests, "the request at the backend")
        proxy.call("remove", one.address)
        assert client.request().status == 503
        assert served_by(slow.reply()) == "a"
        wait_for(lambda: one.connections() == 0, "its connection to be closed")
        proxy.call("add", one.address)
        assert order_of(client, 3) == "aaa"


def test_what_is_refused() -> None:
    """A call that cannot be carried out raises, and changes nothing."""
    with Farm(2) as farm, Embedded(farm.config()) as proxy, Client(proxy.port) as client:
        one, two = farm.addresses
        before = proxy.status()
        for method, arguments, error in (
            ("drain", ["127.0.0.1:1"], "KeyError"),
            ("remove", ["127.0.0.1:1"], "KeyError"),
            ("set_weight", ["127.0.0.1:1", 2], "KeyError"),
            ("set_weight", [one, 0], "ValueError"),
            ("set_weight", [one, 65536], "ValueError"),
            ("set_weight", [one, 1.5], "ValueError"),
            ("add", [one], "ValueError"),
            ("add", ["no port"], "ValueError"),
            ("add", ["127.0.0.1:2", -1], "ValueError"),
        ):
            with pytest.raises(Refused, match=error):
                proxy.call(method, *arguments)
        after = proxy.status()
        assert set(after) == {one, two}
        assert [each["weight"] for each in after.values()] == [1, 1]
        assert [each["state"] for each in after.values()] == [each["state"] for each in before.values()] == ["up"] * 2
        assert set(order_of(client, 4)) == {"a", "b"}


def test_the_status_tells_why() -> None:
    """C7: state, since when, the last error and the last check of each backend."""
    with Farm(2) as farm, Embedded(farm.config(CHECKS)) as proxy:
        one, two = farm.members
        wait_for(lambda: {each["state"] for each in proxy.status().values()} == {"up"}, "both to be up")
        began = time.time()
        one.behave(health_status=500)
        wait_for(lambda: proxy.status()[one.address]["state"] == "down", "it to be down")
        told = proxy.status()
        assert began - 1 <= told[one.address]["since_s"] <= time.time() + 1
        assert told[one.address]["last_error"] == told[one.address]["last_check"]["reason"] == "status 500"
        assert told[one.address]["last_check"]["passed"] is False
        assert told[two.address]["state"] == "up" and told[two.address]["last_error"] == ""
        assert told[two.address]["last_check"]["passed"] is True
        assert told[two.address]["since_s"] <= told[one.address]["since_s"]
