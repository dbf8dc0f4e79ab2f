"""Changes of manifests: what they say afterwards, and that nothing else changes."""

import difflib
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from aliquot.catalog.accelerators import accelerators
from aliquot.sizing.edits import Edit, EditError, applied, claim_templates, edits_of, pointer_of
from aliquot.sizing.manifest_text import TextError, documents, edited
from aliquot.sizing.parts import Mode, Part, consumable, exclusive, parts_of

A100 = accelerators()["A100-SXM4-80GB"]


def part(mode: Mode, name: str) -> Part:
    return next(item for item in parts_of(A100, [mode]) if item.name == name)


MIG = part(Mode.MIG, "3g.40gb")
SHARE = consumable(A100, 20 << 30)
assert SHARE is not None

TEMPLATE = """\
# The claim of the chat model.
apiVersion: resource.k8s.io/v1
kind: ResourceClaimTemplate
metadata:
  name: one-gpu   # used by chat
spec:
  spec:
    devices:
      requests:
      # a whole device is a lot
      - name: gpu
        exactly:
          deviceClassName: gpu.nvidia.com  # whole
          count: 1
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: chat, namespace: team}
spec:
  replicas: 2
  template:
    metadata:
      labels:
        app: chat
    spec:
      resourceClaims:
      - name: gpu
        resourceClaimTemplateName: one-gpu
      containers:
      - name: main
        image: chat:1
"""

PLUGIN = """\
apiVersion: batch/v1
kind: Job
metadata:
  name: train
spec:
  template:
    spec:
      restartPolicy: Never
      containers:
        - name: main
          image: train:1
          resources:
            limits:
              cpu: "4"
              nvidia.com/gpu: 1   # one
"""


def changed(text: str, number: int, wanted: Part) -> str:
    return edited(text, number, edits_of(documents(text)[number], wanted))


def lines(before: str, after: str) -> list[str]:
    found = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in found if line[0] in "+-"]


def test_a_claim_template_asks_for_a_mig_profile_and_keeps_its_comments() -> None:
    after = changed(TEMPLATE, 0, MIG)
    assert lines(TEMPLATE, after) == [
        "-           deviceClassName: gpu.nvidia.com  # whole",
        "+           deviceClassName: mig.nvidia.com  # whole",
        "+           selectors:",
        "+           - cel:",
        "+               expression: device.attributes['gpu.nvidia.com'].profile == '3g.40gb'",
    ]


def test_going_back_to_a_whole_device_gives_the_same_file_again() -> None:
    assert changed(changed(TEMPLATE, 0, MIG), 0, exclusive(A100)) == TEMPLATE


def test_another_profile_takes_the_place_of_the_one_before() -> None:
    after = changed(changed(TEMPLATE, 0, MIG), 0, part(Mode.MIG, "1g.10gb"))
    assert "3g.40gb" not in after
    assert after.count("selectors:") == 1
    assert "profile == '1g.10gb'" in after


def test_selectors_of_ones_own_are_kept() -> None:
    own = TEMPLATE.replace(
        "          count: 1\n",
        "          selectors:\n          - cel:\n"
        "              expression: device.driver == 'gpu.nvidia.com'\n",
    )
    after = documents(changed(own, 0, MIG))[0]
    kept = after["spec"]["spec"]["devices"]["requests"][0]["exactly"]["selectors"]
    assert [item["cel"]["expression"] for item in kept] == [
        "device.driver == 'gpu.nvidia.com'",
        "device.attributes['gpu.nvidia.com'].profile == '3g.40gb'",
    ]


def test_a_consumable_share_is_an_amount_of_memory() -> None:
    after = documents(changed(TEMPLATE, 0, SHARE))[0]
    exactly = after["spec"]["spec"]["devices"]["requests"][0]["exactly"]
    assert exactly["capacity"] == {"requests": {"memory": "20480Mi"}}
    assert exactly["deviceClassName"] == "gpu.nvidia.com"


def test_a_deployment_that_uses_a_template_is_not_changed_itself() -> None:
    deployment = documents(TEMPLATE)[1]
    assert edits_of(deployment, MIG) == ()
    assert claim_templates(deployment) == ("one-gpu",)


def test_an_extended_resource_is_renamed_in_place() -> None:
    after = changed(PLUGIN, 0, MIG)
    assert lines(PLUGIN, after) == [
        "-               nvidia.com/gpu: 1   # one",
        "+               nvidia.com/mig-3g.40gb: 1   # one",
    ]
    assert changed(after, 0, exclusive(A100)) == PLUGIN


