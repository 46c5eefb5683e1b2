"""``txproxy ctl``: what operators do from a shell, by the admin interface of a proxy that runs."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from typing import Any

from txproxy.admin.client import TIMEOUT_S, AdminClient, AdminError, backend_path
from txproxy.config.problems import ConfigError
from txproxy.shown import backend_lines, printable, status_lines

ADDRESS = "127.0.0.1:9901"
_LEVELS = ("debug", "info", "warn", "error")
_LOOK_EVERY_S = 0.2

_ORDERS = {"drain": "is drained", "maintain": "is in maintenance", "serve": "serves, as far as it is up"}

_WHERE = """\
where: --admin, else [admin] of the file that -c names, else $TXPROXY_ADMIN, else 127.0.0.1:9901
token: --token-file, else --token, else that of the file, else $TXPROXY_ADMIN_TOKEN
"""
_EXAMPLES = """
examples:
  txproxy ctl -c proxy.toml status
  txproxy ctl drain api/10.0.0.12:8080 --wait 60    # exit 0 once nothing is under way there
  txproxy ctl serve api/10.0.0.12:8080
  txproxy ctl weight api/10.0.0.12:8080 5
  txproxy ctl add api 10.0.0.14:8080 --weight 2
  txproxy ctl purge --prefix https://www.example.com/img/
  txproxy ctl --admin unix:/run/txproxy/admin.sock reload
"""


class UsageError(Exception):
    """The command line or its surroundings say what cannot be; the text says what."""


def add_connection_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where the admin interface is."""
    parser.add_argument("-c", "--config", metavar="FILE", help="read [admin] from a configuration")
    parser.add_argument("--admin", metavar="ADDRESS", help="HOST:PORT, http(s)://HOST:PORT or unix:/PATH")
    parser.add_argument("--token", help="better not on the command line, where others see it")
    parser.add_argument("--token-file", metavar="FILE", help="a file that has the token")


def connect(options: argparse.Namespace, environ: Any = os.environ, timeout_s: float = TIMEOUT_S) -> AdminClient:
    """Return a client for what a command line says.

    :raises UsageError: it says what cannot be.
    :raises ConfigError: the file that it names is not valid.
    """
    address, token = environ.get("TXPROXY_ADMIN") or ADDRESS, environ.get("TXPROXY_ADMIN_TOKEN", "")
    if options.config:
        from txproxy.config.load import load_file  # Only here: its models take half a second to be made.

        admin = load_file(options.config).config.admin
        if admin is None:
            raise UsageError(f"{options.config} has no section [admin]")
        address, token = admin.listen, admin.token
    try:
        if options.token_file:
            with open(options.token_file, encoding="utf-8") as file:
                token = file.read().strip()
        elif options.token is not None:
            token = options.token
    except (OSError, UnicodeError) as error:
        raise UsageError(f"the token cannot be read: {error}") from None
    if not token.isascii() or not token.isprintable():
        raise UsageError("a token is printable ASCII")
    try:
        return AdminClient(options.admin or address, token, timeout_s)
    except ValueError as error:
        raise UsageError(str(error)) from None


