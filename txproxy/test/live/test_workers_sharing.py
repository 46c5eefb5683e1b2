"""What one of several workers finds out is known to all: backends' health, purges, TLS sessions, counts."""

from __future__ import annotations

import os
import re
import signal
import ssl
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from .cache_front import Answer, cached
from .crew import one_for_each, shares, wait_for_workers
from .helpers import get
from .judge import JudgedRequest
from .peers import Backend, BackendConnection, Client, ProxyProcess, config_for, http_reply, wait_for
from .tls_client import TlsClient, trusting
from .tls_front import one_front
from .tls_identities import Issuer, replace

TWO = "[proxy]\nworkers = 2\n"


def lines_of(proxy: ProxyProcess, worker: int, words: str) -> list[str]:
    """Return what a worker has logged that has these words."""
    return [line for line in proxy.error_text.splitlines() if f"worker {worker}: " in line and words in line]


def test_a_failing_backend_is_ejected_by_all() -> None:
    """S3: requests of one worker fail; the other, which has asked that backend for nothing, leaves it out too."""
    with Backend() as good, Backend() as bad:
        config = config_for(good.address, bad.address, more=TWO)
        with ProxyProcess(config, level="debug") as proxy:
            workers = wait_for_workers(proxy, 2)
            bad.stop()
            with one_for_each(proxy.port, workers) as clients:
                assert [clients[workers[0]].request().status for _ in range(10)] == [200] * 10
                wait_for(lambda: lines_of(proxy, 1, "up -> ejected"), "the ejection")
                seen_at = time.monotonic()
                wait_for(lambda: lines_of(proxy, 2, "up -> ejected"), "the other worker to know")
                # Under 1 s is the mark; a busy machine has its own clock.
                assert time.monotonic() - seen_at < 5
                assert [clients[workers[1]].request("/late").status for _ in range(10)] == [200] * 10
            late = [line for line in proxy.access_lines(20) if line["target"] == "/late"]
            assert [line["tries"] for line in late] == [1] * 10
            assert len(re.findall(r"#warn\].*up -> ejected", proxy.error_text)) == 1, "said once, by whom it found out"


class Checked:
    """Answers requests, and checks as it is told."""

    def __init__(self) -> None:
        self.is_well = True
        self.checks = 0

    def __call__(self, connection: BackendConnection, request: JudgedRequest) -> None:
        if request.target == b"/check":
            self.checks += 1
            connection.send(http_reply(200 if self.is_well else 500))
        else:
            connection.send(http_reply())


def test_one_worker_checks_for_all() -> None:
    """S3: checks are made once, not once for each worker; all follow; if the one dies another goes on."""
    checked = Checked()
    health = 'health = { path = "/check", interval_s = 0.25, jitter = 0.0, fall = 1, rise = 1 }\npanic = false'
    with Backend(checked) as backend:
        config = config_for(backend.address, cluster=health, more=TWO)
        with ProxyProcess(config, level="debug") as proxy:
            workers = wait_for_workers(proxy, 2)
            with one_for_each(proxy.port, workers) as clients:
                for client in clients.values():
                    assert client.request().status == 200
                before, began_at = checked.checks, time.monotonic()
                time.sleep(3)
                # Each worker would make four in a second.
                assert 0 < checked.checks - before < 6 * (time.monotonic() - began_at)
                checked.is_well = False
                wait_for(lambda: lines_of(proxy, 1, "up -> down"), "the check to fail")
                wait_for(lambda: lines_of(proxy, 2, "up -> down"), "the other worker to know")
                assert [client.request().status for client in clients.values()] == [503, 503]
                os.kill(workers[0], signal.SIGKILL)
                checked.is_well = True
                wait_for(lambda: lines_of(proxy, 2, "down -> up"), "the other worker to check")
                assert clients[workers[1]].request().status == 200
            # The one that is new begins with what is known.
            (fresh,) = set(wait_for_workers(proxy, 2, without=[workers[0]])) - {workers[1]}
            with one_for_each(proxy.port, [fresh, workers[1]]) as clients:
                assert clients[fresh].request().status == 200


def test_a_new_worker_is_told_what_is_down() -> None:
    """A worker that is replaced while a backend is down does not wait for a check of its own."""
    checked = Checked()
    health = 'health = { path = "/check", interval_s = 0.25, fall = 1 }\npanic = false'
    with Backend(checked) as backend, Backend(checked) as other:
        config = config_for(backend.address, other.address, cluster=health, more=TWO)
        with ProxyProcess(config, level="debug") as proxy:
            workers = wait_for_workers(proxy, 2)
            assert get(proxy.port).status == 200
            checked.is_well = False
            wait_for(lambda: len(lines_of(proxy, 2, "up -> down")) == 2, "both to be down")
            checking_ones = len(lines_of(proxy, 2, "checking -> down"))
            os.kill(workers[1], signal.SIGKILL)
            wait_for_workers(proxy, 2, without=[workers[1]])
            wait_for(lambda: len(lines_of(proxy, 2, "checking -> down")) == checking_ones + 2, "it to be told")
            assert get(proxy.port).status == 503


def test_a_purge_reaches_all() -> None:
    """K9: PURGE of a URL by any worker: gone in all, and the answer counts them together."""
    with cached('cache = { purge_from = ["127.0.0.1"] }', more=TWO) as front:
        front.origin.says("/page", Answer(b"one"))
        workers = wait_for_workers(front.proxy, 2)
        with one_for_each(front.port, workers) as clients:
            for client in clients.values():
                wait_for(lambda client=client: _word(client, "/page") == "HIT", "it to be stored")
            reply = clients[workers[0]].request("/page", method="PURGE")
            assert (reply.status, reply.body) == (200, b"2 purged\n")
            assert [_word(client, "/page") for client in clients.values()] == ["MISS", "MISS"]
            assert clients[workers[1]].request("/page", method="PURGE").body == b"2 purged\n"


