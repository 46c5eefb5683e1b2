"""A resolver that knows what a test tells it."""

from __future__ import annotations

from twisted.internet.defer import Deferred, fail, succeed

from txproxy.policy.dns_members import sorted_addresses
from txproxy.upstream.names.resolver import Answer, ResolveFailed


class FakeResolver:
    """Stands for ``txproxy.upstream.names.resolver.Resolver``; names that nothing was said about do not exist."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """All names that were asked for, in their order."""
        self.waiting: dict[Deferred[Answer], str] = {}
        """Questions that were not answered because the name is held, with their names."""
        self._answers: dict[str, Answer] = {}
        self._reasons: dict[str, str] = {}
        self._held: set[str] = set()

    def set(self, name: str, *addresses: str, ttl_s: float = 60, missing: str = "") -> None:
        """Let a name have addresses of either family from now on.

        :param missing: the family, ``v4`` or ``v6``, about which nothing is known.
        """
        self._reasons.pop(name, None)
        self._answers[name] = Answer(*sorted_addresses(addresses), ttl_s, missing)

    def fail(self, name: str, reason: str = "no name server answers") -> None:
        """Let questions for a name fail from now on."""
        self._reasons[name] = reason

    def hold(self, name: str) -> None:
        """Let questions for a name wait until ``release``."""
        self._held.add(name)

    def release(self, name: str) -> None:
        """Answer the questions for a name that wait, and those to come at once."""
        self._held.discard(name)
        for question in [each for each, asked in self.waiting.items() if asked == name]:
            del self.waiting[question]
            self._found(name).chainDeferred(question)

    def resolve(self, name: str) -> Deferred[Answer]:
        """See ``Resolver.resolve``."""
        self.asked.append(name)
        if name not in self._held:
            return self._found(name)
        question: Deferred[Answer] = Deferred(self.waiting.__delitem__)
        self.waiting[question] = name
        return question

    def _found(self, name: str) -> Deferred[Answer]:
        reason = self._reasons.get(name)
        if reason is not None or name not in self._answers:
            return fail(ResolveFailed(reason or "there is no such name"))
        return succeed(self._answers[name])