def add_parser(commands: Any) -> None:
    """Add the command to those of ``txproxy``.

    :param commands: what ``add_subparsers`` returned.
    """
    parser: argparse.ArgumentParser = commands.add_parser(
        "ctl",
        help="control a proxy that runs",
        description="Control a proxy that runs, by its admin interface.",
        epilog=_WHERE + _EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_connection_flags(parser)
    parser.add_argument("--json", action="store_true", help="print what was answered as JSON")
    parser.set_defaults(run=run)
    actions = parser.add_subparsers(required=True, metavar="ACTION")

    def action(name: str, act: Callable[[AdminClient, argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        added: argparse.ArgumentParser = actions.add_parser(name, help=text, description=text.capitalize() + ".")
        added.set_defaults(act=act, action=name)
        return added

    action("status", _status, "show how everything is")
    action("backends", _backends, "show the backends").add_argument("cluster", nargs="?", default="", metavar="CLUSTER")
    for name, text in (
        ("drain", "send no new requests to a backend; it is checked on"),
        ("maintain", "send no new requests to a backend, and do not check it"),
        ("serve", "send requests to a backend again"),
    ):
        added = action(name, _order, text)
        _add_backend(added)
        if name != "serve":
            added.add_argument(
                "--wait", type=float, metavar="S", help="wait until nothing is under way there, so many seconds at most"
            )
    added = action("weight", _weight, "change a backend's share of the requests")
    _add_backend(added)
    added.add_argument("weight", type=int, metavar="N", help="1 to 65535")
    added = action("add", _add, "add a backend, until the proxy ends")
    added.add_argument("cluster", metavar="CLUSTER")
    added.add_argument("address", metavar="ADDRESS", help="as in the configuration")
    added.add_argument("--weight", type=int, default=1, metavar="N")
    added.add_argument("--max-connections", type=int, metavar="N")
    added.add_argument("--backup", action="store_true", help="it serves only while no other can")
    _add_backend(action("remove", _remove, "let a backend go, until the configuration names it anew"))
    added = action("purge", _purge, "remove replies from the cache")
    kinds = added.add_mutually_exclusive_group(required=True)
    kinds.add_argument("--url", metavar="URL", help="all variants of one URL")
    kinds.add_argument("--prefix", metavar="URL", help="all URLs that begin so")
    kinds.add_argument("--tag", help="what its backend has given a tag")
    kinds.add_argument("--all", action="store_true", help="everything")
    action("reload", _reload, "read the configuration again and serve it; its errors are printed")
    added = action("log-level", _log_level, "change what the application log shows")
    added.add_argument("level", choices=_LEVELS, metavar="LEVEL", help=", ".join(_LEVELS))
    action("metrics", _metrics, "print the metrics for Prometheus")


def _add_backend(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("backend", metavar="CLUSTER/BACKEND", help="as `txproxy ctl backends` shows them", type=_place)


def _place(text: str) -> tuple[str, str]:
    cluster, slash, backend = text.partition("/")
    if not cluster or not slash or not backend:
        raise argparse.ArgumentTypeError(f"{text!r} is not CLUSTER/BACKEND, as api/10.0.0.12:8080")
    return cluster, backend


def run(options: argparse.Namespace) -> int:
    """Run the command; return its exit status: 1 if it was refused, 2 for a wrong command line."""
    try:
        client = connect(options)
        try:
            status: int = options.act(client, options)
            return status
        finally:
            client.close()
    except UsageError as error:
        print(f"txproxy ctl: {error}", file=sys.stderr)
        return 2
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except AdminError as error:
        return _say_refused(error, options)


def _say_refused(error: AdminError, options: argparse.Namespace) -> int:
    for line in error.details:
        print(printable(line), file=sys.stderr)
    hint = " (see --token-file)" if error.status == 401 else ""
    print(f"txproxy ctl: {printable(error)}{hint}", file=sys.stderr)
    if options.json:
        print(json.dumps({"error": str(error), "errors": list(error.details)}))
    return 1


def _tell(options: argparse.Namespace, answer: Any, text: str) -> int:
    print(json.dumps(answer) if options.json else printable(text))
    return 0


def _status(client: AdminClient, options: argparse.Namespace) -> int:
    report = client.get("/status")
    print(json.dumps(report, indent=2) if options.json else "\n".join(status_lines(report)))
    return 0


def _backends(client: AdminClient, options: argparse.Namespace) -> int:
    report = client.get("/status")
    clusters = report["clusters"]
    if options.cluster:
        if options.cluster not in clusters:
            raise AdminError(f"there is no cluster {options.cluster}")
        clusters = {options.cluster: clusters[options.cluster]}
    print(json.dumps(clusters, indent=2) if options.json else "\n".join(backend_lines(report, options.cluster)))
    return 0


def _order(client: AdminClient, options: argparse.Namespace) -> int:
    cluster, backend = options.backend
    answer = client.change(backend_path(cluster, backend, options.action))
    if getattr(options, "wait", None) is not None and not _wait(client, cluster, backend, options.wait):
        return 1
    return _tell(options, answer, f"{cluster}/{backend} {_ORDERS[options.action]}")


def _wait(client: AdminClient, cluster: str, backend: str, patience_s: float) -> bool:
    """Wait until nothing is under way at a backend; return whether that came to be in time."""
    until = time.monotonic() + patience_s
    told = None
    while True:
        backends = client.get("/status")["clusters"].get(cluster, {"backends": ()})["backends"]
        active = sum(each["active"] for each in backends if backend in (each["name"], each["entry"]))
        if active != told:
            told = active
            print(f"{printable(cluster)}/{printable(backend)}: {active} under way", file=sys.stderr)
        if not active:
            return True
        left = until - time.monotonic()
        if left <= 0:
            print(f"txproxy ctl: the time is over, and {active} are under way", file=sys.stderr)
            return False
        time.sleep(min(_LOOK_EVERY_S, left))


def _weight(client: AdminClient, options: argparse.Namespace) -> int:
    cluster, backend = options.backend
    answer = client.change(backend_path(cluster, backend, "weight"), {"weight": options.weight})
    return _tell(options, answer, f"{cluster}/{backend}: weight {options.weight}")


def _add(client: AdminClient, options: argparse.Namespace) -> int:
    body: dict[str, Any] = {"address": options.address, "weight": options.weight, "backup": options.backup}
    if options.max_connections is not None:
        body["max_connections"] = options.max_connections
    answer = client.change(backend_path(options.cluster), body)
    return _tell(options, answer, f"{options.cluster}/{options.address}: added")


def _remove(client: AdminClient, options: argparse.Namespace) -> int:
    cluster, backend = options.backend
    answer = client.change(backend_path(cluster, backend), method="DELETE")
    return _tell(options, answer, f"{cluster}/{backend}: removed")


def _purge(client: AdminClient, options: argparse.Namespace) -> int:
    kind = next(each for each in ("url", "prefix", "tag", "all") if getattr(options, each))
    answer = client.change("/cache/purge", {kind: getattr(options, kind)})
    return _tell(options, answer, f"{answer['purged']} purged")


def _reload(client: AdminClient, options: argparse.Namespace) -> int:
    answer = client.change("/reload")
    return _tell(options, answer, f"reloaded: {answer['summary']}")


def _log_level(client: AdminClient, options: argparse.Namespace) -> int:
    answer = client.change("/log-level", {"level": options.level})
    return _tell(options, answer, f"log level {options.level}")


def _metrics(client: AdminClient, _options: argparse.Namespace) -> int:
    text = client.text("/metrics")
    if sys.stdout.isatty():  # Labels are names from elsewhere.
        text = "\n".join(map(printable, text.split("\n")))
    sys.stdout.write(text)
    return 0
