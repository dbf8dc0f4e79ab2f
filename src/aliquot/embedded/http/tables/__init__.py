"""Tables as ``kubectl get`` prints them: columns and cells per kind."""

from __future__ import annotations

from aliquot.embedded.http.tables import events, nodes, podgroups, pods, policies, services, workloads
from aliquot.embedded.http.tables.column import Column, Table, age
from aliquot.embedded.http.tables.custom import custom_table
from aliquot.embedded.resources import Resource

__all__ = ["TABLES", "Column", "Table", "table_for"]

_PLAIN = Table((Column("Age", age, description="Time since the object was created"),))

TABLES: dict[str, Table] = {
    "pods": pods.PODS,
    "nodes": nodes.NODES,
    "namespaces": services.NAMESPACES,
    "events": events.EVENTS,
    "configmaps": services.CONFIG_MAPS,
    "secrets": services.SECRETS,
    "serviceaccounts": services.SERVICE_ACCOUNTS,
    "services": services.SERVICES,
    "deployments.apps": workloads.DEPLOYMENTS,
    "replicasets.apps": workloads.REPLICA_SETS,
    "statefulsets.apps": workloads.STATEFUL_SETS,
    "daemonsets.apps": workloads.DAEMON_SETS,
    "jobs.batch": workloads.JOBS,
    "cronjobs.batch": workloads.CRON_JOBS,
    "resourceclaims.resource.k8s.io": nodes.CLAIMS,
    "resourceslices.resource.k8s.io": nodes.SLICES,
    "leases.coordination.k8s.io": services.LEASES,
    "priorityclasses.scheduling.k8s.io": policies.PRIORITY_CLASSES,
    "workloads.scheduling.k8s.io": podgroups.WORKLOADS,
    "podgroups.scheduling.k8s.io": podgroups.POD_GROUPS,
    "customresourcedefinitions.apiextensions.k8s.io": services.CREATED_AT,
    "clusterroles.rbac.authorization.k8s.io": services.CREATED_AT,
    "roles.rbac.authorization.k8s.io": services.CREATED_AT,
    "clusterrolebindings.rbac.authorization.k8s.io": policies.ROLE_BINDINGS,
    "rolebindings.rbac.authorization.k8s.io": policies.ROLE_BINDINGS,
    "validatingadmissionpolicies.admissionregistration.k8s.io": policies.VALIDATING_POLICIES,
    "mutatingadmissionpolicies.admissionregistration.k8s.io": policies.MUTATING_POLICIES,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": policies.POLICY_BINDINGS,
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": policies.POLICY_BINDINGS,
    "poddisruptionbudgets.policy": policies.BUDGETS,
}


def table_for(resource: Resource) -> Table:
    """The table of a resource; name and age where nothing more is known of it."""
    if resource.custom:
        return custom_table(resource.columns)
    return TABLES.get(resource.key, _PLAIN)
