"""The behaviours of the built-in kinds, by resource key."""

from __future__ import annotations

from aliquot.embedded.behaviors import Behavior
from aliquot.embedded.customresources.definitions import DefinitionBehavior
from aliquot.embedded.kinds import claims, devices, jobs, namespaces, others, pods, workloads

_ROLE = others.RoleBehavior()
_ROLE_BINDING = others.RoleBindingBehavior()
_DATA = others.DataBehavior()
_GROUP = others.GroupBehavior()

BEHAVIORS: dict[str, Behavior] = {
    "configmaps": _DATA,
    "secrets": _DATA,
    "events": others.EventBehavior(),
    "namespaces": namespaces.NamespaceBehavior(),
    "nodes": others.NodeBehavior(),
    "pods": pods.PodBehavior(),
    "services": others.ServiceBehavior(),
    "deployments.apps": workloads.DeploymentBehavior(),
    "replicasets.apps": workloads.WorkloadBehavior(),
    "statefulsets.apps": workloads.StatefulSetBehavior(),
    "daemonsets.apps": workloads.DaemonSetBehavior(),
    "jobs.batch": jobs.JobBehavior(),
    "cronjobs.batch": jobs.CronJobBehavior(),
    "deviceclasses.resource.k8s.io": devices.ClassBehavior(),
    "devicetaintrules.resource.k8s.io": devices.TaintRuleBehavior(),
    "resourceclaims.resource.k8s.io": claims.ClaimBehavior(),
    "resourceclaimtemplates.resource.k8s.io": claims.TemplateBehavior(),
    "resourceslices.resource.k8s.io": devices.SliceBehavior(),
    "customresourcedefinitions.apiextensions.k8s.io": DefinitionBehavior(),
    "priorityclasses.scheduling.k8s.io": others.PriorityClassBehavior(),
    "workloads.scheduling.k8s.io": _GROUP,
    "podgroups.scheduling.k8s.io": _GROUP,
    "poddisruptionbudgets.policy": others.BudgetBehavior(),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": others.AdmissionPolicyBehavior(),
    "clusterroles.rbac.authorization.k8s.io": _ROLE,
    "roles.rbac.authorization.k8s.io": _ROLE,
    "clusterrolebindings.rbac.authorization.k8s.io": _ROLE_BINDING,
    "rolebindings.rbac.authorization.k8s.io": _ROLE_BINDING,
}
_PLAIN = Behavior()


def behavior_of(key: str) -> Behavior:
    """The behaviour of the resource with this key (``jobs.batch``)."""
    return BEHAVIORS.get(key, _PLAIN)
