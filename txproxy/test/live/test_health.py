"""Health: who is taken out and brought back, by checks and by what real requests meet, and what the log says of it."""

from __future__ import annotations

import re
import time
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from txproxy.test.authority import Authority

from .farm import Farm, Member
from .helpers import at_once
from .load import Load
from .peers import Backend, BlackHole, Client, ProxyProcess, config_for, unused_port, wait_for
from .replies import Reply
from .tls_server import TlsServer

CHECKS = "[cluster.origin.health]\ninterval_s = 0.1\ntimeout_s = 5\n"
RARE_CHECKS = "[cluster.origin.health]\ninterval_s = 600\ntimeout_s = 5\n"
_TRANSITION = re.compile(r"backend (\S+) (\S+): ([a-z]+) -> ([a-z]+): (.*)")


class Change(NamedTuple):
    """A transition as the log tells it."""

    before: str
    after: str
    reason: str


def changes(proxy: ProxyProcess, address: str) -> list[Change]:
    """Return all transitions of a backend of the cluster ``origin``."""
    found = _TRANSITION.findall(proxy.error_text)
    return [Change(before, after, reason) for cluster, name, before, after, reason in found
            if (cluster, name) == ("origin", address)]  # fmt: skip


def wait_for_state(proxy: ProxyProcess, member: Member | str, state: str, nth: int = 1) -> Change:
    """Wait until a backend has come to a state for the n-th time; return how it came there."""
    address = member if isinstance(member, str) else member.address

    def found() -> list[Change]:
        return [change for change in changes(proxy, address) if change.after == state]

    wait_for(lambda: len(found()) >= nth, f"{address} to be {state}: {changes(proxy, address)}")
    return found()[nth - 1]


def served_by(reply: Reply) -> str:
    """Return the name of the farm's member that answered."""
    return reply.value("X-Backend") or ""


def order_of(client: Client, count: int) -> str:
    """Make so many requests one after another; return the letters of those that answered, whatever the status."""
    return "".join(served_by(client.request()) for _ in range(count))


# Active checks.


def test_checks_take_a_backend_out_and_back() -> None:
    """C1: three checks with 500 take it down, and the next request avoids it; two good ones bring it up again."""
    health = (
        '[cluster.origin.health]\ninterval_s = 0.1\ntimeout_s = 5\npath = "/health?deep=1"\nhost = "check.example"\n'
        'headers = { "X-Check" = "yes", "Accept" = "text/x-health" }\nstatuses = ["200-299"]\nbody = "ok"\n'
    )
    with Farm(2) as farm, ProxyProcess(farm.config(health)) as proxy, Client(proxy.port) as client:
        one, two = farm.members
        for member in farm:
            assert wait_for_state(proxy, member, "up") == ("checking", "up", "the first check passed")
        assert order_of(client, 4) in ("abab", "baba")
        since = time.monotonic()
        one.behave(health_status=500)
        assert wait_for_state(proxy, one, "down") == ("up", "down", "3 checks failed, the last: status 500")
        assert len(one.checks(since)) >= 3
        assert order_of(client, 10) == "b" * 10
        since = time.monotonic()
        one.behave(health_status=200)
        assert wait_for_state(proxy, one, "up", 2) == ("down", "up", "2 checks passed")
        assert len(one.checks(since)) >= 2
        assert order_of(client, 4) in ("abab", "baba")
        for check in (*one.checks(), *two.checks()):
            assert (check.method, check.target) == ("GET", "/health?deep=1")
            assert check.fields["host"] == "check.example"
            assert (check.fields["x-check"], check.fields["accept"]) == ("yes", "text/x-health")
            assert check.fields["connection"] == "close"
            assert "x-forwarded-for" not in check.fields
        assert len({check.connection for check in two.checks()}) == len(two.checks()), "each has its own connection"


