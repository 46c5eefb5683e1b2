"""Checks by functions of users."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed

from txproxy.test.upstream.checks.probe_case import PASSED, TARGET, ProbeCase
from txproxy.test.upstream.observing import logged
from txproxy.upstream.checks.probes import ProbeSettings, ProbeTarget, make_probe


class Odd:
    """Equal to everything, and cannot be shown."""

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("do not compare me")

    def __repr__(self) -> str:
        raise RuntimeError("do not show me")

    __hash__ = None  # type: ignore[assignment]


class Unspeakable(BaseException):
    """Cannot be shown."""

    def __str__(self) -> str:
        raise RuntimeError("do not show me")


class PythonCase(ProbeCase):
    """Checks by a function."""

    def verdict(self, function: Callable[[ProbeTarget], Any]) -> str:
        self.verdicts.clear()
        self.begin(type="site:probe", function=function)
        self.assertEqual(len(self.verdicts), 1)
        return self.verdicts[0]


class AnswerTests(PythonCase):
    """What the function may answer."""

    def test_answers(self) -> None:
        """True, "up" and None are well; False, "down" and any other text are not."""
        for answer, verdict in (
            (True, PASSED),
            ("up", PASSED),
            (None, PASSED),
            (False, "down"),
            ("down", "down"),
            ("", "down"),
            ("the replica lags by 40 s", "the replica lags by 40 s"),
        ):
            with self.subTest(answer):

                async def in_a_coroutine(target: ProbeTarget, answer: Any = answer) -> Any:
                    return await succeed(answer)

                self.assertEqual(self.verdict(lambda target, answer=answer: answer), verdict)
                self.assertEqual(self.verdict(lambda target, answer=answer: succeed(answer)), verdict)
                self.assertEqual(self.verdict(in_a_coroutine), verdict)
                self.assertEqual(self.verdict(lambda target: succeed(in_a_coroutine(target))), verdict)

    def test_textThatFails(self) -> None:
        """Text whose own methods raise is a failure like any other, and nothing is left of it in the log."""

        class Hostile(str):
            __slots__ = ()

            def split(self, *_: Any) -> Any:
                raise RuntimeError("do not look at me")

            def __eq__(self, other: object) -> bool:
                raise RuntimeError("do not compare me")

            __hash__ = None  # type: ignore[assignment]

        with logged() as lines:
            self.assertIn("RuntimeError", self.verdict(lambda target: Hostile("down")))
        self.assertEqual(lines, [])

    def test_garbage(self) -> None:
        """Whatever else it answers is a failure that says what came."""
        for answer, kind in ((1, "int"), (0, "int"), (b"up", "bytes"), ([], "list"), (Odd(), "Odd"), (object, "type")):
            with self.subTest(kind):
                for function in (lambda target, answer=answer: answer, lambda target, answer=answer: succeed(answer)):
                    verdict = self.verdict(function)
                    self.assertEqual(verdict, f"the function returned {kind}, not True, False or a reason")

    def test_target(self) -> None:
        """It is told what to check."""
        targets: list[ProbeTarget] = []
        self.verdict(targets.append)
        self.assertEqual(targets, [TARGET])
        self.assertEqual(
            (targets[0].name, targets[0].hosts, targets[0].port), ("app.example:8080", ("192.0.2.1",), 8080)
        )

    def test_noFunction(self) -> None:
        """A probe of this type cannot be made without one."""
        self.assertRaises(ValueError, make_probe, ProbeSettings(type="site:probe"), self.reactor)


class RaisingTests(PythonCase):
    """What the function raises is the reason."""

    def test_whatItRaises(self) -> None:
        """The exception and where it was raised, also of those that end other programs."""

        def raising(error: BaseException) -> Any:
            raise error

        async def later(error: BaseException) -> Any:
            await succeed(None)
            raise error

        for error, words in (
            (ValueError("no such table"), "ValueError: no such table (test_probe_python.py:"),
            (ValueError("two\nlines"), "ValueError: two lines (test_probe_python.py:"),
            (ZeroDivisionError(), "ZeroDivisionError (test_probe_python.py:"),
            (SystemExit(1), "SystemExit: 1 (test_probe_python.py:"),
            (KeyboardInterrupt(), "KeyboardInterrupt (test_probe_python.py:"),
            (Unspeakable(), "Unspeakable (test_probe_python.py:"),
        ):
            with self.subTest(words):
                self.assertTrue(self.verdict(lambda target, error=error: raising(error)).startswith(words))
                self.assertTrue(self.verdict(lambda target, error=error: later(error)).startswith(words))
                self.assertTrue(
                    self.verdict(
                        lambda target, error=error: succeed(None).addCallback(lambda _: raising(error))
                    ).startswith(words)
                )
        self.assertEqual(self.verdict(lambda target: fail(ValueError("x"))), "ValueError: x")

    def test_wrongSignature(self) -> None:
        """A function that does not take the target cannot be called."""
        verdict = self.verdict(lambda: True)  # type: ignore[arg-type]
        self.assertTrue(verdict.startswith("TypeError: ") and verdict.endswith("was given"), verdict)


class TimeTests(PythonCase):
    """Functions that take their time."""

    def test_deferred(self) -> None:
        """The answer may come later."""
        answer: Deferred[Any] = Deferred()
        self.begin(type="x", function=lambda target: answer)
        self.advance(1.9)
        self.assert_verdict()
        answer.callback("up")
        self.assert_verdict(PASSED)

    def test_timeout(self) -> None:
        """What takes longer than the timeout has failed, and is cancelled."""
        cancelled: list[Any] = []
        answer: Deferred[Any] = Deferred(cancelled.append)
        self.begin(type="x", function=lambda target: answer, timeout_s=0.5)
        self.advance(0.5)
        self.assert_verdict("no answer of the function in 0.5 s")
        self.assertEqual(cancelled, [answer])

    def test_cancelled(self) -> None:
        """So is that of a check that is given up."""
        cancelled: list[Any] = []
        answer: Deferred[Any] = Deferred(cancelled.append)
        self.begin(type="x", function=lambda target: answer).cancel()
        self.assert_verdict("CancelledError")
        self.assertEqual(cancelled, [answer])

    def test_coroutineThatGoesOn(self) -> None:
        """A coroutine that ignores that it was cancelled holds up nothing, and what it finds later counts for nothing."""
        second: Deferred[None] = Deferred()

        async def stubborn(target: ProbeTarget) -> bool:
            try:
                await Deferred()
            except BaseException:
                await second
            return True

        self.begin(type="x", function=stubborn)
        self.advance(2)
        self.assert_verdict("no answer of the function in 2 s")
        second.callback(None)
        self.assert_verdict("no answer of the function in 2 s")

    def test_cannotBeCancelled(self) -> None:
        """A canceller that raises is told of in the log, and changes nothing."""
        answer: Deferred[Any] = Deferred(lambda _: 1 // 0)  # type: ignore[arg-type]
        with logged() as lines:
            self.begin(type="x", function=lambda target: answer)
            self.advance(2)
        self.assert_verdict("no answer of the function in 2 s")
        (line,) = lines
        self.assertIn("could not be cancelled: ZeroDivisionError", line)
        answer.errback(ValueError("late"))

    def test_nested(self) -> None:
        """A Deferred may fire with a coroutine, which is cancelled in its stead."""
        cancelled: list[Any] = []

        async def inner() -> Any:
            return await Deferred(cancelled.append)

        self.begin(type="x", function=lambda target: succeed(inner()))
        self.advance(2)
        self.assert_verdict("no answer of the function in 2 s")
        self.assertEqual(len(cancelled), 1)

    def test_blocking(self) -> None:
        """A function that holds up everything is warned of once, and fails if it took longer than its time."""

        def slow(seconds: float) -> Callable[[ProbeTarget], bool]:
            def function(target: ProbeTarget) -> bool:
                self.reactor.rightNow += seconds
                return True

            return function

        probe = make_probe(ProbeSettings(type="x", function=slow(1.0)), self.reactor)
        with logged() as lines:
            for _ in range(3):
                probe.run(TARGET).addCallback(lambda _: self.verdicts.append(PASSED))
        self.assert_verdict(PASSED, PASSED, PASSED)
        (line,) = lines
        self.assertIn("held up all connections for 1.00 s", line)
        self.verdicts.clear()
        self.assertEqual(self.verdict(slow(2.5)), "no answer of the function in 2 s")

    def test_blockingAndThenDeferred(self) -> None:
        """What such a function returns for later is cancelled."""
        cancelled: list[Any] = []

        def function(target: ProbeTarget) -> Deferred[Any]:
            self.reactor.rightNow += 2.5
            return Deferred(cancelled.append)

        with logged():
            self.assertEqual(self.verdict(function), "no answer of the function in 2 s")
        self.assertEqual(len(cancelled), 1)
