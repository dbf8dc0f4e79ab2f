"""What is submitted: workloads as a trace describes them, or as Kubernetes objects taken as they are."""

import msgspec

from aliquot.model.core import Pod
from aliquot.model.resource import ResourceClaim
from aliquot.queues.amounts import UNIT

WHOLE_DEVICE = 1000
"""Thousandths of a device."""

MOST_PODS = 10_000
"""No workload has more pods."""


class Workload(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One workload: equal pods that start together. All times are whole seconds.

    submitted: since the start of the simulation, below 0 for what was there before. run_seconds: how long its
    pods work once all of them run; None: for ever. The simulation knows this, the policy does not.
    expected_seconds: what the workload says of its run time, which the policy does know; None: nothing.

    pods: how many there are; minimum: how many of them are enough to work (then more slowly). devices: whole
    or partly used devices of each pod; part: thousandths of each device, 1000 for whole ones. device: the
    DeviceClass or the extended resource that is asked for, "" for the usual one of the cluster. models: the
    product names of devices that will do, empty for any. cpu: thousandths of a CPU, memory: MiB, each of one
    pod.

    queue, priority, preemptible: as Aliquot's labels say them ("" and None: nothing is said).
    checkpoint_seconds: how often the work is saved; None: never. startup_seconds: how long after its pods
    run it does useful work. topology_required, topology_preferred: the level of closeness.

    kind: of the object that stands for it ("" for what a trace describes). objects: its pods, each followed
    by the claims that were made for it, to submit as they are, in place of what the fields above would make;
    amounts: the devices of each of these pods, in billionths. worked_seconds: of its run time, what was done
    before it was submitted, for one that runs already. started: when that began, before 0.
    """

    name: str
    namespace: str = "default"
    submitted: int = 0
    run_seconds: int | None = None
    expected_seconds: int | None = None
    pods: int = 1
    minimum: int = 1
    devices: int = 1
    part: int = WHOLE_DEVICE
    device: str = ""
    models: tuple[str, ...] = ()
    cpu: int = 0
    memory: int = 0
    queue: str = ""
    priority: int = 0
    preemptible: bool | None = None
    checkpoint_seconds: int | None = None
    startup_seconds: int = 0
    topology: str = ""
    topology_required: str = ""
    topology_preferred: str = ""
    kind: str = ""
    objects: tuple[Pod | ResourceClaim, ...] = ()
    amounts: tuple[int, ...] = ()
    worked_seconds: int = 0
    started: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""
        return (self.namespace, self.name)

    @property
    def devices_of_pod(self) -> int:
        """The devices of one pod, in billionths; of unequal ones the mean, rounded down."""
        if self.amounts:
            return sum(self.amounts) // len(self.amounts)
        return self.devices * self.part * (UNIT // WHOLE_DEVICE)

    @property
    def devices_of_all(self) -> int:
        """The devices of all pods, in billionths."""
        if self.amounts:
            return sum(self.amounts)
        return self.pods * self.devices_of_pod
