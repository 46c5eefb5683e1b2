"""What is stored, for how long, and for whom (RFC 9111), with real sockets and a clock that the tests move."""

from __future__ import annotations

from collections.abc import Iterator
from email.utils import formatdate

import pytest

from .cache_front import FRESH, Answer, Cached, cached, facts
from .helpers import MIB, get
from .peers import Backend, ProxyProcess, config_for, raw_exchange, streamed, wait_for
from .test_forwarding import seen

VALIDATED = 'Cache-Control: max-age=60\r\nETag: "one"\r\n'


@pytest.fixture(scope="module")
def site() -> Iterator[Cached]:
    """One proxy for all tests of this module; each has targets of its own. Its clock only ever goes forward."""
    with cached('cache = { purge_from = ["127.0.0.1"] }') as site:
        yield site


def date(site: Cached, from_now_s: float) -> str:
    return formatdate(site.clock.now + from_now_s, usegmt=True)


# K1, D10


def test_the_same_twice(site: Cached) -> None:
    """D10: the second is a hit, the same byte for byte, and the backend saw one; the access log says so."""
    site.origin.says("/twice", Answer(b"twice", f"{FRESH}X-Note: kept\r\nX-Note: in order\r\n"))
    first, second = site.get("/twice"), site.get("/twice")
    assert (first.value("X-Cache-Status"), second.value("X-Cache-Status")) == ("MISS", "HIT")
    assert first.body == second.body == b"twice"
    assert first.values("X-Note") == second.values("X-Note") == ["kept", "in order"]
    assert site.origin.count("/twice") == 1
    assert facts(first)["fwd"] == "uri-miss" and facts(first)["stored"]
    assert facts(second)["hit"] and 3590 <= int(facts(second)["ttl"]) <= 3600

    def words() -> list[str]:
        return [line["cache"] for line in site.proxy.access_lines() if line["target"] == "/twice"]

    wait_for(lambda: len(words()) == 2, "the access log")
    assert words() == ["MISS", "HIT"]


def test_age_is_correct_to_a_second(site: Cached) -> None:
    """K1: Age counts from when the backend made it, by Date and by its own Age, and goes on with the clock."""
    for target, at_first_s in (("/age", 0), ("/age-of-theirs", 100), ("/age-by-date", 50)):
        fields = {"/age-of-theirs": "Age: 100\r\n", "/age-by-date": f"Date: {date(site, -50)}\r\n"}.get(target, "")
        site.origin.says(target, Answer(fields=f"{FRESH}{fields}"))
        asked_s = site.clock.now
        assert site.get(target).status == 200
        began_s = site.clock.now
        for step_s in (0, 7, 900):
            site.clock.advance(step_s)
            before_s = site.clock.now
            reply = site.get(target)
            age_s = int(reply.value("Age") or "none")
            assert reply.value("X-Cache-Status") == "HIT"
            assert at_first_s + before_s - began_s - 1 <= age_s <= at_first_s + site.clock.now - asked_s + 1, target
            assert abs(int(facts(reply)["ttl"]) - (3600 - age_s)) <= 1


def test_conditions_are_answered_from_the_store(site: Cached) -> None:
    """K1: If-None-Match and If-Modified-Since on a fresh hit give 304 without the backend; what differs gives 200."""
    modified = date(site, -1000)
    site.origin.says("/conditions", Answer(fields=f'{FRESH}ETag: "one"\r\nLast-Modified: {modified}\r\n'))
    site.get("/conditions")
    for condition, status in (
        ('If-None-Match: "one"', 304),
        ('If-None-Match: "no", W/"one"', 304),
        ("If-None-Match: *", 304),
        (f"If-Modified-Since: {modified}", 304),
        ('If-None-Match: "two"', 200),
        (f'If-None-Match: "two"\r\nIf-Modified-Since: {modified}', 200),
    ):
        reply = site.get("/conditions", f"{condition}\r\n")
        assert (reply.status, reply.value("X-Cache-Status")) == (status, "HIT"), condition
        assert reply.value("ETag") == '"one"' and reply.value("Age") is not None
        assert reply.body == (b"" if status == 304 else b"stored")
    assert site.origin.count("/conditions") == 1


