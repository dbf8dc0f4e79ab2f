"""The rights of automation against what it asks for, both ways, and that nobody has them by default."""

from pathlib import Path

import pytest
from tests.controller.test_culling import DEPLOYMENT, JOB, idle
from tests.controller.test_resizing import oversized
from tests.controller.world import until
from tests.install.access import Asked, Recorded, allowed, recording

from aliquot import manifests
from aliquot.controller.resizing import KINDS
from aliquot.embedded import server as embedded_server
from aliquot.install.objects import Options, wanted
from aliquot.model.kinds import API_VERSIONS
from aliquot.model.owners import OWNERS
from aliquot.model.workloads import Job
from aliquot.sizing.holders import NOTEBOOK
from aliquot.sizing.idle_acts import MARK, SUSPENDABLE

PART = manifests.load(part=manifests.AUTOMATION)
(ROLE,) = (one for one in PART if one["kind"] == "ClusterRole")
CONTROLLER = [
    one
    for one in manifests.load()
    if one["kind"] in ("ClusterRole", "Role") and one["metadata"]["name"] == manifests.SERVICE_ACCOUNT
]


def plural_of(kind: str) -> str:
    name = kind.lower()
    return f"{name[:-1]}ies" if name.endswith("y") else f"{name}s"


def test_it_may_write_what_owns_pods_and_nothing_else() -> None:
    """Every kind that can be on top of pods is noted on; what can be suspended is among these."""
    kinds = {kind.kind(): API_VERSIONS[kind][0].rpartition("/")[0] for kind in (Job, *OWNERS)}
    assert {*kinds, NOTEBOOK} >= SUSPENDABLE
    expected = {("patch", group, plural_of(kind)) for kind, group in kinds.items()}
    expected |= {("get", "apps", plural_of(kind.kind())) for kind in KINDS}
    expected |= {(verb, "kubeflow.org", "notebooks") for verb in ("get", "patch")}
    expected |= {(verb, "resource.k8s.io", "resourceclaimtemplates") for verb in ("get", "create")}
    granted = {
        (verb, group, resource)
        for rule in ROLE["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    assert granted == expected


def test_an_installation_grants_it_only_where_it_is_asked_for() -> None:
    for options, there in ((Options(), False), (Options(automation=True), True)):
        names = {one["metadata"]["name"] for one in wanted(options)}
        assert ("aliquot-automation" in names) == there
    patch = Asked("patch", "apps", "deployments", "any", "any")
    assert not allowed(CONTROLLER, patch)
    assert allowed([ROLE], patch)


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Every server of the test lets the controller do what its roles and this one allow."""
    found = Recorded([*CONTROLLER, ROLE])
    monkeypatch.setattr(embedded_server, "Application", recording(found))
    return found


@pytest.mark.prove
async def test_the_rights_suffice_for_idle_work(tmp_path: Path, recorded: Recorded) -> None:
    async with idle(tmp_path) as world:
        world.workload(*DEPLOYMENT, "chat", replicas=1)
        world.workload(*JOB, "train", parallelism=1, completions=1)
        assert await until(lambda: bool(world.pods("chat") and world.pods("train")), 30)
        for name in ("chat", "train"):
            world.quiet(name, 3)
        await world.culler().look()
        assert await until(lambda: MARK in world.live.snapshot.jobs[0].metadata.annotations, 10)
        assert await until(lambda: MARK in world.live.snapshot.deployments[0].metadata.annotations, 10)
        assert len((await world.culler().look()).culls) == 2
        assert world.stored("deployments.apps", "chat")["spec"]["replicas"] == 0
        assert world.stored("jobs.batch", "train")["spec"]["suspend"] is True
    assert recorded.refused == set()


@pytest.mark.prove
async def test_the_rights_suffice_for_sizes(tmp_path: Path, recorded: Recorded) -> None:
    async with oversized(tmp_path) as world:
        assert len((await world.resizer().look()).actions) == 1
        assert await world.sized()
    assert recorded.refused == set()
