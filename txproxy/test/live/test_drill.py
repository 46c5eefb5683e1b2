"""The failure drill in short: whatever backends do, every request has its answer, and no POST is done twice."""

from __future__ import annotations

import time

from .farm import Farm
from .load import Load
from .peers import ProxyProcess, wait_for

HEALTH = "[cluster.origin.health]\ninterval_s = 0.3\ntimeout_s = 0.5\nfall = 2\nrise = 2\n"
# The part of all requests that may be retries is not what is asked here.
MANY_RETRIES = "retry.min_per_s = 1000\n"


def test_no_request_is_lost() -> None:
    """R1, R2, D14: one backend is killed and comes back, another hangs, goes on, and is killed and restarted at once.

    Every GET is a 200, every POST has an answer, none was seen by two backends, and traffic returns to all three.
    """
    with (
        Farm(3) as farm,
        ProxyProcess(farm.config(MANY_RETRIES + HEALTH)) as proxy,
        Load(proxy.port, rate=100) as gets,
        Load(proxy.port, rate=60, method="POST") as posts,
    ):
        first, second, third = farm.members

        def wait_for_traffic(since_s: float) -> None:
            wait_for(lambda: len(first.requests(since_s)) > 5, "traffic at the first backend")
            wait_for(lambda: len(second.requests(since_s)) > 5, "traffic at the second backend")

        wait_for_traffic(0)
        first.kill()
        wait_for(lambda: " -> down" in proxy.error_text or " -> ejected" in proxy.error_text, "its end to be noticed")
        wait_for_traffic_at = first.start()
        wait_for_traffic(wait_for_traffic_at)
        second.freeze()
        wait_for(lambda: f"{second.address}: up -> down" in proxy.error_text, "the hang to be noticed")
        second.thaw()
        wait_for(lambda: f"{second.address}: down -> up" in proxy.error_text, "the thaw to be noticed")
        wait_for_traffic(time.monotonic())
        second.kill()
        wait_for_traffic(second.start())
        outcomes = gets.finish()
        posted = posts.finish()
        assert [outcome for outcome in outcomes if outcome.status != 200] == []
        assert [outcome for outcome in posted if not outcome.answered] == []
        assert {outcome.status for outcome in posted} <= {200, 502, 504}
        twice = {id for id, count in farm.sightings().items() if count > 1}
        assert not [id for id in twice if id.startswith("POST")]
        assert third.requests()
        # The access log tells of each, too.
        lines = proxy.access_lines(len(outcomes) + len(posted))
        assert len(lines) == len(outcomes) + len(posted)
