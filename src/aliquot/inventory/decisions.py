"""A decision in one word and one sentence."""

from collections import Counter
from collections.abc import Mapping

from aliquot.model.meta import ObjectRef
from aliquot.scheduling.plan import Admit, Allocate, Deallocate, Decision, Evict
from aliquot.scheduling.wording import sentence

PLACED = "Placed"
WAITING = "Waiting"
PROMISED = "Promised"
REPLACED = "Replaced"
RELEASED = "Released"

MOST_NODES = 3


def told(decision: Decision) -> tuple[str, str]:
    """(outcome, sentence): what was decided, such as `Placed`, `2 pods on dgx-0; 16 devices`."""
    evicted = [action for action in decision.actions if isinstance(action, Evict)]
    released = [action for action in decision.actions if isinstance(action, Deallocate)]
    reason = f": {sentence(decision.verdict)}" if decision.verdict is not None else ""
    if decision.promised and decision.pods:
        return PROMISED, _promised(decision, evicted)
    if evicted:
        return REPLACED, f"{_several(evicted[0].pod, len(evicted))} to be made anew{reason}"
    if released:
        return RELEASED, f"{_several(released[0].claim, len(released))} given back{reason}"
    if decision.verdict is not None:
        return WAITING, sentence(decision.verdict)
    return PLACED, _placed(decision)


def _promised(decision: Decision, evicted: list[Evict]) -> str:
    nodes = nodes_of(decision)
    pods = sum(nodes.values())
    text = f"{pods} pod{'s' if pods != 1 else ''} on {_nodes(nodes)}"
    if evicted:
        text += (
            f" once {_several(evicted[0].pod, len(evicted))} {'has' if len(evicted) == 1 else 'have'} left"
        )
    return text


def nodes_of(decision: Decision) -> dict[str, int]:
    """How many pods of the workload the decision puts, or promises to put, on which node."""
    own = set(decision.pods)
    promised = tuple(placement for placement in decision.promised if placement.pod in own)
    placements = (
        promised
        or decision.placements
        or tuple(
            placement
            for action in decision.actions
            if isinstance(action, Admit)
            for placement in action.placements
        )
    )
    return dict(Counter(placement.node for placement in placements))


def _placed(decision: Decision) -> str:
    nodes = nodes_of(decision)
    pods = sum(nodes.values()) or len(decision.pods)
    devices = sum(
        len(action.allocation.devices.results) for action in decision.actions if isinstance(action, Allocate)
    )
    text = f"{pods} pod{'s' if pods != 1 else ''}"
    if nodes:
        text += f" on {_nodes(nodes)}"
    if devices:
        text += f"; {devices} device{'s' if devices != 1 else ''}"
    return text


def _nodes(nodes: Mapping[str, int]) -> str:
    names = list(nodes)
    rest = f" and {len(names) - MOST_NODES} more nodes" if len(names) > MOST_NODES else ""
    return f"{', '.join(names[:MOST_NODES])}{rest}"


def _several(first: ObjectRef, number: int) -> str:
    if number == 1:
        return f"{first.kind.lower()} {first.namespace}/{first.name}"
    return f"{number} {first.kind.lower()}s of {first.namespace}"
