"""How TLS is spoken to clients: versions, ciphers and groups, by the presets of Mozilla's guidelines.

Source: Mozilla's "Server Side TLS", version 5.7, whose lists these are; the order is ours to enforce, so that of two
ciphers that a client offers the one that stands first here is taken.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from OpenSSL import SSL

from txproxy.tls.openssl import set_groups

_TLS13 = b"TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256"
_INTERMEDIATE = (
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:"
    "ECDHE-RSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:"
    "DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:DHE-RSA-CHACHA20-POLY1305"
)
_GROUPS = ("X25519MLKEM768", "X25519", "prime256v1", "secp384r1")
_VERSIONS = {"1.2": SSL.TLS1_2_VERSION, "1.3": SSL.TLS1_3_VERSION}
_FFDHE2048 = Path(__file__).with_name("ffdhe2048.pem")
"""The group of RFC 7919 appendix A.1, of the size that Mozilla asks for: a known one has no room for a trapdoor."""

_OPTIONS = (
    SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_RENEGOTIATION  # A client could have us sign again and again on one connection.
    | SSL.OP_CIPHER_SERVER_PREFERENCE
    | SSL.OP_SINGLE_DH_USE
    | SSL.OP_SINGLE_ECDH_USE
)


class Profile(NamedTuple):
    """Which TLS a section of the configuration allows."""

    min_version: str = "1.2"
    max_version: str = "1.3"
    preset: str = "intermediate"
    ciphers: str = ""
    """OpenSSL's list for TLS 1.2 in place of the preset's."""
    tickets: bool = True
    ticket_lifetime_s: float = 43200.0

    def apply(self, context: SSL.Context) -> None:
        """Set up a context of a server.

        :raises SSL.Error: if the list of ciphers names none that OpenSSL knows.
        """
        lowest = "1.3" if self.preset == "modern" else self.min_version
        context.set_min_proto_version(_VERSIONS[lowest])
        context.set_max_proto_version(_VERSIONS[self.max_version])
        context.set_options(_OPTIONS if self.tickets else _OPTIONS | SSL.OP_NO_TICKET)
        # Idle connections shall not hold OpenSSL's buffers of 34 KiB; as in nginx.
        context.set_mode(SSL.MODE_RELEASE_BUFFERS)
        context.set_tls13_ciphersuites(_TLS13)
        if lowest != "1.3":
            context.set_cipher_list((self.ciphers or _INTERMEDIATE).encode())
            context.load_tmp_dh(bytes(_FFDHE2048))
        set_groups(context, *_GROUPS)
        # Sessions live in tickets only: a cache would be memory that clients can fill.
        context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
        context.set_timeout(max(1, int(min(self.ticket_lifetime_s, _WEEK_S))))


def problem_of_ciphers(ciphers: str) -> str:
    """Return what is wrong with a list of ciphers in OpenSSL's syntax, or an empty text."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    try:
        context.set_cipher_list(ciphers.encode("ascii"))
    except (SSL.Error, ValueError):
        return "OpenSSL knows none of these ciphers"
    known = SSL.Connection(context, None).get_cipher_list()
    unsafe = [cipher for cipher in known if "NULL" in cipher or cipher.startswith(("ADH", "AECDH"))]
    return f"{unsafe[0]} does not protect anything (leave it out)" if unsafe else ""


_WEEK_S = 7 * 86400
"""RFC 8446 section 4.6.1: no ticket lives longer."""
