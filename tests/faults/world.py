"""A small cluster with one or two replicas of the controller in virtual time, and the schedule's blows."""

import asyncio
import contextlib
import copy
import functools
import random
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from tests.controller.load import CLAIMS, DRIVER, Load
from tests.faults.judge import Judge
from tests.faults.schedule import Blow, Happening, Schedule
from tests.faults.virtual_loop import LoopClock, VirtualLoop, ended
from tests.faults.wire import Line

from aliquot.controller.live import Live
from aliquot.controller.run import ControllerConfig, run
from aliquot.embedded.admission import Admission
from aliquot.embedded.hooks import SYSTEM
from aliquot.embedded.http.app import Application
from aliquot.embedded.http.tokens import Tokens
from aliquot.embedded.registry import Registry
from aliquot.embedded.standins import StandIns
from aliquot.embedded.status import StatusError
from aliquot.embedded.storage import Row, Store
from aliquot.kube.config import Connection
from aliquot.kube.credentials import StaticCredential
from aliquot.kube.transport import Limits
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Plan
from aliquot.scheduling.policy import Policy

NODES, DEVICES = 2, 3
LEASE_SECONDS = 6
BOUND = 20
"""For how long a gang may be half admitted, in these worlds."""

POLICY = Policy(
    bind_patience_seconds=8,
    admission_seconds=BOUND,
    staleness_seconds=10,
    taint_patience_seconds=2,
    reservation_seconds=20,
)

LIMITS = Limits(request_seconds=2.0, list_seconds=5.0, watch_idle_seconds=40.0, attempts=4)


