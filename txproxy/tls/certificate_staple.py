"""OCSP replies that are stapled to handshakes (RFC 6960, RFC 6066 section 8)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import NamedTuple

from cryptography import x509
from cryptography.x509 import ocsp

from txproxy.config.problems import quoted
from txproxy.tls.certificate_pem import first_line
from txproxy.tls.certificate_rules import Complaint, shown_time


class Staple(NamedTuple):
    """A reply that may be sent."""

    data: bytes
    """In DER; empty: none."""
    until: float
    """When it is too old, in seconds since 1970."""


NO_STAPLE = Staple(b"", 0.0)


def read_staple(name: str, data: bytes, leaf: x509.Certificate, now: float) -> tuple[Staple, list[Complaint]]:
    """Return the reply in a file, and what is wrong with it.

    Whatever that is, it is left out with a warning and the certificate is served without it: whoever fetches it will
    bring the next one.

    :param name: of the file, for messages.
    :param leaf: the certificate that it must be about.
    :param now: in seconds since 1970.
    """
    try:
        reply = ocsp.load_der_ocsp_response(data)
    except Exception:  # ValueError and others.
        hint = "openssl base64 -d takes it out of PEM" if b"-----BEGIN" in data else "it must be in DER"
        return NO_STAPLE, [left_out(f"{quoted(name)} is not an OCSP reply ({hint})")]
    if reply.response_status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
        word = reply.response_status.name.lower().replace("_", " ")
        return NO_STAPLE, [left_out(f"the OCSP reply in {quoted(name)} is a refusal: {word} (fetch it anew)")]
    try:
        mine = next((each for each in reply.responses if each.serial_number == leaf.serial_number), None)
        if mine is None:
            text = f"the OCSP reply in {quoted(name)} is about another certificate (fetch it anew)"
            return NO_STAPLE, [left_out(text)]
        until = _timestamp(mine.next_update_utc, leaf.not_valid_after_utc)
        doubts = list(_doubts(name, mine, until, now))
    except Exception as error:  # ValueError and others: parts are read when they are asked for.
        return NO_STAPLE, [left_out(f"the OCSP reply in {quoted(name)} is damaged: {first_line(error)}")]
    return (NO_STAPLE if doubts else Staple(data, until)), doubts


def left_out(text: str) -> Complaint:
    """Return the warning about a reply that cannot be used."""
    return Complaint("ocsp", text, is_warning=True)


def _doubts(name: str, reply: ocsp.OCSPSingleResponse, until: float, now: float) -> Iterator[Complaint]:
    text = f"the OCSP reply in {quoted(name)}"
    if reply.certificate_status is not ocsp.OCSPCertStatus.GOOD:
        word = reply.certificate_status.name.lower()
        yield left_out(f"{text} says that the certificate is {word}; it is left out")
    if now > until:
        yield left_out(f"{text} is too old since {shown_time(until)} and is left out (fetch it anew)")
    begins_at = reply.this_update_utc.timestamp()
    if now < begins_at:
        yield left_out(f"{text} begins to hold on {shown_time(begins_at)} and is left out")


def _timestamp(moment: datetime | None, otherwise: datetime) -> float:
    # Without nextUpdate there is always a newer one (RFC 6960 section 4.2.2.1), and no end either.
    return (otherwise if moment is None else moment).timestamp()
