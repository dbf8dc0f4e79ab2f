"""Agents that were stopped, as they are kept: a ConfigMap in a cluster, a file beside a gateway.

Each entry is one agent: its key, made of the agent's name (`namespace/name`, or any name that a key or token
gives), and JSON with who stopped it, why and when. What cannot be read stops the agent all the same: a
damaged entry must not let an agent go on.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping

import msgspec

from aliquot.agents.guards import Switch

NAME = "aliquot-stopped-agents"
"""Name of the ConfigMap, in Aliquot's namespace."""

MAX_TEXT = 1024
_PLAIN = re.compile(r"[A-Za-z0-9-]{1,100}(/[A-Za-z0-9-]{1,100})?")


def key_of(agent: str) -> str:
    """The key of an agent's entry: letters, digits, `-`, `_` and `.` only, unique for each name."""
    if _PLAIN.fullmatch(agent):
        return agent.replace("/", "..")
    return "_" + hashlib.sha256(agent.encode()).hexdigest()


def entry(switch: Switch) -> str:
    """The text of an entry."""
    kept = msgspec.structs.replace(switch, by=switch.by[:MAX_TEXT], reason=switch.reason[:MAX_TEXT])
    return msgspec.json.encode(kept).decode()


def data_of(switches: Iterable[Switch]) -> dict[str, str]:
    """All entries, by key."""
    return {key_of(switch.agent): entry(switch) for switch in switches}


def parse(data: Mapping[str, str]) -> tuple[Switch, ...]:
    """The agents that are stopped, by name."""
    found = [_read(key, text) for key, text in data.items()]
    return tuple(sorted(found, key=lambda switch: switch.agent))


def _read(key: str, text: str) -> Switch:
    try:
        return msgspec.json.decode(text, type=Switch)
    except msgspec.DecodeError:
        agent = key if key.startswith("_") else key.replace("..", "/")
        return Switch(agent=agent, by="", reason="the entry cannot be read", at_us=0)
