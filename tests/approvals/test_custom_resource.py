"""ApprovedModel, TokenBudget and Tenant as an API server admits them, and as they are read."""

import copy
from collections.abc import Iterator
from typing import Any

import pytest
from tests.approvals.admission import DIGEST, OTHER, REVISION, Object, Server

from aliquot.approvals.documents import parse, parse_all
from aliquot.approvals.model import TRANSITIONS, Price, State
from aliquot.budgets.definition import parse_budget
from aliquot.embedded.hooks import SYSTEM, User
from aliquot.embedded.status import StatusError
from aliquot.model.kinds import ObjectError

SPEC: Object = {
    "model": "llama",
    "version": "1",
    "owner": "ml-platform",
    "licence": "Llama-3.1",
    "weights": {"source": "hf://meta-llama/Llama-3.1-8B", "revision": REVISION},
    "evaluations": [{"name": "mmlu", "uri": "https://example/1", "result": "0.69"}],
    "call": {"namespaces": ["*"]},
    "run": {"namespaces": ["serving"], "queues": ["research"]},
    "needs": {"memory": "20Gi", "deviceClasses": ["gpu.nvidia.com"], "isolation": "Sandbox"},
    "price": {"currency": "EUR", "input": "0.25", "output": "1", "cachedInput": "0.025"},
    "maxContext": 131072,
}


@pytest.fixture(scope="module")
def shared_server() -> Server:
    return Server()


@pytest.fixture
def server(shared_server: Server) -> Iterator[Server]:
    """Without any of the custom resources that a test before made."""
    yield shared_server
    registry = shared_server.registry
    for plural in ("approvedmodels", "tokenbudgets", "tenants"):
        resource = registry.resources.named(plural, "aliquot.dev")
        for found in registry.list(resource)[0]:
            registry.delete(resource, None, found["metadata"]["name"], SYSTEM)


def document(kind: str, spec: Object, name: str = "llama-1") -> Object:
    return {
        "apiVersion": "aliquot.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name},
        "spec": copy.deepcopy(spec),
    }


def model(**changes: Any) -> Object:
    return document("ApprovedModel", {**SPEC, **changes})


def reach(server: Server, state: State) -> Object:
    """A model that came to this state."""
    path = {State.PROPOSED: [], State.APPROVED: [State.APPROVED], State.REVOKED: [State.REVOKED]}
    made = server.create(model())
    for step in path.get(state, [State.APPROVED, state]):
        made["spec"]["state"] = step.value
        made["spec"]["decision"] = {"reason": "because"}
        made = server.update(made)
    return made


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_states_change_as_the_table_says(server: Server, before: State, after: State) -> None:
    made = reach(server, before)
    made["spec"]["state"] = after.value
    made["spec"]["decision"] = {"reason": "again"}

    if after is before or after in TRANSITIONS[before]:
        assert server.update(made)["spec"]["state"] == after.value
    else:
        with pytest.raises(StatusError, match=f"that is {before.value} cannot become {after.value}"):
            server.update(made)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"weights": {"source": "hf://a/b"}}, "pinned"),
        ({"weights": {"source": "hf://a/b", "revision": "main"}}, "40 hexadecimal digits"),
        ({"weights": {"source": "hf://a/b", "digest": DIGEST}}, "40 hexadecimal digits"),
        ({"weights": {"source": "no uri"}}, "source"),
        ({"weights": {"source": "oci://a/b", "digest": "sha256:abc"}}, "digest"),
        ({"state": "Revoked"}, "why the model is revoked"),
        ({"state": "Blessed"}, "state"),
        ({"price": {"currency": "EUR", "input": "1e3", "output": "1"}}, "price"),
        ({"price": {"currency": "euro", "input": "1", "output": "1"}}, "currency"),
        ({"replacedBy": "llama-1"}, "replace itself"),
        ({"needs": {"isolation": "Wall"}}, "isolation"),
        ({"owner": ""}, "owner"),
        ({"call": {"namespaces": ["Not a name"]}}, "namespaces"),
    ],
)
def test_a_model_that_makes_no_sense_is_refused(server: Server, changes: Object, word: str) -> None:
    with pytest.raises(StatusError, match=word):
        server.create(model(**{"state": "Approved", **changes}))


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "other"},
        {"version": "2"},
        {"weights": {"source": "hf://meta-llama/Llama-3.1-8B", "revision": OTHER}},
        {"weights": {"source": "hf://evil/model", "revision": REVISION}},
    ],
)
def test_what_was_approved_cannot_be_changed_under_the_approval(server: Server, changes: Object) -> None:
    made = reach(server, State.APPROVED)
    made["spec"] |= changes

    with pytest.raises(StatusError, match="cannot be changed"):
        server.update(made)


