"""Types of single settings: what a value may be, with the message for what it may not."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Annotated, TypeVar
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from txproxy.config import address
from txproxy.config.problems import allowed, shown
from txproxy.wire.fields import CLAIM_NAMES
from txproxy.wire.reasons import OF_ONE_REQUEST

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)
"""RFC 9110 section 5.6.2."""
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", re.ASCII)
_REFERENCE = re.compile(r"[^\W\d]\w*(?:\.[^\W\d]\w*)*:[^\W\d]\w*(?:\.[^\W\d]\w*)*")
_PATH = re.compile(r"=?/[!$-;=@-_a-z|~]*", re.ASCII)
"""A path of RFC 3986 section 3.3, a little wider: no control, space, ``"<>?#`{}`` and no bytes beyond ASCII."""
_STATUSES = re.compile(r"([1-5][0-9]{2})(?:-([1-5][0-9]{2}))?", re.ASCII)

_HSTS_AGE = re.compile(r'[0-9]+|"[0-9]+"', re.ASCII)
_HSTS_DIRECTIVES = {"max-age": "max-age=SECONDS", "includesubdomains": "includeSubDomains", "preload": "preload"}
_HSTS_EXAMPLE = '"max-age=31536000; includeSubDomains"'

FRAMING_FIELDS = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authentication-info",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Fields that frame a message or belong to one connection (RFC 9110 section 7.6.1), in lower case: a rule that
touches one of them could make two parties disagree about where a message ends."""

BALANCERS = (
    "round_robin",
    "weighted_round_robin",
    "least_connections",
    "ip_hash",
    "random",
    "p2c",
    "ewma",
    "ring_hash",
)
PROBES = ("http", "tcp", "tls")


class Section(BaseModel):
    """Base of every section: frozen, with strict types, and unknown keys are errors."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, validate_by_name=True, validate_by_alias=True, allow_inf_nan=False
    )


def is_reference(text: str) -> bool:
    """Tell whether a text has the form ``module:function`` of a Python name."""
    return _REFERENCE.fullmatch(text) is not None


