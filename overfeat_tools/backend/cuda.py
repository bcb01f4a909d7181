"""A graphics card by NVIDIA: the one door to cupy.

It has run on one kind of card, an H100 (driver 580, cupy 14.2).  Where there is no card it is tested with
a stand-in for cupy that keeps its arrays apart from numpy's and its streams apart from each other.

Everything of a batch is queued on one stream, from normalising to softmax, and the program goes
on while the card computes.  Pictures and results travel through pinned memory on two streams of
their own: while one batch computes, the next is read, stacked, uploaded and queued, and the last
one's result is downloaded and printed.  Not overlapped: the upload of weights (once), spectra (made
on the card, once) and the copies between ordinary and pinned memory, which the processor makes.

Source: docs.cupy.dev; for cuBLAS's modes of computing, the CUDA Toolkit documentation.
"""

import contextlib
import importlib.util
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
import numpy.typing as npt

from overfeat_tools.backend.arrays import Array, FloatArray, Item
from overfeat_tools.backend.card_graph import CardGraph
from overfeat_tools.backend.card_transforms import CufftPlan, DftPlan, chunk_plan, dft_tables
from overfeat_tools.backend.compiler import Compiler
from overfeat_tools.backend.cublas import Cublas
from overfeat_tools.backend.program import Recording
from overfeat_tools.backend.transfers import Download, Slot, round_up, translated_errors, trouble_of
from overfeat_tools.errors import BackendError

# Work at a time: enough for any batch of usual pictures, and bounded for large ones.
_BLOCK_BYTES = 2 << 30
_BLOCK_SHARE = 16

_SLOTS = 2

# Values of the largest batch that is captured, 8 usual pictures or one of 480x640: the memory of each graph is its own.
_GRAPH_VALUES = 8 * 256 * 256 * 3

# Cards of this compute capability, 8.0, and above multiply float32 by tensor cores.
_TENSOR_CORES = 80


class Paths(NamedTuple):
    """What has not run on a card yet, and is tried by tests and benchmarks only."""

    short_sums: bool = False
    """Whether products are cuBLAS's own, with sums cut as on the processor."""

    kernels: bool = False
    """Whether convolutions may use `convolution.card_kernels`."""

    graphs: bool = False
    """Whether passes of few pictures are captured as CUDA graphs; products are cuBLAS's own then, too."""


def open_cuda(precision: str = "float32", paths: Paths = Paths()) -> "CudaBackend":  # noqa: B008 -- constant
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
            return CudaBackend(precision, paths)
    except Exception as error:  # whatever cupy, the driver or a library has to say
        raise BackendError(f"device cuda: no card that works ({trouble_of(error)}); use the device cpu") from error


def _has_kernels() -> bool:
    """Tell whether cupy has kept kernels that it compiled; those of a network take seconds."""
    folder = Path(os.environ.get("CUPY_CACHE_DIR", "~/.cupy/kernel_cache")).expanduser()
    return folder.is_dir() and any(folder.iterdir())


