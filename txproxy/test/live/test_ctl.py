"""``txproxy ctl`` as operators use it."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .farm import Farm
from .helpers import ENVIRONMENT, TXPROXY, get
from .load import Load
from .operating import ADMIN, admin_address, backends, ctl
from .peers import Backend, ProxyProcess, config_for, delayed, fixed, unused_port, wait_for


@pytest.mark.parametrize("workers", [1, 2])
def test_drain_waits_under_traffic(workers: int) -> None:
    """It ends when nothing is under way at that backend; no request fails, and none goes there before it serves again."""
    with Farm(2) as farm:
        config = config_for(*farm.addresses, more=f"{ADMIN}[proxy]\nworkers = {workers}\n")
        with ProxyProcess(config) as proxy, Load(proxy.port, 200, 60) as load:
            name = farm.addresses[0]
            wait_for(lambda: all(member.requests() for member in farm), "both to be asked")
            done = ctl(proxy, "drain", f"origin/{name}", "--wait", "20")
            assert (done.returncode, done.stdout) == (0, f"origin/{name} is drained\n"), done.stderr
            assert f"origin/{name}: 0 under way" in done.stderr
            count = len(next(iter(farm)).requests())
            assert backends(proxy)[name]["state"] == "draining"
            wait_for(lambda: len(list(farm)[1].requests()) > 100, "the other one to be asked")
            assert len(next(iter(farm)).requests()) == count
            assert ctl(proxy, "serve", f"origin/{name}").returncode == 0
            wait_for(lambda: len(next(iter(farm)).requests()) > count, "it to serve again")
            outcomes = load.finish()
        assert not [each for each in outcomes if each.status != 200]


def test_the_time_is_over() -> None:
    """Exit 1 if requests are still under way then; how many is told meanwhile."""
    with Backend(delayed(fixed(), 4.0)) as slow, Backend() as other:
        config = config_for(slow.address, other.address, more=ADMIN)
        with ProxyProcess(config) as proxy:
            thread = threading.Thread(target=lambda: [get(proxy.port) for _ in range(2)])
            thread.start()
            slow.wait_for_requests(1)
            done = ctl(proxy, "maintain", f"origin/{slow.address}", "--wait", "0.5")
            assert (done.returncode, done.stdout) == (1, "")
            assert f"origin/{slow.address}: 1 under way" in done.stderr and "the time is over" in done.stderr
            assert ctl(proxy, "drain", f"origin/{slow.address}", "--wait", "30").returncode == 0
            thread.join()


def test_all_that_it_does(tmp_path: Path) -> None:
    """Status, weights, backends that come and go, purges, reloads, log level and metrics; as text and as JSON."""
    with Backend() as one, Backend() as other:
        config = config_for(one.address, route="cache = {}", more=ADMIN)
        with ProxyProcess(config) as proxy:
            assert get(proxy.port).status == 200
            status = ctl(proxy, "status").stdout
            assert "txproxy" in status and one.address in status and "cache: " in status
            assert json.loads(ctl(proxy, "--json", "status").stdout)["state"] == "ready"
            assert ctl(proxy, "add", "origin", other.address, "--weight", "2").returncode == 0
            assert ctl(proxy, "weight", f"origin/{one.address}", "5").stdout == f"origin/{one.address}: weight 5\n"
            table = ctl(proxy, "backends", "origin").stdout.splitlines()
            assert [line.split()[1] for line in table] == ["BACKEND", one.address, other.address]
            assert json.loads(ctl(proxy, "--json", "backends").stdout)["origin"]["backends"][0]["weight"] == 5
            assert ctl(proxy, "remove", f"origin/{other.address}").returncode == 0
            assert list(backends(proxy)) == [one.address]
            for words in (
                ("--all",),
                ("--url", "http://a.example/"),
                ("--prefix", "http://a.example/"),
                ("--tag", "t"),
            ):
                assert ctl(proxy, "purge", *words).stdout == "0 purged\n", words
            assert ctl(proxy, "--json", "purge", "--all").stdout == '{"ok": true, "purged": 0}\n'
            assert ctl(proxy, "log-level", "debug").returncode == 0
            families = {each.name for each in text_string_to_metric_families(ctl(proxy, "metrics").stdout)}
            assert "txproxy_requests" in families
            assert ctl(proxy, "reload").stdout == "reloaded: nothing has changed\n"
            proxy.write_config(config.replace("[[route]]", "[[route]]\nmethodz = []"))
            done = ctl(proxy, "reload")
            assert (
                done.returncode == 1
                and "methodz: " in done.stderr
                and "the configuration before it stays" in done.stderr
            )


def test_what_it_cannot_do() -> None:
    """One line that says why, and exit 1; 2 for a wrong command line."""
    with Backend() as backend:
        guarded = '[admin]\nlisten = "127.0.0.1:0"\ntoken = "s3cret"\n'
        with ProxyProcess(config_for(backend.address, more=guarded)) as proxy:
            for words, environment, status, said in (
                (("status",), {}, 1, "a token is needed"),
                (("--token", "wrong", "status"), {}, 1, "the token is wrong (see --token-file)"),
                (("status",), {"TXPROXY_ADMIN_TOKEN": "s3cret"}, 0, ""),
                (("--token", "s3cret", "drain", "origin/x"), {}, 1, "cluster origin has no backend x"),
                (("--token", "s3cret", "drain", "none/x"), {}, 1, "there is no cluster none"),
                (("--token", "s3cret", "purge", "--all"), {}, 1, "no route has a cache"),
                (("drain", "origin"), {}, 2, "is not CLUSTER/BACKEND"),
                (("purge",), {}, 2, "required"),
                (("--token-file", "/nonexistent", "status"), {}, 2, "the token cannot be read"),
                (("-c", "/nonexistent", "status"), {}, 1, "/nonexistent"),
            ):
                done = ctl(proxy, *words, environment=environment)
                assert done.returncode == status and said in done.stderr, (words, done)
                assert "Traceback" not in done.stderr
            # What answers is something else.
            done = ctl(None, "--admin", f"127.0.0.1:{proxy.port}", "status")
            assert done.returncode == 1 and "no admin interface" in done.stderr, done
        done = ctl(None, "--admin", f"127.0.0.1:{unused_port()}", "status")
        assert done.returncode == 1 and "Connection refused" in done.stderr
        assert ctl(None, "--admin", "nowhere", "status").returncode == 2


def test_where_it_is_told(tmp_path: Path) -> None:
    """The file of the configuration has address and token; so may the environment; a unix socket is as good."""
    path, token = tmp_path / "admin.sock", tmp_path / "token"
    token.write_text("s3cret\n")
    with Backend() as backend:
        section = f'[admin]\nlisten = "unix:{path}"\ntoken = "file:{token}"\n'
        with ProxyProcess(config_for(backend.address, more=section)) as proxy:
            assert admin_address(proxy) == f"unix:{path}"
            assert ctl(None, "-c", str(proxy.config_path), "status").returncode == 0
            assert (
                ctl(
                    None, "--token-file", str(token), "status", environment={"TXPROXY_ADMIN": f"unix:{path}"}
                ).returncode
                == 0
            )
            done = subprocess.run(
                [*TXPROXY, "top", "--once", "--interval", "0.2", "-c", str(proxy.config_path)],
                capture_output=True, text=True, timeout=30, env=ENVIRONMENT, check=False,
            )  # fmt: skip
            assert done.returncode == 0 and backend.address in done.stdout, done
    assert ctl(None, "-c", str(path.with_name("none.toml")), "status").returncode == 1


def test_the_help_has_examples() -> None:
    """Of the whole and of each action."""
    done = ctl(None, "--help")
    assert done.returncode == 0 and "txproxy ctl drain api/10.0.0.12:8080 --wait 60" in done.stdout
    for action in ("drain", "weight", "add", "remove", "purge", "reload", "log-level", "metrics", "backends", "status"):
        assert action in done.stdout
        assert ctl(None, action, "--help").returncode == 0
