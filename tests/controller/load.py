"""Work that comes and goes: pods with their own claims, shared claims, gangs; and what people delete."""

import random
from typing import Any

from aliquot import manifests
from aliquot.embedded.hooks import SYSTEM, Object
from aliquot.embedded.registry import Registry
from aliquot.embedded.status import StatusError

DRIVER = "gpu.nvidia.com"
CLAIMS = "resourceclaims.resource.k8s.io"


class Load:
    """Writes to the registry as people would.

    doomed: uids of pods that need not run, because they or their claims were deleted. jobs: (namespace, name)
    of Jobs that have to complete.
    """

    def __init__(self, registry: Registry, randomness: random.Random) -> None:
        self._registry = registry
        self._random = randomness
        self._number = 0
        self._bare: dict[tuple[str, str], str] = {}
        self.doomed: set[str] = set()
        self.jobs: set[tuple[str, str]] = set()
        self.spaces = ["steady", "brittle"]

    def create(self, plural: str, namespace: str | None, obj: Object) -> Object:
        name, _, group = plural.partition(".")
        resource = self._registry.resources.named(name, group)
        return self._registry.create(resource, namespace, obj, SYSTEM)

    def install(self, nodes: int, devices: int) -> None:
        """Aliquot's manifests, nodes with GPUs, a class, namespaces with templates."""
        for obj in manifests.load():
            resource = self._registry.resources.find_kind(obj["apiVersion"], obj["kind"])
            assert resource is not None, obj["kind"]
            self._registry.create(resource, obj["metadata"].get("namespace"), obj, SYSTEM)
        for number in range(nodes):
            self._node(f"node-{number}", devices)
        self.create(
            "deviceclasses.resource.k8s.io",
            None,
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "DeviceClass",
                "metadata": {"name": "gpu"},
                "spec": {"selectors": [{"cel": {"expression": f"device.driver == '{DRIVER}'"}}]},
            },
        )
        for space in self.spaces:
            self.namespace(space)

    def _node(self, name: str, devices: int) -> None:
        amounts = {"cpu": "64", "memory": "512Gi", "pods": "200"}
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
            "status": {
                "capacity": amounts,
                "allocatable": amounts,
                "conditions": [{"type": "Ready", "status": "True"}],
            },
        }
        self.create("nodes", None, node)
        self._registry.update(
            self._registry.resources.named("nodes", ""), None, name, node, SYSTEM, subresource="status"
        )
        self.create(
            "resourceslices.resource.k8s.io",
            None,
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceSlice",
                "metadata": {"name": f"{name}-gpus"},
                "spec": {
                    "driver": DRIVER,
                    "nodeName": name,
                    "pool": {"name": name, "generation": 1, "resourceSliceCount": 1},
                    "devices": [{"name": f"gpu-{number}"} for number in range(devices)],
                },
            },
        )

    def namespace(self, name: str) -> None:
        labels = {"aliquot.dev/managed": "true"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        self.create("namespaces", None, namespace)
        for count in (1, 2):
            self.create(
                "resourceclaimtemplates.resource.k8s.io",
                name,
                {
                    "apiVersion": "resource.k8s.io/v1",
                    "kind": "ResourceClaimTemplate",
                    "metadata": {"name": f"gpus-{count}"},
                    "spec": {"spec": _claim_spec(count)},
                },
            )

    # What happens

    def step(self) -> None:
        """One random thing."""
        actions = [self.pod] * 6 + [self.pair] * 2 + [self.gang] * 2
        actions += [self.delete_claim, self.delete_pod, self.delete_pod]
        self._random.choice(actions)()

    def pod(self) -> None:
        """A pod with one or two claims of its own."""
        claims = [{"name": "a", "resourceClaimTemplateName": f"gpus-{self._random.choice((1, 1, 2))}"}]
        if self._random.random() < 0.2:
            claims.append({"name": "b", "resourceClaimTemplateName": "gpus-1"})
        self._pod(self._random.choice(self.spaces), claims)

    def pair(self) -> None:
        """Two or three pods that share a claim."""
        space = self._random.choice(self.spaces)
        name = self._name("shared")
        claim = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"name": name},
            "spec": _claim_spec(1),
        }
        self.create(CLAIMS, space, claim)
        for _ in range(self._random.choice((2, 3))):
            self._pod(space, [{"name": "a", "resourceClaimName": name}])

    def gang(self) -> None:
        """A Job whose pods start together."""
        space, name, size = (
            self._random.choice(self.spaces),
            self._name("gang"),
            self._random.choice((2, 4, 6)),
        )
        template = _pod("", [{"name": "a", "resourceClaimTemplateName": "gpus-1"}], self._duration())
        template["spec"]["restartPolicy"] = "Never"
        job = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": name},
            "spec": {
                "parallelism": size,
                "completions": size,
                "backoffLimit": 1000,
                "template": {
                    "metadata": {"annotations": template["metadata"]["annotations"]},
                    "spec": template["spec"],
                },
            },
        }
        self.create("jobs.batch", space, job)
        self.jobs.add((space, name))

    def delete_claim(self) -> None:
        """A claim goes while a pod runs with it: that is told to go, and stays until the pod has ended."""
        resource = self._registry.resources.named("resourceclaims", "resource.k8s.io")
        claims, _, _ = self._registry.list(resource)
        used = [claim for claim in claims if (claim.get("status") or {}).get("reservedFor")]
        if not used:
            return
        claim = self._random.choice(used)
        users = {user["uid"] for user in claim["status"]["reservedFor"]}
        pods, _, _ = self._registry.list(self._registry.resources.named("pods", ""))
        # Pods that wait for a claim that goes away wait for ever, unless an owner replaces them.
        self.doomed |= {
            pod["metadata"]["uid"]
            for pod in pods
            if pod["metadata"]["uid"] in users
            or any(
                one.get("resourceClaimName") == claim["metadata"]["name"]
                for one in pod["spec"].get("resourceClaims") or ()
            )
        }
        self._delete("resourceclaims", "resource.k8s.io", claim)

    def delete_pod(self) -> None:
        pods, _, _ = self._registry.list(self._registry.resources.named("pods", ""))
        if pods:
            pod = self._random.choice(pods)
            self.doomed.add(pod["metadata"]["uid"])
            self._delete("pods", "", pod)

    def delete_namespace(self) -> None:
        """The brittle namespace goes with everything in it; another takes its place."""
        gone = self.spaces.pop()
        self._registry.delete(self._registry.resources.named("namespaces", ""), None, gone, SYSTEM)
        self.jobs = {job for job in self.jobs if job[0] != gone}
        self._bare = {key: uid for key, uid in self._bare.items() if key[0] != gone}
        self.spaces.append(self._name("brittle"))
        self.namespace(self.spaces[-1])

    def unfinished(self, ran: set[str]) -> list[str]:
        """What still has to run: pods never seen running, Jobs that are not complete."""
        waiting = [
            f"pod {key}" for key, uid in self._bare.items() if uid not in ran and uid not in self.doomed
        ]
        jobs = self._registry.resources.named("jobs", "batch")
        for space, name in sorted(self.jobs):
            job = self._registry.get(jobs, space, name)
            conditions = (job.get("status") or {}).get("conditions") or ()
            if not any(one["type"] == "Complete" and one["status"] == "True" for one in conditions):
                waiting.append(f"job {space}/{name}")
        return waiting

    # Details

    def _pod(self, space: str, claims: list[Object]) -> None:
        name = self._name("pod")
        created = self.create("pods", space, _pod(name, claims, self._duration()))
        self._bare[space, name] = created["metadata"]["uid"]

    def _delete(self, plural: str, group: str, obj: Object) -> None:
        meta = obj["metadata"]
        try:
            self._registry.delete(
                self._registry.resources.named(plural, group), meta["namespace"], meta["name"], SYSTEM
            )
        except StatusError as error:
            if error.code != 404:
                raise

    def _duration(self) -> float:
        return self._random.choice((0.2, 0.5, 1.0))

    def _name(self, prefix: str) -> str:
        self._number += 1
        return f"{prefix}-{self._number}"


def _claim_spec(count: int) -> Object:
    exactly: Object = {"deviceClassName": "gpu", "count": count}
    return {"devices": {"requests": [{"name": "gpus", "exactly": exactly}]}}


def _pod(name: str, claims: list[Object], seconds: float) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "annotations": {"aliquot.dev/run-seconds": str(seconds)}},
        "spec": {
            "restartPolicy": "Never",
            "containers": [{"name": "main", "image": "none", "resources": {"requests": {"cpu": "100m"}}}],
            "resourceClaims": claims,
        },
    }
