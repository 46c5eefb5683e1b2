"""Varnish as a peer: varnishd, and the program that writes its access log, as one family of processes.

Called with three arguments: the port to listen on, the VCL and a directory in memory. varnishd writes no access log
itself, it has varnishncsa read what it keeps in shared memory; so both belong to what a request costs.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType


def leave(number: int, frame: FrameType | None) -> None:
    """End in order, so that both programs are ended."""
    del frame
    raise SystemExit(128 + number)


def main() -> int:
    """Run both until a signal comes or one ends."""
    port, rules, directory = sys.argv[1:]
    signal.signal(signal.SIGTERM, leave)
    place = str(Path(directory) / "varnish")
    daemon = ["varnishd", "-F", "-n", place, "-a", f"127.0.0.1:{port}", "-f", rules, "-s", "malloc,1g", "-T", "none"]
    # Held clients are idle for minutes. All else, threads above all, is as it comes.
    daemon += ["-p", "timeout_idle=3600"]
    logger = ["varnishncsa", "-n", place, "-t", "10", "-w", str(Path(directory) / "varnish.access.log")]
    children = [subprocess.Popen(daemon)]
    try:
        time.sleep(0.5)  # varnishncsa waits for the shared memory of a daemon, but not for its directory.
        children.append(subprocess.Popen(logger))
        while all(child.poll() is None for child in children):
            time.sleep(0.2)
        return 1
    finally:
        for child in reversed(children):
            child.terminate()
        for child in children:
            child.wait(5)
        shutil.rmtree(place, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
