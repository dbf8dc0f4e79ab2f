"""The list of what is Aliquot's to allocate: drivers, and words that name pools."""

import pytest

from aliquot.model.ownership import Ownership


@pytest.mark.parametrize(
    ("words", "owned"),
    [
        ("", ["a-1", "a-2", "b"]),
        ("nvidia.com/gpu", ["a-1", "a-2", "b"]),
        ("pool=a-1", ["a-1"]),
        ("nvidia.com/gpu pool=a-1 pool=b", ["a-1", "b"]),
        ("pool=a-*", ["a-1", "a-2"]),
        ("pool=*", ["a-1", "a-2", "b"]),
        ("pool=", []),
        ("pool=a", []),
        ("pool=*1", []),
        # The policies, too, know of no other separator than a space.
        ("pool=a-1\npool=b", []),
    ],
)
def test_words_say_which_pools(words: str, owned: list[str]) -> None:
    found = Ownership.of({"gpu.example.com": words})

    assert [pool for pool in ("a-1", "a-2", "b") if found.owns("gpu.example.com", pool)] == owned
    assert not any(found.owns("other.example.com", pool) for pool in owned)


def test_what_was_handed_over_is_what_is_new_among_the_entries() -> None:
    before = Ownership.of({"a": "", "b": "pool=x"})
    after = Ownership.of({"a": "", "b": "pool=x pool=y", "c": ""})

    assert after.entries - before.entries == {("b", "y"), ("c", "*")}
    assert not before.entries - after.entries
    assert Ownership.whole(["a"]) == Ownership.of({"a": "some/resource"})
