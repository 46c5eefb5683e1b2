"""Clients of TLS that come back, and clients that show who they are."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from .peers import Backend, ProxyProcess, raw_exchange
from .test_forwarding import seen
from .tls_client import TlsClient, fails_with, https_get, is_resumed, session_of, trusting
from .tls_front import Front, closing_get, front, listener, s_client, section
from .tls_identities import Issuer, Leaf

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
TICKETS_LAST_S = 2

OldTickets = list[tuple[ssl.SSLContext, ssl.SSLSession, float]]
"""Sessions with the settings of their clients, and when they began."""


def _client_leaves(root: Issuer, clients: Issuer) -> dict[str, Leaf]:
    return {
        "alice": clients.leaf(common_name="Alice Example", client=True),
        "odd": clients.leaf(common_name='Zoë "Q", \\ O=x\r\nX-Admin: 1', client=True),
        "old-alice": clients.leaf(common_name="Alice Example", client=True, days=(-20, -1)),
        "early-alice": clients.leaf(common_name="Alice Example", client=True, days=(1, 20)),
        "mallory": Issuer("Not Trusted").leaf(common_name="Alice Example", client=True),
        # The servers' authority is not the clients'.
        "server-as-client": root.leaf("a.example", client=True),
    }


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A listener for each way to treat clients who come back or show a certificate."""
    directory = tmp_path_factory.mktemp("clients")
    root, clients = Issuer("Servers"), Issuer("Clients")
    leaves = {"a": root.leaf("a.example"), "b": root.leaf("*.b.example"), **_client_leaves(root, clients)}
    saved = {stem: leaf.save(directory, stem) for stem, leaf in leaves.items()}
    pairs = [saved["a"], saved["b"]]
    (directory / "clients.pem").write_bytes(clients.pem)
    ca = f'client_ca = "{directory / "clients.pem"}"\n'
    with Backend() as backend:
        config = front(
            backend.address,
            *(listener(name, f'tls = "{name}"') for name in
              ("main", "strict", "modern", "plainly", "rotating", "optional", "required")),
            listener("web"),
            section("main", pairs),
            section("strict", pairs, "strict_sni = true"),
            section("modern", pairs, 'preset = "modern"'),
            section("plainly", pairs, "tickets = false"),
            section("rotating", pairs, f"ticket_lifetime_s = {TICKETS_LAST_S}"),
            section("optional", pairs, f'client_auth = "optional"\n{ca}'),
            section("required", pairs, f'client_auth = "required"\n{ca}'),
            route="allow_underscores = true",
        )  # fmt: skip
        with ProxyProcess(config) as proxy:
            yield Front(proxy, backend, root, leaves, directory)
            assert backend.violations == []


@pytest.fixture(scope="module", autouse=True)
def old_tickets(shop: Front) -> OldTickets:
    """Begun before all tests, so that the time has passed when the last one needs them."""
    old = []
    for version in (TLS12, TLS13):
        context = trusting(shop.root.pem, version=version)
        began = time.monotonic()
        old.append((context, session_of(shop.port("rotating"), context), began))
    return old


