"""The dashboard of a real proxy, in a real browser: what is shown is what happens, and what is ordered is done."""

from __future__ import annotations

import contextlib
import re
import signal
import threading
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from .devtools import Tab
from .helpers import get, settled
from .peers import (
    DEADLINE_S,
    Backend,
    BackendConnection,
    JudgedRequest,
    ProxyProcess,
    fixed,
    unused_port,
    wait_for,
)
from .tls_front import needed

_HOSTILE = "/broken?<img/src=x/onerror=hacked=1>"


class Shown(NamedTuple):
    """A proxy under steady traffic, and its dashboard."""

    proxy: ProxyProcess
    tab: Tab
    backends: dict[str, Backend]
    """Those of the cluster ``site``, by name."""
    workers: int


def _config(first: str, second: str, more: str = "", workers: int = 1) -> str:
    return f"""
[[listener]]
name = "web"
address = "127.0.0.1:0"
[[route]]
name = "broken"
path = "/broken"
cluster = "broken"
[[route]]
name = "site"
cluster = "site"
cache = true
[cluster.site]
backends = [{{ address = "{first}" }}, {{ address = "{second}" }}]
[cluster.broken]
backends = [{{ address = "127.0.0.1:{unused_port()}" }}]
[cache]
[proxy]
workers = {workers}
[admin]
listen = "127.0.0.1:0"
{more}
"""


def _admin_url(proxy: ProxyProcess) -> str:
    found = re.search(r"admin interface on (http://\S+)", proxy.error_text)
    assert found, proxy.error_text
    return f"{found[1]}/"


@pytest.fixture(scope="module", params=[1, 2])
def shown(request: pytest.FixtureRequest) -> Iterator[Shown]:
    """A proxy with two backends that serve and one that does not, of one process and of several workers.

    A client asks it all the time.
    """
    needed("chromium")
    is_over = threading.Event()

    def ask() -> None:
        while not is_over.wait(0.02):
            get(proxy.ports["web"])

    with contextlib.ExitStack() as stack:
        reply = fixed(fields="Cache-Control: no-store\r\n")
        backends = [stack.enter_context(Backend(reply)) for _ in range(2)]
        config = _config(backends[0].address, backends[1].address, workers=request.param)
        proxy = stack.enter_context(ProxyProcess(config))
        client = threading.Thread(target=ask, daemon=True)
        client.start()
        stack.callback(client.join)
        stack.callback(is_over.set)
        tab = stack.enter_context(Tab())
        tab.visit(_admin_url(proxy))
        tab.wait("document.querySelector('#clusters tbody tr')")
        yield Shown(proxy, tab, {each.address: each for each in backends}, request.param)


def _row(name: str) -> str:
    return f"[...document.querySelectorAll('.backends tr')].find(each => each.innerText.includes({name!r}))"


def _order(tab: Tab, name: str, order: str) -> None:
    """Order a backend by keys alone."""
    tab.tab_to(f"it.dataset.order === {order!r} && it.getAttribute('aria-label').endsWith({name!r})")
    tab.press("Enter")
    tab.wait("document.querySelector('#confirm').open")
    tab.tab_to("it.id === 'confirm-yes'")
    tab.press("Enter")
    tab.wait("!document.querySelector('#confirm').open")


def test_shows_traffic(shown: Shown) -> None:
    """Rate, percentiles and statuses are those of the traffic; the page loads without a complaint of the browser."""
    tab = shown.tab
    tab.wait("parseFloat(document.querySelector('#rate b').textContent) > 0")
    tab.wait("/p50\\s*[\\d.]+ [µm]?s/.test(document.querySelector('#latency').innerText)")
    tab.wait("/2xx\\s*100 %/.test(document.querySelector('#mix').innerText)")
    tab.wait("document.querySelector('#rate-chart path.area').getAttribute('d').length > 20")
    assert tab.text("#state") == "ready"
    assert "http://127.0.0.1:" in tab.text("#listeners")
    tab.wait("/%/.test(document.querySelector('#workers').innerText)")
    assert tab.text("#worker-count") == ("1 process" if shown.workers == 1 else "2 processes")
    assert tab.evaluate("document.querySelector('#cache').hidden") is False
    assert tab.complaints == []


