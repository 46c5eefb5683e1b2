"""Certificates that are replaced, or expire, while the proxy serves."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .client import wait_for
from .peers import Backend, ProxyProcess, fixed
from .tls_client import HandshakeFailed, TlsClient, fails_with, https_get, session_of, trusting
from .tls_front import front, listener, needed, one_front, s_client, section
from .tls_identities import Issuer, Leaf, pair, replace

INTERVAL_S = 0.2
OFTEN = f"reload_interval_s = {INTERVAL_S}"
SOON_S = 5.0
"""How long the certificate lasts that expires during the tests."""


class Watched(NamedTuple):
    """A proxy that watches files, and what is in them."""

    proxy: ProxyProcess
    issuer: Issuer
    directory: Path
    first: dict[str, Leaf]
    """The certificates of the beginning, by the name of the file and of the host, which are the same."""
    expires_at: float
    """When the certificate for ``soon.example`` does, on the monotonic clock."""

    def port(self, name: str) -> int:
        """Port of a listener."""
        return self.proxy.ports[name]

    def shown(self, name: str, port_name: str = "https") -> bytes:
        """Return the certificate that a new client gets for a name, as DER."""
        with TlsClient(self.port(port_name), name) as client:
            return client.certificate

    def wait_until_shown(self, leaf: Leaf, name: str, port_name: str = "https") -> None:
        """Wait until new clients get this certificate; nobody has promised how soon on a busy machine."""
        wait_for(lambda: self.shown(name, port_name) == der(leaf), f"the new certificate of {name}")

    def errors_of(self, stem: str) -> list[str]:
        """Lines of the log that are errors and name a file."""
        return [line for line in self.proxy.error_text.splitlines() if "#error" in line and f"{stem}.pem" in line]


def der(leaf: Leaf) -> bytes:
    """Return a certificate as clients get it."""
    return ssl.PEM_cert_to_DER_cert(
        leaf.chain.decode().split("-----END CERTIFICATE-----")[0] + "-----END CERTIFICATE-----"
    )


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """One proxy with a pair for each test, and a section that looks at its files only when told."""
    directory = tmp_path_factory.mktemp("watched")
    issuer = Issuer("Below", Issuer())
    stems = ("default", "a.example", "session.example", "wrong.example", "broken.example", "twin.example",
             "told.example", "staple.example", "open.example")  # fmt: skip
    first = {stem: issuer.leaf(stem) for stem in stems}
    first["twin-rsa"] = issuer.leaf("twin.example", kind="rsa")
    for stem, leaf in first.items():
        leaf.save(directory, stem)
    pairs = [pair(directory, stem) for stem in first if stem not in ("told.example", "staple.example")]
    replace(directory / "staple.ocsp", issuer.ocsp_reply(first["staple.example"]))
    pairs.append(pair(directory, "staple.example", str(directory / "staple.ocsp")))
    for linked in (_kubernetes(directory, issuer), _certbot(directory, issuer)):
        pairs.append(linked)
    soon = issuer.leaf("soon.example", days=(-1, SOON_S / 86400))
    expires_at = time.monotonic() + SOON_S
    pairs.append(soon.save(directory, "soon.example"))
    first["soon.example"] = soon
    for who, file in (("first", "clients.pem"), ("second", "other-clients.pem")):
        authority = Issuer(f"Clients of the {who}")
        replace(directory / file, authority.pem)
        authority.leaf(common_name=who, client=True).save(directory, f"{who}-client")
    known = f'{OFTEN}\nclient_auth = "required"\nclient_ca = "{directory / "clients.pem"}"'
    config = [
        listener("https", 'tls = "watched"'),
        listener("known", 'tls = "known"'),
        section("known", [pair(directory, "default")], known),
        listener("told", 'tls = "told"'),
        section("watched", pairs, OFTEN),
        section("told", [pair(directory, "told.example")], "reload_interval_s = 0"),
    ]
    with Backend() as backend, ProxyProcess(front(backend.address, *config)) as proxy:
        yield Watched(proxy, issuer, directory, first, expires_at)


def _kubernetes(directory: Path, issuer: Issuer) -> str:
    """Lay files out as Kubernetes mounts a secret: a link to a folder that is replaced by another."""
    mount = directory / "mount"
    (mount / "..first").mkdir(parents=True)
    issuer.leaf("mount.example").save(mount / "..first", "tls")
    (mount / "..data").symlink_to("..first")
    for name in ("tls.pem", "tls.key"):
        (mount / name).symlink_to(f"..data/{name}")
    return pair(mount, "tls")


def _certbot(directory: Path, issuer: Issuer) -> str:
    """Lay files out as certbot does: links into an archive with a number for each renewal."""
    (directory / "archive").mkdir()
    (directory / "live").mkdir()
    issuer.leaf("bot.example").save(directory / "archive", "bot1")
    for suffix in ("pem", "key"):
        (directory / "live" / f"bot.{suffix}").symlink_to(f"../archive/bot1.{suffix}")
    return pair(directory / "live", "bot")


def _point(link: Path, to: str) -> None:
    new = link.with_name(f".{link.name}.new")
    new.symlink_to(to)
    os.replace(new, link)


# What is replaced


def test_a_new_certificate_is_served_without_a_restart(watched: Watched) -> None:
    """T5, D9: files are replaced: new clients get the new certificate, connections that are open live on."""
    new = watched.issuer.leaf("a.example")
    with TlsClient(watched.port("https"), "a.example") as client:
        assert client.request().status == 200
        assert client.certificate == der(watched.first["a.example"])
        new.save(watched.directory, "a.example")
        watched.wait_until_shown(new, "a.example")
        assert client.request().status == 200
    assert https_get(watched.port("https")).status == 200
    assert watched.shown("default") == der(watched.first["default"])


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_handshake_under_way_is_finished(watched: Watched, version: ssl.TLSVersion) -> None:
    """T5: a client that was shown the old certificate finishes its handshake after the new one is served."""
    name = "open.example"
    before = watched.shown(name)
    with TlsClient(watched.port("https"), name, context=trusting(version=version), handshake=False) as client:
        client.send_raw(client.step()[0])
        client.take_handshake()
        new = watched.issuer.leaf(name)
        new.save(watched.directory, name)
        watched.wait_until_shown(new, name)
        client.handshake()
        assert client.certificate == before
        assert client.request(host=name).status == 200


def test_other_authorities_of_clients(watched: Watched) -> None:
    """T4, T5: client_ca is replaced: whom only the old one knows is refused from then on, also with an old session."""
    port, directory = watched.port("known"), watched.directory
    first, second = (trusting(identity=(directory / f"{who}.pem", directory / f"{who}.key"))
                     for who in ("first-client", "second-client"))  # fmt: skip
    assert fails_with(port, context=second)
    session = session_of(port, first)
    replace(directory / "clients.pem", (directory / "other-clients.pem").read_bytes())
    wait_for(lambda: not fails_with(port, context=second), "the new authority to be believed")
    assert fails_with(port, context=first, session=session)
    assert fails_with(port, context=first)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_sessions_outlive_certificates(watched: Watched, version: ssl.TLSVersion) -> None:
    """T3: a client of the old certificate is resumed after the new one is served."""
    name, port, context = "session.example", watched.port("https"), trusting(version=version)
    with TlsClient(port, name, context=context) as client:
        assert client.request(host=name).status == 200
        session = client.session
    new = watched.issuer.leaf(name)
    new.save(watched.directory, name)
    watched.wait_until_shown(new, name)
    with TlsClient(port, name, context=context, session=session) as client:
        assert client.request(host=name).status == 200
        assert client.was_resumed


def test_a_key_that_does_not_match_changes_nothing(watched: Watched) -> None:
    """T5: the old certificate is kept, the log says once which file is wrong, and the right key mends it."""
    name = "wrong.example"
    new = watched.issuer.leaf(name)
    # As a tool that writes one file after the other, and stops between the two.
    replace(watched.directory / f"{name}.pem", new.chain)
    wait_for(lambda: watched.errors_of(name), "an error in the log")
    time.sleep(6 * INTERVAL_S)
    assert len(watched.errors_of(name)) == 1, watched.errors_of(name)
    assert watched.shown(name) == der(watched.first[name])
    replace(watched.directory / f"{name}.key", new.key)
    watched.wait_until_shown(new, name)


@pytest.mark.parametrize("how", ["empty", "garbage", "cut", "gone", "folder", "expired", "another's"])
def test_a_broken_file_changes_nothing(watched: Watched, how: str) -> None:
    """T5: whatever is put in place of a certificate, the old one is served until a good one comes."""
    name = "broken.example"
    path = watched.directory / f"{name}.pem"
    good = watched.issuer.leaf(name)
    good.save(watched.directory, name)
    watched.wait_until_shown(good, name)
    before = len(watched.errors_of(name))
    if how == "folder":
        path.unlink()
        path.mkdir()
    elif how == "gone":
        path.unlink()
    elif how == "expired":
        watched.issuer.leaf(name, days=(-20, -1)).save(watched.directory, name)
    else:
        other = {"empty": b"", "garbage": os.urandom(2000), "cut": good.chain[:-300].split(b"-----END")[0]}
        replace(path, other.get(how, watched.first["default"].chain))
    wait_for(lambda: len(watched.errors_of(name)) > before, "an error in the log")
    assert watched.shown(name) == der(good)
    if how == "folder":
        path.rmdir()
    new = watched.issuer.leaf(name)
    new.save(watched.directory, name)
    watched.wait_until_shown(new, name)


def test_one_bad_file_does_not_stop_the_renewal_of_another(watched: Watched) -> None:
    """D16, T5: the RSA certificate of a name is broken on disk; its ECDSA certificate is renewed all the same."""
    replace(watched.directory / "twin-rsa.pem", b"broken")
    wait_for(lambda: watched.errors_of("twin-rsa"), "an error in the log")
    new = watched.issuer.leaf("twin.example")
    new.save(watched.directory, "twin.example")
    port = watched.port("https")

    def shown(algorithm: str, leaf: Leaf) -> bool:
        return s_client(port, "-servername", "twin.example", "-sigalgs", algorithm).is_of(leaf)

    wait_for(lambda: shown("ECDSA+SHA256", new), "the new certificate")
    assert shown("RSA-PSS+SHA256", watched.first["twin-rsa"])


def test_links_are_followed(watched: Watched) -> None:
    """T5: secrets as Kubernetes mounts them, and links as certbot sets them, are replaced by turning a link."""
    new = watched.issuer.leaf("mount.example")
    mount = watched.directory / "mount"
    (mount / "..second").mkdir()
    new.save(mount / "..second", "tls")
    _point(mount / "..data", "..second")
    shutil.rmtree(mount / "..first")
    watched.wait_until_shown(new, "mount.example")

    new = watched.issuer.leaf("bot.example")
    new.save(watched.directory / "archive", "bot2")
    for suffix in ("pem", "key"):
        _point(watched.directory / "live" / f"bot.{suffix}", f"../archive/bot2.{suffix}")
        # Between the two the pair does not match, and the old one is kept.
        time.sleep(3 * INTERVAL_S)
        watched.shown("bot.example")
    watched.wait_until_shown(new, "bot.example")


def test_a_staple_is_replaced(watched: Watched) -> None:
    """T5: the OCSP reply beside a certificate is watched too; without one the certificate is served alone."""
    port, reply = watched.port("https"), watched.directory / "staple.ocsp"

    def produced() -> str:
        text = s_client(port, "-servername", "staple.example", "-status").text
        return text.partition("This Update:")[2].partition("\n")[0] or "none"

    first = produced()
    assert first != "none"
    replace(reply, watched.issuer.ocsp_reply(watched.first["staple.example"]))
    wait_for(lambda: produced() not in (first, "none"), "the new reply")
    replace(reply, b"not a reply")
    time.sleep(3 * INTERVAL_S)
    assert watched.shown("staple.example") == der(watched.first["staple.example"])


def test_files_are_looked_at_when_a_signal_says_so(watched: Watched) -> None:
    """T5: with reload_interval_s = 0 nothing is read before SIGHUP, and everything is after it."""
    new = watched.issuer.leaf("told.example")
    new.save(watched.directory, "told.example")
    time.sleep(1)
    assert watched.shown("told.example", "told") == der(watched.first["told.example"])
    with TlsClient(watched.port("told"), "told.example") as client:
        assert client.request(host="told.example").status == 200
        watched.proxy.process.send_signal(signal.SIGHUP)
        watched.wait_until_shown(new, "told.example", "told")
        assert client.request(host="told.example").status == 200


def test_a_certificate_that_expires_is_not_shown_any_more(watched: Watched) -> None:
    """D16: from its last moment on a certificate is refused, also if it was good when it was loaded; the log says so."""
    name = "soon.example"
    if time.monotonic() < watched.expires_at - 1:
        assert watched.shown(name) == der(watched.first[name])
    time.sleep(max(0.0, watched.expires_at + 1 - time.monotonic()))
    assert watched.shown(name) == der(watched.first["default"])
    wait_for(lambda: watched.errors_of(name), "an error in the log")
    new = watched.issuer.leaf(name)
    new.save(watched.directory, name)
    watched.wait_until_shown(new, name)


# All of it under load


class _NewConnections(threading.Thread):
    """Makes one connection after another, each with a handshake that is checked, and a request."""

    def __init__(self, port: int, root: bytes) -> None:
        super().__init__(daemon=True)
        self._port, self._context = port, trusting(root)
        self.count = 0
        self.failures: list[str] = []
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.is_set():
            try:
                with TlsClient(self._port, "busy.example", context=self._context) as client:
                    status = client.request(host="busy.example").status
                    if status != 200:
                        self.failures.append(f"status {status}")
            except (OSError, AssertionError, HandshakeFailed, ssl.SSLError) as error:
                self.failures.append(repr(error))
            self.count += 1

    def finish(self) -> None:
        """Stop after the connection that is under way."""
        self.ended.set()
        self.join(60)


_POOL = "[cluster.origin.pool]\nidle_timeout_s = 0.5\n"


@pytest.fixture
def busy(tmp_path: Path) -> Iterator[tuple[ProxyProcess, Issuer]]:
    """A proxy for ``busy.example`` with little else to do."""
    issuer = Issuer()
    one = issuer.leaf("busy.example").save(tmp_path, "busy")
    with (
        Backend(fixed(body=b"x" * 1024)) as backend,
        ProxyProcess(one_front(backend.address, one, tls="reload_interval_s = 0.05") + _POOL) as proxy,
    ):
        yield proxy, issuer


def test_twenty_reloads_under_load(busy: tuple[ProxyProcess, Issuer], tmp_path: Path) -> None:
    """G3, T5: while certificates are replaced twenty times no request fails, old connection or new, none is refused."""
    proxy, issuer = busy
    load = [needed("wrk"), "-t1", "-c16", "-d300s", "-H", "Host: busy.example", f"https://127.0.0.1:{proxy.port}/"]
    newcomers = [_NewConnections(proxy.port, issuer.pem) for _ in range(2)]
    # Whoever comes first has all imports and buffers made.
    https_get(proxy.port, name="busy.example")
    descriptors = proxy.fd_count()
    with subprocess.Popen(load, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as loading:
        try:
            for each in newcomers:
                each.start()
            for _ in range(20):
                new = issuer.leaf("busy.example")
                new.save(tmp_path, "busy")

                def is_shown(leaf: Leaf = new) -> bool:
                    with TlsClient(proxy.port, "busy.example") as client:
                        return client.certificate == der(leaf)

                wait_for(is_shown, "the new certificate")
                time.sleep(0.1)
            for each in newcomers:
                each.finish()
            # It then says how it went.
            loading.send_signal(signal.SIGINT)
            output, _ = loading.communicate(timeout=120)
        finally:
            for each in newcomers:
                each.ended.set()
            with contextlib.suppress(OSError):
                loading.kill()
    rates = [line.strip() for line in output.splitlines() if line.startswith("Requests/sec")]
    made = sum(each.count for each in newcomers)
    print(f"{rates}; {made} new connections beside them, 20 reloads")
    assert rates and " 0 requests in" not in output, output
    assert "Socket errors" not in output and "Non-2xx" not in output, output
    assert made > 20 and not [failure for each in newcomers for failure in each.failures]
    wait_for(lambda: proxy.fd_count() <= descriptors + 1, "descriptors to be closed")
