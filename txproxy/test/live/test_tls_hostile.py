"""Clients that speak TLS wrongly, too much, or not at all: nobody else notices, and nothing is left of them."""

from __future__ import annotations

import contextlib
import random
import re
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from .helpers import MIB
from .peers import Backend, ProxyProcess
from .tls_client import HandshakeFailed, TlsClient, https_get, trusting
from .tls_front import closing_get, front, listener, s_client, section
from .tls_identities import Issuer, Leaf
from .tls_records import (
    ALERT,
    DATA,
    HANDSHAKE,
    ClientRecords12,
    ClientRecords13,
    alpn_extension,
    answer_to,
    client_hello,
    extension,
    name_extension,
    record,
    records,
)

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
_ASK = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n"


class Besieged(NamedTuple):
    """The proxy under attack."""

    proxy: ProxyProcess
    backend: Backend
    clients: Issuer
    """Signs certificates of clients."""
    directory: Path

    def port(self, name: str = "https") -> int:
        """Port of a listener."""
        return self.proxy.ports[name]

    def assert_serving(self) -> None:
        """Fail if a well-behaved client is not served."""
        assert https_get(self.port(), "/well-behaved").status == 200


@pytest.fixture(scope="module")
def besieged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Besieged]:
    """Certificates for three names; listeners of a usual kind, strict, and for known clients only."""
    directory = tmp_path_factory.mktemp("besieged")
    issuer, clients = Issuer(), Issuer("Clients")
    pairs = [issuer.leaf(name).save(directory, stem)
             for stem, name in (("default", "default.example"), ("a", "a.example"), ("b", "*.b.example"))]  # fmt: skip
    (directory / "clients.pem").write_bytes(clients.pem)
    ca = f'client_auth = "required"\nclient_ca = "{directory / "clients.pem"}"'
    with Backend() as backend:
        config = front(
            backend.address,
            listener("https", 'tls = "main"'),
            listener("strict", 'tls = "strict"'),
            listener("known", 'tls = "known"'),
            section("main", pairs),
            section("strict", pairs, "strict_sni = true"),
            section("known", pairs, ca),
        )
        with ProxyProcess(config) as proxy:
            one = Besieged(proxy, backend, clients, directory)
            yield one
            one.assert_serving()
        assert backend.violations == []
        assert {request.target for request in backend.requests} <= {b"/", b"/well-behaved"}


# What is no hello


_ODD_NAMES = (
    b"",
    b".",
    b"..",
    b"a.example\0",
    b"a.example\0.evil.example",
    b"\0a.example",
    b" a.example",
    b"a.example ",
    b"a.example\n2026-01-01T00:00:00+0000 forged line",
    b"a..example",
    b".a.example",
    b"*.b.example",
    b"*",
    b"-.b.example-",
    b"\xff\xfe\x00\x80",
    "а.example".encode(),
    b"a.example:443",
    b"127.0.0.1",
    b"[::1]",
    b"../../etc/passwd",
    b"{reason}%s%n",
    b"x" * 255,
    b"x." * 127 + b"x",
    b"x" * 60_000,
    b"a." * 30_000,
)


@pytest.mark.parametrize("number", range(len(_ODD_NAMES)))
def test_odd_names(besieged: Besieged, number: int) -> None:
    """T1: a name that is none gets the default certificate or an alert, and where names are asked for an alert."""
    name = _ODD_NAMES[number]
    hello = records(HANDSHAKE, client_hello(name_extension(name)))
    answer = answer_to(besieged.port(), hello)
    assert answer.alert > 0 or answer.ended or answer.names == ["default.example"], answer
    answer = answer_to(besieged.port("strict"), hello)
    assert answer.alert > 0 or answer.ended, answer
    assert "\n2026-01-01T00:00:00+0000 forged" not in besieged.proxy.error_text


def test_odd_lists_of_names(besieged: Besieged) -> None:
    """T1: two names, or names of an unknown kind, never get a certificate that is for neither."""
    for names in (name_extension(b"a.example", b"x.b.example"), name_extension(b"a.example", kind=7),
                  extension(0, b"\0\0"), extension(0, b""), extension(0, b"\xff\xff\0\0\1a"),
                  name_extension(b"a.example") + name_extension(b"x.b.example")):  # fmt: skip
        answer = answer_to(besieged.port(), records(HANDSHAKE, client_hello(names)))
        assert answer.alert > 0 or answer.ended or answer.names in (["default.example"], ["a.example"]), answer
    # The same by the same hand, without a fault: it is the names that were wrong.
    right = answer_to(besieged.port(), records(HANDSHAKE, client_hello(name_extension(b"a.example"))))
    assert right.names == ["a.example"]


