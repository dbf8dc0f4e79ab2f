"""Who is stopped is known to every reader, whatever happens to the file."""

import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.agents.guards import Switch
from aliquot.agents.switches import data_of, key_of, parse
from aliquot.store.switches import SwitchError, SwitchFile


def switch(agent: str) -> Switch:
    return Switch(agent=agent, by="ann", reason="loops", at_us=1)


@given(st.lists(st.text(min_size=1, max_size=300), unique=True, max_size=8))
def test_every_name_has_a_key_of_its_own_that_a_config_map_takes(agents: list[str]) -> None:
    switches = sorted(map(switch, agents), key=lambda one: one.agent)
    data = data_of(switches)

    assert parse(data) == tuple(switches)
    assert all(len(key) <= 253 and set(key) <= set("-_.") | set(_letters()) for key in data)


def _letters() -> str:
    return "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def test_a_damaged_entry_stops_its_agent_all_the_same() -> None:
    assert [one.agent for one in parse({key_of("lab/coder"): "garbage"})] == ["lab/coder"]


def test_a_reader_sees_changes_of_others(tmp_path: Path) -> None:
    writer, reader = (SwitchFile(tmp_path / "stopped.json") for _ in range(2))
    assert reader.read() == ()
    assert not reader.changed()

    writer.stop(switch("lab/coder"))
    assert reader.changed()
    assert [one.agent for one in reader.read()] == ["lab/coder"]
    assert not reader.changed()
    assert writer.resume("lab/coder")
    assert not writer.resume("lab/coder")
    assert reader.changed()
    assert reader.read() == ()


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    def work(number: int) -> None:
        for n in range(10):
            SwitchFile(tmp_path / "stopped.json").stop(switch(f"lab/a{number}-{n}"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(SwitchFile(tmp_path / "stopped.json").read()) == 40


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff\xfe", b'{"a": 1}'])
def test_a_damaged_file_is_an_error_and_not_nobody(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "stopped.json").write_bytes(content)

    with pytest.raises(SwitchError, match="damaged"):
        SwitchFile(tmp_path / "stopped.json").read()
