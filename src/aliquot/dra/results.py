"""From chosen devices to the AllocationResult that is written to a claim."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Literal, NamedTuple
from uuid import UUID, uuid5

from aliquot.cel.quantity import Quantity
from aliquot.dra.nodeselection import names_node
from aliquot.dra.pools import Pool
from aliquot.dra.requests import Alternative, Blueprint
from aliquot.model.core import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from aliquot.model.resource import (
    AllocationResult,
    DeviceAllocationConfiguration,
    DeviceAllocationResult,
    DeviceRequestAllocationResult,
    ResourceClaim,
)

ShareId = Callable[[ResourceClaim, str, str, str, str], str]
"""(claim, request, driver, pool, device) -> the id of the share, a UUID."""

ConfigStyle = Literal["once", "repeated", "shortened"]
"""How configs are listed: each once; one of a claim once per request that it is for, as kube-scheduler does
up to 1.36; or each once and without requests if it is for all of them, as later ones do."""

_SHARES = UUID("6d0c4f1e-8a8b-5c39-9a54-0b6f6f0f5d11")


class Pick(NamedTuple):
    """A device chosen for a request; consumed: what is taken of a shareable device, None of others."""

    alternative: Alternative
    pool: Pool
    number: int
    consumed: Mapping[str, Quantity] | None


def share_id(claim: ResourceClaim, request: str, driver: str, pool: str, device: str) -> str:
    """The same UUID whenever the same claim gets the same device for the same request."""
    meta = claim.metadata
    return str(uuid5(_SHARES, "/".join((meta.namespace, meta.name, meta.uid, request, driver, pool, device))))


def allocation(
    claim: ResourceClaim,
    blueprint: Blueprint,
    served: Sequence[Alternative],
    picks: Iterable[Pick],
    node_name: str,
    *,
    binding_conditions: bool,
    new_share_id: ShareId = share_id,
    configs: ConfigStyle = "once",
) -> AllocationResult:
    """The result for one claim.

    served: the alternative chosen for each request.
    """
    chosen = tuple(picks)
    results = []
    for alternative, pool, index, consumed in chosen:
        device = pool.devices[index]
        demand = alternative.demand
        results.append(
            DeviceRequestAllocationResult(
                request=alternative.name,
                driver=pool.driver,
                pool=pool.name,
                device=device.name,
                admin_access=True if demand.admin else None,
                tolerations=demand.tolerations,
                binding_conditions=(device.binding_conditions or ()) if binding_conditions else (),
                binding_failure_conditions=(
                    (device.binding_failure_conditions or ()) if binding_conditions else ()
                ),
                share_id=None
                if consumed is None
                else new_share_id(claim, alternative.name, pool.driver, pool.name, device.name),
                consumed_capacity={} if consumed is None else dict(consumed),
            )
        )
    return AllocationResult(
        devices=DeviceAllocationResult(
            results=tuple(results), config=_configs(blueprint, tuple(served), configs)
        ),
        node_selector=place(((pick.pool, pick.number) for pick in chosen), node_name),
    )


def _configs(
    blueprint: Blueprint, served: tuple[Alternative, ...], style: ConfigStyle
) -> tuple[DeviceAllocationConfiguration, ...]:
    known = blueprint.configs.get((style, served))
    if known is None:
        known = blueprint.configs[style, served] = tuple(_list_configs(blueprint, served, style))
    return known


def _list_configs(
    blueprint: Blueprint, served: tuple[Alternative, ...], style: ConfigStyle
) -> Iterator[DeviceAllocationConfiguration]:
    """Configs of the classes, each class once, then those of the claim."""
    by_class: dict[str, list[Alternative]] = {}
    for alternative in served:
        by_class.setdefault(alternative.device_class.metadata.name, []).append(alternative)
    for alternatives in by_class.values():
        names = tuple(each.name for each in alternatives)
        if style == "shortened" and len(alternatives) == len(served):
            names = ()
        for class_config in alternatives[0].device_class.spec.config:
            yield DeviceAllocationConfiguration(
                source="FromClass", requests=names, opaque=class_config.opaque
            )
    for config in blueprint.spec.config:
        wanted = frozenset(config.requests)
        matching = sum(
            request.name in wanted or alternative.name in wanted
            for request, alternative in zip(blueprint.requests, served, strict=True)
        )
        copies = 1 if not wanted else matching if style == "repeated" else min(matching, 1)
        names = () if style == "shortened" and matching == len(served) else config.requests
        for _ in range(copies):
            yield DeviceAllocationConfiguration(source="FromClaim", requests=names, opaque=config.opaque)


@lru_cache(maxsize=65_536)
def _at_node(name: str) -> NodeSelector:
    return names_node(name)


def place(devices: Iterable[tuple[Pool, int]], node_name: str) -> NodeSelector | None:
    """The nodes on which all of the devices can be used; None for every node.

    A device of one node, or one that binds to the node it is first used on, decides it. Otherwise all node
    selectors have to match: their terms are multiplied out, duplicate requirements dropped.
    """
    selectors: list[NodeSelector] = []
    for pool, index in devices:
        if pool.devices[index].binds_to_node or pool.home(index):
            return _at_node(node_name)
        selector = pool.node_selection(index)
        if selector is not None and selector.node_selector_terms:
            selectors.append(selector)
    if not selectors:
        return None
    distinct = list(dict.fromkeys(selectors))
    terms = [
        _merged(combination) for combination in product(*(each.node_selector_terms for each in distinct))
    ]
    return NodeSelector(node_selector_terms=tuple(dict.fromkeys(terms)))


def _merged(terms: Iterable[NodeSelectorTerm]) -> NodeSelectorTerm:
    expressions: dict[tuple[str, str, frozenset[str]], NodeSelectorRequirement] = {}
    fields: dict[tuple[str, str, frozenset[str]], NodeSelectorRequirement] = {}
    for term in terms:
        for each in term.match_expressions:
            expressions.setdefault((each.key, each.operator, frozenset(each.values)), each)
        for each in term.match_fields:
            fields.setdefault((each.key, each.operator, frozenset(each.values)), each)
    return NodeSelectorTerm(
        match_expressions=tuple(expressions.values()), match_fields=tuple(fields.values())
    )
