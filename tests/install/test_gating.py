"""The gate put into manifests: where it belongs, once, and nothing else is touched."""

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from tests.cli.world import aliquot

from aliquot.install.gating import GatingError, add_gates
from aliquot.install.podtemplates import ELSEWHERE, TEMPLATES, asks, templates
from aliquot.install.podtemplates import Path as TemplatePath
from aliquot.model.core import PLACEMENT_GATE

GPU: dict[str, Any] = {
    "containers": [{"name": "a", "image": "x", "resources": {"limits": {"nvidia.com/gpu": 1}}}]
}
GATES = [{"name": PLACEMENT_GATE}]


def gates_in(text: str) -> list[list[dict[str, str]]]:
    """The gates of every template of the text."""
    return [
        template["spec"].get("schedulingGates") or []
        for document in yaml.safe_load_all(text)
        for template in templates(document)
    ]


def without(document: Any) -> Any:
    """The document without the gate."""
    if isinstance(document, dict):
        found = {key: without(value) for key, value in document.items()}
        left = [one for one in found.get("schedulingGates") or [] if one != GATES[0]]
        if "schedulingGates" in found and not left:
            found.pop("schedulingGates")
        return found
    return (
        [without(item) for item in document if item != GATES[0]] if isinstance(document, list) else document
    )


def apart(document: dict[str, Any]) -> dict[str, Any]:
    """The document with nothing in two places, which would be written as aliases."""
    found: dict[str, Any] = json.loads(json.dumps(document))
    return found


def place(path: TemplatePath, template: Any) -> Any:
    """A document with the template at a path; two where there may be several."""
    if not path:
        return template
    if path[0] == "*":
        return [place(path[1:], template), place(path[1:], template)]
    return {path[0]: place(path[1:], template)}


def merged(one: Any, other: Any) -> Any:
    if isinstance(one, dict) and isinstance(other, dict):
        return {key: merged(one.get(key), other.get(key)) for key in {*one, *other}}
    return one if other is None else other


def workload(group: str, kind: str) -> dict[str, Any]:
    document: dict[str, Any] = {}
    for path in TEMPLATES[group, kind]:
        document = merged(document, place(path, {"spec": GPU}))
    version = f"{group}/v1" if group else "v1"
    found = {"apiVersion": version, "kind": kind, "metadata": {"name": "w"}, **document}
    return apart(found)


@pytest.mark.parametrize(("group", "kind"), TEMPLATES, ids=lambda part: part or "core")
@pytest.mark.parametrize("style", ["block", "flow", "json"])
def test_every_known_workload_gets_it_on_all_its_templates(group: str, kind: str, style: str) -> None:
    document = workload(group, kind)
    text = (
        json.dumps(document, indent=2)
        if style == "json"
        else yaml.safe_dump(document, default_flow_style=style == "flow")
    )
    gated, found = add_gates(text)

    assert {one.outcome for one in found} == {"added"}
    assert gates_in(gated) == [GATES] * len(found)
    assert len(found) >= len(TEMPLATES[group, kind])
    assert without(yaml.safe_load(gated)) == document
    assert add_gates(gated)[0] == gated, "twice is once"


def test_replica_specs_by_name_get_it_too() -> None:
    specs = {"Master": {"template": {"spec": GPU}}, "Worker": {"template": {"spec": GPU}}}
    document = {"apiVersion": "kubeflow.org/v1", "kind": "PyTorchJob", "spec": {"pytorchReplicaSpecs": specs}}
    gated, found = add_gates(yaml.safe_dump(apart(document)))
    assert [one.subject for one in found] == [
        "PyTorchJob spec.pytorchReplicaSpecs.Master.template",
        "PyTorchJob spec.pytorchReplicaSpecs.Worker.template",
    ]
    assert gates_in(gated) == [GATES, GATES]


WRITTEN = """\
# A training run.
apiVersion: apps/v1   # of Kubernetes
kind: Deployment
metadata: {name: d}
spec:
  template:
    spec:  # the pod
      # Containers follow.
      containers:
      - name: a   # the first
        image: "x"

        resources: {limits: {nvidia.com/gpu: '1'}}
      terminationGracePeriodSeconds: 30

---
# Nothing to do here.
apiVersion: v1
kind: ConfigMap
metadata: {name: ü-umlaut-🚀}
data: {kind: Pod}
"""


