"""Who may ask the admin interface what: every request is judged by its head before anything else is done with it."""

from __future__ import annotations

import hmac
import ipaddress
from typing import Any, NamedTuple

from twisted.internet.address import UNIXAddress

from txproxy.config.address import parse_address
from txproxy.config.model import AdminSettings
from txproxy.wire.grammar import split_authority

_BEARER = b"bearer "


class Refusal(NamedTuple):
    """A request that is not carried out."""

    status: int
    error: str
    """One sentence."""
    fields: tuple[tuple[bytes, bytes], ...] = ()


class Guard:
    """Judges requests.

    :param settings: of the section ``[admin]``.
    """

    def __init__(self, settings: AdminSettings) -> None:
        self._token = settings.token.encode()
        address = parse_address(settings.listen)
        self._names = {b"localhost"}
        if address.kind == "tcp" and not address.is_ip:
            self._names.add(address.host.lower().encode())
        exact = [host.encode() for host in settings.hosts]
        self._listed = frozenset(host for host in exact if not host.startswith(b"*."))
        self._suffixes = tuple(host[1:] for host in exact if host.startswith(b"*."))

    def judge(self, request: Any) -> Refusal | None:
        """Return why a request is not carried out, whatever it asks for, or None.

        :param request: a ``twisted.web.http.Request``.
        """
        if not self._token and not _is_local(request.getClientAddress()):
            return Refusal(403, "without a token only this machine may ask")
        hosts = request.requestHeaders.getRawHeaders(b"Host") or []
        if len(hosts) != 1:
            return Refusal(400, "a request needs one Host")
        # A page of elsewhere whose name leads here now (DNS rebinding) sends that name.
        if not self._is_ours(_hostname(hosts[0]), request.getHost()):
            return Refusal(403, "this host is not accepted (see admin.hosts)")
        return None

    def judge_caller(self, request: Any) -> Refusal | None:
        """Return why whoever asks may not, or None."""
        if not self._token:
            return None
        given = request.requestHeaders.getRawHeaders(b"Authorization") or [b""]
        shown = given[0][len(_BEARER) :].strip() if given[0][: len(_BEARER)].lower() == _BEARER else b""
        if len(given) == 1 and hmac.compare_digest(shown, self._token):
            return None
        said = "the token is wrong" if shown else "a token is needed (Authorization: Bearer TOKEN)"
        return Refusal(401, said, ((b"WWW-Authenticate", b'Bearer realm="txproxy"'),))

    def judge_change(self, request: Any) -> Refusal | None:
        """Return why a request may not change anything, or None: it may come from a page of elsewhere."""
        fields = request.requestHeaders
        origins = fields.getRawHeaders(b"Origin") or []
        host = (fields.getRawHeaders(b"Host") or [b""])[0]
        if len(origins) > 1 or (origins and not self._is_same(origins[0], host)):
            return Refusal(403, "pages of elsewhere may not change anything")
        if (fields.getRawHeaders(b"Sec-Fetch-Site") or [b"none"])[-1] not in (b"none", b"same-origin"):
            return Refusal(403, "pages of elsewhere may not change anything")
        kinds = fields.getRawHeaders(b"Content-Type") or [b""]
        # No form can be sent so, and a script of elsewhere would have to ask first (CORS), which is not answered.
        if len(kinds) != 1 or kinds[0].partition(b";")[0].strip().lower() != b"application/json":
            return Refusal(415, "a change needs Content-Type: application/json")
        return None

    def _is_same(self, origin: bytes, host: bytes) -> bool:
        scheme, _, authority = origin.partition(b"://")
        if scheme.lower() not in (b"http", b"https"):
            return False
        return authority.lower() == host.lower() or self._is_listed(_hostname(authority))

    def _is_ours(self, host: bytes, own: Any) -> bool:
        if host in self._names or self._is_listed(host):
            return True
        ip = _ip(host)
        # A name may lead anywhere, but an address is what it is: ours if the connection came to it.
        return ip is not None and (_is_loopback(ip) or ip == _ip(str(getattr(own, "host", "")).encode()))

    def _is_listed(self, host: bytes) -> bool:
        return host in self._listed or host.endswith(self._suffixes)


def _hostname(authority: bytes) -> bytes:
    found = split_authority(authority)
    return b"" if found is None else found[0]


def _ip(host: bytes) -> Any:
    try:
        found = ipaddress.ip_address(host.decode("ascii", "replace").strip("[]"))
    except ValueError:
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _is_loopback(ip: Any) -> bool:
    return bool(ip.is_loopback)


def _is_local(peer: Any) -> bool:
    if isinstance(peer, UNIXAddress):
        return True
    ip = _ip(str(getattr(peer, "host", "")).encode())
    return ip is not None and _is_loopback(ip)
