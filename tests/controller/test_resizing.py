"""Sizes changed on a server: applied, rolled out, watched, settled, taken back; and what is left alone."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.controller.load import Load
from tests.controller.test_run import controller
from tests.controller.used import Used
from tests.controller.witness import Witness
from tests.controller.world import Cluster, until
from tests.sizing.clusters import FLEET

from aliquot.catalog.fleet import expand, parse_fleet
from aliquot.controller.resizing import Resizer, Sizes
from aliquot.controller.unasked import Unasked
from aliquot.embedded.admission import Admission
from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.server import EmbeddedServer
from aliquot.embedded.standins import StandIns
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.clock import SystemClock
from aliquot.kube.config import load_kubeconfig
from aliquot.model.meta import ObjectRef
from aliquot.scheduling.policy import Policy
from aliquot.sizing.policy import SizingPolicy
from aliquot.sizing.rollout import Advance, Apply, Phase, RollBack, RolloutPolicy
from aliquot.sizing.template_change import Note
from aliquot.store.usage import UsageHistory
from aliquot.usage.metrics import Metric
from aliquot.usage.series import Owner, Series, Subject

MINUTE = 60_000
HOURS = 48
ROLLOUT = RolloutPolicy(queues=("default",), confidence=0.6, dry_run=False)


class Late(SystemClock):
    """The wall clock, some time later."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def now(self) -> Any:
        return super().now() + timedelta(seconds=self.seconds)


class Oversized(Used):
    """A Deployment whose two pods have a whole H100 each and need a seventh of it."""

    def resizer(self, rollout: RolloutPolicy = ROLLOUT) -> Resizer:
        """A new one, as after a restart."""
        sizes = Sizes(SizingPolicy(), rollout, lambda report: {})
        unasked = Unasked(self.client, self.recorded.append, "sizes")
        return Resizer(unasked, self.live, self.history, sizes, Policy())

    def create(self, plural: str, namespace: str | None, document: dict[str, Any]) -> None:
        self.running.load.create(plural, namespace, document)

    def deployment(self) -> dict[str, Any]:
        return self.stored("deployments.apps", "chat")

    def used_template(self) -> str:
        (claim,) = self.deployment()["spec"]["template"]["spec"]["resourceClaims"]
        return str(claim["resourceClaimTemplateName"])

    def note(self) -> Note | None:
        return Note.of(self.deployment()["metadata"].get("annotations", {}))

    def used(self, gib: float, hours: float = HOURS) -> None:
        now = round(self.client.clock.now().timestamp() * 1000)
        start = now - round(hours * 60) * MINUTE
        series = []
        for pod in self.running_pods():
            pod_ref = ObjectRef(kind="Pod", namespace=pod.namespace, name=pod.metadata.name)
            owner = Owner(queue="default", workload=pod_ref, pod=pod_ref)
            for metric, value in ((Metric.MEMORY_USED, round(gib * 2**30)), (Metric.SM_BUSY, 50_000)):
                rows = [(at, MINUTE, value) for at in range(start, now, MINUTE)]
                series.append(Series.of(metric, Subject(device=pod.metadata.name), rows, owner))
        self.history.write(series, now)

    async def seen(self) -> bool:
        """The controller knows the Deployment as it is stored."""

        def same() -> bool:
            known = self.live.snapshot.deployments[0].metadata.resource_version
            return bool(known == self.deployment()["metadata"]["resourceVersion"])

        return await until(same, 10)

    async def sized(self, whole: bool = False) -> bool:
        """Both pods run on parts, or on whole devices, and nothing of before is left."""

        def there() -> bool:
            claims = self.live.snapshot.resource_claims
            classes = {item.spec.devices.requests[0].exactly.device_class_name for item in claims}
            wanted = {"gpu.nvidia.com" if whole else "mig.nvidia.com"}
            return len(self.running_pods()) == 2 and len(claims) == 2 and classes == wanted

        return await until(there, 30)


