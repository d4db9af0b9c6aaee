from __future__ import annotations

from pathlib import Path

import pytest
from whole import rendered


@pytest.fixture(scope="session")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rendered(tmp_path_factory.mktemp("full"), name="full")