def test_parts_and_heads_come_from_the_store(site: Cached) -> None:
    """Range gives 206 or 416 and HEAD the head of what is stored, without the backend."""
    site.origin.says("/parts", Answer(b"0123456789", f'{FRESH}ETag: "one"\r\n'))
    site.get("/parts")
    for wanted, status, body in (
        ("bytes=2-4", 206, b"234"), ("bytes=-3", 206, b"789"), ("bytes=7-", 206, b"789"), ("bytes=10-", 416, b""),
        ('bytes=2-4\r\nIf-Range: "one"', 206, b"234"), ('bytes=2-4\r\nIf-Range: "two"', 200, b"0123456789"),
    ):  # fmt: skip
        reply = site.get("/parts", f"Range: {wanted}\r\n")
        assert (reply.status, reply.body) == (status, body), wanted
    head = site.get("/parts", method="HEAD")
    assert (head.value("Content-Length"), head.value("X-Cache-Status")) == ("10", "HIT")
    assert site.origin.count("/parts") == 1


def test_what_came_in_chunks(site: Cached) -> None:
    """A stored body is the same for clients of HTTP/1.0 and 1.1 and for parts, however it has come."""
    site.origin.says("/chunks", streamed([b"01234", b"56789"], fields=FRESH))
    assert [site.get("/chunks").body for _ in range(2)] == [b"0123456789"] * 2
    assert site.get("/chunks", "Range: bytes=4-5\r\n").body == b"45"
    old = raw_exchange(site.port, b"GET /chunks HTTP/1.0\r\nHost: a.example\r\n\r\n").reply
    assert (old.body, old.complete, old.value("X-Cache-Status")) == (b"0123456789", True, "HIT")
    assert site.origin.count("/chunks") == 1


def test_only_if_cached(site: Cached) -> None:
    """RFC 9111 section 5.2.1.7: 504 and no word to the backend where nothing fresh is stored."""
    assert site.get("/only", "Cache-Control: only-if-cached\r\n").status == 504
    site.get("/only")
    assert site.get("/only", "Cache-Control: only-if-cached\r\n").value("X-Cache-Status") == "HIT"
    assert site.origin.count("/only") == 1


# K2


def test_variants(site: Cached) -> None:
    """K2: two languages are two entries; orders of codings share one; Vary: * is never stored."""
    for language in ("en", "fr"):
        site.origin.says("/language", Answer(language.encode(), f"{FRESH}Vary: Accept-Language\r\n"))
        assert site.word("/language", f"Accept-Language: {language}\r\n") == "MISS"
    for language in ("fr", "en"):
        reply = site.get("/language", f"Accept-Language: {language}\r\n")
        assert (reply.body, reply.value("X-Cache-Status")) == (language.encode(), "HIT")
    assert facts(site.get("/language", "Accept-Language: de\r\n"))["fwd"] == "vary-miss"

    site.origin.says("/coding", Answer(fields=f"{FRESH}Vary: Accept-Encoding\r\n"))
    words = [site.word("/coding", f"Accept-Encoding: {each}\r\n") for each in ("gzip, br", "br,gzip", "gzip", "br")]
    assert words == ["MISS", "HIT", "MISS", "MISS"]

    site.origin.says("/any", Answer(fields=f"{FRESH}Vary: *\r\n"))
    assert [site.word("/any") for _ in range(3)] == ["MISS", "MISS", "MISS"]
    assert site.origin.count("/any") == 3


# K4


@pytest.mark.parametrize(
    ("name", "reply", "request_fields"),
    [
        ("private", "Cache-Control: private, max-age=60\r\n", ""),
        ("no-store", "Cache-Control: no-store, max-age=60\r\n", ""),
        ("no-freshness", "", ""),
        ("set-cookie", f"{FRESH}Set-Cookie: a=b\r\n", ""),
        ("authorization", FRESH, "Authorization: Basic YTpi\r\n"),
        ("request-no-store", FRESH, "Cache-Control: no-store\r\n"),
    ],
)
def test_what_is_not_stored(site: Cached, name: str, reply: str, request_fields: str) -> None:
    """K4, D10: the second request reaches the backend, with the same fields and without them."""
    target = f"/not-stored-{name}"
    site.origin.says(target, Answer(fields=reply))
    for _ in range(2):
        assert site.word(target, request_fields) == "MISS"
    assert site.origin.count(target) == 2
    assert site.get(target, "Cache-Control: only-if-cached\r\n").status == 504


