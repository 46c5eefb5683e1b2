"""A scanner of TLS servers, sslyze, judges the presets by Mozilla's published lists."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from .client import DEADLINE_S
from .peers import PROJECT, Backend, ProxyProcess
from .tls_front import Shown, front, listener, s_client, section
from .tls_identities import Issuer, Leaf, pair

# sslyze wants an older cryptography than we do, so that it lives in an environment of its own; .ci/run makes it.
_OWN = PROJECT / ".cache" / "sslyze" / "bin" / "sslyze"
_MORE = ("--early_data", "--resum", "--http_headers")


class Scan(NamedTuple):
    """What sslyze found."""

    compliant: bool
    """With the list of Mozilla's that it was asked about."""
    verdict: str
    results: dict[str, Any]
    """Of each of its checks."""

    def suites(self, version: str) -> set[str]:
        """Names of the suites that were agreed to, such as of ``tls_1_2``."""
        found = self.results[f"{version}_cipher_suites"]["result"]["accepted_cipher_suites"]
        return {each["cipher_suite"]["name"] for each in found}

    def result(self, check: str) -> dict[str, Any]:
        """What a check found."""
        found: dict[str, Any] = self.results[check]["result"]
        return found


class Scanned(NamedTuple):
    """A proxy that has been scanned."""

    proxy: ProxyProcess
    leaves: dict[str, Leaf]
    scans: dict[tuple[str, str], Scan]
    """By listener and Mozilla's name of a list."""
    lists: dict[str, dict[str, Any]]
    """Mozilla's, by name."""


def _sslyze() -> str:
    found = shutil.which("sslyze") or (str(_OWN) if _OWN.exists() else None)
    if found is None:
        pytest.skip(f"sslyze is not installed: python3 -m venv {_OWN.parents[1]} && {_OWN.parent}/pip install sslyze")
    return found


def _scan(sslyze: str, port: int, profile: str, directory: Path) -> Scan:
    path = directory / f"{port}-{profile}.json"
    # It is told to trust the tests' own authority; nothing else is exempted from what it looks at.
    done = subprocess.run(  # the command line is the test's own
        [sslyze, f"--mozilla_config={profile}", *_MORE, "--certinfo_ca_file", str(directory / "root.pem"),
         "--sni", "scan.example", "--json_out", str(path), f"127.0.0.1:{port}"],
        capture_output=True, text=True, timeout=4 * DEADLINE_S, check=False,
    )  # fmt: skip
    assert path.exists(), done
    (server,) = json.loads(path.read_text())["server_scan_results"]
    assert server["scan_status"] == "COMPLETED", done.stdout
    _, found, verdict = done.stdout.partition("COMPLIANCE AGAINST")
    assert found and "did not run" not in verdict, done.stdout
    return Scan(done.returncode == 0 and "OK - Compliant" in verdict, verdict, server["scan_result"])


def _mozilla(sslyze: str) -> dict[str, dict[str, Any]]:
    (path,) = Path(sslyze).resolve().parents[1].glob("lib/python*/site-packages/sslyze/mozilla_tls_profile/*.json")
    lists: dict[str, dict[str, Any]] = json.loads(path.read_text())["configurations"]
    return lists


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scanned]:
    """Listeners with the presets as they are, and the same with single settings changed; three scans at once."""
    sslyze, directory = _sslyze(), tmp_path_factory.mktemp("scan")
    root = Issuer()
    below = Issuer("Below", root)
    leaves = {"ecdsa": below.leaf("scan.example"), "rsa": below.leaf("scan.example", kind="rsa")}
    (directory / "root.pem").write_bytes(root.pem)
    for stem, leaf in leaves.items():
        leaf.save(directory, stem)
        (directory / f"{stem}.ocsp").write_bytes(below.ocsp_reply(leaf))
    ecdsa, rsa = (pair(directory, stem, str(directory / f"{stem}.ocsp")) for stem in leaves)
    with Backend() as backend:
        config = front(
            backend.address,
            *(listener(name, f'tls = "{name}"') for name in ("intermediate", "modern", "one-suite", "old-only")),
            section("intermediate", [ecdsa, rsa]),
            section("modern", [ecdsa], 'preset = "modern"'),
            section("one-suite", [ecdsa, rsa], 'ciphers = "ECDHE-RSA-AES256-GCM-SHA384"'),
            section("old-only", [ecdsa], 'max_version = "1.2"'),
            route='hsts = "max-age=63072000"',
        )
        with ProxyProcess(config) as proxy:
            asked = [("intermediate", "intermediate"), ("modern", "modern"), ("intermediate", "modern")]
            with ThreadPoolExecutor() as pool:
                scans = pool.map(lambda each: _scan(sslyze, proxy.ports[each[0]], each[1], directory), asked)
            yield Scanned(proxy, leaves, dict(zip(asked, scans, strict=True)), _mozilla(sslyze))


@pytest.mark.parametrize("preset", ["intermediate", "modern"])
def test_presets_are_those_of_mozilla(scanned: Scanned, preset: str) -> None:
    """T2: sslyze has no objection to a preset by Mozilla's list of that name, not even to the certificates."""
    scan = scanned.scans[preset, preset]
    assert scan.compliant, scan.verdict


