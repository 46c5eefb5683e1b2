"""``txproxy top`` on a terminal."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .farm import Farm
from .helpers import ENVIRONMENT, TXPROXY
from .load import Load
from .operating import ADMIN, admin_address, backends
from .peers import ProxyProcess, config_for, unused_port
from .terminal import Terminal

DOWN, UP = "\x1b[B", "\x1b[A"


@contextmanager
def watched(workers: int = 1, size: tuple[int, int] = (80, 24)) -> Iterator[tuple[Terminal, ProxyProcess, list[str]]]:
    """Have top watch a proxy with three backends, under load."""
    with Farm(3) as farm:
        config = config_for(*farm.addresses, more=f"{ADMIN}[proxy]\nworkers = {workers}\n")
        with ProxyProcess(config) as proxy, Load(proxy.port, 100, 600):
            command = [*TXPROXY, "top", "--admin", admin_address(proxy), "--interval", "0.3"]
            with Terminal(command, ENVIRONMENT, size) as terminal:
                yield terminal, proxy, farm.addresses


@pytest.mark.parametrize("workers", [1, 2])
def test_what_is_seen(workers: int) -> None:
    """At 80x24: rate, percentiles, statuses, workers, and each backend with its share; it moves."""
    with watched(workers) as (terminal, _, addresses):
        terminal.shows("ready", "requests", "2xx 100.0%", "p50", "p99", f"worker {workers} ", *addresses)
        first = terminal.lines
        assert len(first) == 24 and all(len(line) <= 80 for line in first)
        assert first[-1].startswith("q quit")
        rows = [line.split() for line in first if line.startswith("origin")]
        assert [row[:3] for row in rows] == [["origin", address, "up"] for address in addresses]
        terminal.press("q")
        assert terminal.ends() == 0


def test_keys() -> None:
    """Arrows select, d asks and drains, s lets serve again, o orders; any other answer than y is no."""
    with watched() as (terminal, proxy, addresses):
        terminal.shows(*addresses)
        terminal.press(DOWN)
        terminal.press(DOWN)
        terminal.press(UP)
        terminal.shows("2/3")
        terminal.press("d")
        terminal.shows(f"drain origin/{addresses[1]}? (y/n)")
        terminal.press("n")
        terminal.shows("q quit")
        assert backends(proxy)[addresses[1]]["state"] == "up"
        terminal.press("dy")
        terminal.shows(f"drain origin/{addresses[1]}: done", "draining")
        assert backends(proxy)[addresses[1]]["state"] == "draining"
        terminal.press("o")
        terminal.shows("(state)")
        rows = [line.split() for line in terminal.lines if line.startswith("origin")]
        assert rows[0][:3] == ["origin", addresses[1], "draining"]
        terminal.press("\x1bOA\x1bOA")  # A terminal that sends arrows in its other way.
        terminal.shows("1/3")
        terminal.press("sy")
        terminal.shows(f"serve origin/{addresses[1]}: done")
        assert backends(proxy)[addresses[1]]["state"] == "up"
        terminal.press("q")
        assert terminal.ends() == 0


def test_sizes() -> None:
    """It follows the terminal, also to where there is hardly any room."""
    with watched() as (terminal, _, addresses):
        terminal.shows(*addresses)
        for columns, lines in ((120, 40), (40, 10), (20, 5), (5, 2), (1, 1), (80, 24)):
            terminal.resize(columns, lines)
            if lines > 9:
                terminal.shows("RATE" if columns > 60 else "STATE", "requests")
        terminal.shows(*addresses, "q quit")
        terminal.press("q")
        assert terminal.ends() == 0


def test_the_proxy_goes_and_comes() -> None:
    """It says that nobody answers, keeps what it knew, and goes on when somebody does."""
    with Farm(1) as farm:
        port = unused_port()
        config = config_for(*farm.addresses, more=f'[admin]\nlisten = "127.0.0.1:{port}"\n')
        command = [*TXPROXY, "top", "--admin", f"127.0.0.1:{port}", "--interval", "0.2"]
        with Terminal(command, ENVIRONMENT) as terminal:
            terminal.shows("Connection refused")
            with ProxyProcess(config):
                terminal.shows(*farm.addresses, "ready")
            terminal.shows("no answer, trying again", *farm.addresses)
            with ProxyProcess(config):
                terminal.shows("for 2 s")
                assert "no answer" not in terminal.text
            terminal.press("q")
            assert terminal.ends() == 0


def test_terminals_that_cannot() -> None:
    """A dumb one, and none at all, are told of --once; it prints the same as text."""
    with Farm(1) as farm, ProxyProcess(config_for(*farm.addresses, more=ADMIN)) as proxy:
        command = [*TXPROXY, "top", "--admin", admin_address(proxy)]
        with Terminal(command, ENVIRONMENT, name="dumb") as terminal:
            assert terminal.ends() == 2
            assert "--once" in terminal.text
        piped = subprocess.run(command, capture_output=True, text=True, timeout=30, env=ENVIRONMENT, check=False)
        assert piped.returncode == 2 and "--once" in piped.stderr
        once = subprocess.run(
            [*command, "--once", "--interval", "0.2"],
            capture_output=True,
            text=True,
            timeout=30,
            env=ENVIRONMENT,
            check=False,
        )
        assert once.returncode == 0 and farm.addresses[0] in once.stdout and "\x1b" not in once.stdout
