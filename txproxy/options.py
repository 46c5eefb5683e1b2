"""The command line of ``twistd txproxy``, and the configuration that it asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from twisted.python import usage

from txproxy.config.load import Loaded, load_file
from txproxy.config.model import Config
from txproxy.config.patterns import Raw
from txproxy.config.problems import ConfigError, Finding, Problem, Remark
from txproxy.config.quick import load_quick
from txproxy.config.values import BALANCERS
from txproxy.privileges import check_identity
from txproxy.tls.findings import check_certificates, check_trusted_files


class Options(usage.Options):
    """Command line of ``twistd txproxy``."""

    synopsis = "[options]"
    longdesc = (
        "A reverse proxy. With -c it serves what the file says; without, it forwards one port to one or more "
        "backends. The `txproxy` command does the same on a faster reactor."
    )
    optFlags = (
        ("check", None, "Check the configuration file, print every error, and exit."),
        ("demo", None, "Start sample backends too, so that there is something to see at once."),
    )
    optParameters = (
        ("config", "c", None, "Configuration: a TOML file, or a Python site file ending in .py."),
        ("listen", "l", None, "Address to listen on. [default: 0.0.0.0]"),
        ("port", "p", None, "Port to listen on; 0 for any free one. [default: 8080]", int),
        ("backend-port", "P", None, "Port of backends that name none. [default: 8081]", int),
        ("mode", None, None, "http, or tcp to pass bytes through unread. [default: http]"),
        (
            "balance",
            None,
            None,
            f"How backends are chosen: {', '.join(BALANCERS)} or MODULE:FUNCTION. [default: round_robin]",
        ),
        ("log-level", None, None, "debug, info, warn or error. [default: info]"),
        ("log-file", None, None, "File that the application log goes to as well."),
    )
    opt_h = usage.Options.opt_help

    def __init__(self) -> None:
        super().__init__()
        self["backends"] = []

    def opt_backend(self, value: str) -> None:
        """A backend, as HOST or HOST:PORT; may be repeated. The default is 127.0.0.1."""
        self["backends"].append(value)

    opt_b = opt_backend

    def postOptions(self) -> None:
        """Check the file and leave, if that is what was asked for."""
        if self["check"]:
            if not self["config"]:
                raise usage.UsageError("--check needs -c FILE")
            try:
                loaded = load_file(self["config"], further=check_surroundings)
            except ConfigError as error:
                print(error, *error.remarks, sep="\n")
                raise SystemExit(1) from None
            for remark in loaded.remarks:
                print(remark)
            print(f"{self['config']}: no errors")
            raise SystemExit(0)


_QUICK = {
    "listen": "listen",
    "port": "port",
    "backends": "backends",
    "backend-port": "backend_port",
    "mode": "mode",
    "balance": "balance",
    "log-level": "log_level",
    "log-file": "log_file",
}
"""Flags of the quick mode, and what ``load_quick`` calls them."""


def load(options: Mapping[str, Any]) -> Loaded:
    """Return the configuration that a command line asks for.

    :param options: by the flags' long names; what is None or empty was not given.
    :raises ConfigError: with every error in it.
    """
    given = {flag: options[flag] for flag in _QUICK if options.get(flag) not in (None, [])}
    if options.get("config") is not None:
        if given:
            places = (Problem("command line", 0, f"--{flag.rstrip('s')}", _NOT_WITH_A_FILE) for flag in given)
            raise ConfigError(tuple(places))
        # Of other certificates one may be bad and those beside it serve.
        return load_file(options["config"], further=_check_at_start)
    return load_quick(**{_QUICK[flag]: value for flag, value in given.items()})


def configure(options: Mapping[str, Any]) -> tuple[Config, dict[str, Callable[..., Any]]]:
    """Return the configuration that a command line asks for, and the users' functions in it; see ``load``."""
    loaded = load(options)
    return loaded.config, dict(loaded.functions)


def check_surroundings(raw: Raw) -> Iterator[Finding | Remark]:
    """Yield what is wrong with the certificates, the user and the group that a configuration names.

    :param raw: the configuration in the shape of TOML, of any types.
    """
    yield from check_certificates(raw)
    yield from check_identity(raw)


def _check_at_start(raw: Raw) -> Iterator[Finding | Remark]:
    yield from check_trusted_files(raw)
    yield from check_identity(raw)


_NOT_WITH_A_FILE = "stands in the file if there is one (-c)"