def _wrong() -> dict[str, bytes]:
    """What a server of TLS cannot but refuse at once."""
    hello = client_hello(name_extension(b"a.example"))
    return {
        "http": _ASK,
        "http without end": b"POST / HTTP/1.1\r\nHost: " + b"a" * 5000,
        "http 2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0",
        "ssh": b"SSH-2.0-OpenSSH_9.2p1\r\n",
        "proxy protocol": b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n" + record(HANDSHAKE, hello),
        "zeros": bytes(4096),
        "ones": b"\xff" * 4096,
        "noise": random.Random(8).randbytes(4096),
        "ssl 2": b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10\x01\x00\x80" + bytes(40),
        "ssl 3": record(HANDSHAKE, hello.replace(b"\3\3", b"\3\0", 1), 0x0300),
        "data first": record(DATA, _ASK),
        "a fatal alert": record(ALERT, b"\x02\x28"),
        "a close alert": record(ALERT, b"\x01\x00"),
        "long alert": record(ALERT, b"\x01\x00" * 3000),
        "a server's hello": record(HANDSHAKE, b"\x02" + hello[1:]),
        "finished": record(HANDSHAKE, b"\x14\x00\x00\x0c" + bytes(12)),
        "unknown message": record(HANDSHAKE, b"\xee" + hello[1:]),
        "unknown record": record(99, hello),
        "record too long": struct.pack("!BHH", HANDSHAKE, 0x0303, 0xFFFF) + bytes(0xFFFF),
        "message too long": record(HANDSHAKE, b"\x01\xff\xff\xff" + hello[4:]),
        "lengths that lie": record(HANDSHAKE, hello[:38] + b"\xff\xff" + hello[40:]),
        "no suites": record(HANDSHAKE, client_hello(suites=b"")),
        "unknown suites": record(HANDSHAKE, client_hello(suites=b"\xfa\xfa\x00\xff")),
        "extension twice": record(HANDSHAKE, client_hello(extension(35, b""), extension(35, b""))),
        "no protocol": record(HANDSHAKE, client_hello(alpn_extension(b""))),
        "unknown protocol": record(HANDSHAKE, client_hello(alpn_extension(b"smtp"))),
        "tls 1.1": record(HANDSHAKE, hello.replace(b"\3\3", b"\3\2", 1)),
    }


@pytest.mark.parametrize("what", _wrong())
def test_what_is_no_tls(besieged: Besieged, what: str) -> None:
    """Plain HTTP, other protocols and broken hellos are refused at once; no backend hears of it, others are served."""
    before = len(besieged.backend.requests)
    answer = answer_to(besieged.port(), _wrong()[what])
    assert (answer.alert > 0 or answer.ended) and not answer.certificate, answer
    assert len(besieged.backend.requests) == before
    besieged.assert_serving()


def test_a_hello_cut_anywhere(besieged: Besieged) -> None:
    """A client that ends its sending anywhere within its hello is let go."""
    hello = records(HANDSHAKE, client_hello(name_extension(b"a.example")))
    for point in range(0, len(hello) - 1, 7):
        answer = answer_to(besieged.port(), hello[:point], half_close=True)
        assert answer.ended or answer.alert >= 0, (point, answer)
    besieged.assert_serving()


def test_a_hello_in_many_records(besieged: Besieged) -> None:
    """A hello may come in records of a byte each, and these in any number of packets (RFC 8446 section 5.1)."""
    hello = client_hello(name_extension(b"a.example"))
    assert answer_to(besieged.port(), records(HANDSHAKE, hello, 1)).names == ["a.example"]
    # An empty record is no way to keep a server busy.
    answer = answer_to(besieged.port(), record(HANDSHAKE, b"") * 5000 + record(HANDSHAKE, hello), half_close=True)
    assert answer.alert > 0 or answer.ended, answer