def test_a_proposal_may_still_change_its_weights(server: Server) -> None:
    made = reach(server, State.PROPOSED)
    made["spec"]["weights"]["revision"] = OTHER

    assert server.update(made)["spec"]["weights"]["revision"] == OTHER


def test_nobody_decides_in_the_name_of_another(server: Server) -> None:
    made = server.create(model())
    made["spec"] |= {"state": "Approved", "decision": {"by": "ann"}}

    with pytest.raises(StatusError, match=r"decision\.by is 'ann', but bob decides"):
        server.update(made, User("bob"))
    assert server.update(made, User("ann"))["spec"]["state"] == "Approved"


def test_a_stored_model_is_read_with_exact_amounts(server: Server) -> None:
    found = parse(server.create(model()))

    assert found.price == Price(currency="EUR", input=250_000, output=1_000_000, cached=25_000)
    assert Price.decimal(250_000) == "0.25"
    assert found.needs.memory is not None
    assert found.needs.memory.nano == 20 * 2**30 * 10**9
    assert found.run.queues == ("research",)
    assert (found.state, found.max_context, found.licence) == (State.PROPOSED, 131072, "Llama-3.1")
    assert found.names == ("llama-1", "llama@1", "llama")


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"price": {"currency": "EUR", "input": "NaN", "output": "1"}}, "spec.price.input"),
        ({"price": {"currency": "EUR", "input": "1", "output": "0.0000001"}}, "spec.price.output"),
        ({"price": {"currency": "EUR", "input": "1", "output": "9" * 30}}, "spec.price.output"),
        ({"state": "Blessed"}, "spec.state"),
        ({"weights": 1}, "spec.weights"),
    ],
)
def test_a_document_that_is_no_model_is_named_by_field_and_spoils_no_other(
    changes: Object, path: str
) -> None:
    with pytest.raises(ObjectError) as refused:
        parse(model(**changes))
    assert refused.value.path == path
    models, problems = parse_all([model(**changes), model()])
    assert ([found.name for found in models], len(problems)) == (["llama-1"], 1)


BUDGET: Object = {
    "parent": "company",
    "subject": {"namespace": "team-a"},
    "limits": [
        {"measure": "totalTokens", "amount": 100000, "per": "hour"},
        {"measure": "money", "amount": "12.50", "per": "day", "models": ["large"]},
        {"measure": "concurrency", "amount": 8},
    ],
    "onLimit": {"action": "fallback", "model": "small"},
    "alertsAtPercent": [80],
}


def test_a_budget_is_admitted_and_read_by_the_gateway(server: Server) -> None:
    made = server.create(document("TokenBudget", BUDGET, "team-a"))

    assert parse_budget("team-a", made["spec"]).spec.parent == "company"


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"parent": "team-a"}, "own parent"),
        ({"limits": [{"measure": "money", "amount": "1"}]}, "needs minute"),
        ({"limits": [{"measure": "concurrency", "amount": 1, "per": "day"}]}, "no per"),
        ({"limits": [{"measure": "money", "amount": "-1", "per": "day"}]}, "amount"),
        ({"limits": [{"measure": "wishes", "amount": 1, "per": "day"}]}, "measure"),
        ({"onLimit": {"action": "fallback"}}, "name the model"),
        ({"onLimit": {"maxWaitSeconds": 301}}, "maxWaitSeconds"),
        ({"each": "planet"}, "each"),
        ({"alertsAtPercent": [0]}, "alertsAtPercent"),
    ],
)
def test_a_budget_that_makes_no_sense_is_refused(server: Server, changes: Object, word: str) -> None:
    with pytest.raises(StatusError, match=word):
        server.create(document("TokenBudget", {**BUDGET, **changes}, "team-a"))
