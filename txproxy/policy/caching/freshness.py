"""How long a reply is fresh, and how old it is (RFC 9111 section 4.2)."""

from __future__ import annotations

from typing import NamedTuple

from txproxy.policy.caching.dates import parse_date
from txproxy.policy.caching.directives import GREATEST_DELTA_S, ResponseDirectives, parse_delta
from txproxy.policy.caching.fields import FieldTable
from txproxy.wire.grammar import split_list
from txproxy.wire.messages import ReplyHead

CACHEABLE_BY_DEFAULT = frozenset((200, 203, 204, 206, 300, 301, 308, 404, 405, 410, 414, 501))
"""Statuses of replies that may be reused without being told so (RFC 9110 section 15.1)."""

_FIRST_ERROR = 400
MOST_GUESSED_S = 86400.0
"""What is not said is guessed for a day at most."""


class CacheRules(NamedTuple):
    """What a route says about caching, and the store that it shares."""

    default_ttl_s: float = 0
    """Seconds that a reply is fresh which does not say it itself; with 0 there is none."""
    negative_ttl_s: float = 0
    """The same for errors (400 and above), which the other is not for."""
    statuses: frozenset[int] | None = None
    """The only statuses that are stored; None for those that are cacheable by default, and others that say how long
    they are fresh."""
    store_set_cookie: bool = False
    """Store replies with Set-Cookie, for all users."""
    heuristic_fraction: float = 0
    """Part of the time since Last-Modified for which a reply is fresh that does not say it itself (RFC 9111 section
    4.2.2); with 0 there is none."""
    ttl_s: float = 0
    """Seconds that a reply is fresh which may be stored, whatever it says of that; with 0 it is what it says."""

    def takes(self, status: int) -> bool:
        """Return whether replies of a status may be stored without saying so themselves (RFC 9111 section 3)."""
        return status in (CACHEABLE_BY_DEFAULT if self.statuses is None else self.statuses)


class Freshness:
    """How fresh a stored reply is at any moment.

    :param lifetime_s: seconds from its making to its end (RFC 9111 section 4.2.1); less than 0 if it ended before.
    :param initial_age_s: seconds that it was old when it came (``corrected_initial_age``, section 4.2.3).
    :param received_at: when it came, in seconds since the epoch.
    :param is_explicit: the reply itself says how long it is fresh, or the route does in its place.
    """

    __slots__ = ("initial_age_s", "is_explicit", "lifetime_s", "received_at")

    def __init__(
        self, lifetime_s: float, initial_age_s: float = 0.0, received_at: float = 0.0, is_explicit: bool = True
    ) -> None:
        self.lifetime_s = lifetime_s
        self.initial_age_s = initial_age_s
        self.received_at = received_at
        self.is_explicit = is_explicit

    def age_s(self, now: float) -> float:
        """Return its age in seconds (``current_age``, RFC 9111 section 4.2.3).

        :param now: seconds since the epoch; a clock that was put back makes nothing younger than it came.
        """
        resident_s = now - self.received_at
        return self.initial_age_s + resident_s if resident_s > 0 else self.initial_age_s

    def is_fresh(self, now: float) -> bool:
        """Return whether its lifetime is greater than its age (RFC 9111 section 4.2)."""
        return self.lifetime_s > self.age_s(now)

    def staleness_s(self, now: float) -> float:
        """Return the seconds since it was fresh; less than 0 says how long it still is."""
        return self.age_s(now) - self.lifetime_s

    def __repr__(self) -> str:
        return f"<Freshness {self.lifetime_s:g} s, {self.initial_age_s:g} s old at {self.received_at:.3f}>"


def freshness_of(
    reply: ReplyHead,
    said: ResponseDirectives,
    requested_at: float,
    received_at: float,
    rules: CacheRules,
    table: FieldTable | None = None,
) -> Freshness:
    """Return how fresh a reply is that has come.

    :param reply: as it came, or that of an earlier one with what a 304 has updated; an Age that is left of the earlier
        one must not stand in it.
    :param requested_at: when the request went out, in seconds since the epoch.
    :param received_at: when the head of the reply came.
    :param table: of the reply's fields, if there is one already.
    """
    table = table or FieldTable(reply.fields)
    date = _moment_in(table, b"date", received_at)
    made_at = received_at if date is None else date
    lifetime_s = _explicit_lifetime_s(table, said, made_at, received_at)
    # A failure that says nothing of its time is not kept for that of a page.
    if rules.ttl_s and ((lifetime_s or 0) > 0 or said.public or rules.takes(reply.status)):
        lifetime_s = rules.ttl_s
    is_explicit = lifetime_s is not None
    if lifetime_s is None:
        lifetime_s = _lifetime_by_rule_s(reply.status, table, said, made_at, rules)
    return Freshness(lifetime_s, _initial_age_s(table, date, requested_at, received_at), received_at, is_explicit)


def _explicit_lifetime_s(table: FieldTable, said: ResponseDirectives, date: float, received_at: float) -> float | None:
    """Return what the reply says itself: s-maxage before max-age before Expires (RFC 9111 section 4.2.1)."""
    if said.s_maxage is not None:
        return said.s_maxage
    if said.max_age is not None:
        return said.max_age
    if said.is_targeted or not table.has_field(b"expires"):
        return None
    expires = _moment_in(table, b"expires", received_at)
    # What is no date, "0" above all, lies in the past (section 5.3); so does what is said twice (section 4.2.1).
    return 0.0 if expires is None else expires - date


def _lifetime_by_rule_s(
    status: int, table: FieldTable, said: ResponseDirectives, date: float, rules: CacheRules
) -> float:
    """Return what the route says of a reply that says nothing; RFC 9111 section 4.2.2 has this for heuristics."""
    if not (said.public or rules.takes(status)):
        return 0.0
    if b"no-cache" in split_list(table.joined(b"pragma") or b""):
        return 0.0  # It means nothing in a reply (RFC 9111 section 5.4), but who sends it does not want a guess.
    if rules.heuristic_fraction:
        modified = _moment_in(table, b"last-modified", date)
        if modified is not None and modified < date:
            return min((date - modified) * rules.heuristic_fraction, MOST_GUESSED_S)
    return rules.negative_ttl_s if status >= _FIRST_ERROR else rules.default_ttl_s


def _initial_age_s(table: FieldTable, date: float | None, requested_at: float, received_at: float) -> float:
    """Return ``corrected_initial_age`` (RFC 9111 section 4.2.3)."""
    # Date is in whole seconds: within the second that it names, nothing has aged. Otherwise what is fresh for one
    # second would be fresh for half of it.
    apparent_age_s = 0.0 if date is None else received_at // 1 - date
    response_delay_s = max(0.0, received_at - requested_at)
    return min(max(apparent_age_s, _age_value_s(table) + response_delay_s), GREATEST_DELTA_S)


def _age_value_s(table: FieldTable) -> int:
    """Return what Age says; the most that there is if it is malformed or repeated.

    RFC 9111 section 5.1 suggests to ignore the one and to take the first of the other. But a cache before us said that
    the reply is old, and we cannot tell how old: it is safe to ask, not to guess.
    """
    if not table.has_field(b"age"):
        return 0
    value = table.sole_value(b"age")
    age_s = None if value is None else parse_delta(value)
    return GREATEST_DELTA_S if age_s is None else age_s


def _moment_in(table: FieldTable, lower_name: bytes, received_at: float) -> float | None:
    value = table.sole_value(lower_name)
    return None if value is None else parse_date(value, received_at)