class Record:
    """The journal of one replica: the plans, in order."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []

    def prepare(self, snapshot: Snapshot) -> None:
        pass

    def record(self, now: Any, snapshot: Snapshot, policy: Policy, plan: Plan) -> None:
        self.plans.append(plan)


class Replica:
    """One controller process, as far as the cluster can tell."""

    def __init__(self, number: int, line: Line, clock: LoopClock, seed: int, policy: Policy) -> None:
        self.number = number
        self.line = line
        self.clock = clock
        self.live = Live()
        self._seed = seed
        self._policy = policy
        self._starts = 0
        self._task: asyncio.Task[None] | None = None
        self._stop = asyncio.Event()

    def start(self) -> None:
        self._starts += 1
        self._stop = asyncio.Event()
        self.live = Live()
        config = ControllerConfig(
            connection=Connection(server="http://api", credentials=StaticCredential("t")),
            identity=f"replica-{self.number}-{self._starts}",
            lease_seconds=LEASE_SECONDS,
            limits=LIMITS,
            wire=self.line,
        )
        self._task = asyncio.create_task(
            run(
                config,
                self._policy,
                journal=Record(),
                stop=self._stop,
                live=self.live,
                clock=self.clock,
                randomness=random.Random(f"{self._seed}/{self.number}/{self._starts}"),
            )
        )

    async def kill(self) -> None:
        """As by SIGKILL: nothing is released, what is under way arrives."""
        assert self._task is not None
        self.line.up = False
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)
        self.line.up = True

    async def stop(self) -> None:
        assert self._task is not None
        self._stop.set()
        await self._task

    def check(self) -> None:
        """Raises what the process died of."""
        if self._task is not None and self._task.done() and not self._task.cancelled():
            self._task.result()


@functools.cache
def _installed() -> tuple[tuple[Row, ...], int]:
    """The rows of a cluster with manifests, nodes and classes."""
    store = Store()
    numbers = iter(range(1, 10_000))
    clock = LoopClockAtStart()
    registry = Registry(store, clock.now, lambda: f"00000000-0000-0000-0000-{next(numbers):012d}")
    registry.admission = Admission(registry)
    Load(registry, random.Random(0)).install(NODES, DEVICES)
    found = tuple(sorted(store.rows(), key=lambda row: row.version)), store.version
    store.close()
    return found


class LoopClockAtStart:
    """The moment at which every world begins."""

    def now(self) -> Any:
        from tests.faults.virtual_loop import START

        return START


def _store() -> Store:
    rows, version = _installed()
    store = Store()
    with store.bulk():
        for row in rows:
            store.put(row)
        store._version = version
    return store


class World:
    def __init__(self, loop: VirtualLoop, schedule: Schedule, policy: Policy = POLICY) -> None:
        self.schedule = schedule
        self.loop = loop
        self._chance = random.Random(f"world {schedule.seed}")
        self._uids = random.Random(f"uids {schedule.seed}")
        clock = LoopClock(loop)
        self.store = _store()
        self.registry = Registry(self.store, clock.now, self._uid)
        self.registry.admission = Admission(self.registry)
        self.judge = Judge(self.registry)
        self.load = Load(self.registry, random.Random(f"load {schedule.seed}"))
        self._standins: asyncio.Task[None] | None = None
        app = Application(self.registry, Tokens("p", "t"))
        count = 1 + self._chance.randrange(2)
        self.replicas = [
            Replica(number, Line(app, "t", schedule, number), LoopClock(loop), schedule.seed, policy)
            for number in range(count)
        ]
        self._blows: set[asyncio.Task[None]] = set()

    def _uid(self) -> str:
        return f"{self._uids.getrandbits(128):032x}"

    # Life

    async def start(self) -> None:
        self._go_on()
        for replica in self.replicas:
            replica.start()

    def _go_on(self) -> None:
        self._standins = asyncio.create_task(StandIns(self.registry, quarantine_seconds=5.0).run())

    async def close(self) -> None:
        await ended(*self._blows)
        for replica in self.replicas:
            await replica.stop()
        for replica in self.replicas:
            await asyncio.gather(*replica.line.ghosts, return_exceptions=True)
        assert self._standins is not None
        await ended(self._standins)
        self.registry.close()
        self.store.close()

    async def suffer(self) -> None:
        """All arrivals and blows of the schedule, each at its time."""
        moments: list[tuple[float, Happening | None]] = [(at, None) for at in self.schedule.arrivals]
        moments += [(item.at, item) for item in self.schedule.happenings]
        for at, item in sorted(moments, key=lambda entry: entry[0]):
            await asyncio.sleep(max(0.0, at - self.loop.time()))
            if item is None:
                self._arrive()
            else:
                self._blows.add(asyncio.create_task(self._strike(item)))
        await asyncio.sleep(max(0.0, self.schedule.until - self.loop.time()))
        await asyncio.gather(*self._blows)
        self._blows.clear()
        for replica in self.replicas:
            replica.line.troubled = False
        self._clean_up()

    def _clean_up(self) -> None:
        """People delete bare pods whose claim they deleted: told that these wait for ever, and that nobody
        makes them anew.
        """
        resource = self.registry.resources.named("pods", "")
        pods, _, _ = self.registry.list(resource)
        for pod in pods:
            meta = pod["metadata"]
            if (
                meta["uid"] in self.load.doomed
                and not pod["spec"].get("nodeName")
                and not meta.get("ownerReferences")
            ):
                with contextlib.suppress(StatusError):
                    self.registry.delete(resource, meta["namespace"], meta["name"], SYSTEM)

    def _arrive(self) -> None:
        self._chance.choice((self.load.pod, self.load.gang, self.load.gang, self.load.pair))()

    # Blows

    async def _strike(self, item: Happening) -> None:
        replica = self.replicas[item.which % len(self.replicas)]
        match item.blow:
            case Blow.RESTART:
                for one in self.replicas:
                    one.line.up = False
                    one.line.break_watches()
                await asyncio.sleep(item.length)
                self.registry.compact()
                for one in self.replicas:
                    one.line.up = True
            case Blow.ISOLATE:
                replica.line.up = False
                replica.line.break_watches()
                await asyncio.sleep(item.length)
                replica.line.up = True
            case Blow.THROTTLE:
                for one in self.replicas:
                    one.line.busy = True
                await asyncio.sleep(item.length)
                for one in self.replicas:
                    one.line.busy = False
            case Blow.COMPACT:
                self.registry.compact()
                for one in self.replicas:
                    one.line.break_watches()
            case Blow.CLOCK:
                replica.clock.skew += (-3600.0, -30.0, 30.0, 3600.0)[item.which % 4]
                await asyncio.sleep(item.length)
                replica.clock.skew = 0.0
            case Blow.KILL:
                await replica.kill()
                replica.start()
            case Blow.CONTROL_PLANE:
                assert self._standins is not None
                await ended(self._standins)
                await asyncio.sleep(item.length)
                if self._standins.done():
                    self._go_on()
            case Blow.SLICE_GONE:
                await self._without_slice(item)
            case Blow.SLICE_NEW:
                await self._upgrade(item)
            case Blow.NODE_LOST:
                await self._without_node(item)
            case Blow.CORDON:
                self._cordon(item, True)
                await asyncio.sleep(item.length)
                self._cordon(item, False)
            case Blow.NODE_SHORT:
                await self._short_of_cpu(item)
            case Blow.CLAIM_DELETED:
                self.load.delete_claim()
            case Blow.POD_DELETED:
                self.load.delete_pod()

    def _name(self, item: Happening) -> str:
        return f"node-{item.which % NODES}"

    def _get(self, plural: str, group: str, name: str) -> dict[str, Any] | None:
        return self.registry.find(self.registry.resources.named(plural, group), None, name)

    def _put(self, plural: str, group: str, obj: dict[str, Any]) -> None:
        resource = self.registry.resources.named(plural, group)
        name = obj["metadata"]["name"]
        found = self.registry.find(resource, None, name)
        obj = copy.deepcopy(obj)
        for key in ("resourceVersion", "uid", "creationTimestamp", "generation"):
            obj["metadata"].pop(key, None)
        if found is None:
            self.registry.create(resource, None, obj, SYSTEM)
        else:
            self.registry.update(resource, None, name, obj, SYSTEM)

    def _drop(self, plural: str, group: str, name: str) -> None:
        with contextlib.suppress(StatusError):
            self.registry.delete(self.registry.resources.named(plural, group), None, name, SYSTEM)

    def _slice(self, name: str) -> dict[str, Any] | None:
        return self._get("resourceslices", "resource.k8s.io", f"{name}-gpus")

    def _publish(self, name: str, generation: int, devices: int, slices: int = 1) -> None:
        self._put(
            "resourceslices",
            "resource.k8s.io",
            {
                "apiVersion": "resource.k8s.io/v1",
                "kind": "ResourceSlice",
                "metadata": {"name": f"{name}-gpus"},
                "spec": {
                    "driver": DRIVER,
                    "nodeName": name,
                    "pool": {"name": name, "generation": generation, "resourceSliceCount": slices},
                    "devices": [{"name": f"gpu-{number}"} for number in range(devices)],
                },
            },
        )

    def _generation(self, name: str) -> int:
        found = self._slice(name)
        return 1 if found is None else int(found["spec"]["pool"]["generation"])

    async def _without_slice(self, item: Happening) -> None:
        name = self._name(item)
        generation = self._generation(name)
        self._drop("resourceslices", "resource.k8s.io", f"{name}-gpus")
        await asyncio.sleep(item.length)
        self._publish(name, generation + 1, DEVICES)

    async def _upgrade(self, item: Happening) -> None:
        name = self._name(item)
        if self._slice(name) is None:
            return
        self._publish(name, self._generation(name) + 1, DEVICES - item.which % 2, slices=2)
        await asyncio.sleep(item.length / 2)
        self._publish(name, self._generation(name) + 1, DEVICES - item.which % 2)
        await asyncio.sleep(item.length / 2)
        self._publish(name, self._generation(name) + 1, DEVICES)

    async def _without_node(self, item: Happening) -> None:
        name = self._name(item)
        node = self._get("nodes", "", name)
        if node is None:
            return
        self._drop("nodes", "", name)
        await asyncio.sleep(item.length + 10.0)
        node.pop("spec", None)
        node["status"]["allocatable"] = dict(node["status"]["capacity"])
        self._put("nodes", "", {key: value for key, value in node.items() if key != "status"})
        for key in ("resourceVersion", "uid", "creationTimestamp", "generation"):
            node["metadata"].pop(key, None)
        self.registry.update(
            self.registry.resources.named("nodes", ""), None, name, node, SYSTEM, subresource="status"
        )
        self._publish(name, self._generation(name) + 1, DEVICES)

    async def _short_of_cpu(self, item: Happening) -> None:
        """Between the lifting of a gate and the binding: what the scheduler knows, and Aliquot did not."""
        lifted: asyncio.Future[str] = self.loop.create_future()
        before: dict[str, bool] = {}

        def look(change: str, obj: dict[str, Any]) -> None:
            uid, gated = obj["metadata"]["uid"], bool(obj["spec"].get("schedulingGates"))
            if before.get(uid) and not gated and not obj["spec"].get("nodeName") and not lifted.done():
                lifted.set_result(self._node_of(obj))
            before[uid] = gated

        self.registry.observe(self.registry.resources.named("pods", ""), look)
        try:
            async with asyncio.timeout(self.schedule.until):
                name = await lifted
        except TimeoutError:
            return
        self._room(name, "0")
        await asyncio.sleep(4.0 * item.length)
        self._room(name, "64")

    def _node_of(self, pod: dict[str, Any]) -> str:
        """Where the pod's first claim is allocated."""
        made = (pod.get("status") or {}).get("resourceClaimStatuses") or [{}]
        name = pod["spec"]["resourceClaims"][0].get("resourceClaimName") or made[0].get("resourceClaimName")
        resource = self.registry.resources.named("resourceclaims", "resource.k8s.io")
        claim = self.registry.get(resource, pod["metadata"]["namespace"], name)
        pool: str = claim["status"]["allocation"]["devices"]["results"][0]["pool"]
        return pool

    def _room(self, name: str, cpu: str) -> None:
        node = self._get("nodes", "", name)
        if node is None:
            return
        node["status"]["allocatable"] = {**node["status"]["allocatable"], "cpu": cpu}
        resource = self.registry.resources.named("nodes", "")
        self.registry.update(resource, None, name, node, SYSTEM, subresource="status")

    def _cordon(self, item: Happening, on: bool) -> None:
        node = self._get("nodes", "", self._name(item))
        if node is not None:
            node["spec"] = {**(node.get("spec") or {}), "unschedulable": on}
            self._put("nodes", "", node)

    # What is left

    def held(self) -> list[str]:
        """Claims that hold devices."""
        name, _, group = CLAIMS.partition(".")
        claims, _, _ = self.registry.list(self.registry.resources.named(name, group))
        return [
            f"{claim['metadata']['namespace']}/{claim['metadata']['name']}: "
            f"{msgspec.json.encode(claim['status'].get('reservedFor')).decode()}"
            for claim in claims
            if (claim.get("status") or {}).get("allocation")
        ]

    def pods(self) -> list[str]:
        """Pods that have not ended, in words."""
        pods, _, _ = self.registry.list(self.registry.resources.named("pods", ""))
        return [
            f"{pod['metadata']['namespace']}/{pod['metadata']['name']} {pod['spec'].get('nodeName')} "
            f"{pod['spec'].get('schedulingGates')} {(pod.get('status') or {}).get('conditions')}"
            for pod in pods
            if (pod.get("status") or {}).get("phase") not in ("Succeeded", "Failed")
        ]


@contextlib.asynccontextmanager
async def world(loop: VirtualLoop, schedule: Schedule, policy: Policy = POLICY) -> AsyncIterator[World]:
    made = World(loop, schedule, policy)
    await made.start()
    try:
        yield made
    finally:
        await made.close()
