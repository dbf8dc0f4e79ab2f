"""Idle work on a server: told, suspended, brought back; what is left alone, and what a restart remembers."""

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from tests.controller.test_run import controller
from tests.controller.used import Used
from tests.controller.world import cluster, until

from aliquot.audit.record import Outcome
from aliquot.controller.culling import Culler
from aliquot.controller.unasked import Unasked
from aliquot.embedded.hooks import SYSTEM
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.config import load_kubeconfig
from aliquot.model.meta import ObjectRef
from aliquot.scheduling.policy import Policy
from aliquot.sizing.culling import Culling, CullingPolicy, IdleRule, IdleStep
from aliquot.sizing.idle_acts import MARK, RESUME, Step
from aliquot.sizing.kinds import Kind
from aliquot.store.usage import UsageHistory
from aliquot.usage.metrics import Metric
from aliquot.usage.series import Owner, Series, Subject

HOUR = 3_600_000
MINUTE = 60_000
RULE = IdleRule(
    steps=(
        IdleStep(step=Step.NOTIFY, after_seconds=3600),
        IdleStep(step=Step.SUSPEND, after_seconds=2 * 3600),
    ),
    grace_seconds=0,
    dry_run=False,
)
POLICY = CullingPolicy(rules=(RULE,))


class Idle(Used):
    """A cluster with a controller, in which workloads do nothing with what they hold."""

    def culler(self, policy: CullingPolicy = POLICY) -> Culler:
        """A new one, as after a restart: it knows nothing but what the cluster says."""
        unasked = Unasked(self.client, self.recorded.append, "idle")
        return Culler(unasked, self.live, self.history, policy, Policy())

    def workload(self, plural: str, kind: str, api_version: str, name: str, **spec: Any) -> None:
        labels = {"app": name}
        container = {"name": "main", "image": "none", "resources": {"claims": [{"name": "a"}]}}
        pod: dict[str, Any] = {
            "containers": [container],
            "resourceClaims": [{"name": "a", "resourceClaimTemplateName": "gpus-1"}],
        }
        if kind == "Job":
            pod["restartPolicy"] = "Never"
            template = {"metadata": {"annotations": {"aliquot.dev/run-seconds": "3600"}}, "spec": pod}
            made = {"template": template, **spec}
        else:
            made = {
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": pod},
                **spec,
            }
        document = {"apiVersion": api_version, "kind": kind, "metadata": {"name": name}, "spec": made}
        self.running.load.create(plural, "steady", document)

    def annotate(self, plural: str, name: str, text: dict[str, str]) -> None:
        registry = self.running.server.registry
        resource = registry.resources.named(*plural.partition(".")[::2])
        found = self.stored(plural, name)
        metadata = found["metadata"]
        found["metadata"] = {**metadata, "annotations": {**metadata.get("annotations", {}), **text}}
        registry.update(resource, "steady", name, found, SYSTEM)

    def pods(self, name: str) -> list[ObjectRef]:
        return [pod.ref for pod in self.running_pods(f"{name}-")]

    def quiet(self, name: str, hours: float, percent: float = 0.0) -> None:
        """Its devices did so much until now."""
        now = round(self.client.clock.now().timestamp() * 1000)
        start = now - round(hours * HOUR)
        for pod in self.pods(name):
            rows = [(at, MINUTE, round(percent * 10_000)) for at in range(start, now, MINUTE)]
            owner = Owner(pod=ObjectRef(kind="Pod", namespace=pod.namespace, name=pod.name))
            series = Series.of(Metric.SM_BUSY, Subject(device=pod.name), rows, owner)
            self.history.write([series], now)


@contextlib.asynccontextmanager
async def idle(directory: Path) -> AsyncIterator[Idle]:
    async with (
        cluster(directory, random.Random(1)) as running,
        controller(running, directory, "a") as live,
        Client(load_kubeconfig([running.server.controller_kubeconfig])) as client,
    ):
        with UsageHistory.open(directory / "usage.db") as history:
            yield Idle(running, live, client, history)


def steps(found: Culling) -> list[tuple[str, Step]]:
    return [(item.workload.name, item.step) for item in found.culls]


