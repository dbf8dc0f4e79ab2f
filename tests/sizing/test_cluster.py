"""Recommendations for a cluster: what is in force, what would come of a change, which layouts it takes."""

from fractions import Fraction

import pytest
from msgspec.structs import replace
from tests.sizing.clusters import FLEET, NOW, cluster, used
from tests.sizing.histories import MINUTE, START

from aliquot.model.core import Pod
from aliquot.model.meta import OwnerReference
from aliquot.model.snapshot import Snapshot
from aliquot.sizing.choosing import Advice, Recommendation, recommend
from aliquot.sizing.cluster import Fleet, accelerator_of, fleet_of, fleet_report, profiles_of
from aliquot.sizing.demand import repartition_of
from aliquot.sizing.effect import effect
from aliquot.sizing.judging import Loss
from aliquot.sizing.kinds import Kind, Shape, kind_of
from aliquot.sizing.parts import Mode
from aliquot.sizing.policy import SizingPolicy
from aliquot.usage.metrics import Metric
from aliquot.usage.series import Series, Subject


def advised(
    snapshot: Snapshot, gib: float, percent: float, policy: SizingPolicy
) -> tuple[Fleet, list[Recommendation]]:
    report = fleet_report(snapshot)
    fleet = fleet_of(report, modes=frozenset(policy.modes))
    profiles = profiles_of(snapshot, fleet, report, used(snapshot, gib, percent), policy)
    return fleet, [recommend(item, fleet.offers, policy) for item in profiles]


MIG_ONLY = SizingPolicy(modes=(Mode.EXCLUSIVE, Mode.MIG))


def test_the_mode_in_force_and_the_part_held_are_those_of_the_node() -> None:
    snapshot = cluster(3)
    fleet, found = advised(snapshot, 8.0, 5.0, MIG_ONLY)
    assert [(offer.accelerator.id, offer.devices) for offer in fleet.offers] == [("H100-SXM5-80GB", 8)]
    assert {force.mode for force in fleet.in_force.values()} == {"exclusive"}
    assert [item.advice for item in found] == [Advice.CHANGE] * 3
    assert {item.part.name for item in found if item.part is not None} == {"1g.10gb"}
    assert {item.saving for item in found} == {Fraction(7, 8)}


def test_shares_are_offered_only_where_a_device_is_shared_so_already() -> None:
    offers = fleet_of(fleet_report(cluster(1))).offers
    assert [offer.modes for offer in offers] == [frozenset({Mode.EXCLUSIVE, Mode.MIG, Mode.AMD_PARTITION})]
    shared = FLEET.replace("mig: {dynamic: true}", "shares: memory")
    assert Mode.CONSUMABLE in (fleet_of(fleet_report(cluster(1, shared))).offers[0].modes or ())


def test_the_simulator_places_everybody_on_the_parts_and_shows_what_becomes_free() -> None:
    snapshot = cluster(6)
    _, found = advised(snapshot, 8.0, 5.0, MIG_ONLY)
    seen = effect(snapshot, found, NOW)
    assert seen.works
    assert (seen.changed, seen.idle_before) == (6, 2)
    assert seen.allocated_before == 6
    # The device table counts an instance by its memory slices: six of eight.
    assert seen.allocated == Fraction(6, 8)
    assert seen.idle == 7


def test_a_server_that_allocates_beforehand_is_told_that_its_cache_is_too_large() -> None:
    snapshot = cluster(1)
    report = fleet_report(snapshot)
    fleet = fleet_of(report)
    held = used(snapshot, 70.0, 20.0)
    rows = [(START + at * MINUTE, MINUTE, 90_000) for at in range(1, 100)]
    cache = Series.of(Metric.KV_CACHE_USED, Subject(), rows, held[0].owner)
    profile = profiles_of(snapshot, fleet, report, held, SizingPolicy(), [cache])[0]
    assert (profile.kind, profile.cache) == (Kind.INFERENCE, 90_000)
    found = recommend(profile, fleet.offers, SizingPolicy())
    assert "used 9 % of its KV cache at most" in found.caveat


def test_two_of_half_a_device_each_share_one() -> None:
    snapshot = cluster(8)
    _, found = advised(snapshot, 30.0, 20.0, MIG_ONLY)
    assert {item.part.name for item in found if item.part is not None} == {"3g.40gb"}
    assert effect(snapshot, found, NOW).idle == 4


def test_a_change_that_leaves_somebody_without_a_place_is_told() -> None:
    """Without MIG on the node there are no instances to be had: that needs a repartition first."""
    snapshot = cluster(2, FLEET.replace(", mig: {dynamic: true}", ""))
    _, found = advised(snapshot, 8.0, 5.0, MIG_ONLY)
    seen = effect(snapshot, found, NOW)
    assert not seen.works
    assert {item.name for item in seen.stuck} == {"chat-0", "chat-1"}
    assert all(item.reason for item in seen.stuck)


