"""Tags: names that a backend gives to its replies, to have all of one name purged."""

from __future__ import annotations

from txproxy.policy.caching.fields import FieldTable, values_of
from txproxy.wire.grammar import OWS
from txproxy.wire.messages import ReplyHead

MOST_TAGS = 1000
"""Of one reply."""
MOST_TAG_BYTES = 1024
"""Of one tag; both as at Fastly, whose 16 KiB of them hold no more than a thousand in practice."""


def tags_of(reply: ReplyHead, table: FieldTable | None = None) -> tuple[bytes, ...] | None:
    """Return the tags in Surrogate-Key (separated by spaces) and Cache-Tag (separated by commas), each once.

    The case of letters matters.

    :param table: of the reply's fields, if there is one already.
    :return: None if there are too many, or one is too long. Such a reply should not be stored: whoever purges by a
        tag that was left out would believe that it is gone.
    """
    if table is not None and not (table.has_field(b"surrogate-key") or table.has_field(b"cache-tag")):
        return ()
    tags: dict[bytes, None] = {}
    for value in values_of(reply.fields, b"surrogate-key"):
        tags.update(dict.fromkeys(value.replace(b"\t", b" ").split(b" ")))
    for value in values_of(reply.fields, b"cache-tag"):
        tags.update(dict.fromkeys(part.strip(OWS) for part in value.split(b",")))
    tags.pop(b"", None)
    if len(tags) > MOST_TAGS or any(len(tag) > MOST_TAG_BYTES for tag in tags):
        return None
    return tuple(tags)
