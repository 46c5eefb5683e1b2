"""The ``txproxy`` command."""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
from collections.abc import Sequence
from typing import Any


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    :param arguments: without the program's name; those of the process if None.
    :return: exit status: 0, 1 for an error in the configuration or at the start, 2 for a wrong command line.
    """
    options = _parser().parse_args(arguments)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # A file's name may hold what the terminal cannot show.
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it was closed before we were started
    try:
        status: int = options.run(options)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has seen enough (`| head`); what is left is not to be flushed at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    return status


def _parser() -> argparse.ArgumentParser:
    from txproxy import __version__
    from txproxy.ctl import add_parser as add_ctl
    from txproxy.top import add_parser as add_top

    parser = argparse.ArgumentParser(prog="txproxy", description="A reverse proxy and load balancer on Twisted.")
    parser.add_argument("--version", action="version", version=f"txproxy {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="serve", description="Serve what a file says, or forward one port by flags.")
    run.add_argument("-c", "--config", metavar="FILE", help="a TOML file, or a Python site file ending in .py")
    run.add_argument("--pidfile", metavar="FILE", help="write the process id there while running")
    _add_quick_flags(run)
    _add_backend_flags(run)
    run.set_defaults(run=_run, demo=False)

    check = commands.add_parser("check", help="check a configuration", description="Print every error, open no port.")
    check.add_argument("config", nargs="?", metavar="FILE")
    check.add_argument("-c", "--config", dest="config_flag", metavar="FILE")
    check.add_argument("--dump", action="store_true", help="print the configuration with every default")
    check.set_defaults(run=_check)

    demo = commands.add_parser("demo", help="serve sample backends", description="A proxy with something behind it.")
    _add_quick_flags(demo)
    demo.set_defaults(run=_run, demo=True, config=None, pidfile=None, backend=[], backend_port=None)

    add_ctl(commands)
    add_top(commands)

    schema = commands.add_parser("schema", help="print the JSON Schema of the configuration, for editors")
    schema.set_defaults(run=_schema)
    return parser


def _add_quick_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-l", "--listen", metavar="ADDR", help="address to listen on (0.0.0.0)")
    parser.add_argument("-p", "--port", type=int, metavar="N", help="port to listen on; 0: any free one (8080)")
    parser.add_argument("--mode", help="http, or tcp to pass bytes through unread (http)")
    parser.add_argument("--balance", metavar="NAME", help="round_robin, p2c ... or MODULE:FUNCTION (round_robin)")
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warn or error (info)")
    parser.add_argument("--log-file", metavar="FILE", help="application log, instead of standard error")


def _add_backend_flags(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-b", "--backend", action="append", default=[], metavar="HOST[:PORT]", help="may be repeated (127.0.0.1)"
    )
    parser.add_argument("-P", "--backend-port", type=int, metavar="N", help="port of backends that name none (8081)")


def _run(options: argparse.Namespace) -> int:
    try:
        from txproxy.net import epoll

        epoll.install()
    except ImportError:
        pass  # No epoll here: the reactor that Twisted chooses serves as well, if not as fast.
    from twisted.internet import reactor

    from txproxy.config.problems import ConfigError
    from txproxy.service import make_service
    from txproxy.surroundings import Surroundings

    settings = {
        "config": options.config,
        "demo": options.demo,
        "listen": options.listen,
        "port": options.port,
        "backends": options.backend,
        "backend-port": options.backend_port,
        "mode": options.mode,
        "balance": options.balance,
        "log-level": options.log_level,
        "log-file": options.log_file,
    }
    try:
        surroundings = Surroundings(os.environ, options.pidfile or "")
        service: Any = make_service(settings, reactor, surroundings.given)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    except (OSError, ValueError) as error:
        print(f"txproxy: {error}", file=sys.stderr)
        return 1
    surroundings.look_after(service, reactor)
    service.upgrade = surroundings.upgrading(service, reactor)
    return _serve(service, reactor, surroundings)


def _serve(service: Any, reactor: Any, surroundings: Any) -> int:
    from twisted.internet.error import CannotListenError

    from txproxy.application_log import start_logging
    from txproxy.config.problems import ConfigError
    from txproxy.privileges import acting_as, warn_if_powerless

    try:
        with acting_as(service.config.proxy.user, service.config.proxy.group):
            service.log_file = start_logging(service.config.log.path)
        warn_if_powerless(service.config.proxy.user, service.config.proxy.group)
        service.privilegedStartService()
        service.startService()
    except (CannotListenError, ConfigError, OSError) as error:
        print(f"txproxy: {error}", file=sys.stderr)
        return 1
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    # What was made so far stays for good: the collector need not look at it again and again.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)
    try:
        reactor.run()
    finally:
        service.log_file.close()
        surroundings.left()
    return int(getattr(service, "exit_status", 0))


def _check(options: argparse.Namespace) -> int:
    from txproxy.config.dump import dump
    from txproxy.config.load import load_file
    from txproxy.config.problems import ConfigError
    from txproxy.options import check_surroundings

    path = options.config or options.config_flag
    if not path:
        print("txproxy check: name a FILE", file=sys.stderr)
        return 2
    try:
        loaded = load_file(path, further=check_surroundings)
    except ConfigError as error:
        print(error, *error.remarks, sep="\n")
        return 1
    for remark in loaded.remarks:
        print(remark, file=sys.stderr if options.dump else sys.stdout)
    print(dump(loaded.config) if options.dump else f"{path}: no errors")
    return 0


def _schema(_options: argparse.Namespace) -> int:
    from txproxy.config.dump import schema

    print(json.dumps(schema(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
