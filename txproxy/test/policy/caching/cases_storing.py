"""What is stored and what is not (RFC 9111 sections 3 and 5.2.2)."""

from __future__ import annotations

from txproxy.policy.caching.freshness import CacheRules
from txproxy.test.policy.caching.scenario import Case

_FRESH = "Cache-Control: max-age=60"
_AUTH = "Authorization: Basic Zm9v"
_TTL = CacheRules(default_ttl_s=60)
_NEGATIVE = CacheRules(negative_ttl_s=60)
_ONLY_200_AND_599 = CacheRules(default_ttl_s=60, negative_ttl_s=60, statuses=frozenset((200, 599)))
_ALWAYS = CacheRules(ttl_s=60)
_ALWAYS_ONLY_200 = CacheRules(ttl_s=60, statuses=frozenset((200,)))
_COOKIES = CacheRules(store_set_cookie=True)

STORING = (
    # Methods and content of the request
    Case("3: GET is stored", _FRESH, "fresh"),
    Case("3: the reply to HEAD has no body", _FRESH, "not stored: method", method="HEAD"),
    Case("3: POST is not, also with Content-Location", f"{_FRESH}|Content-Location: /page", "not stored: method", method="POST"),
    Case("3: PUT is not", _FRESH, "not stored: method", method="PUT"),
    Case("3: DELETE is not", _FRESH, "not stored: method", method="DELETE"),
    Case("3: OPTIONS is not (RFC 9110 9.3.7)", _FRESH, "not stored: method", method="OPTIONS"),
    Case("3: a method that is not understood is not", _FRESH, "not stored: method", method="FETCH"),
    Case("3: methods have a case (RFC 9110 9.1)", _FRESH, "not stored: method", method="get"),
    Case("RFC 9110 9.3.1: a GET with a body may mean anything", _FRESH, "not stored: request-body", first="Content-Length: 3"),
    Case("RFC 9110 9.3.1: the same in chunks", _FRESH, "not stored: request-body", first="Transfer-Encoding: chunked"),
    Case("RFC 9110 8.6: Content-Length 0 is no body", _FRESH, "fresh", first="Content-Length: 0"),
    Case("5.2.1.5: no-store of the request", _FRESH, "not stored: request-no-store", first="Cache-Control: no-store"),
    Case("5.2.1.5: in any case of letters", _FRESH, "not stored: request-no-store", first="cache-control: NO-Store"),
    Case("5.2.1.5: among others", _FRESH, "not stored: request-no-store", first="Cache-Control: max-age=0, no-store"),
    Case("5.2.1.4: no-cache of the request says nothing about storing", _FRESH, "fresh", first="Cache-Control: no-cache"),
    Case("5.2.1.1: nor does max-age=0", _FRESH, "fresh", first="Cache-Control: max-age=0"),
    Case("5.2: a request that cannot be read is stored nowhere", _FRESH, "not stored: request-no-store", first='Cache-Control: x="'),
    Case("RFC 6265: a Cookie of the request keeps nothing from being stored", _FRESH, "fresh", first="Cookie: a=b"),
    Case("RFC 9110 14.2: Range that the backend did not heed", _FRESH, "fresh", first="Range: bytes=0-1"),
    # no-store, private, no-cache of the reply
    Case("5.2.2.5: no-store", "Cache-Control: no-store", "not stored: no-store"),
    Case("5.2.2.5: in any case of letters", "Cache-Control: No-StOrE", "not stored: no-store"),
    Case("5.2.2.5: beside a lifetime", "Cache-Control: max-age=60, no-store|Expires: @+60|Date: @", "not stored: no-store"),
    Case("5.2.2.5: in a field of its own", f"{_FRESH}|Cache-Control: no-store", "not stored: no-store"),
    Case("5.2.2.5: with an argument that it does not have", f"{_FRESH}, no-store=1", "not stored: no-store"),
    Case("5.2.2.5: malformed", f"{_FRESH}, no-store;x", "not stored: no-store"),
    Case("5.2.2.5: malformed by a space", f"{_FRESH}, no-store =x", "not stored: no-store"),
    Case("5.2: after empty members (RFC 9110 5.6.1.2)", "Cache-Control: , ,max-age=60,,no-store,", "not stored: no-store"),
    Case("5.2: within quotes it is an argument", f'{_FRESH}, x="no-store"', "fresh"),
    Case("5.2: within quotes, after a comma", f'{_FRESH}, x="a, no-store, b"', "fresh"),
    Case("5.2: quotes within quotes", f'{_FRESH}, x="\\", no-store"', "fresh"),
    Case("5.2: behind quotes within quotes", f'{_FRESH}, x="\\"", no-store', "not stored: no-store"),
    Case("5.2: behind a backslash in quotes", f'{_FRESH}, x="\\\\", no-store', "not stored: no-store"),
    Case("5.2: a quote without its end may hide anything", f'{_FRESH}, x="a', "not stored: no-store"),
    Case("5.2: also behind escapes", f'{_FRESH}, x="a\\"', "not stored: no-store"),
    Case("5.2: a quote that ends in another field", f'Cache-Control: x="a|{_FRESH}|Cache-Control: b"', "not stored: no-freshness"),
    Case("5.2: one word that begins like another", f"{_FRESH}, no-storex", "fresh"),
    Case("5.2.3: what is unknown says nothing", f"{_FRESH}, foobar, baz=1", "fresh"),
    Case("5.2.2.6: no-transform is kept anyway", f"{_FRESH}, no-transform", "fresh"),
    Case("RFC 8246: immutable changes nothing here", f"{_FRESH}, immutable", "fresh"),
    Case("5.2.2.7: private", "Cache-Control: private, max-age=60", "not stored: private"),
    Case("5.2.2.7: in any case of letters", "Cache-Control: PRIVATE, max-age=60", "not stored: private"),
    Case("5.2.2.7: stronger than public (4.2.1)", "Cache-Control: public, private, max-age=60", "not stored: private"),
    Case("5.2.2.7: stronger than s-maxage", "Cache-Control: private, s-maxage=60", "not stored: private"),
    Case("5.2.2.7: with names, only those fields are", 'Cache-Control: max-age=60, private="x-user"|X-User: 1', "fresh"),
    Case("5.2.2.7: without quotes too", "Cache-Control: max-age=60, private=x-user", "fresh"),
    Case("5.2.2.7: with no names, all is", 'Cache-Control: max-age=60, private=""', "not stored: private"),
    Case("5.2.2.7: with what is no name", 'Cache-Control: max-age=60, private="a b"', "not stored: private"),
    Case("5.2.2.7: with a name in bad quotes", "Cache-Control: max-age=60, private='a b'", "not stored: private"),
    Case("5.2.2.7: with names and without", 'Cache-Control: max-age=60, private="a", private', "not stored: private"),
    Case("5.2.2.4: no-cache without a validator is of no use", "Cache-Control: no-cache, max-age=60", "not stored: no-validator"),
    Case("5.2.2.4: no-cache with ETag is kept to be validated", 'Cache-Control: no-cache|ETag: "a"', "validate: no-cache"),
    Case("5.2.2.4: in any case of letters", 'Cache-Control: No-CaChE, max-age=60|ETag: "a"', "validate: no-cache"),
    Case("5.2.2.4: with Last-Modified", "Cache-Control: no-cache|Last-Modified: @-99", "validate: no-cache"),
    Case("5.2.2.4: with a Last-Modified that is none", "Cache-Control: no-cache|Last-Modified: 0", "not stored: no-validator"),
    Case("5.2.2.4: with an empty ETag", "Cache-Control: no-cache|ETag:", "not stored: no-validator"),
    Case("5.2.2.4: with two ETags nobody knows which", 'Cache-Control: no-cache|ETag: "a"|ETag: "b"', "not stored: no-validator"),
    Case("5.2.2.4: with names, only those fields are not kept", 'Cache-Control: max-age=60, no-cache="a"|A: 1', "fresh"),
    Case("5.2.2.4: with no names", 'Cache-Control: max-age=60, no-cache=""|ETag: "a"', "validate: no-cache"),
    Case("5.2.2.4: malformed", 'Cache-Control: max-age=60, no-cache="a"b|ETag: "a"', "validate: no-cache"),
    # Authorization
    Case("3.5: Authorization", _FRESH, "not stored: authorization", first=_AUTH),
    Case("3.5: with Expires", "Expires: @+60|Date: @", "not stored: authorization", first=_AUTH),
    Case("3.5: any scheme", _FRESH, "not stored: authorization", first="authorization: FOO"),
    Case("3.5: empty", _FRESH, "not stored: authorization", first="Authorization:"),
    Case("3.5: public allows it", f"{_FRESH}, public", "fresh", first=_AUTH),
    Case("3.5: must-revalidate allows it", f"{_FRESH}, must-revalidate", "fresh", first=_AUTH),
    Case("3.5: s-maxage allows it", "Cache-Control: s-maxage=60", "fresh", first=_AUTH),
    Case("3.5: proxy-revalidate does not", f"{_FRESH}, proxy-revalidate", "not stored: authorization", first=_AUTH),
    Case("3.5: no-cache does not", 'Cache-Control: no-cache|ETag: "a"', "not stored: authorization", first=_AUTH),
    Case("3.5: a malformed public does not", f"{_FRESH}, public;x", "not stored: authorization", first=_AUTH),
    Case("3.5: public within quotes does not", f'{_FRESH}, x="public"', "not stored: authorization", first=_AUTH),
    Case("3.5: private is stronger", f"{_FRESH}, public, private", "not stored: private", first=_AUTH),
    Case("RFC 9110 11.7.2: Proxy-Authorization is between us and the client", _FRESH, "fresh", first="Proxy-Authorization: x"),
    # Set-Cookie, Vary, trailers
    Case("7.3: Set-Cookie is one user's", f"{_FRESH}|Set-Cookie: a=b", "not stored: set-cookie"),
    Case("7.3: also if the reply is public", f"{_FRESH}, public|set-cookie: a=b", "not stored: set-cookie"),
    Case("7.3: stored if the settings say so", f"{_FRESH}|Set-Cookie: a=b", "fresh", rules=_COOKIES),
    Case("5.2.2.7: without the cookie it is anyone's", f'{_FRESH}, private="Set-Cookie"|Set-Cookie: a=b', "fresh"),
    Case("5.2.2.4: the same by no-cache", f'{_FRESH}, no-cache="set-cookie, x"|Set-Cookie: a=b', "fresh"),
    Case("4.1: Vary: * matches nothing", f"{_FRESH}|Vary: *", "not stored: vary-any"),
    Case("4.1: among names", f"{_FRESH}|Vary: Accept, *", "not stored: vary-any"),
    Case("4.1: in a second field", f"{_FRESH}|Vary: Accept|Vary: *", "not stored: vary-any"),
    Case("4.1: a name is stored", f"{_FRESH}|Vary: Accept", "fresh"),
    Case("4.1: a name that holds an asterisk is a name", f"{_FRESH}|Vary: *x", "fresh"),
    Case("3.1: trailers are not stored", f"{_FRESH}|Trailer: x|Transfer-Encoding: chunked", "not stored: trailers"),
    Case("3: a body that is chunked is stored", f"{_FRESH}|Transfer-Encoding: chunked", "fresh"),
    # Status
    *(
        Case(f"3: {status} with a lifetime is stored", f"{_FRESH}|Content-Length: 0" if status != 204 else _FRESH, "fresh", status=status)
        for status in (200, 201, 202, 203, 204, 299, 300, 301, 302, 303, 307, 308, 400, 403, 404, 405, 410, 414, 429, 451, 499)
    ),
    *(
        Case(f"3: {status} with a lifetime is stored", _FRESH, "fresh", status=status)
        for status in (500, 501, 502, 503, 504, 599)
    ),
    *(
        Case(f"3: {status} answers to what no key holds", f'{_FRESH}|ETag: "a"', "not stored: status", status=status)
        for status in (304, 401, 407, 408, 412, 416, 417, 431)
    ),
    Case("3: an interim reply is none", _FRESH, "not stored: status", status=103),
    Case("3.3: 206 is a part", f"{_FRESH}|Content-Range: bytes 0-4/10", "not stored: partial", status=206),
    Case("3.3: 206 in many parts", f"{_FRESH}|Content-Type: multipart/byteranges", "not stored: partial", status=206),
    Case("RFC 9110 14.4: Content-Range means nothing in a 200", f"{_FRESH}|Content-Range: bytes 0-4/10", "fresh"),
    Case("5.2.2.3: must-understand, and it is not", f"{_FRESH}, must-understand", "not stored: must-understand", status=599),
    Case("5.2.2.3: must-understand, and it is", f"{_FRESH}, must-understand", "fresh"),
    Case("5.2.2.3: it lifts no-store if the status is understood", f"{_FRESH}, must-understand, no-store", "fresh"),
    Case("5.2.2.3: and not if it is not", f"{_FRESH}, no-store, must-understand", "not stored: must-understand", status=599),
    Case("5.2.2.3: malformed, it lifts nothing", f"{_FRESH}, no-store, must-understand=x", "not stored: no-store"),
    Case("5.2.2.3: it does not lift private", f"{_FRESH}, private, must-understand", "not stored: private"),
    # Without a lifetime
    Case("4.2.2: no lifetime, no guess", "Date: @", "not stored: no-freshness"),
    Case("4.2.2: no guess from Last-Modified", "Last-Modified: @-99999|Date: @", "not stored: no-freshness"),
    Case("4.2.2: nor where there is an ETag", 'ETag: "a"', "not stored: no-freshness"),
    Case("4.2.2: nor for public", "Cache-Control: public|Last-Modified: @-99999", "not stored: no-freshness"),
    Case("4.2.2: the setting gives a lifetime", "", "fresh", rules=_TTL),
    Case("4.2.2: and then it ends", "", "validate: stale", rules=_TTL, after_s=60),
    Case("4.2.2: it counts from Date", "Date: @-50", "validate: stale", rules=_TTL),
    Case("4.2.2: it counts from Age", "Age: 50", "validate: stale", rules=_TTL),
    Case("4.2.2: not where the reply says another", "Cache-Control: max-age=5", "validate: stale", rules=_TTL),
    Case("4.2.2: nor where it says 0", "Cache-Control: max-age=0", "not stored: expired", rules=_TTL),
    Case("4.2.2: nor beside Expires", "Expires: 0", "not stored: expired", rules=_TTL),
    Case("4.2.2: nor beside no-cache", 'Cache-Control: no-cache|ETag: "a"', "validate: no-cache", rules=_TTL),
    Case("5.4: nor beside Pragma: no-cache, which means it", "Pragma: no-cache", "not stored: no-freshness", rules=_TTL),
    Case("5.4: another Pragma says nothing", "Pragma: x", "fresh", rules=_TTL),
    Case("5.4: Pragma: no-cache does not touch a lifetime", f"{_FRESH}|Pragma: no-cache", "fresh"),
    Case("4.2.2: private is private", "Cache-Control: private", "not stored: private", rules=_TTL),
    *(
        Case(f"4.2.2: {status} is cacheable by default", "", "fresh", status=status, rules=_TTL)
        for status in (203, 204, 300, 301, 308)
    ),
    *(
        Case(f"4.2.2: {status} is not", "", "not stored: status", status=status, rules=_TTL)
        for status in (201, 202, 302, 303, 307, 403, 500, 502, 503, 504, 599)
    ),
    Case("4.2.2: public makes any status cacheable", "Cache-Control: public", "fresh", status=299, rules=_TTL),
    Case("the setting is not for errors", "", "not stored: no-freshness", status=404, rules=_TTL),
    *(
        Case(f"errors have a setting of their own: {status}", "", "fresh", status=status, rules=_NEGATIVE)
        for status in (404, 405, 410, 414, 501)
    ),
    Case("which is not for what is no error", "", "not stored: no-freshness", rules=_NEGATIVE),
    Case("nor for errors that may be gone at once", "", "not stored: status", status=503, rules=_NEGATIVE),
    Case("unless they are listed", "", "fresh", status=599, rules=_ONLY_200_AND_599),
    Case("a list leaves others out", _FRESH, "not stored: status", status=404, rules=_ONLY_200_AND_599),
    Case("and keeps what is in it", "", "fresh", rules=_ONLY_200_AND_599),
    # A lifetime whatever is said
    Case("ttl_s: nothing said", "", "fresh", 59, rules=_ALWAYS),
    Case("ttl_s: nothing said, and it ends", 'ETag: "a"', "validate: stale", 60, rules=_ALWAYS),
    Case("ttl_s: less said", "Cache-Control: max-age=0|Expires: 0", "fresh", 59, rules=_ALWAYS),
    Case("ttl_s: more said", "Cache-Control: max-age=600", "validate: stale", 60, rules=_ALWAYS),
    Case("ttl_s: Age counts all the same", "Age: 60", "not stored: expired", rules=_ALWAYS),
    Case("ttl_s: what is not to be stored is not", "Cache-Control: private", "not stored: private", rules=_ALWAYS),
    *(Case(f"ttl_s: {status} too", "", "fresh", status=status, rules=_ALWAYS) for status in (301, 404, 501)),
    *(
        Case(f"ttl_s: {status} that says nothing is not stored", "", "not stored: status", status=status, rules=_ALWAYS)
        for status in (201, 302, 403, 500, 502, 503, 599)
    ),
    Case("ttl_s: unless it says that it is fresh", "Cache-Control: max-age=1", "fresh", 59, status=500, rules=_ALWAYS),
    Case("ttl_s: by Expires", "Expires: @+1|Date: @", "fresh", 59, status=302, rules=_ALWAYS),
    Case("ttl_s: not that it is not", "Cache-Control: max-age=0", "not stored: expired", status=500, rules=_ALWAYS),
    Case("ttl_s: nor by Expires", "Expires: 0", "not stored: expired", status=503, rules=_ALWAYS),
    Case("ttl_s: or is public", "Cache-Control: public", "fresh", 59, status=302, rules=_ALWAYS),
    Case("ttl_s: or is listed", "", "fresh", 59, status=599, rules=_ONLY_200_AND_599._replace(ttl_s=60)),
    Case("ttl_s: a list leaves others out", _FRESH, "not stored: status", status=404, rules=_ALWAYS_ONLY_200),
    # Stale as it comes
    Case("3: expired and no validator", "Cache-Control: max-age=0|Date: @", "not stored: expired"),
    Case("3: expired with a validator", 'Cache-Control: max-age=0|ETag: "a"', "validate: stale"),
    Case("3: expired with a weak one", 'Cache-Control: max-age=0|ETag: W/"a"', "validate: stale"),
    Case("3: Expires in the past, with Last-Modified", "Expires: @-5000|Last-Modified: @-99999|Date: @", "validate: stale"),
    Case("3: the same without", "Expires: @-5000|Date: @", "not stored: expired"),
    Case("RFC 9110 13.2.1: an error is not validated", 'Cache-Control: max-age=0|ETag: "a"', "not stored: expired", status=404),
    Case("3: nor is a choice", 'Cache-Control: max-age=0|ETag: "a"', "not stored: expired", status=300),
    Case("3: another success is", 'Cache-Control: max-age=0|ETag: "a"', "validate: stale", status=299),
    Case("3: nor is a redirect", 'Cache-Control: max-age=0|ETag: "a"', "not stored: expired", status=301),
    Case("3: a status that says nothing of itself", 'Cache-Control: no-cache|ETag: "a"', "not stored: status", status=299),
    Case("3: unless it is public", 'Cache-Control: no-cache, public|ETag: "a"', "validate: no-cache", status=299),
    Case("RFC 5861 3: of use while it is validated", "Cache-Control: max-age=0, stale-while-revalidate=60", "stale-while-revalidate: stale-while-revalidate"),
    Case("RFC 5861 4: of use on errors", "Cache-Control: max-age=0, stale-if-error=60", "validate: stale"),
    Case("RFC 5861 4: not if that time is over too", "Cache-Control: max-age=0, stale-if-error=60|Age: 60", "not stored: expired"),
    Case("4.2.4: not if stale ones are forbidden", "Cache-Control: max-age=0, must-revalidate, stale-if-error=60", "not stored: expired"),
)  # fmt: skip