@contextlib.asynccontextmanager
async def oversized(directory: Path, clock: Late | None = None) -> AsyncIterator[Oversized]:
    server = EmbeddedServer(directory / "cluster")
    server.registry.admission = Admission(server.registry)
    load = Load(server.registry, random.Random(1))
    load.install(0, 0)
    for document in expand(parse_fleet(FLEET, "fleet")):
        resource = server.registry.resources.find_kind(document["apiVersion"], document["kind"])
        assert resource is not None
        made = server.registry.create(resource, None, document, SYSTEM)
        if document["kind"] == "Node":
            server.registry.update(
                resource,
                None,
                made["metadata"]["name"],
                {**made, "status": document["status"]},
                SYSTEM,
                subresource="status",
            )
    standins = asyncio.create_task(StandIns(server.registry).run())
    await server.start()
    running = Cluster(server, load, Witness(server.registry))
    connection = load_kubeconfig([server.controller_kubeconfig])
    try:
        async with (
            controller(running, directory, "a") as live,
            Client(connection, clock=clock or Late()) as client,
        ):
            with UsageHistory.open(directory / "usage.db") as history:
                world = Oversized(running, live, client, history)
                spec = {
                    "devices": {
                        "requests": [{"name": "gpu", "exactly": {"deviceClassName": "gpu.nvidia.com"}}]
                    }
                }
                world.create(
                    "resourceclaimtemplates.resource.k8s.io",
                    "steady",
                    {
                        "apiVersion": "resource.k8s.io/v1",
                        "kind": "ResourceClaimTemplate",
                        "metadata": {"name": "one"},
                        "spec": {"spec": spec},
                    },
                )
                container = {"name": "main", "image": "none", "resources": {"claims": [{"name": "gpu"}]}}
                pod = {
                    "containers": [container],
                    "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "one"}],
                }
                world.create(
                    "deployments.apps",
                    "steady",
                    {
                        "apiVersion": "apps/v1",
                        "kind": "Deployment",
                        "metadata": {"name": "chat"},
                        "spec": {
                            "replicas": 2,
                            "selector": {"matchLabels": {"app": "chat"}},
                            "template": {
                                "metadata": {"labels": {"app": "chat", "aliquot.dev/queue": "default"}},
                                "spec": pod,
                            },
                        },
                    },
                )
                world.create(
                    "queues.aliquot.dev",
                    None,
                    {
                        "apiVersion": "aliquot.dev/v1alpha1",
                        "kind": "Queue",
                        "metadata": {"name": "default"},
                        "spec": {},
                    },
                )
                assert await world.sized(whole=True)
                world.used(8.0)
                yield world
    finally:
        await cancel_and_wait(standins)
        await server.stop()


def names(found: Advance) -> list[type]:
    return [type(item) for item in found.actions]


async def test_a_size_is_rolled_out_watched_and_settled_also_by_another_leader(tmp_path: Path) -> None:
    clock = Late()
    async with oversized(tmp_path, clock) as world:
        found = await world.resizer().look()
        assert names(found) == [Apply], found.held
        template = world.used_template()
        assert template.startswith("one-")
        assert await world.sized()
        note = world.note()
        assert note is not None
        assert (note.phase, note.templates) == (Phase.WATCHING, {"gpu": ("one", template)})
        assert "mig 1g.10gb" in world.events("SizeChanged")[0]["note"]
        assert await world.seen()
        again = await world.resizer().look()
        assert (again.actions, again.state[0].phase) == ((), Phase.WATCHING)
        clock.seconds = 25 * 3600
        settled = await world.resizer().look()
        assert settled.state[0].phase is Phase.SETTLED
        note = world.note()
        assert note is not None
        assert note.phase is Phase.SETTLED
        assert [event.action for event in world.recorded] == ["size-apply", "size-settled"]


