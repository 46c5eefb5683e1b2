"""The quick mode: a forwarder made from a few command line flags, checked like any other configuration."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from txproxy.config.expand import escape
from txproxy.config.load import Loaded, load_data
from txproxy.config.problems import ConfigError, Problem, allowed, shown

_FILE = "command line"
_NAME = "quick"
_FLAGS = (
    ("listener[0].address", "--listen"),
    ("listener[0]", "--mode"),
    ("cluster.quick.backends", "--backend"),
    ("cluster.quick.balance", "--balance"),
    ("log.level", "--log-level"),
    ("log.path", "--log-file"),
)
"""Flags by the beginning of the key paths that they set; the first that fits."""


def load_quick(
    listen: str = "0.0.0.0",
    port: int = 8080,
    backends: Sequence[str] = ("127.0.0.1",),
    backend_port: int = 8081,
    mode: str = "http",
    balance: str = "round_robin",
    log_level: str = "info",
    log_file: str = "-",
) -> Loaded:
    """Return the configuration of a forwarder from one listener to some backends, with the function it may name.

    :param listen: address to listen on, IPv6 with or without brackets, or ``unix:/path``.
    :param port: port to listen on, 0 for any free one.
    :param backends: ``HOST``, ``HOST:PORT``, IPv6 with or without brackets, or ``unix:/path``; at least one.
    :param backend_port: port of the backends that are given without one.
    :param mode: ``http`` or ``tcp``.
    :param balance: name of a balancing policy, or ``MODULE:FUNCTION`` for one in Python.
    :param log_level: lowest level of the application log.
    :param log_file: file of the application log; ``-``: standard error.
    :raises ConfigError: a flag has a value that is not allowed; the path of the problem is the flag.
    """
    problems = [
        *_port_problems("--port", port, 0),
        *_port_problems("--backend-port", backend_port, 1),
        *_listen_problems(listen),
    ]
    if mode not in ("http", "tcp"):
        problems.append(Problem(_FILE, 0, "--mode", f"{shown(mode)} is not a mode {allowed(mode, ('http', 'tcp'))}"))
    # A placeholder stands for a wrong flag, so that the others are still checked.
    bad = {problem.path for problem in problems}
    listener = {
        "name": _NAME,
        "address": "0.0.0.0:0" if bad & {"--port", "--listen"} else _with_port(listen, port),
    }
    data: dict[str, object] = {
        "log": {"level": log_level, "path": escape(log_file)},
        "listener": [listener],
        "cluster": {
            _NAME: {
                "balance": balance,
                "backends": [
                    {"address": _with_port(backend, 1 if "--backend-port" in bad else backend_port)}
                    for backend in backends
                ],
            }
        },
    }
    if mode == "tcp":
        listener.update(protocol="tcp", cluster=_NAME)
    else:
        data["route"] = [{"name": _NAME, "cluster": _NAME}]
    try:
        # No variables: the shell has expanded what stands on a command line already.
        loaded = load_data(data, _FILE, {})
    except ConfigError as error:
        problems += _by_flag(error.problems)
    if problems:
        raise ConfigError(problems)
    return loaded


def _with_port(host: str, port: int) -> str:
    """Return the address of a host that may have a port already."""
    host = escape(host)
    if host.startswith("unix:"):
        return host
    if _is_ipv6(host):
        return f"[{host}]:{port}"
    if ":" not in host or host.endswith("]"):
        return f"{host}:{port}"
    return host


def _listen_problems(listen: str) -> list[Problem]:
    bare = listen.removeprefix("[").removesuffix("]")
    if ":" not in listen or listen.startswith("unix:") or _is_ipv6(bare):
        return []
    message = f"{shown(listen)} is not an address without port (allowed: HOST, IPV6, unix:/PATH; --port is the port)"
    return [Problem(_FILE, 0, "--listen", message)]


def _port_problems(flag: str, port: int, lowest: int) -> list[Problem]:
    if type(port) is int and lowest <= port <= 65535:
        return []
    return [Problem(_FILE, 0, flag, f"{shown(port)} is not a port (allowed: {lowest} to 65535)")]


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _by_flag(problems: Sequence[Problem]) -> list[Problem]:
    """Return problems with the flag for a path; of those with one flag, the first."""
    by_flag: dict[tuple[str, str], Problem] = {}
    for problem in problems:
        flag = next((flag for path, flag in _FLAGS if problem.path.startswith(path)), problem.path)
        detail = problem.path if flag == "--backend" else ""
        by_flag.setdefault((flag, detail), Problem(_FILE, 0, flag, problem.message))
    return list(by_flag.values())
