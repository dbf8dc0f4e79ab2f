"""The Topology resource: what its definition lets through, and where a snapshot keeps topologies."""

import itertools
import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from aliquot import manifests
from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.registry import Registry
from aliquot.embedded.status import StatusError
from aliquot.embedded.storage import Store
from aliquot.model.index import SnapshotIndex
from aliquot.model.kinds import decode, encode
from aliquot.model.snapshot import Snapshot
from aliquot.model.topology import KaiTopology, KueueTopology, Topology, TopologyLevel

HOSTNAME = "kubernetes.io/hostname"
NUMA = "resource.kubernetes.io/numaNode"
CLIQUE = "gpu.nvidia.com/cliqueID"


@pytest.fixture(scope="module")
def registry() -> Registry:
    numbers = itertools.count(1)
    found = Registry(
        Store(), lambda: datetime(2026, 1, 1, tzinfo=UTC), lambda: str(uuid.UUID(int=next(numbers)))
    )
    (definition,) = [one for one in manifests.load() if one["metadata"]["name"] == "topologies.aliquot.dev"]
    resource = found.resources.find_kind(definition["apiVersion"], definition["kind"])
    assert resource is not None
    found.create(resource, None, definition, SYSTEM, field_validation="Strict")
    return found


def document(*levels: Any, version: str = "aliquot.dev/v1alpha1", name: str = "t") -> dict[str, Any]:
    return {
        "apiVersion": version,
        "kind": "Topology",
        "metadata": {"name": name},
        "spec": {"levels": list(levels)},
    }


def create(registry: Registry, *levels: Any) -> dict[str, Any]:
    resource = registry.resources.find_kind("aliquot.dev/v1alpha1", "Topology")
    assert resource is not None
    return registry.create(resource, None, document(*levels), SYSTEM, dry_run=True, field_validation="Strict")


@pytest.mark.parametrize(
    "levels",
    [
        [{"nodeLabel": "rack"}],
        [{"name": "block", "nodeLabel": "cloud.example.com/block"}, {"name": "rack", "nodeLabel": "a/B_c.d"}],
        [{"nodeLabel": "rack"}, {"nodeLabel": HOSTNAME}],
        [{"nodeLabel": "rack"}, {"name": "nvlink", "deviceAttribute": CLIQUE, "spansNodes": True}],
        [{"nodeLabel": "rack"}, {"nodeLabel": HOSTNAME}, {"deviceAttribute": NUMA}],
        [{"deviceAttribute": NUMA}],
    ],
)
def test_levels_of_labels_and_attributes_are_taken(registry: Registry, levels: list[Any]) -> None:
    made = decode(create(registry, *levels))

    assert isinstance(made, Topology)
    assert len(made.spec.levels) == len(levels)


@pytest.mark.parametrize(
    ("levels", "says"),
    [
        ([], "should have at least 1 items"),
        ([{"nodeLabel": f"l{number}"} for number in range(17)], "at most 16"),
        ([{"name": "rack"}], "either a nodeLabel or a deviceAttribute"),
        ([{"nodeLabel": "rack", "deviceAttribute": NUMA}], "either a nodeLabel or a deviceAttribute"),
        ([{"nodeLabel": "rack", "spansNodes": True}], "spansNodes goes with a deviceAttribute"),
        ([{"nodeLabel": "a b"}], "spec.levels[0].nodeLabel"),
        ([{"nodeLabel": ""}], "spec.levels[0].nodeLabel"),
        ([{"deviceAttribute": "numaNode"}], "spec.levels[0].deviceAttribute"),
        ([{"name": "no spaces", "nodeLabel": "rack"}], "spec.levels[0].name"),
        ([{"nodeLabel": "rack"}, {"nodeLabel": "rack"}], "one level only"),
        ([{"deviceAttribute": NUMA}, {"deviceAttribute": NUMA, "spansNodes": True}], "one level only"),
        ([{"name": "a", "nodeLabel": "x"}, {"name": "a", "nodeLabel": "y"}], "every name"),
        ([{"deviceAttribute": NUMA}, {"nodeLabel": "rack"}], "levels of nodes come before"),
        ([{"nodeLabel": HOSTNAME}, {"nodeLabel": "rack"}], "is the finest level of nodes"),
    ],
)
def test_levels_that_make_no_sense_are_refused(registry: Registry, levels: list[Any], says: str) -> None:
    with pytest.raises(StatusError) as caught:
        create(registry, *levels)

    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("version", "kind"),
    [
        ("aliquot.dev/v1alpha1", Topology),
        ("kueue.x-k8s.io/v1beta1", KueueTopology),
        ("kueue.x-k8s.io/v1alpha1", KueueTopology),
        ("kai.scheduler/v1alpha1", KaiTopology),
    ],
)
def test_topologies_of_other_schedulers_are_read_as_they_are(version: str, kind: type[Topology]) -> None:
    found = decode(document({"nodeLabel": "block"}, {"nodeLabel": "rack"}, version=version))

    assert type(found) is kind
    assert found.spec.levels == (TopologyLevel(node_label="block"), TopologyLevel(node_label="rack"))
    assert decode(encode(found)) == found


def test_of_topologies_with_one_name_aliquots_own_counts() -> None:
    versions = ("kai.scheduler/v1alpha1", "aliquot.dev/v1alpha1", "kueue.x-k8s.io/v1beta1")
    shared = [document({"nodeLabel": version}, version=version) for version in versions]
    others = [document({"nodeLabel": version}, version=version, name="o") for version in versions[::2]]
    single = document({"nodeLabel": "kai"}, version="kai.scheduler/v1alpha1", name="k")
    snapshot = Snapshot.of(decode(one) for one in [*shared, *others, single])

    index = SnapshotIndex.of(snapshot)
    found = {name: type(one) for name, one in index.topologies.items()}

    assert found == {"t": Topology, "o": KueueTopology, "k": KaiTopology}
    assert SnapshotIndex.of(Snapshot.of(snapshot.objects()), index).topologies is index.topologies
    assert SnapshotIndex.of(Snapshot(), index).topologies == {}
