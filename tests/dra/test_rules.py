"""Small rules: rounding of capacity, toleration of taints, node selectors, attributes."""

import pytest
from tests.dra.build import node

from aliquot.cel.quantity import Quantity
from aliquot.dra.attributes import lookup
from aliquot.dra.capacity import amount_of
from aliquot.dra.nodeselection import NodeSelectorError, selects
from aliquot.dra.taints import tolerates
from aliquot.model.core import NodeSelector
from aliquot.model.kinds import convert
from aliquot.model.resource import Device, DeviceCapacity, DeviceTaint, DeviceToleration


@pytest.mark.parametrize(
    ("policy", "requested", "amount"),
    [
        (None, None, "8"),
        (None, "3", "3"),
        (None, "9", "9"),
        ({"default": "2"}, None, "2"),
        ({"default": "2"}, "3", "3"),
        ({"validRange": {"min": "2"}}, "1", "2"),
        ({"validRange": {"min": "2", "step": "3"}}, "2", "2"),
        ({"validRange": {"min": "2", "step": "3"}}, "6", "8"),
        ({"validRange": {"min": "2", "step": "3"}}, "5500m", "8"),
        ({"validRange": {"min": "2", "max": "4"}}, "5", None),
        ({"validRange": {"min": "2", "max": "7", "step": "3"}}, "6", None),
        ({"validValues": ["1", "4"]}, "2", "4"),
        ({"validValues": ["1", "4"]}, "4", "4"),
        ({"validValues": ["1", "4"]}, "5", None),
        ({"default": "5", "validValues": ["1", "4"]}, "5", "5"),
        ({"default": "0"}, None, "0"),
    ],
)
def test_amounts_are_rounded_up_to_what_the_policy_allows(policy, requested, amount):
    capacity = convert({"value": "8", "requestPolicy": policy}, DeviceCapacity)
    wanted = None if requested is None else Quantity.parse(requested)
    assert amount_of(capacity, wanted) == (None if amount is None else Quantity.parse(amount))


@pytest.mark.parametrize(
    ("toleration", "tolerated"),
    [
        ({"key": "k", "value": "v"}, True),
        ({"key": "k", "operator": "Equal", "value": "v", "effect": "NoSchedule"}, True),
        ({"key": "k", "value": "w"}, False),
        ({"key": "k", "operator": "Exists"}, True),
        ({"operator": "Exists"}, True),
        ({"operator": "Exists", "effect": "NoExecute"}, False),
        ({"value": "v"}, True),
        ({}, False),
        ({"key": "j", "operator": "Exists"}, False),
        ({"key": "k", "operator": "Near", "value": "v"}, False),
    ],
)
def test_a_toleration_covers_key_effect_and_value(toleration, tolerated):
    taint = DeviceTaint(key="k", value="v", effect="NoSchedule")
    assert tolerates(convert(toleration, DeviceToleration), taint) is tolerated


@pytest.mark.parametrize(
    ("key", "operator", "values", "selected"),
    [
        ("zone", "In", ["a", "b"], True),
        ("zone", "In", ["b"], False),
        ("none", "In", ["a"], False),
        ("zone", "NotIn", ["b"], True),
        ("none", "NotIn", ["a"], True),
        ("zone", "Exists", [], True),
        ("zone", "DoesNotExist", [], False),
        ("none", "DoesNotExist", [], True),
        ("size", "Gt", ["3"], True),
        ("size", "Lt", ["4"], False),
        ("zone", "Gt", ["1"], False),
        ("none", "Lt", ["1"], False),
    ],
)
def test_node_labels_are_compared_as_the_scheduler_does(key, operator, values, selected):
    expression = {"key": key, "operator": operator, "values": values}
    selector = convert({"nodeSelectorTerms": [{}, {"matchExpressions": [expression]}]}, NodeSelector)
    assert selects(selector, node("n", zone="a", size="4")) is selected


@pytest.mark.parametrize(("operator", "selected"), [("In", True), ("NotIn", False)])
def test_a_field_requirement_compares_the_name(operator, selected):
    field = {"key": "metadata.name", "operator": operator, "values": ["n"]}
    selector = convert({"nodeSelectorTerms": [{"matchFields": [field]}]}, NodeSelector)
    assert selects(selector, node("n")) is selected


@pytest.mark.parametrize(
    "term",
    [
        {"matchExpressions": [{"key": "k", "operator": "In"}]},
        {"matchExpressions": [{"key": "k", "operator": "Exists", "values": ["v"]}]},
        {"matchExpressions": [{"key": "k", "operator": "Gt", "values": ["v"]}]},
        {"matchExpressions": [{"key": "k", "operator": "Near", "values": ["v"]}]},
        {"matchFields": [{"key": "metadata.uid", "operator": "In"}]},
        {"matchExpressions": [{"key": "a/b/c", "operator": "Exists"}]},
        {"matchExpressions": [{"key": "", "operator": "Exists"}]},
        {"matchExpressions": [{"key": "k", "operator": "In", "values": ["-v"]}]},
        {"matchExpressions": [{"key": "k", "operator": "Gt", "values": ["-1"]}]},
        {"matchFields": [{"key": "metadata.name", "operator": "Exists"}]},
    ],
)
def test_a_node_selector_that_is_not_valid_is_refused(term):
    with pytest.raises(NodeSelectorError):
        selects(convert({"nodeSelectorTerms": [term]}, NodeSelector), node("n"))


def test_an_attribute_is_found_by_its_full_name_first_and_then_under_the_driver():
    attributes = {"a": {"int": 1}, "drv/a": {"int": 2}, "b": {"bool": False}, "c": {"versions": ["1.0.0"]}}
    device = convert({"name": "d", "attributes": attributes}, Device)
    assert lookup(device, "drv", "drv/a") == ("int", 2)
    assert lookup(device, "drv", "drv/b") == ("bool", False)
    assert lookup(device, "drv", "drv/c") == ("versions", ("1.0.0",))
    assert lookup(device, "drv", "other/b") is None
    assert lookup(device, "other", "drv/b") is None
