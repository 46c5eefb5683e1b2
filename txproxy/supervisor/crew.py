"""All workers as the supervisor sees them: who has which place, who replaces whom, who is told what."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall
from twisted.python.failure import Failure

from txproxy.observe.log import Logger
from txproxy.supervisor import messages
from txproxy.supervisor.backoff import Backoff
from txproxy.supervisor.member import Member
from txproxy.supervisor.memory import Order, Orders, Verdict, Verdicts
from txproxy.supervisor.messages import Refused
from txproxy.supervisor.place import Place
from txproxy.supervisor.totals import Totals

log = Logger()

_PATIENCE_S = 3.0
"""How long a report waits for a worker."""
_LOOK_EVERY_S = 1.0
_REAP_EVERY_S = 0.01
"""Between two looks at a process whose connection is gone."""
_LONGEST_END_S = 5.0
"""How long such a process may take to end; then it is killed."""
_AGAIN_S = 1.0
"""How long a start that failed is in the past before the next one, while nobody serves yet."""


class CrewTools(NamedTuple):
    """What a crew needs."""

    reactor: Any
    """Provides IReactorTime."""
    launcher: Any
    """See ``member.Launcher``."""
    make_place: Callable[[int, bool], Place]
    """Given a number and whether it is to check backends, returns the place of a worker that begins."""
    all_serve: Callable[[], None]
    """Called once, when every place has a worker that serves."""
    none_can_begin: Callable[[], None]
    """Called if each worker has ended before any of them served."""
    all_have_ended: Callable[[], None]
    """Called when the crew was told to stop and the last one has ended."""


class _Post:
    """A place for a worker: one process after the other has it."""

    def __init__(self) -> None:
        self.member: Member | None = None
        self.backoff = Backoff()
        self.next_start: IDelayedCall | None = None

    def forget_start(self) -> None:
        """Start nobody any more."""
        if self.next_start is not None and self.next_start.active():
            self.next_start.cancel()
        self.next_start = None


class Crew:
    """Some workers, which are replaced when they end.

    :param tools: see there.
    """

    def __init__(self, tools: CrewTools) -> None:
        self._tools = tools
        self._reactor = tools.reactor
        self.generation = 0
        """How many configurations came before the one that workers begin with."""
        self.totals = Totals()
        self.verdicts = Verdicts()
        self.orders = Orders()
        self.clusters: Mapping[str, Any] = {}
        """Those that there are."""
        self._posts: list[_Post] = []
        self._members: dict[int, Member] = {}
        """All that have not ended, by process id."""
        self._checker: Member | None = None
        """The one that checks backends."""
        self._looks = LoopingCall(self._look)
        self._looks.clock = self._reactor
        self._was_complete = False
        self.is_stopping = False
        """They were told to end."""

    @property
    def members(self) -> list[Member]:
        """All workers that have not ended, the oldest first."""
        return list(self._members.values())

    @property
    def staying(self) -> list[Member]:
        """Those that have a place, and can be talked to."""
        return [each for each in self._members.values() if not each.is_leaving and not each.is_out_of_reach]

    def resize(self, count: int) -> None:
        """Have so many workers from here on."""
        if not self._looks.running:
            self._looks.start(_LOOK_EVERY_S, now=False)
        for number in range(len(self._posts), count):
            self._posts.append(_Post())
            self._start(number)
        gone, self._posts = self._posts[count:], self._posts[:count]
        for post in gone:
            post.forget_start()
            if post.member is not None:
                self.dismiss(post.member)

    def dismiss(self, member: Member) -> None:
        """Have a worker finish what is under way and end; its place is free for another, if there is such a place."""
        member.is_leaving = True
        post = self._vacate(member)
        member.channel.tell(messages.Stop)
        if post is not None:
            self._start(member.number)
        self._choose_checker()

    def stop(self) -> None:
        """Have all of them finish what is under way and end."""
        self.is_stopping = True
        for post in self._posts:
            post.forget_start()
        self.tell_all(messages.Stop)
        if not self._members:
            self._end()

    def kill_all(self) -> None:
        """End those that are left at once."""
        for member in self.members:
            log.error("{member} did not end in time and is killed", member=member)
            self._tools.launcher.kill(member.pid)

    def _end(self) -> None:
        if self._looks.running:
            self._looks.stop()
        self._tools.all_have_ended()

    # How they come and go.

    def _start(self, number: int) -> None:
        """Start the worker of a place."""
        if self.is_stopping or number >= len(self._posts):
            return
        post = self._posts[number]
        post.next_start = None
        if post.member is not None:
            return
        member = Member(number, self, self._reactor.seconds(), self.generation)
        is_checking = self._checker is None
        try:
            self._tools.launcher.launch(member, self._tools.make_place(number, is_checking))
        except OSError as reason:
            log.error("worker {number} cannot be started: {reason}", number=number + 1, reason=reason)
            self._start_later(post, number, max(_AGAIN_S, post.backoff.died(0.0)))
            return
        post.member = self._members[member.pid] = member
        if is_checking:
            self._checker = member

    def _start_later(self, post: _Post, number: int, delay_s: float) -> None:
        post.next_start = self._reactor.callLater(delay_s, self._start, number)

    def _vacate(self, member: Member) -> _Post | None:
        """Return the place that a member had till now, if it had one."""
        post = next((each for each in self._posts if each.member is member), None)
        if post is not None:
            post.member = None
        return post

    def _look(self) -> None:
        for member in self.members:
            member.channel.look()
            # Who has ended may have left somebody behind who holds the connection open.
            self._reap(member, None)

    def _reap(self, member: Member, patience_until: float | None) -> None:
        """See whether a process has ended.

        :param patience_until: look again and again until it has, and kill it after this moment; None: look once.
        """
        if member.pid not in self._members:
            return
        ended = self._tools.launcher.status_of(member.pid)
        if ended:
            self._has_ended(member, ended)
        elif patience_until is not None:
            if self._reactor.seconds() >= patience_until:
                self._tools.launcher.kill(member.pid)
            self._reactor.callLater(_REAP_EVERY_S, self._reap, member, patience_until)

    def _has_ended(self, member: Member, how: str) -> None:
        del self._members[member.pid]
        member.is_out_of_reach = True
        self.totals.ended(member.pid)
        post = self._vacate(member)
        if self.is_stopping:
            if not self._members:
                self._end()
            return
        if post is not None:
            self._died(member, post, how)
        self._choose_checker()

    def _died(self, member: Member, post: _Post, how: str) -> None:
        """See to it that somebody takes the place of a member that has died."""
        why = f": {member.reason}" if member.reason else ""
        none_serves = not self._was_complete and not any(each.is_ready for each in (member, *self.members))
        if none_serves and not self._members:
            log.error("{member} {how}{why}; no worker could begin", member=member, how=how, why=why)
            self._tools.none_can_begin()
            return
        delay_s = post.backoff.died(self._reactor.seconds() - member.began_at)
        if none_serves:
            delay_s = max(delay_s, _AGAIN_S)
        when = f"in {delay_s:g} s" if delay_s else "now"
        log.error("{member} {how}{why}; it is replaced {when}", member=member, how=how, why=why, when=when)
        self._start_later(post, member.number, delay_s)

    # What members say.

    def began(self, member: Member) -> None:
        """Take note that a member serves."""
        if self._was_complete:
            log.info("{member} serves", member=member)
        elif all(post.member is not None and post.member.is_ready for post in self._posts):
            self._was_complete = True
            self._tools.all_serve()
        self._choose_checker()

    def left(self, member: Member) -> None:
        """Take note that a member stops of itself: another one has its place from here on."""
        if self._vacate(member) is not None:
            log.info("{member} was told to stop: another one takes its place", member=member)
            self._start(member.number)
        self._choose_checker()

    def lost(self, member: Member) -> None:
        """Take note that the connection to a member is gone."""
        self._reap(member, self._reactor.seconds() + _LONGEST_END_S)

    def counted(self, member: Member, numbers: Mapping[object, object]) -> None:
        """Take a member's numbers."""
        self.totals.tell(member.pid, numbers)

    def found(self, member: Member, verdict: Verdict) -> None:
        """Pass on what a member has found out of a backend."""
        if verdict.cluster not in self.clusters:
            return
        self.verdicts.take(verdict, self._reactor.seconds())
        for other in self._members.values():
            if other is not member:
                other.hear(verdict)

    def swept(self, member: Member, urls: list[str]) -> Deferred[int]:
        """Have all other members purge what requests have purged at one; return how many replies are gone there."""
        return self._purge([each for each in self._members.values() if each is not member], "url", urls)

    def _choose_checker(self) -> None:
        """See to it that one member checks the backends."""
        if self._checker in self.staying or self.is_stopping:
            return
        self._checker = next((each for each in self.staying if each.is_ready), None)
        if self._checker is not None:
            log.debug("{member} checks the backends from here on", member=self._checker)
            self._checker.channel.tell(messages.SetChecking, on=True)

    # What all of them are told.

    def tell_all(self, command: Any, **arguments: Any) -> None:
        """Say something to all."""
        for member in self.members:
            member.channel.tell(command, **arguments)

    def order(self, order: Order) -> Deferred[None]:
        """Have an order carried out by all workers, and by those to come.

        The Deferred fails with KeyError or ValueError as the call does if nobody can, or with ``Refused``.
        """
        body = [order.cluster, order.call, list(order.arguments)]
        members = self.staying
        asked = [member.channel.ask(messages.Carry, order=body) for member in members]

        def settle(results: list[tuple[bool, Any]]) -> None:
            failures = [result for is_done, result in results if not is_done]
            if len(failures) == len(results):
                (failures[0] if failures else Failure(Refused("there is no worker"))).raiseException()
            # Who could not has another view of the DNS, or is gone.
            self.orders.take(order)
            # Who began meanwhile was not asked, and the order was not among those that it began with.
            for member in self.staying:
                if member not in members:
                    member.channel.ask(messages.Carry, order=body).addErrback(lambda _: None)

        return DeferredList(asked, consumeErrors=True).addCallback(settle)

    def purge(self, kind: str, value: bytes) -> Deferred[int]:
        """Remove replies from the caches of all workers; return how many are gone."""
        return self._purge(self.members, kind, [value.decode("latin-1")])

    def _purge(self, members: list[Member], kind: str, values: list[str]) -> Deferred[int]:
        asked = [member.channel.ask(messages.Purge, kind=kind, values=values) for member in members]
        done = DeferredList(asked, consumeErrors=True)
        return done.addCallback(lambda results: sum(each["count"] for is_done, each in results if is_done))

    def reports(self) -> Deferred[list[dict[str, Any]]]:
        """Return the reports of all workers that can be talked to and answer in time; see ``Worker.report``."""
        asked = [member.channel.ask(messages.Report) for member in self.members if not member.is_out_of_reach]
        patience = [self._reactor.callLater(_PATIENCE_S, each.cancel) for each in asked]

        def gather(results: list[tuple[bool, Any]]) -> list[dict[str, Any]]:
            for each in patience:
                if each.active():
                    each.cancel()
            return [answer["report"] for is_done, answer in results if is_done and isinstance(answer["report"], dict)]

        return DeferredList(asked, consumeErrors=True).addCallback(gather)