@pytest.mark.parametrize("request_fields", ["Authorization: Basic YTpi\r\n", "Cache-Control: no-store\r\n"])
def test_what_one_client_prevents_is_stored_for_others(site: Cached, request_fields: str) -> None:
    """A request whose reply is for itself alone does not keep its URL out of the cache, nor take out what is stored."""
    target = f"/prevented-{len(request_fields)}"
    words = [site.word(target, fields) for fields in (request_fields, "", "", request_fields, "")]
    assert words[:3] == ["MISS", "MISS", "HIT"] and words[4] == "HIT", words


@pytest.mark.parametrize("directive", ["public", "s-maxage=60", "must-revalidate"])
def test_what_is_stored_in_spite_of_authorization(site: Cached, directive: str) -> None:
    """K4: RFC 9111 section 3.5 names three directives that allow it."""
    target = f"/authorization-{directive}"
    site.origin.says(target, Answer(fields=f"Cache-Control: max-age=60, {directive}\r\n"))
    words = [site.word(target, fields) for fields in ("Authorization: Basic YTpi\r\n", "")]
    assert words == ["MISS", "HIT"]


# K5


def test_stale_while_revalidate(site: Cached) -> None:
    """K5: what is stale is sent at once and one request goes out behind it; then the new one is sent."""
    fields = "Cache-Control: max-age=1, stale-while-revalidate=30\r\n"
    site.origin.says("/swr", Answer(b"old", fields), Answer(b"new", fields))
    assert site.get("/swr").body == b"old"
    site.clock.advance(2)
    reply = site.get("/swr")
    assert (reply.body, reply.value("X-Cache-Status")) == (b"old", "STALE")
    site.origin.wait_for_requests("/swr", 2)
    wait_for(lambda: site.get("/swr", "Cache-Control: only-if-cached\r\n").body == b"new", "the new reply")
    assert site.origin.count("/swr") == 2


def test_one_request_behind_many_stale_replies(site: Cached) -> None:
    """K5: while the backend has not answered yet, more stale replies cause no more requests."""
    fields = "Cache-Control: max-age=1, stale-while-revalidate=30\r\n"
    site.origin.says("/swr-many", Answer(b"old", fields), lambda connection, request: None)
    site.get("/swr-many")
    site.clock.advance(2)
    assert [site.word("/swr-many") for _ in range(10)] == ["STALE"] * 10
    site.origin.wait_for_requests("/swr-many", 2)
    assert site.origin.count("/swr-many") == 2


@pytest.mark.parametrize("more", ["must-revalidate", "proxy-revalidate", "no-cache"])
def test_what_may_not_be_sent_stale(site: Cached, more: str) -> None:
    """K5: must-revalidate and the like forbid it, for the reply's own word and for the client's."""
    target = f"/no-stale-{more}"
    fields = f"Cache-Control: max-age=1, stale-while-revalidate=30, {more}\r\n"
    site.origin.says(target, Answer(b"old", fields), Answer(b"new", fields))
    site.get(target)
    site.clock.advance(2)
    assert site.get(target, "Cache-Control: max-stale\r\n").body == b"new"


def test_stale_if_error(site: Cached) -> None:
    """RFC 5861: what is stale stands in for a 503 and for a connection that is closed; not for ever."""
    fields = "Cache-Control: max-age=1, stale-if-error=30\r\n"
    site.origin.says("/sie", Answer(b"old", fields), Answer(b"busy", "", 503))
    site.get("/sie")
    site.clock.advance(2)
    assert (site.get("/sie").body, site.word("/sie")) == (b"old", "STALE")
    site.origin.says("/sie", lambda connection, request: connection.close())
    assert site.get("/sie").body == b"old"
    site.clock.advance(60)
    assert site.get("/sie").status == 502


