"""A process that runs health checks on real sockets: ``python -m txproxy.test.live.prober``.

It reads a list of checks from standard input, as JSON: each has ``settings`` and ``target``, as ``ProbeSettings`` and
``ProbeTarget`` have them. It runs them all at once and writes what each has found, and what was left of them.
"""

from __future__ import annotations

import gc
import json
import os
import sys
import time
from random import Random
from typing import Any

from OpenSSL import SSL
from twisted.internet import defer, task
from twisted.logger import LogEvent, formatEvent, globalLogBeginner

from txproxy.tls.client import ClientContext, ClientSettings
from txproxy.upstream.checks.probes import ProbeFailed, ProbeSettings, ProbeTarget, make_probe


def _run(check: dict[str, Any], reactor: Any) -> defer.Deferred[str]:
    settings = dict(check["settings"])
    if "tls" in settings:
        settings["tls"] = ClientContext(ClientSettings(**settings["tls"]), time.time())
    target = dict(check["target"])
    target["hosts"] = tuple(target["hosts"])
    target["host_field"] = target.get("host_field", "localhost").encode()
    running = make_probe(ProbeSettings(**settings), reactor).run(ProbeTarget(**target))
    if "cancel_after_s" in check:
        reactor.callLater(check["cancel_after_s"], running.cancel)

    def failed(failure: Any) -> str:
        error = failure.value
        return error.reason if isinstance(error, ProbeFailed) else type(error).__name__

    return running.addCallbacks(lambda _: "", failed)


async def _main(reactor: Any, checks: list[dict[str, Any]]) -> None:
    lines: list[str] = []

    def note(event: LogEvent) -> None:
        if event["log_level"].name in ("error", "critical") or event.get("isError"):
            lines.append(formatEvent(event))

    observe: Any = note
    globalLogBeginner.beginLoggingTo([observe], redirectStandardIO=False, discardBuffer=True)
    # Whatever opens descriptors once has done so after a first check.
    await _run({"settings": {"type": "tcp"}, "target": {"name": "x", "hosts": ["127.0.0.1"], "port": 9}}, reactor)
    before = len(os.listdir("/proc/self/fd"))
    gc.collect()
    gc.disable()
    Random(len(checks)).shuffle(order := list(range(len(checks))))
    running = {index: _run(checks[index], reactor) for index in order}
    verdicts = [await running[index] for index in range(len(checks))]
    await task.deferLater(reactor, 0.1)
    left = {
        "descriptors": len(os.listdir("/proc/self/fd")) - before,
        "calls": [str(each) for each in reactor.getDelayedCalls()],
        "errors": lines,
        # What the garbage collector has to find is there for a while, with OpenSSL's buffers.
        "connections": sum(isinstance(each, SSL.Connection) for each in gc.get_objects()),
    }
    print(json.dumps({"verdicts": verdicts, "left": left}))


if __name__ == "__main__":
    if "--reactor=txproxy" in sys.argv:
        from txproxy.net.epoll import install

        install()
    task.react(lambda reactor: defer.ensureDeferred(_main(reactor, json.load(sys.stdin))))
