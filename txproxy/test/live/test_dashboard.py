"""The dashboard in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from .admin_stub import AdminStub
from .client import wait_for
from .devtools import Tab
from .tls_front import needed

_SHOWN = "document.querySelector('#clusters tbody tr')"
_HOSTILE = '<img src=x onerror="window.hacked=1">&amp;\'"<script>hacked=1</script>'
_CONTRASTS = """(() => {
  const numbers = colour => colour.match(/[\\d.]+/g).map(Number);
  const part = value => value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([red, green, blue]) => 0.2126 * part(red / 255) + 0.7152 * part(green / 255) + 0.0722 * part(blue / 255);
  const ground = element => {
    for (let each = element; each; each = each.parentElement) {
      const [red, green, blue, opacity = 1] = numbers(getComputedStyle(each).backgroundColor);
      if (opacity === 1) return [red, green, blue];
    }
    return [255, 255, 255];
  };
  const found = [];
  for (const element of document.querySelectorAll("body, body *")) {
    const text = [...element.childNodes].filter(each => each.nodeType === 3).map(each => each.data.trim()).join("");
    if (!text || !element.checkVisibility() || element.closest("script, style, .unseen, .skip, option")) continue;
    const [one, other] = [light(numbers(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    found.push([Math.round(100 * (one + 0.05) / (other + 0.05)) / 100, text]);
  }
  return found;
})()"""
"""[[contrast as WCAG has it, text]] of all texts."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Tab]:
    """One Chromium for all tests."""
    needed("chromium")
    with Tab() as tab:
        yield tab


@pytest.fixture
def stub() -> Iterator[AdminStub]:
    """An admin interface that tells what the test wants."""
    with AdminStub() as one:
        yield one


@pytest.fixture
def tab(browser: Tab, stub: AdminStub) -> Iterator[Tab]:
    """The page of ``stub``, showing its first report; in the end nothing may have gone wrong in it."""
    browser.complaints.clear()
    browser.resize((1280, 800))
    browser.prefer("light")
    browser.visit(stub.url)
    browser.wait(_SHOWN)
    yield browser
    browser.visit("about:blank")
    assert browser.complaints == []


def _row(name: str) -> str:
    """Return an expression for the row of a backend."""
    return f"[...document.querySelectorAll('.backends tr')].find(each => each.innerText.includes({name!r}))"


def _press_order(tab: Tab, name: str, order: str) -> None:
    """Come to an order of a backend by Tab and press it."""
    tab.tab_to(f"it.dataset.order === {order!r} && it.getAttribute('aria-label').endsWith({name!r})")
    tab.press("Enter")
    tab.wait("document.querySelector('#confirm').open")


def test_updates(tab: Tab) -> None:
    """The figures follow the proxy: rate, percentiles, shares of statuses, chart, cache, certificates, workers, errors."""
    tab.wait("parseFloat(document.querySelector('#rate b').textContent) > 200")
    tab.wait("document.querySelector('#latency').innerText.match(/p50\\s*4\\.\\d ms/)")
    tab.wait("document.querySelector('#mix').innerText.match(/2xx\\s*9\\d\\.\\d %/)")
    first = tab.evaluate("document.querySelector('#rate-chart path.area').getAttribute('d')")
    tab.wait(f"document.querySelector('#rate-chart path.area').getAttribute('d') !== {first!r}")
    assert "Requests per second: now" in tab.evaluate("document.querySelector('#rate-chart svg').ariaLabel")
    assert tab.text("#state") == "ready"
    # 0.644 of 0.754 of all requests that the cache has a part in.
    assert tab.text("#hit-ratio").startswith("85."), tab.text("#cache")
    days = tab.evaluate("[...document.querySelectorAll('#certificate-list .badge')].map(each => each.innerText)")
    assert days == ["3 days left", "12 days left", "71 days left"]
    tab.wait("document.querySelector('#workers').innerText.includes('%')")
    assert "reply-timeout" in tab.text("#errors")
    assert "× 2" in tab.text("#reasons")


def test_drains_by_keyboard(tab: Tab, stub: AdminStub) -> None:
    """A backend is drained and taken back without a mouse; the focus comes back to where it was."""
    _press_order(tab, "10.0.0.12:8080", "drain")
    assert "under way are completed" in tab.text("#confirm-text")
    assert stub.asked == []
    tab.tab_to("it.id === 'confirm-yes'")
    tab.press("Enter")
    tab.wait(f"{_row('10.0.0.12:8080')}.innerText.includes('draining')")
    assert stub.asked == [("/clusters/api/backends/10.0.0.12%3A8080/drain", {})]
    assert tab.evaluate("document.activeElement.dataset.order") == "drain"
    assert tab.evaluate("document.activeElement.getAttribute('aria-pressed')") == "true"
    # Said once, for those who do not see it.
    tab.wait("document.querySelector('#news').textContent === 'api/10.0.0.12:8080 is draining.'")
    # Escape changes nothing.
    _press_order(tab, "10.0.0.12:8080", "maintain")
    tab.press("Escape")
    tab.wait("!document.querySelector('#confirm').open")
    assert len(stub.asked) == 1


def test_refused_order(tab: Tab, stub: AdminStub) -> None:
    """What could not be done is said, in the words of the proxy, and nothing looks as if it had been done."""
    stub.refusal = _HOSTILE
    _press_order(tab, "10.0.0.11:8080", "maintain")
    tab.tab_to("it.id === 'confirm-yes'")
    tab.press(" ")
    tab.wait("document.querySelector('#confirm-error').textContent")
    assert tab.text("#confirm-error") == _HOSTILE
    assert tab.evaluate("document.querySelector('#confirm-yes').disabled") is False
    assert "up" in tab.evaluate(f"{_row('10.0.0.11:8080')}.innerText")
    # The browser tells of the status on its own account.
    assert [each for each in tab.complaints if "409" not in each] == []
    tab.complaints.clear()


def test_waits_for_an_answer(tab: Tab, stub: AdminStub) -> None:
    """While an order is under way nothing can be pressed, and Escape does not hide what becomes of it."""
    stub.answers.clear()
    _press_order(tab, "10.0.0.11:8080", "drain")
    tab.tab_to("it.id === 'confirm-yes'")
    tab.press("Enter")
    tab.wait("document.querySelector('#confirm').getAttribute('aria-busy') === 'true'")
    buttons = "[...document.querySelectorAll('#confirm button')]"
    assert tab.evaluate(f"{buttons}.every(each => each.disabled)") is True
    tab.press("Escape")
    assert tab.evaluate("document.querySelector('#confirm').open") is True
    stub.answers.set()
    tab.wait("!document.querySelector('#confirm').open")
    assert len(stub.asked) == 1


def test_hostile_texts(tab: Tab, stub: AdminStub) -> None:
    """Whatever the proxy has to tell is shown as text, wherever it stands."""

    def spoil(what: Any) -> Any:
        if isinstance(what, dict):
            return {key: each if key in ("state", "numbers", "clusters") else spoil(each) for key, each in what.items()}
        if isinstance(what, list):
            return [spoil(each) for each in what]
        return f"{what}{_HOSTILE}" if isinstance(what, str) else what

    report = spoil(stub.report)
    clusters = {f"{name}{_HOSTILE}": spoil(cluster) for name, cluster in stub.report["clusters"].items()}
    for cluster in clusters.values():
        for number, backend in enumerate(cluster["backends"]):
            backend["state"] = _HOSTILE if number == 1 else backend["state"]
    stub.report = report | {"clusters": clusters}
    tab.wait("document.querySelectorAll('.backends')[0].innerText.includes('onerror')")
    tab.wait("document.querySelector('#errors').innerText.includes('onerror')")
    # It stands in the page as it came: in names, states, troubles, targets, reasons, names of certificates, the path.
    for selector in (
        ".backends",
        "#clusters h3",
        "#errors",
        "#reasons",
        "#certificate-list",
        "#config",
        "#listeners",
        "#version",
    ):
        assert _HOSTILE in tab.evaluate(f"document.querySelector({selector!r}).textContent"), selector
    assert tab.evaluate("document.querySelectorAll('img').length") == 0
    assert tab.evaluate("document.querySelectorAll('script').length") == 7
    assert tab.evaluate("typeof hacked") == "undefined"
    _press_order(tab, _HOSTILE, "drain")
    assert _HOSTILE in tab.text("#confirm-title")
    assert tab.evaluate("document.querySelectorAll('img').length") == 0
    tab.press("Escape")
    # However long and whatever they are, texts do not make the page wider than a phone.
    tab.resize((360, 740), phone=True)
    assert tab.evaluate("document.documentElement.scrollWidth") == 360


def test_token(browser: Tab) -> None:
    """Without a token the page asks for it, says that one is wrong, and keeps the right one for this tab."""
    browser.resize((1280, 800))
    with AdminStub(token="open sesame") as stub:
        browser.visit(stub.url)
        browser.wait("document.querySelector('#login').open")
        assert browser.evaluate("document.activeElement.id") == "token"
        browser.press("Escape")
        assert browser.evaluate("document.querySelector('#login').open") is True
        browser.type("wrong")
        browser.press("Enter")
        browser.wait("document.querySelector('#login-error').textContent === 'This token was not accepted.'")
        browser.type("open sesame")
        browser.press("Enter")
        browser.wait(_SHOWN)
        browser.visit(stub.url)
        browser.wait(_SHOWN)
        assert browser.evaluate("document.querySelector('#login').open") is False
        assert browser.evaluate("Object.keys(localStorage).concat(document.cookie).join('')") == ""
        browser.visit("about:blank")
    assert [each for each in browser.complaints if "401" not in each] == []
    browser.complaints.clear()


def test_proxy_away_and_back(tab: Tab, stub: AdminStub) -> None:
    """While the proxy is away the page says so and of when its figures are; it comes back by itself. A stop is told."""
    stub.is_away = True
    tab.wait("document.querySelector('#state').textContent === 'disconnected'")
    tab.wait("!document.querySelector('#banner').hidden")
    assert "cannot be reached" in tab.text("#banner")
    tab.wait("poller.failures > 2")
    assert tab.evaluate("document.title").startswith("✕")
    stub.is_away = False
    tab.tab_to("it.id === 'retry'")
    tab.press("Enter")
    tab.wait("document.querySelector('#state').textContent === 'ready'")
    assert tab.evaluate("document.querySelector('#banner').hidden") is True
    stub.report["state"] = "stopping"
    tab.wait("!document.querySelector('#banner').hidden")
    assert "accepts nothing new" in tab.text("#banner")
    assert tab.text("#state") == "stopping"
    assert [each for each in tab.complaints if "ERR_EMPTY_RESPONSE" not in each] == []
    tab.complaints.clear()


def test_hidden_tab_rests(tab: Tab, stub: AdminStub) -> None:
    """A page that nobody sees asks for nothing, and for all again as soon as it is seen."""
    hide = "Object.defineProperty(document, 'hidden', {value: %s, configurable: true}); document.dispatchEvent(new Event('visibilitychange'))"
    tab.evaluate(hide % "true")
    # What was under way may still come.
    tab.evaluate("new Promise(done => setTimeout(done, 1500))")
    before = stub.report["now"]
    tab.evaluate("new Promise(done => setTimeout(done, 2500))")
    assert stub.report["now"] == before
    tab.evaluate(hide % "false")
    wait_for(lambda: stub.report["now"] > before, "another report")


def test_purges(tab: Tab, stub: AdminStub) -> None:
    """What is purged is told and asked once more; the page says how many replies are gone."""
    tab.tab_to("it.id === 'purge-value'")
    tab.type("http://example.com/a")
    tab.press("Enter")
    tab.wait("document.querySelector('#confirm').open")
    assert "http://example.com/a" in tab.text("#confirm-text")
    tab.tab_to("it.id === 'confirm-yes'")
    tab.press("Enter")
    tab.wait("document.querySelector('#purge-result').textContent.startsWith('17 replies removed')")
    assert stub.asked == [("/cache/purge", {"url": "http://example.com/a"})]


@pytest.mark.parametrize("status", [200, 409])
def test_reloads(tab: Tab, stub: AdminStub, status: int) -> None:
    """A reload says what has become of it; the errors of a file are shown line by line."""
    errors = ["proxy.toml:7: cluster.x.balance: is wrong", "proxy.toml:9: unknown key"]
    stub.reloaded = (200, {"ok": True, "summary": "2 routes changed"})
    if status == 409:
        stub.reloaded = (
            409,
            {"ok": False, "errors": errors, "summary": "", "error": "the configuration before it stays"},
        )
    tab.tab_to("it.id === 'reload'")
    tab.press("Enter")
    tab.tab_to("it.id === 'confirm-yes'")
    tab.press("Enter")
    tab.wait("!document.querySelector('#reload-result').hidden")
    result = tab.text("#reload-result")
    assert all(error in result for error in errors) if status == 409 else "2 routes changed" in result, result
    assert tab.evaluate("document.querySelector('#confirm').open") is False
    tab.complaints[:] = [each for each in tab.complaints if "409" not in each]


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_contrast(tab: Tab, stub: AdminStub, scheme: str) -> None:
    """All texts have the contrast that WCAG AA asks for, as the system prefers and as the button says."""
    tab.prefer(scheme)
    ground = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, ground[4:-1].split(","))) > 384) == (scheme == "light"), ground
    stub.is_away = True
    tab.wait("document.querySelector('#state').textContent === 'disconnected'")
    tab.evaluate(
        "confirmed('Title', 'Text', 'Verb', () => {}); document.querySelector('#confirm-error').append('error')"
    )
    contrasts = tab.evaluate(_CONTRASTS)
    assert len(contrasts) > 100
    assert [each for each in contrasts if each[0] < 4.5] == []
    tab.press("Escape")
    # The theme that the button chooses wins over that of the system.
    for _ in range(2 if scheme == "light" else 1):
        tab.evaluate("document.querySelector('#theme').click()")
    assert tab.evaluate("getComputedStyle(document.body).backgroundColor") != ground
    assert tab.evaluate("localStorage.getItem('txproxy-theme')") == ("dark" if scheme == "light" else "light")
    tab.evaluate("localStorage.clear()")
    tab.complaints.clear()


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_width(tab: Tab, width: int) -> None:
    """Nothing sticks out at the side of a phone, a tablet or a desktop, and fingers find what is to be pressed."""
    tab.resize((width, 800), phone=width < 700)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    visible = "[...document.querySelectorAll('button, select, input')].filter(each => each.checkVisibility())"
    least = 40 if width < 700 else 24
    assert tab.evaluate(f"{visible}.filter(each => each.offsetHeight < {least}).map(each => each.id)") == []


