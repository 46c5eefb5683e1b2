"""What a balancing policy is: a callable that puts candidates in order for one request."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from txproxy.policy.candidate import Candidate
from txproxy.policy.facts import RequestFacts

Random = Callable[[], float]
"""Returns a number from 0 to 1, without 1, another each time."""

Policy = Callable[[tuple[Candidate, ...], RequestFacts, float, Random], Iterable[Candidate]]
"""``policy(candidates, request, now, random)`` yields candidates, the one that is to be tried first comes first.

``candidates``
    Those that may be tried, at least one. It is the same tuple for as long as neither the set nor a weight changes, so
    that what was worked out for it can be kept; ``active`` and latency change all the time.
``request``
    Facts of the request. A policy with an attribute ``reads_request`` that is False is given those of no request, which
    need not be gathered.
``now``
    The moment, in seconds of the monotonic clock.
``random``
    Where chance comes from.

Each candidate is yielded once at most. The next is asked for only if the one before could not be used, which may be
seconds later: a generator decides then, by what it sees then. Most iterators are left after their first.

A policy that has a method ``observe_latency(candidate, seconds, now)`` is told of each reply. One instance belongs to
one cluster.
"""