DEPLOYMENT = ("deployments.apps", "Deployment", "apps/v1")
STATEFUL_SET = ("statefulsets.apps", "StatefulSet", "apps/v1")
JOB = ("jobs.batch", "Job", "batch/v1")


async def test_idle_work_is_warned_then_scaled_to_nothing_and_comes_back_when_asked_for(
    tmp_path: Path,
) -> None:
    async with idle(tmp_path) as world:
        world.workload(*DEPLOYMENT, "chat", replicas=2)
        assert await until(lambda: len(world.pods("chat")) == 2, 30)
        world.quiet("chat", 3)
        leading = asyncio.create_task(world.culler().run())
        assert await until(lambda: bool(world.recorded), 30)
        await cancel_and_wait(leading)
        assert world.stored("deployments.apps", "chat")["spec"]["replicas"] == 2
        (warning,) = world.events("Idle")
        assert warning["type"] == "Warning"
        assert warning["regarding"]["kind"] == "Deployment"
        assert "the step suspend follows" in warning["note"]
        assert "aliquot.dev/idle-exempt=true" in warning["note"]
        # Another leader goes on from what is noted on the workload, once it has seen it.
        assert await until(lambda: MARK in world.live.snapshot.deployments[0].metadata.annotations, 10)
        assert steps(await world.culler().look()) == [("chat", Step.SUSPEND)]
        stored = world.stored("deployments.apps", "chat")
        assert stored["spec"]["replicas"] == 0
        assert stored["metadata"]["annotations"]["aliquot.dev/idle-replicas"] == "2"
        assert "kubectl annotate -n steady deployment/chat" in world.events("IdleSuspended")[0]["note"]
        assert await until(lambda: not world.live.snapshot.resource_claims, 30)
        assert (await world.culler().look()).culls == ()
        world.annotate("deployments.apps", "chat", {RESUME: "true"})
        seen = world.live
        assert await until(lambda: RESUME in seen.snapshot.deployments[0].metadata.annotations, 10)
        await world.culler().look()
        stored = world.stored("deployments.apps", "chat")
        assert stored["spec"]["replicas"] == 2
        assert not {name for name in stored["metadata"]["annotations"] if "aliquot.dev" in name}
        assert await until(lambda: len(world.pods("chat")) == 2, 30)
        assert [(event.action, event.outcome) for event in world.recorded] == [
            ("idle-notify", Outcome.DONE),
            ("idle-suspend", Outcome.DONE),
            ("idle-resume", Outcome.DONE),
        ]


async def test_jobs_are_suspended_and_stateful_sets_evicted_and_made_anew(tmp_path: Path) -> None:
    reclaim = replace(RULE, kinds=(Kind.UNKNOWN,), steps=(IdleStep(step=Step.RECLAIM, after_seconds=3600),))
    policy = CullingPolicy(rules=(reclaim, RULE))
    async with idle(tmp_path) as world:
        world.workload(*JOB, "train", parallelism=1, completions=1)
        world.workload(*STATEFUL_SET, "book", replicas=1, serviceName="book")
        assert await until(lambda: bool(world.pods("train") and world.pods("book")), 30)
        for name in ("train", "book"):
            world.quiet(name, 3)
        await world.culler(policy).look()
        assert await until(lambda: MARK in world.live.snapshot.jobs[0].metadata.annotations, 10)
        assert await until(lambda: MARK in world.live.snapshot.stateful_sets[0].metadata.annotations, 10)
        (before,) = world.pods("book")
        found = await world.culler(policy).look()
        assert sorted(steps(found)) == [("book", Step.RECLAIM), ("train", Step.SUSPEND)]
        assert await until(lambda: [pod.uid for pod in world.pods("book")] not in ([], [before.uid]), 30)
        assert world.stored("jobs.batch", "train")["spec"]["suspend"] is True
        world.annotate("jobs.batch", "train", {RESUME: "true"})
        assert await until(lambda: RESUME in world.live.snapshot.jobs[0].metadata.annotations, 10)
        await world.culler(policy).look()
        assert world.stored("jobs.batch", "train")["spec"]["suspend"] is False


