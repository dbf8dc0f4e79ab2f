"""What the API server's own plugins do to new pods: service account and priority.

Source: Kubernetes documentation, "Admission Controllers Reference" (ServiceAccount, Priority) and "Pod
Priority and Preemption".
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aliquot.embedded.admission.requests import AdmissionRequest
from aliquot.embedded.hooks import Object

if TYPE_CHECKING:
    from aliquot.embedded.registry import Registry

PREEMPTS = "PreemptLowerPriority"


class PodDefaults:
    """Fills in service account, priority and preemption policy; admits one default class at most."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def apply(self, request: AdmissionRequest) -> None:
        """Change ``request.obj`` in place. Raises StatusError 403."""
        if request.subresource or request.obj is None:
            return
        if request.resource.key == "pods" and request.operation == "CREATE":
            self._service_account(request, request.obj)
            self._priority(request, request.obj)

    def check(self, request: AdmissionRequest) -> None:
        """Refuse a second default class. Raises StatusError 403."""
        if request.resource.key != "priorityclasses.scheduling.k8s.io" or request.obj is None:
            return
        if request.operation not in ("CREATE", "UPDATE") or not request.obj.get("globalDefault"):
            return
        for other in self._classes():
            if other.get("globalDefault") and other["metadata"]["name"] != request.shown_name:
                name = other["metadata"]["name"]
                raise request.forbidden(
                    f"PriorityClass {name} is already marked as default. Only one default can exist"
                )

    def _service_account(self, request: AdmissionRequest, pod: Object) -> None:
        spec = pod.setdefault("spec", {})
        if not spec.get("serviceAccountName"):
            spec["serviceAccountName"] = spec.get("serviceAccount") or "default"
        name = spec["serviceAccountName"]
        accounts = self._registry.resources.named("serviceaccounts")
        # The account "default" of a new namespace may be a moment behind its namespace.
        if name != "default" and self._registry.find(accounts, request.namespace, name) is None:
            raise request.forbidden(
                f"error looking up service account {request.namespace}/{name}: "
                f'serviceaccount "{name}" not found'
            )
        spec["serviceAccount"] = name

    def _priority(self, request: AdmissionRequest, pod: Object) -> None:
        spec = pod["spec"]
        found: Object | None
        if name := spec.get("priorityClassName"):
            classes = self._registry.resources.named("priorityclasses", "scheduling.k8s.io")
            found = self._registry.find(classes, None, name)
            if found is None:
                raise request.forbidden(f"no PriorityClass with name {name} was found")
        else:
            found = self._default_class()
            # The kind fills in what holds without any class; a default class goes before that.
            if found is not None and spec.get("priority") == 0:
                spec.pop("priority")
                spec.pop("preemptionPolicy", None)
        value, policy = 0, PREEMPTS
        if found is not None:
            value = int(found.get("value") or 0)
            policy = found.get("preemptionPolicy") or PREEMPTS
            spec["priorityClassName"] = found["metadata"]["name"]
        given = spec.get("priority")
        if given is not None and given != value:
            raise request.forbidden(
                f"the integer value of priority ({given}) must not be provided in pod spec; "
                f"priority admission controller computed {value} from the given PriorityClass name"
            )
        given = spec.get("preemptionPolicy")
        if given and given != policy:
            raise request.forbidden(
                f"the string value of PreemptionPolicy ({given}) must not be provided in pod spec; "
                f"priority admission controller computed {policy} from the given PriorityClass name"
            )
        spec["priority"] = value
        spec["preemptionPolicy"] = policy

    def _default_class(self) -> Object | None:
        """The one with ``globalDefault``; of several, left from a race, the lowest counts."""
        defaults = [one for one in self._classes() if one.get("globalDefault")]
        return min(defaults, key=lambda one: int(one.get("value") or 0), default=None)

    def _classes(self) -> list[Object]:
        classes = self._registry.resources.named("priorityclasses", "scheduling.k8s.io")
        return self._registry.list(classes)[0]
