"""How wide the columns of a table may be in a terminal: what gives way, and in which order.

Rows that a terminal wraps cannot be read as a table. So where all columns do not fit, these give way, one
step after the other until the rest fits: gaps, lists of names, columns (which `-o wide` shows), names.
"""

from collections.abc import Sequence

import msgspec

GAP = 3
"""Blanks between columns, as kubectl has them."""

NARROW_GAP = 2
ELLIPSIS = "…"


class Width(msgspec.Struct, frozen=True, kw_only=True):
    """What a column asks for. cells: its title and cells.

    drop: what is left out first has the lowest number; 0 stays. least: a name of which so many characters are
    enough to know it; 0 is never cut. names: cells are lists of names, of which the first may stand for all.
    blank: no row says anything in it, so it is left out before any other.
    """

    cells: Sequence[str]
    drop: int = 0
    least: int = 0
    names: bool = False
    blank: bool = False


class Fit(msgspec.Struct, frozen=True, kw_only=True):
    """gap: blanks between columns. rooms: how wide each column may be, in order; None for one left out."""

    gap: int
    rooms: tuple[int | None, ...]


def fit(columns: Sequence[Width], width: int) -> Fit:
    """How columns share a line of `width` characters; 0 for a line without an end.

    What cannot give way any more goes over the end.

    >>> age, size, name = Width(cells=["5m"], drop=1), Width(cells=["12"]), Width(cells=["training"], least=5)
    >>> [fit([age, size, name], width).rooms for width in (18, 15, 11)]
    [(2, 2, 8), (None, 2, 8), (None, 2, 7)]
    """
    asked = [max((len(cell) for cell in column.cells), default=0) for column in columns]
    rooms: dict[int, int] = dict(enumerate(asked))
    if not width or _total(rooms, GAP) <= width:
        return _result(rooms, GAP, len(columns))
    lists = {
        place: max(len(_fewer(cell, 0)) for cell in column.cells)
        for place, column in enumerate(columns)
        if column.names and column.cells
    }
    _give(rooms, lists, width)
    if _total(rooms, NARROW_GAP) > width:
        _leave_out(rooms, columns, width)
    _give(rooms, {place: column.least for place, column in enumerate(columns) if column.least}, width)
    # What left made room again for lists that were cut before.
    for place in sorted(lists.keys() & rooms.keys()):
        spare = max(0, width - _total(rooms, NARROW_GAP))
        rooms[place] = min(asked[place], rooms[place] + spare)
    return _result(rooms, NARROW_GAP, len(columns))


def _total(rooms: dict[int, int], gap: int) -> int:
    return sum(rooms.values()) + gap * max(0, len(rooms) - 1)


def _result(rooms: dict[int, int], gap: int, count: int) -> Fit:
    return Fit(gap=gap, rooms=tuple(rooms.get(place) for place in range(count)))


def _give(rooms: dict[int, int], least: dict[int, int], width: int) -> None:
    """The widest gives first, a character at a time."""
    over = _total(rooms, NARROW_GAP) - width
    while over > 0:
        longer = [place for place, most in least.items() if rooms.get(place, 0) > most]
        if not longer:
            return
        rooms[max(longer, key=lambda place: rooms[place])] -= 1
        over -= 1


def _leave_out(rooms: dict[int, int], columns: Sequence[Width], width: int) -> None:
    order = sorted(
        (place for place, column in enumerate(columns) if column.drop or column.blank),
        key=lambda place: (not columns[place].blank, columns[place].drop),
    )
    gone: dict[int, int] = {}
    for place in order:
        if _total(rooms, NARROW_GAP) <= width:
            break
        gone[place] = rooms.pop(place)
    # One that is wide may have made room for those that went before it.
    for place in reversed(gone):
        if _total(rooms | {place: gone[place]}, NARROW_GAP) <= width:
            rooms[place] = gone[place]


def shown(cell: str, room: int, *, names: bool = False, ellipsis: str = ELLIPSIS) -> str:
    """A cell in its room: of names in a list as many as there is room for, else the middle left out.

    >>> shown("gpu-0,gpu-1,gpu-2", 12, names=True), shown("ip-10-0-0-127.internal", 12)
    ('gpu-0,+2', 'ip-10-…ernal')
    """
    if len(cell) <= room:
        return cell
    if names:
        cell = _fewer(cell, room)
    if len(cell) <= room:
        return cell
    if room < 3:
        return cell[:room]
    end = (room - 1) // 2
    return f"{cell[: room - 1 - end]}{ellipsis}{cell[-end:]}"


def _fewer(cell: str, room: int) -> str:
    """The first names of a list and how many more there are: a,b,c,+2 becomes a,+4."""
    listed = cell.split(",")
    more = 0
    if len(listed) > 1 and listed[-1].startswith("+") and listed[-1][1:].isdecimal():
        more = int(listed.pop())
    while len(listed) > 1 and len(cell) > room:
        listed.pop()
        more += 1
        cell = f"{','.join(listed)},+{more}"
    return cell
