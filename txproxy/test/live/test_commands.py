"""The commands as a user types them."""

from __future__ import annotations

import json
import re
import signal
import tomllib
from pathlib import Path

import pytest

from .helpers import TWISTD, TXPROXY, Command, get, run_command
from .peers import Backend, Client, config_for, unused_port, wait_for
from .processes import PROJECT

BAD = """[proxy]
max_conections = 5
trusted_proxies = ["10.0.0.0/33"]

[[listener]]
name = "web"
address = "127.0.0.1:99999"
header_timeout_s = "ten"

[[route]]
name = "all"
cluster = "nowhere"

[cluster.origin]
balance = "round_robbin"
backends = [{ address = "127.0.0.1:1", wieght = 3 }]
"""
BAD_KEYS = {
    2: "proxy.max_conections",
    3: "proxy.trusted_proxies",
    7: "listener[0].address",
    8: "listener[0].header_timeout_s",
    12: "route[0].cluster",
    15: "cluster.origin.balance",
    16: "cluster.origin.backends",
}


def good(backend: Backend) -> str:
    return config_for(backend.address, more='[log]\naccess = "access.log"\n')


def check_commands(path: Path) -> list[list[str]]:
    return [
        [*TXPROXY, "check", str(path)],
        [*TXPROXY, "check", "-c", str(path)],
        [*TWISTD, "-n", "txproxy", "-c", str(path), "--check"],
    ]


@pytest.mark.parametrize("number", range(3))
def test_check_names_every_error_at_once(tmp_path: Path, number: int) -> None:
    """G2, G1: exit 1 with file, line and key path of each error, and a hint for a key that is nearly right."""
    path = tmp_path / "bad.toml"
    path.write_text(BAD)
    done = run_command(check_commands(path)[number], tmp_path)
    assert done.returncode == 1, done
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith(str(path))]
    found = {}
    for line in lines:
        match = re.fullmatch(re.escape(str(path)) + r":(\d+): ([^ ]+): (.+)", line)
        assert match, line
        found[int(match[1])] = (match[2], match[3])
    assert sorted(found) == sorted(BAD_KEYS)
    for line_number, key in BAD_KEYS.items():
        assert found[line_number][0].startswith(key), found[line_number]
    assert "max_connections" in found[2][1]
    assert "weight" in found[16][1]
    assert "round_robin" in found[15][1]


@pytest.mark.parametrize("number", range(3))
def test_check_of_a_good_file(tmp_path: Path, number: int) -> None:
    """G2: exit 0, and no port is opened: the file's port is taken by somebody else."""
    with Backend() as backend:
        path = tmp_path / "good.toml"
        path.write_text(config_for(backend.address).replace('"127.0.0.1:0"', f'"{backend.address}"'))
        done = run_command(check_commands(path)[number], tmp_path)
        assert done.returncode == 0, done
        assert backend.connections == []


@pytest.mark.parametrize("command", [[*TXPROXY, "run"], [*TWISTD, "-n", "txproxy"]])
def test_a_bad_file_does_not_start(tmp_path: Path, command: list[str]) -> None:
    """G2: starting with it prints the same errors and exits with 1, without a traceback."""
    path = tmp_path / "bad.toml"
    path.write_text(BAD)
    done = run_command([*command, "-c", str(path)], tmp_path)
    text = done.stdout + done.stderr
    assert done.returncode == 1, done
    assert "max_conections" in text and "round_robbin" in text
    assert "Traceback" not in text


@pytest.mark.parametrize("command", [[*TXPROXY, "run"], [*TWISTD, "-n", "txproxy"]])
def test_a_port_in_use_does_not_start(tmp_path: Path, command: list[str]) -> None:
    """G2: a clear line and exit status 1, not a traceback."""
    with Backend() as backend:
        path = tmp_path / "proxy.toml"
        path.write_text(config_for(backend.address).replace('"127.0.0.1:0"', f'"{backend.address}"'))
        done = run_command([*command, "-c", str(path)], tmp_path)
    text = done.stdout + done.stderr
    assert done.returncode == 1, done
    assert str(backend.port) in text
    assert "Traceback" not in text