class CudaBackend:
    """cupy on the first card that `$CUDA_VISIBLE_DEVICES` leaves.

    Parameters
    ----------
    precision : {"float32", "tf32", "half"}
        To what the factors of convolutions are rounded.
    paths : Paths
    """

    name = "cuda"
    threads = parallel = 1
    ahead, usual_batch = 1, 128
    compiler: Compiler | None = None

    def __init__(self, precision: str = "float32", paths: Paths = Paths()) -> None:  # noqa: B008 -- constant
        # float32 means float32.  cupy turns TF32, with 10 bits for 23, on by this variable only, and looks at it
        # at the first product of each type.
        os.environ["CUPY_TF32"] = "0"
        self.is_cold = not _has_kernels()
        import cupy
        import cupyx

        self.xp: Any = cupy
        self._runtime: Any = cupy.cuda.runtime
        # Asked first: where there is no card or driver this fails cleanly, and a stream noisily.
        if not self._runtime.getDeviceCount():
            raise BackendError("none found")
        self._stream, self._uploads, self._downloads = (cupy.cuda.Stream(non_blocking=True) for _ in range(3))
        self._inputs, self._outputs = ([Slot(cupyx.empty_pinned) for _ in range(_SLOTS)] for _ in range(2))
        self._plan: DftPlan | CufftPlan | None = None
        self._dft_tables: dict[tuple[int, int], list[list[Array]]] = {}
        self._chunk_plans: dict[tuple[int, int], Any] = {}
        self._kernels: dict[tuple[str, str], Any] = {}
        self.precision, self.paths = precision, paths
        self._turn = threading.RLock()  # the slots serve one batch at a time
        self.cache_bytes = min(_BLOCK_BYTES, self.memory_bytes() // _BLOCK_SHARE)
        self._try_out()
        if precision != "float32" and int(cupy.cuda.Device().compute_capability) < _TENSOR_CORES:
            raise BackendError(f"the precision {precision} needs compute capability 8.0 or higher")
        # Transforms multiply in full precision, by `dot` or this; cupy does, but refuses to be captured.
        self._exact_matmul = Cublas(self._stream, cupy.empty, "float32").matmul if paths.graphs else cupy.matmul
        if precision != "float32" or paths.short_sums or paths.graphs:
            dot = self._exact_matmul if paths.graphs else cupy.dot
            self.xp = _Replaced(cupy, matmul=Cublas(self._stream, cupy.empty, precision).matmul, dot=dot)

    def __str__(self) -> str:
        card = self._runtime.getDeviceProperties(self._runtime.getDevice())["name"].decode()
        count = self._runtime.getDeviceCount()
        which = f" (the first of {count})" if count > 1 else ""
        return f"{self.name}, {card}{which}" + ("" if self.precision == "float32" else f", {self.precision}")

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
        """Refuse: no kernels of LLVM's are compiled for a card, so no algorithm asks for this."""
        raise NotImplementedError

    def records(self, x: Array) -> bool:
        """Tell whether passes of such batches are captured: of large ones, queueing is a small part."""
        return self.paths.graphs and x.size <= _GRAPH_VALUES

    def record(self, compute: Callable[[Recording, Array], list[FloatArray]], x: Array) -> CardGraph:
        """Capture what `compute` queues."""

        def compute_afresh(recording: Recording, x: Array) -> list[FloatArray]:
            self._plan = None  # its tiles are the graph's, or nobody's
            results = compute(recording, x)
            self._plan = None
            return results

        return CardGraph(compute_afresh, x, self.xp.cuda, self._stream)

    def replay(self, program: CardGraph, x: Array) -> tuple[list[FloatArray], Array]:
        """Launch a graph."""
        return program.launch(x)

    def run_kernel(self, code: str, name: str, blocks: int, threads: int, *arguments: Array | float) -> None:
        """Queue a kernel, compiled the first time: arrays, int and float, as its parameters are."""
        if (code, name) not in self._kernels:
            self._kernels[code, name] = self.xp.RawModule(code=code, options=("--std=c++17",)).get_function(name)
        types: dict[type, Callable[[Any], Any]] = {int: np.int32, float: np.float32}
        given = tuple(types[type(one)](one) if type(one) in types else one for one in arguments)
        self._kernels[code, name]((blocks,), (threads,), given)

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

    def fft_plan(self, height: int, width: int, maps: int) -> DftPlan:
        """Give the transform of maps of one size; only the last one is kept."""
        shape = (height, width, maps)
        if not isinstance(self._plan, DftPlan) or self._plan.shape != shape:
            self._plan = None  # its tiles are let go before others are asked for
            if shape[:2] not in self._dft_tables:
                self._dft_tables[shape[:2]] = dft_tables(height, width, self)
            self._plan = DftPlan(shape, self, self._dft_tables[shape[:2]], self._exact_matmul)
        return self._plan

    def library_fft_plan(self, height: int, width: int, maps: int) -> CufftPlan:
        """Give cuFFT's transform of maps of one size; see `fft_plan`."""
        shape, cufft = (height, width, maps), self.xp.cuda.cufft
        if not isinstance(self._plan, CufftPlan) or self._plan.shape != shape:
            self._plan = None
            if shape[:2] not in self._chunk_plans:
                self._chunk_plans[shape[:2]] = chunk_plan(height, width, cufft)
            self._plan = CufftPlan(shape, self, self._chunk_plans[shape[:2]], cufft)
        return self._plan

    @contextlib.contextmanager
    def computing(self) -> Iterator[None]:
        """Queue what is done inside on the stream for computing, and translate CUDA's errors."""
        with self._turn, translated_errors():
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

    def upload(self, pictures: Array | Sequence[Array]) -> Array:
        """Begin to copy a batch to the card; what is computed next waits for it.

        The bytes go as they are: a quarter of what floats would take.
        """
        slot = self._inputs[0]
        pinned = slot.pinned((len(pictures), *pictures[0].shape), pictures[0].dtype)
        if slot.device is None or slot.device.nbytes < pinned.nbytes:
            slot.device = None
            slot.device = self.xp.empty(round_up(pinned.nbytes), np.uint8)
            # The pool may have handed out what the last batch still computes with.
            self._uploads.wait_event(self._stream.record())
        np.stack([*pictures], out=pinned)
        there: Array = slot.device[: pinned.nbytes].view(pinned.dtype).reshape(pinned.shape)
        there.set(pinned, stream=self._uploads)  # type: ignore[attr-defined]
        self._stream.wait_event(self._uploads.record())
        return there

    def download(self, x: FloatArray) -> "Download":
        """Begin to copy a result back, once it is computed."""
        there: Any = self.xp.ascontiguousarray(x)
        slot = self._outputs[0]
        here = slot.pinned(there.shape, there.dtype)
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


class _Replaced:
    """A module with some of its functions replaced."""

    def __init__(self, module: Any, **functions: Callable[..., Any]) -> None:  # noqa: ANN401 -- cupy is untyped
        self._module = module
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._module, name)
