"""The configurations in ``bench/peers``: which parts of them count for a scenario, and what is filled in."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

PEERS = Path(__file__).resolve().parent / "peers"
# Mozilla's "Server Side TLS" 5.7, intermediate: up to TLS 1.2, and TLS 1.3.
CIPHERS = ":".join((
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305",
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305",
))  # fmt: skip
CIPHERSUITES = "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
# BoringSSL and Go have no finite-field Diffie-Hellman.
ECDHE_CIPHERS = tuple(name for name in CIPHERS.split(":") if name.startswith("ECDHE"))
OPTIONAL_PARTS = ("cache", "readcached", "counted", "bulk")


def go_name(cipher: str) -> str:
    """Return what Go calls a *cipher* of OpenSSL's up to TLS 1.2: the name in its registry."""
    name = cipher.replace("SA-", "SA-WITH-").replace("AES1", "AES_1").replace("AES2", "AES_2").replace("-", "_")
    return f"TLS_{name}_SHA256" if name.endswith("POLY1305") else f"TLS_{name}"


@dataclass(frozen=True, slots=True)
class Kind:
    """What a proxy is configured for.

    :ivar bare: it adds no fields to requests.
    :ivar tls: it speaks TLS with its clients.
    :ivar http2: it offers HTTP/2 to clients that speak TLS.
    :ivar parts: of ``OPTIONAL_PARTS``, those sections that are not left out; ``tcp`` for other configurations, by
        which bytes are passed through unread.
    """

    bare: bool = False
    tls: bool = False
    http2: bool = False
    parts: Collection[str] = ()

    def without(self) -> list[str]:
        """Return the sections that are left out."""
        words = ["plain" if self.tls else "tls", *(part for part in OPTIONAL_PARTS if part not in self.parts)]
        if self.bare:
            words.append("fields")
        if self.bare or "cache" not in self.parts:
            words.append("cachefields")
        return words

    def values(self) -> dict[str, object]:
        """Return what stands for the names that do not depend on the proxy."""
        protocols = ["h2", "http/1.1"] if self.http2 else ["http/1.1"]
        go_ciphers = [go_name(cipher) for cipher in ECDHE_CIPHERS]
        return {
            "SCHEME": "https" if self.tls else "http",
            "CIPHERS": CIPHERS,
            "CIPHERSUITES": CIPHERSUITES,
            "ECDHE_CIPHERS": ":".join(ECDHE_CIPHERS),
            "GO_CIPHERS": " ".join(go_ciphers),
            "GO_CIPHERS_LIST": ", ".join(go_ciphers),
            "HTTP2": " http2" if self.http2 else "",
            "ALPN": ",".join(protocols),
            "ALPN_WORDS": " ".join(protocols),
            "ALPN_LIST": "[" + ", ".join(f'"{each}"' for each in protocols) + "]",
            "CODEC": "AUTO" if self.http2 else "HTTP1",
            "FIELDS": "false" if self.bare else "true",
        }


def filled(text: str, values: Mapping[str, object], without: Iterable[str] = ()) -> str:
    """Return *text* with each ``@NAME@`` replaced.

    Dollar signs and braces are syntax of their own in the files of most proxies, hence the at signs.

    :param without: words; for each the lines from one that begins with ``# [WORD]`` to ``# [end]`` are left out.
    """
    for word in without:
        text = re.sub(rf"^[ \t]*# \[{word}\].*?# \[end\]\n", "", text, flags=re.MULTILINE | re.DOTALL)
    for name, value in values.items():
        text = text.replace(f"@{name}@", str(value))
    return text


def fill(template: str, target: Path, values: Mapping[str, object], without: Iterable[str] = ()) -> Path:
    """Write ``bench/peers/TEMPLATE``, :func:`filled`, to *target*."""
    target.write_text(filled((PEERS / template).read_text(), values, without))
    return target


def for_tcp(template: str) -> str:
    """Return the template that stands for *template* where bytes are passed through."""
    stem, dot, suffix = template.rpartition(".")
    return f"{stem}.tcp{dot}{suffix}"
