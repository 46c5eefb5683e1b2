"""``txproxy run`` with its work counted: ``python -m bench.work.counted_run DESCRIPTOR BY_LINE ARGUMENT ...``.

Nothing of the product is changed. Three things around it are: the interpreter counts, the clocks stand still but for a
microsecond with each look, and the reactor's epoll object listens to commands whenever there is nothing
else to be done. So the counts of equal requests are equal, whatever the machine does meanwhile.

Commands are lines on a socket, each answered by one line:

``idle``    answered when all that can be done is done
``hold``    the same, and from then on nothing is done until the next command
``go``      answered at once
``count``   counting begins
``tick``    the clocks go on to the next second, and what is due then is done
``read``    answered with all counts as JSON
"""

from __future__ import annotations

import gc
import json
import os
import random
import select
import socket
import sys
import time
from types import CodeType

from bench.work.counting import Counter

LOOK_S = 1e-6
_AFTER_S = 0.05
"""Between what comes every full second since the start, and what comes ten times a second: neither is due meanwhile."""
_FIRST_SECOND = 1_000_000
"""Of the clocks that have no date."""


class Clock:
    """Takes the place of one of :mod:`time`.

    An object and no function: as an attribute of a class, a function would be taken for a method.

    :param begin_s: the first second.
    :param scale: what it shows of a second; in whole numbers if that is not 1.
    """

    def __init__(self, begin_s: int, scale: int = 1) -> None:
        self._begin_s = float(begin_s)
        self._scale = scale
        self._looks = 0

    def __call__(self) -> float:
        """Return the time."""
        self._looks += 1
        now = self._begin_s + LOOK_S * self._looks
        return now if self._scale == 1 else int(now * self._scale)

    def step(self) -> None:
        """Go on to shortly after the next full second."""
        self._begin_s = int(self._begin_s + LOOK_S * self._looks) + 1 + _AFTER_S
        self._looks = 0


class Gate:
    """Takes the place of ``select.epoll``: waits for descriptors, and for commands when nothing else is to be done."""

    commands: socket.socket
    counter: Counter
    clocks: tuple[Clock, ...]

    def __init__(self, *_size_hint: int) -> None:
        real = self._real = _EPOLL()
        # Those of the object itself, so that they are called, and counted, as they are without us.
        self.register, self.modify, self.unregister = real.register, real.modify, real.unregister
        self.fileno, self.close = real.fileno, real.close
        self._both = select.poll()
        self._both.register(real.fileno(), select.POLLIN)
        self._both.register(self.commands.fileno(), select.POLLIN)
        self._counting = False
        self._lines = self.commands.makefile("r")

    def poll(self, timeout: float | None = -1, maxevents: int = -1) -> list[tuple[int, int]]:
        """Wait as ``select.epoll.poll`` does, but for the time that never comes by itself."""
        # By this function itself, for what it calls would be counted.
        sys.setprofile(None)
        sys.settrace(None)
        events = self._wait(-1 if timeout is None else timeout, maxevents)
        if self._counting:
            self.counter.on(sys._getframe(1))
        return events

    def _wait(self, timeout: float, maxevents: int) -> list[tuple[int, int]]:
        while True:
            events = self._real.poll(0, maxevents)
            if events or timeout == 0:
                return events
            ready = [descriptor for descriptor, _ in self._both.poll()]
            # What the descriptors have comes first: a command is to find nothing undone.
            if self._real.fileno() not in ready and self._obey():
                return []

    def _obey(self) -> bool:
        """Obey one command, and all that follow a ``hold``; return whether something may be due now."""
        due = False
        while command := self._lines.readline().strip():
            answer = ""
            if command == "count":
                gc.disable()  # Whatever a collection has to finalize comes sooner or later, and not always the same.
                self._counting = True
            elif command == "tick":
                for clock in self.clocks:
                    clock.step()
                due = True
            elif command == "read":
                answer = json.dumps(self.counter.counts())
            self.commands.sendall(f"{command} {answer}\n".encode())
            if command != "hold":
                return due
        os._exit(1)  # Whoever gave commands is gone, and the reactor would take an exception for a mere failure.


_EPOLL = select.epoll


def prepare(descriptor: int, by_line: bool) -> None:
    """Put the clocks and the gate in their places; to be called before anything that uses them is imported.

    :param descriptor: of a connected stream socket, for commands.
    """
    random.seed(0)
    clocks = {
        "monotonic": Clock(_FIRST_SECOND),
        "perf_counter": Clock(_FIRST_SECOND),
        "time": Clock(int(time.time())),
        "monotonic_ns": Clock(_FIRST_SECOND, 1_000_000_000),
        "time_ns": Clock(int(time.time()), 1_000_000_000),
    }
    for name, clock in clocks.items():
        setattr(time, name, clock)
    stand_ins: dict[CodeType, str] = {Clock.__call__.__code__: "time.*", Gate.poll.__code__: "epoll.poll"}
    Gate.commands = socket.socket(fileno=descriptor)
    Gate.counter = Counter(stand_ins, by_line)
    Gate.clocks = tuple(clocks.values())
    select.epoll = Gate  # type: ignore[misc, assignment]


def run(arguments: list[str]) -> int:
    """Run the product's own command."""
    from txproxy.main import main

    return main(arguments)


if __name__ == "__main__":
    # By the name under which it is imported: what runs as __main__ would be there twice.
    from bench.work import counted_run

    counted_run.prepare(int(sys.argv[1]), sys.argv[2] == "1")
    sys.exit(counted_run.run(sys.argv[3:]))
