"""Calls in the audit log: nothing twice, nothing lost, and their sums those of the calls."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aliquot.audit.policy import Totals
from aliquot.audit.record import read
from aliquot.budgets.spending import Basis, Caller, Endpoint, Outcome, TokenUse
from aliquot.gateway.auditing import event_of
from aliquot.store.audit import AuditLog

CALLER = Caller(
    namespace="team-a", service_account="coder", agent="team-a/coder", queue="q", user="ann@x.org"
)


def use(number: int, cost: int, tokens: tuple[int, int], outcome: Outcome) -> TokenUse:
    return TokenUse(
        request=f"r{number}",
        started_us=number,
        ended_us=number + 5,
        caller=CALLER,
        endpoint=Endpoint.CHAT,
        model="llama-1",
        asked="llama",
        upstream="vllm",
        input_tokens=tokens[0],
        output_tokens=tokens[1],
        basis=Basis.MEASURED,
        outcome=outcome,
        cost_nano=cost,
        decision="tokenbudget/team-a",
    )


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 10**15),
            st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
            st.sampled_from(Outcome),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_sums_of_the_log_are_those_of_the_calls_however_often_they_are_told(
    tmp_path: Path, made: list[tuple[int, tuple[int, int], Outcome, bool]]
) -> None:
    path = tmp_path / "audit.db"
    path.unlink(missing_ok=True)
    uses = [use(number, cost, tokens, outcome) for number, (cost, tokens, outcome, _) in enumerate(made)]
    with AuditLog.open(path) as log:
        for one, (*_, twice) in zip(uses, made, strict=True):
            log.append(event_of(one, "EUR"))
            if twice:
                log.append(event_of(one, "EUR"))
        log.flush()
        totals = Totals()
        for record in log.records():
            totals = totals.plus(read(record.body))

        assert list(log.problems()) == []
    assert totals.records == len(uses)
    assert totals.cost_nano == sum(one.cost_nano or 0 for one in uses)
    assert totals.input_tokens == sum(one.input_tokens for one in uses)
    assert totals.output_tokens == sum(one.output_tokens for one in uses)
