"""TLS towards clients: which certificate they get, and what they agree on."""

from __future__ import annotations

import random
import shutil
import signal
import ssl
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .client import wait_for
from .helpers import MIB, TWISTD, Command, get
from .peers import Backend, ProxyProcess
from .test_forwarding import seen
from .tls_client import TlsClient, fails_with, https_get, trusting
from .tls_front import Front, closing_get, front, listener, needed, one_front, s_client, section
from .tls_identities import Issuer, pair

TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
IDN = "xn--bcher-kva.example"


@pytest.fixture(scope="module")
def shop() -> Iterator[Front]:
    """Certificates for default.example, a.example (two kinds of key), *.b.example and an international name."""
    # The path of a unix socket has to be short.
    directory = Path(tempfile.mkdtemp(prefix="txproxy-tls-"))
    root = Issuer("Servers")
    below = Issuer("Servers Below", root)
    leaves = {
        "default": below.leaf("default.example", "www.default.example"),
        "a": below.leaf("a.example", "www.a.example"),
        "a-rsa": below.leaf("a.example", "www.a.example", kind="rsa"),
        "b": below.leaf("*.b.example"),
        "idn": below.leaf(IDN),
    }
    for stem, leaf in leaves.items():
        leaf.save(directory, stem)
    (directory / "default.ocsp").write_bytes(below.ocsp_reply(leaves["default"]))
    pairs = [
        pair(directory, "default", str(directory / "default.ocsp")),
        *(pair(directory, stem) for stem in ("a", "a-rsa", "b", "idn")),
    ]
    with Backend() as backend:
        config = front(
            backend.address,
            *(listener(name, f'tls = "{name}"') for name in ("main", "strict", "modern")),
            listener("v6", 'tls = "main"', "[::1]:0"),
            listener("unix", 'tls = "main"', f"unix:{directory}/https.sock"),
            listener("web"),
            section("main", pairs),
            section("strict", pairs, "strict_sni = true"),
            section("modern", pairs, 'preset = "modern"'),
        )
        with ProxyProcess(config) as proxy:
            yield Front(proxy, backend, root, leaves, directory)
            assert backend.violations == []
    shutil.rmtree(directory)


# Which certificate


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.example", "a"),
        ("www.a.example", "a"),
        ("A.EXAMPLE", "a"),
        ("a.example.", "a"),
        ("y.b.example", "b"),
        ("Y.B.Example", "b"),
        ("b.example", "default"),  # A wildcard stands for exactly one label (RFC 6125 section 6.4.3).
        ("x.y.b.example", "default"),
        (IDN, "idn"),
        ("default.example", "default"),
        ("unknown.example", "default"),
        ("*.b.example", "default"),
        ("", "default"),
    ],
)
def test_the_name_chooses_the_certificate(shop: Front, name: str, stem: str) -> None:
    """T1, D9: openssl asks for a name and gets its certificate with its chain; the backend sees plain HTTP."""
    before = len(shop.backend.requests)
    asked = ("-servername", name) if name else ("-noservername",)
    host = name.rstrip(".") if name and "*" not in name else "127.0.0.1"
    shown = s_client(shop.port("main"), *asked, "-showcerts", say=closing_get(host, f"/{stem}"))
    # A client that offers both kinds of key may get either.
    wanted = [shop.leaves[each] for each in (stem, f"{stem}-rsa") if each in shop.leaves]
    assert any(shown.is_of(leaf) for leaf in wanted), shown.text
    assert shown.text.count("BEGIN CERTIFICATE") >= 2, "the intermediate certificate is missing"
    assert "HTTP/1.1 200" in shown.text, shown.text
    assert [request.target for request in shop.backend.wait_for_requests(before + 1)[before:]] == [f"/{stem}".encode()]


@pytest.mark.parametrize("name", ["unknown.example", "b.example", "x.y.b.example"])
def test_an_unknown_name_is_refused_where_that_is_asked_for(shop: Front, name: str) -> None:
    """T1: with strict_sni a name that no certificate is for gets the alert unrecognized_name (RFC 6066 section 3)."""
    shown = s_client(shop.port("strict"), "-servername", name)
    assert (shown.certificate, shown.alert) == ("", 112), shown.text
    for version in (TLS12, TLS13):
        reason = fails_with(shop.port("strict"), name, context=trusting(version=version))
        assert "UNRECOGNIZED_NAME" in reason, reason


def test_a_client_without_a_name_is_refused_where_names_are_asked_for(shop: Front) -> None:
    """T1: strict_sni excludes clients that name nothing, too, as HAProxy's strict-sni does."""
    shown = s_client(shop.port("strict"), "-noservername")
    assert (shown.certificate, shown.alert) == ("", 112), shown.text


def test_known_names_are_served_where_others_are_refused(shop: Front) -> None:
    """T1: strict_sni changes nothing for names that a certificate is for."""
    context = trusting(shop.root.pem)
    for name in ("a.example", "y.b.example", IDN, "default.example"):
        assert https_get(shop.port("strict"), name=name, context=context).status == 200