def check_token(text: str) -> str:
    """Return a token of RFC 9110 section 5.6.2; raise ValueError if it is none."""
    if not _TOKEN.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a token (allowed: letters, digits and !#$%&'*+-.^_`|~)")
    return text


def check_field_value(text: str) -> str:
    """Return a field value without control characters (RFC 9110 section 5.5); raise ValueError if it has any.

    The message does not show the value, which may be a credential.
    """
    if _CONTROL.search(text):
        raise ValueError("a field value must not hold CR, LF, NUL or other control characters")
    return text


def check_rule_field(text: str) -> str:
    """Return a field name that a header rule may touch; raise ValueError if it may not."""
    if check_token(text).lower() in FRAMING_FIELDS:
        hint = " (the key 'host' of the route sets it)" if text.lower() == "host" else ""
        raise ValueError(f"{text} frames the message or belongs to one connection, no rule may touch it{hint}")
    return text


def check_distinct_fields(fields: Mapping[str, str]) -> Mapping[str, str]:
    """Return a mapping whose keys are different fields; raise ValueError if two differ only in case."""
    seen: dict[str, str] = {}
    for name in fields:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            raise ValueError(f"'{other}' and '{name}' are the same field")
    return fields


def check_name(text: str) -> str:
    """Return the name of a listener, route, cluster or tls section; raise ValueError if it cannot be one."""
    if not _NAME.fullmatch(text):
        raise ValueError(f"{shown(text)} is not a name (allowed: letters, digits and _.-, not beginning with . or -)")
    return text


def check_reference(text: str) -> str:
    """Return a Python name; raise ValueError unless it is ``module:function``."""
    if not is_reference(text):
        raise ValueError(f"{shown(text)} is not the name of a function (allowed: MODULE:FUNCTION, site:FUNCTION)")
    return text


def check_path_pattern(text: str) -> str:
    """Return a route's path; raise ValueError unless it begins with ``/`` or ``=/`` and can match a target."""
    if not text.startswith(("/", "=/")):
        raise ValueError(f"{shown(text)} is not a path (allowed: /PREFIX, =/EXACT)")
    if not _PATH.fullmatch(text):
        raise ValueError(f"{shown(text)} has characters that no path has (write them as %XX; a query is not matched)")
    return text


def check_target(text: str) -> str:
    """Return the path and query of a probe; raise ValueError if it is not in origin-form (RFC 9112 section 3.2.1)."""
    path, mark, query = text.partition("?")
    if text[:1] != "/" or not _PATH.fullmatch(path) or (mark and not _PATH.fullmatch("/" + query.replace("?", ""))):
        raise ValueError(f"{shown(text)} is not a path (allowed: /PATH, /PATH?QUERY)")
    return text


def check_prefix(text: str) -> str:
    """Return a path prefix; raise ValueError unless it begins with ``/``."""
    if text.startswith("="):
        raise ValueError(f"{shown(text)} is not a prefix (allowed: /PREFIX)")
    return check_path_pattern(text)


def check_statuses(text: str) -> str:
    """Return ``200`` or ``200-399``; raise ValueError if it is neither."""
    match = _STATUSES.fullmatch(text)
    if match is None:
        raise ValueError(f"{shown(text)} is not a status or range of them (allowed: 100 to 599, as 200 or 200-399)")
    if match[2] and match[2] < match[1]:
        raise ValueError(f"{shown(text)} is an empty range (did you mean '{match[2]}-{match[1]}'?)")
    return text


def check_upstream_host(text: str) -> str:
    """Return what a route sends as Host; raise ValueError if it is none of the three."""
    if text.startswith("literal:"):
        address.check_host_with_port(text.removeprefix("literal:"))
    elif text not in ("keep", "backend"):
        raise ValueError(f"{shown(text)} is not a rule for Host {allowed(text, ('keep', 'backend', 'literal:NAME'))}")
    return text


def check_balancer(text: str) -> str:
    """Return the name of a balancing policy or of a Python function; raise ValueError if it is neither."""
    return _word_or_reference(text, BALANCERS, "a balancing policy")


def check_probe(text: str) -> str:
    """Return the name of a probe or of a Python function; raise ValueError if it is neither."""
    return _word_or_reference(text, PROBES, "a health check")


def check_hash_key(text: str) -> str:
    """Return what ``ring_hash`` hashes; raise ValueError if it cannot be that."""
    for prefix in ("header:", "cookie:"):
        if text.startswith(prefix):
            check_token(text.removeprefix(prefix))
            return text
    if text not in ("client", "uri"):
        known = ("client", "uri", "header:NAME", "cookie:NAME")
        raise ValueError(f"{shown(text)} is not something to hash {allowed(text, known)}")
    return text


def check_admin_address(text: str) -> str:
    """Return an address of the admin interface; raise ValueError if it is not valid."""
    if address.parse_address(text).kind == "systemd":
        raise ValueError(f"{shown(text)} is for listeners only (allowed: HOST:PORT, [IPV6]:PORT, unix:/PATH)")
    return text


def check_server_name(text: str) -> str:
    """Return the name or IP address of a server, in lower case; raise ValueError if it is neither.

    SNI and certificates have names without a dot at the end (RFC 6066 section 3), and addresses without brackets.
    """
    if address.is_ip(text):
        return text.lower()
    return address.check_host(text).strip("[]").removesuffix(".")


def check_hsts(text: str) -> str:
    """Return a value of Strict-Transport-Security (RFC 6797 section 6.1); raise ValueError if it cannot be one.

    Other directives than those that browsers know are refused: they would ignore one that is misspelt.
    """
    seen = set()
    for part in filter(None, (part.strip(" \t") for part in check_field_value(text).split(";"))):
        name, equals, value = (piece.strip(" \t") for piece in part.partition("="))
        directive = name.lower()
        if directive not in _HSTS_DIRECTIVES:
            raise ValueError(f"{shown(part)} is no directive {allowed(name, tuple(_HSTS_DIRECTIVES.values()))}")
        if directive in seen:
            raise ValueError(f"{name} stands there twice")
        seen.add(directive)
        if directive == "max-age" and not _HSTS_AGE.fullmatch(value):
            raise ValueError(f"{shown(part)} has no number of seconds (allowed: as {_HSTS_EXAMPLE})")
        if directive != "max-age" and equals:
            raise ValueError(f"{shown(part)} must not have a value (allowed: as {_HSTS_EXAMPLE})")
    if "max-age" not in seen:
        raise ValueError(f"{shown(text)} names no max-age (allowed: as {_HSTS_EXAMPLE})")
    return text


def check_cache_key_part(text: str) -> str:
    """Return a further part of cache keys; raise ValueError if it is none."""
    if text != "client" and not _names_field(text):
        known = ("client", "header:NAME", "cookie:NAME")
        raise ValueError(f"{shown(text)} is not something for a cache key {allowed(text, known)}")
    name = text.removeprefix("header:").lower()
    if text.startswith("header:") and name.encode() in CLAIM_NAMES:
        raise ValueError(f"{shown(text)} is a field that the proxy sets itself")
    return text


def check_cache_bypass(text: str) -> str:
    """Return the name of what passes a cache by; raise ValueError if it is none."""
    if not _names_field(text):
        raise ValueError(f"{shown(text)} is no name {allowed(text, ('header:NAME', 'cookie:NAME'))}")
    return text


def _names_field(text: str) -> bool:
    kind, _, name = text.partition(":")
    return kind in ("header", "cookie") and _TOKEN.fullmatch(name) is not None


def check_pattern(text: str) -> str:
    """Return a regular expression; raise ValueError if it is none."""
    if not text.isascii():
        raise ValueError(f"{shown(text)} never matches: a path has other characters as escapes, {_escaped(text)}")
    try:
        re.compile(text.encode())
    except re.error as error:
        raise ValueError(f"{shown(text)} is no regular expression: {error}") from None
    return text


def _escaped(text: str) -> str:
    """Return the first character of a text that is not ASCII, as it stands in paths."""
    first = next(character for character in text if not character.isascii())
    return f"{first} as {quote(first)}"


def check_stored_status(text: str) -> str:
    """Return statuses that may be stored; raise ValueError for one that never is."""
    if text.isdigit() and int(text) in OF_ONE_REQUEST:
        raise ValueError(f"{shown(text)} is never stored")
    return check_statuses(text)


def _word_or_reference(text: str, words: tuple[str, ...], what: str) -> str:
    if text not in words and not is_reference(text):
        raise ValueError(f"{shown(text)} is not {what} {allowed(text, (*words, 'MODULE:FUNCTION'))}")
    return text


def _or_empty(check: Callable[[str], str]) -> AfterValidator:
    """Return a validator that lets an empty string pass, which means "none", and checks every other."""
    return AfterValidator(lambda text: check(text) if text else text)


def _tuple_of_list(value: object) -> object:
    # TOML gives lists; a frozen section holds tuples, and strict types would refuse the one for the other.
    return tuple(value) if isinstance(value, list) else value


T = TypeVar("T")
Array = Annotated[tuple[T, ...], BeforeValidator(_tuple_of_list)]

Seconds = Annotated[float, Field(gt=0)]
SecondsOrZero = Annotated[float, Field(ge=0)]
Lifetime = Annotated[float, Field(ge=0, le=2**31)]
"""Seconds for which something is fresh: as many as caches have to understand (RFC 9111 section 1.2.2)."""
Milliseconds = Annotated[float, Field(gt=0)]
Ratio = Annotated[float, Field(ge=0, le=1)]
_MOST = 2**31 - 1
"""What the system takes for a number of things, such as a backlog."""

Count = Annotated[int, Field(ge=1, le=_MOST)]
CountOrZero = Annotated[int, Field(ge=0, le=_MOST)]
Size = Annotated[int, Field(ge=1)]
SizeOrZero = Annotated[int, Field(ge=0)]
Port = Annotated[int, Field(ge=1, le=65535)]
Weight = Annotated[int, Field(ge=1, le=65535)]
WindowSize = Annotated[int, Field(ge=65535, le=2**31 - 1)]

Name = Annotated[str, AfterValidator(check_name)]
OptionalName = Annotated[str, _or_empty(check_name)]
PathText = Annotated[str, Field(min_length=1)]
Token = Annotated[str, AfterValidator(check_token)]
OptionalToken = Annotated[str, _or_empty(check_token)]
RuleField = Annotated[str, AfterValidator(check_rule_field)]
FieldValue = Annotated[str, AfterValidator(check_field_value)]
RuleFields = Annotated[Mapping[RuleField, FieldValue], AfterValidator(check_distinct_fields)]
MatchFields = Annotated[Mapping[Token, FieldValue], AfterValidator(check_distinct_fields)]
OptionalReference = Annotated[str, _or_empty(check_reference)]

ListenAddress = Annotated[str, AfterValidator(address.check_listen_address)]
BackendAddress = Annotated[str, AfterValidator(address.check_backend_address)]
AdminAddress = Annotated[str, AfterValidator(check_admin_address)]
AlpnProtocol = Annotated[str, Field(min_length=1, max_length=255)]
Network = Annotated[str, AfterValidator(address.check_network)]
TrustedPeer = Annotated[str, AfterValidator(address.check_peer)]
OptionalServerName = Annotated[str, _or_empty(check_server_name)]
OptionalHostWithPort = Annotated[str, _or_empty(address.check_host_with_port)]
HostPattern = Annotated[str, AfterValidator(address.check_host_pattern)]
UpstreamHost = Annotated[str, AfterValidator(check_upstream_host)]
PathPattern = Annotated[str, AfterValidator(check_path_pattern)]
OptionalPrefix = Annotated[str, _or_empty(check_prefix)]
Target = Annotated[str, AfterValidator(check_target)]
Statuses = Annotated[str, AfterValidator(check_statuses)]
StoredStatuses = Annotated[str, AfterValidator(check_stored_status)]
Hsts = Annotated[str, _or_empty(check_hsts)]
Balancer = Annotated[str, AfterValidator(check_balancer)]
Probe = Annotated[str, AfterValidator(check_probe)]
CacheKeyPart = Annotated[str, AfterValidator(check_cache_key_part)]
CacheBypass = Annotated[str, AfterValidator(check_cache_bypass)]
Pattern = Annotated[str, AfterValidator(check_pattern)]
HashKey = Annotated[str, AfterValidator(check_hash_key)]
