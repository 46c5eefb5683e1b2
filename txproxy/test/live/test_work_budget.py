"""What one request costs is counted exactly, and is no more than ``bench/budget.toml`` has for it."""

from __future__ import annotations

import platform
from dataclasses import replace

import pytest

if platform.python_implementation() != "CPython":
    pytest.skip("bytecodes and C functions are those of CPython", allow_module_level=True)
pytest.importorskip("bench.work", reason="bench is not part of an installed package")

from bench.work import budget  # noqa: E402 - only if it is there
from bench.work.measuring import measure  # noqa: E402
from bench.work.scenarios import SCENARIOS, Scenario  # noqa: E402

KEPT = SCENARIOS[0]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_request_costs_no_more_than_its_budget(scenario: Scenario) -> None:
    """A call more than there was, or one more per cent of bytecodes, is a decision: it comes with a changed budget."""
    verdict = budget.judge(scenario.name, measure(scenario))
    text = "\n".join(verdict.lines)
    print(text)
    assert not verdict.exceeded, text
    if not verdict.judged:
        pytest.skip(text)


def test_what_is_done_later_counts_too() -> None:
    """Lines of the log are written in batches: more work for each of them is more work for a request."""
    work = measure(replace(KEPT, settings={"log": 'format = "json"\n'}))
    verdict = budget.judge(KEPT.name, work)
    if not verdict.judged:
        pytest.skip("\n".join(verdict.lines))
    assert verdict.exceeded
    assert any("JsonFormatter" in line for line in verdict.lines), verdict.lines


def test_a_step_more_on_the_way_counts() -> None:
    """A stage that is switched on makes the same request cost more than its budget."""
    work = measure(replace(KEPT, settings={"more": "[stage.tracing]\n"}))
    verdict = budget.judge(KEPT.name, work)
    if not verdict.judged:
        pytest.skip("\n".join(verdict.lines))
    assert verdict.exceeded
    assert any("Python calls for a request" in line for line in verdict.lines), verdict.lines


def test_same_counts_twice() -> None:
    """They are no measurement: nothing that the machine does meanwhile has a part in them."""
    assert measure(KEPT) == measure(KEPT)
