"""The cache inside another application: what it can be told, and what it counts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import pytest

from .cache_front import FRESH, Answer, Held, Origin, begun, ends
from .embedded import Embedded
from .helpers import get
from .peers import Backend, Client, config_for, http_reply


class Shop(NamedTuple):
    """An application that has a proxy with a cache, and its origin."""

    application: Embedded
    origin: Origin

    def stored(self, target: str) -> bool:
        """Whether something is stored."""
        reply = get(self.application.port, target, fields="Cache-Control: only-if-cached\r\n")
        return reply.status != 504

    def store(self, *targets: str, fields: str = FRESH) -> None:
        """Have something stored."""
        for target in targets:
            self.origin.says(target, Answer(fields=fields))
            assert get(self.application.port, target).status == 200


@pytest.fixture(scope="module")
def shop() -> Iterator[Shop]:
    """One application for all tests of this module."""
    origin = Origin()
    with Backend(origin) as backend, Embedded(config_for(backend.address, route="cache = true")) as application:
        yield Shop(application, origin)


def test_purging(shop: Shop) -> None:
    """K9: by URL, prefix and tag, and everything; each returns the count, and takes nothing else."""
    call = shop.application.call
    shop.store("/p/1", "/p/2", "/q?x", "/q")
    shop.store("/t/1", "/t/2", fields=f"{FRESH}Surrogate-Key: red blue\r\n")
    shop.store("/t/3", fields=f"{FRESH}Cache-Tag: blue,green\r\n")
    assert call("cache.purge", "url", "http://a.example/q") == 1
    assert shop.stored("/q?x") and not shop.stored("/q")
    assert call("cache.purge", "prefix", "http://a.example/p/") == 2
    assert not shop.stored("/p/1") and shop.stored("/q?x")
    assert call("cache.purge", "tag", "red") == 2
    assert call("cache.purge", "tag", "green") == 1
    assert call("cache.purge", "tag", "blue") == 0
    assert call("cache.clear") == 1
    assert not shop.stored("/q?x")
    assert call("cache.statistics")["store"]["objects"] == 0


def test_what_is_purged_on_its_way_is_not_stored(shop: Shop) -> None:
    """K9: a reply that was asked for before the purge is delivered whole and not stored, whatever its purge names."""
    reply = http_reply(body=b"x" * 1000, fields=f"{FRESH}Cache-Tag: late\r\n")
    for number, how in enumerate(
        (["cache.purge", "url", "http://a.example/late-0"], ["cache.purge", "tag", "late"], ["cache.clear"])
    ):
        target = f"/late-{number}"
        held = Held(reply, 800)
        shop.origin.says(target, held)
        with Client(shop.application.port) as client:
            begun(client, target)
            assert ends(client, b"xx")
            shop.application.call(*how)
            held.go_on.set()
            assert client.reply().body == b"x" * 1000
        assert not shop.stored(target), how


def test_what_is_counted(shop: Shop) -> None:
    """Hits, misses and bytes are there to be read."""
    before = shop.application.call("cache.statistics")
    shop.store("/counted")
    for _ in range(3):
        get(shop.application.port, "/counted")
    get(shop.application.port, "/counted", method="POST", body=b"x")
    after = shop.application.call("cache.statistics")
    grown = {name: after[name] - before[name] for name in before if name not in ("store", "health")}
    assert grown | {"hits": 3, "misses": 1, "bypassed": 1} == grown
    assert after["store"]["stored"] - before["store"]["stored"] == 1
    assert after["health"]["failures"] == 0
