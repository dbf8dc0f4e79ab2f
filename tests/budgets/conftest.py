from collections.abc import Iterator

import pytest
from tests.budgets import postgres


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """One PostgreSQL server for all tests; each test makes a database of its own."""
    with postgres.server() as conninfo:
        yield conninfo
