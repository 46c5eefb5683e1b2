"""The store of txproxy, which writes down what it holds, for there is nobody else who could tell from outside."""

from __future__ import annotations

import os
from pathlib import Path

from bench.fleet import DIRECTORY
from txproxy.cache.memory import MemoryStore
from txproxy.cache.store import Statistics
from txproxy.config.model import CacheSettings
from txproxy.policy.caching.vary import secondary_key

NUMBERS = "store.numbers"
"""Name of the file, in the directory of the run."""


class CountedStore(MemoryStore):
    """Writes its numbers whenever it is asked for them: once a second, by what keeps the cache within its limits."""

    def statistics(self) -> Statistics:
        """Return the numbers, and write down: objects, accounted bytes, and of these the bytes of bodies and heads."""
        found = super().statistics()
        if found.objects != self._written:
            self._written = found.objects
            content = sum(len(entry.body) + len(entry.head.lines) for entry in self._used)
            place = Path(os.environ[DIRECTORY]) / NUMBERS
            fresh = place.with_suffix(".new")
            fresh.write_text(f"{found.objects} {found.held_bytes} {content}\n")
            fresh.replace(place)
        return found

    _written = -1


def make(settings: CacheSettings) -> CountedStore:
    """Return the store of a configuration."""
    return CountedStore(settings.max_bytes, settings.max_object_bytes, secondary_key)