def test_a_share_that_a_claim_cannot_ask_for_is_not_recommended_and_it_says_why() -> None:
    snapshot = cluster(1)
    _, found = advised(snapshot, 8.0, 5.0, SizingPolicy(modes=(Mode.EXCLUSIVE, Mode.MPS)))
    seen = effect(snapshot, found, NOW)
    assert seen.changed == 0
    (kept,) = found
    assert kept.advice is Advice.KEEP
    (lost,) = (item for item in kept.alternatives if item.part.mode is Mode.MPS)
    assert lost.loss is Loss.UNASKABLE
    assert "a claim of its own cannot ask for mps 1/2" in lost.fact


def test_the_layouts_for_the_demand_are_solved_on_the_cluster_s_gpus() -> None:
    snapshot = cluster(8)
    fleet, found = advised(snapshot, 16.0, 5.0, MIG_ONLY)
    assert {item.part.name for item in found if item.part is not None} == {"1g.20gb"}
    plan = repartition_of(fleet_report(snapshot), fleet, found)
    assert plan.served
    assert plan.proven
    assert plan.used == 2
    assert sum(len(change.create) for change in plan.changes) == 8


def test_replicas_of_one_owner_are_one_workload() -> None:
    snapshot = cluster(2)
    _, found = advised(snapshot, 8.0, 5.0, MIG_ONLY)
    assert [item.profile.workload.name for item in found] == ["chat-0", "chat-1"]


@pytest.mark.parametrize(
    ("product", "model"),
    [
        ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"),
        ("NVIDIA-A100-SXM4-80GB-SHARED", "A100-SXM4-80GB"),
        ("NVIDIA-H100-80GB-HBM3-MIG-1g.10gb", "H100-SXM5-80GB"),
        ("Instinct_MI300X", "MI300X"),
        ("GeForce 256", None),
    ],
)
def test_models_are_known_by_what_drivers_and_labels_call_them(product: str, model: str | None) -> None:
    found = accelerator_of(product)
    assert (found.id if found is not None else None) == model


@pytest.mark.parametrize(
    ("owners", "said", "serves", "shape", "kind"),
    [
        (("PyTorchJob",), {}, False, None, Kind.TRAINING),
        (("PyTorchJob",), {"aliquot.dev/workload-kind": "inference"}, False, None, Kind.INFERENCE),
        (("StatefulSet",), {"notebook-name": "x"}, False, None, Kind.NOTEBOOK),
        ((), {"component": "singleuser-server"}, False, None, Kind.NOTEBOOK),
        (("TrainJob", "JobSet", "Job"), {}, False, None, Kind.TRAINING),
        (("Job",), {}, False, None, Kind.BATCH),
        (("StatefulSet",), {}, True, None, Kind.INFERENCE),
        ((), {}, False, Shape(0.95, 0.99, 0.1), Kind.TRAINING),
        ((), {}, False, Shape(0.0, 0.3, 4.0), Kind.INFERENCE),
        ((), {}, False, Shape(0.2, 0.3, 0.4), Kind.UNKNOWN),
        ((), {"aliquot.dev/workload-kind": "nonsense"}, False, None, Kind.UNKNOWN),
    ],
)
def test_the_kind_of_work_has_a_rule(
    owners: tuple[str, ...], said: dict[str, str], serves: bool, shape: Shape | None, kind: Kind
) -> None:
    found, rule = kind_of(owners, said, serves=serves, shape=shape)
    assert found is kind
    assert rule


def test_the_use_of_pods_that_are_gone_is_the_history_of_what_made_them() -> None:
    """As after a roll-out: the pods are others, and the Deployment is the same."""
    owner = {"apiVersion": "apps/v1", "controller": True}
    made = {"name": "chat", "namespace": "team", "uid": "d"}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": made}
    replicas = {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "name": "chat-6f7d9c5b8",
            "namespace": "team",
            "uid": "r",
            "ownerReferences": [owner | {"kind": "Deployment", "name": "chat", "uid": "d"}],
        },
    }
    snapshot = cluster(1, FLEET, deployment, replicas)
    (pod,) = snapshot.pods
    reference = OwnerReference(
        api_version="apps/v1", kind="ReplicaSet", name="chat-6f7d9c5b8", uid="r", controller=True
    )
    owned = replace(pod, metadata=replace(pod.metadata, owner_references=(reference,)))
    snapshot = replace(snapshot, pods=(owned,))
    names = ["chat-5d4c7b9f6-x2x9q", "chatter-5d4c7b9f6-x2x9q"]
    gone = [
        series for name in names for series in used(replace(snapshot, pods=(renamed(owned, name),)), 8.0, 5.0)
    ]
    report = fleet_report(snapshot)
    found = profiles_of(snapshot, fleet_of(report), report, gone, MIG_ONLY)
    assert [(item.workload.kind, item.workload.name) for item in found] == [
        ("Deployment", "chat"),
        ("Pod", "chatter-5d4c7b9f6-x2x9q"),
    ]
    had = found[0].had
    assert had is not None
    assert had.exclusive


def renamed(pod: Pod, name: str) -> Pod:
    return replace(pod, metadata=replace(pod.metadata, name=name))
