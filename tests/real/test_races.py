"""Random work while the stock scheduler, people and Aliquot all act: nothing is given out twice, no pod runs
beside its claim, and what nobody took away runs in the end."""

import random
import time

import pytest
from tests.real.cluster import MADE, Cluster, Controller, gated, job, node_of, pod
from tests.real.history import History

SPACES = ("real-race-a", "real-race-b")
OTHERS = "real-race-others"
SEED = 20_261_121
STEPS = 120


class Race:
    def __init__(self, real: Cluster, randomness: random.Random) -> None:
        self.real = real
        self.random = randomness
        self.count = 0
        self.doomed: set[str] = set()
        self.bare: dict[str, str] = {}
        # What other tests left running would stand in the way for ever.
        real.clear_spaces()
        for space in SPACES:
            real.namespace(space)
            for size in (1, 2, 8):
                real.template(space, size)
        real.namespace(OTHERS, managed=False)
        real.template(OTHERS, 1)
        answer = real.apply(
            {
                "apiVersion": "scheduling.k8s.io/v1",
                "kind": "PriorityClass",
                "metadata": {"name": "real-race-high", "labels": {MADE: "true"}},
                "value": 1_000_000,
            }
        )
        assert answer.code in (200, 201)

    def name(self, kind: str) -> str:
        self.count += 1
        return f"{kind}-{self.count}"

    def seconds(self) -> str:
        return self.random.choice(("0.2", "0.5", "1.5"))

    def step(self) -> None:
        kinds = [self.single] * 5 + [self.gang] * 2 + [self.pair] * 2
        kinds += [self.filler] * 3 + [self.unmanaged, self.delete_pod, self.delete_claim, self.clear_claim]
        self.random.choice(kinds)()

    def _pod(self, space: str, claims: list, **more: object) -> None:
        name = self.name("pod")
        path = f"/api/v1/namespaces/{space}/pods"
        made = self.real.create(
            path, pod(name, space, claims, seconds=self.seconds(), restartPolicy="Never", **more)
        )
        self.bare[made["metadata"]["uid"]] = f"{path}/{name}"

    def single(self) -> None:
        size = self.random.choice((1, 1, 2, 8))
        sizes = [f"gpus-{size}"]
        if size < 8 and self.random.random() < 0.2:
            sizes.append("gpus-1")
        cpu = self.random.choice(("100m", "8", "60"))
        self._pod(self.random.choice(SPACES), sizes, cpu=cpu)

    def gang(self) -> None:
        space, name = self.random.choice(SPACES), self.name("gang")
        size = self.random.choice((2, 3, 4))
        obj = job(name, space, size, f"gpus-{self.random.choice((1, 2, 8))}", seconds=self.seconds())
        self.real.create(f"/apis/batch/v1/namespaces/{space}/jobs", obj)

    def pair(self) -> None:
        """Pods that share a claim."""
        space, name = self.random.choice(SPACES), self.name("shared")
        request = {"name": "g", "exactly": {"deviceClassName": "gpu.nvidia.com"}}
        obj = {
            "apiVersion": "resource.k8s.io/v1",
            "kind": "ResourceClaim",
            "metadata": {"name": name},
            "spec": {"devices": {"requests": [request]}},
        }
        self.real.create(f"/apis/resource.k8s.io/v1/namespaces/{space}/resourceclaims", obj)
        for _ in range(self.random.choice((2, 3))):
            self._pod(space, [(name,)])

    def filler(self) -> None:
        """A pod without claims, placed by the stock scheduler, that takes a node's CPU; some may preempt."""
        more = {"priorityClassName": "real-race-high"} if self.random.random() < 0.5 else {}
        self._pod(OTHERS, [], cpu=str(self.random.choice((30, 90))), **more)

    def unmanaged(self) -> None:
        """A claim in a namespace without gates: Aliquot allocates it nevertheless."""
        self._pod(OTHERS, ["gpus-1"])

    def delete_pod(self) -> None:
        found = [one for space in SPACES for one in self.real.items(f"/api/v1/namespaces/{space}/pods")]
        if found:
            one = self.random.choice(found)
            self.doomed.add(one["metadata"]["uid"])
            meta = one["metadata"]
            self.real.api.request("DELETE", f"/api/v1/namespaces/{meta['namespace']}/pods/{meta['name']}")

    def _claims(self) -> list[dict]:
        return [
            one
            for space in SPACES
            for one in self.real.items(f"/apis/resource.k8s.io/v1/namespaces/{space}/resourceclaims")
        ]

    def delete_claim(self) -> None:
        """One that is in use. (Kubernetes 1.36.2 does not always make a new pod's deleted claim again.)"""
        if found := [one for one in self._claims() if one.get("status", {}).get("reservedFor")]:
            one = self.random.choice(found)
            self._doom_users(one)
            meta = one["metadata"]
            self.real.api.request(
                "DELETE",
                f"/apis/resource.k8s.io/v1/namespaces/{meta['namespace']}/resourceclaims/{meta['name']}",
            )

    def clear_claim(self) -> None:
        """Somebody tries to take an allocation away or to move it: refused, whoever it is."""
        found = [one for one in self._claims() if one.get("status", {}).get("allocation")]
        if not found:
            return
        one = self.random.choice(found)
        meta = one["metadata"]
        path = f"/apis/resource.k8s.io/v1/namespaces/{meta['namespace']}/resourceclaims/{meta['name']}/status"
        for status in ({"allocation": None}, {"allocation": {"devices": {"results": []}}}):
            guard = {"resourceVersion": meta["resourceVersion"]}
            code = self.real.patch(path, {"metadata": guard, "status": status}).code
            assert code in (403, 404, 409, 422), f"an allocation could be changed by hand: {code}"

    def _doom_users(self, claim: dict) -> None:
        name, space = claim["metadata"]["name"], claim["metadata"]["namespace"]
        for one in self.real.items(f"/api/v1/namespaces/{space}/pods"):
            used = {entry.get("resourceClaimName") for entry in one["spec"].get("resourceClaims", ())}
            used |= {
                entry.get("resourceClaimName") for entry in one["status"].get("resourceClaimStatuses", ())
            }
            if name in used:
                self.doomed.add(one["metadata"]["uid"])

    def unfinished(self) -> list[str]:
        """Bare pods that nobody took anything from and that have not run; Jobs that are not complete."""
        waiting = []
        for space in (*SPACES, OTHERS):
            for one in self.real.items(f"/api/v1/namespaces/{space}/pods"):
                uid = one["metadata"]["uid"]
                done = one["status"].get("phase") in ("Succeeded", "Failed")
                if uid in self.bare and uid not in self.doomed and not done:
                    why = [
                        c.get("message")
                        for c in one["status"].get("conditions", ())
                        if c["status"] == "False"
                    ]
                    waiting.append(
                        f"{space}/{one['metadata']['name']} gated={gated(one)} {node_of(one)} {why}"
                    )
            for one in self.real.items(f"/apis/batch/v1/namespaces/{space}/jobs"):
                conditions = one.get("status", {}).get("conditions", ())
                if not any(c["type"] == "Complete" and c["status"] == "True" for c in conditions):
                    waiting.append(f"job {space}/{one['metadata']['name']}")
        return waiting


