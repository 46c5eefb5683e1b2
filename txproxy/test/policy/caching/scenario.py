"""Scenarios of one stored reply: a backend answers a first request, and a second one comes later."""

from __future__ import annotations

import re
from typing import NamedTuple

from txproxy.policy.caching.dates import write_date
from txproxy.policy.caching.directives import RequestDirectives, ResponseDirectives, parse_request, parse_response
from txproxy.policy.caching.fields import joined
from txproxy.policy.caching.freshness import CacheRules, Freshness, freshness_of
from txproxy.policy.caching.reuse import decide, may_send_on_error
from txproxy.policy.caching.storability import judge
from txproxy.wire.fields import Field, FieldTokenizer
from txproxy.wire.h1 import parse_reply_head, parse_request_head
from txproxy.wire.limits import HeadLimits
from txproxy.wire.messages import ReplyHead, RequestHead

NOW = 1_800_000_000.0
"""When the reply of a scenario comes, in seconds since the epoch."""
RULES = CacheRules()
LIMITS = HeadLimits()
_MOMENT = re.compile(r"@([+-]\d+)?")


class Case(NamedTuple):
    """One row of the table: what it shows, and a scenario with its end."""

    shows: str
    """With the section of RFC 9111, or another source."""
    reply: str
    """Field lines, with ``|`` between; ``@``, ``@+10`` and ``@-10`` stand for dates, 10 seconds from ``NOW``."""
    end: str
    """``not stored: REASON``, or what ``decide`` says."""
    after_s: float = 10.0
    """When the second request comes."""
    asked: str = ""
    """Field lines of the second request."""
    first: str = ""
    """Field lines of the first one."""
    status: int = 200
    method: str = "GET"
    rules: CacheRules = RULES
    delay_s: float = 0.0
    """What the backend took to answer."""


def fields_of(lines: str) -> bytes:
    """Return the field lines of a head."""
    dated = _MOMENT.sub(lambda found: write_date(NOW + int(found[1] or 0)).decode(), lines)
    return b"".join(line.encode("latin-1") + b"\r\n" for line in dated.split("|") if line)


def request_of(lines: str = "", method: str = "GET") -> RequestHead:
    head = b"%b /page HTTP/1.1\r\nHost: a.example\r\n%b\r\n" % (method.encode(), fields_of(lines))
    return parse_request_head(head, FieldTokenizer(), LIMITS)


def reply_of(lines: str = "", status: int = 200, method: str = "GET") -> ReplyHead:
    head = b"HTTP/1.1 %d X\r\n%b\r\n" % (status, fields_of(lines))
    return parse_reply_head(head, FieldTokenizer(), method.encode())


def asked_by(fields: list[Field]) -> RequestDirectives:
    return parse_request(joined(fields, b"cache-control"), joined(fields, b"pragma"))


def said_by(fields: list[Field]) -> ResponseDirectives:
    return parse_response(joined(fields, b"cache-control"), joined(fields, b"cdn-cache-control"))


def freshness_by(case: Case) -> tuple[Freshness, ResponseDirectives]:
    """Return how fresh the reply of a scenario is, and what it says."""
    reply = reply_of(case.reply, case.status, case.method)
    said = said_by(reply.fields)
    return freshness_of(reply, said, NOW - case.delay_s, NOW, case.rules), said


def end_of(case: Case) -> str:
    """Return how a scenario ends, as its ``end`` is written."""
    request = request_of(case.first, case.method)
    reply = reply_of(case.reply, case.status, case.method)
    freshness, said = freshness_by(case)
    verdict = judge(request, asked_by(request.fields), reply, said, freshness, case.rules)
    if not verdict.may_store:
        return f"not stored: {verdict.reason.decode()}"
    decision = decide(freshness, said, asked_by(request_of(case.asked).fields), NOW + case.after_s)
    return ": ".join(filter(None, (decision.kind.value, decision.reason.decode())))


def is_sent_on_error(case: Case) -> bool:
    """Return whether the stored reply of a scenario may be sent if the backend fails at the second request."""
    freshness, said = freshness_by(case)
    return may_send_on_error(freshness, said, asked_by(request_of(case.asked).fields), NOW + case.after_s)
