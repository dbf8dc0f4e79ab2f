"""Readings of exporters joined to devices, parts, claims, pods, workloads and queues."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from aliquot.model.meta import ObjectRef
from aliquot.usage.identity import Identity
from aliquot.usage.matching import Device, Matcher
from aliquot.usage.metrics import BUSY, Metric
from aliquot.usage.sampling import overlaid, sampled
from aliquot.usage.series import Column, Owner, Series, Subject
from aliquot.usage.sharing import Tenure, attributed

OF_DEVICES = frozenset({*BUSY, Metric.TENSOR_BUSY, Metric.DRAM_BUSY, Metric.MEMORY_USED, Metric.MEMORY_TOTAL})
"""What is said of a pod's devices by exporters that name no device."""

Owners = Mapping[tuple[str, str], Owner]
"""Who a pod, by (namespace, name), works for."""


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What one exporter said of one device (or model server) over some time.

    times: ms since 1970. values: in the metric's unit; of an amount what the counter showed. origin: which
    exporter, as it was scraped: readings of one origin never overlap, those of two may be of the same device.
    step: the usual distance of its readings, ms, 0: as they lie. maxima: where values are averages over
    steps, the largest in each; None: the same.
    """

    metric: Metric
    identity: Identity
    times: Column
    values: Column
    origin: str = ""
    step: int = 0
    maxima: Column | None = None


@dataclass(frozen=True, slots=True)
class Usage:
    """How devices were used.

    devices: of each board, and of each part that is measured by itself, one series for each metric, whoever
    held it. held: the same divided among the holders: one series for each subject, metric and owner (two
    where an owner had it alone for a while and shared it for another). servers: what model servers say of
    themselves and what containers use besides devices, by pod and container. unmatched: identities of devices
    that the cluster does not publish.
    """

    devices: Mapping[Subject, Mapping[Metric, Series]]
    held: tuple[Series, ...]
    servers: tuple[Series, ...] = ()
    unmatched: tuple[Identity, ...] = ()

    def of(self, subject: Subject, *metrics: Metric) -> Series | None:
        """The series of a board or part, of the first of several metrics that there is one of."""
        found = self.devices.get(subject, {})
        return next((found[metric] for metric in metrics if metric in found and len(found[metric])), None)


def joined_usage(
    readings: Iterable[Reading], devices: Sequence[Device], tenures: Sequence[Tenure], owners: Owners
) -> Usage:
    """Join readings to the devices they mean and to those who held them.

    tenures: who held what, as far as the cluster knows it. For time that none speaks of, the pods that
    exporters name count as holders, and `owners` says whom they work for.
    """
    groups: dict[tuple[Subject, Metric], dict[str, list[Reading]]] = {}
    servers: dict[tuple[tuple[str, str], str, Metric], dict[str, list[Reading]]] = {}
    unmatched: dict[Identity, None] = {}
    all_readings = tuple(readings)
    matcher = Matcher.of(devices, tenures, (item.identity for item in all_readings))
    seen: dict[Subject, list[Reading]] = {}
    for item in all_readings:
        identity = item.identity
        if not identity.names_device:
            alone = matcher.alone(identity) if item.metric in OF_DEVICES else None
            if alone is not None:
                groups.setdefault((alone, item.metric), {}).setdefault(item.origin, []).append(item)
            elif identity.pod is not None:
                key = ((identity.pod.namespace, identity.pod.name), identity.container, item.metric)
                servers.setdefault(key, {}).setdefault(item.origin, []).append(item)
            continue
        subject = matcher.find(identity)
        if subject is None:
            if not matcher.beneath(identity):
                unmatched.setdefault(replace(identity, pod=None, container=""))
            continue
        groups.setdefault((subject, item.metric), {}).setdefault(item.origin, []).append(item)
        if identity.pod is not None:
            seen.setdefault(subject, []).append(item)
    found: dict[Subject, dict[Metric, Series]] = {}
    shares = {item.subject: item.share for item in devices}
    for (subject, metric), origins in groups.items():
        made = _one(metric, subject, origins)
        if made is not None:
            found.setdefault(subject, {})[metric] = replace(made, share=shares.get(subject, made.share))
    holding = _holding(tenures, seen, owners, shares)
    held = tuple(
        part
        for subject, by_metric in found.items()
        for series in by_metric.values()
        for part in attributed(series, holding.get(subject, ()))
    )
    return Usage(found, held, tuple(_servers(servers, owners)), tuple(unmatched))


def _one(metric: Metric, subject: Subject, origins: Mapping[str, Sequence[Reading]]) -> Series | None:
    made = [
        sampled(
            metric,
            subject,
            _column([item.times for item in own]),
            _column([item.values for item in own]),
            step=max(item.step for item in own),
            maxima=_column([item.values if item.maxima is None else item.maxima for item in own]),
        )
        for _, own in sorted(origins.items())
    ]
    return overlaid(made) if any(len(item) for item in made) else None


def _column(pieces: Sequence[Column]) -> Column:
    if len(pieces) == 1:
        return pieces[0]
    return np.concatenate(pieces)


def _servers(
    servers: Mapping[tuple[tuple[str, str], str, Metric], Mapping[str, Sequence[Reading]]], owners: Owners
) -> Iterable[Series]:
    for (pod, container, metric), origins in servers.items():
        series = _one(metric, Subject(), origins)
        if series is not None:
            yield replace(series, owner=replace(owner_of(pod, owners), container=container))


def owner_of(pod: tuple[str, str], owners: Owners) -> Owner:
    """Whom a pod works for; where nobody knows any more, the pod alone."""
    return owners.get(pod) or Owner(pod=ObjectRef(kind="Pod", namespace=pod[0], name=pod[1]))


def _holding(
    tenures: Sequence[Tenure],
    seen: Mapping[Subject, Sequence[Reading]],
    owners: Owners,
    shares: Mapping[Subject, Fraction],
) -> Mapping[Subject, tuple[Tenure, ...]]:
    """Tenures by subject: those that the cluster knows, and for other time those that exporters saw."""
    by_subject: dict[Subject, list[Tenure]] = {}
    for tenure in tenures:
        by_subject.setdefault(tenure.subject, []).append(tenure)
    for subject, items in seen.items():
        known = by_subject.get(subject, [])
        share = shares.get(subject, Fraction(1))
        by_subject[subject] = known + list(_seen_tenures(subject, share, items, known, owners))
    return {subject: tuple(own) for subject, own in by_subject.items()}


def _seen_tenures(
    subject: Subject, share: Fraction, items: Sequence[Reading], known: Sequence[Tenure], owners: Owners
) -> Iterable[Tenure]:
    """When exporters saw pods on a device, outside of the time in which the cluster says who held it."""
    pods: dict[tuple[str, str], list[tuple[int, int]]] = {}
    for item in items:
        if not len(item.times) or item.identity.pod is None:
            continue
        series = sampled(Metric.KERNEL_BUSY, subject, item.times, item.times, step=item.step)
        stretches = [series.start, *(bound for gap in series.gaps for bound in gap), series.end]
        pod = (item.identity.pod.namespace, item.identity.pod.name)
        pods.setdefault(pod, []).extend(zip(stretches[::2], stretches[1::2], strict=True))
    taken = [(item.start, item.end) for item in known if not item.admin]
    for pod, stretches_of in pods.items():
        for start, end in _without(_merged(stretches_of), taken):
            yield Tenure(subject, owner_of(pod, owners), share, start, end)


def _merged(stretches: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    for start, end in sorted(stretches):
        if found and start <= found[-1][1]:
            found[-1] = (found[-1][0], max(end, found[-1][1]))
        else:
            found.append((start, end))
    return found


def _without(
    stretches: Iterable[tuple[int, int]], taken: Iterable[tuple[int, int | None]]
) -> Iterable[tuple[int, int]]:
    left = list(stretches)
    for low, high in taken:
        cut: list[tuple[int, int]] = []
        for start, end in left:
            if start < low:
                cut.append((start, min(end, low)))
            if high is not None and end > high:
                cut.append((max(start, high), end))
        left = [(start, end) for start, end in cut if start < end]
    return left
