"""Matrix products as BLAS likes them: short sums for accuracy, small blocks for few columns.

A long sum is cut into pairs of shorter ones: rounding grows with the square root of a sum's length,
and adding two partial products costs little while the block of the output stays in the cache.  BLAS
cuts sums by itself, to keep a part of the kernels in the cache: OpenBLAS adds up at most 448
terms (of 512 it makes two halves, of 1024 three parts), so cutting 512 would cost time for nothing.

With few columns most of a product's time goes into rearranging the kernels, which are used only
once.  OpenBLAS does without for products of up to a million multiply-adds, so the rows are cut
into blocks that small.  For 1024 terms that made a product of 9 columns 1.5 times as fast, one of 16
columns 1.45 times, one of 36 columns 1.2 times (AVX-512; with AVX2 up to 1.2 times).  Such products
add up all their terms in one go, so their sums are cut shorter.  The short sums of one block follow each other,
so that its rows are read from memory in one go: sums over the whole block of one half, then
of the other, took a fifth longer, over four quarters half as long again.
"""

from overfeat_tools.backend import Array, Backend
from overfeat_tools.convolution.geometry import FLOAT_BYTES, stretches

_ROWS = 512
"""Rows of an output block: with some hundred columns, a block fits a second-level cache."""

_FEW_COLUMNS = 16

# Products of so few columns are made in small blocks: multiply-adds of one, and its rows.
_SKINNY_COLUMNS = 40
_SKINNY_MULTIPLY_ADDS = 1_000_000
_SKINNY_ROWS = (64, 32, 16)

# Short sums taken in turn: a block of 32 rows and 256 terms stays in a first-level cache of 32 KiB.
_TERMS_IN_TURN = 256
_ROWS_IN_TURN = (32, 16)


def multiply(left: Array, right: Array, out: Array, terms: int, backend: Backend) -> None:
    """Write `left` (M, L) @ `right` (L, R) into `out` (M, R), giving BLAS sums of at most `terms` at a time.

    The sums are added up in pairs, then pairs of pairs, so that none is long.
    """
    length = left.shape[1]
    if _multiply_in_blocks(left, right, out, terms // 2, backend):
        return
    if length <= terms:
        backend.xp.matmul(left, right, out=out)
        return
    middle = terms * -(-length // (2 * terms))
    multiply(left[:, :middle], right[:middle], out, terms, backend)
    rest = backend.xp.empty_like(out, order="C")
    multiply(left[:, middle:], right[middle:], rest, terms, backend)
    out += rest


def _multiply_in_blocks(left: Array, right: Array, out: Array, terms: int, backend: Backend) -> bool:
    """Multiply in blocks of rows that OpenBLAS does not rearrange, if there are few columns and the sizes allow it.

    Sums longer than `terms` are cut: all short sums of a block are made before the next block, and added up.
    """
    (rows, length), columns = left.shape, right.shape[1]
    if backend.batched or left.dtype != backend.xp.float32 or not 1 < columns <= _SKINNY_COLUMNS:
        return False
    step, choice = (length, _SKINNY_ROWS) if length <= terms else (_TERMS_IN_TURN, _ROWS_IN_TURN)
    block = next((rows for rows in choice if rows * step * columns <= _SKINNY_MULTIPLY_ADDS), rows + 1)
    if rows % block or length % step:
        return False
    sums = length // step
    right = right.reshape(sums, step, columns)
    at_once = block * max(1, backend.cache_bytes // (FLOAT_BYTES * sums * block * columns))
    for some in stretches(rows, at_once):
        blocks = left[some].reshape(-1, block, sums, step).transpose(0, 2, 1, 3)
        target = out[some].reshape(-1, block, columns)
        if sums == 1:
            backend.xp.matmul(blocks[:, 0], right[0], out=target)
        else:
            partial = backend.thread_scratch("partial", (len(blocks), sums, block, columns), "float32")
            backend.xp.matmul(blocks, right, out=partial)
            backend.xp.add.reduce(partial, axis=1, out=target)
    return True


def row_blocks(rows: int, columns: int, backend: Backend) -> list[slice]:
    """Cut an output's rows into blocks to share out.

    With few columns the work is reading `left` from memory, which goes best in long stretches.
    """
    if columns <= _FEW_COLUMNS:
        return backend.pieces(rows)
    return stretches(rows, min(backend.at_once(_ROWS), -(-rows // backend.threads)))
