"""More users at a time than Dovecot's defaults let in."""

from __future__ import annotations

from tests.story.outage import CA_ON_CLIENT, CLIENT, IDENTITY, ON_CLIENT
from tests.story.stage import Stage

COUNT = 150  # one login process for each session ends at 100 (default_process_limit)


def test_as_many_users_as_come_are_greeted(stage: Stage) -> None:
    """Before their log-in: each has a process of his own behind it, and the guest no memory for so many."""
    said = stage.lab.python(CLIENT, ON_CLIENT / "greet.py", IDENTITY, CA_ON_CLIENT, str(COUNT))
    assert said == {"greeted": COUNT, "failed": {}}
