"""The public tests of HTTP caches judge ours; those that have passed once have to go on passing."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from .cache_suite import CacheSuite, Verdict, count
from .peers import ProxyProcess, config_for

# One id a line, in order. `python -m txproxy.test.live.test_cache_suite` writes it anew.
_PASSES = Path(__file__).with_name("cache_suite_passes.txt")
_CONFIG = {
    "route": "cache = true",
    "more": "[cache]\nheuristic_fraction = 0.1\nstore_set_cookie = true",
    "cluster": "pool = { max_connections = 1000 }",
}
_LEAST_REQUIRED, _REQUIRED = 150, 157
_LEAST_OPTIMAL, _OPTIMAL = 70, 86
_MOST_REPEATED = 10


class Judged(NamedTuple):
    """What the suite says of the proxy."""

    verdicts: dict[str, Verdict]
    repeated: dict[str, Verdict]
    """What it had said at first of those that were run again."""


def _recorded() -> set[str]:
    return set(_PASSES.read_text().split())


def _judge() -> Judged:
    with CacheSuite() as suite, ProxyProcess(config_for(suite.address, **_CONFIG)) as proxy:
        verdicts = suite.run(proxy.port)
        # Its tests wait for three seconds and then count on what is two seconds old: too short for a machine that is
        # busy. So what fails is asked again, once, unless it is so much that time alone is not to blame.
        failed = {id: verdicts[id] for id in sorted(_recorded() & verdicts.keys()) if not verdicts[id].passed}
        if not 0 < len(failed) <= _MOST_REPEATED:
            return Judged(verdicts, {})
        return Judged({**verdicts, **suite.run(proxy.port, failed)}, failed)


@pytest.fixture(scope="module")
def judged() -> Judged:
    """The suite is run once for all tests."""
    return _judge()


def _lines(verdicts: list[Verdict]) -> str:
    return "".join(f"\n  {each.kind} {each.group} {each.id}: {each.reason or 'passes'}" for each in verdicts)


def test_enough_pass(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    """K1: at least 150 of the 157 required tests and 70 of the 86 optimal ones, those of Surrogate-Control apart."""
    verdicts = judged.verdicts.values()
    required, optimal = count(verdicts, "required"), count(verdicts, "optimal")
    with capsys.disabled():
        print(
            f"\nhttp-cache-tests: {required} required, {optimal} optimal; of Surrogate-Control "
            f"{count(verdicts, 'required', True)} and {count(verdicts, 'optimal', True)}"
        )
    assert (required.total, optimal.total) == (_REQUIRED, _OPTIMAL)
    failed = [each for each in verdicts if each.kind != "check" and not each.passed]
    assert required.passed >= _LEAST_REQUIRED and optimal.passed >= _LEAST_OPTIMAL, _lines(failed)


def test_what_has_passed_passes(judged: Judged, capsys: pytest.CaptureFixture[str]) -> None:
    """A test that is recorded as passed fails this one with its reason; one that passes newly is printed."""
    recorded = _recorded()
    passed = {each.id for each in judged.verdicts.values() if each.passed and each.kind != "check"}
    missing = sorted(recorded - judged.verdicts.keys())
    assert not missing, f"no tests of the suite: {missing}"
    new = [judged.verdicts[id] for id in sorted(passed - recorded)]
    with capsys.disabled():
        if new:
            print(f"\nnewly passed, to be added to {_PASSES.name}:{_lines(new)}")
        if judged.repeated:
            print(f"\nrun again, for they failed at first:{_lines([*judged.repeated.values()])}")
    lost = [judged.verdicts[id] for id in sorted(recorded - passed)]
    assert not lost, f"passed before:{_lines(lost)}"


if __name__ == "__main__":
    _PASSES.write_text(
        "".join(f"{id}\n" for id, each in sorted(_judge().verdicts.items()) if each.passed and each.kind != "check")
    )
