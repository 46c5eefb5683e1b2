"""What is done with a stored reply (RFC 9111 sections 4, 4.2.4, 5.2.1 and 5.4, RFC 5861)."""

from __future__ import annotations

from txproxy.test.policy.caching.scenario import Case

_FRESH = "Cache-Control: max-age=60"
_SHORT = "Cache-Control: max-age=5"
_SWR = f"{_SHORT}, stale-while-revalidate=60"
_NO_CACHE = 'Cache-Control: no-cache|ETag: "a"'
_STALE = "validate: stale"
_MAX_STALE = "stale: max-stale"
_BEHIND = "stale-while-revalidate: stale-while-revalidate"
_MAX_AGE = "validate: request-max-age"
_MIN_FRESH = "validate: request-min-fresh"
_ASKED = "validate: request-no-cache"

REUSE = (
    # no-cache, no-store, Pragma
    Case("5.2.1.4: no-cache", _FRESH, _ASKED, asked="Cache-Control: no-cache"),
    Case("5.2.1.4: in any case of letters", _FRESH, _ASKED, asked="Cache-Control: NO-cache"),
    Case("5.2.1.4: malformed", _FRESH, _ASKED, asked="Cache-Control: no-cache;x"),
    Case("5.2.1.4: what cannot be read", _FRESH, _ASKED, asked='Cache-Control: max-age="60'),
    Case("5.2.1.4: within quotes it says nothing", _FRESH, "fresh", asked='Cache-Control: x="no-cache"'),
    Case("5.2.1.5: no-store is not about what is stored already", _FRESH, "fresh", asked="Cache-Control: no-store"),
    Case("5.2.1.6: no-transform", _FRESH, "fresh", asked="Cache-Control: no-transform"),
    Case("5.2.3: what is unknown", _FRESH, "fresh", asked="Cache-Control: foo=bar"),
    Case("5.4: Pragma: no-cache", _FRESH, _ASKED, asked="Pragma: no-cache"),
    Case("5.4: among others", _FRESH, _ASKED, asked="Pragma: x, No-Cache"),
    Case("5.4: not beside Cache-Control", _FRESH, "fresh", asked="Pragma: no-cache|Cache-Control: max-age=60"),
    Case("5.4: another Pragma", _FRESH, "fresh", asked="Pragma: x"),
    # max-age
    Case("5.2.1.1: max-age, and it is younger", _FRESH, "fresh", asked="Cache-Control: max-age=11"),
    Case("5.2.1.1: as old", _FRESH, "fresh", asked="Cache-Control: max-age=10"),
    Case("5.2.1.1: older", _FRESH, _MAX_AGE, asked="Cache-Control: max-age=9"),
    Case("5.2.1.1: older as it came", f"{_FRESH}|Age: 30", _MAX_AGE, asked="Cache-Control: max-age=30"),
    Case("5.2.1.1: max-age=0", _FRESH, _MAX_AGE, asked="Cache-Control: max-age=0"),
    Case("5.2.1.1: max-age=0 in the moment in which it came", _FRESH, _MAX_AGE, 0, asked="Cache-Control: max-age=0"),
    Case("5.2.1.1: invalid", _FRESH, _MAX_AGE, asked="Cache-Control: max-age=x"),
    Case("5.2.1.1: without an argument", _FRESH, _MAX_AGE, asked="Cache-Control: max-age"),
    Case("5.2.1.1: twice, the least counts", _FRESH, _MAX_AGE, asked="Cache-Control: max-age=60, max-age=5"),
    Case("5.2.1.1: it makes nothing fresh", _SHORT, _STALE, asked="Cache-Control: max-age=60"),
    # min-fresh
    Case("5.2.1.3: min-fresh, and it is", _FRESH, "fresh", asked="Cache-Control: min-fresh=50"),
    Case("5.2.1.3: and it is not", _FRESH, _MIN_FRESH, asked="Cache-Control: min-fresh=51"),
    Case("5.2.1.3: for it was old as it came", f"{_FRESH}|Age: 30", _MIN_FRESH, asked="Cache-Control: min-fresh=21"),
    Case("5.2.1.3: 0 says nothing", _FRESH, "fresh", asked="Cache-Control: min-fresh=0"),
    Case("5.2.1.3: invalid", _FRESH, _MIN_FRESH, asked="Cache-Control: min-fresh=x"),
    Case("5.2.1.3: without an argument", _FRESH, _MIN_FRESH, asked="Cache-Control: min-fresh"),
    Case("5.2.1.3: twice, the most counts", _FRESH, _MIN_FRESH, asked="Cache-Control: min-fresh=1, min-fresh=55"),
    Case("5.2.1.3: stronger than max-stale", _SHORT, _MIN_FRESH, asked="Cache-Control: min-fresh=1, max-stale"),
    # max-stale
    Case("5.2.1.2: max-stale without an end", _SHORT, _MAX_STALE, asked="Cache-Control: max-stale"),
    Case("5.2.1.2: years later", _SHORT, _MAX_STALE, 4e9, asked="Cache-Control: max-stale"),
    Case("5.2.1.2: as stale as that", _SHORT, _MAX_STALE, asked="Cache-Control: max-stale=5"),
    Case("5.2.1.2: staler", _SHORT, _STALE, asked="Cache-Control: max-stale=4"),
    Case("5.2.1.2: for it was old as it came", 'Cache-Control: max-age=5|Age: 30|ETag: "a"', _STALE, asked="Cache-Control: max-stale=34"),
    Case("5.2.1.2: stale as it came", 'Cache-Control: max-age=15|Age: 20|ETag: "a"', _MAX_STALE, asked="Cache-Control: max-stale=20"),
    Case("5.2.1.2: after Expires in the past", 'Expires: @-50|Date: @|ETag: "a"', _STALE, asked="Cache-Control: max-stale=59"),
    Case("5.2.1.2: as long ago as it says", 'Expires: @-50|Date: @|ETag: "a"', _MAX_STALE, asked="Cache-Control: max-stale=60"),
    Case("5.2.1.2: an Age that nobody knows", f'{_FRESH}|Age: x|ETag: "a"', _STALE, asked="Cache-Control: max-stale=86400"),
    Case("5.2.1.2: invalid", _SHORT, _STALE, asked="Cache-Control: max-stale=x"),
    Case("5.2.1.2: an empty argument", _SHORT, _STALE, asked="Cache-Control: max-stale="),
    Case("5.2.1.2: twice, the least counts", _SHORT, _STALE, asked="Cache-Control: max-stale, max-stale=4"),
    Case("5.2.1.2: one of them is invalid", _SHORT, _STALE, asked="Cache-Control: max-stale, max-stale=x"),
    Case("5.2.1.2: what is fresh is fresh", _FRESH, "fresh", asked="Cache-Control: max-stale=0"),
    Case("5.2.1.1: max-age with max-stale, and it is young", _SHORT, _MAX_STALE, asked="Cache-Control: max-age=20, max-stale=20"),
    Case("5.2.1.1: and it is not", _SHORT, _MAX_AGE, asked="Cache-Control: max-age=9, max-stale=20"),
    Case("5.2.2.2: must-revalidate forbids it", f"{_SHORT}, must-revalidate", _STALE, asked="Cache-Control: max-stale"),
    Case("5.2.2.2: also malformed", f"{_SHORT}, must-revalidate=x", _STALE, asked="Cache-Control: max-stale"),
    Case("5.2.2.2: not while it is fresh", f"{_FRESH}, must-revalidate", "fresh"),
    Case("5.2.2.8: proxy-revalidate forbids it", f"{_SHORT}, proxy-revalidate", _STALE, asked="Cache-Control: max-stale"),
    Case("5.2.2.8: not while it is fresh", f"{_FRESH}, proxy-revalidate", "fresh"),
    Case("5.2.2.10: s-maxage forbids it", "Cache-Control: s-maxage=5", _STALE, asked="Cache-Control: max-stale"),
    Case("5.2.2.10: also beside max-age", f"{_FRESH}, s-maxage=5", _STALE, asked="Cache-Control: max-stale"),
    Case("5.2.2.4: no-cache forbids it", _NO_CACHE, "validate: no-cache", asked="Cache-Control: max-stale"),
    # only-if-cached
    Case("5.2.1.7: only-if-cached, and it is", _FRESH, "fresh", asked="Cache-Control: only-if-cached"),
    Case("5.2.1.7: stale", _SHORT, "gateway-timeout: stale", asked="Cache-Control: only-if-cached"),
    Case("5.2.1.7: stale, and that will do", _SHORT, _MAX_STALE, asked="Cache-Control: only-if-cached, max-stale"),
    Case("5.2.1.7: too old", _FRESH, "gateway-timeout: request-max-age", asked="Cache-Control: only-if-cached, max-age=5"),
    Case("5.2.1.7: too soon stale", _FRESH, "gateway-timeout: request-min-fresh", asked="Cache-Control: only-if-cached, min-fresh=59"),
    Case("5.2.1.7: to be validated", _NO_CACHE, "gateway-timeout: no-cache", asked="Cache-Control: only-if-cached"),
    Case("5.2.1.7: with no-cache nothing will do", _FRESH, "gateway-timeout: request-no-cache", asked="Cache-Control: only-if-cached, no-cache"),
    Case("5.2.1.7: stale and must not be", f"{_SHORT}, must-revalidate", "gateway-timeout: stale", asked="Cache-Control: only-if-cached, max-stale"),
    Case("5.2.1.7: malformed, it says nothing", _SHORT, _STALE, asked="Cache-Control: only-if-cached=x"),
    # stale-while-revalidate
    Case("RFC 5861 3: within its time", _SWR, _BEHIND),
    Case("RFC 5861 3: at its end", _SWR, _BEHIND, 65),
    Case("RFC 5861 3: behind its end", _SWR, _STALE, 65.1),
    Case("RFC 5861 3: not while it is fresh", _SWR, "fresh", 4),
    Case("RFC 5861 3: 0 is no time", f"{_SHORT}, stale-while-revalidate=0", _STALE, 5),
    Case("RFC 5861 3: invalid", f"{_SHORT}, stale-while-revalidate=x", _STALE),
    Case("RFC 5861 3: without an argument", f"{_SHORT}, stale-while-revalidate", _STALE),
    Case("RFC 5861 3: twice, the least counts", f"{_SWR}, stale-while-revalidate=1", _STALE),
    Case("RFC 5861 3: one of them is invalid", f"{_SWR}, stale-while-revalidate=x", _STALE),
    Case("RFC 5861 3: quoted", f'{_SHORT}, stale-while-revalidate="60"', _BEHIND),
    Case("RFC 5861 3: with Expires", "Expires: @+5|Date: @|Cache-Control: stale-while-revalidate=60", _BEHIND),
    Case("RFC 5861 3: targeted (RFC 9213)", "CDN-Cache-Control: max-age=5, stale-while-revalidate=60", _BEHIND),
    Case("5.2.2.2: must-revalidate is stronger", f"{_SWR}, must-revalidate", _STALE),
    Case("5.2.2.8: so is proxy-revalidate", f"{_SWR}, proxy-revalidate", _STALE),
    Case("5.2.2.10: so is s-maxage, which implies it", f"{_SWR}, s-maxage=5", _STALE),
    Case("5.2.2.4: so is no-cache", f'{_SWR}, no-cache|ETag: "a"', "validate: no-cache"),
    Case("5.2.1.4: so is no-cache of the request", _SWR, _ASKED, asked="Cache-Control: no-cache"),
    Case("5.2.1.1: a client with max-age wants nothing stale", _SWR, _STALE, asked="Cache-Control: max-age=60"),
    Case("5.2.1.1: unless it says max-stale", _SWR, _BEHIND, asked="Cache-Control: max-age=60, max-stale=1"),
    Case("5.2.1.3: one with min-fresh does not either", _SWR, _MIN_FRESH, asked="Cache-Control: min-fresh=0"),
    Case("5.2.1.2: behind its end max-stale counts", _SWR, _MAX_STALE, 100, asked="Cache-Control: max-stale"),
    Case("5.2.1.7: what comes behind the back takes no time", _SWR, _BEHIND, asked="Cache-Control: only-if-cached"),
    # What changes nothing
    Case("RFC 6265: a Cookie of the second request", _FRESH, "fresh", asked="Cookie: a=b"),
    Case("3.5: Authorization of the second request", _FRESH, "fresh", asked="Authorization: x"),
    Case("RFC 9110 8.8: ETag beside a lifetime", f'{_FRESH}|ETag: "a"', "fresh"),
    Case("RFC 6266: an attachment", f"{_FRESH}|Content-Disposition: attachment; filename=a.txt", "fresh"),
)  # fmt: skip

