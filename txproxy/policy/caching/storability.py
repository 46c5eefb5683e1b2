"""May a reply be stored in a shared cache (RFC 9111 section 3)?"""

from __future__ import annotations

from typing import NamedTuple

from txproxy.policy.caching.dates import parse_date
from txproxy.policy.caching.directives import RequestDirectives, ResponseDirectives
from txproxy.policy.caching.fields import FieldTable, has_field
from txproxy.policy.caching.freshness import CacheRules, Freshness
from txproxy.wire.grammar import split_list
from txproxy.wire.messages import ReplyHead, RequestHead
from txproxy.wire.reasons import OF_ONE_REQUEST

UNDERSTOOD = frozenset(
    (*range(200, 206), *range(300, 304), 307, 308, *range(400, 418), 421, 422, 426, *range(500, 506))
)
"""Statuses whose meaning for caches is implemented (RFC 9110 section 15), for ``must-understand``."""

_PARTIAL = 206
_SET_COOKIE = b"set-cookie"


class Verdict(NamedTuple):
    """Whether a reply may be stored, and for the log and Cache-Status what speaks against it."""

    may_store: bool
    reason: bytes = b""
    """``method``, ``request-body``, ``request-no-store``, ``status``, ``partial``, ``must-understand``, ``no-store``,
    ``private``, ``authorization``, ``set-cookie``, ``vary-any``, ``trailers``, ``no-freshness``, ``no-validator`` or
    ``expired``; nothing if it may be stored."""


_STORE = Verdict(True)


def judge(
    request: RequestHead,
    asked: RequestDirectives,
    reply: ReplyHead,
    said: ResponseDirectives,
    freshness: Freshness,
    rules: CacheRules,
    table: FieldTable | None = None,
    has_credentials: bool = False,
) -> Verdict:
    """Return whether a reply may be stored once it has come whole.

    Only replies to GET are, and only those that can be of use: that are fresh, that may be sent stale, or that can be
    validated.

    :param request: as the client sent it.
    :param reply: as the backend sent it.
    :param table: of the reply's fields, if there is one already.
    :param has_credentials: the backend knows who asks by more than the request: by a certificate.
    """
    table = table or FieldTable(reply.fields)
    reason = (
        _against_request(request, asked)
        or _against_status(reply.status, said, rules)
        or _against_directives(said, has_credentials or has_field(request.fields, b"authorization"))
        or _against_fields(table, said, rules)
        or _against_use(reply.status, table, said, freshness, rules)
    )
    return Verdict(False, reason) if reason else _STORE


def _against_request(request: RequestHead, asked: RequestDirectives) -> bytes:
    if request.method != b"GET":
        return b"method"
    if request.has_body:
        return b"request-body"  # It means nothing (RFC 9110 section 9.3.1), but a backend may answer to it.
    return b"request-no-store" if asked.no_store else b""


def _against_status(status: int, said: ResponseDirectives, rules: CacheRules) -> bytes:
    if status == _PARTIAL:
        return b"partial"  # Ranges are served from whole replies.
    if status < 200 or status in OF_ONE_REQUEST or (rules.statuses is not None and status not in rules.statuses):
        return b"status"
    return b"must-understand" if said.must_understand and status not in UNDERSTOOD else b""


def _against_directives(said: ResponseDirectives, has_credentials: bool) -> bytes:
    if said.no_store and not said.must_understand:
        return b"no-store"  # RFC 9111 section 5.2.2.3: what must be understood, and is, may be stored all the same.
    if said.private:
        return b"private"
    is_shared = said.public or said.must_revalidate or said.s_maxage is not None  # RFC 9111 section 3.5
    return b"authorization" if has_credentials and not is_shared else b""


def _against_fields(table: FieldTable, said: ResponseDirectives, rules: CacheRules) -> bytes:
    if table.has_field(_SET_COOKIE) and not rules.store_set_cookie and _SET_COOKIE not in said.withheld_fields:
        return b"set-cookie"
    vary = table.joined(b"vary")
    if vary and b"*" in vary and b"*" in split_list(vary):
        return b"vary-any"
    return b"trailers" if table.has_field(b"trailer") else b""


def _against_use(
    status: int, table: FieldTable, said: ResponseDirectives, freshness: Freshness, rules: CacheRules
) -> bytes:
    if not (freshness.is_explicit or said.public or rules.takes(status)):
        return b"status"
    if said.no_cache:
        return b"" if _can_be_validated(status, table) else b"no-validator"
    staleness_s = freshness.staleness_s(freshness.received_at)
    if staleness_s < 0:
        return b""
    if not freshness.is_explicit:
        return b"no-freshness"
    spare_s = max(said.stale_while_revalidate or 0, said.stale_if_error or 0)
    is_of_use = (staleness_s < spare_s and not said.forbids_stale) or _can_be_validated(status, table)
    return b"" if is_of_use else b"expired"


def _can_be_validated(status: int, table: FieldTable) -> bool:
    """Return whether a conditional request is of use; it is heeded only for 2xx (RFC 9110 section 13.2.1)."""
    if not 200 <= status < 300:
        return False
    if table.sole_value(b"etag"):
        return True
    last_modified = table.sole_value(b"last-modified")
    return last_modified is not None and parse_date(last_modified) is not None