def test_only_lines_are_put_in() -> None:
    gated, _ = add_gates(WRITTEN)
    added = ["      schedulingGates:", "      - name: aliquot.dev/placement"]
    lines = gated.splitlines()
    at = lines.index(added[0])
    assert lines[at : at + 2] == added
    assert lines[at - 1] == "    spec:  # the pod"
    assert lines[at + 2] == "      # Containers follow."
    assert [line for line in lines if line not in added] == WRITTEN.splitlines()


def test_windows_line_ends_and_wide_characters_do_not_shift_it() -> None:
    text = ("# 🚀 ü\n" + WRITTEN).replace("\n", "\r\n")
    gated, _ = add_gates(text)
    assert gated.replace("\r\n", "\n").count("\n") == gated.count("\r\n")
    assert gates_in(gated) == [GATES]
    assert without(list(yaml.safe_load_all(gated))) == list(yaml.safe_load_all(text))


POD = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n"
ASKS = "  resourceClaims:\n  - name: a\n    resourceClaimName: b\n"

SHAPES = {
    "none": (ASKS, GATES),
    "other in block": (f"  schedulingGates:\n  - name: other\n{ASKS}", [*GATES, {"name": "other"}]),
    "other indented": (f"  schedulingGates:\n    -  name: other\n{ASKS}", [*GATES, {"name": "other"}]),
    "other in flow": (f"  schedulingGates: [{{name: other}}]\n{ASKS}", [*GATES, {"name": "other"}]),
    "empty list": (f"  schedulingGates: []\n{ASKS}", GATES),
    "null": (f"  schedulingGates: null\n{ASKS}", GATES),
    "nothing": (f"  schedulingGates:\n{ASKS}", GATES),
    "nothing at the end": (f"{ASKS}  schedulingGates:", GATES),
    "there": (f"  schedulingGates:\n  - name: aliquot.dev/placement\n{ASKS}", GATES),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_gates_that_are_there_stay(shape: str) -> None:
    text, expected = SHAPES[shape]
    gated, _ = add_gates(POD + text)
    assert gates_in(gated) == [expected]


def test_lists_are_looked_into() -> None:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": [workload("batch", "Job")] * 2})
    assert gates_in_list(add_gates(text)[0]) == [GATES, GATES]


def gates_in_list(text: str) -> list[Any]:
    return [
        template["spec"]["schedulingGates"]
        for item in json.loads(text)["items"]
        for template in templates(item)
    ]


def test_pods_that_ask_for_nothing_are_left_alone_unless_all_are_meant() -> None:
    text = POD + "  containers: [{name: a, image: x}]\n"
    gated, found = add_gates(text)
    assert gated == text
    assert [one.outcome for one in found] == ["idle"]
    assert gates_in(add_gates(text, every=True)[0]) == [GATES]


ASKING: list[tuple[dict[str, Any], bool]] = [
    ({"spec": GPU}, True),
    ({"spec": {"initContainers": GPU["containers"]}}, True),
    ({"metadata": {"annotations": {"nvidia.com/mig-1g.5gb": "1"}}, "spec": {"containers": []}}, True),
    ({"spec": {"resourceClaims": [{"name": "a"}]}}, True),
    ({"metadata": {"annotations": {"gpu-fraction": "0.5"}}, "spec": {"containers": []}}, True),
    ({"spec": {"containers": [{"resources": {"limits": {"nvidia.com/mig-1g.5gb": 1}}}]}}, True),
    ({"spec": {"containers": [{"resources": {"limits": {"cpu": 1}}}]}}, False),
    ({"spec": {"containers": [{"resources": {"requests": {"nvidia.com/gpu": 1}}}]}}, False),
    ({"spec": {"containers": [None, {"resources": None}], "initContainers": None}}, False),
    ({"metadata": None, "spec": None}, False),
    ({}, False),
]


@pytest.mark.parametrize(("template", "expected"), ASKING)
def test_who_asks_for_accelerators(template: dict[str, Any], expected: bool) -> None:
    assert asks(template) is expected


def test_the_command_and_the_policy_know_the_same_resources() -> None:
    from aliquot import manifests
    from aliquot.install.podtemplates import ACCELERATORS, FRACTIONS, MIG_ANNOTATION

    text = manifests.text("policy-gate.yaml")
    policy = next(one for one in yaml.safe_load_all(text) if one["metadata"]["name"] == "gate.aliquot.dev")
    variables = {one["name"]: one["expression"] for one in policy["spec"]["variables"]}
    pattern = "".join(variables["accelerators"].split("'")[1::2])
    assert pattern.replace("[.]", "\\.") == ACCELERATORS.pattern
    for name in (*FRACTIONS, MIG_ANNOTATION):
        assert f"'{name}'" in variables["asks"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "a: &t\n  spec: {resourceClaims: [{name: a}]}\n"
            "kind: Job\napiVersion: batch/v1\nspec:\n  template: *t\n",
            "alias",
        ),
        (
            "base: &b\n  spec: {resourceClaims: [{name: a}]}\n"
            "kind: Job\napiVersion: batch/v1\nspec:\n  template:\n    <<: *b\n",
            "merge key|has no spec",
        ),
        ("kind: Job\napiVersion: batch/v1\nspec:\n  template: {metadata: {}}\n", "has no spec"),
    ],
)
def test_templates_that_are_written_elsewhere_are_refused(text: str, problem: str) -> None:
    with pytest.raises(GatingError, match=problem):
        add_gates(text)