_SIE = f"{_SHORT}, stale-if-error=60"

ON_ERROR = (
    Case("RFC 5861 4: within its time", _SIE, "yes"),
    Case("RFC 5861 4: at its end", _SIE, "yes", 65),
    Case("RFC 5861 4: behind its end", _SIE, "no", 65.1),
    Case("RFC 5861 4: without it", _SHORT, "no"),
    Case("RFC 5861 4: 0", f"{_SHORT}, stale-if-error=0", "no", 5),
    Case("RFC 5861 4: invalid", f"{_SHORT}, stale-if-error=x", "no"),
    Case("RFC 5861 4: without an argument", f"{_SHORT}, stale-if-error", "no"),
    Case("RFC 5861 4: twice, the least counts", f"{_SIE}, stale-if-error=1", "no"),
    Case("RFC 5861 4: the request says it", _SHORT, "yes", asked="Cache-Control: stale-if-error=5"),
    Case("RFC 5861 4: the request says less", _SHORT, "no", asked="Cache-Control: stale-if-error=4"),
    Case("RFC 5861 4: of both, the longer", _SIE, "yes", asked="Cache-Control: stale-if-error=1"),
    Case("RFC 5861 4: of both, the longer is the request's", f"{_SHORT}, stale-if-error=1", "yes", asked="Cache-Control: stale-if-error=9"),
    Case("RFC 5861 4: whatever the age is to be", _SIE, "yes", asked="Cache-Control: max-age=0"),
    Case("RFC 5861 4: what is fresh and was to be validated", f"{_FRESH}, stale-if-error=1", "yes", asked="Cache-Control: max-age=0"),
    Case("5.2.1.4: not if the request says no-cache", _SIE, "no", asked="Cache-Control: no-cache"),
    Case("5.2.2.4: nor if the reply says it", f'{_SIE}, no-cache|ETag: "a"', "no"),
    Case("5.2.2.2: nor with must-revalidate", f"{_SIE}, must-revalidate", "no"),
    Case("5.2.2.8: nor with proxy-revalidate", f"{_SIE}, proxy-revalidate", "no"),
    Case("5.2.2.10: nor with s-maxage", f"{_SIE}, s-maxage=5", "no"),
    Case("5.2.2.2: the request cannot lift that", f"{_SHORT}, must-revalidate", "no", asked="Cache-Control: stale-if-error=60"),
    Case("RFC 5861 3: stale-while-revalidate is not about errors", _SWR, "no"),
    Case("RFC 9213 2.2: targeted", "CDN-Cache-Control: max-age=5, stale-if-error=60", "yes"),
    Case("RFC 9213 2.2: not targeted beside what is", f"CDN-Cache-Control: max-age=5|{_SIE}", "no"),
)  # fmt: skip
