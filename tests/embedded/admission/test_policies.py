"""Policies of all forms, written as their users write them."""

from typing import Any

import pytest
from cluster import PEOPLE, Cluster
from hypothesis import given
from hypothesis import strategies as st

from aliquot.embedded.admission.matching import MatchResources
from aliquot.embedded.admission.requests import AdmissionRequest
from aliquot.embedded.hooks import SYSTEM, Object
from aliquot.embedded.resources import BUILT_IN
from aliquot.embedded.status import StatusError

CONFIGS = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": ["configmaps"]}]


def validating(cluster: Cluster, name: str = "rule", *, binding: Object | None = None, **spec: Any) -> None:
    """One policy on ConfigMaps, unless ``matchConstraints`` says otherwise, and its binding."""
    group = "admissionregistration.k8s.io/v1"
    cluster.create(
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {"matchConstraints": {"resourceRules": CONFIGS}} | spec,
        }
    )
    cluster.create(
        {
            "apiVersion": group,
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": f"{name}-binding"},
            "spec": {"policyName": name, "validationActions": ["Deny"]} | (binding or {}),
        }
    )


def mutating(cluster: Cluster, *mutations: Object, name: str = "change", **spec: Any) -> None:
    group = "admissionregistration.k8s.io/v1"
    cluster.create(
        {
            "apiVersion": group,
            "kind": "MutatingAdmissionPolicy",
            "metadata": {"name": name},
            "spec": {
                "matchConstraints": {"resourceRules": CONFIGS},
                "reinvocationPolicy": "Never",
                "mutations": list(mutations),
            }
            | spec,
        }
    )
    cluster.create(
        {
            "apiVersion": group,
            "kind": "MutatingAdmissionPolicyBinding",
            "metadata": {"name": f"{name}-binding"},
            "spec": {"policyName": name},
        }
    )


def patch(expression: str) -> Object:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}


def apply(expression: str) -> Object:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}}


def refusal(cluster: Cluster, **data: str) -> StatusError:
    with pytest.raises(StatusError) as refused:
        cluster.config("c", **data)
    return refused.value


SMALL = "!has(object.data) || object.data.size() < 2"


