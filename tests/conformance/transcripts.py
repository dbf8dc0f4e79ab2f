"""Requests in YAML, and the answers that Kubernetes gave to them.

`requests/TOPIC.yaml` holds lists of steps by name. `answers/TOPIC.json` holds what a real cluster answered
to each, with everything that differs from run to run replaced by "*". Of a refusal they hold what programs
go by (code, reason, which object, the places and kinds of causes) and not how it is worded; null is as good
as absent. To record the answers anew, run `python -m tests.conformance.record` with ALIQUOT_REAL_KUBECONFIG
naming a cluster of version 1.MINOR.
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from tests.conformance.resources import SPACE, Space
from tests.conformance.server import Answer

FOLDER = Path(__file__).parent
MINOR = 36
"""The minor version of Kubernetes that the answers were recorded on; others may word them otherwise."""

ANY = "*"
_VARYING = frozenset(
    {"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "time", "lastTransitionTime"}
)
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PLUGINS = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")
"""Taints of new nodes and tolerations of new pods that admission plugins add; clusters may go without these
(TaintNodesByCondition, DefaultTolerationSeconds)."""

_EMPTY = frozenset({"details", "metadata", "labels", "annotations", "status", "spec"})


def topics() -> list[str]:
    return sorted(path.stem for path in (FOLDER / "requests").glob("*.yaml"))


def requests(topic: str) -> dict[str, list[dict[str, Any]]]:
    text = (FOLDER / "requests" / f"{topic}.yaml").read_text()
    found: dict[str, list[dict[str, Any]]] = yaml.safe_load(text)
    return found


def answers(topic: str) -> dict[str, list[Any]]:
    path = FOLDER / "answers" / f"{topic}.json"
    found: dict[str, list[Any]] = json.loads(path.read_text()) if path.exists() else {}
    return found


def run(space: Space, steps: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The answers to the steps, one after the other."""
    for step in steps:
        body = step.get("body")
        if "text" in step:
            body = step["text"].encode()
        answer = space.do(
            step["do"],
            body,
            form=step.get("as", ""),
            query=step.get("query", ""),
            accept=step.get("accept", ""),
            bare=step.get("bare", False),
        )
        found = settled(answer, space.name, managed=step.get("managed", False))
        for key in step.get("without", ()):
            # Controllers write it, sooner or later.
            found["body"].pop(key, None)
        if "warns" in step:
            found["warned"] = "warning" in answer.headers
        yield found


def settled(answer: Answer, space: str, *, managed: bool = False) -> dict[str, Any]:
    """The answer without what differs from run to run. managed: with managedFields."""
    try:
        body = answer.body
    except ValueError:
        body = answer.content.decode("utf-8", "replace")
    if isinstance(body, dict) and body.get("kind") == "Status":
        body = _without_words(body)
    found: dict[str, Any] = {"code": answer.code, "body": _settle(body, space, managed)}
    return found


def _without_words(status: dict[str, Any]) -> dict[str, Any]:
    """A Status without its texts, for people, and with the causes in an order of their own."""
    details = dict(status.get("details") or {})
    if causes := details.get("causes"):
        details["causes"] = sorted({(one.get("reason", ""), one.get("field", "")) for one in causes})
    found = {key: value for key, value in status.items() if key not in ("message", "metadata", "apiVersion")}
    return found | ({"details": details} if details else {})


def _settle(value: Any, space: str, managed: bool) -> Any:
    if isinstance(value, dict):
        if value.get("kind") == "Table":
            value = _table(value)
        return {
            _settle(key, space, managed): _field(key, item, space, managed)
            for key, item in sorted(value.items())
            if not _nothing(key, item) and (key != "managedFields" or managed)
        }
    if isinstance(value, (list, tuple)):
        value = [item for item in value if not (isinstance(item, dict) and item.get("key") in _PLUGINS)]
        return [_settle(item, space, managed) for item in value]
    if isinstance(value, str):
        return _UUID.sub(ANY, value.replace(space, SPACE))
    return value


def _field(key: str, value: Any, space: str, managed: bool) -> Any:
    if key in _VARYING and value:
        return ANY
    if key == "status":
        value = value if isinstance(value, str) else _status(value)
    if key == "managedFields":
        value = sorted(value, key=lambda one: (one["operation"], one["manager"], one.get("subresource", "")))
    return _settle(value, space, managed)


def _status(status: dict[str, Any]) -> dict[str, Any]:
    """A status without what is there, with nothing in it, from the beginning."""
    return {key: value for key, value in status.items() if key not in ("nodeInfo", "daemonEndpoints")}


def _nothing(key: str, value: Any) -> bool:
    """Left out by some servers and written as null, [] or {} by others, to the same effect."""
    if key in ("taints", "tolerations") and value:
        value = [item for item in value if item.get("key") not in _PLUGINS]
    if key == "status" and isinstance(value, dict):
        value = _status(value)
    if key in _EMPTY and isinstance(value, dict):
        return all(_nothing(inner, item) for inner, item in value.items())
    return value is None or (value == [] and key != "items")


def _table(table: dict[str, Any]) -> dict[str, Any]:
    """A table without the descriptions of its columns, and with ages that do not change."""
    columns = [
        {key: value for key, value in column.items() if key != "description"}
        for column in table["columnDefinitions"] or ()
    ]
    rows = [
        row
        | {
            "cells": [
                ANY if column["name"] in ("Age", "Duration") and cell not in ("", "<unknown>") else cell
                for cell, column in zip(row["cells"], columns, strict=True)
            ]
        }
        for row in table["rows"]
    ]
    return table | {"columnDefinitions": columns, "rows": rows}


def differences(expected: Any, found: Any, path: str = "") -> Iterator[str]:
    """Where `found` is not as expected, one line each."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in sorted(expected.keys() | found.keys()):
            where = f"{path}.{key}" if path else key
            if key not in found:
                yield f"{where}: is missing, expected {expected[key]!r}"
            elif key not in expected:
                yield f"{where}: is {found[key]!r}, expected none"
            else:
                yield from differences(expected[key], found[key], where)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for index, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, f"{path}[{index}]")
    elif expected != found or type(expected) is not type(found):
        yield f"{path}: is {found!r}, expected {expected!r}"


def outline(answer: dict[str, Any]) -> dict[str, Any]:
    """What every version of Kubernetes answers alike: code, reason and the places of causes."""
    body = answer["body"]
    if not isinstance(body, dict) or body.get("kind") != "Status":
        return {"code": answer["code"]}
    causes = (body.get("details") or {}).get("causes") or []
    return {"code": answer["code"], "reason": body.get("reason"), "causes": causes}
