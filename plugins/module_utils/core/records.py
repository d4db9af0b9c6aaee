"""What has to change in DNS zones so that they hold the wished-for records. Pure; names end with a dot."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# Made once, with the zone; afterwards the server counts the serial.
ONLY_ONCE = frozenset({"SOA"})
# Kinds whose data holds text: upper and lower case and blanks count.
EXACT = frozenset({"TXT", "SPF", "CAA"})


@dataclass(frozen=True)
class RecordSet:
    """All records of one owner name and kind; `ttl` in seconds, `data` as in a zone file. Without data: none at all."""

    owner: str
    kind: str
    ttl: int
    data: frozenset[str]

    @classmethod
    def of(cls, owner: str, kind: str, ttl: int, data: Iterable[str]) -> RecordSet:
        """In the form in which two sets can be compared."""
        kind = kind.upper()
        plain = (line.strip() if kind in EXACT else " ".join(line.lower().split()) for line in data)
        return cls(absolute(owner), kind, ttl, frozenset(plain))

    def lines(self) -> list[str]:
        """As in a zone file."""
        return [f"{self.owner} {self.ttl} {self.kind} {line}" for line in sorted(self.data)]


Zone = Mapping[tuple[str, str], RecordSet]  # by owner and kind


def absolute(name: str) -> str:
    return f"{name.lower().rstrip('.')}."


def zone_of(name: str, zones: Iterable[str]) -> str | None:
    """The innermost of the zones that holds a name."""
    owner = f".{absolute(name)}"
    holding = [absolute(zone) for zone in zones if owner.endswith(f".{absolute(zone)}")]
    return max(holding, key=len, default=None)


def read(text: str) -> dict[tuple[str, str], RecordSet]:
    """Lines `OWNER TTL KIND DATA…`. Raises ValueError for another line."""
    found: dict[tuple[str, str], tuple[int, list[str]]] = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        parts = line.split(None, 3)
        if len(parts) != 4 or not parts[1].isdigit():
            raise ValueError(f"no record: {line!r}")
        owner, ttl, kind, data = parts
        found.setdefault((absolute(owner), kind.upper()), (int(ttl), []))[1].append(data)
    return {key: RecordSet.of(*key, ttl, data) for key, (ttl, data) in found.items()}


def plan(there: Zone, wanted: Iterable[RecordSet]) -> list[RecordSet]:
    """Those of the wanted sets that a zone holds otherwise or not at all. What is not asked about stays as it is."""
    due = []
    for record in wanted:
        found = there.get((record.owner, record.kind))
        if found is None:
            if record.data:
                due.append(record)
        elif found != record and record.kind not in ONLY_ONCE and (found.data or record.data):
            due.append(record)
    return due
