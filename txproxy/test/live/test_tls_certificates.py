"""Which certificates and keys are accepted at the start, and how keys stay secret."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from .client import DEADLINE_S
from .helpers import TXPROXY, get, run_command
from .peers import Backend, ProxyProcess, fixed
from .tls_client import TlsClient, https_get, trusting
from .tls_front import closing_get, front, listener, needed, one_front, s_client, section
from .tls_identities import Issuer, pair, replace


def _bad_pairs(directory: Path, issuer: Issuer) -> dict[str, str]:
    """Return pairs that cannot be served, by what is wrong with them."""
    made = {
        "expired": issuer.leaf("expired.example", days=(-20, -1)).save(directory, "expired"),
        "early": issuer.leaf("early.example", days=(1, 20)).save(directory, "early"),
        "mismatch": issuer.leaf("mismatch.example").save(directory, "mismatch"),
        "missing": pair(directory, "missing"),
        "garbage": pair(directory, "garbage"),
    }
    replace(directory / "mismatch.key", issuer.leaf("other.example").key)
    replace(directory / "garbage.pem", b"no certificate\n")
    replace(directory / "garbage.key", b"no key\n")
    return made


def test_bad_certificates_among_good_ones(tmp_path: Path) -> None:
    """D9, D16: check names every bad pair by file and line; a start serves the others and logs the bad ones."""
    issuer = Issuer()
    bad = _bad_pairs(tmp_path, issuer)
    good = [issuer.leaf(f"{stem}.example").save(tmp_path, stem) for stem in ("one", "two")]
    with Backend() as backend:
        config = front(backend.address, listener("https", 'tls = "main"'),
                       section("main", [good[0], *bad.values(), good[1]]))  # fmt: skip
        path = tmp_path / "proxy.toml"
        path.write_text(config)
        checked = run_command([*TXPROXY, "check", "-c", str(path)])
        said = checked.stdout + checked.stderr
        assert checked.returncode == 1, said
        for number, stem in enumerate(bad, 1):
            lines = [line for line in said.splitlines() if f"certificates[{number}]" in line]
            assert len(lines) >= 1 and f"{path}:" in lines[0], (stem, said)
            assert f"{stem}.pem" in "".join(lines) or f"{stem}.key" in "".join(lines), (stem, lines)
        assert "certificates[0]" not in said and "certificates[6]" not in said, said
        assert "expired" in said
        with ProxyProcess(config) as proxy:
            context = trusting(issuer.pem)
            for name in ("one.example", "two.example"):
                assert https_get(proxy.port, name=name, context=context).status == 200
            text = proxy.error_text
            for stem in bad:
                assert any("#error" in line and f"{stem}." in line for line in text.splitlines()), (stem, text)
            with TlsClient(proxy.port, "expired.example") as client:
                assert client.tls.getpeercert(True) is not None
                assert client.request(host="expired.example").status == 200


def test_nothing_but_bad_certificates(tmp_path: Path) -> None:
    """D9: with an expired certificate alone there is nothing to serve: the start fails and says why, in one line."""
    config = one_front("127.0.0.1:1", Issuer().leaf("a.example", days=(-20, -1)).save(tmp_path, "expired"))
    with pytest.raises(AssertionError) as failure:
        ProxyProcess(config)
    text = str(failure.value)
    assert "expired.pem" in text and "expired" in text.replace("expired.pem", ""), text
    assert "Traceback" not in text, text
    assert "exit 1" in text, text


def test_keys_that_others_can_read(tmp_path: Path) -> None:
    """D16: a key file that others can read is served with a warning that names it; one that is private without."""
    issuer = Issuer()
    pairs = [issuer.leaf(f"{stem}.example").save(tmp_path, stem, mode)
             for stem, mode in (("private", 0o600), ("world", 0o644), ("group", 0o640))]  # fmt: skip
    with Backend() as backend:
        config = front(backend.address, listener("https", 'tls = "main"'), section("main", pairs))
        with ProxyProcess(config) as proxy:
            warnings = [line for line in proxy.error_text.splitlines() if "#warn" in line and ".key" in line]
            assert any("world.key" in line for line in warnings), proxy.error_text
            assert not any("private.key" in line for line in warnings), warnings
            assert https_get(proxy.port, name="world.example").status == 200


def _openssl(*arguments: str | Path) -> bytes:
    return subprocess.run(  # the command line is the test's own
        [needed("openssl"), *map(str, arguments)], capture_output=True, check=True, timeout=DEADLINE_S
    ).stdout


def _self_signed(directory: Path, stem: str, *key: str) -> None:
    """Have openssl make a key, and a certificate that is signed by it."""
    (directory / f"{stem}.key").write_bytes(_openssl(*key))
    (directory / f"{stem}.key").chmod(0o600)
    name = f"{stem}.example"
    _openssl("req", "-x509", "-new", "-key", directory / f"{stem}.key", "-subj", f"/CN={name}", "-days", "60",
             "-addext", f"subjectAltName=DNS:{name}", "-out", directory / f"{stem}.pem")  # fmt: skip


def test_files_as_tools_write_them(tmp_path: Path) -> None:
    """Keys of all the forms that openssl writes, key and chain in one file, text around PEM, CRLF, a root at the end."""
    _self_signed(tmp_path, "parameters", "ecparam", "-genkey", "-name", "prime256v1")
    _self_signed(tmp_path, "traditional", "genrsa", "-traditional", "2048")
    _self_signed(tmp_path, "modern", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-384")
    assert b"EC PARAMETERS" in (tmp_path / "parameters.key").read_bytes()
    assert b"BEGIN RSA PRIVATE" in (tmp_path / "traditional.key").read_bytes()
    root = Issuer()
    below = Issuer("Below", root)
    for stem in ("text", "crlf", "rooted", "both"):
        below.leaf(f"{stem}.example").save(tmp_path, stem)
    text = tmp_path / "text.pem"
    text.write_bytes(
        b"Bag Attributes\n    friendlyName: x\n" + _openssl("x509", "-text", "-in", text) + below.chain + b"\n"
    )
    for name in ("crlf.pem", "crlf.key"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    rooted, both = tmp_path / "rooted.pem", tmp_path / "both.pem"
    rooted.write_bytes(rooted.read_bytes() + root.pem)
    both.write_bytes((tmp_path / "both.key").read_bytes() + both.read_bytes())
    both.chmod(0o600)
    (tmp_path / "both.key").unlink()
    stems = ["parameters", "traditional", "modern", "text", "crlf", "rooted"]
    pairs = [*(pair(tmp_path, stem) for stem in stems), f'{{ chain = "{both}", key = "{both}" }}']
    with Backend() as backend:
        config = front(backend.address, listener("https", 'tls = "main"'), section("main", pairs))
        path = tmp_path / "proxy.toml"
        path.write_text(config)
        checked = run_command([*TXPROXY, "check", "-c", str(path)])
        assert checked.returncode == 0, checked.stdout + checked.stderr
        with ProxyProcess(config) as proxy:
            assert "#error" not in proxy.error_text
            for stem in (*stems, "both"):
                shown = s_client(proxy.port, "-servername", f"{stem}.example", say=closing_get(f"{stem}.example"))
                assert f"subject=CN = {stem}.example" in shown.text, shown.text
                assert "HTTP/1.1 200" in shown.text, shown.text
            for stem in ("text", "crlf", "rooted", "both"):
                assert https_get(proxy.port, name=f"{stem}.example", context=trusting(root.pem)).status == 200


_ASKING = """
import ctypes

def pick(facts):
    # 3: PR_GET_DUMPABLE. Only the process itself can ask.
    return {0: "undumpable"}.get(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0), "dumpable")
"""


def test_keys_stay_out_of_core_dumps(tmp_path: Path) -> None:
    """D16: a process that holds private keys cannot be dumped: a function within it asks the kernel."""
    one = Issuer().leaf("a.example").save(tmp_path, "a")
    with Backend(fixed(body=b"dumpable")) as dumpable, Backend(fixed(body=b"undumpable")) as undumpable:
        config = (
            listener("https", 'tls = "main"')
            + listener("web")
            + section("main", [one])
            + '[[route]]\nname = "all"\nchoose = "site:pick"\n'
            + f'[cluster.dumpable]\nbackends = [{{ address = "{dumpable.address}" }}]\n'
            + f'[cluster.undumpable]\nbackends = [{{ address = "{undumpable.address}" }}]\n'
        )
        with ProxyProcess(config, files={"site.py": _ASKING}) as proxy:
            assert https_get(proxy.ports["https"]).body == b"undumpable"
            assert get(proxy.ports["web"]).body == b"undumpable"