async def test_a_dry_run_tells_once_and_changes_nothing(tmp_path: Path) -> None:
    tried = CullingPolicy(rules=(replace(RULE, dry_run=True),))
    async with idle(tmp_path) as world:
        world.workload(*DEPLOYMENT, "chat", replicas=1)
        assert await until(lambda: len(world.pods("chat")) == 1, 30)
        world.quiet("chat", 3)
        before = world.stored("deployments.apps", "chat")
        culler = world.culler(tried)
        assert steps(await culler.look()) == [("chat", Step.NOTIFY)]
        assert steps(await culler.look()) == [("chat", Step.SUSPEND)]
        assert steps(await culler.look()) == []
        after = world.stored("deployments.apps", "chat")
        assert (after["spec"], after["metadata"]) == (before["spec"], before["metadata"])
        assert len(world.events("IdleSuspendedDryRun")) == 1
        assert world.recorded == []


@pytest.mark.parametrize(
    "why",
    ["bare", *(pytest.param(why, marks=pytest.mark.prove) for why in ("busy", "exempt", "unmeasured"))],
)
async def test_what_may_not_be_touched_is_left_alone(tmp_path: Path, why: str) -> None:
    rule = replace(RULE, steps=(*RULE.steps, IdleStep(step=Step.RECLAIM, after_seconds=3600)))
    policy = CullingPolicy(rules=(rule,))
    async with idle(tmp_path) as world:
        if why == "bare":
            world.running.load.create(
                "pods",
                "steady",
                {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": {"name": "chat-0", "annotations": {"aliquot.dev/run-seconds": "3600"}},
                    "spec": {
                        "containers": [{"name": "main", "image": "none"}],
                        "resourceClaims": [{"name": "a", "resourceClaimTemplateName": "gpus-1"}],
                    },
                },
            )
        else:
            world.workload(*DEPLOYMENT, "chat", replicas=1)
        assert await until(lambda: len(world.pods("chat")) == 1, 30)
        (before,) = world.pods("chat")
        if why == "exempt":
            world.annotate("deployments.apps", "chat", {"aliquot.dev/idle-exempt": "true"})
            objects = world.live
            name = "aliquot.dev/idle-exempt"
            assert await until(lambda: name in objects.snapshot.deployments[0].metadata.annotations, 10)
        if why != "unmeasured":
            world.quiet("chat", 3, percent=30 if why == "busy" else 0)
        seen = [await world.culler(policy).look()]
        if why == "bare":
            assert steps(seen[0]) == [("chat-0", Step.NOTIFY)]
            assert await until(lambda: MARK in world.live.snapshot.pods[0].metadata.annotations, 10)
            again = await world.culler(policy).look()
            assert [item.why for item in again.spared] == ["it cannot suspend (Pod)"]
        else:
            assert seen[0].culls == ()
        assert world.pods("chat") == [before]


@pytest.mark.prove
async def test_what_the_server_refuses_is_told_and_tried_again(tmp_path: Path) -> None:
    async with idle(tmp_path) as world:
        world.workload(*DEPLOYMENT, "chat", replicas=1)
        world.running.load.create(
            "poddisruptionbudgets.policy",
            "steady",
            {
                "apiVersion": "policy/v1",
                "kind": "PodDisruptionBudget",
                "metadata": {"name": "chat"},
                "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "chat"}}},
            },
        )
        assert await until(lambda: len(world.pods("chat")) == 1, 30)
        (before,) = world.pods("chat")
        world.quiet("chat", 3)
        rule = replace(RULE, steps=(IdleStep(step=Step.RECLAIM, after_seconds=3600),))
        policy = CullingPolicy(rules=(rule,))
        await world.culler(policy).look()
        assert await until(lambda: MARK in world.live.snapshot.deployments[0].metadata.annotations, 10)
        for _ in range(2):
            found = await world.culler(policy).look()
            assert steps(found) == [("chat", Step.RECLAIM)]
        assert world.pods("chat") == [before]
        assert "IdleStepFailed" in {event["reason"] for event in world.events("IdleStepFailed")}
        assert [event.outcome for event in world.recorded[1:]] == [Outcome.FAILED, Outcome.FAILED]
