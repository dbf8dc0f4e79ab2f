"""Why a workload waits: one dominant reason, the facts behind it, and the nearest fix. Data only.

Text is made from these in `wording.py`; the reasons are the documented, stable vocabulary of conditions,
events and the `REASON` column.
"""

import enum

import msgspec

PLACED = "aliquot.dev/Placed"
"""Condition type of pods: True with the reason Placed, or False with the reason of the verdict."""


class Reason(enum.StrEnum):
    """The dominant reason, CamelCase as in Kubernetes conditions. Each says what has to change first."""

    WAITING_FOR_MEMBERS = "WaitingForMembers"
    """The gang has fewer pods than it must start with; its owner has to create them."""
    WAITING_FOR_CLAIMS = "WaitingForClaims"
    """A claim that a pod names does not exist (yet), or is being deleted."""
    CLAIM_IN_USE = "ClaimInUse"
    """A claim has as many consumers as it takes, or is tied to a node that cannot take the pod."""
    UNKNOWN_QUEUE = "UnknownQueue"
    """The workload names a queue that does not exist or whose chain of parents is broken."""
    INVALID_CLAIM = "InvalidClaim"
    """A claim cannot be evaluated: unknown class, selector that does not compile or fails, bad limits."""
    OVER_LIMIT = "OverLimit"
    """A queue on the way to the top would exceed its limit."""
    NO_MATCHING_DEVICES = "NoMatchingDevices"
    """No device of the fleet, free or not, passes the claim's classes and selectors."""
    TOO_FEW_DEVICES = "TooFewDevices"
    """Devices match, but no node has as many of them, free or not, as the claim wants together."""
    DEVICES_TAINTED = "DevicesTainted"
    """Enough matching devices are free, but they carry taints that the claim does not tolerate."""
    DEVICES_IN_USE = "DevicesInUse"
    """Devices that match exist, but too few of them are free together on any one node."""
    CONSTRAINT_NOT_MET = "ConstraintNotMet"
    """Enough matching devices are free, but no set of them satisfies the claim's constraints."""
    NODE_UNFIT = "NodeUnfit"
    """Nodes with the devices refuse the pod: CPU, memory, pod count, node selector, taints."""
    GANG_DOES_NOT_FIT = "GangDoesNotFit"
    """Some pods of the gang could be placed, but not all that must start together."""
    SEARCH_BUDGET_EXCEEDED = "SearchBudgetExceeded"
    """The search for an allocation was cut off; a solution may exist."""
    BEHIND_IN_QUEUE = "BehindInQueue"
    """Could be placed only by overtaking a workload that goes first."""
    GATED_BY_OTHERS = "GatedByOthers"
    """Another scheduling gate than Aliquot's holds the pod."""
    CLAIM_ELSEWHERE = "ClaimElsewhere"
    """The pod runs on a node that its claim's devices cannot be used from."""
    CLAIM_UNUSED = "ClaimUnused"
    """The claim holds devices that nobody has reserved and no pod will use."""
    DEVICE_EVICTED = "DeviceEvicted"
    """A device of the pod carries a NoExecute taint that its claim does not tolerate, or not for so long."""
    BINDING_FAILED = "BindingFailed"
    """A device that the pod was given could not be made ready on its node, or not in time."""
    NODE_SETTLING = "NodeSettling"
    """The scheduler allocates devices on the pod's node for another pod; this one goes next."""
    OVER_QUOTA = "OverQuota"
    """Work that cannot be preempted would exceed the quota of its queue, or of one above."""
    TOPOLOGY_NOT_MET = "TopologyNotMet"
    """No domain of the level that must hold the workload has room for it, or the level is not known."""
    FRACTION_REFUSED = "FractionRefused"
    """No node gives parts of its devices in the way that the pod asks for, or what it asks is no request."""
    ROOM_PROMISED = "RoomPromised"
    """It has a place, and starts there when the pods that are leaving are gone."""
    RECLAIMED = "Reclaimed"
    """The pod leaves for work of a queue that is entitled to what it holds."""
    PREEMPTED = "Preempted"
    """The pod leaves for work of higher priority in its queue."""
    CONSOLIDATED = "Consolidated"
    """The pod is moved, so that work fits that otherwise would not."""
    GANG_BROKEN = "GangBroken"
    """The gang has run for too long with fewer pods than it needs."""
    HAND_PLACED = "HandPlaced"
    """The pod was put on its node past the scheduler, and its claims have no devices."""
    NOT_BOUND_IN_TIME = "NotBoundInTime"
    """Pods of the gang were let go, and too few of them were bound in time: all of it is replaced."""
    DEVICE_HELD_TWICE = "DeviceHeldTwice"
    """The devices that the scheduler chose for the pod are another claim's already."""
    BUDGET_EXHAUSTED = "BudgetExhausted"
    """A budget lacks the money for the devices that the workload would get."""


class Fact(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One fact behind a verdict: what fell at a test.

    test: which check ("selector", "inUse", "taint", "counters", "constraint", "cpu", "memory", "pods",
    "nodeSelector", "nodeTaint", "limit", "members", "topologyDomain", "fraction", ...). subject: what was
    checked (a request, a queue, a class, an attribute, ...). count: how many nodes or devices (`unit`) fell
    at it. wanted, available: the amounts that were compared, as Kubernetes quantities or plain text, "" where
    there is no amount.
    """

    test: str
    subject: str = ""
    count: int = 0
    unit: str = ""
    wanted: str = ""
    available: str = ""


class Fix(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The nearest change that would let the workload start.

    change: what to do ("raiseLimit", "freeDevices", "addNode", "relaxSelector", "createClaim", ...). subject:
    to what. amount: how much. holders: who holds what is missing ("kind/namespace/name"), the fewest.
    """

    change: str
    subject: str = ""
    amount: str = ""
    holders: tuple[str, ...] = ()


class Verdict(msgspec.Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """One dominant reason with the facts behind it, the weightiest first."""

    reason: Reason
    facts: tuple[Fact, ...] = ()
    fix: Fix | None = None
