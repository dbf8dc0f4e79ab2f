"""Tables in a terminal: what gives way where not all columns fit, and that nothing does anywhere else."""

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aliquot.cli.output import Column, Row, Table, left_out, lines
from aliquot.cli.widths import GAP, NARROW_GAP, Width, fit, shown

PLAN = (sys.executable, "-m", "aliquot", "plan", "-f", "fleets/h100-a100.yaml", "-f", "examples")

COLUMNS = (
    Column(title="NAME", key="name", least=6),
    Column(title="QUEUE", key="queue", drop=2),
    Column(title="DEVICES", key="devices", right=True),
    Column(title="REASON", key="reason"),
    Column(title="AGE", key="age", drop=1),
    Column(title="NODES", key="nodes", drop=3, least=5, names=True),
    Column(title="MESSAGE", key="message", wide=True),
)


def _table(*cells: tuple[str, ...]) -> Table:
    return Table(
        kind="Example",
        columns=COLUMNS,
        rows=tuple(Row(cells=(*row, "of no length"), item={}, name=row[0]) for row in cells),
    )


SOME = _table(
    ("job/training", "research", "8", "<none>", "5m", "gpu-0,gpu-1,gpu-2,+1"),
    ("pod/notebook", "serving", "1/2", "<none>", "20h", "gpu-0"),
)


@pytest.mark.parametrize(
    ("width", "expected"),
    [
        # Gaps give way first.
        (71, "NAME           QUEUE      DEVICES   REASON   AGE   NODES"),
        (70, "NAME          QUEUE     DEVICES  REASON  AGE  NODES"),
        # Then lists of names, and only then columns: those that say nothing, then by their order.
        (66, "NAME          QUEUE     DEVICES  REASON  AGE  NODES"),
        (54, "NAME          QUEUE     DEVICES  REASON  AGE  NODES"),
        (53, "NAME          QUEUE     DEVICES  AGE  NODES"),
        (45, "NAME          QUEUE     DEVICES  NODES"),
        (40, "NAME          DEVICES  AGE  NODES"),
        (35, "NAME          DEVICES  NODES"),
        (28, "NAME          DEVICES  AGE"),
        (24, "NAME          DEVICES"),
        # Then names.
        (18, "NAME       DEVICES"),
        (1, "NAME    DEVICES"),
        (0, "NAME           QUEUE      DEVICES   REASON   AGE   NODES"),
    ],
)
def test_what_gives_way_and_in_which_order(width: int, expected: str) -> None:
    title, *_ = lines(SOME, wide=False, headers=True, colour=False, width=width)
    assert title == expected


@pytest.mark.parametrize(
    ("cell", "room", "names", "expected"),
    [
        ("a,b,c,+2", 8, True, "a,b,c,+2"),
        ("a,b,c,+2", 7, True, "a,b,+3"),
        ("a,b,c,+2", 5, True, "a,+4"),
        ("node-1,node-2", 9, True, "node-1,+1"),
        ("node-1,node-2", 7, True, "nod…,+1"),
        ("node-1,node-2", 7, False, "nod…e-2"),
        ("ip-10-0-0-127", 6, True, "ip-…27"),
        ("abc", 1, False, "a"),
    ],
)
def test_a_cell_in_its_room(cell: str, room: int, names: bool, expected: str) -> None:
    found = shown(cell, room, names=names)
    assert found == expected
    assert len(found) <= room


def test_what_there_is_no_room_for_is_told_where_it_says_something() -> None:
    assert left_out(SOME, 71, headers=True) == ()
    assert left_out(SOME, 53, headers=True) == ()
    assert left_out(SOME, 24, headers=True) == ("QUEUE", "AGE", "NODES")


_WIDTHS = st.builds(
    Width,
    cells=st.lists(st.text("abc,-", max_size=30), min_size=1, max_size=4),
    drop=st.integers(0, 4),
    least=st.integers(0, 9),
    names=st.booleans(),
    blank=st.booleans(),
)


@given(st.lists(_WIDTHS, min_size=1, max_size=8), st.integers(0, 120))
def test_it_fits_where_it_can(columns: list[Width], width: int) -> None:
    found = fit(columns, width)
    asked = [max(len(cell) for cell in column.cells) for column in columns]
    rooms = [room for room in found.rooms if room is not None]
    total = sum(rooms) + found.gap * (len(rooms) - 1)
    assert found.gap in (GAP, NARROW_GAP)
    for column, room, most in zip(columns, found.rooms, asked, strict=True):
        assert (room is not None) or column.drop or column.blank
        assert room is None or min(most, column.least) <= room <= most or column.names
        if not width:
            assert room == most
    if width and total > width:
        # Whatever could give way has.
        for column, room in zip(columns, found.rooms, strict=True):
            if room is not None:
                assert not column.drop
                assert not column.blank
                assert not column.least or room <= column.least


def _in_a_terminal(command: tuple[str, ...], columns: int) -> list[str]:
    """Lines of a command's output in a terminal of so many columns."""
    main, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
    found = b""
    with subprocess.Popen(
        command, stdout=terminal, stderr=subprocess.DEVNULL, env=environment | {"NO_COLOR": "1"}
    ) as process:
        os.close(terminal)
        while True:
            try:
                found += os.read(main, 1 << 16)
            except OSError:  # Linux says so when nobody has the terminal open any more.
                break
        assert process.wait(60) == 1
    os.close(main)
    return found.decode().replace("\r\n", "\n").splitlines()


def test_a_table_fits_a_terminal_and_is_whole_in_a_pipe_and_wide() -> None:
    narrow = _in_a_terminal(PLAN, 80)
    assert max(map(len, narrow)) <= 80
    assert narrow[0].split() == ["NAMESPACE", "WORKLOAD", "RESULT", "DEVICES", "NODES", "REASON"]
    piped = subprocess.run(PLAN, capture_output=True, text=True, timeout=60, check=False).stdout.splitlines()
    assert "dgx-h100-mig-0" in piped[1]
    assert max(map(len, piped)) > 80
    assert _in_a_terminal(PLAN, 200) == piped
    assert _in_a_terminal((*PLAN, "-o", "wide"), 80)[0].split()[-2:] == ["MESSAGE", "FIX"]
