"""Whether a reply that has come may be stored, and as what."""

from __future__ import annotations

from typing import NamedTuple

from txproxy.cache.entry import PLAIN, Entry, Terms, Variant
from txproxy.cache.errand import Errand
from txproxy.cache.fetch import Fetch
from txproxy.pipeline.asked import CachedRoute
from txproxy.policy.caching.dates import write_date
from txproxy.policy.caching.directives import parse_response
from txproxy.policy.caching.fields import FieldTable, has_field
from txproxy.policy.caching.freshness import freshness_of
from txproxy.policy.caching.storability import judge
from txproxy.policy.caching.tags import tags_of
from txproxy.policy.caching.vary import secondary_key, vary_names
from txproxy.wire.forwarding import without
from txproxy.wire.messages import ReplyHead, RequestHead

_AGE = b"age"
_ENDLESS = (b"text/event-stream", b"application/grpc")
"""Beginnings of media types of replies that may never be complete."""


class Judgement(NamedTuple):
    """What is to be done with a reply."""

    reason: bytes
    """Why it is not stored; empty if it may be."""
    terms: Terms
    variant: Variant
    """Which requests it answers, if it may be stored."""


def judge_reply(settings: CachedRoute, errand: Errand, reply: ReplyHead, now: float) -> Judgement:
    """Return whether a reply may be stored, and how.

    :param reply: that has come, or a stored one that a 304 has updated.
    :param now: when it came, in seconds since the epoch.
    """
    table = FieldTable(reply.fields)
    said = parse_response(
        table.joined(b"cache-control"), table.joined(b"cdn-cache-control"), table.joined(b"surrogate-control")
    )
    freshness = freshness_of(reply, said, errand.requested_at, now, settings.rules, table)
    tags, names = tags_of(reply, table), vary_names(reply, table)
    asked = errand.asked
    reason = judge(
        errand.request, asked.directives, reply, said, freshness, settings.rules, table, asked.is_alone
    ).reason
    if not reason:
        reason = _against_keeping(settings, reply, tags, names)
    variant = Variant(names, secondary_key(names, errand.request)) if names else PLAIN
    return Judgement(reason, Terms(freshness, said, tags or ()), variant)


def _against_keeping(
    settings: CachedRoute, reply: ReplyHead, tags: tuple[bytes, ...] | None, names: tuple[bytes, ...] | None
) -> bytes:
    if tags is None:
        return b"tags"
    if names is None:
        return b"vary-any"
    if (reply.content_length or 0) > settings.max_object_bytes:
        return b"too-large"
    if reply.until_close:  # Nothing shows whether it is complete.
        return b"until-close"
    return b"endless" if reply.known.get(b"content-type", b"").lower().startswith(_ENDLESS) else b""


def entry_of(fetch: Fetch, body: bytes) -> Entry:
    """Return what is stored of a reply that is complete, and may be stored."""
    reply, terms, variant = fetch.reply, fetch.terms, fetch.variant
    assert reply is not None and terms is not None and variant is not None
    return Entry(fetch.errand.room[0], variant, dated(reply, fetch.received_at), body, terms)


def dated(reply: ReplyHead, received_at: float) -> ReplyHead:
    """Return a reply with a Date: the moment when it came, if it has none (RFC 9110 section 6.6.1).

    :param received_at: seconds since the epoch.
    """
    if b"date" in reply.known:
        return reply
    date = write_date(received_at)
    reply = reply.copy()
    reply.fields.append((b"Date", date))
    reply.known[b"date"] = date
    return reply


def aged(reply: ReplyHead, received_at: float) -> ReplyHead:
    """Return a reply that came some time ago, as what is stored: with a Date, and without the Age that it had then.

    :param received_at: seconds since the epoch.
    """
    return dated(without(reply, _AGE) if has_field(reply.fields, _AGE) else reply, received_at)


def answers(variant: Variant, request: RequestHead) -> bool:
    """Return whether a reply answers another request too (RFC 9111 section 4.1)."""
    return not variant.names or secondary_key(variant.names, request) == variant.secondary_key


def is_for_all(terms: Terms, now: float) -> bool:
    """Return whether all who wait for a reply may have it, or each of them needs the backend's own word."""
    return not terms.directives.no_cache and terms.freshness.is_fresh(now)
