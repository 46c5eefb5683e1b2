"""All cases of conformance, and a report on any server.

``python -m txproxy.test.live.http2_cases PORT [--lenient] [--h2spec]``: lenient as h2spec is, its cases only.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable

from .http2_case import Case
from .http2_cases_connection import CONNECTION
from .http2_cases_frames import FRAMES, PREFACE_AND_FORM, STREAMS
from .http2_cases_generic import GENERIC
from .http2_cases_http import HPACK, HTTP
from .http2_cases_messages import COMPRESSION, MESSAGES
from .http2_cases_windows import WINDOWS
from .http2_frames import FrameClient

H2SPEC: list[Case] = [*GENERIC, *PREFACE_AND_FORM, *STREAMS, *FRAMES, *MESSAGES, *COMPRESSION]
"""One entry for each of the 147 cases of h2spec in strict mode."""

BEYOND: list[Case] = [*CONNECTION, *WINDOWS, *HTTP, *HPACK]
"""What the RFCs say beyond it."""


def failures(port: int, cases: Iterable[Case], *, strict: bool, timeout_s: float = 2) -> dict[str, str]:
    """Run cases against a plain port of 127.0.0.1 and return what failed, by id.

    :param strict: see ``FrameClient``.
    """
    found = {}
    for case in cases:
        with FrameClient.connect(port) as client:
            client.strict, client.timeout_s = strict, timeout_s
            try:
                case.judge(client)
            except AssertionError as error:
                found[case.id] = str(error)
    return found


def main(arguments: list[str]) -> None:
    """Print a report."""
    port, strict = int(arguments[0]), "--lenient" not in arguments
    cases = [*H2SPEC, *(() if "--h2spec" in arguments else BEYOND)]
    names = {case.id: f"{case.section}, {case.name}" for case in cases}
    failed = failures(port, cases, strict=strict)
    for case_id, reason in failed.items():
        print(f"{case_id} ({names[case_id]}):\n    {reason.splitlines()[0]}")
    print(f"{len(cases) - len(failed)} of {len(cases)} passed")


if __name__ == "__main__":
    main(sys.argv[1:])
