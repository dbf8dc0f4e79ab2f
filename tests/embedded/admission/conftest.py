import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from cluster import Cluster


@pytest.fixture
def cluster() -> Cluster:
    """Nothing but what every cluster has."""
    return Cluster()


@pytest.fixture
def installed() -> Cluster:
    """With Aliquot's manifests applied and the managed namespace ``team``."""
    made = Cluster()
    made.install()
    made.namespace("team", {"aliquot.dev/managed": "true"})
    return made
