"""Semantic versions: strict reading and precedence."""

import pickle
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.cel import Semver, SemverError

ASCENDING = [
    "0.0.0",
    "0.9.9",
    "1.0.0-0",
    "1.0.0-1",
    "1.0.0-10",
    "1.0.0-a",
    "1.0.0-alpha",
    "1.0.0-alpha.1",
    "1.0.0-alpha.beta",
    "1.0.0-beta",
    "1.0.0-beta.2",
    "1.0.0-beta.11",
    "1.0.0-rc.1",
    "1.0.0",
    "1.0.1",
    "1.2.0",
    "1.10.0",
    "2.0.0",
    "10.0.0",
    "580.126.20",
]


def test_precedence_is_that_of_the_specification() -> None:
    versions = [Semver.parse(text) for text in ASCENDING]
    for lower, higher in pairwise(versions):
        assert lower < higher
        assert higher > lower
        assert lower != higher
    assert sorted([*versions[7:], *versions[:7]]) == versions


def test_build_metadata_takes_no_part_in_equality_but_is_printed() -> None:
    one, other = Semver.parse("1.0.0+a.1"), Semver.parse("1.0.0+b")
    assert one == other
    assert hash(one) == hash(other)
    assert str(one) == "1.0.0+a.1"
    assert pickle.loads(pickle.dumps(one)) == one


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1",
        "1.0",
        "v1.0.0",
        " 1.0.0",
        "1.0.0 ",
        "01.0.0",
        "1.00.0",
        "1.0.01",
        "1.0.0-",
        "1.0.0+",
        "1.0.0-01",
        "1.0.0-a..b",
        "1.0.0-a_b",
        "1.0.0+a_b",
        "1.0.0+a+b",
        "1.0.0.0",
        "-1.0.0",
        "1.0.x",
        "1..0",
        "٣.0.0",
        "18446744073709551616.0.0",
        "1.0.0-" + "a" * 300,
    ],
)
def test_texts_that_are_not_strict_versions_are_refused(text: str) -> None:
    with pytest.raises(SemverError) as caught:
        Semver.parse(text)
    assert caught.value.reason


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("v1.2.3", "1.2.3"),
        ("1", "1.0.0"),
        ("v1.2", "1.2.0"),
        ("01.02.03", "1.2.3"),
        ("1.2.003-rc.1", "1.2.3-rc.1"),
        ("000.0.0", "0.0.0"),
        ("1.2.3+x", "1.2.3+x"),
    ],
)
def test_normalizing_fills_up_and_strips(text: str, printed: str) -> None:
    assert str(Semver.parse(text, normalize=True)) == printed


@pytest.mark.parametrize("text", ["", "v", "vv1", " v1", "1-a", "1.2+b", "v1.x"])
def test_normalizing_does_not_save_everything(text: str) -> None:
    with pytest.raises(SemverError):
        Semver.parse(text, normalize=True)


def test_a_version_cannot_be_changed() -> None:
    version = Semver.parse("1.2.3")
    with pytest.raises(AttributeError, match="immutable"):
        version.major = 2  # type: ignore[misc]


numbers = st.integers(0, 12)
identifiers = st.lists(st.one_of(numbers.map(str), st.text("ab-", min_size=1, max_size=3)), max_size=3)
versions = st.builds(
    lambda a, b, c, pre, build: Semver(a, b, c, tuple(pre), tuple(build)),
    numbers,
    numbers,
    numbers,
    identifiers,
    identifiers,
)


@given(versions, versions, versions)
def test_order_is_total_and_transitive(a: Semver, b: Semver, c: Semver) -> None:
    assert (a < b) + (a == b) + (a > b) == 1
    if a <= b <= c:
        assert a <= c
    if a == b:
        assert hash(a) == hash(b)


@given(versions)
def test_printing_and_parsing_again_gives_the_same_version(version: Semver) -> None:
    again = Semver.parse(str(version))
    assert again == version
    assert str(again) == str(version)


@given(st.text(max_size=300), st.booleans())
def test_any_text_either_parses_or_is_refused(text: str, normalize: bool) -> None:
    try:
        version = Semver.parse(text, normalize=normalize)
    except SemverError:
        return
    assert Semver.parse(str(version)) == version
