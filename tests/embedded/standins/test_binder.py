import random

import pytest
from world import CLAIMS, GATE, World, using, wanting

from aliquot.embedded.hooks import Object
from aliquot.embedded.standins.node_table import NodeTable
from aliquot.embedded.standins.pod_requests import NANO, pod_requests


def lift_gates(pod: Object) -> None:
    pod["spec"]["schedulingGates"] = []


def test_a_gated_pod_is_not_bound_and_says_so(world: World) -> None:
    world.node("n1")
    world.pod("p", schedulingGates=GATE)
    world.settle()
    assert world.place_of("p") is None
    assert world.scheduled("p") == (
        "False",
        "SchedulingGated",
        "Scheduling is blocked due to non-empty scheduling gates",
    )
    world.edit("pods", "p", lift_gates)
    world.settle()
    assert world.place_of("p") == "n1"


def test_a_pod_without_claims_is_bound_and_runs(world: World) -> None:
    world.node("n1")
    world.pod("p")
    world.settle()
    assert (world.place_of("p"), world.phase("p")) == ("n1", "Running")
    assert world.scheduled("p")[0] == "True"


def test_devices_are_never_allocated_by_the_binder(world: World) -> None:
    world.node("n1")
    world.template("one-gpu")
    world.pod("p", resourceClaims=wanting("one-gpu"))
    world.settle()
    assert world.place_of("p") is None
    assert world.scheduled("p") == (
        "False",
        "Unschedulable",
        "0/1 nodes are available: 1 cannot allocate all claims.",
    )
    assert all(not (claim.get("status") or {}).get("allocation") for claim in world.list(CLAIMS))


def test_a_pod_goes_to_the_node_that_its_allocation_names(world: World) -> None:
    for name in ("n1", "n2", "n3"):
        world.node(name)
    world.claim("c")
    world.pod("p", schedulingGates=GATE, resourceClaims=using("c"))
    world.allocate("c", "n2", "p")
    world.settle()
    assert world.place_of("p") is None
    world.edit("pods", "p", lift_gates)
    world.settle()
    assert (world.place_of("p"), world.phase("p")) == ("n2", "Running")


def test_an_allocation_without_node_selector_may_be_used_anywhere(world: World) -> None:
    world.node("n1")
    world.claim("c")
    world.pod("p", resourceClaims=using("c"))
    world.allocate("c", "", "p")
    world.settle()
    assert world.place_of("p") == "n1"


def test_a_pod_without_reservation_is_reserved_by_the_scheduler(world: World) -> None:
    world.node("n1")
    world.claim("shared")
    world.pod("first", resourceClaims=using("shared"))
    world.allocate("shared", "n1", "first")
    world.pod("second", resourceClaims=using("shared"))
    world.settle()
    assert sorted(one["name"] for one in world.get(CLAIMS, "shared")["status"]["reservedFor"]) == [
        "first",
        "second",
    ]
    assert world.phase("second") == "Running"


def test_claims_on_different_nodes_keep_the_pod_waiting(world: World) -> None:
    for name in ("n1", "n2"):
        world.node(name)
    for claim in ("a", "b"):
        world.claim(claim)
    claims = [{"name": claim, "resourceClaimName": claim} for claim in ("a", "b")]
    world.pod("p", resourceClaims=claims)
    world.allocate("a", "n1", "p")
    world.allocate("b", "n2", "p")
    world.settle()
    assert world.scheduled("p")[2] == "0/2 nodes are available: 2 cannot allocate all claims."


def test_a_pod_waits_for_cpu_with_its_allocation_kept_and_binds_when_there_is_room(world: World) -> None:
    world.node("n1", cpu="4")
    world.node("n2", cpu="4")
    world.pod("filler", cpu="4", nodeSelector={"kubernetes.io/hostname": "n1"})
    world.claim("c")
    world.pod("p", resourceClaims=using("c"))
    world.allocate("c", "n1", "p")
    world.settle()
    assert world.scheduled("p")[1:] == (
        "Unschedulable",
        "0/2 nodes are available: 1 Insufficient cpu, 1 cannot allocate all claims.",
    )
    assert world.get(CLAIMS, "c")["status"]["allocation"]
    world.delete("pods", "filler")
    world.settle()
    assert world.place_of("p") == "n1"


@pytest.mark.parametrize(
    ("node", "pod", "message"),
    [
        (
            {"labels": {"zone": "a"}},
            {"nodeSelector": {"zone": "b"}},
            "didn't match Pod's node affinity/selector",
        ),
        ({"taints": [{"key": "gpu", "effect": "NoSchedule"}]}, {}, "1 node(s) had untolerated taint(s)"),
        ({"unschedulable": True}, {}, "1 node(s) were unschedulable"),
        ({"pods": "0"}, {}, "1 Too many pods"),
        ({"cpu": "500m"}, {}, "1 Insufficient cpu"),
    ],
)
def test_a_node_that_does_not_fit_is_told_with_the_reason(
    world: World, node: dict[str, object], pod: dict[str, object], message: str
) -> None:
    world.node("n1", **node)  # type: ignore[arg-type]
    world.pod("p", **pod)  # type: ignore[arg-type]
    world.settle()
    assert message in world.scheduled("p")[2]
    world.node("n2", labels={"zone": "b"})
    world.settle()
    assert world.place_of("p") == "n2"