@pytest.mark.parametrize("phone", [False, True])
def test_accessible_names(tab: Tab, phone: bool) -> None:
    """Whoever hears the page knows what each control, table, chart and region is; on a phone tables are tables still."""
    tab.resize((390, 844) if phone else (1280, 800), phone)
    nodes = [each for each in tab.call("Accessibility.getFullAXTree")["nodes"] if not each["ignored"]]
    roles: dict[str, list[str]] = {}
    for node in nodes:
        roles.setdefault(node["role"]["value"], []).append(node.get("name", {}).get("value", ""))
    for role in ("button", "textbox", "combobox", "table", "image", "img", "region", "heading"):
        assert all(roles.get(role, [])), (role, roles[role])
    assert len(roles.get("image", roles.get("img", []))) >= 3
    assert len(roles["table"]) == 4
    assert len(roles["rowheader"]) >= 7
    assert "Drain 10.0.0.11:8080" in roles["button"]
    # Each id once, and every reference to one leads somewhere.
    assert tab.evaluate("""(() => {
      const all = [...document.querySelectorAll("[id]")].map(each => each.id), bad = all.filter((id, place) => all.indexOf(id) !== place);
      for (const name of ["for", "aria-labelledby", "aria-describedby"])
        for (const each of document.querySelectorAll(`[${name}]`)) if (!document.getElementById(each.getAttribute(name))) bad.push(each.outerHTML);
      return bad;
    })()""") == []  # fmt: skip


def test_percentiles(tab: Tab) -> None:
    """Percentiles are worked out as Prometheus does it, and what cannot be known is not made up."""
    buckets = [0] * 17
    assert tab.evaluate(f"percentile({buckets}, 0.5)") is None
    buckets[3] = 100  # 2 to 5 ms
    assert tab.evaluate(f"percentile({buckets}, 0.5)") == pytest.approx(0.0035)
    buckets[16] = 100  # over 60 s
    assert tab.evaluate(f"percentile({buckets}, 0.99)") == 60
    # Counters that have fallen are those of another start: no rate, and no negative one.
    assert tab.evaluate("""(() => {
      const history = new History(), told = (now, count) => ({started_at: 1, now, numbers: {"route|status|a|200": count}});
      history.add(told(1, 100)); history.add(told(2, 40)); const fallen = history.ratesOver(5);
      history.add(told(3, 50)); history.add(told(30, 500)); const gap = history.ratesOver(5);
      history.add(told(31, 520)); return [fallen, gap, history.ratesOver(5)["2xx"]];
    })()""") == [None, None, 20]  # fmt: skip
