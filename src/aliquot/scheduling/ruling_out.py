"""Which selector of a request rules out how many devices of the fleet."""

from collections.abc import Iterator

from aliquot.dra.fleet import Fleet
from aliquot.model.resource import DeviceSelector, DeviceSubRequest, ExactDeviceRequest, ResourceClaim
from aliquot.model.verdicts import Fact
from aliquot.scheduling.facts import PodFacts

LONGEST = 160
"""Characters of a selector that a fact shows."""

RULES_OUT = "rulesOut"
"""The test of these facts. subject: the selector; count: devices that pass all before it and not it; wanted:
the device class whose selector it is, "" for the request's own; available: how many pass it too."""


def ruled_out(fleet: Fleet, facts: PodFacts) -> tuple[Fact, ...]:
    """The selectors of the first request that no device passes, with what each leaves; () if there is none.

    One look at every device for each selector, remembered as selectors are.
    """
    for claim in facts.wanted:
        for wanted in _requests(claim):
            found = _of_request(fleet, wanted)
            if found and found[-1].available == "0":
                return found
    return ()


def _requests(claim: ResourceClaim) -> Iterator[ExactDeviceRequest | DeviceSubRequest]:
    for request in claim.spec.devices.requests:
        if request.exactly is not None:
            yield request.exactly
        else:
            yield from request.first_available


def _of_request(fleet: Fleet, wanted: ExactDeviceRequest | DeviceSubRequest) -> tuple[Fact, ...]:
    device_class = fleet.classes.get(wanted.device_class_name)
    if device_class is None:
        return ()
    of_class, own = _expressions(device_class.spec.selectors), _expressions(wanted.selectors)
    left = sum(len(pool.devices) for pool in fleet.pools.values())
    found: list[Fact] = []
    for number, expression in enumerate((*of_class, *own), start=1):
        matcher = fleet.matchers.of(of_class[:number], own[: max(0, number - len(of_class))])
        passing = sum(matcher.match(pool).matched.bit_count() for pool in fleet.pools.values())
        found.append(
            Fact(
                test=RULES_OUT,
                subject=" ".join(expression.split())[:LONGEST],
                count=left - passing,
                unit="devices",
                wanted=wanted.device_class_name if number <= len(of_class) else "",
                available=str(passing),
            )
        )
        left = passing
    return tuple(found)


def _expressions(selectors: tuple[DeviceSelector, ...]) -> tuple[str, ...]:
    return tuple(selector.cel.expression for selector in selectors if selector.cel is not None)
