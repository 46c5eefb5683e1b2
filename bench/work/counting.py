"""Counting what the interpreter does: Python calls, calls of C functions, bytecodes, by the function that does it.

The counts come from ``sys.setprofile`` and ``sys.settrace`` of the thread that switches them on, so that no other
thread and no clock has a part in them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent

Counts = dict[str, dict[str, int]]
"""Numbers by what is counted (``calls``, ``c_calls``, ``bytecodes``, perhaps ``lines``) and by name.

C calls are counted by the names of both functions, with ``CALLS`` between them.
"""
CALLS = " calls "


class Counter:
    """Counts from :meth:`on` until somebody calls ``sys.setprofile(None)`` and ``sys.settrace(None)``, again and again.

    What is made of functions in *stand_ins* is counted as the C call that they stand in for, and their own work is not.

    :param stand_ins: names of C functions by the code of the Python functions that take their places.
    :param by_line: count bytecodes by line too.
    """

    def __init__(self, stand_ins: dict[CodeType, str], by_line: bool = False) -> None:
        # By id: to hash a code object is to hash all that it holds. Those in _codes stay alive, so no id comes twice.
        self._stand_ins = {id(code): name for code, name in stand_ins.items()}
        self._codes: dict[int, CodeType] = {id(code): code for code in stand_ins}
        self._calls: dict[int, int] = {}
        self._bytecodes: dict[int, int] = {}
        self._c_calls: dict[tuple[int, str], int] = {}
        self._lines: dict[tuple[int, int], int] = {}
        self._trace_call, self._trace = self._make_tracers(by_line)

    def on(self, frame: FrameType | None) -> None:
        """Count from here on.

        :param frame: the innermost of those that run already and whose bytecodes count.
        """
        while frame is not None:
            if id(frame.f_code) not in self._stand_ins:
                self._meet(frame.f_code)
                frame.f_trace_lines = False
                frame.f_trace_opcodes = True
                frame.f_trace = self._trace
            frame = frame.f_back
        sys.settrace(self._trace_call)
        sys.setprofile(self._profile)

    def counts(self) -> Counts:
        """Return all that was counted so far, by names of functions as :func:`name_of` makes them."""
        names = {number: name_of(code) for number, code in self._codes.items()}
        found: Counts = {"c_calls": {}}
        for (number, called), count in self._c_calls.items():
            _add(found["c_calls"], f"{names[number]}{CALLS}{called}", count)
        for key, counted in (("calls", self._calls), ("bytecodes", self._bytecodes)):
            found[key] = {}
            for number, count in counted.items():
                _add(found[key], names[number], count)
        if self._lines:
            found["lines"] = {}
            for (number, line), count in self._lines.items():
                _add(found["lines"], f"{file_of(self._codes[number])}:{line}", count)
        return found

    def _meet(self, code: CodeType) -> None:
        number = id(code)
        if number not in self._codes:
            self._codes[number] = code
        self._calls.setdefault(number, 0)
        self._bytecodes.setdefault(number, 0)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        number = id(frame.f_code)
        if event == "call":
            stands_for = self._stand_ins.get(number)
            if stands_for is None:
                self._meet(frame.f_code)
                self._calls[number] += 1
            elif frame.f_back is not None and id(frame.f_back.f_code) not in self._stand_ins:
                self._meet(frame.f_back.f_code)
                self._count_c_call(id(frame.f_back.f_code), stands_for)
        elif event == "c_call" and number not in self._stand_ins:
            self._meet(frame.f_code)
            self._count_c_call(number, c_name_of(argument))

    def _count_c_call(self, caller: int, name: str) -> None:
        key = caller, name
        self._c_calls[key] = self._c_calls.get(key, 0) + 1

    def _make_tracers(self, by_line: bool) -> tuple[Callable[..., Any], Callable[..., Any]]:
        bytecodes, lines, stand_ins = self._bytecodes, self._lines, self._stand_ins

        def trace(frame: FrameType, event: str, _argument: Any) -> Any:
            if event == "opcode":
                bytecodes[id(frame.f_code)] += 1
            return trace

        def trace_lines(frame: FrameType, event: str, _argument: Any) -> Any:
            if event == "opcode":
                number = id(frame.f_code)
                bytecodes[number] += 1
                key = number, frame.f_lineno or 0
                lines[key] = lines.get(key, 0) + 1
            return trace_lines

        chosen = trace_lines if by_line else trace

        def trace_call(frame: FrameType, _event: str, _argument: Any) -> Any:
            if id(frame.f_code) in stand_ins:
                return None
            self._meet(frame.f_code)
            frame.f_trace_lines = False
            frame.f_trace_opcodes = True
            return chosen

        return trace_call, chosen


def _add(numbers: dict[str, int], name: str, count: int) -> None:
    numbers[name] = numbers.get(name, 0) + count


def file_of(code: CodeType) -> str:
    """Return the file of a function, from the project's or the library's root on."""
    path = code.co_filename
    for root in (f"{ROOT}/", "site-packages/", f"python{sys.version_info[0]}.{sys.version_info[1]}/"):
        if root in path:
            return path.rpartition(root)[2]
    return path


def name_of(code: CodeType) -> str:
    """Return how a function is called in tables: its file and its name with that of its class."""
    return f"{file_of(code)} {code.co_qualname}"


def c_name_of(function: Any) -> str:
    """Return the name of a C function with that of its type or module: ``socket.recv``, ``time.gmtime``."""
    name = getattr(function, "__name__", "?")
    owner = getattr(function, "__objclass__", None) or getattr(function, "__self__", None)
    if isinstance(owner, type):
        return f"{owner.__name__}.{name}"
    module = getattr(function, "__module__", None)
    if module or owner is None:
        return f"{module or '?'}.{name}"
    return f"{getattr(owner, '__name__', None) or type(owner).__name__}.{name}"
