"""A pytest plugin: every embedded server of the run lets the controller do what its shipped roles allow, and
nothing else, as a real API server does. Use: ``pytest -p tests.install.whole_run``. A run in which the
controller asked for more fails, even where every test passed.
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
# What is granted only to who switches it on.
ROLES += [one for one in manifests.load(part=manifests.AUTOMATION) if one["kind"] == "ClusterRole"]
RECORDED = Recorded(ROLES, conflicts=0)

# Tests that watch more closely put their own in its place.
if server.Application is Application:
    server.Application = recording(RECORDED)  # type: ignore[misc]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run."""
    if RECORDED.refused and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was asked for beyond the roles."""
    if RECORDED.refused:
        terminalreporter.section("requests of the controller that its roles do not allow")
        for asked in sorted(RECORDED.refused):
            terminalreporter.line(
                f"{asked.verb} {asked.resource}.{asked.group} {asked.namespace} {asked.name}"
            )