async def test_a_workload_that_suffers_gets_back_what_it_had(tmp_path: Path) -> None:
    async with oversized(tmp_path) as world:
        await world.resizer().look()
        assert await world.sized()
        assert await world.seen()
        registry = world.running.server.registry
        name = world.running_pods()[0].metadata.name
        stored = dict(registry.get(registry.resources.named("pods"), "steady", name))
        ended = {"terminated": {"reason": "OOMKilled", "exitCode": 137, "finishedAt": "2999-01-01T00:00:00Z"}}
        told = {
            "name": "main",
            "image": "none",
            "imageID": "",
            "ready": True,
            "restartCount": 1,
            "lastState": ended,
        }
        stored["status"] = {**stored["status"], "containerStatuses": [told]}
        registry.update(
            registry.resources.named("pods"), "steady", name, stored, SYSTEM, subresource="status"
        )
        found = await world.resizer().look()
        assert names(found) == [RollBack]
        assert world.used_template() == "one"
        assert await world.sized(whole=True)
        assert "ran out of memory" in world.events("SizeRolledBack")[0]["note"]
        assert await world.seen()
        after = await world.resizer().look()
        assert after.actions == ()
        assert "it is left alone for" in after.held[0].why
        note = world.note()
        assert note is not None
        assert (note.phase, note.undone) == (Phase.ROLLED_BACK, 1)


@pytest.mark.prove
async def test_what_somebody_changed_since_stays_when_a_change_is_taken_back(tmp_path: Path) -> None:
    clock = Late()
    async with oversized(tmp_path, clock) as world:
        await world.resizer().look()
        assert await world.sized()
        registry = world.running.server.registry
        deployments = registry.resources.named("deployments", "apps")
        changed = world.deployment()
        changed["spec"]["template"]["spec"]["resourceClaims"][0]["resourceClaimTemplateName"] = "gpus-1"
        registry.update(deployments, "steady", "chat", changed, SYSTEM)
        assert await world.seen()
        clock.seconds = 3600
        world.used(9.9, hours=0.5)
        found = await world.resizer(replace(ROLLOUT, memory_percent=1)).look()
        assert names(found) == [RollBack]
        assert world.used_template() == "gpus-1"
        assert "which stays" in world.events("SizeRolledBack")[0]["note"]


async def test_a_dry_run_and_queues_that_no_policy_names_change_nothing(tmp_path: Path) -> None:
    async with oversized(tmp_path) as world:
        before = world.deployment()["spec"]
        resizer = world.resizer(replace(ROLLOUT, dry_run=True))
        for _ in range(2):
            assert names(await resizer.look()) == [Apply]
        assert len(world.events("SizeChangeDryRun")) == 1
        assert (await world.resizer(RolloutPolicy(dry_run=False)).look()).actions == ()
        assert world.deployment()["spec"] == before
        assert world.note() is None
        assert world.recorded == []


@pytest.mark.prove
async def test_a_patch_is_made_anew_of_what_somebody_wrote_meanwhile(tmp_path: Path) -> None:
    async with oversized(tmp_path) as world:
        registry = world.running.server.registry
        deployments = registry.resources.named("deployments", "apps")
        seen: list[str] = []

        async def made(document: dict[str, Any]) -> list[dict[str, Any]]:
            seen.append(document["metadata"]["resourceVersion"])
            if len(seen) == 1:
                changed = world.deployment()
                changed["spec"] = {**changed["spec"], "minReadySeconds": 1}
                registry.update(deployments, "steady", "chat", changed, SYSTEM)
            version = {"op": "test", "path": "/metadata/resourceVersion", "value": seen[-1]}
            return [version, {"op": "add", "path": "/spec/paused", "value": True}]

        unasked = Unasked(world.client, world.recorded.append, "sizes")
        ref = world.live.snapshot.deployments[0].ref
        assert await unasked.rewrite("apps/v1", ref, made)
        spec = world.deployment()["spec"]
        assert (spec["minReadySeconds"], spec["paused"]) == (1, True)
        assert len(seen) > 1
        gone = replace(ref, uid="another")
        assert not await unasked.rewrite("apps/v1", gone, made)
