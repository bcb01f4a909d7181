"""The oracle: every layer as slow, obvious loops in float64, written from the definitions alone.

Nothing here imports the package, so an error can't cancel itself.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]


def pad(x: Array, width: int) -> Array:
    """Surround the maps of (N, C, H, W) with zeros."""
    n, channels, height, columns = x.shape
    y = np.zeros((n, channels, height + 2 * width, columns + 2 * width))
    y[:, :, width : width + height, width : width + columns] = x
    return y


def convolve(x: Array, weight: Array, bias: Array, stride: int = 1, padding: int = 0) -> Array:
    """Correlate where kernels fit: y[n, k, p, q] = b[k] + sum of w[k, c, i, j] x[n, c, s p + i, s q + j]."""
    x = pad(x.astype(np.float64), padding)
    kernels, _, kernel_height, kernel_width = weight.shape
    rows = range(0, x.shape[2] - kernel_height + 1, stride)
    columns = range(0, x.shape[3] - kernel_width + 1, stride)
    y, products = np.empty((len(x), kernels, len(rows), len(columns))), weight.astype(np.float64).reshape(kernels, -1).T
    for p, row in enumerate(rows):
        for q, column in enumerate(columns):
            patch = x[:, :, row : row + kernel_height, column : column + kernel_width]
            y[:, :, p, q] = patch.reshape(len(x), -1) @ products + bias
    return y


def pool(x: Array, size: int) -> Array:
    """Take maxima of squares that don't overlap; what is left over at the edges is dropped."""
    height, width = x.shape[2] // size, x.shape[3] // size
    y = np.empty((*x.shape[:2], height, width), x.dtype)
    for row in range(height):
        for column in range(width):
            square = x[:, :, row * size : (row + 1) * size, column * size : (column + 1) * size]
            y[:, :, row, column] = square.max(axis=(2, 3))
    return y


def rectify(x: Array, threshold: float = 1e-6) -> Array:
    """Keep what is above the threshold, else 0."""
    return np.array([value if value > threshold else 0.0 for value in x.ravel()], x.dtype).reshape(x.shape)


def normalise(x: Array, mean: float = 118.380948, deviation: float = 61.896913) -> Array:
    """Centre and scale."""
    return (x.astype(np.float64) - mean) / deviation


def softmax(x: Array) -> Array:
    """Probabilities over axis 1 at each place."""
    y = np.empty(x.shape)
    for n in range(x.shape[0]):
        for row in range(x.shape[2]):
            for column in range(x.shape[3]):
                scores = x[n, :, row, column].astype(np.float64)
                powers = np.exp(scores - max(scores))
                y[n, :, row, column] = powers / sum(powers)
    return y


def distance(ours: Array, theirs: Array) -> float:
    """Give the largest difference as a part of the largest absolute value of `theirs`."""
    assert ours.shape == theirs.shape
    largest = float(np.abs(theirs).max()) if theirs.size else 0.0
    difference = float(np.abs(ours.astype(np.float64) - theirs).max()) if theirs.size else 0.0
    return difference / (largest or 1.0)
