"""A real browser, Chromium, in front of TLS: it judges names and chains by itself, and uses connections its own way."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from .browser import Site, home_trusting, said
from .peers import Backend, BackendConnection, JudgedRequest, ProxyProcess, by_target, echo, fixed
from .tls_front import front, listener, needed, section
from .tls_identities import Issuer

_FETCHES = 40
_PAGE = f"""<!doctype html><title>page</title><img src="/image.svg"><p id="said">unfinished</p><script>
window.onload = async () => {{
  const bodies = await Promise.all([...Array({_FETCHES}).keys()].map(
    number => fetch("/echo/" + number, {{method: "POST", body: "body " + number}}).then(reply => reply.text())));
  const large = new Uint8Array(3000000).fill(65);
  const back = await (await fetch("/echo/large", {{method: "POST", body: large}})).arrayBuffer();
  const entry = performance.getEntriesByType("navigation")[0];
  document.getElementById("said").textContent = [
    location.href, isSecureContext, entry.nextHopProtocol, document.images[0].naturalWidth,
    bodies.every((body, number) => body == "body " + number), new Uint8Array(back).every(each => each == 65),
    back.byteLength].join(" ");
}};
</script>"""
_IMAGE = b'<svg xmlns="http://www.w3.org/2000/svg" width="7" height="7"/>'


def _page(connection: BackendConnection, request: JudgedRequest) -> None:
    fixed(body=_PAGE.encode(), fields="Content-Type: text/html\r\n")(connection, request)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page for any name over https, with certificates for two; http leads there."""
    needed("chromium")
    home = tmp_path_factory.mktemp("home")
    root = Issuer("Browser Test Root")
    below = Issuer("Browser Test Below", root)
    home_trusting(root, home)
    pairs = [below.leaf("a.example").save(home, "a"), below.leaf("*.b.example").save(home, "b")]
    handlers = {
        "/echo/": echo(),
        "/page": _page,
        "/image.svg": fixed(body=_IMAGE, fields="Content-Type: image/svg+xml\r\n"),
    }
    with Backend(by_target(handlers, fixed(404, b""))) as backend:
        config = front(
            backend.address,
            listener("https", 'tls = "main"'),
            listener("web", "redirect_https = true"),
            section("main", pairs),
            route='hsts = "max-age=63072000"',
        )
        with ProxyProcess(config) as proxy:
            yield Site(proxy, backend, home)
    shutil.rmtree(home, ignore_errors=True)


def test_a_page_with_all_that_it_loads(site: Site) -> None:
    """T1, T9: Chromium is led from http to https, trusts the chain, loads an image, posts much, all over HTTP/1.1."""
    words = said(site.visit("http://a.example/page?q=1"))
    assert words == ["https://a.example/page?q=1", "true", "http/1.1", "7", "true", "true", "3000000"]
    requests = [request.target.decode() for request in site.backend.requests]
    assert requests.count("/page?q=1") == 1, requests
    assert set(requests) >= {"/image.svg", "/echo/large", *(f"/echo/{number}" for number in range(_FETCHES))}
    assert site.backend.violations == []


def test_the_browser_gets_the_certificate_of_a_wildcard(site: Site) -> None:
    """T1: a name under a wildcard is trusted as well."""
    assert said(site.visit("https://shop.b.example/page"))[:2] == ["https://shop.b.example/page", "true"]


def test_the_browser_refuses_a_wrong_name(site: Site) -> None:
    """T1: the default certificate is shown for an unknown name, and the browser does not take it."""
    before = len(site.backend.requests)
    page, complaints = site.visit("https://unknown.example/page")
    assert not page and "ERR_CERT_COMMON_NAME_INVALID" in complaints, complaints
    assert len(site.backend.requests) == before
