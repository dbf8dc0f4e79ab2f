"""A simulation under way as data, so that it can go on in another process and end as if it never stopped.

What is saved is what has changed: the same cluster, workloads, settings and policy have to be given again,
which a fingerprint of them guards. What `decide` remembers is left out, for it is derived from the cluster.
"""

import hashlib
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from aliquot.model.core import Node, Pod
from aliquot.model.kinds import convert, encode_json
from aliquot.model.queue import Queue
from aliquot.model.resource import ResourceClaim, ResourceSlice
from aliquot.model.snapshot import Snapshot
from aliquot.packing.cluster import Demand
from aliquot.scheduling.policy import Policy
from aliquot.simulation.agenda import Agenda
from aliquot.simulation.cluster import Shelf
from aliquot.simulation.machines import Condemned, Machines
from aliquot.simulation.meter import Account, Machine, Sums
from aliquot.simulation.rates import takes_work
from aliquot.simulation.results import Interruption, Sample
from aliquot.simulation.settings import Settings
from aliquot.simulation.spare import Mix
from aliquot.simulation.standing import Standing
from aliquot.simulation.workload import Workload
from aliquot.simulation.world import World

FORMAT = "aliquot-simulation/1"


class Pace(msgspec.Struct):
    """Where the event loop stands, see Simulation."""

    now: int = 0
    arrived: int = 0
    due: int | None = None
    decided: int | None = None
    acted: bool = False
    patience: int = 1
    next_sample: int = 0
    next_use: int = 0
    complete: bool = False


class Saved(msgspec.Struct):
    """A simulation under way. fingerprint: of what it was made from. held, ready, devices: by node. mix,
    learnt, mix_counts: see `spare.Mix`; taken: node, namespace and name of a pod, its parts of devices."""

    format: str
    fingerprint: str
    pace: Pace
    agenda: Agenda
    standings: list[Standing]
    condemned: Condemned
    pods: tuple[Pod, ...]
    claims: tuple[ResourceClaim, ...]
    nodes: tuple[Node, ...]
    slices: tuple[ResourceSlice, ...]
    queues: tuple[Queue, ...]
    sums: Sums
    samples: list[Sample]
    interruptions: list[Interruption]
    counts: dict[str, int]
    accounts: dict[str, Account]
    waiting: list[tuple[int, int]]
    placed: list[int]
    held: dict[str, int]
    ready: dict[str, bool]
    devices: dict[str, int]
    waiting_pods: int
    mix: list[tuple[Demand, int]]
    learnt: list[tuple[Demand, int]]
    mix_counts: tuple[int, int]
    taken: list[tuple[str, str, str, list[tuple[int, int]]]]
    fragmented: int


class SavedError(Exception):
    """Something that is no saved simulation, or one of something else. problem, fix: text."""

    def __init__(self, problem: str, fix: str) -> None:
        super().__init__(problem, fix)
        self.problem = problem
        self.fix = fix

    def __str__(self) -> str:
        return f"{self.problem}; {self.fix}"


def fingerprint(snapshot: Snapshot, workloads: Sequence[Workload], settings: Settings, policy: Policy) -> str:
    """A digest of everything that a simulation is made from."""
    digest = hashlib.blake2b(digest_size=16)
    for part in (snapshot, workloads, settings, policy):
        digest.update(encode_json(part))
        digest.update(b"\n")
    return digest.hexdigest()


def saved(world: World, machines: Machines, pace: Pace, digest: str) -> Saved:
    """A simulation as it stands. digest: its fingerprint."""
    cluster, meter = world.cluster, world.meter
    mix = meter.spare.mix
    return Saved(
        format=FORMAT,
        fingerprint=digest,
        pace=pace,
        agenda=world.agenda,
        standings=[world.standings[number] for number in sorted(world.standings)],
        condemned=machines.condemned,
        pods=cluster.pods.sorted(),
        claims=cluster.claims.sorted(),
        nodes=cluster.nodes.sorted(),
        slices=cluster.slices.sorted(),
        queues=cluster.queues.sorted(),
        sums=meter.sums,
        samples=meter.samples,
        interruptions=meter.interruptions,
        counts={name: getattr(meter, name) for name in _COUNTS},
        accounts=meter.accounts,
        waiting=sorted(meter.waiting.items()),
        placed=sorted(meter.placed_set),
        held={name: item.held for name, item in meter.machines.items()},
        ready={name: item.ready for name, item in meter.machines.items()},
        devices={name: item.rates.devices for name, item in meter.machines.items()},
        waiting_pods=meter.waiting_pods,
        mix=list(mix.pods.items()),
        learnt=list(mix.learnt.items()),
        mix_counts=(mix.arrived, mix.learn_at),
        taken=[
            (node, *key, list(parts))
            for node, free in meter.spare.free.items()
            for key, parts in sorted(free.taken.items())
        ],
        fragmented=meter.fragmented,
    )


def restore(found: Saved, world: World, machines: Machines) -> None:
    """Put a world that was just made into the saved state."""
    world.now = found.pace.now
    world.agenda = found.agenda
    cluster, meter = world.cluster, world.meter
    for name in ("pods", "claims", "nodes", "slices", "queues"):
        setattr(cluster, name, Shelf(getattr(found, name)))
    machines.condemned = found.condemned
    meter.sums, meter.samples, meter.interruptions = found.sums, found.samples, found.interruptions
    for name in _COUNTS:
        setattr(meter, name, found.counts[name])
    meter.accounts = found.accounts
    meter.waiting, meter.placed_set = dict(found.waiting), set(found.placed)
    meter.waiting_pods, meter.fragmented = found.waiting_pods, found.fragmented
    for name, machine in list(meter.machines.items()):
        rates = replace(machine.rates, devices=found.devices[name])
        meter.change(name, Machine(rates, 0, found.ready[name]))
        meter.hold(name, found.held[name])
    spare = meter.spare
    for node in cluster.nodes:
        spare.opened(node.name, takes_work(node))
    spare.mix = Mix(dict(found.mix), dict(found.learnt), *found.mix_counts)
    parts = {(node, (namespace, name)): taken for node, namespace, name, taken in found.taken}
    for standing in found.standings:
        workload = world.workloads[standing.number]
        world.standings[standing.number] = standing
        for member in standing.members.values():
            key = (workload.namespace, member.name)
            world.owners[key] = standing.number
            if member.node:
                world.on_node.setdefault(member.node, set()).add(key)
                if (member.node, key) in parts:
                    spare.put(member.node, key, workload, tuple(parts[member.node, key]))


_COUNTS = ("evictions", "failures", "decisions", "events")


def encoded(saved: Saved) -> bytes:
    """The bytes of a saved simulation; equal ones have equal bytes."""
    return encode_json(saved)


def decoded(data: bytes) -> Saved:
    """Raises SavedError."""
    try:
        document = msgspec.json.decode(data)
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise SavedError("this is no saved simulation", f"give a file of the format {FORMAT}")
        found: Saved = convert(document, Saved)
    except msgspec.MsgspecError as error:
        raise SavedError(
            f"the saved simulation is damaged or cut off: {error}", "remove it and begin anew"
        ) from None
    return found
