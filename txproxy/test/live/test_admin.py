"""The admin interface of a running proxy: of one process and of two workers, for friends and for foes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import stat
import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from txproxy.admin.client import AdminClient, AdminError, backend_path

from .cache_front import Answer, cached
from .crew import one_for_each, wait_for_workers
from .helpers import at_once, get
from .operating import ADMIN, Asking, admin, admin_address, admin_port, backends
from .peers import (
    Backend,
    Client,
    ProxyProcess,
    by_target,
    config_for,
    delayed,
    fixed,
    raw_exchange,
    unused_port,
    wait_for,
)
from .succession import Dynasty

WORKERS = pytest.mark.parametrize("workers", [1, 2])


def several(workers: int, more: str = ADMIN) -> str:
    return f"{more}[proxy]\nworkers = {workers}\nshutdown_timeout_s = 20\n"


@WORKERS
def test_the_status_names_every_backend(workers: int) -> None:
    """O6: state, active, queued, failures, last check and the configuration's hash; the same whoever is asked."""
    with Backend(delayed(fixed(), 1.0)) as good:
        dead = f"127.0.0.1:{unused_port()}"
        config = config_for(
            good.address, dead, cluster="health = { type = 'tcp', interval_s = 0.2, fall = 1 }", more=several(workers)
        )
        with ProxyProcess(config) as proxy:
            wait_for(lambda: {each["state"] for each in backends(proxy).values()} == {"up", "down"}, "the checks")
            threads = [threading.Thread(target=get, args=(proxy.port,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            wait_for(lambda: backends(proxy)[good.address]["active"] == 4, "the requests to be seen")
            for thread in threads:
                thread.join()
            wait_for(lambda: backends(proxy)[good.address]["active"] == 0, "their end to be seen")
            report = admin(proxy).get("/status")
            found = {each["name"]: each for each in report["clusters"]["origin"]["backends"]}
            assert found[dead]["last_check"]["passed"] is False and "refused" in found[dead]["last_error"]
            assert found[good.address]["last_check"]["passed"] and found[good.address]["queued"] == 0
            assert all(isinstance(each["failures"], int) and each["since"] < report["now"] for each in found.values())
            assert re.fullmatch("[0-9a-f]{12}", report["config"]["hash"]) and report["config"]["path"] == str(
                proxy.config_path
            )
            assert len(report["workers"]) == workers and report["state"] == "ready"
            assert [(each["name"], each["cluster"]) for each in report["routes"]] == [("all", "origin")]
            assert [each["url"] for each in report["listeners"]] == [f"http://127.0.0.1:{proxy.port}"]
            asked = [admin(proxy).get("/status") for _ in range(6)]
            assert {each["config"]["hash"] for each in asked} == {report["config"]["hash"]}
            assert {
                json.dumps({b["name"]: (b["state"], b["weight"]) for b in each["clusters"]["origin"]["backends"]})
                for each in asked
            } == {json.dumps({name: (each["state"], each["weight"]) for name, each in found.items()})}


@WORKERS
def test_a_transition_is_told_everywhere(workers: int) -> None:
    """C7: one line of the log with the reason, a metric, and in the status since when and the last error."""
    with Backend() as one, Backend() as other:
        health = "health = { type = 'tcp', interval_s = 0.2, fall = 1 }"
        with ProxyProcess(config_for(one.address, other.address, cluster=health, more=several(workers))) as proxy:
            wait_for(lambda: {each["state"] for each in backends(proxy).values()} == {"up"}, "the first checks")
            before = time.time()
            other.stop()
            wait_for(lambda: backends(proxy)[other.address]["state"] == "down", "the check to fail")
            told = backends(proxy)[other.address]
            assert before - 1 < told["since"] < time.time() + 1 and "refused" in told["last_error"]
            lines = re.findall(rf"#warn\].*{other.address}: up -> down: .*refused", proxy.error_text)
            assert len(lines) == 1, proxy.error_text
            wait_for(
                lambda: metric(proxy, "txproxy_backend_transitions_total", backend=other.address, state="down") >= 1,
                "the metric",
            )
            assert metric(proxy, "txproxy_backend_state", backend=other.address, state="down") == 1


def metric(proxy: ProxyProcess, name: str, **labels: str) -> float:
    """Return the value of a series; 0 if there is none."""
    text = admin(proxy).text("/metrics")
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == name and labels.items() <= sample.labels.items():
                return float(sample.value)
    return 0.0


@WORKERS
def test_it_stays_while_the_proxy_stops(workers: int) -> None:
    """O10: ready until SIGTERM, then 503 at once while a request is still served; alive until the end."""
    with Backend(delayed(fixed(body=b"late"), 2.0)) as backend:
        config = config_for(backend.address, more=several(workers))
        with ProxyProcess(config) as proxy, Client(proxy.port) as client:
            port = admin_port(proxy)
            assert (get(port, "/readyz", host="localhost").status, get(port, "/healthz", host="localhost").status) == (
                200,
                200,
            )
            client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            backend.wait_for_requests(1)
            proxy.process.send_signal(signal.SIGTERM)
            wait_for(lambda: get(port, "/readyz", host="localhost").status == 503, "readyz to say so")
            assert get(port, "/healthz", host="localhost").status == 200
            report = admin(proxy).get("/status")
            assert report["state"] == "stopping"
            assert sum(each["active"] for each in report["clusters"]["origin"]["backends"]) == 1
            assert client.reply().body == b"late"
            assert client.read_until_closed()
            proxy.process.wait(30)
            assert proxy.process.returncode == 0
            proxy.assert_no_bugs()
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", port), 5)
            # Leaving the proxy would stop it once more.
            proxy.stop = lambda *_: ""  # type: ignore[method-assign]


@WORKERS
def test_a_purge_is_of_all_variants(workers: int) -> None:
    """K9: by URL, prefix, tag and all; all variants are gone in every worker within a second, and counted."""
    with cached("cache = {}", more=several(workers)) as front:
        api = admin(front.proxy)
        for target in ("/a", "/img/b", "/img/c"):
            front.origin.says(
                target, Answer(b"x", "Cache-Control: max-age=3600\r\nVary: Accept-Language\r\nSurrogate-Key: t\r\n")
            )
        with contextlib.ExitStack() as stack:
            if workers == 2:
                clients = stack.enter_context(one_for_each(front.port, wait_for_workers(front.proxy, 2)))
            else:
                clients = {0: stack.enter_context(Client(front.port))}

            def stored(target: str, language: str) -> int:
                words = [
                    client.request(target, fields=f"Accept-Language: {language}\r\n").value("X-Cache-Status")
                    for client in clients.values()
                ]
                return words.count("HIT")

            def fill() -> None:
                for target in ("/a", "/img/b", "/img/c"):
                    for language in ("de", "en"):
                        wait_for(lambda t=target, n=language: stored(t, n) == workers, "it to be stored")

            url = "http://a.example"
            for what, targets in (
                ({"url": f"{url}/a"}, ["/a"]),
                ({"prefix": f"{url}/img/"}, ["/img/b", "/img/c"]),
                ({"tag": "t"}, ["/a", "/img/b", "/img/c"]),
                ({"all": True}, ["/a", "/img/b", "/img/c"]),
            ):
                fill()
                assert api.change("/cache/purge", what)["purged"] == 2 * workers * len(targets), what
                for target in targets:
                    assert [stored(target, language) for language in ("de", "en")] == [0, 0], (what, target)
            assert api.get("/cache")["purged"] >= 8 * workers
            # Who is not allowed to by its address is not by its method either.
            refused = get(front.port, "/a", method="PURGE")
            assert refused.status in (403, 405)


@WORKERS
def test_orders_last(workers: int) -> None:
    """They outlast a reload, and a worker that dies; a weight too."""
    with Backend() as one, Backend() as other:
        config = config_for(one.address, other.address, more=several(workers))
        with ProxyProcess(config) as proxy:
            pids = wait_for_workers(proxy, workers) if workers > 1 else []
            api = admin(proxy)
            api.change(backend_path("origin", other.address, "drain"))
            api.change(backend_path("origin", one.address, "weight"), {"weight": 7})
            api.change("/log-level", {"level": "debug"})
            assert "reloaded" in proxy.reload(
                config.replace("[proxy]", "[cluster.more]\nbackends = [{address='127.0.0.1:9'}]\n[proxy]")
            )
            if pids:
                os.kill(pids[0], signal.SIGKILL)
                wait_for_workers(proxy, workers, without=pids[:1])
                wait_for(lambda: len(api.get("/status")["workers"]) == workers, "the new worker's report")
            told = backends(proxy)
            assert (told[other.address]["state"], told[one.address]["weight"]) == ("draining", 7)
            assert [get(proxy.port).status for _ in range(10)] == [200] * 10
            assert not other.requests
            wait_for(lambda: "#debug]" in proxy.error_text, "the level to hold")
            api.change(backend_path("origin", other.address, "serve"))
            wait_for(lambda: get(proxy.port) and other.requests, "it to serve again")


@WORKERS
def test_backends_come_and_go(workers: int) -> None:
    """Added and removed while the proxy serves; refused with a reason."""
    with Backend() as one, Backend() as other:
        config = config_for(one.address, more=several(workers))
        with ProxyProcess(config) as proxy:
            api = admin(proxy)
            api.change(backend_path("origin"), {"address": other.address, "weight": 3})
            assert backends(proxy)[other.address]["weight"] == 3
            for body, status in (
                ({"address": other.address}, 409),
                ({"address": "x"}, 400),
                ({"address": "a:1", "weight": 0}, 400),
            ):
                with pytest.raises(AdminError) as refused:
                    api.change(backend_path("origin"), body)
                assert refused.value.status == status, body
            wait_for(lambda: get(proxy.port) and other.requests, "it to be asked")
            api.change(backend_path("origin", one.address), method="DELETE")
            assert list(backends(proxy)) == [other.address]
            for path in (backend_path("origin", "x", "drain"), backend_path("x", "y", "drain")):
                with pytest.raises(AdminError) as refused:
                    api.change(path)
                assert refused.value.status == 404 and "'" not in str(refused.value), str(refused.value)


@WORKERS
def test_a_reload_is_answered(workers: int) -> None:
    """With what has changed, or with every error, and then the status says so; numbers do not fall."""
    with Backend() as backend:
        config = config_for(backend.address, more=several(workers))
        with ProxyProcess(config) as proxy:
            api = admin(proxy)
            before = api.get("/status")["config"]["hash"]
            assert [get(proxy.port).status for _ in range(5)] == [200] * 5
            proxy.write_config(config.replace('name = "all"', 'name = "every"'))
            assert "routes added: every" in api.change("/reload")["summary"]
            told = api.get("/status")
            assert told["config"]["hash"] != before and told["config"]["last_reload"]["ok"]
            assert told["numbers"]["outcomes|200|ok"] >= 5
            proxy.write_config(config.replace("[[route]]", "[[route]]\nmethodz = []"))
            with pytest.raises(AdminError) as refused:
                api.change("/reload")
            assert refused.value.status == 409 and "methodz" in refused.value.details[0]
            told = api.get("/status")["config"]["last_reload"]
            assert told["ok"] is False and "methodz" in told["errors"][0]
            assert get(proxy.port).status == 200


@WORKERS
def test_it_moves_with_the_configuration(workers: int, tmp_path: Path) -> None:
    """Unchanged it keeps its port and connections; it moves, gets a token, leaves and comes back with reloads."""
    path = tmp_path / "admin.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))  # Left behind by a process that was killed.
    with Backend() as backend:
        config = config_for(backend.address, more=several(workers))
        with ProxyProcess(config) as proxy:
            first = admin_address(proxy)
            with contextlib.closing(AdminClient(first)) as api:
                api.get("/status")
                proxy.reload(config)
                assert admin_address(proxy) == first and api.get("/status")["config"]["last_reload"]["ok"]
                proxy.reload(config.replace(ADMIN, ADMIN + 'token = "s3cret"\n'))
                with pytest.raises(AdminError) as refused:
                    api.get("/status")  # On a connection from before.
                assert refused.value.status == 401
            assert admin(proxy, "s3cret").get("/status")["state"] == "ready"
            proxy.reload(config.replace('127.0.0.1:0"\n[proxy]', f'unix:{path}"\n[proxy]'))
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert admin_address(proxy) == f"unix:{path}"
            assert admin(proxy).get("/status")["state"] == "ready"
            with pytest.raises(OSError):
                socket.create_connection(("127.0.0.1", int(first.rpartition(":")[2])), 5)
            proxy.reload(config.replace(ADMIN, ""))
            assert not path.exists()
            busy = socket.create_server(("127.0.0.1", 0))
            with busy:
                said = proxy.reload(config.replace(ADMIN, f'[admin]\nlisten = "127.0.0.1:{busy.getsockname()[1]}"\n'))
                assert "in use" in said and "the configuration before it stays" in said
            proxy.reload(config)
            assert admin(proxy).get("/status")["state"] == "ready"
            assert get(proxy.port).status == 200


@WORKERS
def test_an_upgrade_takes_it_along(workers: int) -> None:
    """The new process answers, and nobody is refused; the old one, which still serves a request, attends to nobody."""
    with Backend(by_target({"/slow": delayed(fixed(), 3.0)}, fixed())) as backend:
        port = unused_port()
        config = config_for(backend.address, more=several(workers, f'[admin]\nlisten = "127.0.0.1:{port}"\n'))
        with Dynasty(config) as proxy, Client(proxy.port) as client:
            asking = Asking(f"127.0.0.1:{port}")
            started_at = asking.get("/status")["started_at"]
            client.send(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
            backend.wait_for_requests(1)
            proxy.upgrade()
            # Between its ready line and the moment in which the old one hears of it both have the socket.
            wait_for(lambda: asking.get("/status")["started_at"] > started_at, "the new one's answer")
            time.sleep(0.2)
            told = [asking.get("/status") for _ in range(20)]
            assert {each["state"] for each in told} == {"ready"}
            assert len({each["started_at"] for each in told}) == 1
            assert client.reply().status == 200


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    """The proxy does not start, and says why; a configuration that needs a token and has none is not valid."""
    with socket.create_server(("127.0.0.1", 0)) as busy:
        taken = f'[admin]\nlisten = "127.0.0.1:{busy.getsockname()[1]}"\n'
        with pytest.raises(AssertionError, match="in use"):
            ProxyProcess(config_for("127.0.0.1:9", more=taken))
    with pytest.raises(AssertionError, match="a token is needed to listen on 0.0.0.0"):
        ProxyProcess(config_for("127.0.0.1:9", more='[admin]\nlisten = "0.0.0.0:0"\n'))


def post(
    path: str, body: bytes = b"{}", host: str = "localhost", fields: str = "Content-Type: application/json\r\n"
) -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: {host}\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body


def test_hostile_requests() -> None:
    """Foreign hosts, missing and wrong tokens, changes by GET and by forms, bodies without end: refused, each one."""
    with Backend() as backend:
        guarded = '[admin]\nlisten = "127.0.0.1:0"\ntoken = "s3cret"\n'
        with ProxyProcess(config_for(backend.address, more=guarded)) as proxy:
            port = admin_port(proxy)
            token = "Authorization: Bearer s3cret\r\n"
            drain = backend_path("origin", backend.address, "drain")
            json_type = "Content-Type: application/json\r\n"
            cases: list[tuple[int, bytes]] = [
                (403, b"GET /healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
                (403, post(drain, host="evil.example:80", fields=json_type + token)),
                (403, post(drain, host="localhost.evil.example", fields=json_type + token)),
                (400, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n"),
                (401, post(drain)),
                (401, post(drain, fields=json_type + "Authorization: Bearer s3cre\r\n")),
                (401, b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n"),
                (405, f"GET {drain} HTTP/1.1\r\nHost: localhost\r\n{token}\r\n".encode()),
                (415, post(drain, b"a=b", fields="Content-Type: application/x-www-form-urlencoded\r\n" + token)),
                (403, post(drain, fields=f"{json_type}{token}Origin: http://evil.example\r\n")),
                (403, post(drain, fields=f"{json_type}{token}Origin: null\r\n")),
                (400, post(drain, b"{" * 60_000, fields=json_type + token)),
                (404, f"GET /../etc/passwd HTTP/1.1\r\nHost: localhost\r\n{token}\r\n".encode()),
            ]
            for status, data in cases:
                assert raw_exchange(port, data, replies=1).statuses == [status], data[:200]
            assert raw_exchange(port, post(drain, b"x" * (1 << 20), fields=json_type + token)).statuses == [413]
            chunks = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
            endless = post(drain, b"", fields=f"{json_type}{token}Transfer-Encoding: chunked\r\n").replace(
                b"Content-Length: 0\r\n", b""
            )
            assert raw_exchange(port, endless + chunks * 16).statuses == [413]
            for garbage in (b"\x00" * 1000, b"GET\r\n\r\n", b"\x16\x03\x01" + b"x" * 500 + b"\r\n\r\n", b"A" * 100_000):
                ended = raw_exchange(port, garbage, half_close=True)
                assert ended.closed and b" 200 " not in ended.received
            report = admin(proxy, "s3cret").get("/status")
            assert [each["state"] for each in report["clusters"]["origin"]["backends"]] == ["up"]
            assert proxy.error_text.count("is refused: the token is wrong") <= 1


def test_slow_and_many_clients() -> None:
    """Bodies that drip and a crowd of connections hold up nobody, neither operators nor requests."""
    with Backend() as backend, ProxyProcess(config_for(backend.address, more=ADMIN)) as proxy:
        port = admin_port(proxy)
        descriptors = proxy.fd_count()
        head = b"POST /reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n"
        crowd = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(300)]
        try:
            for number, each in enumerate(crowd):
                with contextlib.suppress(OSError):
                    each.send(head if number % 2 else head[:20])
            assert at_once([lambda: get(port, "/healthz", host="localhost").status] * 20) == [200] * 20
            assert admin(proxy).get("/status")["state"] == "ready"
            assert get(proxy.port).status == 200
            assert proxy.fd_count() < descriptors + 80
            # Each that is left is cut, however its bytes drip in.
            deadline = time.monotonic() + 40
            left = list(crowd)
            while left and time.monotonic() < deadline:
                left = [each for each in left if _drips(each)]
                time.sleep(0.5)
            assert not left, f"{len(left)} are still open"
        finally:
            for each in crowd:
                each.close()
        wait_for(lambda: proxy.fd_count() <= descriptors + 5, "their descriptors to be free")


def _drips(client: socket.socket) -> bool:
    """Send one byte more; return whether the connection is still open."""
    try:
        client.setblocking(False)
        client.send(b" ")
        return client.recv(1000) != b""
    except BlockingIOError:
        return True
    except OSError:
        return False
