"""Fixtures that all rooms share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real recordings; tests that read it skip when it is absent."""
    named = os.environ.get("LEADLIGHT_SHARED_DATA")
    folder = Path(named) if named else Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("real recordings are absent (set LEADLIGHT_SHARED_DATA to their folder)")
    return folder