def test_tolerations_and_required_affinity_admit(world: World) -> None:
    world.node("n1", taints=[{"key": "gpu", "value": "yes", "effect": "NoSchedule"}], labels={"gen": "5"})
    expression = {"key": "gen", "operator": "Gt", "values": ["4"]}
    required = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    world.pod(
        "p",
        tolerations=[{"key": "gpu", "operator": "Equal", "value": "yes", "effect": "NoSchedule"}],
        affinity={"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": required}},
    )
    world.settle()
    assert world.place_of("p") == "n1"


def test_pods_of_other_schedulers_are_left_alone(world: World) -> None:
    world.node("n1")
    world.pod("p", schedulerName="volcano")
    world.settle()
    assert world.place_of("p") is None
    assert world.scheduled("p") == ("", "", "")


def test_a_claim_with_256_reservations_takes_no_more(world: World) -> None:
    world.node("n1", cpu="1000", pods="1000")
    world.claim("busy")
    for number in range(257):
        world.pod(f"p{number}", schedulingGates=GATE, resourceClaims=using("busy"))
    world.allocate("busy", "n1", *[f"p{number}" for number in range(256)])
    world.edit("pods", "p256", lift_gates)
    world.settle()
    assert world.place_of("p256") is None
    assert world.scheduled("p256")[2] == '0/1 nodes are available: resourceclaim "busy" is in use.'


@pytest.mark.parametrize("seed", range(12))
def test_no_node_is_ever_overcommitted_and_no_pod_that_fits_waits(world: World, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(5):
        world.node(f"n{number}", cpu=str(chance.randint(1, 8)), pods=str(chance.randint(1, 6)))
    alive: list[str] = []
    for step in range(60):
        if alive and chance.random() < 0.4:
            world.delete("pods", alive.pop(chance.randrange(len(alive))))
        else:
            name = f"p{step}"
            world.pod(name, cpu=f"{chance.randint(1, 30) * 100}m", terminationGracePeriodSeconds=0)
            alive.append(name)
        if chance.random() < 0.5:
            world.settle()
            free: dict[str, dict[str, int]] = {}
            for node in world.list("nodes"):
                allocatable = node["status"]["allocatable"]
                free[node["metadata"]["name"]] = {
                    "cpu": int(allocatable["cpu"]) * NANO,
                    "pods": int(allocatable["pods"]) * NANO,
                }
            waiting = []
            for pod in world.list("pods"):
                requests = pod_requests(pod)
                if place := pod["spec"].get("nodeName"):
                    for resource in ("cpu", "pods"):
                        free[place][resource] -= requests[resource]
                else:
                    waiting.append(requests)
            assert all(amount >= 0 for node in free.values() for amount in node.values())
            for requests in waiting:
                assert not any(
                    all(node[resource] >= requests[resource] for resource in ("cpu", "pods"))
                    for node in free.values()
                )


@pytest.mark.parametrize(
    ("spec", "cpu"),
    [
        (
            {
                "containers": [
                    {"resources": {"requests": {"cpu": "1"}}},
                    {"resources": {"limits": {"cpu": "2"}}},
                ]
            },
            3000,
        ),
        (
            {
                "containers": [{"resources": {"requests": {"cpu": "1"}}}],
                "initContainers": [{"resources": {"requests": {"cpu": "5"}}}],
            },
            5000,
        ),
        (
            {
                "containers": [{"resources": {"requests": {"cpu": "1"}}}],
                "initContainers": [
                    {"restartPolicy": "Always", "resources": {"requests": {"cpu": "500m"}}},
                    {"resources": {"requests": {"cpu": "1"}}},
                ],
                "overhead": {"cpu": "250m"},
            },
            1750,
        ),
        ({"containers": [{}], "resources": {"requests": {"cpu": "7"}}}, 7000),
    ],
)
def test_requests_of_a_pod_count_init_containers_sidecars_and_overhead(spec: Object, cpu: int) -> None:
    assert pod_requests({"spec": spec})["cpu"] == cpu * NANO // 1000


def test_a_node_table_follows_a_pod_that_is_resized_where_it_runs() -> None:
    def pod(cpu: str, phase: str = "Running") -> Object:
        container = {"resources": {"requests": {"cpu": cpu}}}
        return {"spec": {"nodeName": "n1", "containers": [container]}, "status": {"phase": phase}}

    table = NodeTable()
    table.set_node("n1", {"metadata": {"name": "n1"}, "status": {"allocatable": {"cpu": "4", "pods": "9"}}})
    entry = table.entry("n1")
    assert entry is not None
    table.account(None, pod("1"))
    table.account(pod("1"), pod("3"))
    assert entry.used["cpu"] == 3 * NANO
    assert table.account(pod("3"), pod("3", "Succeeded")) == "n1"
    assert entry.used["cpu"] == 0
