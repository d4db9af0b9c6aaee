"""Long queue ids of Postfix: when a message arrived, and which entry a delivered copy comes from.

An id is seconds (base 52, at least 6 digits), microseconds (4 digits), `z`, and an inode (base 51), see
enable_long_queue_ids in postconf(5). The identity's own Received field, on top of all others, names it.
"""

from __future__ import annotations

import re

DIGITS = "0123456789BCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz"
MICROSECONDS = 4  # digits
SHORTEST = 6 + MICROSECONDS


def arrival(queue_id: str) -> int | None:
    """Unix seconds by the clock of the host that accepted the message; None when it is no long id."""
    head, separator, _ = queue_id.rpartition("z")
    if not separator or len(head) < SHORTEST or any(c not in DIGITS for c in queue_id):
        return None
    seconds = 0
    for digit in head[:-MICROSECONDS]:
        seconds = seconds * len(DIGITS) + DIGITS.index(digit)
    return seconds


def of_received(field: str, identity: str) -> str | None:
    """The id in a Received field (without its name) of the identity's Postfix, None in anybody else's."""
    # A sender's words stand in front of "by"; Postfix lets no bracket or blank in them through.
    own = rf"(?:^|\s)by {re.escape(identity)} \(Postfix[^()]*\)\s+(?:with \S+\s+)?id (\w+)"
    found = re.search(own, field)
    return None if found is None else found[1]
