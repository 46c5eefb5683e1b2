"""Running h2load and reading what it prints."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench.bulk import BulkError
from bench.fleet import Finished, Fleet

# Its greatest windows for streams and connection, 1 GiB less a byte: the client never holds the proxy back.
_WIDE_OPEN = ("-w30", "-W30")
_MICROSECONDS = {"us": 1.0, "ms": 1e3, "s": 1e6}
_COUNTS = re.compile(
    r"^requests: \d+ total, \d+ started, \d+ done, (?P<succeeded>\d+) succeeded, (?P<failed>\d+) failed, "
    r"(?P<errored>\d+) errored, (?P<timeout>\d+) timeout$",
    re.MULTILINE,
)
_STATUSES = re.compile(r"^status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx$", re.MULTILINE)
_RATE = re.compile(r"^finished in \S+, ([\d.]+) req/s", re.MULTILINE)
_DATA = re.compile(r"^traffic: .*\((\d+)\) data$", re.MULTILINE)
_TIMES = re.compile(r"^time for request: +\S+ +([\d.]+)(us|ms|s) +([\d.]+)(us|ms|s) ", re.MULTILINE)
_PROTOCOL = re.compile(r"^Application protocol: (\S+)$", re.MULTILINE)
_TLS = re.compile(r"^TLS Protocol: (\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class H2loadResult:
    """What one or several h2loads did.

    :ivar requests: those that were answered with a status of 2xx or 3xx.
    :ivar data: bytes of reply bodies, framing left out; may hold parts of a body that was cut by the end of the time.
    :ivar mean_us: from request to the end of its reply.
    """

    requests: int
    rate: float
    mean_us: float
    max_us: float
    data: int
    cpu_s: float
    errors: tuple[str, ...]


def url(port: int, target: str = "/") -> str:
    """Return the address of *target* on a loopback port."""
    return f"https://127.0.0.1:{port}{target}"


def run(fleet: Fleet, commands: Iterable[Iterable[str]], seconds: float) -> H2loadResult:
    """Run h2loads beside each other for *seconds*.

    :param commands: their options and URIs.
    :raises StartError: h2load is missing or did not end.
    """
    duration = f"-D{max(1, round(seconds * 1000))}ms"
    words = [["h2load", "-t1", duration, *command] for command in commands]
    return add([parse(each) for each in fleet.run_together("h2load", words, seconds + 60.0)])


def download(fleet: Fleet, port: int, count: int, timeout_s: float = 300.0) -> int:
    """GET *count* bytes through a loopback port; return how many came."""
    return _transfer(fleet, [url(port, f"/bytes/{count}")], timeout_s).data


def upload(fleet: Fleet, port: int, count: int, timeout_s: float = 300.0) -> int:
    """POST *count* bytes through a loopback port; return how many the backend got, which are *count* or an error."""
    source = os.memfd_create("bench")
    try:
        # A hole of that size: it reads as zeros and takes neither disk nor memory.
        os.ftruncate(source, count)
        _transfer(fleet, ["-d", f"/proc/{os.getpid()}/fd/{source}", url(port, f"/sink/{count}")], timeout_s)
    finally:
        os.close(source)
    return count


def _transfer(fleet: Fleet, words: Iterable[str], timeout_s: float) -> H2loadResult:
    result = parse(fleet.run("h2load", ["h2load", "-t1", "-n1", "-c1", "-m1", *_WIDE_OPEN, *words], timeout_s))
    if result.errors:
        raise BulkError("; ".join(result.errors))
    return result


def write_targets(path: Path, port: int, targets: Iterable[str]) -> Path:
    """Write *targets* to *path* as h2load reads them."""
    path.write_text("".join(f"{url(port, target)}\n" for target in targets))
    return path


def add(results: list[H2loadResult]) -> H2loadResult:
    """Return what h2loads did together that ran beside each other."""
    requests = sum(each.requests for each in results)
    return H2loadResult(
        requests,
        sum(each.rate for each in results),
        sum(each.mean_us * each.requests for each in results) / requests if requests else float("nan"),
        max(each.max_us for each in results),
        sum(each.data for each in results),
        sum(each.cpu_s for each in results),
        # The same trouble in sixteen of them is told once.
        tuple(dict.fromkeys(error for each in results for error in each.errors)),
    )


def parse(finished: Finished) -> H2loadResult:
    """Read h2load's report.

    A report without its figures is an error of its own, not a zero, and so are a request that failed, a status other
    than 2xx and 3xx, and another protocol than HTTP/2 over TLS 1.3.
    """
    text = finished.output
    errors = []
    if finished.status != 0:
        errors.append(f"h2load ended with status {finished.status}")
    for pattern, wanted in ((_PROTOCOL, "h2"), (_TLS, "TLSv1.3")):
        if (found := pattern.search(text)) is None or found[1] != wanted:
            errors.append(f"h2load did not speak {wanted} but {found[1] if found else 'nothing'}")
    counts, statuses = _COUNTS.search(text), _STATUSES.search(text)
    rate, data, times = _RATE.search(text), _DATA.search(text), _TIMES.search(text)
    requests = 0
    if counts is None or statuses is None or rate is None or data is None:
        errors.append("h2load's report is not the one expected")
    else:
        requests = int(counts["succeeded"])
        # It says so on a line of its own for a connection that takes no more requests.
        if int(counts["failed"]) or int(counts["errored"]) or int(counts["timeout"]) or "Request Failure" in text:
            errors.append(counts[0])
        if int(statuses[3]) or int(statuses[4]):
            errors.append(statuses[0])
        if not requests:
            errors.append("h2load completed no request")
    return H2loadResult(
        requests,
        float(rate[1]) if rate else 0.0,
        float(times[3]) * _MICROSECONDS[times[4]] if times else float("nan"),
        float(times[1]) * _MICROSECONDS[times[2]] if times else float("nan"),
        int(data[1]) if data else 0,
        finished.cpu_s,
        tuple(errors),
    )