def test_what_is_not_healthy() -> None:
    """C1: each of these is a failure with a reason of its own, and the first check decides: no client ever goes there."""
    bad: list[tuple[dict[str, Any], str]] = [
        ({"health_status": 500}, "status 500"),
        ({"health_status": 302, "health_fields": "Location: /elsewhere\r\n"}, "status 302"),
        ({"health_body": "not well"}, "the body does not contain 'ok'"),
        ({"health_action": "close"}, "clos"),
        ({"health_action": "reset"}, "lost"),
        ({"health_action": "cut"}, ""),
    ]
    health = '[cluster.origin.health]\ninterval_s = 600\ntimeout_s = 20\nstatuses = ["200-299"]\nbody = "ok"\n'
    with Farm(1 + len(bad)) as farm:
        good, *others = farm.members
        for member, (behaviour, _) in zip(others, bad, strict=True):
            member.behave(**behaviour)
        with ProxyProcess(farm.config(health)) as proxy, Client(proxy.port) as client:
            assert order_of(client, 20) == "a" * 20
            for member, (_, reason) in zip(others, bad, strict=True):
                change = wait_for_state(proxy, member, "down")
                assert change.before == "checking" and reason in change.reason, change
                assert change.reason.startswith("the first check failed: ")
                assert member.requests() == []
            assert order_of(client, 20) == "a" * 20
            assert [line["tries"] for line in proxy.access_lines(40)] == [1] * 40
            assert len(good.requests()) == 40


@pytest.mark.parametrize(
    ("limit", "reason"), [("timeout_s = 0.5", "no reply in 0.5 s"), ("max_response_s = 0.2", "took")]
)
def test_what_is_too_slow(limit: str, reason: str) -> None:
    """C1: a check without a reply in time is a failure, and so is a good reply that took too long."""
    health = f"[cluster.origin.health]\ninterval_s = 600\nfall = 1\n{limit}\n"
    with Farm(1, health_delay_s=1.0) as farm, ProxyProcess(farm.config(f"panic = false\n{health}")) as proxy:
        assert reason in wait_for_state(proxy, farm.members[0], "down").reason


def test_checks_by_tcp() -> None:
    """C2: refused is a failure, and so is no connection in time; one that is accepted is enough."""
    health = '[cluster.origin.health]\ntype = "tcp"\ninterval_s = 60\ntimeout_s = 0.5\n'
    refused = f"127.0.0.1:{unused_port()}"
    with BlackHole() as hole, Farm(1, health_status=500) as farm:
        (good,) = farm.members
        with ProxyProcess(config_for(hole.address, refused, good.address, cluster=health)) as proxy:
            assert "refused" in wait_for_state(proxy, refused, "down").reason
            assert "0.5 s" in wait_for_state(proxy, hole.address, "down").reason
            assert wait_for_state(proxy, good, "up").reason == "the first check passed"
            with Client(proxy.port) as client:
                assert order_of(client, 12) == "a" * 12
            assert [line["tries"] for line in proxy.access_lines(12)] == [1] * 12
            assert good.checks() == []


def test_checks_by_tls(tmp_path: Path) -> None:
    """C2: a certificate is verified for name, expiry and authority; what speaks no TLS is a failure."""
    known, unknown = Authority("known"), Authority("unknown")
    ca = tmp_path / "ca.pem"
    ca.write_bytes(known.certificate)
    with (
        TlsServer(known.identity("good.test")) as good,
        TlsServer(known.identity("other.test")) as other,
        TlsServer(known.identity("good.test", ends_in_days=-1)) as expired,
        TlsServer(unknown.identity("good.test")) as stranger,
        Backend(on_connect=lambda connection: connection.send(b"220 hello\r\n")) as plain,
    ):
        addresses = [server.address for server in (good, other, expired, stranger)]
        cluster = (
            f'panic = false\ntls = {{ ca = "{ca}", server_name = "good.test" }}\n'
            '[cluster.origin.health]\ntype = "tls"\ninterval_s = 600\ntimeout_s = 20\n'
        )
        with ProxyProcess(config_for(*addresses, plain.address, cluster=cluster)) as proxy:
            assert wait_for_state(proxy, good.address, "up").reason == "the first check passed"
            assert "good.test" in wait_for_state(proxy, other.address, "down").reason
            assert "expired" in wait_for_state(proxy, expired.address, "down").reason
            assert "authority" in wait_for_state(proxy, stranger.address, "down").reason
            wait_for_state(proxy, plain.address, "down")


