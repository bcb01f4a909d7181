"""A graphics card by NVIDIA: the one door to cupy.

It has run on one kind of card, an H100 (driver 580, cupy 14.2).  Where there is no card it is tested with
a stand-in for cupy that keeps its arrays apart from numpy's and its streams apart from each other.

Everything of a batch is queued on one stream, from normalising to softmax, and the program goes
on while the card computes.  Pictures and results travel through pinned memory on two streams of
their own: while one batch computes, the next is read, stacked, uploaded and queued, and the last
one's result is downloaded and printed.  Not overlapped: the upload of weights (once), spectra (made
on the card, once) and the copies between ordinary and pinned memory, which the processor makes.

The Fourier transforms of tiles, 8 to 40 places a side, are products with the DFT's matrix, one for
each axis, and not cuFFT's.  A cuFFT plan is made for one number of maps: a stream of mixed pictures
would make one after the other, each with a work area as large as the maps.  The products need
neither, and their 8 operations a place and side are a few percent of those of the convolution.

Source: docs.cupy.dev; for cuBLAS's modes of computing, the CUDA Toolkit documentation.
"""

import contextlib
import importlib.util
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend.arrays import Array, ComplexArray, FloatArray, Item
from overfeat_tools.backend.compiler import Compiler
from overfeat_tools.backend.transfers import Download, Slot, reason_of, round_up, translated_errors
from overfeat_tools.errors import BackendError

# Work at a time: enough for any batch of usual pictures, and bounded for large ones.
_BLOCK_BYTES = 2 << 30
_BLOCK_SHARE = 16

_SLOTS = 2


def open_cuda() -> "CudaBackend":
    """Open the graphics card, after trying it out.

    Raises
    ------
    BackendError
        There is no cupy, no card, or they don't work.
    """
    if importlib.util.find_spec("cupy") is None:
        raise BackendError("the device cuda needs cupy: pip install 'overfeat_tools[cuda]', or use the device cpu")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # `auto` is to be silent, and what matters comes as an error
            return CudaBackend()
    except Exception as error:  # whatever cupy, the driver or a library has to say
        raise BackendError(f"device cuda: no card that works ({reason_of(error)}); use the device cpu") from error


