"""Tables for people."""

from collections.abc import Iterable, Sequence


def table(rows: Iterable[Sequence[object]]) -> str:
    """Align rows of cells into columns: numbers to the right, words to the left."""
    cells = [[str(cell) for cell in row] for row in rows]
    columns = [list(column) for column in zip(*cells, strict=True)]
    for column in columns:
        width = max(map(len, column))
        numbers = all(cell[:1].isdigit() for cell in column[1:])  # the first row is a heading
        column[:] = [cell.rjust(width) if numbers else cell.ljust(width) for cell in column]
    return "".join("  ".join(row).rstrip() + "\n" for row in zip(*columns, strict=True))
