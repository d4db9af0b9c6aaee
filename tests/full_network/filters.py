"""One accept too many in a host's packet filter, for as long as a test wants it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator

from tests.story.machines import Lab

TABLE = "inet holdfast_filter"


@contextlib.contextmanager
def accepting(lab: Lab, host: str, chain: str, rule: str) -> Iterator[None]:
    """`rule` comes first in its chain of TABLE."""
    lab.run(host, "nft", "insert", "rule", *TABLE.split(), chain, *rule.split())
    try:
        yield
    finally:
        said = lab.run(host, "nft", "-a", "list", "chain", *TABLE.split(), chain)
        handles = re.findall(rf"{re.escape(rule)} # handle (\d+)", said)
        for handle in handles:
            lab.run(host, "nft", "delete", "rule", *TABLE.split(), chain, "handle", handle)
        assert handles, said