# Resumption


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_client_that_comes_back_is_resumed(shop: Front, version: ssl.TLSVersion) -> None:
    """T3: the second handshake is short, on any connection to the same listener."""
    context = trusting(shop.root.pem, version=version)
    session = session_of(shop.port("main"), context)
    assert [is_resumed(shop.port("main"), context, session) for _ in range(3)] == [True] * 3
    # A session under another name: whichever certificate the server takes it for, it is not good for both.
    with TlsClient(shop.port("main"), "y.b.example", context=context, session=session) as client:
        statuses = {client.request(host=name).status for name in ("y.b.example", "a.example")}
        assert statuses == {200, 421}


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_opensslis_resumed(shop: Front, tmp_path: Path, version: str) -> None:
    """T3: the same with ``openssl s_client`` and a session file."""
    kept, port = str(tmp_path / "session"), shop.port("main")
    ask = closing_get("a.example")
    first = s_client(port, version, "-servername", "a.example", "-sess_out", kept, say=ask)
    second = s_client(port, version, "-servername", "a.example", "-sess_in", kept, say=ask)
    assert "New, TLSv1" in first.text and "Reused, TLSv1" in second.text, second.text
    assert "HTTP/1.1 200" in second.text


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_without_tickets_nothing_is_resumed(shop: Front, version: ssl.TLSVersion) -> None:
    """T3: tickets = false: every handshake is a full one, by ticket or by session id, and none fails."""
    context = trusting(shop.root.pem, version=version)
    with TlsClient(shop.port("plainly"), context=context) as client:
        assert client.request().status == 200
        session = client.tls.session
    # With TLS 1.3 a server may hand out what it will not take back.
    if session is not None:
        assert not is_resumed(shop.port("plainly"), context, session)
    # Nor by what another section gave out.
    assert not is_resumed(shop.port("plainly"), context, session_of(shop.port("main"), context))


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_session_does_not_pass_for_a_client_certificate(shop: Front, version: ssl.TLSVersion) -> None:
    """T3: a session that began without a client certificate gets nowhere where one is required (CVE-2025-23419)."""
    for begun in ("main", "optional", "strict"):
        context = trusting(shop.root.pem, version=version)
        session = session_of(shop.port(begun), context)
        before = len(shop.backend.requests)
        assert fails_with(shop.port("required"), context=context, session=session), begun
        assert len(shop.backend.requests) == before
    # Nor does one that began with a certificate make anything of it elsewhere.
    context = trusting(shop.root.pem, version=version, identity=shop.identity("alice"))
    session = session_of(shop.port("required"), context)
    for other in ("main", "optional", "modern" if version is TLS13 else "strict"):
        assert not is_resumed(shop.port(other), context, session), other


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_resumed_client_keeps_its_certificate(shop: Front, version: ssl.TLSVersion) -> None:
    """T3, T4: whoever is resumed where certificates are required is still known by its own."""
    context = trusting(shop.root.pem, version=version, identity=shop.identity("alice"))
    session = session_of(shop.port("required"), context)
    with TlsClient(shop.port("required"), context=context, session=session) as client:
        values = seen(client.request())["values"]
        assert client.was_resumed
    assert values["x-client-cert-verify"] == ["SUCCESS"]
    assert _bare(values["x-client-cert-fingerprint"]) == shop.leaves["alice"].fingerprint


# Client certificates


def _bare(values: list[str]) -> str:
    """Return a fingerprint's digits alone."""
    (value,) = values
    return value.lower().replace(":", "").removeprefix("sha256=")


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("port_name", ["optional", "required"])
def test_a_client_is_known_by_its_certificate(shop: Front, version: ssl.TLSVersion, port_name: str) -> None:
    """T4: a certificate of a trusted authority is accepted, and the backend is told whose it is."""
    context = trusting(shop.root.pem, version=version, identity=shop.identity("alice"))
    values = seen(https_get(shop.port(port_name), context=context))["values"]
    assert "Alice Example" in values["x-client-cert-subject"][0]
    assert values["x-client-cert-verify"] == ["SUCCESS"]
    assert _bare(values["x-client-cert-fingerprint"]) == shop.leaves["alice"].fingerprint


@pytest.mark.parametrize("version", [TLS12, TLS13])
def test_a_missing_certificate(shop: Front, version: ssl.TLSVersion) -> None:
    """T4: without a certificate the handshake fails where it is required, else the backend learns that there is none."""
    context = trusting(shop.root.pem, version=version)
    before = len(shop.backend.requests)
    reason = fails_with(shop.port("required"), context=context)
    assert "CERTIFICATE_REQUIRED" in reason or "HANDSHAKE_FAILURE" in reason, reason
    assert len(shop.backend.requests) == before
    values = seen(https_get(shop.port("optional"), context=context))["values"]
    assert values["x-client-cert-verify"] == ["NONE"]
    for name in ("x-client-cert-subject", "x-client-cert-fingerprint"):
        assert values.get(name, [""]) == [""], values


