"""Tables as ``kubectl get`` prints them: columns and cells per kind."""

from __future__ import annotations

from aliquot.embedded.http.tables import nodes, others, pods, workloads
from aliquot.embedded.http.tables.column import Column, Table, age
from aliquot.embedded.http.tables.custom import custom_table
from aliquot.embedded.resources import Resource

__all__ = ["TABLES", "Column", "Table", "table_for"]

_PLAIN = Table((Column("Age", age, description="Time since the object was created"),))

TABLES: dict[str, Table] = {
    "pods": pods.PODS,
    "nodes": nodes.NODES,
    "namespaces": others.NAMESPACES,
    "events": others.EVENTS,
    "configmaps": others.CONFIG_MAPS,
    "secrets": others.SECRETS,
    "serviceaccounts": others.SERVICE_ACCOUNTS,
    "services": others.SERVICES,
    "deployments.apps": workloads.DEPLOYMENTS,
    "replicasets.apps": workloads.REPLICA_SETS,
    "statefulsets.apps": workloads.STATEFUL_SETS,
    "daemonsets.apps": workloads.DAEMON_SETS,
    "jobs.batch": workloads.JOBS,
    "cronjobs.batch": workloads.CRON_JOBS,
    "resourceclaims.resource.k8s.io": nodes.CLAIMS,
    "resourceslices.resource.k8s.io": nodes.SLICES,
    "leases.coordination.k8s.io": others.LEASES,
    "priorityclasses.scheduling.k8s.io": others.PRIORITY_CLASSES,
    "workloads.scheduling.k8s.io": others.WORKLOADS,
    "podgroups.scheduling.k8s.io": others.POD_GROUPS,
    "customresourcedefinitions.apiextensions.k8s.io": others.CREATED_AT,
    "clusterroles.rbac.authorization.k8s.io": others.CREATED_AT,
    "roles.rbac.authorization.k8s.io": others.CREATED_AT,
    "clusterrolebindings.rbac.authorization.k8s.io": others.ROLE_BINDINGS,
    "rolebindings.rbac.authorization.k8s.io": others.ROLE_BINDINGS,
    "validatingadmissionpolicies.admissionregistration.k8s.io": others.VALIDATING_POLICIES,
    "mutatingadmissionpolicies.admissionregistration.k8s.io": others.MUTATING_POLICIES,
    "validatingadmissionpolicybindings.admissionregistration.k8s.io": others.POLICY_BINDINGS,
    "mutatingadmissionpolicybindings.admissionregistration.k8s.io": others.POLICY_BINDINGS,
    "poddisruptionbudgets.policy": others.BUDGETS,
}


def table_for(resource: Resource) -> Table:
    """The table of a resource; name and age where nothing more is known of it."""
    if resource.custom:
        return custom_table(resource.columns)
    return TABLES.get(resource.key, _PLAIN)
