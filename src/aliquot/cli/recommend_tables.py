"""Recommendations, back-tests and repartition plans as tables and as JSON."""

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from aliquot.cli.output import Column, Row, Table
from aliquot.inventory.amounts import NONE, fraction
from aliquot.sizing.choosing import Recommendation
from aliquot.sizing.cluster import InForce
from aliquot.sizing.judging import gib
from aliquot.sizing.parts import Part
from aliquot.sizing.profiles import Profile, Spread
from aliquot.usage.metrics import WHOLE_PPM

MICROS = 1_000_000
HOURS_OF_MONTH = 730

_COLUMNS = (
    Column(title="WORKLOAD", key="workload", least=20),
    Column(title="NOW", key="now", drop=3),
    Column(title="ADVICE", key="advice"),
    Column(title="PART", key="part"),
    Column(title="SAVES", key="saves", right=True),
    Column(title="CONFIDENCE", key="confidence", drop=2),
    Column(title="RISK", key="risk", drop=1),
    Column(title="KIND", key="kind", wide=True),
    Column(title="IN FORCE", key="inForce", wide=True),
    Column(title="REASON", key="reason", wide=True),
    Column(title="NOTE", key="note", wide=True),
)


def recommendation_table(
    found: Sequence[Recommendation], in_force: Sequence[InForce | None], summary: dict[str, Any]
) -> Table:
    """One row for each workload."""
    rows = tuple(
        Row(
            cells=_cells(item, force),
            item=recommendation_item(item, force),
            name=f"{item.profile.workload.kind.lower()}/{item.profile.workload.name}",
        )
        for item, force in zip(found, in_force, strict=True)
    )
    return Table(kind="RecommendationList", columns=_COLUMNS, rows=rows, summary=summary)


def _cells(item: Recommendation, force: InForce | None) -> tuple[str, ...]:
    profile = item.profile
    had = profile.had
    return (
        f"{profile.workload.namespace}/{profile.workload.name}".strip("/"),
        short_text(had),
        item.advice.value,
        short_text(item.part, had),
        saving_text(item),
        item.confidence.level.value,
        item.risk.level.value if item.risk is not None else NONE,
        profile.kind.value,
        force.mode if force is not None else NONE,
        item.reason,
        item.caveat,
    )


def part_text(part: Part | None) -> str:
    """`A100-SXM4-80GB mig 3g.40gb`, without the words that say nothing."""
    if part is None:
        return NONE
    return part.accelerator.id if part.exclusive else f"{part.accelerator.id} {part.mode} {part.name}"


def short_text(part: Part | None, beside: Part | None = None) -> str:
    """`A100-80GB mig 3g.40gb`, and without the model beside a part of the same."""
    if part is None:
        return NONE
    family = part.accelerator.id.partition("-")[0]
    model = f"{family}-{part.accelerator.memory_gb}GB"
    if part.exclusive:
        return model
    if beside is not None and beside.accelerator.id == part.accelerator.id:
        return f"{part.mode} {part.name}"
    return f"{model} {part.mode} {part.name}"


def saving_text(item: Recommendation) -> str:
    """Money per month where it is known, else parts of devices of all pods; below 0 with a minus."""
    if item.saving_micros is not None:
        month = item.saving_micros * HOURS_OF_MONTH / MICROS
        return f"{month:+,.0f}/mo" if month else "0"
    if item.saving is None:
        return NONE
    saved = item.saving * item.profile.devices * item.profile.pods
    return f"{'+' if saved > 0 else '-' if saved else ''}{fraction(abs(saved))} GPU"


def recommendation_item(item: Recommendation, force: InForce | None = None) -> dict[str, Any]:
    """A recommendation for programs; bytes, exact fractions as text, micro-units of money per hour."""
    judged = item.judgement
    return {
        **profile_item(item.profile),
        "inForce": {"mode": force.mode, "part": part_item(force.part)} if force is not None else None,
        "advice": item.advice.value,
        "part": part_item(item.part),
        "neededBytes": item.need,
        "reason": item.reason,
        "note": item.caveat,
        "confidence": {
            "value": round(item.confidence.value, 4),
            "level": item.confidence.level.value,
            "history": round(item.confidence.history, 4),
            "stability": round(item.confidence.stability, 4),
            "coverage": round(item.confidence.coverage, 4),
            "source": item.confidence.source,
        },
        "risk": None
        if item.risk is None
        else {
            "level": item.risk.level.value,
            "memoryPerHour": item.risk.memory,
            "memory": item.risk.memory_level.value,
            "neighbours": item.risk.neighbours.value,
            "why": item.risk.why,
        },
        "saving": {
            "devicePart": str(item.saving) if item.saving is not None else None,
            "microsPerHour": item.saving_micros,
        },
        "replay": None
        if judged is None or judged.replay is None
        else {
            "overMs": judged.replay.over_ms,
            "coveredMs": judged.replay.covered_ms,
            "overHours": judged.replay.over_hours,
            "hours": judged.replay.hours,
            "late": judged.replay.late,
            "behindMs": judged.replay.behind_ms,
            "bandwidthSaturatedMs": judged.replay.saturated_ms,
            "stretch": judged.stretch,
        },
        "alternatives": [
            {"part": part_item(other.part), "lost": other.loss.value, "fact": other.fact}
            for other in item.alternatives
        ],
    }