def test_a_change_is_known_to_all() -> None:
    """K11: a POST that succeeds at one worker makes what another one has stored invalid."""
    with cached(more=TWO) as front:
        front.origin.says("/page", Answer(b"one"))
        workers = wait_for_workers(front.proxy, 2)
        with one_for_each(front.port, workers) as clients:
            for client in clients.values():
                wait_for(lambda client=client: _word(client, "/page") == "HIT", "it to be stored")
            assert clients[workers[0]].request("/page", method="POST", body=b"x").status == 200
            assert _word(clients[workers[0]], "/page") == "MISS"
            # It has not been asked for meanwhile, so the first word that is no HIT is the one.
            wait_for(lambda: _word(clients[workers[1]], "/page") == "MISS", "the other worker to know")


def _word(client: Client, target: str) -> str | None:
    return client.request(target).value("X-Cache-Status")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_are_resumed_by_all(version: ssl.TLSVersion, tmp_path: Path, stack: ExitStack) -> None:
    """T3: a client that comes back to another worker is resumed; after a certificate reload and a respawn, served."""
    issuer = Issuer()
    pair = issuer.leaf("a.example").save(tmp_path, "a")
    backend = stack.enter_context(Backend())
    proxy = ProxyProcess(one_front(backend.address, pair, tls="reload_interval_s = 0.2") + TWO)
    stack.callback(proxy.kill)
    workers = wait_for_workers(proxy, 2)
    context = trusting(issuer.pem, version=version)
    resumed = _resumptions(proxy.port, context, workers)
    assert resumed == {pid: {True} for pid in workers}, resumed

    issuer.leaf("a.example").save(tmp_path, "a")
    wait_for(lambda: proxy.error_text.count("reloaded the certificate") == 2, "both to reload")
    resumed = _resumptions(proxy.port, context, workers)
    assert resumed == {pid: {True} for pid in workers}, resumed

    os.kill(workers[1], signal.SIGKILL)
    workers = wait_for_workers(proxy, 2, without=[workers[1]])
    resumed = _resumptions(proxy.port, context, workers)
    assert resumed == {pid: {True} for pid in workers}, resumed
    log = proxy.stop()
    found = re.findall(r"(\d+) TLS handshakes, (\d+) of them resumed", log)
    assert len(found) == 1 and int(found[0][1]) > 0, found


def _resumptions(port: int, context: ssl.SSLContext, workers: list[int]) -> dict[int, set[bool]]:
    """Connect again and again with the session of the connection before; return which workers have resumed it."""
    found: dict[int, set[bool]] = {}
    with TlsClient(port, context=context) as client:
        assert client.request().status == 200
        session = client.session
        (before,) = shares([client], workers)
    while set(found) != set(workers):
        with TlsClient(port, context=context, session=session) as client:
            assert client.request().status == 200
            (pid,) = shares([client], workers)
            # Only those that tell something: the session is another worker's, or we have seen enough of its own.
            if pid != before or pid in found or len(found) + 1 == len(workers):
                found.setdefault(pid, set()).add(client.was_resumed)
            session, before = client.session, pid
    return found


def test_a_replaced_worker_serves_the_certificate_of_the_day(tmp_path: Path) -> None:
    """What the supervisor has read at the start may be old: a new worker looks at the files at once."""
    issuer = Issuer()
    first = issuer.leaf("a.example")
    pair = first.save(tmp_path, "a")
    with Backend() as backend:
        config = one_front(backend.address, pair, tls="reload_interval_s = 3600") + TWO
        with ProxyProcess(config) as proxy:
            workers = wait_for_workers(proxy, 2)
            second = issuer.leaf("a.example")
            second.save(tmp_path, "a")
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            wait_for_workers(proxy, 2, without=workers)
            wanted = ssl.PEM_cert_to_DER_cert(second.chain.decode().split("-----END CERTIFICATE-----")[0]
                                              + "-----END CERTIFICATE-----")  # fmt: skip

            def shown() -> bytes:
                with TlsClient(proxy.port, context=trusting(issuer.pem)) as client:
                    return client.certificate

            wait_for(lambda: all(shown() == wanted for _ in range(8)), "the new certificate")
            # A file that is broken by now keeps nobody from being replaced.
            replace(tmp_path / "a.key", b"broken")
            for pid in wait_for_workers(proxy, 2, without=workers):
                os.kill(pid, signal.SIGKILL)
            with TlsClient(proxy.port, context=trusting(issuer.pem)) as client:
                assert client.request().status == 200


def test_counts_are_summed(stack: ExitStack) -> None:
    """The statistics at the end are those of all workers, the dead included."""
    backend = stack.enter_context(Backend())
    proxy = ProxyProcess(config_for(backend.address, more=TWO))
    stack.callback(proxy.kill)
    workers = wait_for_workers(proxy, 2)
    with one_for_each(proxy.port, workers) as clients:
        for client in clients.values():
            for _ in range(10):
                assert client.request().status == 200
        time.sleep(1.5)  # Each worker tells its numbers twice a second.
        os.kill(workers[0], signal.SIGKILL)
        wait_for_workers(proxy, 2, without=[workers[0]])
    assert get(proxy.port).status == 200
    log = proxy.stop()
    assert " 21 exchanges (ok 21)" in log, log[-2000:]
    assert log.count("connections made") == 1
