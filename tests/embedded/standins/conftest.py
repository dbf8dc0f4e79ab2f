import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import World


@pytest.fixture
def world() -> World:
    made = World()
    made.settle()
    return made


@pytest.fixture
def lasting(tmp_path: Path) -> World:
    """A world whose state is in a file, so that it can restart."""
    made = World(tmp_path / "state.db")
    made.settle()
    return made