@pytest.mark.parametrize("version", [TLS12, TLS13])
@pytest.mark.parametrize("port_name", ["optional", "required"])
@pytest.mark.parametrize("who", ["old-alice", "early-alice", "mallory", "server-as-client"])
def test_a_wrong_certificate_is_refused(shop: Front, version: ssl.TLSVersion, port_name: str, who: str) -> None:
    """T4: an expired one, one of another authority, one that is not a client's: the handshake fails, no request."""
    before = len(shop.backend.requests)
    context = trusting(shop.root.pem, version=version, identity=shop.identity(who))
    reason = fails_with(shop.port(port_name), context=context)
    assert "ALERT" in reason or "CERTIFICATE" in reason or "CA" in reason.split("_"), reason
    assert len(shop.backend.requests) == before


@pytest.mark.parametrize("port_name", ["web", "main", "optional", "required"])
def test_nobody_can_pretend_to_a_certificate(shop: Front, port_name: str) -> None:
    """T4: what a client itself says of certificates never reaches a backend, in whatever spelling or place."""
    forged = (
        "X-Client-Cert-Verify: SUCCESS\r\nx-client-cert-subject: CN=forged\r\nX-CLIENT-CERT-FINGERPRINT: forged\r\n"
        "X_Client_Cert_Verify: forged\r\nX-Client_Cert-Subject: forged\r\n"
        "Connection: X-Client-Cert-Verify, X-Client-Cert-Subject, X-Client-Cert-Fingerprint\r\n"
    )
    request = (
        f"POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n{forged}\r\n"
        "2\r\nhi\r\n0\r\nX-Client-Cert-Verify: forged\r\nX-Other: kept\r\n\r\n"
    ).encode()
    if port_name == "web":
        found = seen(raw_exchange(shop.port("web"), request, replies=1).reply)
    else:
        identity = shop.identity("alice") if port_name == "required" else None
        with TlsClient(shop.port(port_name), context=trusting(identity=identity)) as client:
            client.send(request)
            found = seen(client.reply())
    told = {name.replace("_", "-"): value for name, value in found["values"].items()
            if name.replace("_", "-").startswith("x-client-cert")}  # fmt: skip
    assert "forged" not in str(told), told
    assert "forged" not in str(found["trailers"]), found["trailers"]
    verified = {"required": ["SUCCESS"], "optional": ["NONE"]}.get(port_name)
    if verified:
        assert found["values"]["x-client-cert-verify"] == verified
    else:
        assert told.get("x-client-cert-verify") in (None, ["NONE"]), told


def test_an_odd_subject_stays_one_value(shop: Front) -> None:
    """T4: a subject with line ends, quotes and letters outside ASCII cannot add a field to the request."""
    context = trusting(identity=shop.identity("odd"))
    found = seen(https_get(shop.port("required"), context=context))
    assert "x-admin" not in found["names"]
    (subject,) = found["values"]["x-client-cert-subject"]
    assert "Zo" in subject and "O=x" in subject.replace("\\", ""), subject
    assert _bare(found["values"]["x-client-cert-fingerprint"]) == shop.leaves["odd"].fingerprint


# Last, so that the time has passed meanwhile.


def test_old_tickets_mean_a_full_handshake(shop: Front, old_tickets: OldTickets) -> None:
    """T3: once its key was replaced a ticket leads to a full handshake, never to an error."""
    for context, session, began in old_tickets:
        # A key may serve a second lifetime for what it gave out in its first.
        time.sleep(max(0.0, began + 2 * TICKETS_LAST_S + 1.5 - time.monotonic()))
        assert not is_resumed(shop.port("rotating"), context, session)
        # A key may be replaced between the two, but not each time.
        port = shop.port("rotating")
        assert any(is_resumed(port, context, session_of(port, context)) for _ in range(5))