PROBE = """
import asyncio
from twisted.internet.defer import Deferred, succeed

def probe(target):
    verdict = VERDICTS[target.port]
    if verdict == "raise":
        raise RuntimeError("the probe broke")
    return succeed(True) if verdict == "later" else Deferred() if verdict == "never" else verdict
"""


def test_checks_in_python() -> None:
    """A check may be a Python function: it says up, down, or why; one that raises or never ends is a failure."""
    verdicts = [True, "later", None, "up", False, "too hot", "raise", "never"]
    with Farm(len(verdicts)) as farm:
        site = f"VERDICTS = {dict(zip([member.port for member in farm], verdicts, strict=True))}\n{PROBE}"
        health = '[cluster.origin.health]\ntype = "site:probe"\ninterval_s = 60\ntimeout_s = 1\n'
        with ProxyProcess(farm.config(health), files={"site.py": site}) as proxy, Client(proxy.port) as client:
            members = farm.members
            for member in members[:4]:
                wait_for_state(proxy, member, "up")
            reasons = [wait_for_state(proxy, member, "down").reason for member in members[4:]]
            assert "too hot" in reasons[1] and "the probe broke" in reasons[2] and "1 s" in reasons[3], reasons
            assert set(order_of(client, 16)) == set("abcd")
            assert "Traceback" not in proxy.error_text


def test_the_first_requests_wait_for_the_first_check() -> None:
    """Requests that come before anything is known wait for it, and are neither refused nor sent to what is down."""
    with Farm(2, health_delay_s=0.7) as farm:
        farm.members[0].behave(health_status=500)
        with ProxyProcess(farm.config(f"panic = false\n{RARE_CHECKS}")) as proxy:

            def ask() -> str:
                with Client(proxy.port) as client:
                    return served_by(client.request())

            assert at_once([ask] * 5) == ["b"] * 5
            assert {line["tries"] for line in proxy.access_lines(5)} == {1}


def test_the_state_before_the_first_check_may_be_given() -> None:
    """``initial = "up"`` serves at once, ``"down"`` only after ``rise`` checks; no check needs to have ended."""
    with Farm(1, health_action="silent") as farm:
        (member,) = farm.members
        with ProxyProcess(farm.config(f'{RARE_CHECKS}initial = "up"')) as proxy, Client(proxy.port) as client:
            assert client.request().status == 200
        config = farm.config(f'panic = false\n{CHECKS.replace("5", "0.5")}initial = "down"')
        with ProxyProcess(config) as proxy, Client(proxy.port) as client:
            assert client.request().status == 503
            member.behave(health_action="answer")
            assert wait_for_state(proxy, member, "up") == ("down", "up", "2 checks passed")
            assert client.request().status == 200


# Passive checks.


def test_bad_statuses_eject() -> None:
    """C4: five 503s in a row eject, and everything goes to the other; a success between them starts anew."""
    with Farm(2) as farm, ProxyProcess(farm.config("passive.ejection_s = 60")) as proxy, Client(proxy.port) as client:
        one, _ = farm.members
        for count in (4, 5):
            one.behave(status=503)
            since = time.monotonic()
            while len(one.requests(since)) < count:
                client.request()
            one.behave(status=200)
            if count == 4:
                assert set(order_of(client, 4)) == {"a", "b"}
                assert changes(proxy, one.address) == []
        change = wait_for_state(proxy, one, "ejected")
        assert change.before == "up" and change.reason.startswith("5 requests failed, the last: status 503")
        assert order_of(client, 20) == "b" * 20


