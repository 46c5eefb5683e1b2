"""The proxy inside another application, which changes its clusters while it serves; a child process for tests.

Run as a module it is that application: it takes calls as lines of JSON on standard input and answers each by a line.
"""

from __future__ import annotations

import contextlib
import json
import select
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from .client import DEADLINE_S
from .helpers import ENVIRONMENT


class Refused(Exception):
    """A call raised; its text is the type and text of that."""


class Embedded:
    """That application, as a context manager; leaving it checks that it logged no error of its own.

    :param config: TOML.
    """

    def __init__(self, config: str) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix="txproxy-embedded-"))
        path = self._directory / "proxy.toml"
        path.write_text(f'{config}\n[log]\naccess = ""\n')
        self._log = self._directory / "log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(path)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=ENVIRONMENT, text=True,
            )  # fmt: skip
        try:
            self.port: int = self._answer()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Embedded:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        text = self.log
        self.close()
        if kind is None:
            assert "Traceback" not in text and "Unhandled" not in text, text
        else:
            sys.stderr.write(f"log of the application:\n{text[-8000:]}\n")

    @property
    def log(self) -> str:
        """All that it logged."""
        return self._log.read_text()

    def call(self, method: str, *arguments: Any, **named: Any) -> Any:
        """Call a method of the cluster ``origin``, or of the cache as ``cache.NAME``, and return what it returned.

        ``cache.purge`` is called with the kind and the value of a purge.

        :raises Refused: if it raised.
        """
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([method, arguments, named]) + "\n")
        self._process.stdin.flush()
        return self._answer()

    def status(self) -> dict[str, dict[str, Any]]:
        """Return the status of all backends by their names."""
        return {each["name"]: each for each in self.call("status")}

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], DEADLINE_S)
        assert ready, f"no answer; its log:\n{self.log[-8000:]}"
        line = self._process.stdout.readline()
        assert line, f"it has ended; its log:\n{self.log[-8000:]}"
        raised, answer = json.loads(line)
        if raised:
            raise Refused(answer)
        return answer

    def close(self) -> None:
        """End it and delete its files."""
        self._process.kill()
        self._process.wait(DEADLINE_S)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
        shutil.rmtree(self._directory, ignore_errors=True)


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it, named tuples as mappings."""
    if hasattr(value, "_asdict"):
        return {name: _plain(each) for name, each in value._asdict().items()}
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else value


def main() -> None:
    """Be the application."""
    from twisted.internet import reactor as installed
    from twisted.internet import stdio
    from twisted.internet.protocol import Protocol
    from twisted.logger import globalLogBeginner, textFileLogObserver

    import txproxy
    from txproxy.cache.store import Purge
    from txproxy.config.load import load_file

    reactor: Any = installed
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    service = txproxy.build(load_file(sys.argv[1]), reactor)

    class Calls(Protocol):
        def __init__(self) -> None:
            self._pending = b""

        def connectionMade(self) -> None:
            self._tell(False, service.ports["web"].getHost().port)

        def dataReceived(self, data: bytes) -> None:
            *lines, self._pending = (self._pending + data).split(b"\n")
            for line in lines:
                self._carry_out(*json.loads(line))

        def _carry_out(self, method: str, arguments: list[Any], named: dict[str, Any]) -> None:
            try:
                self._tell(False, _plain(self._called(method)(*arguments, **named)))
            except (KeyError, ValueError) as error:
                kind = KeyError if isinstance(error, KeyError) else ValueError
                self._tell(True, f"{kind.__name__}: {error}")

        def _called(self, method: str) -> Any:
            if not method.startswith("cache."):
                return getattr(service.clusters["origin"], method)
            assert service.assembled is not None
            cache: Any = service.assembled.cache
            if method == "cache.purge":
                return lambda kind, value: cache.purge(Purge(kind, value.encode()))
            return getattr(cache, method.removeprefix("cache."))

        def _tell(self, raised: bool, answer: Any) -> None:
            assert self.transport is not None
            self.transport.write(json.dumps([raised, answer]).encode() + b"\n")

        def connectionLost(self, reason: Any = None) -> None:
            if reactor.running:
                reactor.stop()

    service.startService()
    stdio.StandardIO(Calls())
    reactor.run()


if __name__ == "__main__":
    main()
