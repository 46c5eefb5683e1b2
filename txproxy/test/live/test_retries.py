"""Retries: what is tried again, where, how often, and what a backend has seen by then."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from .farm import Farm
from .helpers import at_once, get
from .judge import JudgedRequest
from .peers import (
    Backend,
    BackendConnection,
    BlackHole,
    Client,
    ProxyProcess,
    close_without_reply,
    config_for,
    http_reply,
    never,
    unused_port,
)
from .replies import Reply

IDEMPOTENT = ("GET", "HEAD", "OPTIONS", "PUT", "DELETE")
HELD_BYTES = 65536
# A passed-over backend would hide what is asked here.
NO_EJECTION = "passive.failures = 100000"


def ask(proxy: ProxyProcess, method: str = "GET", body: bytes | None = None, id: str = "one") -> Reply:
    """Make one request with an id; PUT and POST have a body."""
    if body is None and method in ("POST", "PUT", "PATCH"):
        body = b"pay 5"
    return get(proxy.port, "/", method=method, body=body, fields=f"X-Id: {id}\r\n")


def last_line(proxy: ProxyProcess, count: int = 1) -> dict[str, Any]:
    return proxy.access_lines(count)[-1]


# Connections that fail.


def test_who_refuses_is_passed_over() -> None:
    """R1: the first server refuses: the client gets 200 from the second, whatever the method; the log counts the tries."""
    methods = ("GET", "POST", "PATCH", "DELETE")
    with Farm(3) as farm, ProxyProcess(farm.config(NO_EJECTION)) as proxy:
        farm.members[0].kill()
        replies = [ask(proxy, method) for method in methods for _ in range(9)]
        assert {reply.status for reply in replies} == {200}
        lines = proxy.access_lines(36)
    tried = [farm.named(line["backend"]) for line in lines]
    assert [line["tries"] for line in lines] == [len(each) for each in tried]
    for method in methods:
        again = [each for line, each in zip(lines, tried, strict=True) if line["method"] == method and len(each) > 1]
        assert again and {each[0] for each in again} == {"a"} and {len(each) for each in again} == {2}
    assert {each[-1] for each in tried if len(each) == 2} == {"b", "c"}, "the share of the dead one is spread"


def test_each_server_is_tried_once() -> None:
    """R1: three of four are dead: at most three tries, never two to one server, and the log names them in turn."""
    with Farm(4) as farm, ProxyProcess(farm.config(NO_EJECTION)) as proxy:
        for member in farm.members[:3]:
            member.kill()
        statuses = [ask(proxy).status for _ in range(16)]
        lines = proxy.access_lines(16)
    tried = [farm.named(line["backend"]) for line in lines]
    for status, line, each in zip(statuses, lines, tried, strict=True):
        assert len(set(each)) == len(each) == line["tries"] <= 3, each
        assert (status == 200) == (each[-1] == "d"), (status, each)
        assert status in (200, 502)
        assert line["end"] == ("ok" if status == 200 else "connect-failed")
    assert {len(each) for each in tried} == {1, 2, 3}


@pytest.mark.parametrize(("tries", "expected"), [(1, 1), (5, 3)])
def test_the_number_of_tries(tries: int, expected: int) -> None:
    """R1: ``tries`` is the number in all, and no server is tried twice for want of others."""
    addresses = [f"127.0.0.1:{unused_port()}" for _ in range(3)]
    with ProxyProcess(config_for(*addresses, cluster=f"retry.tries = {tries}\n{NO_EJECTION}")) as proxy:
        assert ask(proxy).status == 502
        line = last_line(proxy)
    assert (line["tries"], line["end"]) == (expected, "connect-failed")
    assert len(set(line["backend"].split(","))) == expected


# A connection that ends instead of a reply.


def test_what_may_have_acted_is_not_sent_twice() -> None:
    """R2: the backend reads a POST and ends the connection without a reply: 502, and exactly one backend saw it."""
    cases = [(method, action) for method in ("POST", "PATCH", "FROB") for action in ("close", "reset", "cut")]
    with Farm(3) as farm, ProxyProcess(farm.config(NO_EJECTION)) as proxy:
        for number, (method, action) in enumerate(cases, 1):
            for member in farm:
                member.behave(action=action)
            assert ask(proxy, method, b"pay 5", id=f"{method}-{action}").status == 502
            line = last_line(proxy, number)
            assert (line["end"], line["tries"], line["retry"]) == ("bad-reply", 1, "not-idempotent"), (method, action)
        assert farm.sightings() == {f"{method}-{action}": 1 for method, action in cases}


def test_what_changes_nothing_more_is_sent_once_more() -> None:
    """R2: the same with an idempotent request: retried once, at another backend; its reply is the client's."""
    cases = [(method, action) for method in IDEMPOTENT for action in ("close", "reset", "cut")]
    # All requests of one client have the same first choice; each goes out on a connection of its own.
    config = f'balance = "ip_hash"\npool.max_idle = 0\nretry.min_per_s = 1000\nretry.backoff_max_ms = 30\n{NO_EJECTION}'
    with Farm(2) as farm, ProxyProcess(farm.config(config)) as proxy:
        home = ask(proxy).value("X-Backend")
        one, two = sorted(farm, key=lambda member: member.name != home)
        for number, (method, action) in enumerate(cases, 2):
            one.behave(action=action)
            reply = ask(proxy, method, id=f"{method}-{action}")
            assert (reply.status, reply.value("X-Backend")) == (200, two.name), (method, action)
            line = last_line(proxy, number)
            assert (farm.named(line["backend"]), line["tries"], line["end"]) == (one.name + two.name, 2, "ok")
            assert "retry" not in line
        assert farm.sightings() == {"one": 1} | {f"{method}-{action}": 2 for method, action in cases}


