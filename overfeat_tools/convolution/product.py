"""Matrix products as BLAS likes them: short sums for accuracy, small blocks for few columns.

A long sum is cut into pairs of shorter ones: rounding grows with the square root of a sum's length,
and adding two partial products costs little while the block of the output stays in the cache.

With few columns most of a product's time goes into rearranging the kernels, which are used only
once.  OpenBLAS does without for products of up to a million multiply-adds, so the rows are cut
into blocks that small.  For 1024 terms that made a product of 9 columns 1.5 times as fast, one of 16
columns 1.45 times, one of 36 columns 1.2 times (AVX-512; with AVX2 up to 1.2 times).
"""

from overfeat_tools.backend import Array, Backend
from overfeat_tools.convolution.geometry import stretches

_ROWS = 512
"""Rows of an output block: with some hundred columns, a block fits a second-level cache."""

_FEW_COLUMNS = 16

# Products of so few columns are made in small blocks: multiply-adds of one, and its rows.
_SKINNY_COLUMNS = 40
_SKINNY_MULTIPLY_ADDS = 1_000_000
_SKINNY_ROWS = (64, 32, 16)


def multiply(left: Array, right: Array, out: Array, terms: int, backend: Backend) -> None:
    """Write `left` (M, L) @ `right` (L, R) into `out` (M, R), with sums of at most `terms` at a time.

    The sums are added up in pairs, then pairs of pairs, so that none is long.
    """
    length = left.shape[1]
    if length <= terms:
        _multiply(left, right, out, backend)
        return
    middle = terms * -(-length // (2 * terms))
    multiply(left[:, :middle], right[:middle], out, terms, backend)
    rest = backend.xp.empty_like(out, order="C")
    multiply(left[:, middle:], right[middle:], rest, terms, backend)
    out += rest


def _multiply(left: Array, right: Array, out: Array, backend: Backend) -> None:
    """Multiply, in blocks of rows where there are few columns."""
    (rows, length), columns = left.shape, right.shape[1]
    if 1 < columns <= _SKINNY_COLUMNS and not backend.batched and left.dtype == backend.xp.float32:
        block = next((n for n in _SKINNY_ROWS if n * length * columns <= _SKINNY_MULTIPLY_ADDS), rows)
        if rows % block == 0:
            left = left.reshape(-1, block, length)
            out = out.reshape(-1, block, columns)
    backend.xp.matmul(left, right, out=out)


def row_blocks(rows: int, columns: int, backend: Backend) -> list[slice]:
    """Cut an output's rows into blocks to share out.

    With few columns the work is reading `left` from memory, which goes best in long stretches.
    """
    if columns <= _FEW_COLUMNS:
        return backend.pieces(rows)
    return stretches(rows, min(backend.at_once(_ROWS), -(-rows // backend.threads)))