def test_a_part_by_annotation_takes_the_place_of_the_resource() -> None:
    after = documents(changed(PLUGIN, 0, part(Mode.TIME_SLICING, "1/4")))[0]
    template = after["spec"]["template"]
    assert template["metadata"]["annotations"] == {"aliquot.dev/gpu-fraction": "0.25"}
    assert template["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "4"}


def test_several_devices_in_a_container_are_left_to_people() -> None:
    many = documents(PLUGIN.replace("gpu: 1", "gpu: 4"))[0]
    with pytest.raises(EditError, match="asks for 4 devices"):
        edits_of(many, part(Mode.MPS, "1/2"))


def test_a_claim_cannot_ask_for_turns_by_itself() -> None:
    with pytest.raises(EditError, match="cannot ask for mps"):
        edits_of(documents(TEMPLATE)[0], part(Mode.MPS, "1/2"))


def test_what_asks_for_the_part_already_is_not_changed() -> None:
    after = changed(TEMPLATE, 0, MIG)
    assert edits_of(documents(after)[0], MIG) == ()


FLOW = """\
kind: ResourceClaim
metadata: {name: a}
spec:
  devices:
    requests: [{name: gpu, exactly: {deviceClassName: gpu.nvidia.com}}]
"""


def test_flow_collections_are_refused_with_their_place() -> None:
    with pytest.raises(TextError, match=r"spec\.devices\.requests.*flow"):
        changed(FLOW, 0, MIG)


def test_a_template_with_an_alias_is_refused_rather_than_changed_in_two_places() -> None:
    text = TEMPLATE.replace("deviceClassName: gpu.nvidia.com  # whole", "deviceClassName: &c gpu.nvidia.com")
    with pytest.raises(TextError):
        changed(text.replace("count: 1", "count: 1\n    other: *c"), 0, MIG)


def test_patches_say_the_same_as_the_text() -> None:
    document = documents(TEMPLATE)[0]
    edits = edits_of(document, MIG)
    operations = [operation for edit in edits for operation in edit.patch()]
    assert [item["op"] for item in operations] == ["add", "add"]
    assert operations[0]["path"] == "/spec/spec/devices/requests/0/exactly/deviceClassName"
    assert applied(document, edits) == documents(changed(TEMPLATE, 0, MIG))[0]


def test_keys_with_slashes_are_escaped_in_patches() -> None:
    edits = edits_of(documents(PLUGIN)[0], MIG)
    assert edits[0].patch()[0]["from"].endswith("/limits/nvidia.com~1gpu")
    assert pointer_of(("a~b", "c/d", 0)) == "/a~0b/c~1d/0"


NAMES = st.sampled_from(["a", "b", "c", "name", "nvidia.com/gpu", "yes", "1"])
SCALARS = st.one_of(
    st.integers(-5, 5), st.booleans(), st.sampled_from(["x", "true", "null", "a: b", "# no", ""])
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.dictionaries(NAMES, inner, min_size=1, max_size=3), st.lists(inner, min_size=1, max_size=3)
    ),
    max_leaves=12,
)


@given(st.dictionaries(NAMES, VALUES, min_size=1, max_size=3), st.data())
def test_a_change_is_made_as_in_the_data_or_refused(document: dict[str, Any], data: st.DataObject) -> None:
    """Either the file says what the data would say, comments included, or there is an error."""
    path: tuple[str | int, ...] = ()
    holder: Any = document
    while isinstance(holder, dict):
        key = data.draw(NAMES)
        path = (*path, key)
        if key not in holder or not isinstance(holder[key], dict) or data.draw(st.booleans()):
            break
        holder = holder[key]
    kind = data.draw(st.sampled_from(["set", "gone", "renamed"]))
    edit = {
        "set": Edit(path, data.draw(VALUES)),
        "gone": Edit(path, gone=True),
        "renamed": Edit(path, renamed="renamed"),
    }[kind]
    dumped = yaml.safe_dump(document, sort_keys=False)
    text = "# first\n" + dumped + "# last\n"
    try:
        wanted = applied(document, [edit])
        after = edited(text, 0, [edit])
    except (TextError, KeyError):
        return
    assert yaml.safe_load(after) == wanted
    assert after.startswith("# first\n")
    assert after.rstrip("\n").endswith("# last")
