"""One lab for all that is played here, deployed once; a test that wants another one says so itself."""

from __future__ import annotations

from tests.story.fixtures import *  # noqa: F403