# K7


def test_what_is_stale_is_validated(site: Cached) -> None:
    """K7, D10: the backend gets If-None-Match; its 304 updates fields, and the stored body is sent, then hits again."""
    updated = 'Cache-Control: max-age=60\r\nETag: "one"\r\nX-Version: 2\r\n'
    site.origin.says("/validated", Answer(b"body", f"{VALIDATED}X-Version: 1\r\nX-Kept: yes\r\n", 200, updated))
    assert site.get("/validated").value("X-Version") == "1"
    site.clock.advance(61)
    reply = site.get("/validated")
    assert (reply.status, reply.body, reply.value("X-Cache-Status")) == (200, b"body", "REVALIDATED")
    assert (reply.value("X-Version"), reply.value("X-Kept")) == ("2", "yes")
    assert facts(reply)["fwd"] == "stale" and facts(reply)["fwd-status"] == "304"
    again = site.get("/validated")
    assert (again.value("X-Cache-Status"), again.value("X-Version")) == ("HIT", "2")
    first, second = site.origin.asked("/validated")
    assert first.value(b"If-None-Match") is None and second.value(b"If-None-Match") == b'"one"'


def test_what_has_changed_replaces_what_is_stored(site: Cached) -> None:
    """K7: a 200 to our conditions is sent and stored."""
    site.origin.says("/changed", Answer(b"one", VALIDATED), Answer(b"two", VALIDATED.replace("one", "two")))
    site.get("/changed")
    site.clock.advance(61)
    assert [(site.get("/changed").body, site.word("/changed"))] == [(b"two", "HIT")]
    assert site.origin.count("/changed") == 2


def test_conditions_of_a_client_are_not_passed_on(site: Cached) -> None:
    """A client's own If-None-Match does not reach the backend, whose 304 for it would be stored for all."""
    site.origin.says("/theirs", Answer(b"one", VALIDATED))
    assert site.get("/theirs", 'If-None-Match: "other"\r\n').body == b"one"
    site.clock.advance(61)
    reply = site.get("/theirs", 'If-None-Match: "one"\r\n')
    assert (reply.status, reply.value("X-Cache-Status")) == (304, "REVALIDATED")
    asked = [request.value(b"If-None-Match") for request in site.origin.asked("/theirs")]
    assert asked == [None, b'"one"']


# K9


def test_purge(site: Cached) -> None:
    """K9: all variants of a URL are gone, their number is told, and other URLs stay."""
    for target in ("/purged", "/purged?more"):
        site.origin.says(target, Answer(fields=f"{FRESH}Vary: Accept-Language\r\n"))
        for language in ("en", "fr", "de"):
            assert site.word(target, f"Accept-Language: {language}\r\n") == "MISS"
    reply = site.get("/purged", method="PURGE")
    assert (reply.status, reply.body) == (200, b"3 purged\n")
    assert site.word("/purged", "Accept-Language: en\r\n") == "MISS"
    assert site.word("/purged?more", "Accept-Language: en\r\n") == "HIT"
    assert site.get("/nothing", method="PURGE").body == b"0 purged\n"
    assert not [request for request in site.backend.requests if request.method == b"PURGE"]


@pytest.mark.parametrize(
    ("route", "status"), [('cache = { purge_from = ["192.0.2.0/24"] }', 403), ("cache = true", 405)]
)
def test_purge_of_others(route: str, status: int) -> None:
    """K9: whoever may not gets 403, or 405 where nobody may; what is stored stays."""
    with cached(route) as site:
        site.get("/")
        assert site.get("/", method="PURGE").status == status
        assert site.word("/") == "HIT"


# K11


