"""One stored reply."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from zlib import crc32

from txproxy.cache.footprint import allocated_bytes, deep_bytes
from txproxy.cache.stored_head import StoredHead
from txproxy.policy.caching.directives import ResponseDirectives
from txproxy.policy.caching.freshness import Freshness
from txproxy.policy.caching.key import url_in
from txproxy.wire.memory import Memory
from txproxy.wire.messages import ReplyHead

NEVER = float("inf")
MOST_HITS = 255
"""Hits that an entry counts; above them no number of its own is needed for each."""

_MOST_SHARED = 2048
_MOST_SHARED_BYTES = 1024
_LONGEST_S = 10**10
_PICKLED = ("key", "variant", "head", "body", "freshness", "directives", "tags", "seal")
_VALIDATOR = re.compile(rb"\r\n(?:etag|last-modified):", re.IGNORECASE)


class Variant(NamedTuple):
    """Which requests a stored reply answers, of those with its key (RFC 9111 section 4.1)."""

    names: tuple[bytes, ...] = ()
    """Request fields that Vary names, sorted, lower case."""
    secondary_key: bytes = b""
    """What the request said in them, normalised."""


PLAIN = Variant()
"""The variant of a reply without Vary."""


class Terms(NamedTuple):
    """What a reply says of its own use."""

    freshness: Freshness
    directives: ResponseDirectives
    tags: tuple[bytes, ...] = ()
    """Names under which it can be purged."""


class Entry:
    """One stored reply. Nothing of it but its counters is changed once it is stored: a 304 makes a new one.

    :param key: primary key; see ``policy.caching.key``.
    :param variant: which requests it answers.
    :param reply: the head as it came from a backend, or was freshened; what its directives withhold is left out.
    :param body: the whole body, or its pieces, which are joined.
    :param terms: what it says of its own use.
    """

    __slots__ = (
        "block_counted",
        "body",
        "bucket",
        "directives",
        "footprint_bytes",
        "freshness",
        "head",
        "hits",
        "key",
        "seal",
        "tags",
        "variant",
    )

    def __init__(
        self, key: bytes, variant: Variant, reply: ReplyHead, body: bytes | Sequence[bytes], terms: Terms
    ) -> None:
        self.key = key
        self.variant = variant
        self.body = body if isinstance(body, bytes) else b"".join(body)
        self.head = StoredHead(reply, len(self.body), terms.directives.withheld_fields)
        self.freshness, self.directives, self.tags = terms
        self.seal: Seal | None = None
        """What a store outside this process verifies it by; None in memory."""
        self._be_new()

    def _be_new(self) -> None:
        """Belong to no store yet."""
        self.hits = 0
        """How often it was found, up to ``MOST_HITS``."""
        self.footprint_bytes = 0
        """What it takes of memory, once a store has measured it."""
        self.block_counted = False
        """The footprint includes the head's block for HTTP/2; kept by the store."""
        self.bucket: set[Entry] | None = None
        """Among what it is looked for when it is of no more use; kept by the store."""

    def __getstate__(self) -> tuple[Any, ...]:
        """Return what it is made anew from, without what a store has noted in it; for ``pickle``."""
        return tuple(getattr(self, name) for name in _PICKLED)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Be what another was, with its seal; for ``pickle``."""
        for name, value in zip(_PICKLED, state, strict=True):
            setattr(self, name, value)
        self._be_new()

    @property
    def url(self) -> bytes:
        """The URL that its key begins with."""
        return url_in(self.key)

    @property
    def has_validator(self) -> bool:
        """Whether a backend can be asked if it still holds (RFC 9110 section 8.8)."""
        return _VALIDATOR.search(self.head.lines) is not None

    def useful_until(self, now: float) -> float:
        """Return the moment from which it is of no more use: stale, not to be sent so, and not to be validated.

        :param now: seconds since the epoch.
        """
        if self.has_validator:
            return NEVER
        said = self.directives
        stale_s = max(said.stale_while_revalidate or 0, said.stale_if_error or 0)
        return now - self.freshness.age_s(now) + min(self.freshness.lifetime_s, _LONGEST_S) + min(stale_s, _LONGEST_S)

    def __repr__(self) -> str:
        return f"<Entry {self.key!r} {self.head.status} {len(self.body)} bytes>"


class Seal(NamedTuple):
    """Length and checksum of an entry that leaves the process."""

    length: int
    checksum: int

    @classmethod
    def of(cls, entry: Entry) -> Seal:
        """Return the seal of an entry as it is now: over its key, variant, head and body."""
        checksum = 0
        for part in (entry.key, entry.variant.secondary_key, entry.head.lines, entry.body):
            checksum = crc32(part, crc32(b"%d:" % len(part), checksum))
        return cls(len(entry.body), checksum)


_RECORDS_BYTES = sum(allocated_bytes(kind.__new__(kind)) for kind in (Entry, StoredHead, Freshness))
"""What an entry's own records take, which have slots and so one size."""


class Measure:
    """Makes entries share what many of them hold, and measures what each holds alone.

    What is shared is counted for the first two that have it: one holds a copy of its own, and one that which all
    later ones share. So the sum stays true also when the memory of shared things is forgotten.
    """

    __slots__ = ("_shared",)

    def __init__(self) -> None:
        self._shared: Memory[Any, Any] = Memory(_MOST_SHARED)

    def settle(self, entry: Entry) -> None:
        """Make an entry share what it can, and set its footprint."""
        head, freshness = entry.head, entry.freshness
        size = _RECORDS_BYTES + allocated_bytes(entry.key) + allocated_bytes(entry.body) + allocated_bytes(head.lines)
        size += deep_bytes(freshness.lifetime_s) + deep_bytes(freshness.initial_age_s)
        size += deep_bytes(freshness.received_at) + deep_bytes(len(entry.body))
        if entry.variant == PLAIN:
            entry.variant = PLAIN
        else:
            entry.variant, variant_bytes = self._share("variant", entry.variant, entry.variant)
            size += variant_bytes
        if entry.tags:
            entry.tags, tags_bytes = self._share("tags", entry.tags, entry.tags)
            size += tags_bytes
        entry.directives, directives_bytes = self._share("directives", entry.directives, entry.directives)
        head.reason, reason_bytes = self._share("reason", head.reason, head.reason)
        head.known, known_bytes = self._share("known", tuple(head.known.items()), head.known)
        size += directives_bytes + reason_bytes + known_bytes
        if entry.seal is not None:
            size += deep_bytes(entry.seal)
        # The number of the footprint itself is one more object.
        entry.footprint_bytes = size + deep_bytes(size)
        entry.block_counted = False
        self.add_block(entry)

    def add_block(self, entry: Entry) -> None:
        """Add a head's block for HTTP/2 to a footprint, if one has been made and is not yet part of it."""
        if entry.head.block is not None and not entry.block_counted:
            entry.footprint_bytes += allocated_bytes(entry.head.block)
            entry.block_counted = True

    def _share(self, kind: str, content: Any, value: Any) -> tuple[Any, int]:
        """Return a value, or the equal one that others have, and the bytes that it adds to memory.

        :param kind: tuples of different kinds may be equal.
        :param content: what makes two values equal.
        """
        key = (kind, content)
        found = self._shared.recall(key)
        if found is not None:
            return found, 0
        size = deep_bytes(value)
        if 0 < size <= _MOST_SHARED_BYTES:
            self._shared.learn(key, value)
        return value, size
