"""The tables of approved models."""

from collections.abc import Mapping, Sequence
from typing import Any

from aliquot.approvals.documents import ServingWorkload
from aliquot.approvals.model import ApprovedModel, Isolation, Price, State
from aliquot.cli.output import Column, Row, Table
from aliquot.cli.tables import joined
from aliquot.inventory.amounts import NONE

_COLUMNS = (
    Column(title="NAME", key="name", least=16),
    Column(title="MODEL", key="model", wide=True),
    Column(title="VERSION", key="version", drop=2),
    Column(title="STATE", key="state"),
    Column(title="OWNER", key="owner", drop=1),
    Column(title="CALLERS", key="callers", least=8, names=True),
    Column(title="PODS", key="pods", right=True),
    Column(title="PRICE IN/OUT", key="price", right=True, drop=3),
    Column(title="LICENCE", key="licence", wide=True),
    Column(title="SOURCE", key="source", wide=True),
    Column(title="REVISION", key="revision", wide=True),
)


def models(
    found: Sequence[ApprovedModel], running: Mapping[str, Sequence[ServingWorkload]] | None = None
) -> Table:
    """One row for each model. running: what serves it, by name; None: not known."""
    rows = []
    for model in found:
        pods = None if running is None else sum(one.pods for one in running.get(model.name, ()))
        pin = model.weights.revision or model.weights.digest
        rows.append(
            Row(
                name=f"approvedmodel.aliquot.dev/{model.name}",
                cells=(
                    model.name,
                    model.model,
                    model.version,
                    model.state.value,
                    model.owner,
                    joined(model.call.namespaces, 3),
                    NONE if pods is None else str(pods),
                    price(model.price),
                    model.licence,
                    model.weights.source,
                    pin,
                ),
                item=item(model, None if running is None else running.get(model.name, ())),
            )
        )
    counts = {state.value.lower(): sum(model.state is state for model in found) for state in State}
    return Table(
        kind="ModelTable",
        columns=_COLUMNS,
        rows=tuple(rows),
        summary={"models": len(rows), **counts},
    )


def price(found: Price | None) -> str:
    """Prices per million tokens, such as 0.25/1 EUR."""
    if found is None:
        return NONE
    return f"{Price.decimal(found.input)}/{Price.decimal(found.output)} {found.currency}"


def item(model: ApprovedModel, workloads: Sequence[ServingWorkload] | None = None) -> dict[str, Any]:
    """A model for programs."""
    decision = model.decision
    found: dict[str, Any] = {
        "name": model.name,
        "model": model.model,
        "version": model.version,
        "state": model.state.value,
        "owner": model.owner,
        "licence": model.licence,
        "modelClass": model.model_class,
        "servedNames": list(model.served_names),
        "weights": {
            "source": model.weights.source,
            "revision": model.weights.revision,
            "digest": model.weights.digest,
            "adapters": list(model.weights.adapters),
        },
        "run": {"namespaces": list(model.run.namespaces), "queues": list(model.run.queues)},
        "call": {"namespaces": list(model.call.namespaces), "queues": list(model.call.queues)},
        "needs": {
            "memory": None if model.needs.memory is None else str(model.needs.memory),
            "deviceClasses": list(model.needs.device_classes),
            "isolation": model.needs.isolation.value,
        },
        "price": _price(model.price),
        "evaluations": [
            {"name": one.name, "uri": one.uri, "result": one.result} for one in model.evaluations
        ],
        "replacedBy": model.replaced_by,
        "decision": None
        if decision is None
        else {"by": decision.by, "reason": decision.reason, "atMicroseconds": decision.at_us},
    }
    if workloads is not None:
        found["workloads"] = [
            {"kind": one.kind, "namespace": one.namespace, "name": one.name, "pods": one.pods}
            for one in workloads
        ]
    return found


def _price(found: Price | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {
        "currency": found.currency,
        "inputMicrosPerMillion": found.input,
        "outputMicrosPerMillion": found.output,
        "cachedMicrosPerMillion": found.cached,
    }


def description(model: ApprovedModel, workloads: Sequence[ServingWorkload] | None) -> list[str]:
    """A model for people, one fact a line."""
    weights = model.weights
    facts = [
        ("Name", model.name),
        ("Model", f"{model.model} {model.version}"),
        ("State", _state(model)),
        ("Replaced by", model.replaced_by),
        ("Owner", model.owner),
        ("Licence", model.licence),
        ("Weights", weights.source),
        ("Revision", weights.revision),
        ("Digest", weights.digest),
        ("Adapters", ", ".join(weights.adapters)),
        ("Asked for as", ", ".join(model.names)),
        ("May be called", _access(model.call.namespaces, model.call.queues)),
        ("May be run", _access(model.run.namespaces, model.run.queues)),
        ("Needs", _needs(model)),
        ("Price", "" if model.price is None else f"{price(model.price)} per million tokens in/out"),
    ]
    told = [f"{title + ':':<15}{text}" for title, text in facts if text]
    for one in model.evaluations:
        told.append(f"{'Evaluation:':<15}{' '.join(filter(None, (one.name, one.result, one.uri)))}")
    if workloads is not None:
        told.append(f"{'Running:':<15}{sum(one.pods for one in workloads)} pods")
        told += [f"  {one.namespace}/{one.kind.lower()}/{one.name}: {one.pods} pods" for one in workloads]
    return told


def _state(model: ApprovedModel) -> str:
    decision = model.decision
    if decision is None:
        return model.state.value
    by = f" by {decision.by}" if decision.by else ""
    reason = f": {decision.reason}" if decision.reason else ""
    return f"{model.state.value}{by}{reason}"


def _access(namespaces: Sequence[str], queues: Sequence[str]) -> str:
    if not namespaces:
        return "by nobody"
    where = "in every namespace" if "*" in namespaces else f"in {', '.join(namespaces)}"
    return f"{where}, through {', '.join(queues)}" if queues and "*" not in queues else where


def _needs(model: ApprovedModel) -> str:
    needs = model.needs
    facts = []
    if needs.memory is not None:
        facts.append(f"{needs.memory} of device memory")
    if needs.device_classes:
        facts.append(f"devices of {', '.join(needs.device_classes)}")
    if needs.isolation is not Isolation.NONE:
        facts.append(f"isolation {needs.isolation.value}")
    return "; ".join(facts)
