"""The behaviours of the built-in kinds, by resource key."""

from __future__ import annotations

from aliquot.embedded.behaviors import Behavior
from aliquot.embedded.customresources.definitions import DefinitionBehavior
from aliquot.embedded.kinds import (
    claims,
    configuration,
    devices,
    events,
    jobs,
    leases,
    namespaces,
    nodes,
    podgroups,
    pods,
    policies,
    priorities,
    services,
    workloads,
)

_ROLE = policies.RoleBehavior()
_ROLE_BINDING = policies.RoleBindingBehavior()
_DATA = configuration.DataBehavior()
_GROUP = podgroups.GroupBehavior()

BEHAVIORS: dict[str, Behavior] = {
    "configmaps": _DATA,
    "secrets": _DATA,
    "events": events.EventBehavior(),
    "namespaces": namespaces.NamespaceBehavior(),
    "nodes": nodes.NodeBehavior(),
    "pods": pods.PodBehavior(),
    "services": services.ServiceBehavior(),
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
    "priorityclasses.scheduling.k8s.io": priorities.PriorityClassBehavior(),
    "workloads.scheduling.k8s.io": _GROUP,
    "podgroups.scheduling.k8s.io": _GROUP,
    "poddisruptionbudgets.policy": policies.BudgetBehavior(),
    "validatingadmissionpolicies.admissionregistration.k8s.io": policies.PolicyBehavior(),
    "mutatingadmissionpolicies.admissionregistration.k8s.io": policies.MutatingPolicyBehavior(),
    "leases.coordination.k8s.io": leases.LeaseBehavior(),
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": policies.AdmissionPolicyBehavior(),
    "clusterroles.rbac.authorization.k8s.io": _ROLE,
    "roles.rbac.authorization.k8s.io": _ROLE,
    "clusterrolebindings.rbac.authorization.k8s.io": _ROLE_BINDING,
    "rolebindings.rbac.authorization.k8s.io": _ROLE_BINDING,
}
_PLAIN = Behavior()


def behavior_of(key: str) -> Behavior:
    """The behaviour of the resource with this key (``jobs.batch``)."""
    return BEHAVIORS.get(key, _PLAIN)
