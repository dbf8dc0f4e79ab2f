"""Kinds that own pods, which a cluster may serve, not serve, or not let the controller read."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.kube.faults import Fault, FaultyProxy

from aliquot import manifests
from aliquot.kube.client import Client, cancel_and_wait
from aliquot.kube.mirror import HELPFUL, Mirror
from aliquot.kube.resources import Resource
from aliquot.model.core import PriorityClass
from aliquot.model.kinds import API_VERSIONS
from aliquot.model.meta import KubernetesObject
from aliquot.model.owners import JobSet, RayCluster
from aliquot.model.podgroups import KaiPodGroup
from aliquot.model.snapshot import FIELDS

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", False)


def definition(group: str, version: str, plural: str, kind: str) -> dict[str, Any]:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"},
            "versions": [
                {"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
            ],
        },
    }


async def install(client: Client, *found: tuple[str, str, str, str]) -> None:
    for entry in found:
        await client.create(CRDS, definition(*entry))
    for group, version, _, kind in found:
        assert kind in await client.discover(f"{group}/{version}")


@contextlib.asynccontextmanager
async def complete(client: Client, kinds: tuple[type[KubernetesObject], ...]) -> AsyncIterator[Mirror]:
    mirror = Mirror(client, kinds=kinds)
    task = asyncio.create_task(mirror.run())
    try:
        async with asyncio.timeout(10):
            await mirror.wait_complete()
        yield mirror
    finally:
        await cancel_and_wait(task)


async def test_custom_kinds_are_mirrored_where_they_are_installed(client: Client) -> None:
    await install(
        client,
        ("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet"),
        ("scheduling.run.ai", "v2alpha2", "podgroups", "PodGroup"),
    )
    job_sets = Resource("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet", True)
    groups = Resource("scheduling.run.ai", "v2alpha2", "podgroups", "PodGroup", True)
    document = {
        "apiVersion": "jobset.x-k8s.io/v1alpha2",
        "kind": "JobSet",
        "metadata": {"name": "train", "namespace": "default"},
        "spec": {"replicatedJobs": [{"name": "workers", "replicas": 2, "template": {"spec": {}}}]},
    }
    await client.create(job_sets, document, "default")
    group = {
        "apiVersion": "scheduling.run.ai/v2alpha2",
        "kind": "PodGroup",
        "metadata": {"name": "pg", "namespace": "default"},
        "spec": {"minMember": 3, "queue": "research"},
    }
    await client.create(groups, group, "default")

    async with complete(client, tuple(FIELDS)) as mirror:
        snapshot = mirror.snapshot()

    assert [item.spec.replicated_jobs[0].replicas for item in snapshot.job_sets] == [2]
    assert [item.spec.min_member for item in snapshot.kai_pod_groups] == [3]
    assert snapshot.pod_groups == ()
    assert snapshot.ray_clusters == ()


@pytest.mark.parametrize(("kind", "needed"), [(JobSet, False), (PriorityClass, True)])
async def test_only_kinds_that_decisions_need_hold_them_up(
    client: Client, faulty: Client, proxy: FaultyProxy, kind: type[KubernetesObject], needed: bool
) -> None:
    await install(client, ("jobset.x-k8s.io", "v1alpha2", "jobsets", "JobSet"))
    forbidden = Fault(status=403, body=b'{"reason":"Forbidden","message":"not you"}')
    plural = f"/{kind.kind().lower()}{'s' if kind is JobSet else 'es'}"
    proxy.plan = lambda method, path, query: forbidden if path.endswith(plural) else None
    mirror = Mirror(faulty, kinds=(kind, RayCluster))
    task = asyncio.create_task(mirror.run())
    try:
        async with asyncio.timeout(10):
            await mirror.wait_synced()
        assert mirror.complete is not needed
        assert [problem.kind for problem in mirror.problems] == [kind.kind()]
    finally:
        await cancel_and_wait(task)


def _readable() -> set[tuple[str, str]]:
    """(API group, plural) of all that the controller's role may list and watch."""
    found = set()
    for document in manifests.load():
        if document["kind"] == "ClusterRole" and document["metadata"]["name"] == "aliquot-controller":
            for rule in document["rules"]:
                if {"list", "watch"} <= set(rule["verbs"]):
                    found |= {(group, name) for group in rule["apiGroups"] for name in rule["resources"]}
    return found


@pytest.mark.parametrize("kind", sorted(HELPFUL, key=lambda kind: kind.__name__))
def test_the_controllers_role_covers_every_kind(kind: type[KubernetesObject]) -> None:
    readable = _readable()
    for version in API_VERSIONS[kind]:
        assert (version.rpartition("/")[0], f"{kind.kind().lower()}s") in readable


def test_pod_groups_of_other_schedulers_are_kinds_of_their_own() -> None:
    assert KaiPodGroup.kind() == "PodGroup"
    assert len({FIELDS[kind] for kind in HELPFUL}) == len(HELPFUL)
