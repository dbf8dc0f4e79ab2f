"""Whatever the order in which news arrives, the newest is kept."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from aliquot.kube.collection import REMEMBERED_DELETIONS, Collection, version_number
from aliquot.model.core import Pod
from aliquot.model.meta import ObjectMeta

Change = tuple[str, int]
"""("put" or "remove", which of the objects); its place in the list is its version."""

HISTORIES = st.lists(st.tuples(st.sampled_from(["put", "put", "remove"]), st.integers(0, 3)), max_size=30)


def pod(name: int, version: int) -> Pod:
    return Pod(
        metadata=ObjectMeta(name=f"p{name}", namespace="n", uid=f"u{name}", resource_version=str(version))
    )


def truth(history: list[Change], until: int) -> dict[str, str]:
    """Name to version of what exists after the first `until` changes, as the server has it."""
    found: dict[str, str] = {}
    for version, (what, name) in enumerate(history[:until], 1):
        if what == "put":
            found[f"p{name}"] = str(version)
        else:
            found.pop(f"p{name}", None)
    return found


def tell(collection: Collection[Pod], history: list[Change], version: int) -> None:
    what, name = history[version - 1]
    if what == "put":
        collection.put(pod(name, version))
    else:
        collection.remove(("n", f"p{name}"), version)


def known(collection: Collection[Pod]) -> dict[str, str]:
    return {item.name: item.metadata.resource_version for item in collection.all()}


@given(HISTORIES, st.data())
def test_news_in_any_order_and_repeated_lead_to_the_truth(history: list[Change], data: st.DataObject) -> None:
    collection: Collection[Pod] = Collection()
    versions = list(range(1, len(history) + 1))
    order = data.draw(st.permutations(versions + data.draw(st.lists(st.sampled_from(versions or [0])))))
    for version in order:
        if version:
            tell(collection, history, version)
    assert known(collection) == truth(history, len(history))
    assert [item.key for item in collection.all()] == sorted(item.key for item in collection.all())


@given(HISTORIES, st.data())
def test_a_list_in_between_changes_nothing_that_is_newer(history: list[Change], data: st.DataObject) -> None:
    """Some answers to writes run ahead of a list, the watch goes on from the list."""
    collection: Collection[Pod] = Collection()
    listed_at = data.draw(st.integers(0, len(history)))
    ahead = [
        version
        for version in range(1, len(history) + 1)
        if history[version - 1][0] == "put" and data.draw(st.booleans())
    ]
    for version in ahead:
        tell(collection, history, version)
    items = [pod(int(name[1:]), int(version)) for name, version in truth(history, listed_at).items()]
    collection.replace(items, listed_at)
    for version in range(listed_at + 1, len(history) + 1):
        tell(collection, history, version)
    for version in ahead:
        tell(collection, history, version)
    assert known(collection) == truth(history, len(history))


def test_what_did_not_change_is_the_same_object_and_tuple() -> None:
    collection: Collection[Pod] = Collection()
    first = pod(1, 5)
    assert collection.put(first)
    held = collection.all()
    assert not collection.put(pod(1, 5))
    assert not collection.replace([pod(1, 5)], 9)
    assert collection.all() is held
    assert held[0] is first


def test_a_restored_server_is_believed() -> None:
    collection: Collection[Pod] = Collection()
    collection.put(pod(1, 500))
    assert collection.replace([pod(1, 3)], 10, restored=True)
    assert known(collection) == {"p1": "3"}


def test_an_object_found_gone_does_not_come_back_by_late_news() -> None:
    collection: Collection[Pod] = Collection()
    collection.put(pod(1, 5))
    assert not collection.vanished(("n", "p1"), "another")
    assert collection.vanished(("n", "p1"), "u1")
    assert not collection.put(pod(1, 5))
    newer = msgspec.structs.replace(
        pod(1, 6), metadata=ObjectMeta(name="p1", namespace="n", uid="u2", resource_version="6")
    )
    assert collection.put(newer)


def test_remembered_deletions_are_bounded() -> None:
    collection: Collection[Pod] = Collection()
    for number in range(REMEMBERED_DELETIONS + 10):
        collection.remove(("n", f"p{number}"), number + 1)
    assert len(collection._gone) == REMEMBERED_DELETIONS


def test_versions_are_numbers_and_nonsense_is_older_than_everything() -> None:
    assert [version_number(text) for text in ("17", "", "abc", "²", "-1")] == [17, 0, 0, 0, 0]
