"""A plan that was carried out in part, as a crash leaves it, is completed; nothing is given out twice."""

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from tests.scheduling.builders import NOW
from tests.scheduling.test_properties import clusters

from aliquot.dra.checker import check_cluster
from aliquot.dra.nodeselection import names_node
from aliquot.model.core import PLACEMENT_GATE, Affinity, NodeAffinity
from aliquot.model.index import SnapshotIndex
from aliquot.model.snapshot import Snapshot
from aliquot.queues.tree import QueueTree
from aliquot.scheduling.affinity import named_node, required_nodes
from aliquot.scheduling.apply import apply
from aliquot.scheduling.decide import decide
from aliquot.scheduling.memory import Memory
from aliquot.scheduling.plan import Admit, Evict, Plan
from aliquot.scheduling.plan_checks import check_plan
from aliquot.scheduling.policy import Policy
from aliquot.workloads.gangs import gangs, group_key

POLICY = Policy()


def cut_off(snapshot: Snapshot, plan: Plan, steps: int) -> Snapshot:
    """The snapshot after so many steps: one write to a claim, or one gate lifted, each. No pod is bound."""
    for decision in plan.decisions:
        done, lifted = [], {}
        for action in decision.actions:
            if isinstance(action, Admit):
                lifted |= {(spot.pod.namespace, spot.pod.name): spot for spot in action.placements[:steps]}
                steps -= len(action.placements)
            elif steps > 0:
                done.append(action)
                steps -= 1
            steps = max(0, steps)
        part = replace(decision, actions=tuple(done), placements=())
        snapshot = apply(snapshot, Plan(decisions=(part,)), NOW)
        snapshot = replace(snapshot, pods=tuple(_lifted(pod, lifted) for pod in snapshot.pods))
        if not steps:
            break
    return snapshot


def _lifted(pod, lifted):
    """The pod without Aliquot's gate, and tied to its node where no claim does that."""
    if pod.key not in lifted:
        return pod
    gates = tuple(gate for gate in pod.spec.scheduling_gates if gate.name != PLACEMENT_GATE)
    spec = replace(pod.spec, scheduling_gates=gates)
    if lifted[pod.key].pin:
        required = NodeAffinity(required=names_node(lifted[pod.key].node))
        spec = replace(spec, affinity=Affinity(node_affinity=required))
    return replace(pod, spec=spec)


def bound(snapshot: Snapshot) -> Snapshot:
    """What the scheduler does next: pods without gates go where their claims are, or where they are tied."""
    index = SnapshotIndex.of(snapshot)
    pods = []
    for pod in snapshot.pods:
        if not pod.spec.node_name and not pod.gated:
            selectors = [required_nodes(pod.spec.affinity)]
            claims = [index.claims[pod.namespace, use] for use in _claims_of(pod)]
            if all(item.status.allocation is not None for item in claims):
                selectors += [item.status.allocation.node_selector for item in claims]
            names = {named_node(item) for item in selectors} - {None}
            if len(names) == 1:
                pod = replace(pod, spec=replace(pod.spec, node_name=names.pop()))
        pods.append(pod)
    return replace(snapshot, pods=tuple(pods))


def _sociable(pod):
    """The pod without wishes about others: whether those hold depends on the order of binding."""
    return replace(pod, spec=replace(pod.spec, affinity=None))


def _claims_of(pod):
    made = [item.resource_claim_name for item in pod.status.resource_claim_statuses]
    return made + [item.resource_claim_name for item in pod.spec.resource_claims if item.resource_claim_name]


@settings(max_examples=120, deadline=None)
@given(clusters(), st.lists(st.integers(0, 12), max_size=3), st.booleans())
def test_whatever_a_crash_leaves_is_completed(snapshot, crashes, binding):
    memory = Memory()
    snapshot = replace(snapshot, pods=tuple(_sociable(pod) for pod in snapshot.pods))
    for steps in crashes:
        plan = decide(snapshot, POLICY, NOW, memory=memory)
        assert check_plan(snapshot, plan, POLICY) == ()
        snapshot = cut_off(snapshot, plan, steps)
        if binding:
            snapshot = bound(snapshot)
        assert check_cluster(snapshot) == ()
    for _ in range(6):
        plan = decide(snapshot, POLICY, NOW, memory=memory)
        assert check_plan(snapshot, plan, POLICY) == ()
        final = snapshot = bound(apply(snapshot, plan, NOW))
        # Whoever waits for pods to leave has a place once they are gone.
        if not any(isinstance(action, Evict) for action in plan.actions):
            break

    assert check_cluster(final) == ()
    assert not any(
        decision.actions for decision in decide(final, POLICY, NOW).decisions if decision.placements
    )
    waiting = {ref.name for item in plan.decisions if item.verdict is not None for ref in item.pods}
    assert all(pod.spec.node_name or pod.name in waiting for pod in final.pods)
    index, tree = SnapshotIndex.of(final), QueueTree.of(final.queues)
    grouped = {}
    for pod in final.pods:
        grouped.setdefault(group_key(pod, index), []).append(pod)
    for gang in gangs(index, tree, grouped, POLICY.default_queue):
        going = [pod for pod in gang.members if pod.spec.node_name]
        assert not going or len(going) >= gang.minimum