def test_unsafe_methods_invalidate(site: Cached) -> None:
    """K11: after POST /a 200 GET /a misses; a 500 does not invalidate; Location counts on the same origin only."""
    for target in ("/a", "/near", "/far"):
        site.get(target)
    site.origin.says("/a", Answer(b"no", "", 500))
    assert site.get("/a", method="POST", body=b"x").status == 500
    assert site.word("/a") == "HIT"
    site.origin.says("/a", Answer(b"done", "Location: /near\r\nContent-Location: http://other.example/far\r\n", 201))
    assert site.get("/a", method="POST", body=b"x").status == 201
    site.origin.says("/a", Answer(b"anew"))
    assert site.get("/a").body == b"anew"
    assert [site.word(target) for target in ("/near", "/far")] == ["MISS", "HIT"]
    # Whatever the other host is, its replies are not touched by this one's word.
    assert site.word("/far", host="other.example") == "MISS"
    assert site.get("/b", method="POST", body=b"x", host="evil.example").status == 200
    assert site.word("/far", host="other.example") == "HIT"


def test_posts_wait_for_nothing_and_are_not_stored(site: Cached) -> None:
    """Methods that the cache does not handle pass it by, and their replies are no answer to GET."""
    for _ in range(2):
        assert site.word("/posted", method="POST", body=b"x") == "BYPASS"
    assert site.word("/posted") == "MISS"


# The route's settings, and the store's.


def test_routes_differ() -> None:
    """Keys, what passes by, statuses and times are the route's own; a route without a cache says nothing of one."""
    route = (
        'path = "/c/"\ncache = { default_ttl_s = 60, negative_ttl_s = 60, bypass = ["cookie:session"], '
        'key = ["header:X-Site"], exclude = ["\\\\.cgi$"] }\n'
        '[[route]]\nname = "plain"\ncluster = "origin"\n'
    )
    with cached(route) as site:
        site.origin.says("/c/a", Answer(fields=""))
        assert [site.word("/c/a", f"X-Site: {each}\r\n") for each in ("1", "2", "1", "2")] == [
            "MISS",
            "MISS",
            "HIT",
            "HIT",
        ]
        assert site.word("/c/a", "X-Site: 1\r\nCookie: session=1\r\n") == "BYPASS"
        assert [site.word("/c/a.cgi") for _ in range(2)] == ["BYPASS"] * 2
        site.origin.says("/c/gone", Answer(b"gone", "", 404))
        assert [site.word("/c/gone") for _ in range(2)] == ["MISS", "HIT"]
        site.clock.advance(61)
        assert site.word("/c/gone") in ("MISS", "EXPIRED")
        plain = [site.get("/plain") for _ in range(2)]
        assert [reply.value("X-Cache-Status") for reply in plain] == [None, None]
        assert [reply.value("Age") for reply in plain] == [None, None]
        assert site.origin.count("/plain") == 2


def test_a_full_cache_evicts_the_least_recently_used() -> None:
    """D10: what was asked for last stays."""
    with cached(more="[cache]\nmax_bytes = 1048576\nmax_object_bytes = 524288") as site:
        for number in range(4):
            site.origin.says(f"/{number}", Answer(b"x" * (MIB // 4 - 8192)))
            assert site.word(f"/{number}") == "MISS"
        assert site.word("/0") == "HIT"
        site.origin.says("/4", Answer(b"y" * (MIB // 4 - 8192)))
        assert site.word("/4") == "MISS"
        assert [site.word(f"/{number}") for number in (0, 4, 3, 2, 1)] == ["HIT", "HIT", "HIT", "HIT", "MISS"]
        site.origin.says("/large", Answer(b"z" * (MIB // 2 + 1)))
        assert [site.word("/large") for _ in range(2)] == ["MISS"] * 2


def test_the_request_of_a_fetch_is_the_clients(backend: Backend) -> None:
    """What reaches the backend is what it would get without a cache: the client's fields, and where it came from."""
    with ProxyProcess(config_for(backend.address, route="cache = { default_ttl_s = 60 }")) as proxy:
        reply = get(proxy.port, "/x?y", fields="X-Mine: 1\r\nCookie: a=b\r\nAccept-Encoding: gzip\r\n")
        assert reply.value("X-Cache-Status") == "MISS"
        values = seen(reply)["values"]
        assert values["x-mine"] == ["1"] and values["cookie"] == ["a=b"] and values["accept-encoding"] == ["gzip"]
        assert values["x-forwarded-for"] == ["127.0.0.1"] and values["host"] == ["a.example"]
        assert get(proxy.port, "/x?y").value("X-Cache-Status") == "HIT"