def test_curl_checks_names(shop: Front, tmp_path: Path) -> None:
    """T1: curl, which trusts the root only, takes each name's certificate as that name's and refuses others."""
    root = tmp_path / "root.pem"
    root.write_bytes(shop.root.pem)
    port = shop.port("main")

    def curl(host: str, *more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(  # the command line is the test's own
            [needed("curl"), "-sS", "--max-time", "30", "--cacert", str(root), "--connect-to", f"::127.0.0.1:{port}",
             *more, f"https://{host}/"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    for host in ("a.example", "A.Example", "y.b.example", "bücher.example", "default.example"):
        done = curl(host, "--data", host)
        assert (done.returncode, done.stdout) == (0, host), done
    for host in ("unknown.example", "b.example"):
        # 60: the certificate is not for this name.
        assert curl(host).returncode == 60
    done = curl("a.example", "--http1.0", "-I", "--tlsv1.3")
    assert "200 OK" in done.stdout, done


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_the_kind_of_key_is_the_clients_choice(shop: Front, version: str) -> None:
    """T1: with an RSA and an ECDSA certificate for a name, each client gets the one that it can check."""
    for algorithm, stem in (("RSA-PSS+SHA256:RSA+SHA256", "a-rsa"), ("ECDSA+SHA256", "a")):
        # An old client that knows one kind only says so in its ciphers too.
        shown = s_client(shop.port("main"), version, "-servername", "a.example", "-sigalgs", algorithm)
        assert shown.is_of(shop.leaves[stem]), shown.text
    # Names that have one kind of certificate are served to a client of the other by that one's absence: a failure.
    if version == "-tls1_2":
        shown = s_client(shop.port("main"), version, "-servername", "y.b.example", "-sigalgs", "RSA+SHA256")
        assert not shown.is_of(shop.leaves["b"]), shown.text


def test_other_kinds_of_address(shop: Front, tmp_path: Path) -> None:
    """T1: IPv6 and unix sockets serve the same certificates."""
    root = tmp_path / "root.pem"
    root.write_bytes(shop.root.pem)
    with TlsClient(shop.port("v6"), "y.b.example", context=trusting(shop.root.pem), address="::1") as client:
        assert client.request(host="y.b.example").status == 200
    path = str(shop.directory / "https.sock")
    shown = s_client("", "-unix", path, "-servername", "a.example", "-verify_return_error", "-CAfile", str(root),
                     say=closing_get("a.example"))  # fmt: skip
    assert "Verify return code: 0 (ok)" in shown.text and "HTTP/1.1 200" in shown.text, shown.text
    done = subprocess.run(  # the command line is the test's own
        [needed("curl"), "-sS", "--max-time", "30", "--cacert", str(root), "--unix-socket", path, "--data", "hi",
         "https://a.example/"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.stdout == "hi", done


def test_a_client_that_guesses_the_group_wrongly(shop: Front) -> None:
    """T1: a client that has to send its hello again (RFC 8446 section 4.1.4) gets the same certificate."""
    shown = s_client(shop.port("main"), "-tls1_3", "-servername", "y.b.example", "-groups", "P-521:P-256",
                     say=closing_get("y.b.example"))  # fmt: skip
    assert shown.is_of(shop.leaves["b"]) and "HTTP/1.1 200" in shown.text, shown.text
    assert s_client(shop.port("main"), "-tls1_3", "-groups", "P-521").certificate == ""


def test_an_ocsp_reply_is_stapled(shop: Front) -> None:
    """A client that asks for it gets the OCSP reply of the certificate (RFC 6066 section 8), others of theirs only."""
    for version in ("-tls1_2", "-tls1_3"):
        shown = s_client(shop.port("main"), version, "-servername", "default.example", "-status")
        assert "OCSP Response Status: successful" in shown.text and "Cert Status: good" in shown.text, shown.text
        shown = s_client(shop.port("main"), version, "-servername", "a.example", "-status")
        assert "no response sent" in shown.text, shown.text


def test_a_host_of_another_certificate_is_misdirected(shop: Front) -> None:
    """421 for a host whose certificate is another than the connection's (RFC 9110 section 15.5.20), and only then."""
    before = len(shop.backend.requests)
    for name, host, status in (
        ("a.example", "a.example", 200),
        ("a.example", "A.EXAMPLE", 200),
        ("a.example", "a.example:443", 200),
        ("a.example", "www.a.example", 200),
        ("a.example", "y.b.example", 421),
        ("a.example", IDN, 421),
        ("a.example", "unknown.example", 421),
        ("y.b.example", "z.b.example", 200),
        ("y.b.example", "b.example", 421),
        ("unknown.example", "other.example", 200),
        ("unknown.example", "www.default.example", 200),
        ("unknown.example", "a.example", 421),
        (None, "127.0.0.1", 200),
        (None, "default.example", 200),
        (None, "a.example", 421),
    ):
        with TlsClient(shop.port("main"), name) as client:
            reply = client.request(host=host)
            assert reply.status == status, (name, host)
            if status == 421:
                # The connection goes on for hosts that it is for.
                assert client.request(host=name or "default.example").status == 200
    # An RSA certificate of a name is no other certificate than an ECDSA one.
    with TlsClient(shop.port("main"), context=trusting(version=TLS12, ciphers="ECDHE-RSA-AES128-GCM-SHA256")) as client:
        assert client.request(host="www.a.example").status == 200
    assert b"421" not in {request.target for request in shop.backend.requests[before:]}

    def ends() -> list[str]:
        return [line["end"] for line in shop.proxy.access_lines() if line["status"] == 421]

    wait_for(lambda: len(ends()) >= 6, "six lines")
    assert ends() == ["misdirected"] * 6


def test_a_host_in_other_places_is_misdirected_too(shop: Front) -> None:
    """421 goes by the host that the request is for: that of an absolute target, however Host is spelled, or none."""
    for request, status in (
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\nHost: y.b.example\r\n\r\n", 421),
        (b"GET https://a.example/ HTTP/1.1\r\nHost: y.b.example\r\n\r\n", 200),
        (b"GET https://y.b.example/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 421),
        (b"GET http://y.b.example:443/ HTTP/1.1\r\nHost: a.example\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nHost: a.example.\r\n\r\n", 200),
        (b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", 421),
        (b"GET / HTTP/1.1\r\nX-Forwarded-Host: a.example\r\nHost: y.b.example\r\n\r\n", 421),
    ):
        with TlsClient(shop.port("main")) as client:
            client.send(request)
            assert client.reply().status == status, request


# Versions


def test_old_versions_are_refused(shop: Front) -> None:
    """T2: TLS 1.1 and older are refused; the modern preset takes 1.3 only; the log says what was spoken."""
    for version in ("-tls1", "-tls1_1"):
        shown = s_client(shop.port("main"), version, "-cipher", "DEFAULT@SECLEVEL=0")
        # 70: protocol_version.
        assert (shown.certificate, shown.alert) == ("", 70), shown.text
    shown = s_client(shop.port("modern"), "-tls1_2")
    assert (shown.certificate, shown.alert) == ("", 70), shown.text
    for listener_name, spoken, words in (("main", TLS12, "1.2"), ("main", TLS13, "1.3"), ("modern", TLS13, "1.3")):
        target = f"/version-{listener_name}-{words}"
        assert https_get(shop.port(listener_name), target, context=trusting(version=spoken)).status == 200

        def line(target: str = target) -> dict[str, Any]:
            (found,) = [each for each in shop.proxy.access_lines() if each["target"] == target] or [{}]
            return found

        wait_for(line, "a line of the access log")
        assert words in line()["tls"], line()


def test_backends_learn_that_it_was_https(shop: Front) -> None:
    """X-Forwarded-Proto, -Port and -Host tell a backend what the client used; a client cannot say otherwise."""
    with TlsClient(shop.port("main")) as client:
        values = seen(client.request(fields="X-Forwarded-Proto: http\r\n"))["values"]
    assert values["x-forwarded-proto"] == ["https"]
    assert values["x-forwarded-port"] == [str(shop.port("main"))]
    assert seen(get(shop.port("web")))["values"]["x-forwarded-proto"] == ["http"]


def test_alpn(shop: Front) -> None:
    """H1: a client that offers http/1.1 gets it, one that offers nothing gets 1.1 too; h2 alone is not agreed to."""
    for offered, agreed in ((("http/1.1",), "http/1.1"), (("h2", "http/1.1"), "http/1.1"), ((), None)):
        with TlsClient(shop.port("main"), context=trusting(alpn=offered)) as client:
            assert client.tls.selected_alpn_protocol() == agreed
            assert client.request().status == 200
    # RFC 7301 section 3.2 has an alert for it; many servers go on without.
    reason = fails_with(shop.port("main"), context=trusting(alpn=("unheard-of/9",)))
    assert reason == "" or "NO_APPLICATION_PROTOCOL" in reason


def test_many_connections_of_openssl(shop: Front) -> None:
    """``openssl s_time`` makes new and resumed connections for a second each, and none fails."""
    for kind in ("-new", "-reuse"):
        done = subprocess.run(  # the command line is the test's own
            [needed("openssl"), "s_time", "-connect", f"127.0.0.1:{shop.port('main')}", kind, "-time", "1", "-www", "/"],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0 and "connections in" in done.stdout, done
        assert "ERROR" not in done.stderr, done


def test_under_twistd(shop: Front) -> None:
    """twistd with its own reactor serves TLS as well."""
    leaf = shop.leaves["a"]
    config = one_front(shop.backend.address, leaf.save(shop.directory, "twistd")) + '[log]\naccess = ""\n'
    with Command([*TWISTD, "-n", "--pidfile=", "txproxy", "-c", "proxy.toml"], {"proxy.toml": config}) as command:
        data = random.Random(7).randbytes(MIB)
        context = trusting(shop.root.pem)
        assert https_get(command.port, context=context, method="POST", body=data).body == data
        reason = fails_with(command.port, context=trusting(version=TLS12, ciphers="AES128-SHA"))
        assert "HANDSHAKE_FAILURE" in reason, reason
        assert command.end(signal.SIGTERM) == 0
        assert "Traceback" not in command.text
