"""Names as backends: resolved without holding anybody up, and kept up to date (SD1)."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from txproxy.test.name_server import SERVER_FAILURE, Zone

from .helpers import at_once, get
from .name_server import NameServer, environment_for, unused_udp_port
from .peers import (
    DEADLINE_S,
    PROJECT,
    Backend,
    Client,
    Handler,
    ProxyProcess,
    config_for,
    delayed,
    echo,
    http_reply,
    wait_for,
)

NAME = "app.test"


def resolved(server: NameServer, *names: str) -> list[dict[str, Any]]:
    """Resolve names in a process of its own, on a real reactor; check that nothing was left and nothing was logged."""
    done = subprocess.run(
        [sys.executable, "-m", "txproxy.test.live.resolving", *names],
        env={**os.environ, "PYTHONPATH": str(PROJECT), **server.environment},
        capture_output=True,
        text=True,
        timeout=2 * DEADLINE_S,
        check=True,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    for line in lines:
        assert line.pop("left") == [], line
    assert "starting on" not in done.stderr and "Closed" not in done.stderr, done.stderr
    assert "Traceback" not in done.stderr and "Unhandled" not in done.stderr, done.stderr
    return lines


def named(port: int, **more: Any) -> str:
    """Return a configuration whose only backend is a port of NAME."""
    return config_for(f"{NAME}:{port}", **more)


def answers(mark: str) -> Handler:
    """Answer with a mark of the backend."""
    return lambda connection, request: connection.send(http_reply(body=mark.encode()))


def marks(port: int, count: int = 12) -> set[str]:
    """Return the marks of the backends that so many requests reached."""
    return {get(port).body.decode() for _ in range(count)}


def test_real_sockets() -> None:
    """Answers over UDP and TCP, a refusal of each kind, and an end without one: nothing is left open or logged."""
    with NameServer() as server:
        zone = server.zone
        zone.set(NAME, ["127.0.0.1", "::1"], ttl_s=7)
        zone.set("long.test", [f"127.0.1.{number}" for number in range(1, 201)])
        zone.fail("broken.test", SERVER_FAILURE)
        answer, long, no, broken = resolved(server, NAME, "long.test", "no.test", "broken.test")
        assert (answer["v4"], answer["v6"], answer["ttl_s"]) == (["127.0.0.1"], ["::1"], 7)
        assert len(long["v4"]) == 200
        assert [each.kind for each in zone.asked if each.over_tcp] == ["A"]
        assert no["reason"] == "there is no such name"
        assert broken["reason"].endswith("server failure")


def test_a_name_server_that_does_not_run() -> None:
    """The refusal of its port is noticed before a timeout is over."""
    with NameServer() as server:
        server.stop()
        (line,) = resolved(server, NAME)
        assert line["reason"].endswith("nobody listens there")


def test_a_name_is_a_cluster_of_all_its_addresses() -> None:
    """Requests go to each address of the name in turn; looking it up writes nothing to the log."""
    with (
        NameServer() as server,
        Backend(answers("1")) as first,
        Backend(answers("2"), address="127.0.0.2", port=first.port),
    ):
        server.zone.set(NAME, ["127.0.0.1", "127.0.0.2"])
        with ProxyProcess(named(first.port), environment=server.environment) as proxy:
            assert marks(proxy.port) == {"1", "2"}
            wait_for(lambda: server.questions_for(NAME) > 2, "the name to be asked for again")
            assert marks(proxy.port) == {"1", "2"}
            text = proxy.error_text
    assert not text.partition("txproxy is ready")[2].strip(), text


def test_a_change_is_used() -> None:
    """SD1: a record changes, and the new set is used once the old answer's time is over."""
    with (
        NameServer() as server,
        Backend(answers("1")) as first,
        Backend(answers("2"), address="127.0.0.2", port=first.port),
    ):
        server.zone.set(NAME, ["127.0.0.1"], ttl_s=1)
        with ProxyProcess(named(first.port), environment=server.environment) as proxy:
            assert marks(proxy.port) == {"1"}
            server.zone.set(NAME, ["127.0.0.2"], ttl_s=1)
            asked = server.questions_for(NAME)
            # Who asks a second time from here on has had the answer to a question that came after the change.
            wait_for(lambda: server.questions_for(NAME) >= asked + 2, "the name to be asked for again")
            assert marks(proxy.port) == {"2"}
            server.zone.set(NAME, ["127.0.0.1", "127.0.0.2"], ttl_s=1)
            wait_for(lambda: marks(proxy.port) == {"1", "2"}, "both servers")