def test_other_statuses_do_not() -> None:
    """C4: a 404 is the client's affair, and a 500 may be: neither ejects."""
    with Farm(2) as farm, ProxyProcess(farm.config()) as proxy, Client(proxy.port) as client:
        for status in (404, 400, 429, 500, 501, 505):
            farm.members[0].behave(status=status)
            assert order_of(client, 20).count("a") == 10, status
        assert changes(proxy, farm.members[0].address) == []


def test_failed_connections_eject() -> None:
    """C4: five connections that fail in a row eject: from then on no request tries that backend."""
    with Farm(2) as farm, ProxyProcess(farm.config("passive.ejection_s = 60")) as proxy, Client(proxy.port) as client:
        one, _ = farm.members
        one.kill()
        assert order_of(client, 40) == "b" * 40
        change = wait_for_state(proxy, one, "ejected")
        assert "5 requests failed" in change.reason and "refused" in change.reason
        tries = [line["tries"] for line in proxy.access_lines(40)]
    assert Counter(tries) == {1: 35, 2: 5}
    assert tries[10:] == [1] * 30


@pytest.mark.parametrize("action", ["close", "silent"])
def test_requests_without_a_reply_eject(action: str) -> None:
    """C4: resets and timeouts count as well."""
    cluster = "timeouts.first_byte_s = 0.3\npassive.failures = 3\npassive.ejection_s = 60"
    with Farm(2) as farm, ProxyProcess(farm.config(cluster)) as proxy, Client(proxy.port) as client:
        one, _ = farm.members
        one.behave(action=action)
        assert order_of(client, 20) == "b" * 20
        assert "3 requests failed" in wait_for_state(proxy, one, "ejected").reason
        assert len(one.requests()) == 3


def test_one_trial_request_brings_it_back() -> None:
    """C4: after its ejection one request tries it; as long as that has no reply no other one goes there."""
    with (
        Farm(2) as farm,
        ProxyProcess(farm.config("passive.failures = 2\npassive.ejection_s = 1")) as proxy,
        Load(proxy.port, rate=100) as load,
    ):
        one, _ = farm.members
        one.behave(status=503)
        wait_for_state(proxy, one, "ejected")
        ejected = time.monotonic()
        one.behave(status=200, delay_s=0.5)
        change = wait_for_state(proxy, one, "up")
        assert change == ("trial", "up", "the trial request succeeded")
        one.behave(delay_s=0)
        wait_for(lambda: len(one.requests(ejected)) > 5, "its traffic to return")
        assert {outcome.status for outcome in load.finish()} == {200, 503}
        came = [seen.at_s for seen in one.requests(ejected)]
        # The request after the trial was sent once the trial's reply had come, which took half a second.
        assert came[1] - came[0] >= 0.5
        lines = [change.after for change in changes(proxy, one.address)]
        assert lines == ["ejected", "trial", "up"]


def test_a_failed_trial_lengthens_the_ejection() -> None:
    """C4: the trial fails: ejected again, for twice as long, and only the trial's client has noticed."""
    cluster = "passive.failures = 2\npassive.ejection_s = 0.5\nretry.idempotent_tries = 1"
    with Farm(2) as farm, ProxyProcess(farm.config(cluster)) as proxy, Load(proxy.port, rate=100) as load:
        one, _ = farm.members
        one.behave(status=503)
        first = wait_for_state(proxy, one, "ejected")
        second = wait_for_state(proxy, one, "ejected", 2)
        one.behave(status=200)
        wait_for_state(proxy, one, "up")
        outcomes = load.finish()
        assert first.reason.endswith("for 0.5 s") and second.reason.endswith("for 1 s")
        assert second.before == "trial" and second.reason.startswith("the trial request failed: status 503")
        failed = [outcome for outcome in outcomes if outcome.status != 200]
        assert {outcome.backend for outcome in failed} == {"a"}
        assert len(failed) == sum("failed" in change.reason for change in changes(proxy, one.address)) + 1