class TestValidating:
    def test_a_refusal_is_worded_as_by_an_api_server(self, cluster: Cluster) -> None:
        validating(cluster, validations=[{"expression": SMALL, "message": "too many keys"}])
        error = refusal(cluster, a="1", b="2")
        message = "ValidatingAdmissionPolicy 'rule' with binding 'rule-binding' denied request: too many keys"
        assert error.message == f'configmaps "c" is forbidden: {message}'
        assert (error.code, error.reason) == (422, "Invalid")
        assert error.details["causes"][0]["message"] == message
        assert cluster.config("c", a="1")["data"] == {"a": "1"}

    @pytest.mark.parametrize(
        ("reason", "code"),
        [("Unauthorized", 401), ("Forbidden", 403), ("RequestEntityTooLarge", 413), ("Invalid", 422)],
    )
    def test_the_reason_decides_the_code(self, cluster: Cluster, reason: str, code: int) -> None:
        validating(cluster, validations=[{"expression": "false", "reason": reason}])
        error = refusal(cluster)
        assert (error.code, error.reason) == (code, reason)
        assert error.message.endswith("denied request: failed expression: false")

    @pytest.mark.parametrize(
        ("expression", "message"),
        [
            ("'has ' + string(object.data.size()) + ' keys'", "has 2 keys"),
            ("'  '", "plain"),
            ("'two\\nlines'", "plain"),
            ("string(object.data.missing)", "plain"),
        ],
    )
    def test_a_message_expression_goes_before_the_message_if_it_gives_one_line(
        self, cluster: Cluster, expression: str, message: str
    ) -> None:
        rule = {"expression": SMALL, "message": "plain", "messageExpression": expression}
        validating(cluster, validations=[rule])
        assert refusal(cluster, a="1", b="2").message.endswith(f"denied request: {message}")

    def test_variables_see_those_before_them(self, cluster: Cluster) -> None:
        validating(
            cluster,
            variables=[
                {"name": "keys", "expression": "has(object.data) ? object.data.map(k, k) : []"},
                {"name": "count", "expression": "variables.keys.size()"},
            ],
            validations=[{"expression": "variables.count < 2"}],
        )
        cluster.config("c", a="1")
        with pytest.raises(StatusError):
            cluster.config("d", a="1", b="2")

    def test_a_match_condition_that_does_not_hold_skips_the_policy(self, cluster: Cluster) -> None:
        condition = {"name": "not-people", "expression": "request.userInfo.username != 'admin'"}
        validating(cluster, matchConditions=[condition], validations=[{"expression": "false"}])
        cluster.config("c", PEOPLE)
        with pytest.raises(StatusError):
            cluster.config("d", SYSTEM)

    @pytest.mark.parametrize("policy", ["Fail", "Ignore"])
    def test_an_error_refuses_unless_it_is_to_be_ignored(self, cluster: Cluster, policy: str) -> None:
        validating(cluster, failurePolicy=policy, validations=[{"expression": "object.data.missing == 'x'"}])
        if policy == "Ignore":
            cluster.config("c", a="1")
            return
        message = refusal(cluster, a="1").message
        assert "expression 'object.data.missing == 'x'' resulted in error: no such key: missing" in message

    @pytest.mark.parametrize("actions", [["Warn"], ["Audit"], ["Warn", "Audit"]])
    def test_without_the_action_deny_nothing_is_refused(self, cluster: Cluster, actions: list[str]) -> None:
        validating(cluster, binding={"validationActions": actions}, validations=[{"expression": "false"}])
        cluster.config("c")

    def test_a_policy_without_binding_does_nothing(self, cluster: Cluster) -> None:
        validating(cluster, validations=[{"expression": "false"}])
        cluster.delete("validatingadmissionpolicybindings.admissionregistration.k8s.io", "rule-binding")
        cluster.config("c")

    def test_a_changed_policy_counts_at_once(self, cluster: Cluster) -> None:
        validating(cluster, validations=[{"expression": "false"}])
        plural = "validatingadmissionpolicies.admissionregistration.k8s.io"
        policy = cluster.get(plural, "rule")
        policy["spec"]["validations"][0]["expression"] = "true"
        cluster.update(plural, policy)
        cluster.config("c")

    def test_parameters_come_from_the_object_that_the_binding_names(self, cluster: Cluster) -> None:
        cluster.namespace("limits")
        cluster.config("most", namespace="limits", keys="1")
        validating(
            cluster,
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            matchConstraints={
                "resourceRules": CONFIGS,
                "namespaceSelector": {"matchLabels": {"small": "yes"}},
            },
            validations=[{"expression": "object.data.size() <= int(params.data.keys)"}],
            binding={"paramRef": {"name": "most", "namespace": "limits", "parameterNotFoundAction": "Deny"}},
        )
        cluster.namespace("tight", {"small": "yes"})
        cluster.config("c", namespace="tight", a="1")
        with pytest.raises(StatusError):
            cluster.config("d", namespace="tight", a="1", b="2")

    @pytest.mark.parametrize("action", ["Allow", "Deny"])
    def test_missing_parameters_deny_or_allow_as_asked(self, cluster: Cluster, action: str) -> None:
        validating(
            cluster,
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            validations=[{"expression": "params.data.x == 'y'"}],
            binding={"paramRef": {"name": "none", "parameterNotFoundAction": action}},
        )
        if action == "Allow":
            cluster.config("c")
        else:
            assert "no params found for policy binding with `Deny`" in refusal(cluster).message

    def test_several_parameter_objects_must_all_agree(self, cluster: Cluster) -> None:
        cluster.namespace("team")
        for name, value in (("one", "5"), ("two", "1")):
            made = cluster.config(name, namespace="team", keys=value)
            made["metadata"]["labels"] = {"limit": "yes"}
            cluster.update("configmaps", made, namespace="team")
        validating(
            cluster,
            paramKind={"apiVersion": "v1", "kind": "ConfigMap"},
            validations=[{"expression": "object.data.size() <= int(params.data.keys)"}],
            binding={
                "paramRef": {
                    "selector": {"matchLabels": {"limit": "yes"}},
                    "parameterNotFoundAction": "Deny",
                }
            },
        )
        cluster.config("c", namespace="team", a="1")
        with pytest.raises(StatusError):
            cluster.config("d", namespace="team", a="1", b="2")

    def test_a_deletion_shows_the_old_object_only(self, cluster: Cluster) -> None:
        cluster.config("keep", a="1")
        validating(
            cluster,
            validations=[
                {
                    "expression": "object != null || !('a' in oldObject.data)",
                    "reason": "Forbidden",
                }
            ],
        )
        with pytest.raises(StatusError):
            cluster.delete("configmaps", "keep")

    def test_an_update_can_be_compared_with_what_was(self, cluster: Cluster) -> None:
        made = cluster.config("c", a="1")
        rule = {"expression": "oldObject == null || object.data == oldObject.data", "message": "immutable"}
        validating(cluster, validations=[rule])
        made["data"] = {"a": "2"}
        with pytest.raises(StatusError, match="immutable"):
            cluster.update("configmaps", made)

    def test_the_namespace_can_be_looked_at(self, cluster: Cluster) -> None:
        cluster.namespace("red", {"colour": "red"})
        expression = (
            "!has(namespaceObject.metadata.labels.colour) || namespaceObject.metadata.labels.colour != 'red'"
        )
        validating(cluster, validations=[{"expression": expression}])
        cluster.config("c")
        with pytest.raises(StatusError):
            cluster.config("c", namespace="red")

    def test_every_user_is_authorized_for_everything(self, cluster: Cluster) -> None:
        asked = "authorizer.group('apps').resource('deployments').check('delete').allowed()"
        here = "authorizer.requestResource.check('approve').allowed()"
        validating(cluster, validations=[{"expression": f"!({asked} && {here})"}])
        assert refusal(cluster).code == 422

    def test_policies_do_not_lock_themselves_in(self, cluster: Cluster) -> None:
        everything = [{"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}]
        validating(
            cluster,
            matchConstraints={"resourceRules": everything},
            validations=[{"expression": "false"}],
        )
        cluster.delete("validatingadmissionpolicies.admissionregistration.k8s.io", "rule")
        cluster.config("c")

    def test_a_policy_that_does_not_compile_is_refused_with_the_place(self, cluster: Cluster) -> None:
        with pytest.raises(StatusError) as refused:
            validating(cluster, validations=[{"expression": "true"}, {"expression": "object.data.size("}])
        assert (refused.value.code, refused.value.reason) == (422, "Invalid")
        assert refused.value.causes[0].field == "spec.validations[1].expression"

    def test_an_expression_of_the_wrong_type_is_refused(self, cluster: Cluster) -> None:
        with pytest.raises(StatusError, match="must evaluate to bool"):
            validating(cluster, validations=[{"expression": "'yes'"}])


class TestMutating:
    def test_an_apply_configuration_is_merged(self, cluster: Cluster) -> None:
        mutating(cluster, apply("Object{metadata: Object.metadata{labels: {'team': 'a'}}, data: {'b': '2'}}"))
        made = cluster.config("c", a="1")
        assert made["metadata"]["labels"] == {"team": "a"}
        assert made["data"] == {"a": "1", "b": "2"}

    def test_a_json_patch_is_applied(self, cluster: Cluster) -> None:
        mutating(
            cluster,
            patch(
                "[JSONPatch{op: 'test', path: '/data/a', value: '1'},"
                " JSONPatch{op: 'add', path: '/data/' + jsonpatch.escapeKey('x.y'), value: 'z'}]"
            ),
        )
        assert cluster.config("c", a="1")["data"] == {"a": "1", "x.y": "z"}

    def test_mutations_see_what_those_before_them_did(self, cluster: Cluster) -> None:
        mutating(
            cluster,
            apply("Object{data: {'b': object.data.a + '!'}}"),
            apply("Object{data: {'c': object.data.b + '!'}}"),
        )
        assert cluster.config("c", a="1")["data"] == {"a": "1", "b": "1!", "c": "1!!"}

    @pytest.mark.parametrize(("reinvocation", "seen"), [("IfNeeded", "yes"), ("Never", "no")])
    def test_a_policy_sees_later_changes_if_it_asks_for_it(
        self, cluster: Cluster, reinvocation: str, seen: str
    ) -> None:
        mutating(
            cluster,
            apply("Object{data: {'seen': 'late' in object.data ? 'yes' : 'no'}}"),
            name="a-first",
            reinvocationPolicy=reinvocation,
        )
        mutating(cluster, apply("Object{data: {'late': 'x'}}"), name="b-second")
        assert cluster.config("c")["data"] == {"seen": seen, "late": "x"}

    def test_lists_that_are_maps_merge_by_their_keys(self, cluster: Cluster) -> None:
        pods = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
        mutating(
            cluster,
            apply(
                "Object{spec: Object.spec{containers: [Object.spec.containers{"
                "name: 'main', imagePullPolicy: 'Never',"
                " env: [Object.spec.containers.env{name: 'A', value: '1'}]}]}}"
            ),
            matchConstraints={"resourceRules": pods},
        )
        spec = cluster.pod("p")["spec"]
        assert len(spec["containers"]) == 1
        main = spec["containers"][0]
        assert (main["image"], main["imagePullPolicy"]) == ("work", "Never")
        assert main["env"] == [{"name": "A", "value": "1"}]

    @pytest.mark.parametrize(
        ("mutation", "why"),
        [
            (apply("Object{spec: Object.spec{x: 1}}"), ".spec: field not declared in schema"),
            (patch("[JSONPatch{op: 'replace', path: '/data/none', value: '1'}]"), "error applying patch"),
            (patch("[JSONPatch{op: 'test', path: '/data/a', value: '2'}]"), "error applying patch"),
        ],
    )
    def test_a_change_that_does_not_fit_refuses_the_request(
        self, cluster: Cluster, mutation: Object, why: str
    ) -> None:
        mutating(cluster, mutation)
        error = refusal(cluster, a="1")
        assert why in error.message
        assert error.message.startswith("policy 'change' with binding 'change-binding' denied request: ")

    def test_lists_that_can_only_be_replaced_are_refused(self, cluster: Cluster) -> None:
        pods = [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["pods"]}]
        mutating(
            cluster,
            apply(
                "Object{spec: Object.spec{containers: [Object.spec.containers{name: 'main', args: ['x']}]}}"
            ),
            matchConstraints={"resourceRules": pods},
        )
        with pytest.raises(StatusError, match="may not mutate atomic arrays, maps or structs"):
            cluster.pod("p")

    def test_failures_may_be_ignored(self, cluster: Cluster) -> None:
        mutating(cluster, apply("Object{spec: Object.spec{x: 1}}"), failurePolicy="Ignore")
        assert cluster.config("c", a="1")["data"] == {"a": "1"}

    def test_a_dry_run_shows_the_change_and_stores_nothing(self, cluster: Cluster) -> None:
        mutating(cluster, apply("Object{data: {'b': '2'}}"))
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}
        assert cluster.create(obj, dry_run=True)["data"] == {"b": "2"}
        with pytest.raises(StatusError):
            cluster.get("configmaps", "c")


