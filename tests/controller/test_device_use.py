"""What becomes of work whose devices are tainted, made ready late, or shared by a group: the whole flow."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from tests.controller.load import CLAIMS, DRIVER, Load
from tests.controller.test_run import controller
from tests.controller.world import Cluster, cluster, until

from aliquot.embedded.hooks import SYSTEM, Object
from aliquot.scheduling.policy import Policy

SPACE = "steady"
TAINT_RULES = "devicetaintrules.resource.k8s.io"
GROUPS = "podgroups.scheduling.k8s.io"


class Looking:
    """The objects of one namespace of a cluster."""

    def __init__(self, running: Cluster) -> None:
        self.registry = running.server.registry
        self.load: Load = running.load

    def list(self, plural: str, namespace: str | None = SPACE) -> list[Object]:
        name, _, group = plural.partition(".")
        return self.registry.list(self.registry.resources.named(name, group), namespace)[0]

    def held(self) -> dict[str, tuple[str, str]]:
        """Pool and device by pod, of pods that run."""
        running = {
            pod["metadata"]["name"]
            for pod in self.list("pods")
            if (pod.get("status") or {}).get("phase") == "Running"
            and not pod["metadata"].get("deletionTimestamp")
        }
        found: dict[str, tuple[str, str]] = {}
        for claim in self.list(CLAIMS):
            status = claim.get("status") or {}
            for result in ((status.get("allocation") or {}).get("devices") or {}).get("results") or ():
                for user in status.get("reservedFor") or ():
                    if user["name"] in running:
                        found[user["name"]] = (result["pool"], result["device"])
        return found

    def job(self, name: str, pods: int) -> None:
        container = {"name": "main", "image": "work"}
        spec = {
            "containers": [container],
            "restartPolicy": "Never",
            "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "gpus-1"}],
        }
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {"parallelism": pods, "completions": pods, "template": {"spec": spec}},
        }
        self.load.create("jobs.batch", SPACE, job)

    def update(self, plural: str, obj: Object, subresource: str | None = None) -> None:
        name, _, group = plural.partition(".")
        meta = obj["metadata"]
        self.registry.update(
            self.registry.resources.named(name, group),
            meta.get("namespace"),
            meta["name"],
            obj,
            SYSTEM,
            subresource=subresource,
        )


async def test_a_job_leaves_a_device_that_gets_a_noexecute_taint(tmp_path: Path) -> None:
    async with cluster(tmp_path, random.Random(1)) as running, controller(running, tmp_path, "a"):
        look = Looking(running)
        look.job("train", 1)
        assert await until(lambda: len(look.held()) == 1, 20)
        ((pod, (pool, device)),) = look.held().items()
        look.load.create(
            TAINT_RULES,
            None,
            {
                "apiVersion": "resource.k8s.io/v1beta2",
                "kind": "DeviceTaintRule",
                "metadata": {"name": "broken"},
                "spec": {
                    "deviceSelector": {"driver": DRIVER, "pool": pool, "device": device},
                    "taint": {"key": "broken", "effect": "NoExecute"},
                },
            },
        )
        assert await until(lambda: bool(look.held()) and pod not in look.held(), 20)
        ((_, elsewhere),) = look.held().items()
        assert elsewhere != (pool, device)
        (rule,) = look.list(TAINT_RULES, None)
        assert [(one["type"], one["reason"]) for one in rule["status"]["conditions"]] == [
            ("EvictionInProgress", "Completed")
        ]
        assert running.witness.broken == []


async def test_the_pods_of_a_group_share_a_claim_that_lasts_as_long_as_the_group(tmp_path: Path) -> None:
    async with cluster(tmp_path, random.Random(1)) as running, controller(running, tmp_path, "a"):
        look = Looking(running)
        entry = {"name": "gpu", "resourceClaimTemplateName": "gpus-1"}
        look.load.create(
            GROUPS,
            SPACE,
            {
                "apiVersion": "scheduling.k8s.io/v1alpha2",
                "kind": "PodGroup",
                "metadata": {"name": "team"},
                "spec": {"schedulingPolicy": {"gang": {"minCount": 3}}, "resourceClaims": [entry]},
            },
        )
        for number in range(3):
            spec: dict[str, Any] = {
                "containers": [{"name": "main", "image": "work"}],
                "schedulingGroup": {"podGroupName": "team"},
                "resourceClaims": [entry],
            }
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"m{number}"}, "spec": spec}
            look.load.create("pods", SPACE, pod)

        def phases() -> list[str]:
            return [(pod.get("status") or {}).get("phase", "") for pod in look.list("pods")]

        assert await until(lambda: phases() == ["Running"] * 3, 20)
        (claim,) = look.list(CLAIMS)
        assert [(one["resource"], one["name"]) for one in claim["status"]["reservedFor"]] == [
            ("podgroups", "team")
        ]
        assert len({pod["spec"]["nodeName"] for pod in look.list("pods")}) == 1
        name, _, group = GROUPS.partition(".")
        look.registry.delete(
            look.registry.resources.named(name, group), SPACE, "team", SYSTEM, propagation="Background"
        )
        for number in range(3):
            look.registry.delete(
                look.registry.resources.named("pods"), SPACE, f"m{number}", SYSTEM, propagation="Background"
            )
        assert await until(lambda: look.list(CLAIMS) == [], 20)


def attachable(look: Looking) -> None:
    """GPUs of node-0 that have to be attached before a pod is bound, with a class and a claim for one."""
    look.load.create(
        "resourceslices.resource.k8s.io",
        None,
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceSlice",
            "metadata": {"name": "fabric"},
            "spec": {
                "driver": DRIVER,
                "nodeName": "node-0",
                "pool": {"name": "fabric", "generation": 1, "resourceSliceCount": 1},
                "devices": [
                    {
                        "name": f"far-{number}",
                        "attributes": {"far": {"bool": True}},
                        "bindingConditions": ["attached"],
                        "bindingFailureConditions": ["broken"],
                    }
                    for number in range(2)
                ],
            },
        },
    )
    look.load.create(
        "deviceclasses.resource.k8s.io",
        None,
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "DeviceClass",
            "metadata": {"name": "far"},
            "spec": {"selectors": [{"cel": {"expression": f'"far" in device.attributes["{DRIVER}"]'}}]},
        },
    )
    request = {"name": "gpu", "exactly": {"deviceClassName": "far"}}
    look.load.create(
        CLAIMS,
        SPACE,
        {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"name": "far"},
            "spec": {"devices": {"requests": [request]}},
        },
    )


async def test_a_pod_is_placed_anew_when_its_devices_cannot_be_attached(tmp_path: Path) -> None:
    async with cluster(tmp_path, random.Random(1)) as running, controller(running, tmp_path, "a"):
        look = Looking(running)
        attachable(look)
        spec = {
            "containers": [{"name": "main", "image": "work"}],
            "resourceClaims": [{"name": "gpu", "resourceClaimName": "far"}],
        }
        look.load.create(
            "pods", SPACE, {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec}
        )

        def claim() -> Object:
            (found,) = look.list(CLAIMS)
            return found

        def let_go() -> bool:
            (pod,) = look.list("pods")
            return bool((claim().get("status") or {}).get("reservedFor")) and not pod["spec"].get(
                "schedulingGates"
            )

        def tell(condition: str) -> None:
            """The driver says this about the device that is allocated."""
            told = claim()
            allocation = told["status"]["allocation"]
            (result,) = allocation["devices"]["results"]
            told["status"]["devices"] = [
                {
                    **{key: result[key] for key in ("driver", "pool", "device")},
                    "conditions": [
                        {
                            "type": condition,
                            "status": "True",
                            "reason": "Told",
                            "message": "",
                            "lastTransitionTime": allocation["allocationTimestamp"],
                        }
                    ],
                }
            ]
            look.update(CLAIMS, told, "status")

        assert await until(let_go, 20)
        tell("broken")
        assert await until(lambda: let_go() and not (claim().get("status") or {}).get("devices"), 20), (
            "the claim was not allocated anew"
        )
        tell("attached")
        assert await until(lambda: "p" in look.held(), 20)
        assert running.witness.broken == []


def by_count(look: Looking) -> None:
    """A class that stands for nvidia.com/gpu, and a namespace that is not managed."""
    device_class = {
        "apiVersion": "resource.k8s.io/v1",
        "kind": "DeviceClass",
        "metadata": {"name": "by-count"},
        "spec": {
            "selectors": [{"cel": {"expression": f"device.driver == '{DRIVER}'"}}],
            "extendedResourceName": "nvidia.com/gpu",
        },
    }
    look.load.create("deviceclasses.resource.k8s.io", None, device_class)
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "free"}}
    look.load.create("namespaces", None, namespace)


def extended_pod(look: Looking, namespace: str, name: str, count: int = 1) -> None:
    container = {"name": "main", "image": "work", "resources": {"limits": {"nvidia.com/gpu": str(count)}}}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
    look.load.create("pods", namespace, pod)


async def test_extended_resources_and_claims_share_the_devices_of_a_fleet(tmp_path: Path) -> None:
    policy = Policy(settle_seconds=1)
    async with (
        cluster(tmp_path, random.Random(1)) as running,
        controller(running, tmp_path, "a", policy=policy),
    ):
        look = Looking(running)
        by_count(look)
        look.job("train", 4)
        for number in range(4):
            extended_pod(look, "free", f"x{number}")
        extended_pod(look, SPACE, "pair", 2)

        def pods(*phases: str) -> int:
            return sum(
                (pod.get("status") or {}).get("phase") in phases
                for space in (SPACE, "free")
                for pod in look.list("pods", space)
            )

        assert await until(lambda: pods("Running") == 9, 40)
        held = [
            (result["pool"], result["device"])
            for space in (SPACE, "free")
            for claim in look.list(CLAIMS, space)
            for result in claim["status"]["allocation"]["devices"]["results"]
        ]
        assert len(held) == len(set(held)) == 10
        for pod in look.list("pods", "free"):
            assert pod["spec"]["nodeSelector"] == {"kubernetes.io/hostname": pod["spec"]["nodeName"]}
        assert running.witness.broken == []


@pytest.mark.prove
@pytest.mark.parametrize("seed", range(3))
async def test_no_device_is_given_twice_while_two_allocators_are_busy(tmp_path: Path, seed: int) -> None:
    randomness = random.Random(seed)
    policy = Policy(settle_seconds=1)
    async with (
        cluster(tmp_path, randomness) as running,
        controller(running, tmp_path, "a", policy=policy),
    ):
        look = Looking(running)
        by_count(look)
        ran: set[str] = set()

        def started(change: str, pod: dict[str, Any]) -> None:
            if pod["metadata"]["namespace"] == "free" and (pod.get("status") or {}).get("phase") == "Running":
                ran.add(pod["metadata"]["name"])

        look.registry.observe(look.registry.resources.named("pods"), started)
        for number in range(150):
            running.load.step()
            if number % 3 == 0:
                extended_pod(look, "free", f"x{number}", randomness.choice((1, 1, 2)))
            if number % 9 == 5:
                gone = randomness.choice(look.list("pods", "free"))["metadata"]["name"]
                look.registry.delete(
                    look.registry.resources.named("pods"), "free", gone, SYSTEM, propagation="Background"
                )
            await asyncio.sleep(0.05)
            for pod in look.list("pods", "free"):
                if (pod.get("status") or {}).get("phase") == "Running" and randomness.random() < 0.05:
                    look.registry.delete(
                        look.registry.resources.named("pods"),
                        "free",
                        pod["metadata"]["name"],
                        SYSTEM,
                        propagation="Background",
                    )
        assert running.witness.broken == []
        assert await until(lambda: bool(ran), 40), "no pod with extended resources ran"
        assert running.witness.broken == []
