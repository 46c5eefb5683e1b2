"""Tests for :mod:`bench.steps`."""

from __future__ import annotations

from importlib import import_module

from twisted.trial.unittest import SynchronousTestCase

try:
    from bench.steps import OTHER, STEPS, by_step, step_of
except ModuleNotFoundError:
    skip = "bench is no part of an installed package"

_LOOP = ("DirectEPollReactor.doPoll", "ReactorBase.mainLoop", "main")


class StepTests(SynchronousTestCase):
    """Samples by steps."""

    def test_innermost(self) -> None:
        """The innermost function that is known says which step it is."""
        self.assertEqual(step_of(("FieldTokenizer.tokenize", "RequestParser.parse", *_LOOP)), "parse the request")
        self.assertEqual(step_of(("EagerWriter.write", "UpstreamConnection.send_request", *_LOOP)), "write (send)")
        self.assertEqual(step_of(("DelayedCall.cancel", *_LOOP)), STEPS["DirectEPollReactor.doPoll"])
        self.assertEqual(step_of(("main",)), OTHER)

    def test_shares(self) -> None:
        """Each step has its share of a request's time; what was seen outside the reactor has none."""
        samples = [
            (("RequestParser.parse", *_LOOP), 30),
            (("FieldTokenizer.tokenize", "RequestParser.parse", *_LOOP), 30),
            (("EagerConnection.doRead", *_LOOP), 20),
            (("Foreign.function", "ReactorBase.mainLoop"), 20),
            (("load_text", "main"), 900),
        ]
        found = by_step(samples, 50.0)
        self.assertEqual(list(found)[0], "parse the request")
        self.assertAlmostEqual(found["parse the request"], 30.0)
        self.assertAlmostEqual(found["read (recv)"], 10.0)
        self.assertAlmostEqual(sum(found.values()), 50.0)

    def test_nothing(self) -> None:
        """No sample is no time."""
        self.assertEqual(by_step([], 50.0), {})

    def test_stepsAreThere(self) -> None:
        """Every function that stands for a step is one of txproxy's or Twisted's: a renamed one would be forgotten."""
        self.assertEqual([name for name in STEPS if not _is_there(name)], [])


def _is_there(name: str) -> bool:
    """Return whether a function of that qualified name exists where steps are looked for."""
    modules = (
        "txproxy.downstream.http1", "txproxy.downstream.lingering", "txproxy.downstream.replying",
        "txproxy.exchange", "txproxy.net.accepting", "txproxy.net.epoll", "txproxy.net.sending", "txproxy.net.stream",
        "txproxy.net.tls_calls", "txproxy.net.tls_sending", "txproxy.net.tls_stream", "txproxy.observe.access_log",
        "txproxy.observe.counters", "txproxy.observe.ending", "txproxy.pipeline.chain", "txproxy.pipeline.forward",
        "txproxy.pipeline.route", "txproxy.upstream.backend", "txproxy.upstream.choosing", "txproxy.upstream.http1",
        "txproxy.upstream.patience", "txproxy.upstream.pool", "txproxy.wire.forwarding", "txproxy.wire.parsers",
        "twisted.internet.base",
    )  # fmt: skip
    owner, _, method = name.replace(".<locals>", "").partition(".")
    for module in modules:
        found = getattr(import_module(module), owner, None)
        if found is not None and (not method or "<locals>" in name or method in vars(found)):
            return True
    return False
