"""What a name server says: a zone that a test changes as it likes, for memory reactors and for real sockets alike."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any, NamedTuple

from twisted.names import dns

KINDS = {dns.A: "A", dns.AAAA: "AAAA", dns.CNAME: "CNAME"}
REFUSED, SERVER_FAILURE, NO_SUCH_NAME = dns.EREFUSED, dns.ESERVER, dns.ENAME
_MOST_DATAGRAM_BYTES = 512


class Asked(NamedTuple):
    """A question that came."""

    name: str
    kind: str
    over_tcp: bool
    at: float
    """Moment of the monotonic clock."""


class Zone:
    """Names and what is answered for them. A name that it does not have gets NXDOMAIN."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        """All questions, in their order."""
        self.is_mute = False
        """Nothing is answered."""
        self.mute_kinds: set[str] = set()
        """Questions for these kinds of records are not answered."""
        self.mute_names: set[str] = set()
        """Likewise for these names."""
        self.follows_aliases = True
        """As a recursive server does."""
        self._records: dict[str, list[dns.RRHeader]] = {}
        self._codes: dict[tuple[str, str], int] = {}

    def set(self, name: str, addresses: Iterable[str], ttl_s: int = 1) -> None:
        """Replace all that is known of a name by addresses; without any, the name exists and has none."""
        self._records[name] = [
            dns.RRHeader(name, dns.AAAA, ttl=ttl_s, payload=dns.Record_AAAA(each, ttl_s))
            if ":" in each
            else dns.RRHeader(name, dns.A, ttl=ttl_s, payload=dns.Record_A(each, ttl_s))
            for each in addresses
        ]

    def alias(self, name: str, target: str | bytes, ttl_s: int = 1) -> None:
        """Make a name an alias of another one."""
        self._records[name] = [dns.RRHeader(name, dns.CNAME, ttl=ttl_s, payload=dns.Record_CNAME(target, ttl_s))]

    def remove(self, name: str) -> None:
        """Forget a name."""
        self._records.pop(name, None)

    def fail(self, name: str, code: int, kind: str = "") -> None:
        """Answer questions for a name, or for one kind of its records, by a code; 0 ends that."""
        for each in [kind] if kind else ["A", "AAAA"]:
            self._codes[name, each] = code

    def reply(self, data: bytes, over_tcp: bool = False) -> bytes | None:
        """Return what is answered to a message; None for nothing."""
        question = dns.Message()
        question.fromStr(data)
        query = question.queries[0]
        name, kind = query.name.name.decode().lower(), KINDS.get(query.type, str(query.type))
        self.asked.append(Asked(name, kind, over_tcp, time.monotonic()))
        if self.is_mute or kind in self.mute_kinds or name in self.mute_names:
            return None
        answer = dns.Message(question.id, answer=1, recDes=1, recAv=int(self.follows_aliases), auth=True)
        answer.maxSize = 0 if over_tcp else _MOST_DATAGRAM_BYTES
        answer.queries = [query]
        answer.rCode = self._codes.get((name, kind), 0)
        if not answer.rCode:
            answer.rCode, answer.answers = self._found(name, query.type)
        return answer.toStr()

    def _found(self, name: str, type: int) -> tuple[int, list[Any]]:
        found: list[Any] = []
        for _ in range(20):
            if name not in self._records:
                return NO_SUCH_NAME, found
            records = self._records[name]
            found += [each for each in records if each.type in (type, dns.CNAME)]
            aliases = [each for each in records if each.type == dns.CNAME]
            if not aliases or not self.follows_aliases:
                break
            alias: Any = aliases[0].payload
            name = alias.name.name.decode().lower()
        return 0, found