names = st.text("abcxyz", min_size=1, max_size=4)
scalars = st.none() | st.integers(-5, 5) | st.text(st.characters(exclude_categories=["C", "Z"]), max_size=6)
trees = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)


@given(
    extra=st.dictionaries(names, trees, max_size=4),
    spec=st.dictionaries(names, trees, max_size=4),
    gates=st.sampled_from([None, [], [{"name": "other"}], GATES]),
    flow=st.sampled_from([True, False, None]),
    indent=st.integers(2, 6),
)
def test_any_pod_in_any_style_has_it_afterwards_and_is_otherwise_the_same(
    extra: dict[str, Any], spec: dict[str, Any], gates: Any, flow: bool | None, indent: int
) -> None:
    pod_spec = {**spec, **GPU}
    if gates is not None:
        pod_spec["schedulingGates"] = gates
    document = {"apiVersion": "v1", "kind": "Pod", **extra, "spec": pod_spec, "last": "x"}
    text = yaml.safe_dump(
        document, default_flow_style=flow, indent=indent, allow_unicode=True, sort_keys=False, width=40
    )
    gated, _ = add_gates(text)

    assert gates_in(gated)[0][:1] == GATES
    assert without(yaml.safe_load(gated)) == without(document)


# The command


def test_the_command_prints_manifests_and_says_what_it_did(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.yaml").write_text(WRITTEN)
    (tmp_path / "b.json").write_text(json.dumps(workload("batch", "Job")))
    done = aliquot(capsys, "gate", "-f", str(tmp_path))
    assert done.code == 0
    assert gates_in(done.out) == [GATES, GATES]
    assert f"{tmp_path / 'a.yaml'}:7: Deployment d spec.template: has the gate now" in done.err
    assert (tmp_path / "a.yaml").read_text() == WRITTEN


def test_files_are_changed_in_place_if_asked(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.yaml"
    file.write_text(WRITTEN)
    done = aliquot(capsys, "gate", "--in-place", "-f", str(file))
    assert (done.code, done.out) == (0, "")
    assert gates_in(file.read_text()) == [GATES]


def test_standard_input_goes_through(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO((POD + ASKS).encode())))
    done = aliquot(capsys, "gate", "-q", "-f", "-")
    assert (done.code, done.err) == (0, "")
    assert gates_in(done.out) == [GATES]


def test_nothing_to_gate_is_told_by_the_status(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n")
    done = aliquot(capsys, "gate", "-f", str(tmp_path / "a.yaml"))
    assert done.code == 1
    assert "holds no workload that is known" in done.err
    assert "kind: ConfigMap" in done.out


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"kind: Pod\n\tspec: {}", "a.yaml:2:1"),
        (b"kind: Job\napiVersion: batch/v1\nspec: {template: {}}\n", "has no spec; write"),
        (b"\xff", "is not UTF-8"),
    ],
)
def test_what_is_wrong_is_said_with_its_place_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, said: str
) -> None:
    (tmp_path / "a.yaml").write_bytes(content)
    (tmp_path / "b.yaml").write_text(WRITTEN)
    done = aliquot(capsys, "gate", "--in-place", "-f", str(tmp_path))
    assert done.code == 2
    assert said in done.err
    assert (tmp_path / "b.yaml").read_text() == WRITTEN


@pytest.mark.parametrize(("group", "kind"), ELSEWHERE)
def test_workloads_without_templates_of_their_own_are_told_of(group: str, kind: str) -> None:
    gated, found = add_gates(f"apiVersion: {group}/v1\nkind: {kind}\nmetadata: {{name: a}}\n")
    assert [one.outcome for one in found] == ["unknown"]
    assert found[0].why == ELSEWHERE[group, kind]
    assert "schedulingGates" not in gated
