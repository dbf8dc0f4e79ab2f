"""Who may call and run which model."""

import itertools

import pytest

from aliquot.approvals.model import Access, ApprovedModel, Decision, State, Weights
from aliquot.approvals.verdict import Purpose, Reason, Registry, callable_models, verdict
from aliquot.approvals.wording import sentence


def model(name: str = "llama-1", **changes: object) -> ApprovedModel:
    fields: dict[str, object] = {
        "name": name,
        "model": "llama",
        "version": "1",
        "weights": Weights(source="hf://meta/llama"),
        "state": State.APPROVED,
        "owner": "ml-platform",
        "call": Access(namespaces=("a", "b")),
        "run": Access(namespaces=("a",), queues=("research",)),
    }
    return ApprovedModel(**{**fields, **changes})


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (State.PROPOSED, Reason.PROPOSED),
        (State.APPROVED, Reason.APPROVED),
        (State.DEPRECATED, Reason.DEPRECATED),
        (State.REVOKED, Reason.REVOKED),
    ],
)
def test_the_state_decides_before_anything_else(state: State, reason: Reason) -> None:
    registry = Registry([model(state=state)])

    assert verdict(registry, "llama-1", namespace="a").reason is reason
    assert verdict(registry, "llama-1", namespace="a").allowed == (
        state in (State.APPROVED, State.DEPRECATED)
    )


@pytest.mark.parametrize("asked", ["llama-1", "llama", "llama@1"])
def test_a_model_goes_by_its_names(asked: str) -> None:
    assert verdict(Registry([model()]), asked, namespace="a").allowed


def test_nobody_may_what_is_not_said() -> None:
    closed = Registry([model(call=Access(), run=Access())])

    for purpose in Purpose:
        assert verdict(closed, "llama", namespace="a", purpose=purpose).reason is Reason.NAMESPACE
    assert verdict(Registry(), "llama", namespace="a").reason is Reason.UNKNOWN


@pytest.mark.parametrize(
    ("namespace", "queues", "reason"),
    [
        ("a", ("research",), Reason.APPROVED),
        ("a", ("vision", "research"), Reason.APPROVED),
        ("a", ("sales",), Reason.QUEUE),
        ("a", (), Reason.QUEUE),
        ("b", ("research",), Reason.NAMESPACE),
        ("", ("research",), Reason.NAMESPACE),
    ],
)
def test_running_asks_for_the_namespace_and_a_queue_at_or_above(
    namespace: str, queues: tuple[str, ...], reason: Reason
) -> None:
    found = verdict(Registry([model()]), "llama", namespace=namespace, queues=queues, purpose=Purpose.RUN)

    assert found.reason is reason


def test_of_versions_with_one_name_the_one_that_is_allowed_answers() -> None:
    states = [State.REVOKED, State.DEPRECATED, State.APPROVED, State.PROPOSED]
    models = [model(f"llama-{n}", version=str(n), state=state) for n, state in enumerate(states)]
    for order in itertools.permutations(models):
        found = verdict(Registry(order), "llama", namespace="a")

        assert found.model == models[2]
    assert verdict(Registry(models), "llama-0", namespace="a").reason is Reason.REVOKED
    assert verdict(Registry(models), "llama@0", namespace="a").reason is Reason.REVOKED


def test_an_alias_cannot_take_the_name_of_another_model() -> None:
    stranger = model("aaa", model="other", served_names=("llama-1",), call=Access(namespaces=("*",)))
    registry = Registry([stranger, model(state=State.REVOKED)])

    assert verdict(registry, "llama-1", namespace="a").reason is Reason.REVOKED


def test_only_what_may_be_called_is_listed() -> None:
    models = [model("one"), model("two", state=State.REVOKED), model("three", call=Access(namespaces=("z",)))]

    assert [found.name for found in callable_models(Registry(models), namespace="a")] == ["one"]


def test_a_refusal_says_why_and_what_to_use_instead() -> None:
    revoked = model(
        state=State.REVOKED,
        replaced_by="llama-2",
        decision=Decision(by="ann", reason="licence withdrawn", at_us=1),
    )
    text = sentence(verdict(Registry([revoked]), "llama", namespace="a"))

    assert text == "model 'llama' (llama-1) is revoked: licence withdrawn; use 'llama-2' instead"


@pytest.mark.parametrize("purpose", Purpose)
@pytest.mark.parametrize("state", State)
def test_every_verdict_has_words(state: State, purpose: Purpose) -> None:
    registry = Registry([model(state=state)])
    for namespace, queues, asked in itertools.product(("a", "z", ""), ((), ("q",)), ("llama", "x")):
        assert sentence(verdict(registry, asked, namespace=namespace, queues=queues, purpose=purpose))
