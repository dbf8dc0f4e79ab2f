"""The objects of a simulated cluster: in order, and the same objects wherever nothing changed."""

from hypothesis import given
from hypothesis import strategies as st

from aliquot.model.core import Pod
from aliquot.model.meta import ObjectMeta
from aliquot.simulation.cluster import Shelf


def pod(name: str, version: int = 0) -> Pod:
    return Pod(metadata=ObjectMeta(name=name, namespace="team", uid=f"{name}-{version}"))


names = st.sampled_from([f"pod-{number}" for number in range(40)])
steps = st.lists(st.tuples(st.sampled_from(("put", "remove", "read")), names), max_size=200)


@given(first=st.sets(names), steps=steps)
def test_a_shelf_is_a_dictionary_that_is_read_in_order(first: set[str], steps: list[tuple[str, str]]) -> None:
    shelf = Shelf(pod(name) for name in first)
    known = {item.key: item for item in shelf}
    for number, (step, name) in enumerate(steps):
        key = ("team", name)
        if step == "put":
            item = known[key] = pod(name, number)
            shelf.put(item)
        elif step == "remove":
            assert shelf.remove(key) is known.pop(key, None)
        else:
            found = shelf.sorted()
            assert [item.key for item in found] == sorted(known)
            assert all(item is known[item.key] for item in found)
            assert shelf.sorted() is found
        assert shelf.get(key) is known.get(key)
        assert len(shelf) == len(known)
        assert (key in shelf) == (key in known)
    assert list(shelf) == [known[key] for key in sorted(known)]
