"""When certificates end, and when an operator is to know it. Pure; times are Unix seconds."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# A deploy makes those with fewer than 30 days left anew (roles/certificates): who deploys every week is never told.
ALARM_DAYS = 20
DAY = 86400.0


@dataclass(frozen=True)
class Ending:
    """A certificate and when it ends. `error`: why that cannot be told, or why nobody takes it; then `end` is 0."""

    name: str
    end: float
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "end": self.end, "error": self.error}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Ending:
        return cls(str(data["name"]), float(data["end"]), str(data["error"]))

    def alarm(self, whose: str, now: float) -> str:
        """One line once it is time, else nothing."""
        if self.error:
            return f"{whose}: its certificate {self.name} is no good: {self.error}; deploy it (playbooks/site.yml)"
        days = int((self.end - now) // DAY)
        if days >= ALARM_DAYS:
            return ""
        when = f"ends in {days} days, on" if days >= 0 else "has ended on"
        day = time.strftime("%Y-%m-%d", time.gmtime(self.end))
        return f"{whose}: its certificate {self.name} {when} {day}: deploy it (playbooks/site.yml)"
