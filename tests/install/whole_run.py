"""A pytest plugin: every embedded server of the run lets the controller do what its shipped roles allow, and
nothing else, as a real API server does. Use: ``pytest -p tests.install.whole_run``. A run in which the
controller asked for more fails, even where every test passed.
"""

from typing import Any

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


ASKED: set[str] = set()
"""What was asked for beyond the roles, of workers (pytest-xdist) as well."""


def _asked() -> list[str]:
    mine = {
        f"{asked.verb} {asked.resource}.{asked.group} {asked.namespace} {asked.name}"
        for asked in RECORDED.refused
    }
    return sorted(ASKED | mine)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """What a worker tells at its end, the run tells. One that crashed tells nothing, and fails it anyway."""
    ASKED.update(getattr(node, "workeroutput", {}).get("asked", ()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["asked"] = _asked()
    elif _asked() and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was asked for beyond the roles."""
    if _asked():
        terminalreporter.section("requests of the controller that its roles do not allow")
        for line in _asked():
            terminalreporter.line(line)