def test_shows_errors(shown: Shown) -> None:
    """A failed request stands in the list with its reason, its target as text."""
    assert get(shown.proxy.ports["web"], _HOSTILE).status == 502
    shown.tab.wait("/connect-failed/.test(document.querySelector('#errors').innerText)")
    row = shown.tab.text("#errors tr")
    assert "502" in row and "broken" in row and _HOSTILE in row
    assert shown.tab.evaluate("document.querySelectorAll('img').length") == 0
    assert shown.tab.evaluate("typeof hacked") == "undefined"
    shown.tab.wait("/5xx\\s*0\\.*\\d*/.test(document.querySelector('#mix').innerText)")
    assert shown.tab.complaints == []


def test_drains_and_serves(shown: Shown) -> None:
    """A backend that is drained on the page gets no more requests, until it is to serve again."""
    (name, drained), (_, other) = shown.backends.items()
    _order(shown.tab, name, "drain")
    shown.tab.wait(f"{_row(name)}.innerText.includes('draining')")
    before, others = settled(lambda: len(drained.requests)), len(other.requests)
    wait_for(lambda: len(other.requests) > others + 20, "requests for the other backend")
    assert len(drained.requests) == before
    _order(shown.tab, name, "serve")
    wait_for(lambda: len(drained.requests) > before, "requests for the backend that serves again")
    shown.tab.wait(f"{_row(name)}.innerText.includes('up')")
    assert shown.tab.complaints == []


def test_purges_and_reloads(shown: Shown) -> None:
    """The page purges the cache; a reload of a broken file is refused with its errors, one that is whole is done."""
    tab = shown.tab
    first, second = shown.backends
    tab.tab_to("it.id === 'purge-value'")
    tab.type("http://127.0.0.1/a")
    tab.press("Enter")
    tab.tab_to("it.id === 'confirm-yes'")
    tab.press("Enter")
    tab.wait("/0 replies removed/.test(document.querySelector('#purge-result').textContent)")
    for more, expected in (
        ("[cache.nothing]", "Refused"),
        ('[[route]]\nname = "new"\npath = "/new"\ncluster = "site"', "Reloaded"),
    ):
        shown.proxy.write_config(_config(first, second, more, shown.workers))
        tab.tab_to("it.id === 'reload'")
        tab.press("Enter")
        tab.tab_to("it.id === 'confirm-yes'")
        tab.press("Enter")
        tab.wait(f"document.querySelector('#reload-result').innerText.includes({expected!r})")
        if expected == "Refused":
            assert "proxy.toml:" in tab.text("#reload-result pre")
    # The browser tells of the refusal on its own account.
    assert [each for each in tab.complaints if "409" not in each] == []
    tab.complaints.clear()


def test_stop(shown: Shown) -> None:
    """While a proxy finishes what is under way the page says that it is stopping, and then that it is gone."""
    is_asked, is_over = threading.Event(), threading.Event()

    def slow(connection: BackendConnection, request: JudgedRequest) -> None:
        is_asked.set()
        is_over.wait(DEADLINE_S)
        fixed()(connection, request)

    tab = shown.tab
    with Backend(slow) as backend:
        proxy = ProxyProcess(_config(backend.address, backend.address.replace("127.0.0.1", "127.0.0.2")))
        try:
            tab.visit(_admin_url(proxy))
            tab.wait("document.querySelector('#state').textContent === 'ready'")
            client = threading.Thread(target=get, args=(proxy.ports["web"],), daemon=True)
            client.start()
            assert is_asked.wait(DEADLINE_S)
            proxy.process.send_signal(signal.SIGTERM)
            tab.wait("document.querySelector('#state').textContent === 'stopping'")
            assert "finishes what is under way" in tab.text("#banner")
            is_over.set()
            client.join(DEADLINE_S)
            tab.wait("document.querySelector('#state').textContent === 'disconnected'")
            assert "cannot be reached" in tab.text("#banner")
            assert proxy.process.wait(DEADLINE_S) == 0
            proxy.assert_no_bugs()
        finally:
            is_over.set()
            proxy.kill()
