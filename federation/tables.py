"""Tables for people: whole where they are piped; on a terminal as wide as it is, and nothing in them cut."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

from federation.printing import printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

NOTHING = "-"
# A column that may wrap is not made narrower, unless it is so by itself.
NARROWEST = 20
_UNLIMITED = 1_000_000
Rows = Sequence[Sequence[str]]


def print_table(
    columns: Sequence[str],
    rows: Rows,
    empty: str,
    *,
    wraps: Collection[str] = (),
    spare: Sequence[str] = (),
    right: Collection[str] = (),
) -> None:
    """Print a table; where a terminal is too narrow for it, with fewer columns, or else each row as a block of lines.

    Parameters
    ----------
    columns
        Their headings.
    rows
        Their cells, whatever characters are in them; what is missing is ``-``.
    empty
        What is said where there is no row.
    wraps
        Columns whose cells may go over several lines.
    spare
        Columns that are left out, the first one first, where the terminal is too narrow, and are then named below. Those
        in which no row has anything go before them. None of them may be what tells rows apart.
    right
        Columns of numbers.
    """
    console = _console()
    if not rows:
        console.print(printable(empty), soft_wrap=True)
        return
    rows = [[printable(cell) for cell in row] for row in rows]
    table = _table(columns, rows, wraps, right)
    if not console.is_terminal:
        # Whoever pipes a table wants all of it, a row a line.
        console.width = _width(console, table)
    if has_room(columns, rows, wraps):
        console.print(table)
        return
    unsaid = [name for at, name in enumerate(columns) if at and all(row[at] == NOTHING for row in rows)]
    left_out: list[str] = []
    for name in [*unsaid, *(one for one in spare if one not in unsaid)]:
        left_out.append(name)
        kept = [at for at, one in enumerate(columns) if one not in left_out]
        fewer = [columns[at] for at in kept], [[row[at] for at in kept] for row in rows]
        if has_room(*fewer, wraps):
            console.print(_table(*fewer, wraps, right))
            if told := [one for one in left_out if one not in unsaid]:
                console.print(
                    f"too narrow for {', '.join(told)}: a wider terminal, a pipe and --json have all"
                )
            return
    _print_blocks(console, columns, rows)


def has_room(columns: Sequence[str], rows: Rows, wraps: Collection[str] = ()) -> bool:
    """Say whether a table can be printed without a cut: always where no terminal is, and on one if it is wide enough."""
    console = _console()
    return (
        not console.is_terminal
        or _width(console, _table(columns, rows, wraps, (), NARROWEST)) <= console.width
    )


def _console() -> Console:
    from rich.console import Console

    return Console(markup=False, highlight=False)


def _table(
    columns: Sequence[str],
    rows: Rows,
    wraps: Collection[str],
    right: Collection[str],
    most: int | None = None,
) -> Table:
    """Lay out a table; ``most`` limits the columns that wrap, to find out how narrow it can be."""
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE)
    for name in columns:
        may_wrap = name in wraps
        table.add_column(
            printable(name),
            justify="right" if name in right else "left",
            overflow="fold",
            no_wrap=not may_wrap,
            max_width=most if may_wrap else None,
        )
    for row in rows:
        table.add_row(*map(printable, row))
    return table


def _width(console: Console, table: Table) -> int:
    from rich.measure import Measurement

    return Measurement.get(console, console.options.update(width=_UNLIMITED), table).maximum


def _print_blocks(console: Console, columns: Sequence[str], rows: Rows) -> None:
    """Print a line for each cell, after its heading; headings that are too long to stand beside the cells run on."""
    from rich.cells import cell_len
    from rich.table import Table

    headings = list(map(printable, columns))
    beside = max(map(cell_len, headings)) <= console.width // 2
    for row in rows:
        block = Table.grid(padding=(0, 1))
        block.add_column(no_wrap=beside, overflow="fold")
        block.add_column(overflow="fold")
        for name, cell in zip(headings, row, strict=True):
            block.add_row(*((name, cell) if beside else (f"{name}: {cell}",)))
        console.print(block)
        console.print()
