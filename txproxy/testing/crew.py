"""Workers without processes, for tests of what a supervisor does with them."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred


class FakeChannel:
    """Stands for the connection to a worker: keeps what it is told, and answers when the test says so."""

    def __init__(self) -> None:
        self.told: list[tuple[str, dict[str, Any]]] = []
        """Names of commands with their arguments, those that are asked included."""
        self.asked: list[tuple[str, Deferred[dict[str, Any]]]] = []
        """What waits for an answer."""
        self.looks = 0

    def tell(self, command: Any, **arguments: Any) -> None:
        """See ``Channel``."""
        self.told.append((command.__name__, arguments))

    def ask(self, command: Any, **arguments: Any) -> Deferred[dict[str, Any]]:
        """See ``Channel``."""
        self.told.append((command.__name__, arguments))
        answer: Deferred[dict[str, Any]] = Deferred()
        self.asked.append((command.__name__, answer))
        return answer

    def answers(self, **answer: Any) -> None:
        """Give the answer to what was asked first."""
        self.asked.pop(0)[1].callback(answer)

    def fails(self, error: Exception) -> None:
        """Fail at what was asked first."""
        self.asked.pop(0)[1].errback(error)

    def look(self) -> None:
        """See ``MemberChannel``."""
        self.looks += 1


class FakeWorker:
    """Stands for a process.

    :param member: what the supervisor knows of it.
    :param place: what it was given.
    """

    def __init__(self, member: Any, place: Any) -> None:
        self.member = member
        self.place = place
        self.channel = FakeChannel()
        self.ended = ""
        """How it has ended, in words."""

    def begins(self) -> None:
        """Say that it serves."""
        self.member.has_begun()

    def ends(self, how: str = "ended with status 0") -> None:
        """End, as the supervisor sees it: the connection first."""
        self.ended = how
        self.member.is_lost()


class FakeLauncher:
    """Starts workers that are not there."""

    def __init__(self) -> None:
        self.workers: list[FakeWorker] = []
        """All that were ever started."""
        self.killed: list[int] = []
        self.failure: OSError | None = None
        """Why no process can be started, if that is so."""

    def launch(self, member: Any, place: Any) -> None:
        """See ``Launcher``."""
        if self.failure is not None:
            raise self.failure
        worker = FakeWorker(member, place)
        self.workers.append(worker)
        member.pid = 100 + len(self.workers)
        member.channel = worker.channel

    def status_of(self, pid: int) -> str:
        """See ``Launcher``."""
        return self.workers[pid - 101].ended

    def kill(self, pid: int) -> None:
        """See ``Launcher``."""
        self.killed.append(pid)
        self.workers[pid - 101].ended = "was killed by SIGKILL"