def test_includes_variables_and_dump(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """G1: include globs and ``${VAR:-default}`` work, and ``--dump`` shows the effective configuration, to be used again."""
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "main.toml").write_text(
        'include = ["conf.d/*.toml"]\n[[listener]]\nname = "web"\naddress = "${LIVE_ADDRESS:-127.0.0.1:0}"\n'
        '[proxy]\nvia_name = "${LIVE_VIA_NAME:-edge}"\n'
    )
    (tmp_path / "conf.d" / "10-route.toml").write_text('[[route]]\nname = "all"\ncluster = "one"\n')
    (tmp_path / "conf.d" / "20-one.toml").write_text('[cluster.one]\nbackends = [{ address = "127.0.0.1:1" }]\n')
    done = run_command([*TXPROXY, "check", "--dump", "main.toml"], tmp_path)
    assert done.returncode == 0, done
    dumped = tomllib.loads(done.stdout)
    assert dumped["listener"][0]["address"] == "127.0.0.1:0"
    assert dumped["listener"][0]["keepalive_timeout_s"] == 75
    assert dumped["proxy"]["via_name"] == "edge"
    assert dumped["route"][0]["cluster"] == "one"
    assert dumped["cluster"]["one"]["pool"]["max_idle"] == 32
    (tmp_path / "dumped.toml").write_text(done.stdout)
    again = run_command([*TXPROXY, "check", "--dump", "dumped.toml"], tmp_path)
    assert (again.returncode, again.stdout) == (0, done.stdout)
    # An error in an included file has that file's name and line.
    (tmp_path / "conf.d" / "20-one.toml").write_text("[cluster.one]\nbackends = []\nbalanse = 1\n")
    done = run_command([*TXPROXY, "check", "main.toml"], tmp_path)
    assert done.returncode == 1
    assert re.search(r"conf\.d/20-one\.toml:3: cluster\.one\.balanse: ", done.stdout), done.stdout


def test_schema_help_and_version() -> None:
    """The schema is JSON, the help names what there is."""
    schema = json.loads(run_command([*TXPROXY, "schema"]).stdout)
    assert {"proxy", "listener", "route", "cluster"} <= set(schema["properties"])
    help_text = run_command([*TXPROXY, "--help"]).stdout
    assert all(word in help_text for word in ("run", "check", "demo", "schema"))
    for command in ([*TXPROXY, "run", "--help"], [*TWISTD, "-n", "txproxy", "--help"]):
        done = run_command(command)
        assert done.returncode == 0
        for flag in ("--config", "--listen", "--port", "--backend", "--backend-port", "--mode", "--balance", "--log-level",
                     "--log-file"):  # fmt: skip
            assert flag in done.stdout, (command, flag)
    assert re.search(r"txproxy \d", run_command([*TXPROXY, "--version"]).stdout)
    assert run_command([*TXPROXY, "nonsense"]).returncode == 2


@pytest.mark.parametrize("command", [[*TXPROXY, "run"], [*TWISTD, "-n", "txproxy"]])
def test_quick_mode(command: list[str]) -> None:
    """D11: a forwarder by flags alone, to several backends, under both commands."""
    with Backend() as one, Backend() as two:
        flags = [
            "-l",
            "127.0.0.1",
            "-p",
            "0",
            "-b",
            "127.0.0.1",
            "-P",
            str(one.port),
            "-b",
            two.address,
            "--mode",
            "http",
        ]
        with Command([*command, *flags]) as proxy:
            for _ in range(4):
                assert get(proxy.port).status == 200
            assert len(one.requests) == len(two.requests) == 2
            assert proxy.end(signal.SIGTERM) == 0
            # The access log goes to standard output.
            assert proxy.text.count("GET / HTTP/1.1") == 4
            assert "Traceback" not in proxy.text


def test_quick_mode_with_ipv6() -> None:
    """D11: IPv6 on both sides by flags."""
    with (
        Backend(address="::1") as backend,
        Command([*TXPROXY, "run", "-l", "::1", "-p", "0", "-b", backend.address]) as proxy,
    ):
        with Client(proxy.port, "::1") as client:
            assert client.request().status == 200
        assert proxy.end(signal.SIGTERM) == 0


