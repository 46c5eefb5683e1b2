"""Checks and requests in a row, for the tests of a backend's health."""

from __future__ import annotations

from txproxy.policy.health import Health, Transition


def check(health: Health, results: str, now: float, step_s: float = 5.0) -> list[str]:
    """Have checks end one after another, ``+`` passed and ``-`` failed; return the state after each."""
    states: list[str] = []
    for number, result in enumerate(results):
        at = now + number * step_s
        if result == "+":
            health.check_passed(at)
        else:
            health.check_failed(at, "connection refused")
        states.append(health.state)
    return states


def fail(health: Health, now: float, times: int = 5, may_eject: bool = True) -> Transition | None:
    """Have requests fail; return what the last of them changed."""
    transition = None
    for _ in range(times):
        transition = health.request_failed(now, "connection refused", may_eject, now)
    return transition
