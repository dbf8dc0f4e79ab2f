"""Files are read as kubectl reads them; what is wrong with one is said with its file, line, field and fix."""

import contextlib
import io
import json
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aliquot.cli import manifests
from aliquot.cli.manifests import InputError, parse

POD = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: a\nspec:\n  containers:\n  - name: m\n    image: x\n"


def test_documents_lists_and_comments_of_one_file() -> None:
    items = "- {kind: A, apiVersion: v1}\n- {kind: B}\n"
    text = f"# first\n{POD}---\n---\nkind: List\napiVersion: v1\nitems:\n{items}"
    found = parse(text.encode(), "f.yaml")

    assert [document.value["kind"] for document in found] == ["Pod", "A", "B"]
    assert found[0].place("metadata.name") == "f.yaml:5"
    assert found[0].place("spec.containers[0].image") == "f.yaml:9"
    assert found[0].place("spec.containers[0].nothing") == "f.yaml:8"
    assert found[2].place("kind") == "f.yaml:16"


def test_the_items_of_a_typed_list_need_not_say_what_they_are() -> None:
    (found,) = parse(b'{"kind": "PodList", "apiVersion": "v1", "items": [{"metadata": {"name": "a"}}]}', "f")

    assert found.value == {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}


def test_json_yaml_and_standard_input_give_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    value = yaml.safe_load(POD)
    (tmp_path / "a.yaml").write_text(POD)
    (tmp_path / "b.json").write_text(json.dumps(value))
    (tmp_path / "notes.txt").write_text("not a manifest")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(POD.encode())))

    assert [document.value for document in manifests.read([str(tmp_path), "-"])] == [value, value, value]


def test_anchors_and_merge_keys_work_and_times_stay_text() -> None:
    text = (
        "base: &b {x: 1, y: 2}\nkind: K\nmerged:\n  <<: *b\n  y: 3\nwhen: 2026-01-01T00:00:00Z\nold: 0644\n"
    )
    (found,) = parse(text.encode(), "f")

    assert found.value["merged"] == {"x": 1, "y": 3}
    assert found.value["when"] == "2026-01-01T00:00:00Z"
    assert found.value["old"] == 0o644


WRONG = {
    "truncated flow": ("kind: Pod\nmetadata: {name: a", "f:", "line "),
    "truncated json": ('{"kind": "Pod", "metadata": {', "f:1:30", "line 1, column 30"),
    "tab": ("kind: Pod\n\tmetadata: {}", "f:2:1", "line 2, column 1"),
    "text": ("just words", "f:1", "is not an object"),
    "list": ("- a\n- b", "f:1", "is not an object"),
    "item": ("kind: List\nitems: [1]", "f:2", "items[0]: is not an object"),
    "twice": ("kind: A\nmetadata: {name: a, name: b}", "f:2:21", "metadata.name: is there twice"),
    "tag": ("kind: A\nx: !!python/object:os.system {}", "f:2", "tag"),
    "tag of a scalar": ("kind: A\nx: !secret abc", "f:2:4", "has the YAML tag !secret"),
    "key": ("kind: A\n? [a]\n: b", "f:2:3", "key that is not text"),
    "deep": ("kind: A\nx: " + "[" * 80 + "]" * 80, "f:2", "nested too deep"),
    "bytes": (b"kind: A\nname: \xff\xfe", "f:2", "is not UTF-8 text"),
    "control": ("kind: \x07", "f", "is not valid YAML"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_files_are_pointed_at(case: str) -> None:
    text, place, said = WRONG[case]
    content = text if isinstance(text, bytes) else text.encode()
    with pytest.raises(InputError) as caught:
        parse(content, "f")

    assert str(caught.value).startswith(place)
    assert said in str(caught.value)
    assert "; " in str(caught.value), "there is a fix"


def test_aliases_that_grow_without_bound_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(InputError, match="too many values"):
        parse("\n".join(lines).encode(), "f")


def test_a_large_file_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifests, "MAX_BYTES", 100)
    (tmp_path / "a.yaml").write_text(POD * 10)
    with pytest.raises(InputError, match="is larger than"):
        manifests.read([str(tmp_path / "a.yaml")])


def test_a_file_that_is_not_there_and_an_empty_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read: No such file"):
        manifests.read([str(tmp_path / "none.yaml")])
    with pytest.raises(InputError, match="holds no manifests"):
        manifests.read([str(tmp_path)])


texts = st.text(st.characters(exclude_categories=["C", "Z"]) | st.just(" "), max_size=12)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**9), 10**9) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(texts, values, min_size=1, max_size=5))
def test_what_is_written_as_yaml_or_json_is_read_back(value: dict[str, object]) -> None:
    value["kind"] = "Thing"
    for text in (yaml.safe_dump(value, allow_unicode=True), json.dumps(value)):
        assert [document.value for document in parse(text.encode(), "f")] == [value]


@given(st.binary(max_size=200))
def test_no_bytes_make_the_reader_fail_in_another_way(content: bytes) -> None:
    with contextlib.suppress(InputError):
        parse(content, "f")


@pytest.mark.parametrize("path", ["metadata.", "metadata.a]", "a[", "metadata.labels.x.y[0]", ""])
def test_every_path_has_a_place(path: str) -> None:
    (document,) = parse(b"kind: A\nmetadata: {name: b}\n", "f")

    assert document.place(path) in ("f", "f:1", "f:2")


def test_json_that_is_not_utf_8_is_an_error() -> None:
    with pytest.raises(InputError, match="save it as UTF-8"):
        parse(b'{"kind": "A\xff"}', "f")


def test_an_alias_inside_of_what_it_stands_for_is_an_error() -> None:
    with pytest.raises(InputError, match="f:1: has an alias inside"):
        parse(b"a: &a [*a]\n", "f")


def test_a_folder_that_may_not_be_read_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "iterdir", refused)
    with pytest.raises(manifests.InputError) as found:
        manifests.read([str(tmp_path)])
    assert str(found.value) == (
        f"{tmp_path}: cannot be read: Permission denied; check the folder and its permissions"
    )