def test_the_last_is_never_ejected() -> None:
    """C4: when all fail, at most half are ejected, and the rest go on being asked: no client gets a 503 of ours."""
    with Farm(3, status=503) as farm, ProxyProcess(farm.config()) as proxy, Client(proxy.port) as client:
        replies = [client.request() for _ in range(60)]
        assert all(served_by(reply) for reply in replies)
        assert proxy.error_text.count("-> ejected") == 1
    with Farm(1, status=503) as farm, ProxyProcess(farm.config()) as proxy, Client(proxy.port) as client:
        assert order_of(client, 20) == "a" * 20
        assert "-> ejected" not in proxy.error_text


def test_good_checks_end_an_ejection() -> None:
    """C4: an ejection of a minute is over as soon as two checks have passed."""
    cluster = f"passive.ejection_s = 60\n{CHECKS}fall = 1000\n"
    with Farm(2) as farm, ProxyProcess(farm.config(cluster)) as proxy, Client(proxy.port) as client:
        one, _ = farm.members
        for member in farm:  # Who is not known to be up yet is no other backend for what the dead one refuses.
            wait_for_state(proxy, member, "up")
        one.kill()
        assert order_of(client, 20) == "b" * 20
        wait_for_state(proxy, one, "ejected")
        one.start()
        assert wait_for_state(proxy, one, "up", 2) == ("ejected", "up", "2 checks passed")
        assert set(order_of(client, 4)) == {"a", "b"}


# What is said, and what else happens.


def test_each_transition_is_one_line() -> None:
    """C7: one line with a reason for each transition, and none for what stays as it is; bad news are warnings."""
    with Farm(2) as farm, ProxyProcess(farm.config(CHECKS)) as proxy, Client(proxy.port) as client:
        one, two = farm.members
        for nth in (1, 2):
            wait_for_state(proxy, one, "up", nth)
            one.behave(health_status=503)
            wait_for_state(proxy, one, "down", nth)
            seen = len(one.checks())
            wait_for(lambda count=seen: len(one.checks()) > count + 5, "more checks that change nothing")
            one.behave(health_status=200)
        wait_for_state(proxy, one, "up", 3)
        assert client.request().status == 200
        text = proxy.error_text
    told = [(change.before, change.after) for change in changes_in(text, one.address)]
    assert told == [("checking", "up"), ("up", "down"), ("down", "up"), ("up", "down"), ("down", "up")]
    assert [change.after for change in changes_in(text, two.address)] == ["up"]
    for line in text.splitlines():
        if "-> down" in line:
            assert "warn" in line.lower(), line


def changes_in(text: str, address: str) -> list[Change]:
    """Return all transitions of a backend in a log."""
    return [Change(*each[2:]) for each in _TRANSITION.findall(text) if each[1] == address]


def test_a_dead_backend_is_left_alone() -> None:
    """D14: a backend that hangs is down after ``fall`` checks; from then on no request goes there, and none is lost."""
    health = "[cluster.origin.health]\ninterval_s = 0.3\ntimeout_s = 0.5\nfall = 2\nrise = 2\n"
    with (
        Farm(3) as farm,
        ProxyProcess(farm.config(health)) as proxy,
        Load(proxy.port, rate=100) as load,
    ):
        one = farm.members[0]
        wait_for(one.requests, "traffic")
        one.freeze()
        wait_for_state(proxy, one, "down")
        down = time.monotonic()
        time.sleep(0.5)
        thawed = time.monotonic()
        one.thaw()
        wait_for_state(proxy, one, "up", 2)
        up = time.monotonic()
        wait_for(lambda: len(one.requests(up)) > 5, "its traffic to return")
        outcomes = load.finish()
        assert [outcome for outcome in outcomes if outcome.status != 200] == []
        sent = {outcome.id: outcome.sent_s for outcome in outcomes}
        # When it thaws it also reads what was sent to it before anybody knew.
        assert [seen for seen in one.requests() if down < sent[seen.id] < thawed] == []
        assert [seen for seen in one.requests() if sent[seen.id] > thawed]