def test_quick_mode_errors_name_the_flag() -> None:
    """G2: a flag with a bad value is named, without a traceback."""
    for command in ([*TXPROXY, "run"], [*TWISTD, "-n", "txproxy"]):
        done = run_command([*command, "-p", "0", "--balance", "nonsense"])
        text = done.stdout + done.stderr
        assert done.returncode == 1, done
        assert "--balance" in text and "nonsense" in text
        assert "Traceback" not in text


@pytest.mark.parametrize("command", [[*TXPROXY, "demo"], [*TWISTD, "-n", "txproxy", "--demo"]])
def test_demo(command: list[str]) -> None:
    """One command shows a working proxy with sample backends, and says what to try."""
    port = unused_port()
    with Command([*command, "-l", "127.0.0.1", "-p", str(port)], ready="curl") as proxy:
        wait_for(lambda: f"curl http://127.0.0.1:{port}/" in proxy.text, "what to try")
        pages = {get(port).body.splitlines()[0] for _ in range(6)}
        assert len(pages) == 3
        reply = get(port, "/x?y=1", method="POST", body=b"hello")
        assert b"POST /x?y=1" in reply.body and b"5 bytes" in reply.body
        with Client(port) as client:
            client.send(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n")
            assert client.read_until(lambda: b"event 2 of" in client.received)
        assert proxy.end(signal.SIGINT) == 0
        assert "Traceback" not in proxy.text and "Unhandled" not in proxy.text


def test_the_tac_file() -> None:
    """``twistd -ny proxy.tac`` serves the same, once its flags are edited as it says."""
    tac = PROJECT / "proxy.tac"
    if not tac.exists():
        pytest.skip("there is no proxy.tac yet")
    text, count = re.subn(r"^FLAGS = .*$", 'FLAGS = ["-c", "proxy.toml"]', tac.read_text(), flags=re.MULTILINE)
    assert count == 1
    with (
        Backend() as backend,
        Command([*TWISTD, "-ny", "proxy.tac"], {"proxy.tac": text, "proxy.toml": good(backend)}) as proxy,
    ):
        assert get(proxy.port).status == 200
        assert proxy.end(signal.SIGTERM) == 0
        assert "Traceback" not in proxy.text


def test_twistd_says_how_to_get_the_fast_reactor() -> None:
    """Plain twistd uses its own reactor and says once how to get the fast one; with it, nothing is said."""
    with Backend() as backend:
        for options, said in (([], 1), (["--reactor=txproxy"], 0)):
            with Command([*TWISTD, *options, "-n", "txproxy", "-c", "p.toml"], {"p.toml": good(backend)}) as proxy:
                assert get(proxy.port).status == 200
                assert proxy.end(signal.SIGTERM) == 0
                assert proxy.text.count("--reactor=txproxy") == said, proxy.text


def test_a_pidfile() -> None:
    """``txproxy run --pidfile`` holds the process id while it runs."""
    with (
        Backend() as backend,
        Command([*TXPROXY, "run", "-c", "p.toml", "--pidfile=pid"], {"p.toml": good(backend)}) as proxy,
    ):
        path = proxy.directory / "pid"
        wait_for(path.exists, "the file")
        wait_for(lambda: path.read_text().strip() == str(proxy.pid), "the process id in it")
        assert proxy.end(signal.SIGTERM) == 0
        assert not path.exists()


def test_the_start_says_what_is_served() -> None:
    """The start prints each listener with its real port, each route, each cluster with its number of backends."""
    with Backend() as backend, Command([*TXPROXY, "run", "-c", "p.toml"], {"p.toml": good(backend)}) as proxy:
        text = proxy.text
        assert f"listening on http://127.0.0.1:{proxy.port} (web)" in text
        assert proxy.port != 0
        assert re.search(r"route all", text)
        assert re.search(r"cluster origin: 1 backend", text)
        assert text.rstrip().endswith("ready")
