"""Strategic merge patch: lists merge by the key that the kind's schema names.

Source: Kubernetes documentation, "Update API Objects in Place Using kubectl patch", and
contributors/devel/sig-api-machinery/strategic-merge-patch.md (directives).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aliquot.embedded.hooks import Object
from aliquot.embedded.shapes import Field, ListOf, MapOf, Shape, Struct, copy_json
from aliquot.embedded.status import StatusError, bad_request

_DIRECTIVE = "$patch"
_RETAIN = "$retainKeys"
_ORDER = "$setElementOrder/"
_DELETE_VALUES = "$deleteFromPrimitiveList/"


def _is_directive(key: str) -> bool:
    return key in (_DIRECTIVE, _RETAIN) or key.startswith((_ORDER, _DELETE_VALUES))


def _unknown(directive: Any) -> StatusError:
    return bad_request(f"Unknown patch type found: {directive}")


def merge(document: Object, patch: Object, shape: Shape | None) -> Object:
    """``document`` changed by ``patch``; neither is altered. Raises StatusError 400 for a malformed patch."""
    merged = _merge_object(document, patch, shape)
    return merged if merged is not None else {}


def _child(shape: Shape | None, key: str) -> tuple[Shape | None, Field | None]:
    if isinstance(shape, Struct):
        one = shape.fields.get(key)
        return (one.shape, one) if one is not None else (None, None)
    if isinstance(shape, MapOf):
        return shape.item, None
    return None, None


def _merge_object(document: Object, patch: Object, shape: Shape | None) -> Object | None:
    """None where the patch says to delete the object."""
    directive = patch.get(_DIRECTIVE)
    if directive == "replace":
        return {key: copy_json(value) for key, value in patch.items() if key != _DIRECTIVE}
    if directive == "delete":
        return None
    if directive not in (None, "merge"):
        raise _unknown(directive)
    result = dict(document)
    if (retained := patch.get(_RETAIN)) is not None:
        if not isinstance(retained, list):
            raise bad_request("the value of $retainKeys must be a list")
        result = {key: value for key, value in result.items() if key in retained}
    for key, value in patch.items():
        if _is_directive(key):
            continue
        inner, one = _child(shape, key)
        made = _merge_value(result.get(key), value, inner, one, patch.get(_ORDER + key))
        if made is None:
            result.pop(key, None)
        else:
            result[key] = made
    _delete_values(result, patch)
    for key, order in patch.items():
        if key.startswith(_ORDER):
            name = key.removeprefix(_ORDER)
            if name not in patch and isinstance(result.get(name), list) and isinstance(order, list):
                _, one = _child(shape, name)
                result[name] = _ordered(result[name], order, one.merge if one is not None else "")
    return result


def _merge_value(old: Any, new: Any, shape: Shape | None, one: Field | None, order: Any) -> Any:
    if new is None:
        return None
    if isinstance(new, dict):
        made = _merge_object(old if isinstance(old, dict) else {}, new, shape)
        return made if made is not None or _DIRECTIVE in new else {}
    if isinstance(new, list) and one is not None and one.merge:
        merged = _merge_list(old if isinstance(old, list) else [], new, shape, one.merge)
        return _ordered(merged, order, one.merge) if isinstance(order, list) else merged
    if isinstance(new, list):
        return [
            copy_json(item) for item in new if not (isinstance(item, dict) and item.keys() == {_DIRECTIVE})
        ]
    return new


def _merge_list(old: list[Any], patch: list[Any], shape: Shape | None, key: str) -> list[Any]:
    if key == "*":
        given = [item for at, item in enumerate(patch) if item not in patch[:at]]
        return _woven(old, given, [item for item in old if item not in given], lambda item: item)
    item_shape = shape.item if isinstance(shape, ListOf) else None
    if any(isinstance(item, dict) and item.get(_DIRECTIVE) == "replace" for item in patch):
        return [
            {name: copy_json(value) for name, value in item.items() if name != _DIRECTIVE}
            for item in patch
            if isinstance(item, dict) and item.keys() != {_DIRECTIVE}
        ]
    result = list(old)
    new: list[Any] = []
    for item in patch:
        if not isinstance(item, dict):
            raise bad_request(f"a list merged by {key} must hold objects")
        if key not in item:
            raise bad_request(f"map: {sorted(item)} does not contain declared merge key: {key}")
        found = [at for at, one in enumerate(result) if isinstance(one, dict) and one.get(key) == item[key]]
        if item.get(_DIRECTIVE) == "delete":
            result = [one for at, one in enumerate(result) if at not in found]
        elif found:
            new.append(_merge_object(result[found[0]], item, item_shape) or {})
        else:
            new.append(_merge_object({}, item, item_shape) or {})
    named = [item.get(key) for item in new]
    rest = [one for one in result if not (isinstance(one, dict) and one.get(key) in named)]
    return _woven(old, new, rest, lambda item: item.get(key) if isinstance(item, dict) else item)


def _woven(old: list[Any], given: list[Any], rest: list[Any], name: Callable[[Any], Any]) -> list[Any]:
    """Items of the patch and the rest of the list, each in its own order; between them, the old order.

    What is new goes before what was there: [a, b] patched with [c] is [c, a, b].
    """
    places: dict[str, int] = {}
    for index, item in enumerate(old):
        places.setdefault(repr(name(item)), index)
    woven: list[Any] = []
    left, right = list(given), list(rest)
    while left and right:
        at = places.get(repr(name(left[0])))
        first = at is None or at <= places.get(repr(name(right[0])), at)
        woven.append(left.pop(0) if first else right.pop(0))
    return woven + left + right


def _delete_values(result: Object, patch: Object) -> None:
    for key, values in patch.items():
        if not key.startswith(_DELETE_VALUES):
            continue
        name = key.removeprefix(_DELETE_VALUES)
        if not isinstance(values, list):
            raise bad_request(f"the value of {key} must be a list")
        if isinstance(result.get(name), list):
            result[name] = [value for value in result[name] if value not in values]


def _ordered(items: list[Any], order: list[Any], key: str) -> list[Any]:
    """Items in the order asked for; one that the order does not name stays behind its old neighbour."""

    def name(item: Any) -> Any:
        return item.get(key) if key not in ("", "*") and isinstance(item, dict) else item

    places = {repr(name(item)): index for index, item in enumerate(order)}
    ranked: list[tuple[float, int, Any]] = []
    last = -1.0
    listed = sorted(places[repr(name(item))] for item in items if repr(name(item)) in places)
    following = iter(listed)
    for index, item in enumerate(items):
        if repr(name(item)) in places:
            last = next(following)
            ranked.append((places[repr(name(item))], index, item))
        else:
            ranked.append((last + 0.5, index, item))
    return [item for _, _, item in sorted(ranked, key=lambda entry: entry[:2])]
