"""The annotation that spells a gang's subgroups out."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.model.verdicts import Fact
from aliquot.workloads.subgroup_annotation import (
    DEEPEST,
    MOST_BYTES,
    AnnotatedCloseness,
    AnnotatedGroup,
    parse,
)


def tree(**root: Any) -> AnnotatedGroup | Fact:
    return parse(json.dumps(root))


def leaf(name: str, minimum: int = 1) -> dict[str, Any]:
    return {"name": name, "minimum": minimum}


def nested(levels: int) -> dict[str, Any]:
    """A chain of subgroups with so many levels below the root."""
    group: dict[str, Any] = leaf(f"level-{levels}")
    for level in range(levels - 1, 0, -1):
        group = {"name": f"level-{level}", "children": [group]}
    return {"children": [group]}


def test_a_tree_is_read() -> None:
    workers = {**leaf("workers", 4), "topology": {"topology": "dc", "preferred": "rack"}}
    root = {
        "minimum": 1,
        "topology": {"topology": "dc", "required": "zone"},
        "children": [leaf("leader"), workers],
    }
    assert tree(**root) == AnnotatedGroup(
        minimum=1,
        topology=AnnotatedCloseness(topology="dc", required="zone"),
        children=(
            AnnotatedGroup(name="leader", minimum=1),
            AnnotatedGroup(
                name="workers", minimum=4, topology=AnnotatedCloseness(topology="dc", preferred="rack")
            ),
        ),
    )


def test_a_leaf_may_need_nobody() -> None:
    assert isinstance(tree(children=[leaf("spare", 0)]), AnnotatedGroup)


def test_as_deep_as_is_allowed() -> None:
    assert isinstance(parse(json.dumps(nested(DEEPEST))), AnnotatedGroup)


@pytest.mark.parametrize(
    ("root", "wanted"),
    [
        ({}, "children of the root"),
        ({"children": [{"name": "a"}]}, "a minimum for every leaf"),
        ({"children": [leaf("a"), leaf("a")]}, "a name of its own"),
        ({"children": [{"minimum": 1}]}, "a name of its own"),
        ({"minimum": 2, "children": [leaf("a")]}, "at most as many children as the root has"),
        ({"children": [leaf("a", -1)]}, "a JSON tree"),
        ({"children": [{**leaf("a"), "minimun": 1}]}, "a JSON tree"),
        ({"children": [{**leaf("a"), "topology": {"required": "rack"}}]}, "a JSON tree"),
        (nested(DEEPEST + 1), f"at most {DEEPEST} levels"),
        ({"children": [leaf(f"{number}") for number in range(10_000)]}, f"at most {MOST_BYTES} bytes"),
    ],
)
def test_what_is_wrong_is_told(root: dict[str, Any], wanted: str) -> None:
    found = parse(json.dumps(root))
    assert isinstance(found, Fact)
    assert found.wanted.startswith(wanted)


def test_brackets_without_end_are_refused() -> None:
    for text in ("[" * 100_000, '{"children":[' * 10_000, "{" * MOST_BYTES):
        assert isinstance(parse(text), Fact)


@given(st.text(max_size=200))
def test_any_text_is_a_tree_or_a_fact(text: str) -> None:
    assert isinstance(parse(text), AnnotatedGroup | Fact)
