"""A program that resolves names on the real reactor and prints a line of JSON for each: ``python -m ... NAME...``."""

from __future__ import annotations

import json
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.logger import globalLogPublisher, textFileLogObserver

from txproxy.upstream.names.resolver import ResolveFailed, Resolver, resolv_conf_path


async def _resolve(reactor: Any, names: list[str]) -> None:
    resolver = Resolver(reactor, resolv_conf_path(), "/dev/null")
    for name in names:
        try:
            found: dict[str, Any] = (await resolver.resolve(name))._asdict()
        except ResolveFailed as error:
            found = {"reason": error.reason}
        # Sockets are closed in the turn after the answer.
        turn: Deferred[None] = Deferred()
        reactor.callLater(0, turn.callback, None)
        await turn
        left = [repr(each) for each in [*reactor.getDelayedCalls(), *reactor.getReaders()] if "Waker" not in repr(each)]
        print(json.dumps({"name": name, **found, "left": left}), flush=True)


if __name__ == "__main__":
    globalLogPublisher.addObserver(textFileLogObserver(sys.stderr))
    react(lambda reactor: Deferred.fromCoroutine(_resolve(reactor, sys.argv[1:])))
