"""What the controller counts and measures, as Prometheus metrics with stable names (docs/operations.md).

Every instrument belongs to the registry that is passed in. What is a state and not an event (what waits, how
the mirror fares) is computed when somebody asks, by `StateCollector`.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aliquot.controller.live import Live
from aliquot.controller.outcomes import ConflictError, HeldBackError, Outcome
from aliquot.kube.clock import Clock
from aliquot.kube.mirror import Mirror
from aliquot.model.core import Pod
from aliquot.model.snapshot import Snapshot
from aliquot.scheduling.plan import Admit, Allocate, Deallocate, Evict, Reserve, Show

CYCLE_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
LAG_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
WAIT_SECONDS = (
    0.1,
    0.5,
    1.0,
    5.0,
    15.0,
    60.0,
    300.0,
    900.0,
    3600.0,
    4 * 3600.0,
    24 * 3600.0,
    7 * 24 * 3600.0,
)


class Metrics:
    """The instruments that the controller's parts report to. Also a `kube.observer.Observer`."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._cycles = Counter(
            "aliquot_cycles", "Rounds of the loop by how they ended.", ["result"], registry=registry
        )
        self._cycle_seconds = Histogram(
            "aliquot_cycle_duration_seconds",
            "Duration of the parts of a round: decide, record, enact.",
            ["phase"],
            buckets=CYCLE_SECONDS,
            registry=registry,
        )
        self._decisions = Counter(
            "aliquot_decisions",
            "Decisions that were to be carried out, by how that ended.",
            ["outcome"],
            registry=registry,
        )
        self._allocations = Counter(
            "aliquot_allocations", "Claims that were given devices.", registry=registry
        )
        self._deallocations = Counter(
            "aliquot_deallocations",
            "Claims whose devices were taken back, by reason.",
            ["reason"],
            registry=registry,
        )
        self._reservations = Counter(
            "aliquot_reservations", "Allocated claims that were reserved for further pods.", registry=registry
        )
        self._admissions = Counter(
            "aliquot_pods_admitted", "Pods whose gate was lifted.", ["queue"], registry=registry
        )
        self._shown = Counter(
            "aliquot_pods_shown",
            "Pods let go without a place, for a cluster autoscaler to see.",
            registry=registry,
        )
        self._evictions = Counter(
            "aliquot_evictions", "Pods that were made to leave, by reason.", ["reason"], registry=registry
        )
        self._waits = Histogram(
            "aliquot_placement_wait_seconds",
            "From a pod's creation to the lifting of its gate.",
            ["queue", "priority_class"],
            buckets=WAIT_SECONDS,
            registry=registry,
        )
        self._recorded = Gauge(
            "aliquot_journal_lag_seconds",
            "Age of the newest decision that is not yet in the journal; 0 when all are.",
            registry=registry,
        )
        self._requests = Counter(
            "aliquot_api_requests",
            "Requests to the API server; code 0 where no complete answer came.",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self._request_seconds = Histogram(
            "aliquot_api_request_duration_seconds",
            "Duration of requests to the API server, watches aside.",
            ["verb"],
            buckets=CYCLE_SECONDS,
            registry=registry,
        )
        self._throttled = Counter(
            "aliquot_api_throttled",
            "Requests that the API server put off for load (429, or 503 with Retry-After).",
            ["verb", "resource"],
            registry=registry,
        )
        self._lists = Counter(
            "aliquot_mirror_lists",
            "Times that all objects of a kind were listed: at the start, and when a watch could not go on.",
            ["kind"],
            registry=registry,
        )
        self._lag = Histogram(
            "aliquot_mirror_lag_seconds",
            "From the answer to a write to its arrival by watch.",
            ["kind"],
            buckets=LAG_SECONDS,
            registry=registry,
        )

    # The loop

    def cycle(self, result: str) -> None:
        """A round ended. result: done, undecided (a fault in deciding), unrecorded (the journal refused),
        unread (claims that cannot be read), unowned (no driver is Aliquot's), or handover (one has
        just become).
        """
        self._cycles.labels(result).inc()

    def phase(self, phase: str, seconds: float) -> None:
        self._cycle_seconds.labels(phase).observe(seconds)

    def journal_lag(self, seconds: float) -> None:
        self._recorded.set(seconds)

    def outcome(self, outcome: Outcome, pods: Callable[[str, str], Pod | None], now: datetime) -> None:
        """A decision with actions was attempted. pods: those that exist, by namespace and name."""
        problem = outcome.problem
        self._decisions.labels(
            "done"
            if problem is None
            else "conflict"
            if isinstance(problem, ConflictError)
            else "held_back"
            if isinstance(problem, HeldBackError)
            else "refused"
        ).inc()
        if problem is not None:
            return
        decision = outcome.decision
        for action in decision.actions:
            match action:
                case Allocate():
                    self._allocations.inc()
                case Reserve():
                    self._reservations.inc()
                case Deallocate():
                    self._deallocations.labels(action.verdict.reason.value).inc()
                case Evict():
                    self._evictions.labels(action.verdict.reason.value).inc()
                case Show():
                    self._shown.inc(len(action.pods))
                case Admit():
                    for spot in action.placements:
                        self._admissions.labels(decision.queue).inc()
                        pod = pods(spot.pod.namespace, spot.pod.name)
                        created = pod.metadata.creation_timestamp if pod is not None else None
                        if pod is not None and created is not None:
                            waited = max(0.0, (now - created).total_seconds())
                            self._waits.labels(decision.queue, pod.spec.priority_class_name).observe(waited)

    # kube.observer.Observer

    def answered(self, verb: str, resource: str, code: int, seconds: float) -> None:
        self._requests.labels(verb, resource, str(code)).inc()
        if verb != "watch":
            self._request_seconds.labels(verb).observe(seconds)

    def throttled(self, verb: str, resource: str) -> None:
        self._throttled.labels(verb, resource).inc()

    def listed(self, kind: str) -> None:
        self._lists.labels(kind).inc()

    def lagged(self, kind: str, seconds: float) -> None:
        self._lag.labels(kind).observe(seconds)


class StateCollector(Collector):
    """What is the case when it is asked. depths: how much waits to be written, by kind of write."""

    def __init__(
        self, live: Live, mirror: Mirror, clock: Clock, depths: Callable[[], Mapping[str, int]]
    ) -> None:
        self._live = live
        self._mirror = mirror
        self._clock = clock
        self._depths = depths

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily("aliquot_leader", "1 while this process decides.", float(self._live.leading))
        yield GaugeMetricFamily(
            "aliquot_mirror_complete",
            "1 once everything that decisions need has been read.",
            float(self._mirror.complete),
        )
        yield GaugeMetricFamily(
            "aliquot_mirror_problems",
            "Kinds and objects that cannot be read at present.",
            float(len(self._mirror.problems)),
        )
        objects = GaugeMetricFamily("aliquot_mirror_objects", "Objects known, by kind.", labels=["kind"])
        silence = GaugeMetricFamily(
            "aliquot_mirror_silence_seconds",
            "Since when nothing was heard of a kind; servers send a bookmark about every minute.",
            labels=["kind"],
        )
        for state in self._mirror.states():
            objects.add_metric([state.kind], state.objects)
            silence.add_metric([state.kind], state.silent_seconds)
        yield objects
        yield silence
        yield from self._waiting()
        depth = GaugeMetricFamily(
            "aliquot_pending_writes", "Writes that wait for their turn.", labels=["kind"]
        )
        for name, count in self._depths().items():
            depth.add_metric([name], count)
        yield depth

    def _waiting(self) -> Iterator[Metric]:
        pods = GaugeMetricFamily(
            "aliquot_waiting_pods",
            "Pods that wait for a place, by queue, priority class and reason.",
            labels=["queue", "priority_class", "reason"],
        )
        oldest = GaugeMetricFamily(
            "aliquot_waiting_oldest_seconds", "Age of the pod that waits longest, by queue.", labels=["queue"]
        )
        counts: Tally[tuple[str, str, str]] = Tally()
        ages: dict[str, float] = {}
        known = _by_uid(self._live.snapshot)
        now = self._clock.now()
        for decision in self._live.plan.decisions:
            if decision.verdict is None:
                continue
            for ref in decision.pods:
                pod = known.get(ref.uid)
                if pod is None or pod.spec.node_name:
                    continue
                counts[decision.queue, pod.spec.priority_class_name, decision.verdict.reason.value] += 1
                created = pod.metadata.creation_timestamp
                if created is not None:
                    age = (now - created).total_seconds()
                    ages[decision.queue] = max(ages.get(decision.queue, 0.0), age)
        for key, count in sorted(counts.items()):
            pods.add_metric(key, count)
        for queue, age in sorted(ages.items()):
            oldest.add_metric([queue], age)
        yield pods
        yield oldest


def _by_uid(snapshot: Snapshot) -> dict[str, Pod]:
    return {pod.metadata.uid: pod for pod in snapshot.pods if not pod.spec.node_name}