def test_a_replaced_connection_is_no_try() -> None:
    """R2: an idle connection and the one in its place are both closed by a backend: there is a try left for another."""
    with (
        Farm(2) as farm,
        ProxyProcess(farm.config(f'balance = "ip_hash"\n{NO_EJECTION}')) as proxy,
    ):
        home = ask(proxy, id="first").value("X-Backend")
        one, two = sorted(farm, key=lambda member: member.name != home)
        one.behave(action="close")
        reply = ask(proxy)
        assert (reply.status, reply.value("X-Backend")) == (200, two.name)
        assert last_line(proxy, 2)["tries"] == 2
        assert len(two.requests()) == 1 and len(one.requests()) <= 3


def test_once_more_and_no_more() -> None:
    """R2: all backends close: a GET reaches two of three, then it is 502 with the reason."""
    with Farm(3, action="close") as farm, ProxyProcess(farm.config()) as proxy:
        assert ask(proxy).status == 502
        line = last_line(proxy)
        assert farm.sightings() == {"one": 2}
    assert (line["tries"], line["end"], line["retry"]) == (2, "bad-reply", "tries")
    assert len(set(line["backend"].split(","))) == 2


def test_the_same_backend_is_asked_again_only_if_there_is_no_other() -> None:
    """R2: with one backend the second try goes there as well."""
    answers = iter([close_without_reply()])
    reply = http_reply(body=b"second")

    def answer(connection: BackendConnection, request: JudgedRequest) -> None:
        next(answers, lambda connection, request: connection.send(reply))(connection, request)

    with Backend(answer) as backend, ProxyProcess(config_for(backend.address)) as proxy:
        assert get(proxy.port).body == b"second"
        line = last_line(proxy)
    assert (line["tries"], line["end"]) == (2, "ok")
    assert len(backend.requests) == 2


