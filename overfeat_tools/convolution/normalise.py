"""Pixels centred and scaled by a compiled kernel."""

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend import Array, Backend, Call, Compiler, FloatArray
from overfeat_tools.convolution.kernels.normalise import CHANNELS, normalise_kernel

# Fewer values are no chunk of work of their own.
_LEAST_VALUES = 1 << 15


def compiled_normalise(
    x: Array, y: FloatArray, mean: npt.ArrayLike, deviation: npt.ArrayLike, backend: Backend, compiler: Compiler
) -> None:
    """Write (x - mean) / deviation.

    Parameters
    ----------
    x : array (N, H, W, 3)
        Of any real dtype; bytes and float32 are not copied.
    y : array (N, H, W, 3) float32, contiguous
    mean, deviation : float, or three of them
        Of all channels, or of each.
    """
    of_bytes = x.dtype == np.uint8
    source = np.ascontiguousarray(x, np.uint8 if of_bytes else np.float32)
    patterns = [
        np.tile(np.broadcast_to(np.asarray(values, np.float32), CHANNELS), compiler.lanes)
        for values in (mean, deviation)
    ]
    kernel, period = normalise_kernel(compiler, of_bytes=of_bytes), CHANNELS * compiler.lanes
    chunks = backend.chunks(-(-x.size // period), _LEAST_VALUES // period)
    backend.launch([
        [Call(kernel, (y, source, *patterns, chunk.start * period, min(chunk.stop * period, x.size)))]
        for chunk in chunks
    ])  # fmt: skip