def test_the_time_to_live_is_kept() -> None:
    """SD1: nobody asks before the answer's time is over, nor much later; ``dns_min_ttl_s`` bounds a time of 0."""
    with NameServer() as server, Backend(answers("1")) as backend:
        server.zone.set("a.test", ["127.0.0.1"], ttl_s=0)
        server.zone.set("b.test", ["127.0.0.1"], ttl_s=3)
        text = config_for(f"a.test:{backend.port}", f"b.test:{backend.port}", cluster="dns_min_ttl_s = 2")
        with ProxyProcess(text, environment=server.environment):
            wait_for(lambda: server.questions_for("b.test") >= 3, "the name to be asked for again")
        for name, expected_s in (("a.test", 2), ("b.test", 3)):
            moments = [each.at for each in server.zone.asked if (each.name, each.kind) == (name, "A")]
            gaps = [later - sooner for sooner, later in itertools.pairwise(moments)]
            assert expected_s - 0.1 < min(gaps) < expected_s + 1, gaps


def test_requests_under_way_survive_a_change() -> None:
    """A server that is taken out of the name finishes what it has begun."""
    with (
        NameServer() as server,
        Backend(delayed(answers("1"), 3)) as first,
        Backend(answers("2"), address="127.0.0.2", port=first.port),
    ):
        server.zone.set(NAME, ["127.0.0.1"], ttl_s=1)
        with ProxyProcess(named(first.port), environment=server.environment) as proxy, Client(proxy.port) as client:
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            first.wait_for_requests(1)
            server.zone.set(NAME, ["127.0.0.2"], ttl_s=1)
            assert client.reply().body == b"1"
            wait_for(lambda: marks(proxy.port, 3) == {"2"}, "the new server")


def _fails_and_recovers(names: Sequence[str], fail: Callable[[Zone], None], mend: Callable[[Zone], None]) -> None:
    """Let names fail that were known, and come back: one line of each, and the last set is kept all the time."""
    with NameServer() as server, Backend(answers("1")) as backend:
        zone = server.zone
        for name in names:
            zone.set(name, ["127.0.0.1"], ttl_s=1)
        text = config_for(*[f"{name}:{backend.port}" for name in names])
        with ProxyProcess(text, environment=server.environment) as proxy:
            assert marks(proxy.port) == {"1"}
            fail(zone)
            wait_for(lambda: proxy.error_text.count("cannot be resolved") == len(names), "a warning for each")
            asked = [server.questions_for(name) for name in names]
            wait_for(
                lambda: all(server.questions_for(name) > before for name, before in zip(names, asked, strict=True)),
                "a further question for each",
            )
            assert marks(proxy.port) == {"1"}
            mend(zone)
            for name in names:
                zone.set(name, ["127.0.0.1"], ttl_s=1)
            wait_for(lambda: proxy.error_text.count("is resolved again") == len(names), "a line of each recovery")
            assert proxy.error_text.count("cannot be resolved") == len(names)
            assert {line["backend"].rpartition("@")[0] for line in proxy.access_lines(24)} == {
                f"{name}:{backend.port}" for name in names
            }


def test_a_failing_name_server_changes_nothing() -> None:
    """SD1: NXDOMAIN, a server failure, or a name without addresses: the last set is kept, with one warning; one line
    says when the name is resolved again."""

    def fail(zone: Zone) -> None:
        zone.remove("gone.test")
        zone.fail("broken.test", SERVER_FAILURE)
        zone.set("empty.test", [])

    _fails_and_recovers(("gone.test", "broken.test", "empty.test"), fail, lambda zone: zone.fail("broken.test", 0))


