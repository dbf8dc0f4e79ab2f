"""Marks on pods count beside the label that shields them, and putting the label on leaves no other."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.kube.decoding import Decoding
from aliquot.kube.marks import MARKED, MARKS, marking, trusted
from aliquot.model.core import Pod

NOTES = st.dictionaries(st.sampled_from([*sorted(MARKS), "note"]), st.just("x"))
LABELS = st.dictionaries(st.sampled_from([MARKED, "app"]), st.sampled_from(["true", ""]))


def pod(annotations: dict[str, str], labels: dict[str, str]) -> Pod:
    meta = {"name": "p", "namespace": "team", "annotations": annotations, "labels": labels}
    return Decoding(Pod).object(json.dumps({"metadata": meta, "spec": {}}).encode())


@given(NOTES, LABELS)
def test_marks_count_beside_the_label_only(annotations: dict[str, str], labels: dict[str, str]) -> None:
    kept = pod(annotations, labels).metadata.annotations
    others = {name: text for name, text in annotations.items() if name not in MARKS}
    assert kept == (annotations if MARKED in labels else others)


@given(NOTES, LABELS, st.dictionaries(st.sampled_from(sorted(MARKS)), st.just("own"), min_size=1))
def test_once_marked_a_pod_has_no_mark_that_was_written_before(
    annotations: dict[str, str], labels: dict[str, str], marks: dict[str, str]
) -> None:
    stored: dict[str, Any] = {"annotations": dict(annotations), "labels": dict(labels)}
    patch = marking(pod(annotations, labels), marks)
    for field, changes in patch.items():
        for name, text in changes.items():
            stored[field].pop(name, None)
            if text is not None:
                stored[field][name] = text
    seen = pod(stored["annotations"], stored["labels"]).metadata.annotations
    before = annotations if MARKED in labels else {}
    assert {name: text for name, text in seen.items() if name in MARKS} == {
        **{name: text for name, text in before.items() if name in MARKS},
        **marks,
    }


@pytest.mark.parametrize("labels", [{MARKED: "true"}, {}])
def test_a_pod_without_marks_stays_the_object_it_is(labels: dict[str, str]) -> None:
    found = pod({"note": "x"}, labels)
    assert trusted(found) is found
