"""Maximum over squares that don't overlap; what is left over at the edges is dropped."""

from overfeat_tools.backend import Array, Backend, FloatArray

# What a thread works on at a time.
_CACHE_BYTES = 512 << 10


def maximum_of_squares(x: Array, size: int, y: Array, backend: Backend) -> None:
    """Write the maximum of each square of `x` (K, H, W, N) into `y` (K, H // size, W // size, N)."""
    channels, height, width, pictures = y.shape
    maximum = backend.xp.maximum
    covered = x[:, : height * size, : width * size]
    rows = covered.reshape(channels, height, size, width * size, pictures)  # a view: one axis is split
    best = maximum(rows[:, :, 0], rows[:, :, 1])
    for row in range(2, size):
        maximum(best, rows[:, :, row], out=best)
    columns = best.reshape(channels, height, width, size, pictures)
    maximum(columns[..., 0, :], columns[..., 1, :], out=y)
    for column in range(2, size):
        maximum(y, columns[..., column, :], out=y)


def pool(x: FloatArray, size: int, backend: Backend) -> FloatArray:
    """Give the maximum of each square of `x` (K, H, W, N), contiguous: (K, H // size, W // size, N)."""
    channels, height, width, pictures = x.shape
    y: FloatArray = backend.empty((channels, height // size, width // size, pictures))
    map_bytes = x.nbytes // max(channels, 1)
    group = max(1, min(backend.at_once(_CACHE_BYTES) // max(map_bytes, 1), -(-channels // backend.threads)))

    def pool_some(number: int) -> None:
        some = slice(number * group, (number + 1) * group)
        maximum_of_squares(x[some], size, y[some], backend)

    backend.share(pool_some, -(-channels // group))
    return y
