"""What the transforms of all tiles have in common: their parameters, and the pixels that a tile reads or writes.

Tiles are numbered through all pictures, row by row.  Nothing branches and no map is copied to add its padding: outside
a map a tile reads from a row of zeros, and writes to a row that nobody reads.
"""

from collections.abc import Sequence

from overfeat_tools.backend import FunctionBuilder, Value

FORWARD = {
    "spectra": "pointer",         # to write: (elements, tiles, C), of pairs (elements, tiles, 2 * C)
    "x": "pointer",               # the map (N, H, W, C)
    "zeros": "pointer",           # C zeros, which stand for the pixels outside the map
    "element_stride": "integer",  # floats from one element of `spectra` to the next,
    "tile_stride": "integer",     # and from one tile to the next
    "height": "integer",          # H, W, C
    "width": "integer",
    "channels": "integer",
    "row_step": "integer",        # pixels from a tile to the one below it,
    "column_step": "integer",     # and to the one beside it
    "top": "integer",             # how far the first tile begins above the map, less than 0 if inside,
    "left": "integer",            # and to the left of it
    "tile_columns": "integer",    # tiles in a row of a map,
    "tile_rows": "integer",       # and in a column
    "origin": "integer",          # number of the first tile in `spectra`
    "tile_start": "integer",      # the tiles to transform: start <= tile < stop
    "tile_stop": "integer",
    "channel_start": "integer",   # the channels to transform, in whole vectors
    "channel_stop": "integer",
}  # fmt: skip
"""Parameters of the kernels that turn tiles into spectra."""

INVERSE = {
    "y": "pointer",               # to write: the pooled output (N, H, W, K)
    "spectra": "pointer",         # (elements, tiles, K), of pairs (elements, tiles, 2 * K)
    "bias": "pointer",            # (K,)
    "discard": "pointer",         # room for K floats, which take the place of pixels outside the output
    "element_stride": "integer",  # floats from one element of `spectra` to the next,
    "tile_stride": "integer",     # and from one tile to the next
    "height": "integer",          # H, W, K
    "width": "integer",
    "channels": "integer",
    "imaginary": "integer",       # floats from the first numbers of pairs to the second ones
    "top": "integer",             # where the first tile begins
    "left": "integer",
    "tile_columns": "integer",    # tiles in a row of the output,
    "tile_rows": "integer",       # and in a column
    "origin": "integer",          # number of the first tile in `spectra`
    "tile_start": "integer",      # the tiles to transform: start <= tile < stop
    "tile_stop": "integer",
    "channel_start": "integer",   # the output channels to write, in whole vectors
    "channel_stop": "integer",
    "threshold": "float",         # outputs that are not above it are cleared,
    "keep_mask": "integer",       # unless this is -1, not 0
}  # fmt: skip
"""Parameters of the kernels that turn spectra into outputs."""


def input_pointers(builder: FunctionBuilder, tile: Value, size: tuple[int, int]) -> list[list[Value]]:
    """Return pointers to the pixels that a tile reads, in a function whose parameters are `FORWARD`'s."""
    a, emit = builder.arguments, builder.emit
    picture, row, column = _locate(builder, tile)
    top = emit.sub(builder.times(row, a.row_step), a.top)
    left = emit.sub(builder.times(column, a.column_step), a.left)
    return _pixel_pointers(builder, (a.x, a.zeros), picture, (top, left), size)


def output_pointers(builder: FunctionBuilder, tile: Value, size: tuple[int, int]) -> list[list[Value]]:
    """Return pointers to the pixels that a tile writes, in a function whose parameters are `INVERSE`'s."""
    a, emit = builder.arguments, builder.emit
    picture, row, column = _locate(builder, tile)
    corner = emit.add(builder.times(row, size[0]), a.top), emit.add(builder.times(column, size[1]), a.left)
    return _pixel_pointers(builder, (a.y, a.discard), picture, corner, size)


def spectrum_pointer(builder: FunctionBuilder, tile: Value) -> Value:
    """Return the pointer to a tile's first element, in a function with either kind of parameters."""
    a = builder.arguments
    return builder.offset(a.spectra, builder.times(builder.emit.sub(tile, a.origin), a.tile_stride))


def pooled(builder: FunctionBuilder, rows: Sequence[Sequence[Value]], column: int, pool_size: int) -> Value:
    """Return the maximum of one window of some rows of outputs: that of pooled column `column`."""
    return builder.maximum(value for row in rows for value in row[column * pool_size : (column + 1) * pool_size])


def _locate(builder: FunctionBuilder, tile: Value) -> tuple[Value, Value, Value]:
    """Return a tile's picture, and its row and column among the tiles of the map."""
    a, emit = builder.arguments, builder.emit
    row_number = emit.sdiv(tile, a.tile_columns)
    return (
        emit.sdiv(row_number, a.tile_rows), emit.srem(row_number, a.tile_rows), emit.srem(tile, a.tile_columns)
    )  # fmt: skip


def _pixel_pointers(
    builder: FunctionBuilder, memory: tuple[Value, Value], picture: Value, corner: tuple[Value, Value],
    size: tuple[int, int],
) -> list[list[Value]]:  # fmt: skip
    """Return pointers to a rectangle of pixels.

    Parameters
    ----------
    builder : FunctionBuilder
    memory : two pointers
        The maps of all pictures, and what stands for the pixels outside a map.
    picture : integer
        The number of the picture.
    corner : two integers
        Row and column of the upper left pixel.
    size : (int, int)
        Height and width.
    """
    a, emit, plus, times = builder.arguments, builder.emit, builder.plus, builder.times
    maps, outside = memory
    first = builder.offset(maps, times(times(times(picture, a.height), a.width), a.channels))

    def pointer(row: Value, column: Value) -> Value:
        # Without signs, so that what is below 0 is beyond the end, too.
        inside = emit.and_(emit.icmp_unsigned("<", row, a.height), emit.icmp_unsigned("<", column, a.width))
        pixel = times(plus(times(row, a.width), column), a.channels)
        return emit.select(inside, builder.offset(first, pixel), outside)

    rows, columns = ([plus(start, i) for i in range(side)] for start, side in zip(corner, size, strict=True))
    return [[pointer(row, column) for column in columns] for row in rows]
