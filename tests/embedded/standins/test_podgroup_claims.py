from typing import Any

from world import CLAIMS, CONTROLLER, World, wanting

from aliquot.embedded.hooks import Object

GROUPS = "podgroups.scheduling.k8s.io"


def group(world: World, name: str = "team", **claims: str) -> Object:
    """A PodGroup with an entry for each template."""
    return world.create(
        {
            "apiVersion": "scheduling.k8s.io/v1alpha2",
            "kind": "PodGroup",
            "metadata": {"name": name},
            "spec": {
                "schedulingPolicy": {"gang": {"minCount": 2}},
                "resourceClaims": [
                    {"name": entry, "resourceClaimTemplateName": template}
                    for entry, template in claims.items()
                ],
            },
        }
    )


def member(world: World, name: str, template: str = "one-gpu", **spec: Any) -> Object:
    return world.pod(name, schedulingGroup={"podGroupName": "team"}, resourceClaims=wanting(template), **spec)


def claims_of(world: World, *pods: str) -> set[str]:
    return {
        one["resourceClaimName"]
        for pod in pods
        for one in world.get("pods", pod)["status"]["resourceClaimStatuses"]
    }


def reserve(world: World, claim: str) -> None:
    """Allocate the claim on n1 for the group."""
    meta = world.get(GROUPS, "team")["metadata"]
    world.allocate(claim, "n1")

    def change(obj: Object) -> None:
        obj["status"]["reservedFor"] = [
            {
                "apiGroup": "scheduling.k8s.io",
                "resource": "podgroups",
                "name": meta["name"],
                "uid": meta["uid"],
            }
        ]

    world.edit(CLAIMS, claim, change, subresource="status", user=CONTROLLER)


def test_the_pods_of_a_group_get_its_one_claim(world: World) -> None:
    world.template("one-gpu")
    made = group(world, gpu="one-gpu")
    member(world, "a")
    member(world, "b")
    world.settle()
    (claim,) = world.list(CLAIMS)
    assert claims_of(world, "a", "b") == {claim["metadata"]["name"]}
    assert claim["metadata"]["name"].startswith("team-gpu-")
    assert claim["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert world.get(GROUPS, "team")["status"]["resourceClaimStatuses"] == [
        {"name": "gpu", "resourceClaimName": claim["metadata"]["name"]}
    ]


def test_an_entry_that_differs_from_the_groups_is_the_pods_own(world: World) -> None:
    world.template("one-gpu")
    world.template("other")
    group(world, gpu="one-gpu")
    member(world, "a")
    member(world, "b", "other")
    world.settle()
    assert len(claims_of(world, "a", "b")) == 2


def test_pods_run_by_the_reservation_of_their_group_and_the_claim_lasts_as_long_as_it(world: World) -> None:
    world.node("n1")
    world.template("one-gpu")
    group(world, gpu="one-gpu")
    member(world, "a")
    member(world, "b")
    world.settle()
    (claim,) = claims_of(world, "a", "b")
    reserve(world, claim)
    world.settle()
    assert (world.phase("a"), world.phase("b")) == ("Running", "Running")
    world.delete("pods", "a")
    world.delete("pods", "b")
    world.settle()
    assert world.get(CLAIMS, claim)["status"]["allocation"]
    world.delete(GROUPS, "team")
    world.settle()
    assert world.find(CLAIMS, claim) is None


def test_the_scheduler_reserves_for_the_group(world: World) -> None:
    world.node("n1")
    world.template("one-gpu")
    made = group(world, gpu="one-gpu")
    member(world, "a")
    world.settle()
    (claim,) = claims_of(world, "a")
    world.allocate(claim, "n1")
    world.settle()
    assert [one["uid"] for one in world.get(CLAIMS, claim)["status"]["reservedFor"]] == [
        made["metadata"]["uid"]
    ]
    assert world.phase("a") == "Running"