def test_the_scanner_can_object(scanned: Scanned) -> None:
    """A judge that takes everything proves nothing: TLS 1.2 is no part of Mozilla's modern list."""
    scan = scanned.scans["intermediate", "modern"]
    assert not scan.compliant and "TLSv1.2" in scan.verdict, scan.verdict


@pytest.mark.parametrize("preset", ["intermediate", "modern"])
def test_presets_have_all_that_mozilla_lists(scanned: Scanned, preset: str) -> None:
    """T2: every suite and curve of the list is served to a client that knows no other, not only some of them."""
    scan, mozilla = scanned.scans[preset, preset], scanned.lists[preset]
    assert scan.suites("tls_1_2") == set(mozilla["ciphers"]["iana"])
    assert scan.suites("tls_1_3") == set(mozilla["ciphersuites"])
    curves = {each["name"] for each in scan.result("elliptic_curves")["supported_curves"]}
    assert curves == {{"prime256v1": "secp256r1"}.get(name, name) for name in mozilla["tls_curves"]}
    for version in ("ssl_2_0", "ssl_3_0", "tls_1_0", "tls_1_1"):
        assert not scan.result(f"{version}_cipher_suites")["is_tls_version_supported"], version


@pytest.mark.parametrize("preset", ["intermediate", "modern"])
def test_old_weaknesses_are_not_there(scanned: Scanned, preset: str) -> None:
    """T2: no renegotiation by the client, no compression, no early data, no Heartbleed, ROBOT or CCS injection."""
    scan = scanned.scans[preset, preset]
    assert not scan.result("session_renegotiation")["is_vulnerable_to_client_renegotiation_dos"]
    assert scan.result("session_renegotiation")["supports_secure_renegotiation"]
    assert not scan.result("tls_compression")["supports_compression"]
    assert not scan.result("tls_1_3_early_data")["supports_early_data"]
    assert not scan.result("heartbleed")["is_vulnerable_to_heartbleed"]
    assert not scan.result("openssl_ccs_injection")["is_vulnerable_to_ccs_injection"]
    assert scan.result("robot")["robot_result"].startswith("NOT_VULNERABLE"), scan.result("robot")
    assert scan.result("tls_fallback_scsv")["supports_fallback_scsv"]
    assert scan.result("tls_extended_master_secret")["supports_ems_extension"]


def test_all_resumptions_by_ticket_succeed(scanned: Scanned) -> None:
    """T3: sslyze comes back five times and is resumed five times."""
    found = scanned.scans["intermediate", "intermediate"].result("session_resumption")
    assert found["tls_ticket_resumption_result"] == "FULLY_SUPPORTED", found


def test_both_certificates_are_shown_with_chain_and_staple(scanned: Scanned) -> None:
    """T1: the scanner sees an RSA and an ECDSA certificate, chains in order without the root, OCSP replies it trusts."""
    deployments = scanned.scans["intermediate", "intermediate"].result("certificate_info")["certificate_deployments"]
    shown = {each["received_certificate_chain"][0]["as_pem"].strip() for each in deployments}
    assert shown == {leaf.chain.decode().split("-----END")[0] + "-----END CERTIFICATE-----"
                     for leaf in scanned.leaves.values()}  # fmt: skip
    for each in deployments:
        assert each["received_chain_has_valid_order"], each
        assert not each["received_chain_contains_anchor_certificate"], each
        said, leaf = each["ocsp_response"] or {}, each["received_certificate_chain"][0]
        assert (said.get("certificate_status"), said.get("serial_number")) == ("GOOD", leaf["serial_number"]), said


def test_hsts_is_long_enough(scanned: Scanned) -> None:
    """T9: the scanner finds the field that browsers are told to stay with https by, as long as Mozilla wants it."""
    found = scanned.scans["intermediate", "intermediate"].result("http_headers")
    assert found["http_error_trace"] is None, found
    assert found["strict_transport_security_header"]["max_age"] >= scanned.lists["intermediate"]["hsts_min_age"]


@pytest.mark.parametrize(
    ("version", "option", "suites"),
    [
        ("-tls1_2", "-cipher", ("ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-AES256-GCM-SHA384")),
        ("-tls1_3", "-ciphersuites", ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384")),
    ],
)
def test_the_server_chooses_the_suite(scanned: Scanned, version: str, option: str, suites: tuple[str, str]) -> None:
    """T2: in whatever order a client lists its suites, the same one is taken."""
    port = scanned.proxy.ports["intermediate"]
    chosen = {_suite(s_client(port, version, option, ":".join(order))) for order in (suites, suites[::-1])}
    assert len(chosen) == 1 and chosen <= set(suites), chosen


def _suite(shown: Shown) -> str:
    return shown.text.partition("Cipher is ")[2].split("\n", 1)[0]


def test_settings_override_the_preset(scanned: Scanned) -> None:
    """``ciphers`` takes the place of the preset's suites of TLS 1.2, and max_version takes 1.3 away."""
    ports = scanned.proxy.ports
    assert _suite(s_client(ports["one-suite"], "-tls1_2")) == "ECDHE-RSA-AES256-GCM-SHA384"
    assert _suite(s_client(ports["one-suite"], "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")) == "(NONE)"
    assert _suite(s_client(ports["one-suite"], "-tls1_3")).startswith("TLS_")
    assert s_client(ports["old-only"], "-tls1_3").alert == 70
    assert s_client(ports["old-only"]).is_of(scanned.leaves["ecdsa"])