def request_of(resource: str, subresource: str = "", operation: str = "UPDATE") -> AdmissionRequest:
    found = next(one for one in BUILT_IN if one.plural == resource)
    obj: Object = {"metadata": {"name": "x", "labels": {"a": "1"}}}
    return AdmissionRequest(
        operation,  # type: ignore[arg-type]
        found,
        subresource,
        "default",
        "x",
        obj,
        None,
        SYSTEM,
        {"metadata": {"name": "default", "labels": {"env": "test"}}},
        False,
    )


@pytest.mark.parametrize(
    ("resources", "plural", "subresource", "expected"),
    [
        (["pods"], "pods", "", True),
        (["pods"], "pods", "status", False),
        (["pods/status"], "pods", "status", True),
        (["pods/*"], "pods", "binding", True),
        (["pods/*"], "pods", "", True),
        (["*"], "pods", "", True),
        (["*"], "pods", "status", False),
        (["*/status"], "nodes", "status", True),
        (["*/*"], "nodes", "status", True),
        (["*/*"], "nodes", "", True),
        (["pods"], "nodes", "", False),
    ],
)
def test_resources_match_with_their_subresources(
    resources: list[str], plural: str, subresource: str, expected: bool
) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["*"], "resources": resources}
    match = MatchResources({"resourceRules": [rule]}, rules_optional=False)
    assert match.matches(request_of(plural, subresource)) is expected


