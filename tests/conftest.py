"""Fixtures that every part's tests may use."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference vectors and traces beside the checkout; tests that need it skip elsewhere."""
    path = Path(__file__).resolve().parents[2] / "shared"
    if not path.is_dir():
        pytest.skip("no shared/ folder beside this checkout")
    return path