def test_idle_connections_are_closed_when_it_goes_down() -> None:
    """D14: when a backend goes down, connections to it that carry nothing are closed."""
    with Farm(2) as farm, ProxyProcess(farm.config(CHECKS)) as proxy:
        one, two = farm.members
        wait_for_state(proxy, two, "up")
        wait_for_state(proxy, one, "up")

        def ask() -> int:
            with Client(proxy.port) as client:
                return client.request("/?delay_s=0.3").status

        assert at_once([ask] * 10) == [200] * 10
        assert one.connections() >= 2 and two.connections() >= 2
        one.behave(health_status=500)
        wait_for_state(proxy, one, "down")
        # Its checks come and go on connections of their own.
        wait_for(lambda: one.connections() == 0, "its idle connections to be closed")
        assert two.connections() >= 2


def test_requests_under_way_survive_that_it_goes_down() -> None:
    """D14: what was sent before it went down is completed."""
    with (
        Farm(2) as farm,
        ProxyProcess(farm.config(CHECKS)) as proxy,
        Client(proxy.port) as client,
        Client(proxy.port) as other,
    ):
        one, two = farm.members
        wait_for_state(proxy, one, "up")
        wait_for_state(proxy, two, "up")
        for each in (client, other):
            each.send(b"GET /?delay_s=1.5 HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: one.requests() and two.requests(), "a request at each")
        one.behave(health_status=500)
        wait_for_state(proxy, one, "down")
        assert {served_by(each.reply()) for each in (client, other)} == {"a", "b"}


# All of them down.


def test_all_down_are_tried_nevertheless() -> None:
    """``panic = true``: checks say that all are down; requests are tried all the same, and served if they can be."""
    with Farm(3, health_status=500) as farm, ProxyProcess(farm.config(RARE_CHECKS)) as proxy:
        for member in farm:
            wait_for_state(proxy, member, "down")
        with Client(proxy.port) as client:
            for method in ("GET", "POST"):
                assert {client.request(method=method, body=b"x").status for _ in range(10)} == {200}
            for member in farm:
                member.kill()
            for method in ("GET", "POST"):
                assert client.request(method=method, body=b"x").status == 502
        assert [line["end"] for line in proxy.access_lines(22)] == ["ok"] * 20 + ["connect-failed"] * 2


def test_all_down_are_refused_without_panic() -> None:
    """D6: ``panic = false``: 503 with Retry-After and no contact; served again, with no restart, once one is back."""
    with Farm(2, health_status=500) as farm, ProxyProcess(farm.config(f"panic = false\n{CHECKS}")) as proxy:
        with Client(proxy.port) as client:
            for _ in range(5):
                reply = client.request()
                assert reply.status == 503 and int(reply.value("Retry-After") or 0) >= 1
            assert not [seen for member in farm for seen in member.requests()]
            farm.members[1].behave(health_status=200)
            wait_for_state(proxy, farm.members[1], "up")
            assert order_of(client, 10) == "b" * 10
        assert [line["end"] for line in proxy.access_lines(15)] == ["no-backend"] * 5 + ["ok"] * 10


# Coming back slowly.


def test_slow_start() -> None:
    """A backend that comes back gets a growing share: little at first, all of it at the end."""
    slow_s = 2.5
    with (
        Farm(2) as farm,
        ProxyProcess(farm.config(f"slow_start_s = {slow_s}\n{CHECKS}fall = 1\n")) as proxy,
        Load(proxy.port, rate=200) as load,
    ):
        one, two = farm.members
        wait_for_state(proxy, one, "up")
        one.behave(health_status=500)
        wait_for_state(proxy, one, "down")
        down = time.monotonic()
        time.sleep(0.2)
        one.behave(health_status=200)
        wait_for_state(proxy, one, "up", 2)
        load_ends = time.monotonic() + slow_s + 1.5
        wait_for(lambda: time.monotonic() > load_ends, "the slow start to be over")
        outcomes = load.finish()
        assert {outcome.status for outcome in outcomes} == {200}
        back = one.requests(down)[0].at_s

        def share(begin: float, end: float) -> float:
            counts = [sum(begin <= seen.at_s - back < end for seen in member.requests()) for member in (one, two)]
            return counts[0] / sum(counts)

        shares = [share(0.25 * n * slow_s, 0.25 * (n + 1) * slow_s) for n in range(4)]
        # A weight that grows evenly beside a whole one: 1/9, 3/11, 5/13 and 7/15 of the requests in its quarters.
        assert shares[0] < 0.25 and shares[0] + 0.1 < shares[3], shares
        assert share(slow_s + 0.5, slow_s + 1.5) > 0.4


def test_slow_start_delays_no_first_request() -> None:
    """A slow start is about shares: the only backend serves at once and everything, also when it has just come back."""
    with Farm(1) as farm, ProxyProcess(farm.config(f"panic = false\nslow_start_s = 600\n{CHECKS}")) as proxy:
        (one,) = farm.members
        with Client(proxy.port) as client:
            assert order_of(client, 10) == "a" * 10
            one.behave(health_status=500)
            wait_for_state(proxy, one, "down")
            one.behave(health_status=200)
            wait_for_state(proxy, one, "up", 2)
            assert order_of(client, 10) == "a" * 10


# The circuit breaker.


def test_the_breaker_opens_and_closes() -> None:
    """Half of the requests fail: all are refused at once; after a while one goes through, and if it is well, all do."""
    cluster = "breaker.error_rate = 0.5\nbreaker.open_s = 1\npassive.failures = 100000"
    with Farm(2, status=503) as farm, ProxyProcess(farm.config(cluster)) as proxy, Client(proxy.port) as client:
        replies = [client.request() for _ in range(10)]
        assert all(served_by(reply) for reply in replies), "ten are needed to judge"
        opened = time.monotonic()
        reply = client.request()
        seen = sum(len(member.requests()) for member in farm)
        if time.monotonic() - opened < 0.9:  # Else the time for a trial may have come.
            assert (reply.status, served_by(reply), seen) == (503, "", 10)
            assert 1 <= int(reply.value("Retry-After") or 0) <= 2
        for member in farm:
            member.behave(status=200)
        wait_for(lambda: client.request().status == 200, "the trial")
        assert [client.request().status for _ in range(20)] == [200] * 20
        text = proxy.error_text
        ends = {line["end"] for line in proxy.access_lines()}
    found = re.findall(r"circuit breaker of origin: (\S+) -> (\S+): ", text)
    assert found[:3] == [("closed", "open"), ("open", "half-open"), ("half-open", "closed")]
    assert ends == {"ok", "no-backend"}


def test_the_breaker_limits_what_is_pending() -> None:
    """``max_pending``: a request beyond so many that wait for a reply is refused at once."""
    with (
        Farm(2) as farm,
        ProxyProcess(farm.config("breaker.max_pending = 2")) as proxy,
        Client(proxy.port) as first,
        Client(proxy.port) as second,
        Client(proxy.port) as third,
    ):
        for client in (first, second):
            client.send(b"GET /?action=silent HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: sum(len(member.requests()) for member in farm) == 2, "two pending requests")
        reply = third.request()
        assert (reply.status, served_by(reply)) == (503, "")
        first.close()
        wait_for(lambda: third.request().status == 200, "a place")
