"""A reload that goes from worker to worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from txproxy.observe.log import Logger
from txproxy.supervisor import messages
from txproxy.supervisor.crew import Crew
from txproxy.supervisor.member import Member
from txproxy.supervisor.sockets import Listening

log = Logger()


class Rolling:
    """Has all workers serve another configuration, one after the other.

    The first one decides: what it cannot serve, none of them will. From then on whoever cannot follow is replaced.

    :param crew: the workers.
    :param opened: addresses that are new.
    :param count: how many workers there are to be.
    :param adopt: called when the first one serves the configuration: whoever begins from here on serves it too.
    """

    def __init__(self, crew: Crew, opened: Iterable[Listening], count: int, adopt: Callable[[], None]) -> None:
        self._crew = crew
        self._opened = list(opened)
        self._count = count
        self._adopt = adopt
        self._next = crew.generation + 1
        self._is_adopted = False
        self._done: Deferred[list[str]] = Deferred()

    def begin(self) -> Deferred[list[str]]:
        """Begin.

        :return: fires with what is wrong with the configuration; nothing if all serve it, or the crew is stopping.
        """
        try:
            self._go_on()
        except Exception:
            self._failed(Failure())
        return self._done

    def _go_on(self) -> None:
        if self._crew.is_stopping:
            self._done.callback([])
            return
        waiting = [each for each in self._crew.staying if each.generation < self._next]
        # One that has just begun would be busy with that: its place has the old configuration.
        member = next((each for each in waiting if each.is_ready), next(iter(waiting), None))
        if member is None:
            self._is_served()
            self._crew.resize(self._count)
            self._done.callback([])
            return
        if member.number >= self._count and self._is_adopted:
            member.generation = self._next  # It will not stay.
            self._go_on()
            return
        channel, number = member.channel, member.number
        for each in self._opened:
            descriptor = each.of(number).fileno()
            channel.ask(messages.Take, address=str(each.address), socket=descriptor).addErrback(_ignore)
        asked = channel.ask(messages.Reload, workers=self._count)
        asked.addCallbacks(
            lambda answer: self._answered(member, answer["errors"]),
            lambda failure: self._was_lost(member, failure.value),
        ).addErrback(self._failed)

    def _answered(self, member: Member, errors: object) -> None:
        if not errors:
            member.generation = self._next
            self._is_served()
        elif not self._crew.is_stopping:
            texts = [str(each) for each in errors] if isinstance(errors, list) else [str(errors)]
            if not self._is_adopted:
                self._done.callback(texts)
                return
            log.error("{member} cannot follow and is replaced: {why}", member=member, why="; ".join(texts))
            self._crew.dismiss(member)
        self._go_on()

    def _was_lost(self, member: Member, why: Exception) -> None:
        if self._crew.is_stopping:
            self._go_on()
            return
        if not self._is_adopted:
            # It may have been the configuration that it did not survive: no other one is to try.
            self._done.callback([f"{member} was to serve it first, and {why}"])
            return
        log.error("{member} cannot follow: {why}", member=member, why=why)
        if not member.is_out_of_reach:
            self._crew.dismiss(member)
        self._go_on()

    def _failed(self, failure: Failure) -> None:
        log.failure("a reload has stopped half-way", failure)
        if not self._done.called:
            # Who has not followed yet is asked again at the next one.
            self._done.callback([] if self._is_adopted else [failure.getErrorMessage()])

    def _is_served(self) -> None:
        """Have those who begin from here on serve it, too."""
        if not self._is_adopted:
            self._is_adopted = True
            self._crew.generation = self._next
            self._adopt()


def _ignore(_failure: object) -> None:
    """The answer to what follows says the same."""
