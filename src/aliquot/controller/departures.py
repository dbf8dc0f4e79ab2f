"""Who leaves which node, and what is said about it: to those that wait for the room, and to the owners of
those that go."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from aliquot.controller.events import Event
from aliquot.kube.mirror import Mirror
from aliquot.model.core import Pod
from aliquot.model.meta import ObjectRef, OwnerReference
from aliquot.model.owners import ReplicaSet
from aliquot.model.snapshot import Snapshot
from aliquot.model.verdicts import Reason, Verdict
from aliquot.scheduling.plan import Decision, Evict, Placement, Plan

MOST_NAMES = 4

_CALLED = frozenset(
    {
        Reason.RECLAIMED,
        Reason.PREEMPTED,
        Reason.CONSOLIDATED,
        Reason.GANG_BROKEN,
        Reason.NOT_BOUND_IN_TIME,
    }
)

ByNode = Mapping[str, Sequence[Pod]]


def departures(snapshot: Snapshot, plan: Plan) -> ByNode:
    """The pods that are being deleted or that the plan evicts, by node."""
    if not any(decision.promised for decision in plan.decisions):
        return {}
    evicted = {
        action.pod.uid
        for decision in plan.decisions
        for action in decision.actions
        if isinstance(action, Evict)
    }
    found: dict[str, list[Pod]] = {}
    for pod in snapshot.pods:
        if not pod.spec.node_name or pod.finished:
            continue
        if pod.metadata.deletion_timestamp is not None or pod.metadata.uid in evicted:
            found.setdefault(pod.spec.node_name, []).append(pod)
    return found


def promise(spot: Placement, verdict: str, leaving: ByNode) -> str:
    """What a pod is told that waits for room: where, and for whom to go."""
    pods = leaving.get(spot.node, ())
    names = [
        pod.name if pod.namespace == spot.pod.namespace else f"{pod.namespace}/{pod.name}"
        for pod in pods[:MOST_NAMES]
    ]
    if not names:
        return f"has a place on node {spot.node} and waits for the rest of its gang: {verdict}"
    more = f" and {len(pods) - len(names)} more" if len(pods) > len(names) else ""
    return f"has a place on node {spot.node}, which {', '.join(names)}{more} will leave: {verdict}"


def told(
    decision: Decision,
    before: Mapping[str, Pod],
    mirror: Mirror,
    describe: Callable[[Verdict], str],
    already: set[str],
) -> Iterator[Event]:
    """Events about pods of a decision that go: on each, and one on what owns them.

    before: pods by uid, as they were when it was decided. already: uids of pods of which it has been told, as
    happens where it was decided again before it was seen that they go; those told of now are added.
    """
    owners: dict[str, tuple[ObjectRef, str, list[Evict]]] = {}
    for action in decision.actions:
        if not isinstance(action, Evict):
            continue
        ref = action.pod
        pod = mirror.get(Pod, ref.namespace, ref.name)
        if pod is not None and pod.metadata.uid == ref.uid and pod.metadata.deletion_timestamp is None:
            continue
        if ref.uid in already:
            continue
        already.add(ref.uid)
        yield Event(ref, "Warning", _word(action.verdict), "Evict", describe(action.verdict))
        known = before.get(ref.uid)
        owner = None if known is None else owner_of(known, mirror)
        if owner is not None:
            subject = ObjectRef(kind=owner.kind, namespace=ref.namespace, name=owner.name, uid=owner.uid)
            owners.setdefault(owner.uid, (subject, owner.api_version, []))[2].append(action)
    for subject, api_version, actions in owners.values():
        names = ", ".join(action.pod.name for action in actions[:MOST_NAMES])
        more = f" and {len(actions) - MOST_NAMES} more" if len(actions) > MOST_NAMES else ""
        verdict = actions[0].verdict
        note = f"{describe(verdict)} ({names}{more})"
        yield Event(subject, "Warning", _word(verdict), "Evict", note, api_version)


def _word(verdict: Verdict) -> str:
    """The event's reason: how the decision calls it, or that the pod is replaced because it cannot run."""
    return verdict.reason.value if verdict.reason in _CALLED else "Replaced"


def owner_of(pod: Pod, mirror: Mirror) -> OwnerReference | None:
    """What people made that the pod comes from: its controller, or that of its ReplicaSet."""
    found = pod.metadata.controller
    if found is not None and found.kind == "ReplicaSet":
        middle = mirror.get(ReplicaSet, pod.namespace, found.name)
        if middle is not None and middle.metadata.controller is not None:
            return middle.metadata.controller
    return found
