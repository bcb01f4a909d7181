"""Judge the bytes of a weight file as they pass: their number, their sum, and whether they look like weights.

No checksum of the weights was ever published.  What is known for certain is their size; what can
be said besides is that trained weights are finite and of a moderate spread, while a page of text,
another byte order or a shift by a byte gives numbers like 1e30 or nothing but zeros.
"""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from overfeat_tools.errors import WeightsError
from overfeat_tools.networks.weights import KernelShape, file_bytes

# Root mean square of a layer's kernels: 0.007 to 0.12 is usual; anything a network could be made of
# is let through, for the limits have to hold for files nobody here has seen.
_LEAST_SPREAD = 1e-6
_MOST_SPREAD = 10.0
_MOST_BIAS = 100.0
_MOST_ZEROS = 1 << 18  # in a row: a unit may be dead, but 1 MB of zeros is a hole in the file
_STEP = 1 << 16  # numbers looked at in one go: these stay in the cache


@dataclass(frozen=True)
class WeightFile:
    """A weight file that a network needs: what is known of it beforehand."""

    network: str
    name: str
    shapes: Sequence[KernelShape]

    @property
    def size(self) -> int:
        """Its exact size in bytes."""
        return file_bytes(self.shapes)


class Inspection:
    """A file that is looked at piece by piece.

    Parameters
    ----------
    file : WeightFile
        What it should be.
    where : str
        Where it comes from, for messages.
    """

    def __init__(self, file: WeightFile, where: str) -> None:
        self._file = file
        self._where = where
        self._digest = hashlib.sha256()
        self._size = 0
        self._rest = b""
        self._sections = _sections(file.shapes)
        self._what, self._limits, self._left = next(self._sections)
        self._count, self._square = 0, 0.0
        self._zeros = 0

    def feed(self, chunk: bytes | memoryview) -> None:
        """Look at the next bytes.

        Raises
        ------
        WeightsError
            These can't be the weights.
        """
        self._digest.update(chunk)
        self._size += len(chunk)
        if self._size > self._file.size:
            message = f"{self._where}: more than the {self._file.size} bytes of the weights of {self._file.network}"
            raise WeightsError(message)
        whole = b"".join((self._rest, chunk)) if self._rest else chunk
        numbers = np.frombuffer(whole, "<f4", len(whole) // 4)
        self._rest = bytes(whole[4 * len(numbers) :])
        while len(numbers):
            step = min(self._left, _STEP)
            part, numbers = numbers[:step], numbers[step:]
            with np.errstate(all="ignore"):
                self._square += float(np.dot(part, part))
            if not math.isfinite(self._square):
                self._refuse("not finite" if not np.isfinite(part).all() else "far too large")
            self._zeros = 0 if part.any() else self._zeros + len(part)
            if self._zeros >= _MOST_ZEROS:
                self._refuse("zeros for a long stretch")
            self._count += len(part)
            self._left -= len(part)
            if not self._left:
                self._judge()

    def _judge(self) -> None:
        """Judge a section that is complete, and go on to the next."""
        spread = math.sqrt(self._square / self._count)
        least, most = self._limits
        if not least <= spread <= most:
            self._refuse(f"of a spread of {spread:.3g}, where {least:g} to {most:g} is plausible")
        self._count, self._square = 0, 0.0
        self._what, self._limits, self._left = next(self._sections)

    def _refuse(self, how: str) -> None:
        message = f"{self._where}: {self._what} are {how}: these are not the weights of {self._file.network}"
        raise WeightsError(message)

    def finish(self) -> str:
        """End: give the SHA-256.

        Raises
        ------
        WeightsError
            There is something missing.
        """
        if self._size != self._file.size:
            message = (
                f"{self._where}: {self._size} bytes, {self._file.size} expected for the weights of {self._file.network}"
            )
            raise WeightsError(message)
        return self._digest.hexdigest()


def _sections(shapes: Sequence[KernelShape]) -> Iterator[tuple[str, tuple[float, float], int]]:
    """Give the sections of a file: what they are, between what their spread should lie, how many numbers."""
    for number, shape in enumerate(shapes, 1):
        yield f"the kernels of convolution {number}", (_LEAST_SPREAD, _MOST_SPREAD), math.prod(shape)
        yield f"the biases of convolution {number}", (0.0, _MOST_BIAS), shape[0]
    while True:
        yield "the bytes after the end", (0.0, 0.0), 1
