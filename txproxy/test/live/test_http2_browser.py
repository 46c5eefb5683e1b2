"""A real browser, Chromium, over HTTP/2: a page with much to load at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from .browser import Site, home_trusting, said
from .http2_front import section
from .peers import Backend, BackendConnection, JudgedRequest, ProxyProcess, by_target, echo, fixed
from .tls_front import front, listener, needed
from .tls_identities import Issuer

_IMAGES, _FETCHES = 50, 40
_TAGS = "".join(f'<img src="/image/{number}.svg">' for number in range(_IMAGES))
_PAGE = f"""<!doctype html><title>page</title>{_TAGS}<p id="said">unfinished</p><script>
window.onload = async () => {{
  const bodies = await Promise.all([...Array({_FETCHES}).keys()].map(
    number => fetch("/echo/" + number, {{method: "POST", body: "body " + number}}).then(reply => reply.text())));
  const large = new Uint8Array(3000000).fill(65);
  const back = await (await fetch("/echo/large", {{method: "POST", body: large}})).arrayBuffer();
  document.cookie = "first=1"; document.cookie = "second=2";
  await fetch("/cookies");
  const gone = new AbortController();
  const left = fetch("/large", {{signal: gone.signal}}).then(async reply => {{
    await reply.body.getReader().read(); gone.abort(); return "left"; }});
  const leaving = await left;
  const stream = (await fetch("/trailers")).text();
  const protocols = new Set(performance.getEntries().filter(entry => entry.nextHopProtocol)
    .map(entry => entry.nextHopProtocol));
  document.getElementById("said").textContent = [
    [...protocols].join("+"), performance.getEntriesByType("navigation")[0].nextHopProtocol,
    [...document.images].map(image => image.naturalWidth).reduce((one, other) => one + other),
    bodies.every((body, number) => body == "body " + number), new Uint8Array(back).every(each => each == 65),
    back.byteLength, leaving, await stream].join(" ");
}};
</script>"""


def _image(connection: BackendConnection, request: JudgedRequest) -> None:
    width = int(request.target.rpartition(b"/")[2].partition(b".")[0]) + 1
    body = b'<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="7"/>' % width
    fixed(body=body, fields="Content-Type: image/svg+xml\r\nCache-Control: no-store\r\n")(connection, request)


def _trailers(connection: BackendConnection, request: JudgedRequest) -> None:
    connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nend\r\n0\r\nX-Sum: 3\r\n\r\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A page for any name over https; http leads there."""
    needed("chromium")
    home = tmp_path_factory.mktemp("home")
    root = Issuer("Browser Test Root")
    home_trusting(root, home)
    handlers = {
        "/echo/": echo(),
        "/page": fixed(body=_PAGE.encode(), fields="Content-Type: text/html\r\n"),
        "/image/": _image,
        "/cookies": fixed(),
        "/trailers": _trailers,
        "/large": fixed(body=bytes(8_000_000)),
    }
    with Backend(by_target(handlers, fixed(404, b""))) as backend:
        config = front(
            backend.address,
            listener("https", 'tls = "main"'),
            listener("web", "redirect_https = true"),
            section("main", [root.leaf("a.example").save(home, "a")]),
        )
        with ProxyProcess(config) as proxy:
            yield Site(proxy, backend, home)
    shutil.rmtree(home, ignore_errors=True)


def test_a_page_with_fifty_images(site: Site) -> None:
    """H1: Chromium is led to https and loads all over h2: images, uploads, a fetch that it breaks off, trailers."""
    words = said(site.visit("http://a.example/page"))
    width = sum(range(1, _IMAGES + 1))
    assert words == ["h2", "h2", str(width), "true", "true", "3000000", "left", "end"], words
    requests = {request.target.decode(): request for request in site.backend.requests}
    assert set(requests) >= {f"/image/{number}.svg" for number in range(_IMAGES)} | {"/echo/large", "/page"}
    # Chromium sends each cookie in a field of its own.
    assert requests["/cookies"].value(b"cookie") == b"first=1; second=2"
    assert site.backend.violations == []
    lines = site.proxy.access_lines(len(site.backend.requests))
    mine = [line for line in lines if line["tls"] and line["status"] != 404]
    assert {line["version"] for line in mine} == {"2.0"}
    assert {line["end"] for line in mine if line["target"] != "/large"} == {"ok"}
