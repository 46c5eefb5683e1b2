"""Sites in Python: a file that gives the configuration and the functions that it names."""

from __future__ import annotations

import re

from .helpers import TWISTD, TXPROXY, Command, get, run_command
from .peers import Backend, Client, ProxyProcess, config_for, fixed, wait_for

SITE = """
def pick(request):
    if request.path.startswith("/boom"):
        raise RuntimeError("no idea for " + request.path)
    if request.path.startswith("/nowhere"):
        return "no-such-cluster"
    if request.headers.get("X-Beta") == "yes" or request.host == "beta.example":
        return "beta"
    return "main"

config = {{
    "listener": [{{"name": "web", "address": "127.0.0.1:0"}}],
    "route": [{{"name": "scripted", "choose": "site:pick"}}],
    "cluster": {{
        "main": {{"backends": [{{"address": "{main}"}}]}},
        "beta": {{"backends": [{{"address": "{beta}"}}]}},
    }},
    "log": {{"access": "access.log", "format": "json"}},
}}
"""


def check_site(command: list[str]) -> None:
    with Backend(fixed(body=b"main")) as main, Backend(fixed(body=b"beta")) as beta:
        site = SITE.format(main=main.address, beta=beta.address)
        with Command([*command, "-c", "site.py"], {"site.py": site}) as proxy:
            assert get(proxy.port).body == b"main"
            assert get(proxy.port, host="Beta.example:80").body == b"beta"
            assert get(proxy.port, fields="x-beta: yes\r\n").body == b"beta"
            # An exception is a 500 for that request alone, on a connection that goes on, with one line in the log.
            with Client(proxy.port) as client:
                for target in ("/boom/1", "/nowhere"):
                    reply = client.request(target)
                    assert reply.status == 500
                    assert b"no idea" not in reply.body and b"no-such" not in reply.body
                    assert client.request().body == b"main"
                assert client.request("/boom/post", "POST", body=b"abc").status == 500
            wait_for(lambda: "no-such-cluster" in proxy.text, "the log")
            application = [line for line in proxy.text.splitlines() if "no idea for /boom/1" in line]
            assert len(application) == 1, application
            assert "site.py:4" in application[0], "the line says where it was raised"
            access = proxy.directory / "access.log"
            wait_for(lambda: access.read_text().count("\n") >= 8, "the access log")
            ends = re.findall(r'"end":"([a-z-]+)"', access.read_text())
            assert sorted(ends) == ["internal"] * 3 + ["ok"] * 5


def test_a_site_file_chooses_the_backend() -> None:
    """D15: the function chooses by host, header or anything; an exception is a 500 with one log line."""
    check_site([*TXPROXY, "run"])


def test_a_site_file_under_twistd() -> None:
    """D15: the same under twistd."""
    check_site([*TWISTD, "-n", "txproxy"])


def test_a_toml_file_may_name_functions_of_a_site_beside_it() -> None:
    """D15: ``choose = "site:pick"`` of a TOML file means the site.py beside it."""
    with Backend(fixed(body=b"origin")) as backend:
        config = config_for(backend.address).replace('cluster = "origin"', 'choose = "site:pick"', 1)
        with ProxyProcess(config, files={"site.py": "def pick(request):\n    return 'origin'\n"}) as proxy:
            assert get(proxy.port).body == b"origin"


def test_errors_of_a_site_file_have_their_place() -> None:
    """D15: a site file that raises or lacks what is named is an error with its line, and exit status 1."""
    for text, wanted in (
        ("x = 1\nraise RuntimeError('broken on purpose')\n", r"site\.py:2: .*broken on purpose"),
        ("x = 1\n", r"site\.py:1: .*config"),
        (
            SITE.format(main="127.0.0.1:1", beta="127.0.0.1:2").replace("site:pick", "site:pikc"),
            r"site\.py:\d+: .*pikc",
        ),
    ):
        with Command(["true"], {"site.py": text}, ready=None) as folder:
            done = run_command([*TXPROXY, "check", "site.py"], folder.directory)
        assert done.returncode == 1
        assert re.search(wanted, done.stdout), done.stdout
