"""The command ``txproxy top``."""

from __future__ import annotations

import argparse
import locale
import os
import shutil
import sys
import time
from typing import Any

from txproxy.admin.client import AdminClient, AdminError
from txproxy.config.problems import ConfigError
from txproxy.ctl import UsageError, add_connection_flags, connect
from txproxy.shown import printable
from txproxy.top.figures import compare
from txproxy.top.frame import text_of

_TIMEOUT_S = 5.0
"""For an answer: keys wait for that of an order."""


def add_parser(commands: Any) -> None:
    """Add the command to those of ``txproxy``.

    :param commands: what ``add_subparsers`` returned.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "top",
        help="watch a proxy that runs",
        description="Watch a proxy that runs, by its admin interface: requests, latencies, backends, workers.",
        epilog="keys: q ends; arrows select a backend; d, m and s have it drain, be maintained and serve (y confirms); "
        "o orders by cluster, state, active requests or rate",
    )
    add_connection_flags(parser)
    parser.add_argument("--once", action="store_true", help="print what there is as text, once")
    parser.add_argument("--interval", type=float, default=1.0, metavar="S", help="seconds between two looks (1)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status."""
    try:
        client = connect(options, timeout_s=_TIMEOUT_S)
        return _print_once(client, options.interval) if options.once else _watch(options)
    except UsageError as error:
        print(f"txproxy top: {error}", file=sys.stderr)
        return 2
    except AdminError as error:
        print(f"txproxy top: {printable(error)}", file=sys.stderr)
        return 1
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _print_once(client: AdminClient, interval_s: float) -> int:
    before = client.get("/status")
    time.sleep(max(0.05, interval_s))
    after = client.get("/status")
    try:
        text = text_of(compare(before, after), shutil.get_terminal_size().columns)
    except (LookupError, TypeError, ValueError, AttributeError):
        raise AdminError("what answers there is no admin interface of txproxy") from None
    print(text, end="")
    return 0


def _watch(options: argparse.Namespace) -> int:
    try:
        import curses
    except ImportError:
        raise UsageError("this Python has no curses (use --once)") from None
    from txproxy.top.screen import Screen, Watcher

    def make_client() -> AdminClient:
        return connect(options, timeout_s=_TIMEOUT_S)

    if not sys.stdout.isatty() or not sys.stdin.isatty():
        raise UsageError("this is no terminal (use --once)")
    for name in ("LINES", "COLUMNS"):
        os.environ.pop(name, None)  # With these curses would not follow a terminal that changes its size.
    locale.setlocale(locale.LC_ALL, "")
    try:
        curses.setupterm()
        if not curses.tigetstr("cup") or not curses.tigetstr("clear"):
            raise curses.error
    except curses.error:
        raise UsageError("this terminal cannot be drawn on (use --once)") from None
    watcher = Watcher(make_client, max(0.1, options.interval))
    watcher.start()
    try:
        curses.wrapper(lambda window: Screen(window, watcher, make_client).run())
    finally:
        watcher.stop()
    return 0
