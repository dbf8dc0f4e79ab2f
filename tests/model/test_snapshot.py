"""A snapshot keeps objects by kind, in a stable order."""

from hypothesis import given
from hypothesis import strategies as st

from aliquot.model.core import ConfigMap, Node, Pod
from aliquot.model.kinds import decode
from aliquot.model.meta import ObjectMeta
from aliquot.model.ownership import Ownership
from aliquot.model.snapshot import FIELDS, Snapshot

names = st.text("abc", min_size=1, max_size=3)
pods = st.builds(lambda ns, n: Pod(metadata=ObjectMeta(namespace=ns, name=n)), names, names)
nodes = st.builds(lambda n: Node(metadata=ObjectMeta(name=n)), names)
objects = st.lists(st.one_of(pods, nodes), unique_by=lambda o: (type(o), o.key))


@given(objects, st.randoms(use_true_random=False))
def test_the_order_of_the_input_does_not_matter(found: list[Pod | Node], random: object) -> None:
    shuffled = list(found)
    random.shuffle(shuffled)  # type: ignore[attr-defined]

    assert Snapshot.of(shuffled) == Snapshot.of(found)


@given(objects)
def test_a_saved_snapshot_reads_back_the_same(found: list[Pod | Node]) -> None:
    snapshot = Snapshot.of(found)

    assert Snapshot.of(decode(item) for item in snapshot.to_list()["items"]) == snapshot


def test_the_last_of_two_objects_with_one_name_counts() -> None:
    old = Pod(metadata=ObjectMeta(namespace="a", name="p", resource_version="1"))
    new = Pod(metadata=ObjectMeta(namespace="a", name="p", resource_version="2"))

    assert Snapshot.of([old, new]).pods == (new,)


def test_of_all_config_maps_only_the_one_with_the_managed_drivers_is_kept() -> None:
    listing = ConfigMap(
        metadata=ObjectMeta(namespace="aliquot-system", name="aliquot-drivers"),
        data={"gpu.nvidia.com": "nvidia.com/gpu"},
    )
    other = ConfigMap(metadata=ObjectMeta(namespace="team", name="passwords"), data={"a": "b"})

    assert Snapshot.of([listing, other]).config_maps == (listing,)
    assert Snapshot.of([listing, other]).ownership == Ownership.whole(["gpu.nvidia.com"])
    assert Snapshot.of([other]).ownership is None


def test_every_kind_has_a_field() -> None:
    assert set(FIELDS.values()) == set(Snapshot.__struct_fields__)