class CudaBackend:
    """cupy on the current device."""

    name = "cuda"
    threads = parallel = 1
    ahead = 1
    compiler: Compiler | None = None

    def __init__(self) -> None:
        # float32 means float32.  cupy turns TF32, with 10 bits for 23, on by this variable only, and looks at it
        # at the first product of each type.
        os.environ["CUPY_TF32"] = "0"
        import cupy
        import cupyx

        self.xp: Any = cupy
        self._runtime: Any = cupy.cuda.runtime
        # Asked first: where there is no card or driver this fails cleanly, and a stream noisily.
        if not self._runtime.getDeviceCount():
            raise BackendError("none found")
        self._stream, self._uploads, self._downloads = (cupy.cuda.Stream(non_blocking=True) for _ in range(3))
        self._inputs, self._outputs = ([Slot(cupyx.empty_pinned) for _ in range(_SLOTS)] for _ in range(2))
        self._plan: DftPlan | None = None
        self.cache_bytes = min(_BLOCK_BYTES, self.memory_bytes() // _BLOCK_SHARE)
        self._try_out()

    def __str__(self) -> str:
        card = self._runtime.getDeviceProperties(self._runtime.getDevice())["name"].decode()
        return f"{self.name}, {card}"

    def _try_out(self) -> None:
        """Use what a network uses: memory, a kernel compiled here, both products, transfers."""
        ones = np.ones((2, 2, 2), np.complex64)
        with self.computing():
            x = self.to_device(ones)
            x = self.xp.matmul(x, x) + self.xp.matmul(x[0], x[1])
            result = self.download(x.real.copy())
        if (result() != 2 * len(ones)).any():
            raise BackendError("it computes wrongly")

    def parallel_for(self, work: Callable[[Item], object], items: Sequence[Item]) -> None:
        """Call `work` with each of the items; the calls queue what they do."""
        for item in items:
            work(item)

    def launch(self, *_: object, **__: object) -> NoReturn:
        """Refuse: no kernels are compiled for a card, so no algorithm asks for this."""
        raise NotImplementedError

    record = replay = launch

    def chunks(self, length: int, least: int = 1) -> list[slice]:  # noqa: ARG002 -- a thread's share is of no use here
        """Leave `range(length)` in one piece."""
        return [slice(0, length)]

    def block_bytes(self, cached: int) -> int:
        """Take everything, up to a part of the card's memory: what is queued in one call keeps it busy."""
        return max(cached, self.cache_bytes)

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike = np.float32) -> Array:
        """Give a new, uninitialised array."""
        array: Array = self.xp.empty(shape, dtype)
        return array

    def workspace(
        self,
        name: str,  # noqa: ARG002 -- as above
        shape: tuple[int, ...],
        dtype: npt.DTypeLike = np.float32,
        *,
        of_thread: bool = False,  # noqa: ARG002
    ) -> Array:
        """Give an uninitialised array; cupy's pool hands memory out again in the order of the stream."""
        return self.empty(shape, dtype)

    def fft_plan(self, height: int, width: int, maps: int) -> "DftPlan":
        """Give the transform of maps of one size; only the last one is kept."""
        shape = (height, width, maps)
        if self._plan is None or self._plan.shape != shape:
            self._plan = None  # its tiles are let go before others are asked for
            self._plan = DftPlan(shape, self)
        return self._plan

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Queue what is done inside on the stream for computing, and translate CUDA's errors."""
        with translated_errors():
            self._inputs.reverse()  # the slots take turns
            self._outputs.reverse()
            try:
                with self._stream:
                    yield
            finally:
                self._inputs[0].busy = self._stream.record().synchronize

    def to_device(self, host: Array) -> Array:
        """Copy what stays to the card.

        Unlike `cupy.asarray`, whose pinned copy of it would stay in that memory's pool.
        """
        array: Array = self.xp.empty(host.shape, host.dtype)
        if host.size:
            array.set(np.ascontiguousarray(host), stream=self._stream)  # type: ignore[attr-defined]
        return array

    def upload(self, pictures: Array) -> Array:
        """Begin to copy a batch to the card; what is computed next waits for it.

        The bytes go as they are: a quarter of what floats would take.
        """
        slot = self._inputs[0]
        pinned = slot.pinned(pictures)
        if slot.device is None or slot.device.nbytes < pictures.nbytes:
            slot.device = None
            slot.device = self.xp.empty(round_up(pictures.nbytes), np.uint8)
            # The pool may have handed out what the last batch still computes with.
            self._uploads.wait_event(self._stream.record())
        np.copyto(pinned, pictures)
        there: Array = slot.device[: pictures.nbytes].view(pictures.dtype).reshape(pictures.shape)
        there.set(pinned, stream=self._uploads)  # type: ignore[attr-defined]
        self._stream.wait_event(self._uploads.record())
        return there

    def download(self, x: FloatArray) -> "Download":
        """Begin to copy a result back, once it is computed."""
        there: Any = self.xp.ascontiguousarray(x)
        slot = self._outputs[0]
        here = slot.pinned(there)
        self._downloads.wait_event(self._stream.record())
        there.get(stream=self._downloads, out=here, blocking=False)
        slot.busy = result = Download(here, there, self._downloads.record())
        return result

    def free_bytes(self) -> int | None:
        """Give the card's free memory, and what cupy's pool holds of it unused."""
        free, _ = self._runtime.memGetInfo()
        return int(free + self.xp.get_default_memory_pool().free_bytes())

    def memory_bytes(self) -> int:
        """Give the size of the card's memory."""
        return int(self._runtime.memGetInfo()[1])


class DftPlan:
    """Complex transforms by products with the DFT's matrix; see `arrays.FftPlan`."""

    def __init__(self, shape: tuple[int, int, int], backend: CudaBackend) -> None:
        self.shape = shape
        height, width, _ = shape
        self._matmul = backend.xp.matmul
        # One matrix a row of the map: equal products of equal operands go to cuBLAS as one strided batch.
        rows, columns = _dft(height), np.broadcast_to(_dft(width), (height, width, width))
        self._forward = backend.to_device(rows), backend.to_device(columns)
        self._inverse = backend.to_device(rows.conj()), backend.to_device(columns.conj())
        self.tiles: ComplexArray = backend.xp.empty(shape, np.complex64)

    def forward(self) -> None:
        """Transform `tiles`."""
        self._apply(*self._forward)

    def inverse(self) -> None:
        """Transform `tiles` back."""
        self._apply(*self._inverse)

    def _apply(self, rows: Array, columns: Array) -> None:
        between = self._matmul(rows, self.tiles.reshape(self.shape[0], -1)).reshape(self.shape)
        self._matmul(columns, between, out=self.tiles)


def _dft(size: int) -> ComplexArray:
    """Give the matrix of a DFT, exp(-2 pi i j k / size)."""
    places = np.arange(size)
    matrix: ComplexArray = np.exp(-2j * np.pi * (np.outer(places, places) % size) / size).astype(np.complex64)
    return matrix
