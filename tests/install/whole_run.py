"""A pytest plugin: every embedded server of the run lets the controller do what its shipped roles allow, and
nothing else, as a real API server does. Use: ``pytest -p tests.install.whole_run``.
"""

import pytest
from tests.install.access import Recorded, recording

from aliquot import manifests
from aliquot.embedded import server
from aliquot.embedded.http.app import Application

ROLES = [
    one
    for one in manifests.load()
    if one["kind"] in ("ClusterRole", "Role") and one["metadata"]["name"] == manifests.SERVICE_ACCOUNT
]
RECORDED = Recorded(ROLES, conflicts=0)

# Tests that watch more closely put their own in its place.
if server.Application is Application:
    server.Application = recording(RECORDED)  # type: ignore[misc]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was asked for beyond the roles."""
    if RECORDED.refused:
        terminalreporter.section("requests of the controller that its roles do not allow")
        for asked in sorted(RECORDED.refused):
            terminalreporter.line(
                f"{asked.verb} {asked.resource}.{asked.group} {asked.namespace} {asked.name}"
            )
