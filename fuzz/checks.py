"""What checks have in common: one for each kind of input, each a function of any bytes at all.

A check returns nothing. An exception outside ``txproxy.errors`` is a bug of the code that it called; ``Broken`` says
which promise about the answer was not kept.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable

from txproxy.errors import DownstreamError, ProxyError

Check = Callable[[bytes], None]


class Broken(AssertionError):
    """A promise about an answer was not kept."""


def require(holds: object, promise: str) -> None:
    """Say which promise was not kept.

    :raises Broken: if it does not hold.
    """
    if not holds:
        raise Broken(promise)


def pieces_of(data: bytes) -> list[bytes]:
    """Return ``data`` in a few pieces; the same for the same bytes, so that what is found can be found again."""
    chance = random.Random(zlib.crc32(data))
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(6)))
    return [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]


def run_check(check: Check, data: bytes) -> None:
    """Run one check; our own errors are answers like any other."""
    try:
        check(data)
    except DownstreamError:
        pass
    except ProxyError as error:
        raise Broken(f"a {type(error).__name__} is not what a peer's bytes can be answered with") from error
