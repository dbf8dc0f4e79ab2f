"""Why preemption and consolidation do not help, in plain English, by the facts of `taking_explained`."""

from collections.abc import Callable, Sequence

from aliquot.model.verdicts import Fact
from aliquot.scheduling import taking_explained as ground
from aliquot.scheduling.phrases import count, listed


def taking_sentences(facts: Sequence[Fact]) -> tuple[str, ...]:
    """A sentence on preemption and one on consolidation; none on what the facts do not tell of."""
    written = (
        _preemption([fact for fact in facts if fact.test == ground.PREEMPTION]),
        _consolidation([fact for fact in facts if fact.test == ground.CONSOLIDATION]),
    )
    return tuple(text for text in written if text)


def _preemption(facts: Sequence[Fact]) -> str:
    if not facts:
        return ""
    first, last = facts[0], facts[-1]
    if first.subject == ground.OFF:
        return "Preemption is off by policy."
    if first.subject == ground.NONE_LOWER:
        others = f" ({count(first.count, 'workload')} hold{_s(first)} {first.available} {first.unit})"
        return (
            "Preemption does not help: nothing that runs in its queue has a lower priority"
            f"{others if first.count else ''}."
        )
    held = [_HELD[_word(fact)](fact) for fact in facts if _word(fact) in _HELD]
    text = f"Preemption does not help: of lower priority in its queue, {listed(held, 6)}"
    if _word(last) in _PREEMPTION:
        text += f"; {_PREEMPTION[_word(last)](last)}"
    return f"{text}."


def _consolidation(facts: Sequence[Fact]) -> str:
    if not facts:
        return ""
    held = [
        f"{fact.available} {fact.unit} are held by work that {_MOVES[_word(fact)]} "
        f"({count(fact.count, 'workload')})"
        for fact in facts
        if _word(fact) in _MOVES
    ]
    text = _CONSOLIDATION[_word(facts[-1])](facts[-1])
    return f"{text}: {listed(held, 6)}." if held else f"{text}."


def _word(fact: Fact) -> str:
    return fact.subject.partition(" ")[0]


def _more(fact: Fact) -> str:
    return fact.subject.partition(" ")[2]


def _s(fact: Fact) -> str:
    return "s" if fact.count == 1 else ""


def _hold(fact: Fact) -> str:
    return f"{count(fact.count, 'workload')} hold{_s(fact)} {fact.available} {fact.unit}"


_HELD: dict[str, Callable[[Fact], str]] = {
    ground.NOT_PREEMPTIBLE: lambda fact: f"{_hold(fact)} and cannot be preempted",
    ground.MIN_RUNTIME: lambda fact: (
        f"{_hold(fact)} in {'its' if fact.count == 1 else 'their'} minimum run time"
        f"{f' (the first until {_more(fact)})' if _more(fact) else ''}"
    ),
    ground.TAKEABLE: lambda fact: f"{_hold(fact)} and may be asked to leave",
}

_PREEMPTION: dict[str, Callable[[Fact], str]] = {
    ground.LATER: lambda fact: (
        "the next decision looks at that, as this one has others leave for as many workloads as it may "
        "(beneficiaries)"
    ),
    ground.TOO_FEW: lambda fact: (
        f"with what is idle that makes {fact.available} of the {fact.wanted} {fact.unit} that it wants"
    ),
    ground.NOT_TOGETHER: lambda fact: (
        f"with what is idle that is enough for the {fact.wanted} {fact.unit} that it wants, "
        f"but not in one {_more(fact) or 'domain'}"
    ),
    ground.NOT_THERE: lambda fact: (
        f"with what is idle that is enough for the {fact.wanted} {fact.unit} that it wants, "
        "but not on nodes and of devices that would do"
    ),
    ground.NOT_ALLOWED: lambda fact: (
        "it would fit if all of these left, but nobody leaves in vain or in part, "
        "and the search for who has to is bounded (victimSearch)"
    ),
    ground.NO_ROOM: lambda fact: (
        "it cannot be preempted itself, and its queue has no quota left for such work"
    ),
    ground.TOO_SOON: lambda fact: f"it waits until {_more(fact)} before others leave for it",
}

_MOVES: dict[str, str] = {
    ground.NOT_PREEMPTIBLE: "cannot be moved",
    ground.TAKEABLE: "may be moved",
}

_CONSOLIDATION: dict[str, Callable[[Fact], str]] = {
    ground.OFF: lambda fact: "Consolidation is off by policy",
    ground.LATER: lambda fact: (
        "The next decision sees if moving others makes room, as this one moves for as many workloads as it "
        "may (beneficiaries)"
    ),
    ground.FIXED_ITSELF: lambda fact: "Nothing is moved for work that cannot be preempted itself",
    ground.TOO_FEW: lambda fact: (
        f"Consolidation does not help: {fact.available} {fact.unit} "
        f"{'is' if fact.available == '1' else 'are'} idle in all, it wants {fact.wanted}"
    ),
    ground.OVER_BUDGET: lambda fact: (
        f"Consolidation would make room by moving {count(fact.count, 'workload')}; "
        f"the policy allows {fact.available}"
    ),
    ground.NO_ARRANGEMENT: lambda fact: "Consolidation does not help, as no way to move others makes room",
}
