"""How deep agents call agents is known from what the gateway signed and issuers said, and bounded."""

import json
import re
from pathlib import Path

import pytest
from tests.gateway.conftest import Running, Start
from tests.gateway.raw import HELLO, exchange, request, statuses
from tests.gateway.test_callers import OIDC, Issuer

from aliquot.gateway.answers import CallError
from aliquot.gateway.nesting import MAX_DEPTH, VALID_SECONDS, Lineage, Nesting, depth_of

NOW = 1_700_000_000_000_000


def nesting(secret: bytes = b"s" * 64, now: int = NOW) -> Nesting:
    return Nesting(secret, lambda: now)


def test_a_mark_is_one_deeper_in_the_same_task() -> None:
    mark = nesting().mark(Lineage(2, "key:a"))

    assert nesting().below(mark, 0, "key:b") == Lineage(3, "key:a")
    assert nesting().below(mark, 9, "key:b") == Lineage(9, "key:a")
    assert nesting().below(None, 1, "key:b") == Lineage(1, "key:b")


def test_marks_that_were_altered_or_have_expired_or_are_of_others_are_refused() -> None:
    mark = nesting().mark(Lineage(2, "key:a"))
    late = nesting(now=NOW + (VALID_SECONDS + 1) * 1_000_000)
    for other, text in (
        (late, mark),
        (nesting(b"t" * 64), mark),
        *(
            (nesting(), mark[:place] + b"A" + mark[place + 1 :])
            for place in range(len(mark))
            if mark[place : place + 1] != b"A"
        ),
        *((nesting(), mark[:end]) for end in range(len(mark))),
        *((nesting(), text) for text in (b"", b"\xff", b"=" * 9, b"A" * 5000)),
    ):
        with pytest.raises(CallError) as error:
            other.below(text, 0, "key:b")
        assert error.value.reason == "invalid_parent"


def test_actors_within_actors_are_the_depth_of_a_token() -> None:
    assert [depth_of(claims) for claims in ({}, {"act": {"sub": "a"}}, {"act": "a"})] == [0, 0, 0]
    assert depth_of({"act": {"sub": "b", "act": {"sub": "a"}}}) == 1
    deep: dict[str, object] = {}
    for _ in range(500):
        deep = {"act": deep}
    assert depth_of(deep) == MAX_DEPTH


async def asked(running: Running, key: str, parent: str = "") -> tuple[int, str, bytes]:
    head = f"x-aliquot-parent: {parent}\r\n".encode() if parent else b""
    answer = await exchange(running.gateway.address, request(key, HELLO, head=head))
    found = re.search(rb"(?i)x-aliquot-call: (\S+)", answer)
    return statuses(answer)[0], found[1].decode() if found else "", answer


async def test_an_agent_that_calls_too_deep_is_refused(start: Start) -> None:
    agents = {name: {"depth": 2} for name in ("a", "b", "c", "d")}
    async with start(agents=agents) as running:
        marks, found = [""], []
        for name in agents:
            key = await running.new_key(namespace="research", agent=name)
            status, mark, answer = await asked(running, key, marks[-1])
            found.append(status)
            marks.append(mark)
        forged = await asked(running, key, marks[1][:-2] + "AA")
        plain = await asked(running, running.key)

    assert found == [200, 200, 200, 403]
    assert b"TaskDepth: 3 of 2" in answer
    assert forged[0] == 400
    assert plain[:2] == (200, "")


async def test_calls_of_a_chain_count_in_the_task_that_it_began_with(start: Start) -> None:
    async with start(agents={"b": {"calls_per_task": 1}}) as running:
        first = await running.new_key(namespace="research", agent="a")
        below = [await running.new_key(namespace="research", agent="b") for _ in range(2)]
        _, mark, _ = await asked(running, first)
        found = [(await asked(running, key, mark))[0] for key in below]
        alone = [(await asked(running, key))[0] for key in below]

    assert found == [200, 403]
    assert alone == [200, 200]


async def test_tokens_that_name_their_actors_need_no_mark(start: Start, tmp_path: Path) -> None:
    issuer = Issuer(tmp_path)
    act = {"sub": "c", "act": {"sub": "b", "act": {"sub": "a"}}}
    async with start(callers={"oidc": [OIDC]}, agents={"robot": {"depth": 1}}) as running:
        shallow = await asked(running, issuer.token(agent="robot", act=act["act"]))
        deep = await asked(running, issuer.token(agent="robot", act=act))

    assert (shallow[0], deep[0]) == (200, 403)
    assert b"TaskDepth: 2 of 1" in deep[2]


async def test_gateways_with_one_key_know_each_others_marks(start: Start, tmp_path: Path) -> None:
    (tmp_path / "agents.key").write_bytes(b"0123456789abcdef" * 2)
    marks = []
    for _ in range(2):
        async with start(agentsKeyFile="agents.key", agents={"a": {}}) as running:
            key = await running.new_key(namespace="research", agent="a")
            status, mark, answer = await asked(running, key, marks[-1] if marks else "")
            assert status == 200, answer
            marks.append(mark)
            assert json.dumps(mark).isascii()
