"""The lab of the scenario, with a way back to the state in which the next outage begins."""

from __future__ import annotations

import pytest

from tests.story.fixtures import *  # noqa: F403


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The story first: it is about the home host, which owns the identity after a deploy; the others move it."""
    items.sort(key=lambda item: not item.name.startswith("test_the_story"))