def test_a_reply_that_has_begun_is_not_tried_again() -> None:
    """R2: once the client has seen a byte of a reply, be it an interim one, there is no second try, not even of a GET."""

    def hint_and_close(connection: BackendConnection, request: JudgedRequest) -> None:
        connection.send(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        connection.close()

    with (
        Backend(hint_and_close) as one,
        Backend(hint_and_close) as two,
        ProxyProcess(config_for(one.address, two.address)) as proxy,
    ):
        reply = ask(proxy)
        assert (reply.status, [interim.status for interim in reply.interim]) == (502, [103])
        line = last_line(proxy)
        assert len(one.requests) + len(two.requests) == 1
    assert (line["tries"], line["end"], line["retry"]) == (1, "bad-reply", "reply-begun")


def test_a_silent_backend_is_left_for_another() -> None:
    """R2: no reply in time: an idempotent request is sent to another backend, any other one is 504."""
    config = "timeouts.first_byte_s = 0.5"
    with Farm(2) as farm, ProxyProcess(farm.config(config)) as proxy:
        farm.members[0].behave(action="silent")
        assert ask(proxy).body == b"b"
        assert farm.named(last_line(proxy)["backend"]) == "ab"
        statuses = [ask(proxy, "POST").status for _ in range(2)]
        assert sorted(statuses) == [200, 504]
        line = next(line for line in proxy.access_lines(3) if line["status"] == 504)
    assert (line["end"], line["tries"], line["retry"]) == ("reply-timeout", 1, "not-idempotent")


def test_the_budget_of_retries() -> None:
    """R2: with no budget a GET is not sent again, and the log says why; connect failures do not need any."""
    with Farm(2) as farm, ProxyProcess(farm.config("retry.budget = 0\nretry.min_per_s = 0")) as proxy:
        one, two = farm.members
        one.behave(action="close")
        assert sorted(ask(proxy).status for _ in range(2)) == [200, 502]
        line = next(line for line in proxy.access_lines(2) if line["status"] == 502)
        assert (line["tries"], line["retry"]) == (1, "budget")
        one.kill()
        assert [ask(proxy).status for _ in range(4)] == [200] * 4


def test_the_budget_holds_under_load() -> None:
    """R2: all replies are cut: retries are a fifth of the requests, or the few that are always allowed, never all."""
    with Farm(2, action="close") as farm, ProxyProcess(farm.config(f"retry.min_per_s = 1\n{NO_EJECTION}")) as proxy:

        def load() -> None:
            with Client(proxy.port) as client:
                for _ in range(50):
                    assert client.request().status == 502

        at_once([load] * 8)
        lines = proxy.access_lines(400)
    retries = sum(line["tries"] - 1 for line in lines)
    # 10 s count together: one per second is 10 for each 10 s that the test may take, and a fifth of 400 is 80.
    assert 10 <= retries <= 80 + 20
    assert {line.get("retry") for line in lines} == {"budget", "tries"}


# Bodies.


def whole(backend: Backend) -> list[bytes]:
    return [request.body for request in backend.requests]


def test_a_body_is_sent_again_as_it_was() -> None:
    """R5: a PUT of 20 KiB; the first server refuses: the second one receives identical bytes, chunked or not."""
    body = b"".join(hashlib.sha256(b"%d" % number).digest() for number in range(640))
    assert len(body) == 20480
    with (
        Backend() as backend,
        ProxyProcess(config_for(f"127.0.0.1:{unused_port()}", backend.address, cluster=NO_EJECTION)) as proxy,
        Client(proxy.port) as client,
    ):
        for _ in range(2):
            reply = client.request("/", "PUT", body=body)
            assert reply.status == 200 and reply.body == body
        for _ in range(2):
            client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for start in range(0, len(body), 5000):
                piece = body[start : start + 5000]
                client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            client.send(b"0\r\n\r\n")
            reply = client.reply("PUT")
            assert reply.status == 200 and reply.body == body
        tries = [line["tries"] for line in proxy.access_lines(4)]
    assert sorted(tries[:2]) == sorted(tries[2:]) == [1, 2]
    assert whole(backend) == [body] * 4
    assert backend.violations == []


def test_a_body_that_was_read_is_sent_again() -> None:
    """R5: the first server reads the whole PUT and closes: the second one gets it all once more."""
    body = bytes(range(256)) * 80
    with (
        Backend(close_without_reply()) as one,
        Backend() as two,
        ProxyProcess(config_for(one.address, two.address)) as proxy,
    ):
        assert ask(proxy, "PUT", body).body == body
        assert last_line(proxy)["tries"] == 2
        assert whole(one) == whole(two) == [body]


def test_a_body_above_the_limit_is_not_sent_again() -> None:
    """R5: a PUT whose body is longer than what is held, with bytes already sent: 502, retry=body-too-large."""
    body = b"x" * (4 * HELD_BYTES)
    with Farm(2, action="close") as farm, ProxyProcess(farm.config()) as proxy:
        assert ask(proxy, "PUT", body).status == 502
        line = last_line(proxy)
        assert farm.sightings() == {"one": 1}
    assert (line["end"], line["tries"], line["retry"]) == ("bad-reply", 1, "body-too-large")


def test_a_body_above_the_limit_waits_for_a_connection() -> None:
    """R5: nothing of a body was sent to a server that refuses, so a body of any length goes to the next one."""
    body = b"y" * (4 * HELD_BYTES)
    with (
        Backend() as backend,
        ProxyProcess(config_for(f"127.0.0.1:{unused_port()}", backend.address, cluster=NO_EJECTION)) as proxy,
    ):
        replies = [ask(proxy, "PUT", body) for _ in range(2)]
        assert [reply.body for reply in replies] == [body, body]
        assert sorted(line["tries"] for line in proxy.access_lines(2)) == [1, 2]


def test_the_limit_of_what_is_held() -> None:
    """R5: ``body_bytes`` is that limit: what it just holds is sent again, a byte more is not."""
    with Farm(2, action="close") as farm, ProxyProcess(farm.config("retry.body_bytes = 1000")) as proxy:
        reasons: list[str] = []
        for size in (1000, 1001):
            assert ask(proxy, "PUT", b"z" * size).status == 502
            reasons.append(last_line(proxy, len(reasons) + 1)["retry"])
    assert reasons == ["tries", "body-too-large"]


# Reasons.


def test_no_backend_is_503() -> None:
    """R13: no server up and no panic: 503 with Retry-After and reason no-backend, without contact."""
    health = "panic = false\n[cluster.origin.health]\ninterval_s = 60"
    with Farm(2, health_status=500) as farm, ProxyProcess(farm.config(health)) as proxy:
        reply = ask(proxy)
        assert reply.status == 503
        assert int(reply.value("Retry-After") or 0) >= 1
        line = last_line(proxy)
        assert (line["end"], line["tries"], line["backend"]) == ("no-backend", 0, None)
        assert not farm.sightings()


def test_connecting_may_take_too_long() -> None:
    """R13: a server that neither accepts nor refuses: 504 and its reason; another server is tried before that."""
    cluster = f"pool.connect_timeout_s = 0.5\n{NO_EJECTION}"
    with BlackHole() as hole:
        with ProxyProcess(config_for(hole.address, cluster=cluster)) as proxy:
            assert ask(proxy).status == 504
            assert last_line(proxy)["end"] == "connect-timeout"
        with Farm(1) as farm, ProxyProcess(config_for(hole.address, *farm.addresses, cluster=cluster)) as proxy:
            assert [ask(proxy, "POST").status for _ in range(2)] == [200, 200]
            assert sorted(line["tries"] for line in proxy.access_lines(2)) == [1, 2]


def test_each_failure_has_a_reason_of_its_own() -> None:
    """R13: refused, silent, malformed and cut replies: status and reason of each."""
    cases = {
        "connect-failed": (None, 502),
        "reply-timeout": (never(), 504),
        "bad-reply": (lambda connection, request: connection.send(b"HTTP/1.1 200\x01 OK\r\n\r\n"), 502),
    }
    found = {}
    for reason, (handler, status) in cases.items():
        with Backend(handler) as backend:
            if handler is None:
                backend.stop()
            cluster = "timeouts.first_byte_s = 0.5\nretry.idempotent_tries = 1"
            with ProxyProcess(config_for(backend.address, cluster=cluster)) as proxy:
                assert ask(proxy).status == status
                found[reason] = last_line(proxy)["end"]
    assert found == {reason: reason for reason in cases}
