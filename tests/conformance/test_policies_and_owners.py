"""Admission policies at work, and what happens to objects when their owner goes."""

from tests.conformance.resources import Space
from tests.conformance.server import Object


def policy(space: Space, kind: str, spec: Object, binding: Object) -> None:
    """A policy on leases of this namespace."""
    rule = {
        "apiGroups": ["coordination.k8s.io"],
        "apiVersions": ["v1"],
        "resources": ["leases"],
        "operations": ["CREATE", "UPDATE"],
    }
    selector = {"matchLabels": {"kubernetes.io/metadata.name": space.name}}
    constraints = {"resourceRules": [rule], "namespaceSelector": selector}
    space.create(
        f"{kind}admissionpolicies",
        {"metadata": {"name": space.name}, "spec": {"matchConstraints": constraints} | spec},
    )
    space.create(
        f"{kind}admissionpolicybindings",
        {"metadata": {"name": space.name}, "spec": {"policyName": space.name} | binding},
    )


def test_a_validating_policy_refuses_with_its_message(space: Space) -> None:
    spec = {
        "failurePolicy": "Fail",
        "validations": [
            {
                "expression": "object.metadata.name != 'bad'",
                "messageExpression": "'not ' + object.metadata.name",
                "reason": "Forbidden",
            }
        ],
    }
    policy(space, "validating", spec, {"validationActions": ["Deny"]})
    lease = {"metadata": {"name": "bad"}}
    # The server's plugin learns of a new policy a moment after it is stored.
    space.until(lambda: space.do("POST leases", lease, query="dryRun=All").code == 403)
    answer = space.do("POST leases", lease)
    assert answer.reason == "Forbidden"
    assert answer.body["message"].endswith("denied request: not bad")
    assert space.do("POST leases", {"metadata": {"name": "good"}}).code == 201


def test_a_mutating_policy_completes_what_is_created(space: Space) -> None:
    expression = "Object{metadata: Object.metadata{labels: {'made': object.metadata.name}}}"
    spec = {
        "reinvocationPolicy": "Never",
        "failurePolicy": "Fail",
        "matchConditions": [{"name": "new", "expression": "request.operation == 'CREATE'"}],
        "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}],
    }
    policy(space, "mutating", spec, {})
    lease = {"metadata": {"name": "a", "labels": {"own": "1"}}}

    def made() -> Object:
        found: Object = space.do("POST leases", lease, query="dryRun=All").body["metadata"]["labels"]
        return found

    space.until(lambda: "made" in made())
    assert made() == {"own": "1", "made": "a"}


def test_what_an_owner_leaves_behind_goes_with_it(space: Space) -> None:
    owner = space.create("leases", {"metadata": {"name": "owner"}})
    reference = {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "name": "owner",
        "uid": owner["metadata"]["uid"],
        "blockOwnerDeletion": True,
    }
    space.create("leases", {"metadata": {"name": "owned", "ownerReferences": [reference]}})
    space.do("DELETE leases/owner", query="propagationPolicy=Background")
    space.gone("leases/owner")
    space.gone("leases/owned")


def test_in_the_foreground_the_owner_goes_last_and_orphans_stay(space: Space) -> None:
    for name, propagation in (("first", "Foreground"), ("second", "Orphan")):
        owner = space.create("leases", {"metadata": {"name": name}})
        reference = {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "name": name,
            "uid": owner["metadata"]["uid"],
            "blockOwnerDeletion": True,
        }
        child = {"metadata": {"name": f"{name}-owned", "ownerReferences": [reference]}}
        space.create("leases", child)
        answer = space.do(f"DELETE leases/{name}", query=f"propagationPolicy={propagation}")
        assert answer.code == 200
        space.gone(f"leases/{name}")
    space.gone("leases/first-owned")
    assert "ownerReferences" not in space.get("leases/second-owned")["metadata"]
