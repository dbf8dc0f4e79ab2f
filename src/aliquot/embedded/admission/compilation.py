"""Policies whose expressions do not compile are refused when they are written."""

from __future__ import annotations

from collections.abc import Iterator

from aliquot.embedded.admission.expressions import Expression, MatchConditions, Workshop
from aliquot.embedded.admission.requests import AdmissionRequest
from aliquot.embedded.hooks import Object
from aliquot.embedded.status import Cause, invalid, invalid_value

_KINDS = {"ValidatingAdmissionPolicy": False, "MutatingAdmissionPolicy": True}


def check_policy(request: AdmissionRequest) -> None:
    """Raises StatusError 422 that names each expression that does not compile."""
    mutation = _KINDS.get(request.resource.kind)
    if mutation is None or request.subresource or request.obj is None:
        return
    causes = list(_causes(request.obj.get("spec") or {}, mutation=mutation))
    if causes:
        raise invalid(request.resource.kind, request.resource.group, request.shown_name, causes)


def _causes(spec: Object, *, mutation: bool) -> Iterator[Cause]:
    workshop = Workshop(spec, mutation=mutation)
    if workshop.fault:
        yield invalid_value("spec.variables", [one.get("name") for one in spec["variables"]], workshop.fault)
        return
    conditions = MatchConditions(workshop, spec.get("matchConditions") or [])
    for index, (_, expression) in enumerate(conditions.conditions):
        yield from _cause(f"spec.matchConditions[{index}].expression", expression)
    for index, one in enumerate(spec.get("validations") or ()):
        place = f"spec.validations[{index}]"
        yield from _cause(f"{place}.expression", workshop.expression(one.get("expression", ""), "bool"))
        if text := one.get("messageExpression"):
            yield from _cause(f"{place}.messageExpression", workshop.expression(text, "string"))
    for index, one in enumerate(spec.get("mutations") or ()):
        for name, kind in (("applyConfiguration", "Object"), ("jsonPatch", "list<JSONPatch>")):
            if one.get(name) is not None:
                place = f"spec.mutations[{index}].{name}.expression"
                yield from _cause(place, workshop.expression(one[name].get("expression", ""), kind))


def _cause(place: str, expression: Expression) -> Iterator[Cause]:
    if expression.fault:
        yield invalid_value(place, expression.text, expression.fault)