def test_a_large_hello(besieged: Besieged) -> None:
    """A hello of 60 KiB, by an extension that nobody knows or by a list of protocols, is served or refused."""
    hello = client_hello(name_extension(b"a.example"), extension(0xFEFE, bytes(60_000)))
    answer = answer_to(besieged.port(), records(HANDSHAKE, hello))
    assert answer.alert > 0 or answer.names == ["a.example"], answer
    offered = (*(f"{number:0>250}" for number in range(230)), "http/1.1")
    with contextlib.suppress(HandshakeFailed), TlsClient(besieged.port(), context=trusting(alpn=offered)) as client:
        assert client.tls.selected_alpn_protocol() == "http/1.1"
        assert client.request().status == 200
    with (
        contextlib.suppress(HandshakeFailed),
        TlsClient(besieged.port(), context=trusting(alpn=offered[:-1])) as client,
    ):
        assert client.tls.selected_alpn_protocol() is None
    besieged.assert_serving()


# Sessions and certificates


@pytest.mark.parametrize("ticket", [b"x", bytes(16), random.Random(3).randbytes(192), bytes(20_000)])
def test_an_invented_ticket(besieged: Besieged, ticket: bytes) -> None:
    """T3: a ticket that nobody gave out means a full handshake, never an error (RFC 5077 section 3.1)."""
    hello = client_hello(name_extension(b"a.example"), extension(35, ticket))
    answer = answer_to(besieged.port(), records(HANDSHAKE, hello))
    assert not answer.resumed and answer.names == ["a.example"], answer


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_a_forged_ticket(besieged: Besieged, tmp_path: Path, version: str) -> None:
    """T3: a ticket with one bit changed means a full handshake; data that comes too early is not asked for."""
    port, kept, forged = besieged.port(), tmp_path / "session", tmp_path / "forged"
    first = s_client(port, version, "-servername", "a.example", "-sess_out", str(kept), say=closing_get("a.example"))
    assert "Max Early Data: 0" in first.text or version == "-tls1_2", first.text
    # With TLS 1.3 there are several, and the last one is kept.
    *_, dump = re.findall(r"TLS session ticket:\n((?: +[0-9a-f]{4} - .*\n)+)", first.text)
    ticket = b"".join(bytes.fromhex(line.partition(" - ")[2][:47].replace("-", " ")) for line in dump.splitlines())
    session = ssl.PEM_cert_to_DER_cert(_relabelled(kept.read_text(), "SSL SESSION PARAMETERS", "CERTIFICATE"))
    for position in (0, len(ticket) // 2, len(ticket) - 1):
        changed = bytearray(ticket)
        changed[position] ^= 1
        assert session.count(ticket) == 1
        text = ssl.DER_cert_to_PEM_cert(session.replace(ticket, bytes(changed)))
        forged.write_text(_relabelled(text, "CERTIFICATE", "SSL SESSION PARAMETERS"))
        shown = s_client(
            port, version, "-servername", "a.example", "-sess_in", str(forged), say=closing_get("a.example")
        )
        assert "HTTP/1.1 200" in shown.text and "Reused, TLS" not in shown.text, shown.text
    shown = s_client(port, version, "-servername", "a.example", "-sess_in", str(kept), say=closing_get("a.example"))
    assert "Reused, TLS" in shown.text, shown.text


def _relabelled(text: str, label: str, other: str) -> str:
    return text.replace(f"BEGIN {label}", f"BEGIN {other}").replace(f"END {label}", f"END {other}")


@pytest.mark.parametrize("length", [90, 100, 1000])
def test_a_long_chain_of_a_client(besieged: Besieged, tmp_path: Path, length: int) -> None:
    """T4: a client may send a hundred certificates; it is believed or refused, and nobody waits for that."""
    above = besieged.clients
    issuers = [above]
    # The long one is only long: no server builds a path of it.
    for number in range(min(length, 100) - 1):
        issuers.append(Issuer(f"Below {number}", issuers[-1]))
    leaf = issuers[-1].leaf(common_name="deep", client=True)
    chain = leaf.chain * (length // 100 or 1)
    Leaf(leaf.certificate, leaf.private_key, chain).save(tmp_path, "deep")
    context = trusting(identity=(tmp_path / "deep.pem", tmp_path / "deep.key"))
    with contextlib.suppress(HandshakeFailed), TlsClient(besieged.port("known"), context=context) as client:
        client.send(_ASK)
        client.read_until(lambda: b"\r\n\r\n" in client.received or client.closed)
        assert b" 200 " in client.received or client.closed
        assert length < 1000 or not client.received
    besieged.assert_serving()
    alice = besieged.clients.leaf(common_name="alice", client=True)
    alice.save(tmp_path, "alice")
    context = trusting(identity=(tmp_path / "alice.pem", tmp_path / "alice.key"))
    assert https_get(besieged.port("known"), context=context).status == 200


# Too much


def test_renegotiation_is_refused(besieged: Besieged, tmp_path: Path) -> None:
    """T2: two thousand wishes for another handshake in one connection of TLS 1.2 get none, and cost the others nothing."""
    context = trusting(version=TLS12, ciphers="ECDHE-ECDSA-AES128-GCM-SHA256")
    context.keylog_filename = str(tmp_path / "keys")
    with TlsClient(besieged.port(), context=context) as client:
        made = ClientRecords12(tmp_path / "keys", client.handshake_received)
        client.send_raw(made.record(DATA, _ASK))
        assert client.reply().status == 200, "records by hand"
        size = besieged.proxy.rss_bytes()
        for _ in range(2000):
            if not client.send_raw(made.record(HANDSHAKE, client_hello(name_extension(b"a.example")))):
                break
        besieged.assert_serving()
        client.send_raw(made.record(DATA, _ASK))
        before = len(client.received)
        client.read_until(lambda: client.received[before:].endswith(b"\r\n\r\n") or client.closed)
        # Whether it goes on or ends, it is with the keys of the only handshake.
        assert client.closed or b" 200 " in client.received[before:]
    assert besieged.proxy.rss_bytes() < size + 4 * MIB


@pytest.mark.parametrize("wants_answer", [False, True])
def test_new_keys_without_end(besieged: Besieged, tmp_path: Path, wants_answer: bool) -> None:
    """Five thousand changes of keys in one connection of TLS 1.3, of which none is read, harm nobody."""
    context = trusting(version=TLS13)
    context.keylog_filename = str(tmp_path / "keys")
    with TlsClient(besieged.port(), context=context, receive_buffer=4096) as client:
        made = ClientRecords13(tmp_path / "keys")
        size = besieged.proxy.rss_bytes()
        for _ in range(50):
            assert client.send_raw(b"".join(made.key_update(wants_answer) for _ in range(100)))
        besieged.assert_serving()
        client.send_raw(made.record(DATA, _ASK))
        assert client.reply().status == 200
    assert besieged.proxy.rss_bytes() < size + 4 * MIB


def test_empty_records(besieged: Besieged, tmp_path: Path) -> None:
    """Records without data are allowed (RFC 8446 section 5.1), but not without end."""
    context = trusting(version=TLS13)
    context.keylog_filename = str(tmp_path / "keys")
    with TlsClient(besieged.port(), context=context) as client:
        made = ClientRecords13(tmp_path / "keys")
        client.send_raw(made.record(DATA, b"") + made.record(DATA, b"", padding=999) + made.record(DATA, _ASK[:9]))
        client.send_raw(made.record(DATA, _ASK[9:], padding=5000))
        assert client.reply().status == 200
        for _ in range(100):
            if not client.send_raw(b"".join(made.record(DATA, b"") for _ in range(100))):
                break
        besieged.assert_serving()
        client.send_raw(made.record(DATA, _ASK))
        before = len(client.received)
        client.read_until(lambda: len(client.received) > before or client.closed)
        assert client.closed or b" 200 " in client.received[before:]


def test_a_record_that_was_tampered_with(besieged: Besieged) -> None:
    """A record that does not decrypt ends its connection with an alert; of its bytes nothing reaches a backend."""
    for version in (TLS12, TLS13):
        with TlsClient(besieged.port(), context=trusting(version=version)) as client:
            sealed = bytearray(client.encrypted(b"GET /tampered HTTP/1.1\r\nHost: a.example\r\n\r\n"))
            sealed[-1] ^= 1
            client.send_raw(bytes(sealed))
            assert client.read_until_closed()
            assert not client.received and not client.was_clean, client.alert


def test_nothing_spins_when_nobody_speaks(besieged: Besieged) -> None:
    """After all that, with clients that neither read nor write nor left properly, the process sleeps."""
    with contextlib.ExitStack() as stack:
        for number in range(20):
            client = stack.enter_context(TlsClient(besieged.port(), receive_buffer=4096))
            if number % 4 == 1:
                client.send(b"GET / HTTP/1.1\r\nHost: a.example\r\n")
            elif number % 4 == 2:
                client.send_raw(client.encrypted(_ASK)[:-5])
            elif number % 4 == 3:
                client.socket.sendall(b"\x17\x03\x03")
        time.sleep(0.3)
        before = besieged.proxy.cpu_seconds()
        time.sleep(1)
        assert besieged.proxy.cpu_seconds() - before < 0.5