def test_a_mute_name_server_changes_nothing() -> None:
    """SD1: the same if there is no answer at all."""
    _fails_and_recovers(
        ("mute.test",), lambda zone: zone.mute_names.add("mute.test"), lambda zone: zone.mute_names.clear()
    )


def test_the_proxy_starts_without_a_name_server(tmp_path: Path) -> None:
    """SD1: with DNS down the ports are opened, and requests get 503; once there is an answer they are served."""
    port = unused_udp_port()
    environment = environment_for(port, tmp_path)
    with Backend(answers("1")) as backend, ProxyProcess(named(backend.port), environment=environment) as proxy:
        reply = get(proxy.port)
        assert reply.status == 503
        assert reply.value("retry-after")
        (line,) = proxy.access_lines(1)
        assert line["end"] == "no-backend"
        assert proxy.error_text.count("cannot be resolved") == 1
        with NameServer(port) as server:
            server.zone.set(NAME, ["127.0.0.1"])
            wait_for(lambda: get(proxy.port).status == 200, "the name to be resolved")


def test_the_proxy_starts_with_a_mute_name_server() -> None:
    """SD1: nobody waits for DNS but the requests that need it; other clusters serve at once, and a stop is not held up."""
    with NameServer() as server, Backend(answers("1")) as backend:
        server.zone.is_mute = True
        more = (
            f'[[route]]\nname = "other"\npath = "/other"\ncluster = "other"\n'
            f'[cluster.other]\nbackends = [{{ address = "{backend.address}" }}]\n'
        )
        text = named(backend.port) + more
        with ProxyProcess(text, environment=server.environment) as proxy:
            assert get(proxy.port, "/other").body == b"1"
            server.zone.is_mute = False
            server.zone.set(NAME, ["127.0.0.1"])
            wait_for(lambda: get(proxy.port).status == 200, "the name to be resolved")
            server.zone.is_mute = True
            asked = len(server.zone.asked)
            wait_for(lambda: len(server.zone.asked) > asked, "a question that is not answered")


def test_a_server_with_both_families() -> None:
    """One IPv6 and one IPv4 address are one server: IPv6 is used if it listens there, IPv4 if it does not."""
    with NameServer() as server, Backend(answers("4")) as backend:
        server.zone.set(NAME, ["127.0.0.1", "::1"])
        with ProxyProcess(named(backend.port), environment=server.environment) as proxy:
            assert at_once([lambda: get(proxy.port).body] * 8) == [b"4"] * 8
            assert {line["status"] for line in proxy.access_lines(8)} == {200}
            assert {line["tries"] for line in proxy.access_lines(8)} == {1}
        with (
            Backend(answers("6"), address="::1", port=backend.port),
            ProxyProcess(named(backend.port), environment=server.environment) as proxy,
        ):
            assert marks(proxy.port) == {"6"}


def test_names_that_need_no_name_server() -> None:
    """``localhost`` works whatever DNS says; the search list completes short names; the Host that goes up is the name."""
    with NameServer(more="search test") as server, Backend(echo()) as backend:
        server.zone.is_mute = True
        with ProxyProcess(config_for(f"localhost:{backend.port}"), environment=server.environment) as proxy:
            assert get(proxy.port).status == 200
        server.zone.is_mute = False
        server.zone.set(NAME, ["127.0.0.1"])
        text = config_for(f"app:{backend.port}", route='host = "backend"')
        with ProxyProcess(text, environment=server.environment) as proxy:
            assert get(proxy.port).status == 200
            assert backend.requests[-1].values(b"host") == [f"app:{backend.port}".encode()]


def test_many_addresses() -> None:
    """An answer that is too long for a datagram is taken over TCP, and all its servers are used."""
    with (
        NameServer() as server,
        Backend(answers("1")) as first,
        Backend(answers("2"), address="127.0.0.50", port=first.port),
    ):
        server.zone.set(NAME, [f"127.0.0.{number}" for number in range(1, 51)])
        with ProxyProcess(named(first.port), environment=server.environment) as proxy:
            wait_for(lambda: any(each.over_tcp for each in list(server.zone.asked)), "a question over TCP")
            wait_for(lambda: get(proxy.port).body == b"1", "the first server")
            wait_for(lambda: get(proxy.port).body == b"2", "the last server")
