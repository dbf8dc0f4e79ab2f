"""The admission chain of the embedded cluster: defaults of pods, mutating policies, validating policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aliquot.embedded.admission.compilation import check_policy
from aliquot.embedded.admission.mutating import MutatingPolicies
from aliquot.embedded.admission.pods import PodDefaults
from aliquot.embedded.admission.requests import AdmissionRequest
from aliquot.embedded.admission.validating import ValidatingPolicies
from aliquot.embedded.hooks import Completion, Object, Operation, User, unchanged
from aliquot.embedded.resources import Resource

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry


class Admission:
    """Evaluates the policies stored in ``registry``; set it as ``registry.admission``."""

    def __init__(self, registry: Registry) -> None:
        self._pods = PodDefaults(registry)
        self._mutating = MutatingPolicies(registry)
        self._validating = ValidatingPolicies(registry)

    def admit(
        self,
        operation: Operation,
        resource: Resource,
        subresource: str,
        namespace: str,
        name: str,
        obj: Object | None,
        old: Object | None,
        user: User,
        namespace_object: Object | None,
        dry_run: bool,
        completed: Completion = unchanged,
    ) -> Object | None:
        request = AdmissionRequest(
            operation, resource, subresource, namespace, name, obj, old, user, namespace_object, dry_run
        )
        self._pods.apply(request)
        changed = self._mutating.change(request)
        if changed is not obj:
            # What one policy changed may concern the plugins and policies before it: they look once more.
            request = request.with_object(changed)
            self._pods.apply(request)
            request = request.with_object(self._mutating.change(request, again=True))
        if request.obj is not None:
            request = request.with_object(completed(request.obj))
        self._pods.check(request)
        check_policy(request)
        self._validating.check(request)
        return request.obj
