"""Convolution as one matrix product of which nothing is unfolded.

With the channels last, (N, H, W, C), the inputs of one output are kh runs of kw * C neighbours. The compiled
product (`kernels/matmul.py`) takes its columns from a table of places, so the map itself is its matrix:

    y[place, k] = sum over i < kh, t < kw * C of x[place + i * W * C + t] * panels[k, i * kw * C + t].

Cost: the multiply-adds of the direct convolution, at the full speed of the processor, for any kernel size and
stride.  The weights must be put into panels first.

Source: the table is that of Dukhan's indirect convolution, arXiv:1907.02129.
"""

import numpy as np

from overfeat_tools.backend import Array, Backend, FloatArray, compiler_of
from overfeat_tools.convolution.ending import Ending
from overfeat_tools.convolution.geometry import FLOAT_BYTES, Geometry, stretches
from overfeat_tools.convolution.panels import Products, padded, panel_count, panel_width, put_in_order, runs

# Pieces of work for each thread: enough that none waits long for the last one.
_PIECES_A_THREAD = 4

# Sums of a band: more are quicker even where they leave the second-level cache, since each piece of work costs
# a few calls.
_BAND_BYTES = 2 << 20


def spectra_bytes(geometry: Geometry, width: int) -> int:
    """Give the bytes of the panels."""
    return padded(geometry.kernels, width) * geometry.taps * FLOAT_BYTES


def prepare(weight: FloatArray, geometry: Geometry, backend: Backend) -> Array:
    """Put kernels (K, C, kh, kw) into panels: (panels, kh*kw*C, width)."""
    width = panel_width(compiler_of(backend))
    count = panel_count(geometry.kernels, width)
    panels = backend.empty((count, geometry.kernel_height * geometry.kernel_width, geometry.channels, width))
    backend.share(lambda number: put_in_order(weight, number, panels[number]), count)
    return panels.reshape(count, geometry.taps, width)


def convolve(
    x: FloatArray,
    panels: FloatArray,
    y: FloatArray,
    geometry: Geometry,
    backend: Backend,
    ending: Ending,
    squares: int = 1,
) -> None:
    """Write the convolution of `x` into `y`.

    Parameters
    ----------
    x : array (N, H, W, C) float32, contiguous
    panels : array (panels, kh*kw*C, width) float32
        From `prepare`.
    y : array (N, out_height // squares, out_width // squares, K) float32, contiguous
        The output; K is a multiple of the width of a vector.
    geometry, backend
        The sizes, and where to compute.
    ending : Ending
        What is done to the sums.
    squares : int
        Take the maximum of squares of so many outputs a side.
    """
    surrounded = _surrounded(x, geometry, backend)
    line, width = surrounded.shape[2] * geometry.channels, panels.shape[2]
    what = runs(tuple(i * line for i in range(geometry.kernel_height)), geometry.kernel_width * geometry.channels)
    groups = _panel_groups(panels, backend)
    out_rows = y.shape[1] * squares
    most = _BAND_BYTES // (FLOAT_BYTES * geometry.out_width * groups[0].stop * width)
    pieces = -(-_PIECES_A_THREAD * backend.threads // (len(x) * len(groups)))
    band = max(1, min(most, -(-out_rows // pieces)) // squares) * squares
    if band >= out_rows and len(x) == 1 and len(groups) > 1:
        # Each panel is used once only: it need not stay in the cache, and fewer pieces of work are quicker.
        groups = stretches(len(panels), -(-len(panels) // (2 * _PIECES_A_THREAD * backend.threads)))
    columns = _columns(band, geometry, line)
    work = [(some, picture, top) for some in groups for picture in range(len(x)) for top in range(0, out_rows, band)]

    def compute(number: int) -> None:
        some, picture, top = work[number]
        bottom = min(top + band, out_rows)
        places = columns[: (bottom - top) * geometry.out_width]
        kernels = slice(some.start * width, some.stop * width)
        sums = backend.thread_scratch("sums", (1, len(places), (some.stop - some.start) * width), np.float32)
        inputs = surrounded[picture : picture + 1, top * geometry.stride :]
        Products(inputs, places, what, panels[None, some], sums).compute(slice(0, some.stop - some.start), backend)
        target = y[picture, top // squares : bottom // squares, :, kernels]
        ending.finish(sums.reshape(bottom - top, geometry.out_width, -1), target, kernels, squares)

    backend.share(compute, len(work))


def _panel_groups(panels: FloatArray, backend: Backend) -> list[slice]:
    """Cut the panels so that each group stays in the cache, if it can, while a band of outputs passes."""
    fit = max(1, backend.cache_bytes // panels[0].nbytes)
    count = -(-len(panels) // fit)
    if count > 1:
        count = max(count, min(len(panels), 2 * backend.threads))
    return stretches(len(panels), -(-len(panels) // count))


def _columns(rows: int, geometry: Geometry, width: int) -> Array:
    """Give the places of the inputs of some rows of outputs, from the first input on."""
    down = np.arange(rows) * (geometry.stride * width)
    right = np.arange(geometry.out_width) * (geometry.stride * geometry.channels)
    places: Array = np.add.outer(down, right).ravel().astype(np.int64)
    return places


def _surrounded(x: FloatArray, geometry: Geometry, backend: Backend) -> FloatArray:
    """Give the maps with their padding."""
    padding = geometry.padding
    if not padding:
        return x
    pictures, height, width, channels = x.shape
    shape = (pictures, height + 2 * padding, width + 2 * padding, channels)
    surrounded: FloatArray = backend.scratch("surrounded", shape, np.float32)

    def copy(number: int) -> None:
        whole = surrounded[number]
        whole[:padding] = whole[-padding:] = 0.0
        whole[:, :padding] = whole[:, -padding:] = 0.0
        whole[padding:-padding, padding:-padding] = x[number]

    backend.share(copy, pictures)
    return surrounded