def profile_item(profile: Profile) -> dict[str, Any]:
    """What a workload was seen to need, for programs."""
    ref = profile.workload
    return {
        "kind": ref.kind,
        "namespace": ref.namespace,
        "name": ref.name,
        "queue": profile.queue,
        "workloadKind": profile.kind.value,
        "workloadKindRule": profile.kind_rule,
        "pods": profile.pods,
        "devicesPerPod": profile.devices,
        "isolation": profile.isolation.word,
        "isolationRule": profile.isolation_rule,
        "peerToPeer": profile.peers,
        "peerToPeerRule": profile.peers_rule,
        "memoryBytes": _spread(profile.memory),
        "busyPpm": _spread(profile.busy),
        "bandwidthPpm": _spread(profile.bandwidth),
        "burstiness": profile.variation,
        "hours": round(profile.hours, 2),
        "coverage": round(profile.coverage, 4),
        "drift": round(profile.drift, 4),
        "provenance": profile.provenance.value,
        "rules": list(profile.rules),
        "kvCachePeakPpm": profile.cache,
        "held": part_item(profile.had),
    }


def _spread(spread: Spread | None) -> dict[str, int] | None:
    if spread is None:
        return None
    return {"p50": spread.p50, "p95": spread.p95, "p99": spread.p99, "peak": spread.peak}


def part_item(part: Part | None) -> dict[str, Any] | None:
    """A part for programs."""
    if part is None:
        return None
    return {
        "accelerator": part.accelerator.id,
        "mode": part.mode.value,
        "name": part.name,
        "memoryBytes": part.memory,
        "compute": str(part.compute),
        "share": str(part.share),
        "isolation": part.isolation.word,
        "change": part.change,
    }


def detail_lines(item: Recommendation, force: InForce | None) -> list[str]:
    """One recommendation in full, for `aliquot recommend NAME`."""
    profile = item.profile
    busy = profile.busy
    lines = [
        f"{profile.workload.kind.lower()}/{profile.workload.name}  {item.advice}: {part_text(item.part)}",
        f"  reason       {item.reason}",
        f"  kind         {profile.kind} ({profile.kind_rule})",
        f"  isolation    {profile.isolation.word} ({profile.isolation_rule})",
        f"  peer-to-peer {'yes' if profile.peers else 'no'} ({profile.peers_rule})",
        f"  memory       p50 {gib(profile.memory.p50)}, p95 {gib(profile.memory.p95)}, "
        f"peak {gib(profile.memory.peak)}, needed {gib(item.need)}",
    ]
    if busy is not None:
        shown = [f"{value * 100 / WHOLE_PPM:.0f} %" for value in (busy.p50, busy.p95, busy.peak)]
        lines.append(f"  busy         p50 {shown[0]}, p95 {shown[1]}, peak {shown[2]}")
    if force is not None:
        lines.append(f"  in force     {force.mode}: {part_text(force.part)}")
    confidence = item.confidence
    lines.append(
        f"  confidence   {confidence.level} {confidence.value:.2f} = history {confidence.history:.2f} x "
        f"stability {confidence.stability:.2f} x coverage {confidence.coverage:.2f} x source "
        f"{confidence.source:.2f} ({profile.provenance})"
    )
    if item.risk is not None:
        chance = "not known" if item.risk.memory is None else f"{item.risk.memory:.5f} an hour"
        lines.append(f"  risk         memory {item.risk.memory_level} ({chance}); {item.risk.why}")
    judged = item.judgement
    if judged is not None and judged.replay is not None:
        late = "not measured" if judged.replay.late is None else f"{judged.replay.late:.1%}"
        lines.append(
            f"  replayed     memory short {judged.replay.over:.3%} of the time, work late {late}, "
            f"bursts up to {judged.stretch:.1f} times as long"
        )
    if item.part is not None and item.part.change:
        lines.append(f"  takes        {item.part.change}")
    if item.caveat:
        lines.append(f"  note         {item.caveat}")
    for other in item.alternatives:
        lines.append(f"  not          {part_text(other.part)}: {other.loss} - {other.fact}")
    return lines


def total_saving(found: Sequence[Recommendation]) -> dict[str, Any]:
    """Sums over recommendations: parts of devices by model, and money where all have a price."""
    parts: Counter[str] = Counter()
    exact: dict[str, Fraction] = {}
    for item in found:
        if item.saving is not None and item.part is not None:
            model = item.part.accelerator.id
            saved = item.saving * item.profile.devices * item.profile.pods
            exact[model] = exact.get(model, Fraction(0)) + saved
    known = [item.saving_micros for item in found if item.saving_micros is not None]
    parts.update(item.advice.value for item in found)
    return {
        "workloads": len(found),
        "advice": dict(parts),
        "deviceParts": {model: str(value) for model, value in sorted(exact.items())},
        "microsPerHour": sum(known) if known else None,
    }
