"""A balancing policy and a health check in Python, which ``balancing.toml`` names.

``PYTHONPATH=examples txproxy run -c examples/balancing.toml``. Both run in the reactor's thread: they must not block.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.request import urlopen

from twisted.internet.threads import deferToThread

from txproxy.policy.candidate import Candidate
from txproxy.policy.facts import RequestFacts

PRICES = {"127.0.0.1:9031": 1.0, "127.0.0.1:9032": 1.0, "127.0.0.1:9033": 4.0}
"""What a request costs at a backend, by its address as the configuration has it."""
ENOUGH = 20
"""Requests under way at once, for each unit of weight, above which a cheap backend is no longer a bargain."""
MAX_LAG_S = 5.0


def cheapest(
    candidates: Sequence[Candidate], request: RequestFacts, now: float, random: Callable[[], float]
) -> Iterator[Candidate]:
    """Yield the cheapest backend first, and those that have enough to do last; equals take turns at random.

    A request that says it is urgent goes where least is under way, at any price.
    """
    is_urgent = request.headers.get("X-Urgent") == "1"

    def rank(candidate: Candidate) -> tuple[float, float, float]:
        load = candidate.active / candidate.weight
        price = 0.0 if is_urgent else PRICES.get(candidate.name, 1.0)
        return (load if is_urgent else float(load >= ENOUGH), price, random())

    yield from sorted(candidates, key=rank)


def verdict(report: bytes) -> bool | str:
    """Return True if a replica reports that it is close enough to its primary, else what is wrong with it."""
    try:
        lag_s = float(json.loads(report)["lag_s"])
    except (ValueError, TypeError, KeyError):
        return "the report has no lag_s"
    return lag_s <= MAX_LAG_S or f"{lag_s:g} s behind"


def fetch(url: str) -> bytes:
    """Return the beginning of what is served at a URL; it blocks, so it is for a thread."""
    with urlopen(url, timeout=2) as reply:
        return bytes(reply.read(1000))


async def replica(target: Any) -> bool | str:
    """Check a replica: it must answer, and be close to its primary.

    :param target: which backend; its ``name`` is the address in the configuration.
    """
    return verdict(await deferToThread(fetch, f"http://{target.name}/replication"))
