"""Running wrk and reading what it prints."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from bench.fleet import Finished, Fleet

LUA = Path(__file__).resolve().parent / "lua"
# The end of every script. A script without requests of its own leaves wrk's way of making them as it is.
REPORT = "report.lua"
_MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6, "m": 60e6}


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk is to send.

    :ivar connections: client connections held at once.
    :ivar headers: fields added to wrk's own request.
    :ivar script: a file in ``bench/lua`` that makes the requests, or an empty string.
    :ivar tls: whether the connections speak TLS.
    :ivar path: the target without a script.
    :ivar arguments: further words for the script, after the seed.
    :ivar body_bytes: what the body of each reply has at least; 0 if that is not looked at.
    """

    connections: int = 64
    headers: tuple[str, ...] = ()
    script: str = ""
    tls: bool = False
    path: str = "/"
    arguments: tuple[str, ...] = ()
    body_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WrkResult:
    """One run of wrk: counts, percentiles in microseconds, and what went wrong."""

    requests: int
    rate: float
    p50_us: float
    p99_us: float
    p999_us: float
    errors: tuple[str, ...]
    finished: Finished


def run(fleet: Fleet, port: int, load: Load, seconds: float, seed: int = 0) -> WrkResult:
    """Run wrk with one thread against a loopback port.

    :param seed: makes the heads of a scripted run differ from those of every other run.
    :raises StartError: wrk is missing or did not end.
    """
    command = ["wrk", "-t1", f"-c{load.connections}", f"-d{max(1, round(seconds))}s", "--latency", "--timeout", "10s"]
    for header in load.headers:
        command += ["-H", header]
    command += ["-s", str(_script(fleet, load))]
    command += [f"{'https' if load.tls else 'http'}://127.0.0.1:{port}{load.path}"]
    command += ["--", str(seed), *load.arguments]
    return parse(fleet.run("wrk", command, seconds + 60.0), load.body_bytes)


def _script(fleet: Fleet, load: Load) -> Path:
    parts = [LUA / load.script] if load.script else []
    path = fleet.directory / f"wrk.{load.script or 'lua'}"
    path.write_text("\n".join(part.read_text() for part in [*parts, LUA / REPORT]))
    return path


def parse(finished: Finished, body_bytes: int = 0) -> WrkResult:
    """Read wrk's report; a report without its figures is an error of its own, not a zero.

    :param body_bytes: as in :class:`Load`.
    """
    text = finished.output
    errors = [line.strip() for line in text.splitlines() if "Socket errors" in line or "Non-2xx" in line]
    if finished.status != 0:
        errors.append(f"wrk ended with status {finished.status}")
    counted = re.search(r"(\d+) requests in", text)
    requests = int(counted[1]) if counted else 0
    if not requests:
        errors.append("wrk completed no request")
    told = re.search(r"^bench: p99\.9 (\d+) us, (\d+) bytes$", text, re.MULTILINE)
    if told is None:
        errors.append("wrk did not run the script to its end")
    elif int(told[2]) < body_bytes * requests:
        errors.append(f"only {int(told[2]) / max(1, requests):.0f} bytes came for each request")
    rate = re.search(r"Requests/sec:\s+([\d.]+)", text)
    return WrkResult(
        requests,
        float(rate[1]) if rate else 0.0,
        _percentile(text, 50),
        _percentile(text, 99),
        float(told[1]) if told else float("nan"),
        tuple(errors),
        finished,
    )


def _percentile(text: str, percent: int) -> float:
    found = re.search(rf"^\s+{percent}%\s+([\d.]+)(us|ms|s|m)\s*$", text, re.MULTILINE)
    return float(found[1]) * _MICROSECONDS[found[2]] if found else float("nan")
