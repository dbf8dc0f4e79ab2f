"""ApprovedModel as Kubernetes stores it, and as this package knows it.

The custom resource's schema (crd-approvedmodels.yaml) says what is admitted; what is read here is read with
the same bounds, so that a document that was stored before the schema, or by hand in a file, cannot do harm.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import msgspec

from aliquot.approvals.model import (
    Access,
    ApprovedModel,
    Decision,
    Energy,
    Evaluation,
    Isolation,
    Needs,
    Price,
    State,
    Weights,
)
from aliquot.cel.quantity import Quantity
from aliquot.model.kinds import ObjectError, convert
from aliquot.model.meta import Condition, KubernetesObject, Record

API_VERSION = "aliquot.dev/v1alpha1"
KIND = "ApprovedModel"
PLURAL = "approvedmodels"
MICRO = 10**6
LARGEST_PRICE = 10**12
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class WeightsDocument(Record, frozen=True):
    source: str
    revision: str = ""
    digest: str = ""
    adapters: tuple[str, ...] = ()


class AccessDocument(Record, frozen=True):
    namespaces: tuple[str, ...] = ()
    queues: tuple[str, ...] = ()


class NeedsDocument(Record, frozen=True):
    memory: Quantity | None = None
    device_classes: tuple[str, ...] = ()
    isolation: Isolation = Isolation.NONE


class PriceDocument(Record, frozen=True):
    """Decimals of the currency per million tokens."""

    currency: str
    input: str
    output: str
    cached_input: str = ""


class EnergyDocument(Record, frozen=True):
    input: int
    output: int


class EvaluationDocument(Record, frozen=True):
    name: str
    uri: str = ""
    result: str = ""


class DecisionDocument(Record, frozen=True):
    by: str = ""
    reason: str = ""
    at: datetime | None = None


class ApprovedModelSpec(Record, frozen=True):
    model: str
    version: str
    weights: WeightsDocument
    owner: str = ""
    licence: str = ""
    model_class: str = ""
    served_names: tuple[str, ...] = ()
    evaluations: tuple[EvaluationDocument, ...] = ()
    state: State = State.PROPOSED
    decision: DecisionDocument | None = None
    replaced_by: str = ""
    run: AccessDocument = AccessDocument()
    call: AccessDocument = AccessDocument()
    needs: NeedsDocument = NeedsDocument()
    price: PriceDocument | None = None
    energy: EnergyDocument | None = None
    max_context: int | None = None
    max_output: int | None = None


class ServingWorkload(Record, frozen=True):
    """What serves a model: an entry of status.workloads."""

    kind: str
    namespace: str
    name: str
    pods: int = 0


class ApprovedModelStatus(Record, frozen=True):
    observed_generation: int = 0
    running: int = 0
    workloads: tuple[ServingWorkload, ...] = ()
    conditions: tuple[Condition, ...] = ()


class ApprovedModelDocument(KubernetesObject, frozen=True, kw_only=True, tag_field="kind", tag=KIND):
    """The custom resource."""

    spec: ApprovedModelSpec
    status: ApprovedModelStatus = ApprovedModelStatus()


def parse(document: Mapping[str, Any]) -> ApprovedModel:
    """The model of a JSON document. Raises ObjectError with the field and the problem."""
    return model_of(decoded(document))


def decoded(document: Mapping[str, Any]) -> ApprovedModelDocument:
    """A JSON document as a typed object. Raises ObjectError."""
    metadata = document.get("metadata")
    name = str(metadata.get("name", "")) if isinstance(metadata, Mapping) else ""
    if document.get("apiVersion") != API_VERSION:
        raise ObjectError(
            KIND, name, "apiVersion", f"is {document.get('apiVersion')!r}, must be {API_VERSION}"
        )
    try:
        found: ApprovedModelDocument = convert(document, ApprovedModelDocument)
    except msgspec.ValidationError as error:
        problem, _, path = str(error).partition(" - at `$")
        raise ObjectError(KIND, name, path.strip("`."), problem) from None
    return found


def parse_all(documents: Iterable[Mapping[str, Any]]) -> tuple[list[ApprovedModel], list[ObjectError]]:
    """The models of documents, and what is wrong with those that are none: one bad one spoils no other."""
    models, problems = [], []
    for document in documents:
        try:
            models.append(parse(document))
        except ObjectError as error:
            problems.append(error)
    return models, problems


def model_of(document: ApprovedModelDocument) -> ApprovedModel:
    """The model that a document stands for. Raises ObjectError for a price that is none."""
    spec, name = document.spec, document.name
    return ApprovedModel(
        name=name,
        model=spec.model,
        version=spec.version,
        weights=Weights(
            source=spec.weights.source,
            revision=spec.weights.revision,
            digest=spec.weights.digest,
            adapters=spec.weights.adapters,
        ),
        state=spec.state,
        licence=spec.licence,
        owner=spec.owner,
        model_class=spec.model_class,
        served_names=spec.served_names,
        evaluations=tuple(
            Evaluation(name=one.name, uri=one.uri, result=one.result) for one in spec.evaluations
        ),
        run=_access(spec.run),
        call=_access(spec.call),
        needs=Needs(
            memory=spec.needs.memory,
            device_classes=spec.needs.device_classes,
            isolation=spec.needs.isolation,
        ),
        price=_price(spec.price, name),
        energy=None if spec.energy is None else Energy(input=spec.energy.input, output=spec.energy.output),
        max_context=spec.max_context,
        max_output=spec.max_output,
        replaced_by=spec.replaced_by,
        decision=_decision(spec.decision),
    )


def _access(found: AccessDocument) -> Access:
    return Access(namespaces=found.namespaces, queues=found.queues)


def _decision(found: DecisionDocument | None) -> Decision | None:
    if found is None:
        return None
    at_us = 0 if found.at is None else (found.at - _EPOCH) // timedelta(microseconds=1)
    return Decision(by=found.by, reason=found.reason, at_us=at_us)


def _price(found: PriceDocument | None, name: str) -> Price | None:
    if found is None:
        return None
    return Price(
        currency=found.currency,
        input=_micro(found.input, name, "spec.price.input"),
        output=_micro(found.output, name, "spec.price.output"),
        cached=_micro(found.cached_input, name, "spec.price.cachedInput") if found.cached_input else None,
    )


def _micro(text: str, name: str, path: str) -> int:
    """A decimal as micro-units: "0.25" is 250,000. Raises ObjectError."""
    try:
        scaled = Decimal(text) * MICRO if len(text) <= 32 else Decimal("nan")
    except InvalidOperation:
        scaled = Decimal("nan")
    if not scaled.is_finite() or not 0 <= scaled <= LARGEST_PRICE * MICRO:
        raise ObjectError(KIND, name, path, f"{text[:32]!r} is not a price; write a decimal such as 0.25")
    if scaled != scaled.to_integral_value():
        raise ObjectError(KIND, name, path, f"{text!r} has more than 6 decimals; round it")
    return int(scaled)