@pytest.mark.parametrize(
    ("constraints", "expected"),
    [
        ({"namespaceSelector": {"matchLabels": {"env": "test"}}}, True),
        ({"namespaceSelector": {"matchLabels": {"env": "prod"}}}, False),
        ({"namespaceSelector": {"matchExpressions": [{"key": "env", "operator": "DoesNotExist"}]}}, False),
        ({"objectSelector": {"matchLabels": {"a": "1"}}}, True),
        ({"objectSelector": {"matchLabels": {"a": "2"}}}, False),
        ({"namespaceSelector": {}, "objectSelector": {}}, True),
    ],
)
def test_selectors_narrow_a_match(constraints: Object, expected: bool) -> None:
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    match = MatchResources({"resourceRules": [rule]} | constraints, rules_optional=False)
    assert match.matches(request_of("pods")) is expected
    excluded = MatchResources(
        {"resourceRules": [rule], "excludeResourceRules": [rule]} | constraints, rules_optional=False
    )
    assert not excluded.matches(request_of("pods"))


def test_a_cluster_scoped_object_passes_the_namespace_selector_and_a_namespace_uses_its_own_labels() -> None:
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*"]}
    selector = {"matchLabels": {"a": "1"}}
    match = MatchResources({"resourceRules": [rule], "namespaceSelector": selector}, rules_optional=False)
    assert match.matches(request_of("nodes"))
    assert match.matches(request_of("namespaces"))
    assert not match.matches(request_of("pods"))


@given(
    st.sets(st.sampled_from(["CREATE", "UPDATE", "DELETE"])),
    st.sampled_from(["CREATE", "UPDATE", "DELETE"]),
)
def test_operations_match_those_listed(listed: set[str], operation: str) -> None:
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": list(listed), "resources": ["pods"]}
    match = MatchResources({"resourceRules": [rule]}, rules_optional=False)
    assert match.matches(request_of("pods", operation=operation)) is (operation in listed)
