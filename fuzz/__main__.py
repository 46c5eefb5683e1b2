"""``python -m fuzz``: feeds changed messages to everything that reads, until the time is over or a promise breaks."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import random
import sys
import time
import traceback
from collections.abc import Sequence

from fuzz import http1, http2, proxy_protocol, tls
from fuzz.checks import Check, run_check
from fuzz.mutating import Mutator

_CHECKS: dict[str, Check] = {
    each.__name__: each
    for each in (
        http1.request_heads,
        http1.reply_heads,
        http1.chunked_bodies,
        http1.targets,
        http2.frames,
        http2.header_blocks,
        http2.http2_requests,
        http2.http2_replies,
        tls.client_hellos,
        proxy_protocol.proxy_headers,
    )
}

_ROUND = 50
"""Inputs per check between two looks at the clock."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Fuzz.

    :return: 1 if a promise was broken, and the input that broke it is printed; else 0.
    """
    options = _options(arguments)
    names = options.check or list(_CHECKS)
    if options.replay is not None:
        return _replay(names, bytes.fromhex(options.replay))
    if options.atheris:
        return _guided(names, options.seconds)
    return _plain(names, options.seconds, options.seed)


def _seeds() -> dict[str, list[bytes]]:
    return http1.seeds() | http2.seeds() | tls.seeds() | proxy_protocol.seeds()


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description="Fuzz everything that reads what peers send.")
    parser.add_argument("--seconds", type=float, default=10, help="how long (default: 10)")
    parser.add_argument("--seed", type=int, default=None, help="repeat a run (default: another one each time)")
    parser.add_argument("--check", action="append", choices=list(_CHECKS), help="only this one; may be repeated")
    parser.add_argument("--replay", metavar="HEX", help="run the checks on one input")
    has_atheris = importlib.util.find_spec("atheris") is not None
    parser.add_argument(
        "--atheris", action=argparse.BooleanOptionalAction, default=has_atheris, help="guided by coverage"
    )
    return parser.parse_args(arguments)


def _plain(names: Sequence[str], seconds: float, seed: int | None) -> int:
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    pools = _seeds()
    mutators = {name: Mutator(pools[name], random.Random(f"{seed} {name}")) for name in names}
    counts = dict.fromkeys(names, 0)
    for name in names:
        for data in pools[name]:
            if not _passes(name, data):
                return 1
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for name in names:
            for _ in range(_ROUND):
                counts[name] += 1
                if not _passes(name, mutators[name].next()):
                    return 1
    print(", ".join(f"{name}: {count} inputs" for name, count in counts.items()))
    return 0


def _replay(names: Sequence[str], data: bytes) -> int:
    return 0 if all([_passes(name, data) for name in names]) else 1


def _passes(name: str, data: bytes) -> bool:
    try:
        run_check(_CHECKS[name], data)
    except Exception:
        traceback.print_exc(file=sys.stdout)
        print(f"\n{name} broke on\n{data!r}\nagain: python -m fuzz --check {name} --replay {data.hex() or repr('')}")
        return False
    return True


def _guided(names: Sequence[str], seconds: float) -> int:
    """Let atheris choose the inputs; it ends the process itself, with its own exit status if a promise broke."""
    # An extra that is not installed with the tests: its absence is the usual case.
    atheris = importlib.import_module("atheris")

    def one_input(data: bytes) -> None:
        name = names[data[0] % len(names)] if data else names[0]
        if not _passes(name, data[1:]):
            sys.stdout.flush()
            raise AssertionError(name)

    for name in names:
        for data in _seeds()[name]:
            if not _passes(name, data):
                return 1
    atheris.instrument_all()
    atheris.Setup([sys.argv[0], f"-max_total_time={max(1, round(seconds))}", "-max_len=4096"], one_input)
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