@pytest.mark.prove
def test_nothing_is_given_twice_and_no_pod_runs_beside_its_claim(
    real: Cluster, history: History, controller: Controller
) -> None:
    seed = SEED
    race = Race(real, random.Random(seed))
    for _ in range(STEPS):
        race.step()
        time.sleep(race.random.choice((0.0, 0.02, 0.2)))

    def quiet() -> bool:
        return not race.unfinished()

    try:
        real.until(quiet, "everything has run", 240)
    except pytest.fail.Exception:
        pytest.fail(f"seed {seed}: has not run: {race.unfinished()}; broken: {history.judged().broken}")
    witness = history.judged()
    assert witness.broken == [], f"seed {seed}"
    assert witness.allocations > STEPS / 4


@pytest.mark.prove
def test_a_killed_controller_is_replaced_and_nothing_is_given_twice(
    real: Cluster, history: History, controller: Controller
) -> None:
    """A second controller waits; the first is killed in the middle of its work."""
    seed = SEED + 1
    race = Race(real, random.Random(seed))
    with real.controller("second", lease_seconds=5):
        for number in range(STEPS // 2):
            if number == STEPS // 4:
                controller.kill()
            race.step()
        real.until(lambda: not race.unfinished(), "everything has run", 240)
    assert history.judged().broken == [], f"seed {seed}"
