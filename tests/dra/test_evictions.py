"""When a tainted device ends the use of a claim."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.dra.build import allocated, claim, slice_of, taint_rule

from aliquot.dra.evictions import eviction_of
from aliquot.dra.features import Features
from aliquot.dra.fleet import Fleet

START = datetime(2026, 1, 1, tzinfo=UTC)


def tainted(name, key="sick", effect="NoExecute", added=True):
    taint = {"key": key, "effect": effect, **({"timeAdded": START.isoformat()} if added else {})}
    return {"name": name, "taints": [taint]}


def held(*tolerations, device="a"):
    return allocated("holder", {"device": device, "tolerations": list(tolerations)})


FOR_A_MINUTE = {"key": "sick", "operator": "Exists", "tolerationSeconds": 60}
FOR_AN_HOUR = {"operator": "Exists", "tolerationSeconds": 3600}
FOREVER = {"operator": "Exists"}
NOT_AT_ALL = {"operator": "Exists", "tolerationSeconds": 0}


@pytest.mark.parametrize(
    ("tolerations", "after"),
    [
        ([], None),
        ([FOR_A_MINUTE], 60),
        ([FOR_AN_HOUR, FOR_A_MINUTE], 60),
        ([FOREVER, FOR_AN_HOUR], 3600),
        ([NOT_AT_ALL, FOR_AN_HOUR], None),
        ([{"key": "other", "operator": "Exists"}], None),
    ],
)
def test_the_shortest_toleration_that_covers_the_taint_counts(tolerations, after):
    fleet = Fleet.of([slice_of([tainted("a")])], ())
    eviction = eviction_of(fleet, held(*tolerations))
    assert eviction is not None
    assert eviction.device.endswith("/a")
    assert eviction.due == (None if after is None else START + timedelta(seconds=after))


def test_who_tolerates_without_limit_stays():
    fleet = Fleet.of([slice_of([tainted("a")])], ())
    assert eviction_of(fleet, held(FOREVER)) is None


def test_other_effects_other_devices_and_free_claims_are_left_alone():
    fleet = Fleet.of([slice_of([tainted("a", effect="NoSchedule"), tainted("b"), "c"])], ())
    assert eviction_of(fleet, held()) is None
    assert eviction_of(fleet, held(device="c")) is None
    assert eviction_of(fleet, held(device="gone")) is None
    assert eviction_of(fleet, claim()) is None


def test_the_earliest_of_several_counts_and_rules_taint_too():
    fleet = Fleet.of([slice_of([tainted("a"), "b"])], (), [taint_rule("NoExecute", device="b")])
    both = allocated("holder", {"device": "a", "tolerations": [FOR_AN_HOUR]}, "b")
    eviction = eviction_of(fleet, both)
    assert eviction is not None
    assert (eviction.taint.key, eviction.due) == ("broken", None)


def test_an_unknown_start_means_at_once_and_the_feature_can_be_off():
    slices = [slice_of([tainted("a", added=False)])]
    eviction = eviction_of(Fleet.of(slices, ()), held(FOR_AN_HOUR))
    assert eviction is not None
    assert eviction.due is None
    assert eviction_of(Fleet.of(slices, (), features=Features()), held()) is None
