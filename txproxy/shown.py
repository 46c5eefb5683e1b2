"""Reports of the admin interface as text, for terminals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"))


def printable(text: object) -> str:
    """Return a text with nothing in it that a terminal would obey: names and errors come from elsewhere."""
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in str(text))


def lasting(seconds: float) -> str:
    """Return how long something has lasted, in its largest unit."""
    for size, unit in _UNITS:
        if seconds >= 2 * size:
            return f"{int(seconds // size)} {unit}"
    return f"{max(0, int(seconds))} s"


def amount(number: float) -> str:
    """Return a number of bytes in a unit that leaves few digits."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1000 or unit == "GiB":
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    raise AssertionError


def table(rows: Sequence[Sequence[object]], right: Iterable[int] = ()) -> Iterator[str]:
    """Yield the lines of a table, its columns as wide as what is in them.

    :param rows: the first one has the titles.
    :param right: the columns whose cells stand on the right.
    """
    texts = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in texts) for column in range(len(texts[0]))]
    aligned = set(right)
    for row in texts:
        cells = (
            cell.rjust(width) if column in aligned else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()


def backend_lines(report: dict[str, Any], cluster: str = "") -> Iterator[str]:
    """Yield a table of the backends.

    :param cluster: only those of this one; all if empty.
    """
    rows: list[Sequence[object]] = [
        ("CLUSTER", "BACKEND", "STATE", "SINCE", "WEIGHT", "ACTIVE", "QUEUED", "CONNS", "LAST ERROR")
    ]
    for name, each in report["clusters"].items():
        if cluster and name != cluster:
            continue
        for backend in each["backends"]:
            rows.append(
                (
                    name,
                    backend["name"],
                    backend["state"] + (" (backup)" if backend["backup"] else ""),
                    lasting(report["now"] - backend["since"]),
                    backend["weight"],
                    backend["active"],
                    backend["queued"],
                    backend["connections"],
                    backend["last_error"],
                )
            )
    yield from table(rows, right=(3, 4, 5, 6, 7))


def status_lines(report: dict[str, Any]) -> Iterator[str]:
    """Yield how everything is."""
    config, now = report["config"], report["now"]
    yield f"txproxy {printable(report['version'])}: {report['state']} for {lasting(now - report['started_at'])}"
    loaded = lasting(now - config["loaded_at"])
    yield f"configuration {config['hash']} of {printable(config['path'] or 'the command line')}, loaded {loaded} ago"
    last = config["last_reload"]
    if last and not last["ok"]:
        yield f"the last reload was refused {lasting(now - last['at'])} ago:"
        yield from (f"  {printable(error)}" for error in last["errors"])
    yield ""
    rows: list[Sequence[object]] = [("WORKER", "PID", "CONNS", "MEMORY", "CPU", "DESCRIPTORS")]
    for each in report["workers"]:
        row = each["number"], each["pid"], each["connections"], amount(each["rss_bytes"]), f"{each['cpu_s']:.1f} s"
        rows.append((*row, each["descriptors"]))
    yield from table(rows, right=range(6))
    yield ""
    rows = [("LISTENER", "URL", "CONNS")]
    rows += [(each["name"], each["url"], each["connections"]) for each in report["listeners"]]
    yield from table(rows, right=(2,))
    yield ""
    yield from backend_lines(report)
    if report["cache"]:
        cache = report["cache"]
        yield ""
        yield (
            f"cache: {cache['objects']} replies, {amount(cache['held_bytes'])}; {cache['hits']} hits, "
            f"{cache['misses']} misses, {cache['stale']} stale"
        )
    if report["certificates"]:
        yield ""
        rows = [("CERTIFICATE", "FILE", "DAYS LEFT")]
        rows += [(", ".join(each["names"][:3]), each["file"], each["days_left"]) for each in report["certificates"]]
        yield from table(rows, right=(2,))
