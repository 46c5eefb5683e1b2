"""Runs txproxy and notes down, many times in each second of CPU time, what it is doing.

Started by ``bench.steps``: ``python -m bench.sampled_run FILE run -c CONFIG``. When it ends, FILE has each chain of
functions that was seen and how often.
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from pathlib import Path
from types import FrameType

from txproxy import main

PERIOD_S = 0.002
"""Of CPU time. A sample costs some 10 µs."""
_MOST_FRAMES = 40

samples: Counter[tuple[str, ...]] = Counter()


def note(number: int, frame: FrameType | None) -> None:
    """Take a sample: which functions are being called, the innermost first."""
    del number
    found: list[str] = []
    while frame is not None and len(found) < _MOST_FRAMES:
        found.append(frame.f_code.co_qualname)
        frame = frame.f_back
    samples[tuple(found)] += 1


def run(arguments: list[str]) -> int:
    """Run txproxy with command-line *arguments* after the file's name; return its exit status."""
    target = Path(arguments[0])
    signal.signal(signal.SIGPROF, note)
    signal.setitimer(signal.ITIMER_PROF, PERIOD_S, PERIOD_S)
    try:
        sys.argv[1:] = arguments[1:]
        return main.main() or 0
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        target.write_text(json.dumps([[list(chain), count] for chain, count in samples.items()]))


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
